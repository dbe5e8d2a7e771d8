// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/sumlog/log"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/module"
	"pgregory.net/rapid"
)

// open opens an index of src and closes it at the end of the test.
func open(t testing.TB, path string, src Source) *Index {
	t.Helper()
	x := mustOpen(t, Config{Path: path, Source: src, Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil))})
	t.Cleanup(func() { x.Close() })
	return x
}

func mustOpen(t testing.TB, c Config) *Index {
	t.Helper()
	x, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// serve answers a GET as the wired server would.
func serve(h http.Handler, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
	return w
}

// wantTimes derives the times of entries from the archive, straight from the
// definition in log.Entry.
func wantTimes(m *memory) []time.Time {
	var times []time.Time
	for i := range m.Published().Size {
		var t time.Time
		for _, p := range m.pubs {
			if p.Size > i {
				t = p.Time
				break
			}
		}
		if i > 0 && !t.After(times[i-1]) {
			t = times[i-1].Add(time.Microsecond)
		}
		times = append(times, t)
	}
	return times
}

// dump is everything that an index says.
type dump struct {
	Feed     string
	Versions map[string][]Version
	Found    []log.Entry
	Lookups  []string
}

func dumpOf(t testing.TB, x *Index, m *memory) dump {
	t.Helper()
	d := dump{Versions: map[string][]Version{}}
	size := m.Published().Size
	d.Feed, _ = wholeFeed(t, x)
	lookup := x.Lookup(nil, nil)
	for _, e := range m.entries[:size] {
		found, ok, err := x.Find(e.Record.Module)
		if err != nil || !ok {
			t.Fatalf("Find(%v) = %v, %v", e.Record.Module, ok, err)
		}
		d.Found = append(d.Found, found)
		path := e.Record.Module.Path
		if _, ok := d.Versions[path]; !ok {
			if d.Versions[path], err = x.Versions(path, size); err != nil {
				t.Fatal(err)
			}
		}
		d.Lookups = append(d.Lookups, serve(lookup, lookupPath(e.Record.Module)).Body.String())
	}
	return d
}

func lookupPath(m module.Version) string {
	path, err := module.EscapePath(m.Path)
	if err != nil {
		panic(err)
	}
	version, err := module.EscapeVersion(m.Version)
	if err != nil {
		panic(err)
	}
	return "/lookup/" + path + "@" + version
}

// wantDump is what an index of m must say, made without one.
func wantDump(t testing.TB, m *memory) dump {
	t.Helper()
	d := dump{Versions: map[string][]Version{}}
	var feed bytes.Buffer
	times := wantTimes(m)
	for i, e := range m.entries[:len(times)] {
		e.Time = times[i]
		mod := e.Record.Module
		line, err := json.Marshal(struct {
			Path, Version string
			Timestamp     time.Time
		}{mod.Path, mod.Version, e.Time})
		if err != nil {
			t.Fatal(err)
		}
		feed.Write(line)
		feed.WriteByte('\n')
		d.Versions[mod.Path] = append(d.Versions[mod.Path], Version{mod.Version, e.Index, e.Time})
		d.Found = append(d.Found, e)
		d.Lookups = append(d.Lookups, fmt.Sprintf("%d\n%s\n%s", i, e.Record.Text(), m.Published().TreeHead))
	}
	d.Feed = feed.String()
	return d
}

func checkDump(t testing.TB, x *Index, m *memory) {
	t.Helper()
	if diff := cmp.Diff(wantDump(t, m), dumpOf(t, x, m)); diff != "" {
		t.Fatalf("index differs from log (-want +got):\n%s", diff)
	}
}

// nthRecord returns records of a few modules, paths and versions in no order.
func nthRecord(i int) log.Record {
	path := fmt.Sprintf("example.com/%c/Mod%d", 'a'+byte(i*7%5), i*31%11)
	if i%4 == 0 {
		path = "example.com/a"
	}
	return testRecord(path, fmt.Sprintf("v1.%d.%d", i*17%23, i))
}

// grow appends n records, publishes them step at a time, and returns the
// publications, which are archived.
func grow(t testing.TB, m *memory, n, step int, gap time.Duration) []*log.Publication {
	t.Helper()
	var ps []*log.Publication
	for n > 0 {
		k := min(step, n)
		for range k {
			m.append(t, nthRecord(len(m.entries)))
		}
		p := m.publication(t, m.Published().Time.Add(gap))
		m.archive(p)
		ps = append(ps, p)
		n -= k
	}
	return ps
}

func TestIncrementalIsRebuild(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMemory(t, "sum.example.com")
		dir := t.TempDir()
		c := Config{Path: filepath.Join(dir, "index.db"), Source: m}
		x := mustOpen(t, c)
		defer func() { x.Close() }()
		for range rapid.IntRange(1, 12).Draw(rt, "publications") {
			n := rapid.SampledFrom([]int{0, 1, 2, 3, 40, 127, 128, 129, 300}).Draw(rt, "entries")
			// Less than n microseconds: entries then get times beyond their
			// publication's, and may push those of the next.
			gap := rapid.SampledFrom([]int{1, 2, 50, 1e6}).Draw(rt, "microseconds")
			for range n {
				m.append(t, nthRecord(len(m.entries)))
			}
			p := m.publication(t, m.Published().Time.Add(time.Duration(gap)*time.Microsecond))
			switch rapid.IntRange(0, 5).Draw(rt, "event") {
			case 0: // fails; the next call has a later publication
				m.setFail(errors.New("no entries today"))
				if err := x.Publish(p); n > 0 && err == nil {
					rt.Fatal("Publish succeeded without entries")
				}
				m.setFail(nil)
			case 1: // restart, with this publication missed
				m.archive(p)
				x.Close()
				x = mustOpen(t, c)
				continue
			case 2: // twice
				if err := x.Publish(p); err != nil {
					rt.Fatal(err)
				}
				fallthrough
			default:
				if err := x.Publish(p); err != nil {
					rt.Fatal(err)
				}
			}
			m.archive(p)
		}
		if err := x.Publish(m.Published()); err != nil {
			rt.Fatal(err)
		}
		checkDump(t, x, m)
		c.Path = filepath.Join(dir, "rebuilt.db")
		rebuilt := mustOpen(t, c)
		defer rebuilt.Close()
		checkDump(t, rebuilt, m)
		if !bytes.Equal(readLines(t, x), readLines(t, rebuilt)) {
			rt.Fatal("lines written as they came and lines rebuilt differ")
		}
	})
}

