// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/record"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// goMod is the go.mod of the modules in newServed.
const goMod = "module example.com/M\n"

// newServed returns a database of 600 versions of example.com/M, v1.0.0 on, whose
// go.mod files are goMod.
func newServed() *testLog {
	l := newLog("log.example/served", "served")
	mod := sha256.Sum256(fmt.Appendf(nil, "%x  go.mod\n", sha256.Sum256([]byte(goMod))))
	for i := range 600 {
		r := record.Record{Path: []byte("example.com/M"), Version: fmt.Appendf(nil, "v1.%d.0", i), Zip: sha256.Sum256(fmt.Append(nil, i)), Mod: mod}
		switch i {
		case 590:
			r.Version = []byte("v1.600.0-rc.1")
		case 591:
			r.Version = []byte("v0.0.0-20260102030405-0123456789ab")
		case 592:
			r.Version = []byte("v2.0.0+incompatible")
		}
		l.add(string(r.Text()))
	}
	return l
}

func feedText(l *testLog, from, to int64) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		r, _ := record.Parse([]byte(l.entries[0][i]))
		fmt.Fprintf(&b, "{\"Path\":%q,\"Version\":%q,\"Timestamp\":%q}\n", r.Path, r.Version, noon.Add(time.Duration(i)*time.Microsecond).Format(time.RFC3339Nano))
	}
	return b.String()
}

func bundleText(l *testLog, from, to int64, sized bool) []byte {
	var b []byte
	for i := from; i < to; i++ {
		text := l.entries[0][i]
		if sized {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...)
		} else {
			b = append(append(b, text...), '\n')
		}
	}
	return b
}

// tileData returns a tile of hashes.
func tileData(l *testLog, tile tlog.Tile) []byte {
	data, err := tlog.ReadTileData(tile, l.hashes[0])
	if err != nil {
		panic(err)
	}
	return data
}

func lookupText(l *testLog, i int64, note checkpoint.Note) []byte {
	return append(fmt.Appendf(nil, "%d\n%s\n", i, l.entries[0][i]), note.Bytes()...)
}

const commit1, commit2, tagObject = "1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222", "3333333333333333333333333333333333333333"

const servedInfo = `{"Version":"v1.7.0","Time":"2026-01-02T03:04:05Z","Origin":{"VCS":"git","URL":"https://git.example/m","Ref":"refs/tags/v1.7.0","Hash":"` + commit1 + `"}}`

func movedTag() Tag {
	return Tag{
		URL:  "https://proxy.example/example.com/!m/@v/v1.7.0.info",
		Time: noon,
		Info: []byte(servedInfo),
		Refs: []byte(commit1 + "\trefs/heads/main\n" + tagObject + "\trefs/tags/v1.7.0\n" + commit2 + "\trefs/tags/v1.7.0^{}\n"),
	}
}

// flipped returns data with one byte changed.
func flipped(data []byte, i int) []byte {
	data = bytes.Clone(data)
	data[i] ^= 1
	return data
}

// An answerCase is an answer about the record at an index.
type answerCase struct {
	name   string
	index  int64
	answer Answer
	shows  bool // it contradicts the record
}

const base = "https://proxy.example"

