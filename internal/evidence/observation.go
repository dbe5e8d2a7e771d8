// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package evidence

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/record"
)

// A Service is one whose answers can contradict a record. M and V are the record's
// path and version as they stand in URLs, and status 404 stands for 410 too. An
// answer contradicts the record if it is
//
//	zip     /M/@v/V.zip: 200, and the zip's hash is not the record's
//	mod     /M/@v/V.mod: 200, and the file's hash is not the record's
//	info    /M/@v/V.info: 200, and not a JSON object with Version V
//	list    /M/@v/list: 404; or 200 with no line that begins with V, which is no
//	        pseudo-version
//	latest  /M/@latest: 404; or 200 and not a JSON object with a Version; or, below
//	        /cached-only/, one with a Version that comes before V, by LatestBefore
//	lookup  /lookup/M@V: 404; or 200 and not the record's index, the record, an
//	        empty line, and a tree head signed by the same key with the record in it.
//	        Or of another version: 200, the record's index, and another record; or
//	        200, and an index that its own tree head, signed by the same key, is too
//	        small for, which contradicts every record of the log alike
//	feed    /index, 200, as FeedShows says
//	tile    /tile/L/N[.p/W], /tile/8/L/N[.p/W]: 200, and not W hashes, of which that
//	        over the entries that begin with the record is the tree's. The hash
//	        comes out of the record's inclusion proof
//	data    /tile/entries/N[.p/W], /tile/8/data/N[.p/W]: 200, and not W entries, of
//	        which that at the record's index is the record
//
// Other answers, such as a failure, contradict nothing.
type Service string

const (
	Zip    Service = "zip"
	Mod    Service = "mod"
	Info   Service = "info"
	List   Service = "list"
	Latest Service = "latest"
	Lookup Service = "lookup"
	Feed   Service = "feed"
	Tile   Service = "tile"
	Data   Service = "data"
)

// MaxBody is the largest body that is kept, in bytes.
const MaxBody = 1 << 20

const maxURL = 4096

// An Answer is what a service was observed to answer.
type Answer struct {
	Service Service
	URL     string // absolute, http or https, without user, encoded slashes, and ..
	Time    time.Time
	Status  int
	Body    []byte   // verbatim; not of a zip
	SHA256  [32]byte // of a zip's bytes
	H1      [32]byte // of a zip; zero: it is no zip of a module
}

// Observe returns the observation that an answer contradicts a record (E11).
func Observe(p Proven, a Answer) (*Evidence, error) {
	if a.Service == Zip {
		a.Body = nil
	} else {
		a.Body, a.SHA256, a.H1 = bytes.Clone(a.Body), [32]byte{}, [32]byte{}
	}
	a.Time = a.Time.UTC().Truncate(time.Second)
	e := &Evidence{kind: Contradicted, keys: [2]*checkpoint.Key{p.Key}, answer: a}
	return e.proven(e.setSide(0, p))
}

// A Tag is what was seen of a version's tag.
type Tag struct {
	URL  string // of the .info
	Time time.Time
	Info []byte // the .info, verbatim
	Refs []byte // what "git ls-remote" printed, verbatim
}

// TagMoved returns the observation that a version's tag names another commit than
// its .info says (E14).
func TagMoved(p Proven, t Tag) (*Evidence, error) {
	t.Info, t.Refs = bytes.Clone(t.Info), bytes.Clone(t.Refs)
	t.Time = t.Time.UTC().Truncate(time.Second)
	e := &Evidence{kind: Moved, keys: [2]*checkpoint.Key{p.Key}, tag: t}
	return e.proven(e.setSide(0, p))
}

// observed checks where and when an observation was made.
func observed(address string, t time.Time) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || len(address) > maxURL || u.String() != address {
		return nil, notProven("URL %.200q", address)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, notProven("URL %.200q: not http or https, or with a user or fragment", address)
	}
	// Servers differ in what an encoded slash, "." and ".." stand for: who asks again
	// has to ask for the same.
	elements := strings.Split(u.Path, "/")
	if len(elements) != strings.Count(u.EscapedPath(), "/")+1 || slices.Contains(elements, ".") || slices.Contains(elements, "..") {
		return nil, notProven("URL %.200q: an encoded slash, or an element . or ..", address)
	}
	for _, r := range address {
		if r <= ' ' || r >= 0x7f {
			return nil, notProven("URL %.200q: not ASCII", address)
		}
	}
	return u, observedAt(t)
}

