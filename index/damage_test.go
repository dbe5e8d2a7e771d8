// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A recorder counts how often a database was made, by the log.
type recorder struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *recorder) made() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(r.text.String(), "making index")
}

// reopen opens the index at path, checks that it is that of m, and reports
// whether it was made again.
func reopen(t *testing.T, path string, m *memory, want dump) (made bool) {
	t.Helper()
	var r recorder
	return reopenTo(t, path, m, want, &r)
}

// reopenTo is reopen with a log to r.
func reopenTo(t *testing.T, path string, m *memory, want dump, r *recorder) (made bool) {
	t.Helper()
	x, err := Open(Config{Path: path, Source: m, Logger: slog.New(slog.NewTextHandler(r, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if diff := cmp.Diff(want, dumpOf(t, x, m)); diff != "" {
		t.Fatalf("reopened index differs (-want +got):\n%s\nlog: %s", diff, r.text.String())
	}
	return r.made()
}

// copyDB copies the database and its write-ahead log as a crash would leave
// them, into a new folder.
func copyDB(t *testing.T, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "index.db")
	for _, suffix := range []string{"", "-wal", linesSuffix} {
		b, err := os.ReadFile(path + suffix)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to+suffix, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// sound makes a closed, sound index of a log of n entries.
func sound(t *testing.T, n int) (path string, m *memory, want dump) {
	t.Helper()
	m = newMemory(t, "sum.example.com")
	path = filepath.Join(t.TempDir(), "index.db")
	x := open(t, path, m)
	for _, p := range grow(t, m, n, 37, time.Second) {
		if err := x.Publish(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	want = wantDump(t, m)
	if reopen(t, path, m, want) {
		t.Fatal("a sound index was made again")
	}
	return path, m, want
}

func TestMissing(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	path := filepath.Join(t.TempDir(), "index.db")
	x := open(t, path, m)
	for _, p := range grow(t, m, 300, 37, time.Second) {
		if err := x.Publish(p); err != nil {
			t.Fatal(err)
		}
	}
	// A crash leaves a write-ahead log, with the last changes to a database that
	// is then deleted. It must not be replayed into the new one.
	x.tidy(maxWALPages)
	for _, p := range grow(t, m, 3, 1, time.Second) {
		if err := x.Publish(p); err != nil {
			t.Fatal(err)
		}
	}
	crashed := copyDB(t, path)
	if err := os.Remove(crashed); err != nil {
		t.Fatal(err)
	}
	grow(t, m, 300, 1, time.Second)
	if !reopen(t, crashed, m, wantDump(t, m)) {
		t.Error("a missing index was not made")
	}
}

// With no space left nothing of a publication is applied; with space again all
// of it is, at the right times.
func TestFull(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	x := open(t, filepath.Join(t.TempDir(), "index.db"), m)
	grow(t, m, 100, 7, time.Second)
	if err := x.Publish(m.Published()); err != nil {
		t.Fatal(err)
	}
	v, err := x.w.conn.First("PRAGMA page_count")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.w.conn.First(fmt.Sprint("PRAGMA max_page_count = ", v[0])); err != nil {
		t.Fatal(err)
	}
	before := m.Published().Size
	for _, p := range grow(t, m, 4000, 1000, time.Second) {
		if err := x.Publish(p); err == nil {
			t.Fatal("Publish succeeded without space")
		}
		if n := x.Size(); n != before {
			t.Fatalf("size after a failure = %d, want %d", n, before)
		}
		if _, ok, err := x.Find(m.entries[before].Record.Module); ok || err != nil {
			t.Fatalf("Find of what is not applied = %v, %v", ok, err)
		}
	}
	if _, err := x.w.conn.First("PRAGMA max_page_count = 100000"); err != nil {
		t.Fatal(err)
	}
	if err := x.Publish(m.Published()); err != nil {
		t.Fatal(err)
	}
	checkDump(t, x, m)
}

func TestRebuildOnRequest(t *testing.T) {
	path, m, want := sound(t, 300)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	x, err := Open(Config{Path: path, Source: m, Rebuild: true})
	if err != nil {
		t.Fatal(err)
	}
	x.Close()
	if after, err := os.Stat(path); err != nil || os.SameFile(before, after) {
		t.Errorf("Rebuild left the old file (%v)", err)
	}
	if reopen(t, path, m, want) {
		t.Error("the new index was made yet again")
	}
}

func TestOtherLog(t *testing.T) {
	path, _, _ := sound(t, 300)
	t.Run("ahead", func(t *testing.T) {
		m := newMemory(t, "sum.example.com")
		grow(t, m, 111, 37, time.Second) // what the log was once
		var r recorder
		if !reopenTo(t, copyDB(t, path), m, wantDump(t, m), &r) {
			t.Error("an index ahead of its log was kept")
		}
		if !strings.Contains(r.text.String(), "300 entries, more than the log's 111") {
			t.Errorf("the reason given is %s", r.text.String())
		}
	})
	t.Run("name", func(t *testing.T) {
		m := newMemory(t, "sum.example.org")
		grow(t, m, 300, 37, time.Second)
		if !reopen(t, copyDB(t, path), m, wantDump(t, m)) {
			t.Error("the index of another name was kept")
		}
	})
	t.Run("tree", func(t *testing.T) {
		m := newMemory(t, "sum.example.com")
		m.append(t, testRecord("example.com/first", "v1.0.0"))
		grow(t, m, 299+400, 37, time.Second)
		if !reopen(t, copyDB(t, path), m, wantDump(t, m)) {
			t.Error("the index of another tree was kept")
		}
	})
	t.Run("archive", func(t *testing.T) { // the same tree, published at other times
		m := newMemory(t, "sum.example.com")
		grow(t, m, 300, 37, time.Minute)
		if !reopen(t, copyDB(t, path), m, wantDump(t, m)) {
			t.Error("the index of another archive was kept")
		}
	})
}

func TestFarBehind(t *testing.T) {
	path, m, _ := sound(t, 37)
	for i := range rebuildBehind + 100 {
		m.append(t, testRecord("example.com/far", fmt.Sprintf("v1.0.%d", i*7919%10_111)))
	}
	m.archive(m.publication(t, epoch.Add(time.Hour)))
	if !reopen(t, path, m, wantDump(t, m)) {
		t.Error("an index far behind was not made again")
	}
}

// A kill leaves the database and its write-ahead log as they are at that
// moment; a power loss may also take the end of the write-ahead log.
func TestCrash(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	path := filepath.Join(t.TempDir(), "index.db")
	x := open(t, path, m)
	rnd := rand.New(rand.NewPCG(5, 6))
	for round := range 12 {
		ps := grow(t, m, 45, 3, 2*time.Microsecond)
		for _, p := range ps {
			if err := x.Publish(p); err != nil {
				t.Fatal(err)
			}
		}
		want := wantDump(t, m)
		killed := copyDB(t, path)
		if reopen(t, killed, m, want) {
			t.Errorf("round %d: made again after a kill", round)
		}
		lost := copyDB(t, path)
		fi, err := os.Stat(lost + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(lost+"-wal", rnd.Int64N(fi.Size()+1)); err != nil {
			t.Fatal(err)
		}
		if reopen(t, lost, m, want) {
			t.Errorf("round %d: made again after a power loss", round)
		}
	}
}

// A write-ahead log that was written back and then lost its end leaves a mixture: it
// is read, and what stood behind it is in the database already.
func TestMixture(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	path := filepath.Join(t.TempDir(), "index.db")
	// Tables of many pages, of which a publication changes some.
	grow(t, m, 5000, 5000, time.Second)
	x := open(t, path, m)
	for _, p := range grow(t, m, 120, 3, time.Second) {
		if err := x.Publish(p); err != nil {
			t.Fatal(err)
		}
	}
	x.tidy(maxWALPages)
	want := wantDump(t, m)
	fi, err := os.Stat(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	const cuts = 25
	for i := range cuts {
		cut := copyDB(t, path)
		if err := os.Truncate(cut+"-wal", fi.Size()*int64(i)/cuts); err != nil {
			t.Fatal(err)
		}
		if reopen(t, cut, m, want) {
			made++
		}
	}
	if made == 0 {
		t.Error("no mixture was noticed")
	}
}

// Readers that sit on an old state, idle or busy, must not make the write-ahead
// log grow for ever.
func TestWALBounded(t *testing.T) {
	for _, busy := range []bool{false, true} {
		m := newMemory(t, "sum.example.com")
		path := filepath.Join(t.TempDir(), "index.db")
		x := open(t, path, m)
		find := func(i int) {
			if _, ok, err := x.Find(nthRecord(i).Module); err != nil || !ok {
				t.Error(i, ok, err)
			}
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		largest := int64(0)
		for i := range 1500 {
			p := grow(t, m, 1, 1, time.Second)[0]
			if err := x.Publish(p); err != nil {
				t.Fatal(err)
			}
			if i == 0 && busy {
				for range 3 {
					wg.Go(func() {
						for {
							select {
							case <-stop:
								return
							default:
								find(0)
							}
						}
					})
				}
			}
			if i%3 == 0 { // one of the readers begins a transaction
				find(i)
			}
			fi, err := os.Stat(path + "-wal")
			if err != nil {
				t.Fatal(err)
			}
			largest = max(largest, fi.Size())
		}
		close(stop)
		wg.Wait()
		t.Logf("busy %v: write-ahead log of at most %d bytes", busy, largest)
		if largest > 4*maxWALPages*8192 {
			t.Errorf("busy %v: write-ahead log grew to %d bytes", busy, largest)
		}
	}
}

func TestNotAFile(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	path := filepath.Join(t.TempDir(), "index.db")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Path: path, Source: m}); err == nil {
		t.Error("a directory was opened as an index")
	}
	if fi, err := os.Stat(path); err != nil || !fi.IsDir() {
		t.Errorf("the directory was replaced: %v", err)
	}
	path = filepath.Join(t.TempDir(), "missing", "index.db")
	if _, err := Open(Config{Path: path, Source: m}); !os.IsNotExist(err) && err == nil {
		t.Errorf("Open below a missing directory: %v", err)
	}
}

// An odd but legal file name must reach SQLite unchanged.
func TestOddPath(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	grow(t, m, 10, 3, time.Second)
	dir := t.TempDir()
	path := filepath.Join(dir, "a?b#c%41 d&mode=memory.db")
	if !reopen(t, path, m, wantDump(t, m)) || reopen(t, path, m, wantDump(t, m)) {
		t.Error("the index was not kept under its name")
	}
	var names []string
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if !d.IsDir() {
			names = append(names, d.Name())
		}
		return err
	})
	if base := filepath.Base(path); !slices.Equal(names, []string{base, base + linesSuffix}) {
		t.Errorf("files are %q", names)
	}
}
