// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package testauthority

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	typeText = "text/plain; charset=utf-8"
	typeJSON = "application/json"
)

// An answer is a status, a type and a body.
type answer struct {
	status int
	kind   string
	body   []byte
}

func ok(kind string, body []byte) answer { return answer{http.StatusOK, kind, body} }

var notFound = answer{http.StatusNotFound, typeText, []byte("not found\n")}

func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "only GET and HEAD are served here", http.StatusMethodNotAllowed)
		return
	}
	x := a.respond(r.URL.Path, r.URL.Query())
	w.Header().Set("Content-Type", x.kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(x.body)))
	w.WriteHeader(x.status)
	w.Write(x.body)
}

// respond answers a request with all that is wrong with it.
func (a *Authority) respond(path string, query url.Values) answer {
	a.mu.RLock()
	defer a.mu.RUnlock()
	rest, carried := strings.CutPrefix(path, "/sumdb/"+a.config.Name+"/")
	if carried {
		path = "/" + rest
		if a.proxied != nil {
			return a.proxied.respond(path, query)
		}
	}
	x := a.answer(path, query)
	for _, t := range a.tampers {
		x.status, x.body = t(path, query, x.status, x.body)
	}
	for _, t := range a.carried {
		if carried {
			x.status, x.body = t(path, query, x.status, x.body)
		}
	}
	return x
}

// answer answers as an honest authority does.
func (a *Authority) answer(path string, query url.Values) answer {
	p := a.archive[a.shown]
	switch path {
	case "/supported":
		return ok(typeText, nil)
	case "/checkpoint":
		return ok(typeText, p.Checkpoint)
	case "/latest":
		return ok(typeText, p.TreeHead)
	case "/checkpoints":
		return a.lines(query)
	case "/index":
		return a.feed(query)
	}
	rest, found := strings.CutPrefix(path, "/lookup/")
	if found {
		return a.lookup(rest)
	}
	if strings.HasPrefix(path, "/tile/") {
		return a.tile(path[1:], p.Size)
	}
	if rest, found := strings.CutPrefix(path, "/witness/"); found {
		return a.monitor(rest)
	}
	rest, cached := strings.CutPrefix(path, "/cached-only/")
	if !cached {
		rest = path[1:]
	}
	return a.proxy(rest, cached)
}

