// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/record"
)

// checkAnswer verifies that the answer contradicts the record.
func (e *Evidence) checkAnswer() error {
	a := e.answer
	u, err := observed(a.URL, a.Time)
	if err != nil {
		return err
	}
	if len(a.Body) > MaxBody {
		return notProven("body of %d bytes", len(a.Body))
	}
	var why string
	switch a.Service {
	case Tile:
		why, err = e.tileShows(u)
	case Data:
		why, err = e.dataShows(u)
	default:
		why, err = e.moduleShows(u)
	}
	if err != nil {
		return err
	}
	if why == "" {
		return notProven("the answer of %s, status %d, does not contradict the record", a.URL, a.Status)
	}
	e.said = why
	e.why = fmt.Sprintf("%s answered at %s, with status %d: %s", a.URL, a.Time.Format(timeFormat), a.Status, why)
	return nil
}

// quote quotes what is not long. What is long is named by its hash, so that no two
// texts look alike.
func quote(s string) string {
	if len(s) <= 300 {
		return strconv.Quote(s)
	}
	return fmt.Sprintf("%.300q… (SHA-256 %x)", s, sha256.Sum256([]byte(s)))
}

// moduleShows says how the answer of a service for modules contradicts the record;
// "" if it does not.
func (e *Evidence) moduleShows(u *url.URL) (why string, err error) {
	a := e.answer
	r, err := record.Parse(e.entries[0].text)
	if err != nil {
		return "", notProven("record: %v", err)
	}
	path, version, err := escaped(r)
	if err != nil {
		return "", err
	}
	suffix, ok := map[Service]string{
		Zip:    "/" + path + "/@v/" + version + ".zip",
		Mod:    "/" + path + "/@v/" + version + ".mod",
		Info:   "/" + path + "/@v/" + version + ".info",
		List:   "/" + path + "/@v/list",
		Latest: "/" + path + "/@latest",
		Lookup: "/lookup/" + path + "@" + version,
		Feed:   "/index",
	}[a.Service]
	if !ok {
		return "", notProven("service %.40q", string(a.Service))
	}
	if u.RawQuery != "" && a.Service != Feed {
		return "", notProven("URL %.200q has a query", a.URL)
	}
	if !strings.HasSuffix(u.Path, suffix) {
		if why := e.otherLookupShows(u); why != "" {
			return why, nil
		}
		return "", notProven("URL %.200q does not end in %.200q", a.URL, suffix)
	}
	absent := a.Status == 404 || a.Status == 410
	if absent && (a.Service == List || a.Service == Latest || a.Service == Lookup) {
		return "that there is no such thing", nil
	}
	if a.Status != 200 {
		return "", nil
	}
	switch a.Service {
	case Zip:
		return zipShows(r, a), nil
	case Mod:
		return modShows(r, a.Body), nil
	case Info:
		return infoShows(r, a.Body), nil
	case List:
		return listShows(r, a.Body), nil
	case Latest:
		exact := strings.HasSuffix(u.Path, "/cached-only"+suffix)
		return latestShows(r, a.Body, exact), nil
	case Lookup:
		return e.lookupShows(), nil
	}
	return e.feedShows(r, u)
}

func zipShows(r record.Record, a Answer) string {
	if a.H1 == r.Zip {
		return ""
	}
	if a.H1 == [32]byte{} {
		return fmt.Sprintf("no zip of a module, with SHA-256 %x", a.SHA256)
	}
	return fmt.Sprintf("a zip with SHA-256 %x and hash %s", a.SHA256, record.H1(a.H1))
}

// modShows compares with the hash of a directory of one file
// (https://go.dev/ref/mod#go-sum-files).
func modShows(r record.Record, body []byte) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%x  go.mod\n", sha256.Sum256(body)))
	if h == r.Mod {
		return ""
	}
	return fmt.Sprintf("a go.mod with hash %s", record.H1(h))
}

func infoShows(r record.Record, body []byte) string {
	o, err := parseObject(body)
	if err != nil {
		return fmt.Sprintf("no JSON object: %v", err)
	}
	if v := o.text("Version"); v != string(r.Version) {
		return fmt.Sprintf("that the version is %.100q", v)
	}
	return ""
}

// listShows reads a list as the go command does: the first word of a line is a
// version, and pseudo-versions are not expected.
func listShows(r record.Record, body []byte) string {
	version := string(r.Version)
	if module.IsPseudoVersion(version) {
		return ""
	}
	for line := range strings.Lines(string(body)) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == version {
			return ""
		}
	}
	return "a list without the version"
}