func TestVersionsAtSize(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	grow(t, m, 100, 9, time.Second)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), m)
	for size := range int64(101) {
		var want []string
		for _, e := range m.entries[:size] {
			if e.Record.Module.Path == "example.com/a" {
				want = append(want, e.Record.Module.Version)
			}
		}
		vs, err := x.Versions("example.com/a", size)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range vs {
			got = append(got, v.Version)
		}
		if !cmp.Equal(got, want) {
			t.Errorf("Versions at size %d = %v, want %v", size, got, want)
		}
	}
	if vs, err := x.Versions("example.com/none", 100); len(vs) != 0 || err != nil {
		t.Errorf("Versions of nothing = %v, %v", vs, err)
	}
}

func TestDuplicateIsUnsafe(t *testing.T) {
	for _, first := range []int{3, 20_000} { // in one call to apply, in a rebuild
		m := newMemory(t, "sum.example.com")
		path := filepath.Join(t.TempDir(), "index.db")
		var x *Index
		if first == 3 {
			x = open(t, path, m)
		}
		for i := range first {
			m.append(t, testRecord("example.com/m", fmt.Sprintf("v1.0.%d", i)))
		}
		m.append(t, testRecord("example.com/other", "v1.0.0"), testRecord("example.com/m", "v1.0.1"))
		p := m.publication(t, epoch.Add(time.Second))
		m.archive(p)
		var err error
		if x != nil {
			err = x.Publish(p)
			if n := x.Size(); n != 0 {
				t.Errorf("size after duplicate = %d, want 0", n)
			}
		} else {
			_, err = Open(Config{Path: path, Source: m})
		}
		if !errors.Is(err, log.ErrUnsafe) {
			t.Fatalf("duplicate: %v, want ErrUnsafe", err)
		}
		want := fmt.Sprintf("example.com/m@v1.0.1 is in the log twice, at 1 and at %d", first+1)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("duplicate: %q does not say %q", err, want)
		}
	}
}