func answerCases(l *testLog) []answerCase {
	mod, listed := base+"/example.com/!m/@v/", func(vs ...string) []byte { return []byte(strings.Join(vs, "\n") + "\n") }
	get := func(s Service, url, body string) Answer {
		return Answer{Service: s, URL: url, Time: noon, Status: 200, Body: []byte(body)}
	}
	status := func(a Answer, status int) Answer { a.Status = status; return a }
	zip := func(data string) Answer {
		return Answer{Service: Zip, URL: mod + "v1.7.0.zip", Time: noon, Status: 200, SHA256: sha256.Sum256([]byte(data)), H1: sha256.Sum256([]byte(data))}
	}
	notZip := zip("7")
	notZip.H1 = [32]byte{}
	head := l.treeHead(0, 600)
	list := func(vs ...string) Answer { return get(List, mod+"list", string(listed(vs...))) }
	latest := func(where, v string) Answer {
		return get(Latest, base+where+"/example.com/!m/@latest", `{"Version":"`+v+`","Time":"2026-01-02T03:04:05Z"}`)
	}
	lookup := func(body []byte) Answer {
		return get(Lookup, base+"/sumdb/log.example/served/lookup/example.com/!m@v1.7.0", string(body))
	}
	other := func(index string, i int64, note checkpoint.Note) Answer {
		_, text, _ := bytes.Cut(lookupText(l, i, note), []byte("\n"))
		return get(Lookup, base+"/sumdb/log.example/served/lookup/example.com/!m@v1.9.0", index+"\n"+string(text))
	}
	feed := func(query, body string) Answer { return get(Feed, base+"/index"+query, body) }
	tile := func(path string, data []byte) Answer { return get(Tile, base+"/tile/"+path, string(data)) }
	data := func(path string, data []byte) Answer { return get(Data, base+"/tile/"+path, string(data)) }
	t1 := tileData(l, tlog.Tile{H: 8, L: 0, N: 1, W: 256})
	edge := tileData(l, tlog.Tile{H: 8, L: 0, N: 2, W: 88})
	top := tileData(l, tlog.Tile{H: 8, L: 1, N: 0, W: 2})
	entries, texts := bundleText(l, 256, 512, true), bundleText(l, 256, 512, false)
	end := bundleText(l, 512, 600, true)
	return []answerCase{
		{"zip", 7, zip("evil"), true},
		{"zip that is none", 7, notZip, true},
		{"right zip", 7, zip("7"), false},
		{"zip gone", 7, status(zip("evil"), 404), false},
		{"zip of another version", 8, zip("evil"), false},
		{"mod", 7, get(Mod, mod+"v1.7.0.mod", "module evil\n"), true},
		{"right mod", 7, get(Mod, mod+"v1.7.0.mod", goMod), false},
		{"mod failed", 7, status(get(Mod, mod+"v1.7.0.mod", "busy"), 503), false},
		{"info", 7, get(Info, mod+"v1.7.0.info", `{"Version":"v1.8.0"}`), true},
		{"info that is none", 7, get(Info, mod+"v1.7.0.info", "<html>"), true},
		{"info with two versions", 7, get(Info, mod+"v1.7.0.info", `{"Version":"v1.7.0","version":"v1.8.0"}`), true},
		{"right info", 7, get(Info, mod+"v1.7.0.info", servedInfo), false},
		{"list", 7, list("v1.6.0", "v1.8.0", "v1.70.0"), true},
		{"empty list", 7, get(List, mod+"list", ""), true},
		{"list gone", 7, status(list(), 410), true},
		{"right list", 7, list("v1.6.0", "v1.7.0"), false},
		{"right list with times", 7, list("v1.7.0 2026-01-02T03:04:05Z"), false},
		{"list without a pseudo-version", 591, list("v1.7.0"), false},
		{"list of another module", 7, get(List, base+"/example.com/m/@v/list", ""), false},
		{"list busy", 7, status(list(), 503), false},
		{"latest", 7, latest("/cached-only", "v1.6.0"), true},
		{"prerelease as latest", 7, latest("/cached-only", "v1.600.0-rc.1"), true},
		{"incompatible as latest", 7, latest("/cached-only", "v2.0.0+incompatible"), true},
		{"older, by upstream", 7, latest("", "v1.6.0"), false},
		{"right latest", 7, latest("/cached-only", "v1.7.0"), false},
		{"later latest", 591, latest("/cached-only", "v1.0.0"), false},
		{"latest gone", 7, status(latest("", ""), 404), true},
		{"latest that is none", 7, latest("", "latest"), true},
		{"lookup", 7, lookup(lookupText(l, 8, head)), true},
		{"lookup with another index", 7, lookup(append([]byte("8\n"), lookupText(l, 7, head)[2:]...)), true},
		{"lookup with leading zero", 7, lookup(append([]byte("0"), lookupText(l, 7, head)...)), true},
		{"lookup with a checkpoint", 7, lookup(lookupText(l, 7, l.note(0, 600))), true},
		{"lookup with a tree head before the record", 7, lookup(lookupText(l, 7, l.treeHead(0, 7))), true},
		{"lookup with an unsigned tree head", 7, lookup(lookupText(l, 7, checkpoint.Note{Text: head.Text, Signatures: head.Signatures[:1]})), true},
		{"lookup without a tree head", 7, lookup(lookupText(l, 7, checkpoint.Note{})), true},
		{"lookup gone", 7, status(lookup(nil), 404), true},
		{"right lookup", 7, lookup(lookupText(l, 7, head)), false},
		{"right lookup of a smaller tree", 7, lookup(lookupText(l, 7, l.treeHead(0, 8))), false},
		{"lookup of another version", 7, other("7", 9, head), true},
		{"right lookup of another version", 7, other("9", 9, head), false},
		{"lookup of another version with this record", 7, other("7", 7, head), false},
		{"lookup of another version elsewhere", 7, other("8", 9, head), false},
		{"lookup of another version with a leading zero", 7, other("07", 9, head), false},
		{"lookup of another version behind the end", 599, other("600", 9, head), true},
		{"lookup of another version behind the end of a smaller tree", 599, other("300", 9, l.treeHead(0, 300)), true},
		{"lookup of another version behind an unsigned end", 599, other("600", 9, checkpoint.Note{Text: head.Text, Signatures: head.Signatures[:1]}), false},
		{"lookup of another version, gone", 7, status(other("7", 9, head), 404), false},
		{"lookup of no version", 7, get(Lookup, base+"/lookup/example.com/!m", "7\nx\n\n"), false},
		{"lookup busy", 7, status(lookup(nil), 429), false},
		{"gap", 7, feed("?after=6&limit=2", feedText(l, 8, 10)), true},
		{"gap inside", 7, feed("?after=3", feedText(l, 4, 7)+feedText(l, 8, 600)), true},
		{"gap at the end", 599, feed("?after=500", feedText(l, 501, 599)), true},
		{"empty page", 7, feed("?after=6", ""), true},
		{"from the beginning", 7, feed("", feedText(l, 0, 7)+feedText(l, 8, 600)), true},
		{"doubled line", 7, feed("?since=2026-03-04T12:00:00Z", feedText(l, 0, 8)+feedText(l, 7, 9)), true},
		{"doubled page", 7, feed("?since=2026-03-04T12:00:01Z", feedText(l, 0, 9)), true},
		{"time again", 7, feed("?since=2026-03-04T12:00:00Z", feedText(l, 6, 7)+strings.Replace(feedText(l, 7, 8), ".000007", ".000006", 1)), true},
		{"time again, elsewhere", 8, feed("?since=2026-03-04T12:00:00Z", feedText(l, 6, 7)+strings.Replace(feedText(l, 7, 8), ".000007", ".000006", 1)+feedText(l, 8, 9)), false},
		{"page that is none", 7, feed("?after=6", "<html>\n"), true},
		{"right page", 7, feed("?after=6", feedText(l, 7, 600)), false},
		{"right page with include", 7, feed("?after=-1&include=all", feedText(l, 0, 600)), false},
		{"right page, and the record is beyond it", 7, feed("?limit=7", feedText(l, 0, 7)), false},
		{"right page, and the record is before it", 7, feed("?after=7&limit=1", feedText(l, 8, 9)), false},
		{"page by time", 7, feed("?since=2026-03-04T12:00:00Z", feedText(l, 0, 7)), false},
		{"page of a prefix", 7, feed("?after=6&prefix=other.example", ""), false},
		{"two afters", 7, feed("?after=6&after=7", ""), false},
		{"an unknown parameter", 7, feed("?after=6&order=random", ""), false},
		{"feed busy", 7, status(feed("?after=6", ""), 500), false},
		{"tile whose number overflows", 256, tile(strings.TrimPrefix(tlog.Tile{H: 8, N: 1<<56 + 1, W: 256}.Path(), "tile/8/"), make([]byte, 8192)), false},
		{"tile", 300, tile("0/001", flipped(t1, 44*32+5)), true},
		{"tile of a database", 300, tile("8/0/001", flipped(t1, 44*32)), true},
		{"short tile", 300, tile("0/001", t1[:len(t1)-32]), true},
		{"long tile", 300, tile("0/001", append(bytes.Clone(t1), make([]byte, 32)...)), true},
		{"wrong edge", 599, tile("0/002.p/88", flipped(edge, len(edge)-1)), true},
		{"tile above", 256, tile("1/000.p/2", flipped(top, 40)), true},
		{"tile above, the first", 0, tile("8/1/000.p/2", flipped(top, 0)), true},
		{"tile wrong elsewhere", 300, tile("0/001", flipped(t1, 45*32)), false},
		{"right tile", 300, tile("0/001", t1), false},
		{"right edge", 599, tile("0/002.p/88", edge), false},
		{"right tile above", 256, tile("1/000.p/2", top), false},
		{"tile above, not the first below", 257, tile("1/000.p/2", flipped(top, 40)), false},
		{"tile above, not full", 512, tile("1/000.p/3", make([]byte, 96)), false},
		{"tile above all", 0, tile("7/000.p/1", make([]byte, 32)), false},
		{"tile far above", 0, tile("8/000.p/1", make([]byte, 32)), false},
		{"tile gone", 300, status(tile("0/001", nil), 404), false},
		{"another tile", 300, tile("0/000", make([]byte, 8192)), false},
		{"a later tile", 7, tile("0/001", make([]byte, 8192)), false},
		{"a bundle as tile", 300, tile("entries/001", nil), false},
		{"entries", 300, data("entries/001", bundleText(l, 255, 511, true)), true},
		{"entries of a database", 300, data("8/data/001", bundleText(l, 255, 511, false)), true},
		{"cut entries", 300, data("entries/001", entries[:len(entries)-1]), true},
		{"missing entries", 300, data("8/data/001", nil), true},
		{"more entries", 300, data("entries/001", append(bytes.Clone(entries), 0)), true},
		{"wrong entry at the edge", 599, data("entries/002.p/88", flipped(end, len(end)-1)), true},
		{"right entries", 300, data("entries/001", entries), false},
		{"right entries of a database", 300, data("8/data/001", texts), false},
		{"right edge of entries", 599, data("entries/002.p/88", end), false},
		{"a tile as entries", 300, data("0/001", nil), false},
		{"no such layout", 300, data("data/001", nil), false},
		{"entries gone", 300, status(data("entries/001", nil), 404), false},
		{"later entries", 7, data("entries/001", nil), false},
		{"other entries", 300, data("entries/000", nil), false},
		{"unknown service", 7, get("gossip", base+"/gossip", ""), false},
		{"no URL", 7, get(Mod, "", "evil"), false},
		{"URL without host", 7, get(Mod, "/example.com/!m/@v/v1.7.0.mod", "evil"), false},
		{"URL with no host", 7, get(Mod, "https:///example.com/!m/@v/v1.7.0.mod", "evil"), false},
		{"URL in capitals", 7, get(Mod, "HTTPS"+mod[5:]+"v1.7.0.mod", "evil"), false},
		{"query not ASCII", 7, feed("?prefix=\u00fc", feedText(l, 7, 8)+feedText(l, 7, 8)), false},
		{"query in ASCII", 7, feed("?prefix=example.com", feedText(l, 7, 8)+feedText(l, 7, 8)), true},
		{"URL with user", 7, get(Mod, "https://user:secret@proxy.example/example.com/!m/@v/v1.7.0.mod", "evil"), false},
		{"URL of a file", 7, get(Mod, "file://host/example.com/!m/@v/v1.7.0.mod", "evil"), false},
		{"URL with line end", 7, get(Mod, mod+"v1.7.0.mod\n", "evil"), false},
		{"URL with query", 7, get(Mod, mod+"v1.7.0.mod?x=.mod", "evil"), false},
		{"URL with fragment", 7, get(Mod, mod+"v1.7.0.mod#x", "evil"), false},
		{"URL not ASCII", 7, get(Mod, "https://prüfung.example/example.com/!m/@v/v1.7.0.mod", "evil"), false},
		{"long URL", 7, get(Mod, base+strings.Repeat("/x", maxURL)+"/example.com/!m/@v/v1.7.0.mod", "evil"), false},
		{"long body", 7, get(Mod, mod+"v1.7.0.mod", strings.Repeat("x", MaxBody+1)), false},
		{"longest body", 7, get(Mod, mod+"v1.7.0.mod", strings.Repeat("x", MaxBody)), true},
		{"no time", 7, Answer{Service: Mod, URL: mod + "v1.7.0.mod", Status: 200}, false},
		{"status out of range", 7, status(get(Mod, mod+"v1.7.0.mod", "evil"), 2000), false},
	}
}