func latestShows(r record.Record, body []byte, exact bool) string {
	o, err := parseObject(body)
	if err != nil {
		return fmt.Sprintf("no JSON object: %v", err)
	}
	latest := o.text("Version")
	if !semver.IsValid(latest) {
		return fmt.Sprintf("that the latest version is %.100q, which is none", latest)
	}
	if exact && LatestBefore(latest, string(r.Version)) {
		return fmt.Sprintf("that the latest version is %.100q", latest)
	}
	return ""
}

// LatestBefore reports whether version v comes before w where the latest version is
// sought: releases come after prereleases, and these after pseudo-versions; of a
// kind, a version with a go.mod of its major version comes after one without
// (+incompatible); then a pseudo-version with a later time, and then the higher
// version.
func LatestBefore(v, w string) bool {
	if a, b := rank(v), rank(w); a != b {
		return a < b
	}
	if module.IsPseudoVersion(v) && module.IsPseudoVersion(w) {
		a, err := module.PseudoVersionTime(v)
		b, err2 := module.PseudoVersionTime(w)
		if err == nil && err2 == nil && !a.Equal(b) {
			return a.Before(b)
		}
	}
	return semver.Compare(v, w) < 0
}

func rank(v string) int {
	n := 0
	switch {
	case module.IsPseudoVersion(v):
	case semver.Prerelease(v) != "":
		n = 2
	default:
		n = 4
	}
	if semver.Build(v) == "" {
		n++
	}
	return n
}

// lookupShows compares an answer of the go command's database with the record.
func (e *Evidence) lookupShows() string {
	n := e.entries[0]
	want := fmt.Sprintf("%d\n%s\n", n.index, n.text)
	body := string(e.answer.Body)
	note, ok := strings.CutPrefix(body, want)
	if !ok {
		said, _, _ := strings.Cut(body, "\n\n") // the head behind it is another every time
		return fmt.Sprintf("not that record at that index, but %s", quote(said))
	}
	h, err := e.signedHead(note)
	if err != nil {
		return fmt.Sprintf("a tree head that is none: %v", err)
	}
	if h.Origin != databaseOrigin || h.Size <= n.index {
		return fmt.Sprintf("a tree head of %.100q and size %d", h.Origin, h.Size)
	}
	return ""
}

// signedHead returns the head in a note with signatures by the log alone, or by
// nobody known.
func (e *Evidence) signedHead(note string) (head, error) {
	parsed, err := checkpoint.ParseNote([]byte(note))
	if err != nil {
		return head{}, err
	}
	if _, err := parsed.Verify(e.keys[0]); err != nil { // with no bad line either
		return head{}, err
	}
	return newHead(e.keys[0], parsed)
}

// otherLookupShows compares with the record the answer to a lookup of another
// version, which names an index all the same: who is given a true record with a false
// index has no proof of where it is, but one of what is there instead.
func (e *Evidence) otherLookupShows(u *url.URL) string {
	n, a := e.entries[0], e.answer
	if a.Service != Lookup || a.Status != 200 || !isLookup(u) {
		return ""
	}
	said, rest, _ := strings.Cut(string(a.Body), "\n")
	text, note, ok := strings.Cut(rest, "\n\n")
	index, ok2 := number(said, 0)
	if !ok || !ok2 {
		return ""
	}
	if index == n.index {
		if text+"\n" == string(n.text) {
			return ""
		}
		return fmt.Sprintf("that entry %d, which is that record, is %s", index, quote(text))
	}
	h, err := e.signedHead(note)
	if err != nil || h.Origin != databaseOrigin || h.Size > index {
		return ""
	}
	return fmt.Sprintf("that entry %d is %s, with a tree head that ends before it", index, quote(text))
}

// isLookup reports whether a URL is that of the lookup of some version.
func isLookup(u *url.URL) bool {
	i := strings.LastIndex(u.Path, "/lookup/")
	if i < 0 {
		return false
	}
	path, version, ok := strings.Cut(u.Path[i+len("/lookup/"):], "@")
	_, err := module.UnescapePath(path)
	_, err2 := module.UnescapeVersion(version)
	return ok && err == nil && err2 == nil
}