// A record with other hashes is a duplicate too, and also when the first was
// applied long before.
func TestConflictIsUnsafe(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	grow(t, m, 10, 1, time.Second)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), m)
	r := testRecord("example.com/x", "v1.0.0")
	r.Module = m.entries[4].Record.Module
	m.append(t, r)
	err := x.Publish(m.publication(t, epoch.Add(time.Hour)))
	if !errors.Is(err, log.ErrUnsafe) || !strings.Contains(err.Error(), "at 4 and at 10") {
		t.Errorf("conflict: %v, want ErrUnsafe naming 4 and 10", err)
	}
}

func TestBadSource(t *testing.T) {
	for _, c := range []struct {
		name string
		bend func(m *memory)
	}{
		{"index", func(m *memory) { m.entries[5].Index = 6 }},
		{"root", func(m *memory) {
			p := *m.pubs[len(m.pubs)-1]
			p.Root[0]++
			m.pubs[len(m.pubs)-2] = &p // archive and published differ
		}},
	} {
		m := newMemory(t, "sum.example.com")
		grow(t, m, 10, 10, time.Second)
		m.archive(m.publication(t, epoch.Add(time.Hour)))
		c.bend(m)
		if _, err := Open(Config{Path: filepath.Join(t.TempDir(), "index.db"), Source: m}); err == nil {
			t.Errorf("%s: Open succeeded", c.name)
		}
	}
}

// A COMMIT may be reported as failed and yet have happened. Then the next call
// must show it to readers, or the log would log the same again.
func TestCommittedAfterAll(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	grow(t, m, 10, 5, time.Second)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), m)
	for range cap(x.readers.free) { // all have a transaction now
		if _, ok, err := x.Find(nthRecord(3).Module); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	p := grow(t, m, 1, 1, time.Second)[0]
	before := x.w.state
	if err := x.w.apply(m, p, true); err != nil {
		t.Fatal(err)
	}
	x.w.state, x.unsure = before, true
	if err := x.Publish(p); err != nil {
		t.Fatal(err)
	}
	for range cap(x.readers.free) {
		if _, ok, err := x.Find(nthRecord(10).Module); !ok || err != nil {
			t.Errorf("Find after the commit = %v, %v", ok, err)
		}
	}
	checkDump(t, x, m)
}

func TestProgress(t *testing.T) {
	src := newSynthetic(20_000)
	var last, calls int64
	x, err := Open(Config{Path: filepath.Join(t.TempDir(), "index.db"), Source: src, Progress: func(done, total int64) {
		if done <= last || total != 60_000 {
			t.Errorf("Progress(%d, %d) after %d", done, total, last)
		}
		last = done
		calls++
	}})
	if err != nil {
		t.Fatal(err)
	}
	x.Close()
	if last != 60_000 || calls < 3 {
		t.Errorf("Progress ended at %d after %d calls", last, calls)
	}
}

func TestClosed(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	ps := grow(t, m, 3, 1, time.Second)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), m)
	for range 2 {
		if err := x.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, _, err := x.Find(m.entries[0].Record.Module); !errors.Is(err, errClosed) {
		t.Errorf("Find after Close: %v", err)
	}
	if err := x.Publish(ps[2]); !errors.Is(err, errClosed) {
		t.Errorf("Publish after Close: %v", err)
	}
	for _, target := range []string{"/index", "/index?prefix=example.com"} {
		if w := serve(x.Feed(), target); w.Code != 500 {
			t.Errorf("%s after Close: %d, want 500", target, w.Code)
		}
	}
}
