// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package mirror

import (
	"net/http"
	"strings"

	"golang.org/x/mod/module"

	"example.org/sumlog/mirror/store"
)

// maxPath bounds the path of a request. A module path and a version that fit
// into the names of files are shorter.
const maxPath = 2 << 10

// A request is the parsed path of one.
type request struct {
	cachedOnly bool
	path       string // of the module
	what       string // list, latest, query; or for a canonical version info, mod, zip, tlog-proof
	query      string // of all but list and latest
}

func (q request) version() module.Version { return module.Version{Path: q.path, Version: q.query} }

// parse parses a request. What passes is a module path that could exist, in
// its one spelling, and a version that could; so nothing else ever costs an
// upstream request, memory or a file.
func parse(r *http.Request) (request, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return request{}, errMethod
	}
	if len(r.URL.Path) > maxPath {
		return request{}, notFound("the path is too long")
	}
	// An escaped slash would come out of the decoding as one that separates.
	if strings.Contains(strings.ToLower(r.URL.RawPath), "%2f") {
		return request{}, notFound("the path has an escaped slash")
	}
	q, err := parsePath(r.URL.Path)
	if strings.EqualFold(r.Header.Get("Disable-Module-Fetch"), "true") {
		q.cachedOnly = true
	}
	return q, err
}

func parsePath(p string) (request, error) {
	var q request
	p, ok := strings.CutPrefix(p, "/")
	if !ok {
		return request{}, notFound("no such page")
	}
	p, q.cachedOnly = strings.CutPrefix(p, "cached-only/")
	// A module path has no @, so the first one ends it.
	escaped, rest, ok := strings.Cut(p, "/@")
	if !ok {
		return request{}, notFound("no such page; a module is at /MODULE/@v/list")
	}
	var err error
	if q.path, err = module.UnescapePath(escaped); err != nil {
		return request{}, notFound("the module path is not valid, or upper case is not escaped")
	}
	switch rest {
	case "latest":
		q.what = "latest"
		return q, nil
	case "v/list":
		q.what = "list"
		return q, nil
	}
	file, ok := strings.CutPrefix(rest, "v/")
	dot := strings.LastIndexByte(file, '.')
	if !ok || dot < 0 {
		return request{}, notFound("no such file of a module")
	}
	if q.query, err = module.UnescapeVersion(file[:dot]); err != nil {
		return request{}, notFound("the version is not valid, or upper case is not escaped")
	}
	q.what = file[dot+1:]
	kind := store.Kind(q.what)
	switch kind {
	case store.Info, store.Mod, store.Zip:
	case proofKind:
		kind = store.Mod // it exists for the same versions
	default:
		return request{}, notFound("no such file of a module")
	}
	_, err = store.Name(q.version(), kind)
	if err != nil && kind == store.Info && len(q.query) <= maxQuery {
		q.what = "query"
		return q, nil
	}
	if err != nil {
		return request{}, notFound("%s@%s: the version is not a canonical one of that module path", q.path, q.query)
	}
	return q, nil
}

// maxQuery bounds the name of a branch or commit.
const maxQuery = 200