// lines serves the archive.
func (a *Authority) lines(query url.Values) answer {
	after, limit := int64(-1), int64(1000)
	if s := query.Get("after"); s != "" {
		after, _ = strconv.ParseInt(s, 10, 64)
	}
	if s := query.Get("limit"); s != "" {
		limit, _ = strconv.ParseInt(s, 10, 64)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, p := range a.archive[:a.shown+1] {
		if p.Size <= after || limit <= 0 {
			continue
		}
		limit--
		must(enc.Encode(struct {
			Time       time.Time
			Size       int64
			Checkpoint string
			TreeHead   string
		}{p.Time, p.Size, string(p.Checkpoint), string(p.TreeHead)}))
	}
	return ok("application/x-ndjson", b.Bytes())
}

// find returns the first published entry of a module version.
func (a *Authority) find(m module.Version) (int64, bool) {
	for _, i := range a.byName[m.Path] {
		if a.entries[i].mod.V == m.Version {
			return i, i < a.archive[a.shown].Size
		}
	}
	return 0, false
}

func (a *Authority) lookup(name string) answer {
	at := strings.LastIndexByte(name, '@')
	if at < 0 {
		return notFound
	}
	path, err1 := module.UnescapePath(name[:at])
	version, err2 := module.UnescapeVersion(name[at+1:])
	i, found := a.find(module.Version{Path: path, Version: version})
	if err1 != nil || err2 != nil || !found {
		return notFound
	}
	return ok(typeText, fmt.Appendf(nil, "%d\n%s\n%s", i, a.entries[i].text, a.archive[a.shown].TreeHead))
}

// tile serves tiles of both layouts.
func (a *Authority) tile(path string, size int64) answer {
	tiles := !strings.HasPrefix(path, "tile/8/")
	if rest, found := strings.CutPrefix(path, "tile/entries/"); found {
		path = "tile/8/data/" + rest
	} else if tiles {
		path = "tile/8/" + strings.TrimPrefix(path, "tile/")
	}
	t, err := tlog.ParseTilePath(path)
	if err != nil || t.H != 8 {
		return answer{http.StatusBadRequest, typeText, []byte("malformed tile path\n")}
	}
	level := max(t.L, 0)
	if level > 7 || t.N > size || t.N<<8+int64(t.W) > size>>(8*level) {
		return notFound
	}
	if t.L >= 0 {
		data, err := tlog.ReadTileData(t, a.hashes)
		must(err)
		return ok("application/octet-stream", data)
	}
	var data []byte
	for _, e := range a.entries[t.N<<8:][:t.W] {
		if tiles {
			data = binary.BigEndian.AppendUint16(data, uint16(len(e.text)))
			data = append(data, e.text...)
		} else {
			data = append(append(data, e.text...), '\n')
		}
	}
	return ok("application/octet-stream", data)
}

// monitor serves what a witness has cosigned: N/HASH/checkpoint.
func (a *Authority) monitor(path string) answer {
	f := strings.Split(path, "/")
	if len(f) != 3 || f[2] != "checkpoint" {
		return notFound
	}
	n, err := strconv.Atoi(f[0])
	if err != nil || n < 0 || n >= len(a.witnesses) {
		return notFound
	}
	note := a.witnesses[n].note(f[1])
	if note == nil {
		return notFound
	}
	return ok(typeText, note)
}

// proxy serves the GOPROXY protocol.
func (a *Authority) proxy(path string, cached bool) answer {
	if escaped, found := strings.CutSuffix(path, "/@latest"); found {
		return a.latest(escaped)
	}
	escaped, file, found := strings.Cut(path, "/@v/")
	if !found {
		return notFound
	}
	if file == "list" {
		return a.list(escaped, cached)
	}
	dot := strings.LastIndexByte(file, '.')
	if dot < 0 {
		return notFound
	}
	name, err1 := module.UnescapePath(escaped)
	version, err2 := module.UnescapeVersion(file[:dot])
	m := module.Version{Path: name, Version: version}
	i, found := a.find(m)
	if err1 != nil || err2 != nil || !found {
		return notFound
	}
	switch file[dot:] {
	case ".info":
		return ok(typeJSON, a.info(m))
	case ".mod":
		return ok(typeText, a.entries[i].mod.GoMod())
	case ".zip":
		return ok("application/zip", a.entries[i].mod.Zip())
	}
	return notFound
}

// logged returns the versions of a module path that are published.
func (a *Authority) logged(escaped string) (path string, versions []string) {
	path, err := module.UnescapePath(escaped)
	if err != nil {
		return "", nil
	}
	for _, i := range a.byName[path] {
		if i < a.archive[a.shown].Size {
			versions = append(versions, a.entries[i].mod.V)
		}
	}
	semver.Sort(versions)
	return path, slices.Compact(versions)
}

// list serves the logged versions, and of one module a version that only an
// upstream has, where upstreams are asked.
func (a *Authority) list(escaped string, cached bool) answer {
	path, versions := a.logged(escaped)
	if len(versions) == 0 {
		return notFound
	}
	if !cached && path == a.entries[0].mod.Path {
		versions = append(versions, "v1.99.0")
		semver.Sort(versions)
	}
	var b strings.Builder
	for _, v := range versions {
		if !module.IsPseudoVersion(v) {
			b.WriteString(v + "\n")
		}
	}
	return ok(typeText, []byte(b.String()))
}

// latest serves the highest release, else the highest prerelease, else the newest
// pseudo-version; at the same rank +incompatible comes after the others.
func (a *Authority) latest(escaped string) answer {
	path, versions := a.logged(escaped)
	if len(versions) == 0 {
		return notFound
	}
	best := slices.MaxFunc(versions, func(v, w string) int {
		if c := rank(v) - rank(w); c != 0 {
			return c
		}
		return semver.Compare(v, w)
	})
	return ok(typeJSON, a.info(module.Version{Path: path, Version: best}))
}

func rank(v string) int {
	n := 4
	switch {
	case module.IsPseudoVersion(v):
		n = 0
	case semver.Prerelease(v) != "":
		n = 2
	}
	if semver.Build(v) == "" {
		n++
	}
	return n
}