// parseTile returns the tile at the end of a URL's path. Hashes of level L are
// those of 256^L entries each; L is -1 for entries themselves.
func parseTile(u *url.URL) (tlog.Tile, error) {
	i := strings.LastIndex(u.Path, "/tile/")
	if i < 0 || u.RawQuery != "" {
		return tlog.Tile{}, notProven("URL %.200q names no tile", u)
	}
	path := u.Path[i+1:]
	t, err := tlog.ParseTilePath(path)
	if err != nil || t.H != 8 {
		rest := strings.TrimPrefix(path, "tile/")
		if entries, ok := strings.CutPrefix(rest, "entries/"); ok {
			rest = "data/" + entries
		} else if strings.HasPrefix(rest, "data/") {
			return tlog.Tile{}, notProven("URL %.200q names no tile", u)
		}
		t, err = tlog.ParseTilePath("tile/8/" + rest)
	}
	if err != nil || t.L > 7 || t.N > math.MaxInt64>>8-1 {
		return tlog.Tile{}, notProven("URL %.200q names no tile", u)
	}
	return t, nil
}

// tileShows says what is wrong with a tile of hashes.
func (e *Evidence) tileShows(u *url.URL) (string, error) {
	t, err := parseTile(u)
	if err != nil || t.L < 0 {
		return "", notProven("URL %.200q names no tile of hashes", u)
	}
	// The record is the first of the entries under a hash of the tile, and the signed
	// tree has all of them.
	n, height := e.entries[0], 8*t.L
	span := int64(1) << height
	k := n.index/span - t.N*256
	if n.index%span != 0 || k < 0 || k >= int64(t.W) || e.heads[0].Size-n.index < span {
		return "", notProven("record %d is not the first under a hash of %.200q", n.index, u)
	}
	if e.answer.Status != 200 {
		return "", nil
	}
	if len(e.answer.Body) != t.W*tlog.HashSize {
		return fmt.Sprintf("%d bytes, where %d hashes are %d", len(e.answer.Body), t.W, t.W*tlog.HashSize), nil
	}
	// The proof goes up to the root by way of the subtree of which the record is the
	// first: all hashes up to there are on its right.
	want := tlog.RecordHash(n.text)
	for _, h := range n.proof[:height] {
		want = tlog.Hash(rfc6962.DefaultHasher.HashChildren(want[:], h[:]))
	}
	got := tlog.Hash(e.answer.Body[k*tlog.HashSize:])
	if got == want {
		return "", nil
	}
	return fmt.Sprintf("the hash number %d is %v, and the tree's is %v", k, got, want), nil
}

// dataShows says what is wrong with a bundle of entries.
func (e *Evidence) dataShows(u *url.URL) (string, error) {
	t, err := parseTile(u)
	if err != nil || t.L >= 0 {
		return "", notProven("URL %.200q names no bundle of entries", u)
	}
	n := e.entries[0]
	k := n.index - t.N*256
	if k < 0 || k >= int64(t.W) {
		return "", notProven("record %d is not in %.200q", n.index, u)
	}
	if e.answer.Status != 200 {
		return "", nil
	}
	cut := cutText
	if strings.Contains(u.Path, "/tile/entries/") {
		cut = cutSized
	}
	rest := e.answer.Body
	for i := range t.W {
		var text []byte
		var ok bool
		if text, rest, ok = cut(rest); !ok {
			return fmt.Sprintf("%d entries, and not %d", i, t.W), nil
		}
		if int64(i) == k && !bytes.Equal(text, n.text) {
			return fmt.Sprintf("the entry is %s", quote(string(text))), nil
		}
	}
	if len(rest) > 0 {
		return fmt.Sprintf("%d bytes after the last entry", len(rest)), nil
	}
	return "", nil
}

// cutSized cuts an entry with its length before it (https://c2sp.org/tlog-tiles).
func cutSized(b []byte) (text, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, b, false
	}
	end := 2 + int(binary.BigEndian.Uint16(b))
	if len(b) < end {
		return nil, b, false
	}
	return b[2:end], b[end:], true
}

// cutText cuts an entry with an empty line after it, as the go command's database
// has them.
func cutText(b []byte) (text, rest []byte, ok bool) {
	i := bytes.Index(b, []byte("\n\n"))
	if i < 0 {
		return nil, b, false
	}
	return b[:i+1], b[i+2:], true
}

// feedSize is the default number of lines of a page, and the largest.
const feedSize = 2000

// number parses a number of a query.
func number(s string, least int64) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= least && strconv.FormatInt(n, 10) == s
}