func TestObserve(t *testing.T) {
	l := newServed()
	for _, c := range answerCases(l) {
		e, err := Observe(l.proven(0, l.note(0, 600), c.index), c.answer)
		if (err == nil) != c.shows {
			t.Errorf("%s: %v %v", c.name, e, err)
		}
		if err != nil {
			if !errors.Is(err, ErrNotProven) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		again, err := Parse(e.Bytes())
		if err != nil || again.String() != e.String() || !bytes.Equal(again.answer.Body, e.answer.Body) || !again.Observation() {
			t.Errorf("%s: again %v %v", c.name, again, err)
		}
		if c.answer.Service == Zip && again.answer.SHA256 != c.answer.SHA256 {
			t.Errorf("%s: SHA-256 %x", c.name, again.answer.SHA256)
		}
	}
}

// TestIdentity has two observations of one fault be one, and others not.
func TestIdentity(t *testing.T) {
	l := newServed()
	base := answerCases(l)
	find := func(name string) answerCase {
		t.Helper()
		i := slices.IndexFunc(base, func(c answerCase) bool { return c.name == name })
		if i < 0 {
			t.Fatalf("no case %q", name)
		}
		return base[i]
	}
	id := func(size int64, c answerCase) [32]byte {
		t.Helper()
		e, err := Observe(l.proven(0, l.note(0, size), c.index), c.answer)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		return e.Identity()
	}
	for _, name := range []string{"zip", "mod", "info", "list gone", "latest", "lookup with another index", "lookup of another version", "gap", "tile", "entries"} {
		c := find(name)
		again := c
		again.answer.Time = again.answer.Time.Add(time.Hour)
		if id(600, c) != id(599, again) {
			t.Errorf("%s: an hour and an entry later it is another fault", name)
		}
		other := c
		other.answer.URL = strings.Replace(other.answer.URL, "proxy.example", "proxy.other", 1)
		if id(600, c) == id(600, other) {
			t.Errorf("%s: elsewhere it is the same fault", name)
		}
	}
	// What is beside the contradiction is no part of it.
	lookup, grown := find("lookup with another index"), find("lookup with another index")
	text, _, _ := bytes.Cut(grown.answer.Body, []byte("\n\n"))
	grown.answer.Body = append(append(text, "\n\n"...), l.treeHead(0, 599).Bytes()...)
	gap, page := find("gap"), find("from the beginning")
	if id(600, lookup) != id(600, grown) || id(600, gap) != id(600, page) {
		t.Error("the same index beside another head, or the same gap on another page, is another fault")
	}
	// What differs at the end of a long text differs.
	entries := find("entries")
	long := entries
	long.answer.Body = bytes.Clone(long.answer.Body)
	at := bytes.Index(long.answer.Body, []byte(l.entries[0][299])) + len(l.entries[0][299]) - 2
	long.answer.Body[at] ^= 1
	pairs := [][2]answerCase{{find("zip"), find("zip that is none")}, {entries, long}, {find("wrong edge"), find("wrong entry at the edge")}}
	for _, p := range pairs {
		if id(600, p[0]) == id(600, p[1]) {
			t.Errorf("%s and %s are the same fault", p[0].name, p[1].name)
		}
	}
}

// observationSamples returns one observation of each service.
func observationSamples(t testing.TB) map[string]*Evidence {
	l := newServed()
	m := make(map[string]*Evidence)
	for _, c := range answerCases(l) {
		size := int64(600)
		switch c.name {
		case "zip", "zip that is none", "mod", "info", "list gone", "latest", "lookup with another index", "gap", "wrong edge":
		case "cut entries":
			// A short bundle.
			c.index, size = 1, 3
			c.answer.URL = base + "/tile/entries/000.p/2"
			c.answer.Body = bundleText(l, 0, 2, true)
			c.answer.Body = c.answer.Body[:len(c.answer.Body)-1]
		default:
			continue
		}
		e, err := Observe(l.proven(0, l.note(0, size), c.index), c.answer)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		name := "E11-" + string(c.answer.Service)
		if c.answer.Service == Zip && c.answer.H1 == [32]byte{} {
			name += "-none"
		}
		m[name] = e
	}
	e, err := TagMoved(l.proven(0, l.note(0, 600), 7), movedTag())
	if err != nil {
		t.Fatal(err)
	}
	m["E14"] = e
	return m
}

func TestTagMoved(t *testing.T) {
	l := newServed()
	p := l.proven(0, l.note(0, 600), 7)
	replace := func(tag Tag, old, new string) Tag {
		if !bytes.Contains(tag.Info, []byte(old)) {
			t.Fatalf("no %q", old)
		}
		tag.Info = bytes.Replace(tag.Info, []byte(old), []byte(new), 1)
		return tag
	}
	refs := func(lines ...string) Tag {
		tag := movedTag()
		tag.Refs = []byte(strings.Join(lines, "\n") + "\n")
		return tag
	}
	for _, c := range []struct {
		name  string
		tag   Tag
		moved bool
	}{
		{"annotated", movedTag(), true},
		{"lightweight", refs(commit2 + "\trefs/tags/v1.7.0"), true},
		{"in a directory", func() Tag {
			tag := replace(movedTag(), "refs/tags/v1.7.0", "refs/tags/sub/v1.7.0")
			tag.Refs = []byte(commit2 + "\trefs/tags/sub/v1.7.0\n")
			return tag
		}(), true},
		{"unmoved", refs(tagObject+"\trefs/tags/v1.7.0", commit1+"\trefs/tags/v1.7.0^{}"), false},
		{"gone", refs(commit1 + "\trefs/heads/main"), false},
		{"only peeled", refs(commit2 + "\trefs/tags/v1.7.0^{}"), false},
		{"twice", refs(commit1+"\trefs/tags/v1.7.0", commit2+"\trefs/tags/v1.7.0"), false},
		{"no commit in the refs", refs(strings.Repeat("z", 40)+"\trefs/heads/x", commit2+"\trefs/tags/v1.7.0"), false},
		{"garbage", refs("fatal: not a repository", commit2+"\trefs/tags/v1.7.0"), false},
		{"no refs", refs(), false},
		{"other hash function", refs(strings.Repeat("2", 64) + "\trefs/tags/v1.7.0"), false},
		{"another version", replace(movedTag(), `"v1.7.0"`, `"v1.8.0"`), false},
		{"another tag", replace(movedTag(), "refs/tags/v1.7.0", "refs/tags/v1.8.0"), false},
		{"a branch", func() Tag {
			tag := replace(movedTag(), "refs/tags/v1.7.0", "refs/heads/v1.7.0")
			tag.Refs = []byte(commit2 + "\trefs/heads/v1.7.0\n")
			return tag
		}(), false},
		{"capitals", replace(movedTag(), commit1, strings.Repeat("A", 40)), false},
		{"another system", replace(movedTag(), `"git"`, `"hg"`), false},
		{"no commit", replace(movedTag(), commit1, "main"), false},
		{"two versions", replace(movedTag(), `{"Version"`, `{"version":"v1.8.0","Version"`), false},
		{"two commits", replace(movedTag(), `"Hash"`, `"hash":"x","Hash"`), false},
		{"two commits, oddly spelled", replace(movedTag(), `"Hash"`, `"Haſh":"x","Hash"`), false},
		{"no origin", Tag{URL: movedTag().URL, Time: noon, Info: []byte(`{"Version":"v1.7.0"}`), Refs: movedTag().Refs}, false},
		{"no JSON", Tag{URL: movedTag().URL, Time: noon, Info: []byte(servedInfo + "x"), Refs: movedTag().Refs}, false},
		{"another URL", Tag{URL: movedTag().URL + "x", Time: noon, Info: movedTag().Info, Refs: movedTag().Refs}, false},
		{"no time", Tag{URL: movedTag().URL, Info: movedTag().Info, Refs: movedTag().Refs}, false},
		{"too long", Tag{URL: movedTag().URL, Time: noon, Info: movedTag().Info, Refs: append(movedTag().Refs, bytes.Repeat([]byte(commit2+"\trefs/x\n"), MaxBody/48)...)}, false},
	} {
		e, err := TagMoved(p, c.tag)
		if (err == nil) != c.moved {
			t.Errorf("%s: %v %v", c.name, e, err)
		}
		if err == nil {
			if again, err := Parse(e.Bytes()); err != nil || again.String() != e.String() {
				t.Errorf("%s: %v %v", c.name, again, err)
			}
		}
	}
}

// TestObservationForged has files with what Observe does not keep.
// rewritten returns the file of e with something else in it, and a right last line.
func rewritten(t *testing.T, e *Evidence, old, new string) []byte {
	t.Helper()
	f := e.Bytes()
	if !bytes.Contains(f, []byte(old)) {
		t.Fatalf("no %q in\n%s", old, f)
	}
	return resum(bytes.Replace(f, []byte(old), []byte(new), 1))
}

func TestObservationForged(t *testing.T) {
	s := observationSamples(t)
	file := func(name, old, new string) []byte { return rewritten(t, s[name], old, new) }
	for name, f := range map[string][]byte{
		"time with zone":    file("E11-mod", "T12:00:00Z", "T13:00:00+01:00"),
		"time of less":      file("E11-mod", "T12:00:00Z", "T12:00:00.5Z"),
		"status with sign":  file("E11-mod", "status 200", "status +200"),
		"status with zero":  file("E11-mod", "status 200", "status 0200"),
		"large status":      file("E11-mod", "status 200", "status 9223372036854775807"),
		"larger status":     file("E11-mod", "status 200", "status 99999999999999999999"),
		"a line more":       file("E11-mod", "status 200\n", "status 200\nstatus 200\n"),
		"a line at the end": file("E11-zip", "\nzip ", "\nx y\nzip "),
		"zip, capitals":     file("E11-zip", fmt.Sprintf("zip %x", s["E11-zip"].answer.SHA256), fmt.Sprintf("zip %X", s["E11-zip"].answer.SHA256)),
		"zip without h1":    file("E11-zip", " h1:", " "),
		"zip of zeros":      file("E11-zip-none", " -\n", " "+record.H1([32]byte{})+"\n"),
		"no body":           file("E11-mod", "\nbody ", "\n"),
		"service":           file("E11-mod", "service mod", "service zip"),
		"log of a witness":  file("E11-mod", "\nlog ", "\ncosigner "),
		"E14 as E11":        file("E14", "v1 E14", "v1 E11"),
	} {
		if e, err := Parse(f); !errors.Is(err, ErrNotProven) {
			t.Errorf("%s: %v %v", name, e, err)
		}
	}
}

func TestFeedLimit(t *testing.T) {
	for query, want := range map[string]int64{"": 2000, "?limit=7": 7, "?limit=2000": 2000, "?limit=9223372036854775807": 2000} {
		u, err := url.Parse(base + "/index" + query)
		if err != nil {
			t.Fatal(err)
		}
		if q, err := parseFeedQuery(u); err != nil || q.limit != want {
			t.Errorf("%q: %d, %v", query, q.limit, err)
		}
	}
}

// TestLatestBefore has the versions of a module in their order.
func TestLatestBefore(t *testing.T) {
	order := []string{
		"v9.0.0-20260101000000-0123456789ab+incompatible",
		"v0.0.0-20260101000000-0123456789ab",
		"v1.0.0-20260101000000-0123456789ab",
		"v0.0.0-20270101000000-0123456789ab",
		"v3.0.0-rc.1+incompatible",
		"v1.0.0-rc.1",
		"v1.0.0-rc.2",
		"v2.0.0+incompatible",
		"v0.9.0",
		"v0.10.0",
	}
	for i, v := range order {
		for j, w := range order {
			if LatestBefore(v, w) != (i < j) {
				t.Errorf("%s, %s: %v", v, w, !(i < j))
			}
		}
	}
}

// TestAmbiguousURL has URLs of which servers differ in what they stand for: who asks
// again must be able to see the same.
func TestAmbiguousURL(t *testing.T) {
	l := newServed()
	for url, ok := range map[string]bool{
		base + "/example.com/!m/@v/v1.7.0.mod":          true,
		base + "/example.com/%21m/@v/v1.7.0.mod":        true,
		base + "/a%20b/example.com/!m/@v/v1.7.0.mod":    true,
		base + "/example.com/!m/@v%2Fv1.7.0.mod":        false,
		base + "/ask%2fexample.com/!m/@v/v1.7.0.mod":    false,
		base + "/a/../example.com/!m/@v/v1.7.0.mod":     false,
		base + "/a/%2e%2e/example.com/!m/@v/v1.7.0.mod": false,
		base + "/./example.com/!m/@v/v1.7.0.mod":        false,
	} {
		a := Answer{Service: Mod, URL: url, Time: noon, Status: 200, Body: []byte("module evil\n")}
		if _, err := Observe(l.proven(0, l.note(0, 600), 7), a); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}