func observedAt(t time.Time) error {
	if year := t.Year(); t.IsZero() || year < 1 || year > 9999 {
		return notProven("no time")
	}
	return nil
}

// escaped returns path and version of a record as they stand in URLs.
func escaped(r record.Record) (path, version string, err error) {
	if path, err = module.EscapePath(string(r.Path)); err == nil {
		version, err = module.EscapeVersion(string(r.Version))
	}
	if err != nil {
		return "", "", notProven("no URL names the record: %v", err)
	}
	return path, version, nil
}

// checkTag verifies that a tag names another commit than the .info says.
func (e *Evidence) checkTag() error {
	u, err := observed(e.tag.URL, e.tag.Time)
	if err != nil {
		return err
	}
	if len(e.tag.Info) > MaxBody || len(e.tag.Refs) > MaxBody {
		return notProven(".info of %d and refs of %d bytes", len(e.tag.Info), len(e.tag.Refs))
	}
	r, err := record.Parse(e.entries[0].text)
	if err != nil {
		return notProven("record: %v", err)
	}
	path, version, err := escaped(r)
	if err != nil {
		return err
	}
	if !strings.HasSuffix(u.Path, "/"+path+"/@v/"+version+".info") {
		return notProven("URL %.200q is not that of the record's .info", e.tag.URL)
	}
	ref, commit, remote, err := parseOrigin(e.tag.Info, string(r.Version))
	if err != nil {
		return err
	}
	now, err := findRef(e.tag.Refs, ref)
	if err != nil {
		return err
	}
	if len(now) != len(commit) || now == commit {
		return notProven("%q is at %s, and was at %s", ref, now, commit)
	}
	e.said = fmt.Sprintf("%q of %q is %s, and was %s", ref, remote, now, commit)
	e.why = fmt.Sprintf("its .info at %s says that %q of %q is the commit %s; at %s it was %s",
		e.tag.URL, ref, remote, commit, e.tag.Time.Format(timeFormat), now)
	return nil
}

// parseOrigin returns where the .info of a version says that it comes from.
func parseOrigin(info []byte, version string) (ref, commit, remote string, err error) {
	o, err := parseObject(info)
	if err != nil {
		return "", "", "", notProven(".info: %v", err)
	}
	origin, err := parseObject(o["Origin"])
	if err != nil {
		return "", "", "", notProven(".info: Origin: %v", err)
	}
	ref, commit, remote = origin.text("Ref"), origin.text("Hash"), origin.text("URL")
	tag := strings.TrimSuffix(version, "+incompatible")
	switch {
	case o.text("Version") != version:
		return "", "", "", notProven(".info: not of version %q", version)
	case origin.text("VCS") != "git" || !isCommit(commit) || remote == "":
		return "", "", "", notProven(".info: its Origin names no commit of git")
	case ref != "refs/tags/"+tag && !(strings.HasPrefix(ref, "refs/tags/") && strings.HasSuffix(ref, "/"+tag)):
		return "", "", "", notProven(".info: its Origin names %.200q, no tag of the version", ref)
	}
	return ref, commit, remote, nil
}

// isCommit reports whether s is the name of a commit.
func isCommit(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && (len(s) == 40 || len(s) == 64) && strings.ToLower(s) == s
}

// findRef returns the commit of a tag in what git ls-remote printed: of an annotated
// one, that on the line of the tag's name and "^{}".
func findRef(refs []byte, ref string) (string, error) {
	found := make(map[string]string)
	for line := range strings.Lines(string(refs)) {
		line, ended := strings.CutSuffix(line, "\n")
		commit, name, ok := strings.Cut(line, "\t")
		if !ended || !ok || !isCommit(commit) {
			return "", notProven("refs: line %.100q", line)
		}
		if name != ref && name != ref+"^{}" {
			continue
		}
		if found[name] != "" {
			return "", notProven("refs: %.200q twice", name)
		}
		found[name] = commit
	}
	commit, peeled := found[ref], found[ref+"^{}"]
	if commit == "" {
		return "", notProven("refs: no %.200q", ref)
	}
	if peeled != "" {
		commit = peeled
	}
	return commit, nil
}
