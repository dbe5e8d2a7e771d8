// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/sumlog/internal/sqlite"
	"example.org/sumlog/internal/testrace"
	"example.org/sumlog/log"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/module"
)

// A rotting is a small database, of small pages, with a write-ahead log beside it,
// and what it must answer.
type rotting struct {
	m        *memory
	path     string // of the copy that is damaged
	sound    map[string][]byte
	entries  []log.Entry
	versions map[string][]Version
	under    []byte
}

// newRotting makes a database that was closed, or one as a kill leaves it, with what
// came last in the write-ahead log alone.
func newRotting(t *testing.T, killed bool) *rotting {
	t.Helper()
	old := pageSize
	pageSize = 512
	t.Cleanup(func() { pageSize = old })
	m := newMemory(t, "sum.example.com")
	grow(t, m, 13, 9, time.Second)
	path := filepath.Join(t.TempDir(), "index.db")
	x := open(t, path, m)
	for _, p := range grow(t, m, 12, 5, time.Second) { // the tables are split
		if err := x.Publish(p); err != nil {
			t.Fatal(err)
		}
	}
	if !killed {
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r := &rotting{m: m, path: copyDB(t, path), sound: map[string][]byte{}}
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(r.path + suffix)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		r.sound[suffix] = b
	}
	if _, ok := r.sound["-wal"]; ok != killed {
		t.Fatalf("killed %v: with a write-ahead log %v", killed, ok)
	}
	want := wantDump(t, m)
	r.entries, r.versions = want.Found, want.Versions
	for line := range strings.Lines(want.Feed) {
		if strings.Contains(line, `"example.com/a`) {
			r.under = append(r.under, line...)
		}
	}
	return r
}

// restore puts the sound files back.
func (r *rotting) restore(t *testing.T) {
	t.Helper()
	for _, suffix := range []string{"-shm", "-wal"} {
		os.Remove(r.path + suffix)
	}
	for suffix, b := range r.sound {
		if err := os.WriteFile(r.path+suffix, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// ask asks for all there is and for what is not there, and reports how many answers
// were errors. Any wrong one, absence above all, fails the test.
func (r *rotting) ask(t *testing.T, what string, rd *reader) (failed int) {
	t.Helper()
	if err := rd.start(); err != nil {
		return 1
	}
	size := rd.state.size
	for _, want := range r.entries[:size] {
		e, found, err := rd.find(r.m, want.Record.Module)
		switch {
		case err != nil:
			failed++
		case !found || e != want:
			t.Fatalf("%s: entry %d: got %v, %v", what, want.Index, e, found)
		}
	}
	for i := range 30 {
		m := module.Version{Path: fmt.Sprintf("example.com/none%d", i), Version: "v1.0.0"}
		if e, found, err := rd.find(r.m, m); found {
			t.Fatalf("%s: found %v, %v for %v", what, e, err, m)
		} else if err != nil {
			failed++
		}
	}
	for path, want := range r.versions {
		vs, err := rd.versionsOf(path, size)
		want = want[:slices.IndexFunc(append(slices.Clone(want), Version{Index: size}), func(v Version) bool { return v.Index >= size })]
		switch {
		case err != nil:
			failed++
		case len(vs) != len(want) || len(vs) > 0 && !cmp.Equal(vs, want):
			t.Fatalf("%s: versions of %s: got %v, want %v", what, path, vs, want)
		}
	}
	if err := rd.end(); err != nil {
		failed++
	}
	page, err := rd.sortUnder(feedQuery{since: noTime, limit: maxPage, prefix: "example.com/a"}, size)
	switch {
	case err != nil:
		failed++
	case !bytes.HasPrefix(r.under, page) || size == int64(len(r.entries)) && len(page) != len(r.under):
		t.Fatalf("%s: page under example.com/a: got %s", what, page)
	}
	return failed
}

// before opens the damaged database as a start does, and asks.
func (r *rotting) before(t *testing.T, what string) (noticed bool) {
	t.Helper()
	w, err := openWriter(r.path)
	if err != nil {
		return true
	}
	defer w.close()
	if err := w.check(r.m); err != nil {
		return true
	}
	rd, err := openReader(r.path)
	if err != nil {
		return true
	}
	defer rd.conn.Close()
	return r.ask(t, what, rd) > 0
}

// flips yields bits of n bytes to flip: some, or with CI=true one of each of step,
// other ones in each run. (With the race detector there are some: scripts/check runs
// these tests without it, too.)
func flips(n, step int) iter.Seq[int] {
	return func(yield func(int) bool) {
		if os.Getenv("CI") != "true" || testrace.Enabled {
			step = max(1, 8*n/100)
		}
		for bit := rand.IntN(step); bit < 8*n; bit += step {
			if !yield(bit + rand.IntN(min(step, 8*n-bit))) {
				return
			}
		}
	}
}

// Whatever bit was flipped and whatever page zeroed before a start, what is answered
// is right, or it is an error.
func TestRotBefore(t *testing.T) {
	for _, killed := range []bool{false, true} {
		r := newRotting(t, killed)
		r.restore(t)
		if r.before(t, "sound") {
			t.Fatal("a sound database was not taken for one")
		}
		for suffix, b := range r.sound {
			tries, noticed := 0, 0
			damage := func(what string, at int, b []byte) {
				t.Helper()
				r.restore(t)
				writeAt(t, r.path+suffix, at, b)
				tries++
				if r.before(t, fmt.Sprintf("index.db%s, %s", suffix, what)) {
					noticed++
				}
			}
			for bit := range flips(len(b), 64) {
				damage(fmt.Sprintf("bit %d", bit), bit/8, []byte{b[bit/8] ^ 1<<(bit%8)})
			}
			for at := 0; at < len(b); at += pageSize {
				damage(fmt.Sprintf("page %d zeroed", at/pageSize), at, make([]byte, min(pageSize, len(b)-at)))
			}
			r.restore(t)
			if err := os.Truncate(r.path+suffix, int64(len(b)/3)); err != nil {
				t.Fatal(err)
			}
			r.before(t, "index.db"+suffix+", cut")
			t.Logf("killed %v: of %d damages of index.db%s %d were noticed", killed, tries, suffix, noticed)
			if !killed && noticed < tries/20 {
				t.Error("these are too few")
			}
		}
	}
}

// The same while it is open.
func TestRotWhileOpen(t *testing.T) {
	for _, killed := range []bool{false, true} {
		r := newRotting(t, killed)
		r.restore(t)
		w, err := openWriter(r.path)
		if err != nil {
			t.Fatal(err)
		}
		defer w.close()
		rd, err := openReader(r.path)
		if err != nil {
			t.Fatal(err)
		}
		defer rd.conn.Close()
		if n := r.ask(t, "sound", rd); n > 0 {
			t.Fatalf("%d errors without damage", n)
		}
		for suffix, b := range r.sound {
			tries, failed := 0, 0
			damage := func(what string, at int, bad []byte) {
				t.Helper()
				writeAt(t, r.path+suffix, at, bad)
				// Nothing is kept of before.
				if err := rd.conn.Exec("PRAGMA shrink_memory"); err != nil {
					t.Fatal(err)
				}
				tries++
				if r.ask(t, fmt.Sprintf("index.db%s, %s", suffix, what), rd) > 0 {
					failed++
				}
				rd.end()
				writeAt(t, r.path+suffix, at, b[at:at+len(bad)])
			}
			for bit := range flips(len(b), 8) {
				damage(fmt.Sprintf("bit %d", bit), bit/8, []byte{b[bit/8] ^ 1<<(bit%8)})
			}
			for at := 0; at < len(b); at += pageSize {
				damage(fmt.Sprintf("page %d zeroed", at/pageSize), at, make([]byte, min(pageSize, len(b)-at)))
			}
			if err := os.Truncate(r.path+suffix, int64(len(b)/3)); err != nil {
				t.Fatal(err)
			}
			damage("cut", 0, nil)
			writeAt(t, r.path+suffix, 0, b)
			t.Logf("killed %v: of %d damages of index.db%s %d led to errors", killed, tries, suffix, failed)
			if !killed && failed < tries/20 {
				t.Error("these are too few")
			}
		}
	}
}

func writeAt(t *testing.T, path string, at int, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, int64(at)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// rotten opens an index and damages each row of a table behind its back.
func rotten(t *testing.T, sql string, r *recorder) (path string, m *memory, x *Index) {
	t.Helper()
	path, m, _ = sound(t, 300)
	x = mustOpen(t, Config{Path: path, Source: m, Logger: slog.New(slog.NewTextHandler(r, nil))})
	t.Cleanup(func() { x.Close() })
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.w.conn.Exec(sql); err != nil {
		t.Fatal(err)
	}
	x.readers.renew()
	return path, m, x
}

// Whatever sound SQLite database stands in the place of what was written: no answer
// from it is wrong, and after a while all is well again, with what was published
// in the meantime.
func TestHeals(t *testing.T) {
	for _, sql := range []string{
		"UPDATE names SET row = zeroblob(length(row))",
		"UPDATE names SET row = substr(row, 1, length(row) - 1)",
		"UPDATE names SET row = x''",
		"UPDATE names SET row = 'text'",
		"UPDATE names SET row = (SELECT row FROM names WHERE bucket = 1)",
		"UPDATE names SET bucket = -bucket",
		"DELETE FROM names WHERE bucket > 0",
		"DELETE FROM names",
		"DROP TABLE names",
		"UPDATE modules SET row = zeroblob(length(row))",
		"UPDATE modules SET row = (SELECT row FROM names WHERE names.bucket = modules.bucket)",
		"DELETE FROM modules",
		"UPDATE paths SET sum = sum + 1",
		"DELETE FROM paths WHERE path = 'example.com/a'",
		"DELETE FROM paths WHERE path = ''",
		"INSERT INTO paths VALUES ('example.com/b', 0)",
		"DELETE FROM meta",
		"UPDATE meta SET size = size - 1",
		"UPDATE meta SET size = size + 1",
		"UPDATE meta SET size = 'many'",
		"UPDATE meta SET seed = zeroblob(16)",
		"UPDATE meta SET root = zeroblob(32)",
		"UPDATE meta SET origin = 'sum.example.org'",
	} {
		t.Run(sql, func(t *testing.T) {
			var r recorder
			path, m, x := rotten(t, sql, &r)
			lookup := x.Lookup(nil, nil)
			for i, want := range wantDump(t, m).Found {
				e, ok, err := x.Find(want.Record.Module)
				if err == nil && (!ok || e != want) {
					t.Fatalf("Find of entry %d: %v, %v", i, e, ok)
				}
				if err != nil && !errors.Is(err, ErrDamaged) {
					t.Fatalf("Find of entry %d: %v, want ErrDamaged", i, err)
				}
				if w := serve(lookup, lookupPath(want.Record.Module)); w.Code != 200 && (w.Code != 503 || w.Header().Get("Retry-After") == "") {
					t.Fatalf("lookup of entry %d: %d", i, w.Code)
				}
			}
			serve(x.Feed(), "/index?prefix=example.com")
			for _, p := range grow(t, m, 5, 2, time.Second) {
				if err := x.Publish(p); err != nil && !errors.Is(err, ErrDamaged) {
					t.Fatalf("Publish: %v", err)
				}
			}
			for end := time.Now().Add(time.Minute); x.damaged.Load(); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("it was not made again")
				}
			}
			if err := x.Publish(m.Published()); err != nil {
				t.Fatal(err)
			}
			checkDump(t, x, m)
			if !strings.Contains(r.text.String(), "level=ERROR") {
				t.Errorf("damage was not said: %s", r.text.String())
			}
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			if reopen(t, path, m, wantDump(t, m)) {
				t.Error("what was made again was made yet again")
			}
		})
	}
}

// Damage that was met is not forgotten by a restart, even if nothing could be done
// about it.
func TestDamageIsRemembered(t *testing.T) {
	var r recorder
	path, m, x := rotten(t, "UPDATE names SET row = zeroblob(length(row)) WHERE bucket = 3", &r)
	m.setFail(errors.New("no entries today"))
	met := 0
	for _, e := range m.entries {
		if _, _, err := x.Find(e.Record.Module); err != nil {
			met++
		}
	}
	if met == 0 || met == len(m.entries) {
		t.Errorf("%d of %d answers are errors", met, len(m.entries))
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	m.setFail(nil)
	if !reopen(t, path, m, wantDump(t, m)) {
		t.Error("a start took the damaged index for a sound one")
	}
}

// Damage that is met by the entries which a start applies does not keep it from
// starting.
func TestDamagedAtStart(t *testing.T) {
	path, m, _ := sound(t, 300)
	c, err := sqlite.Open(path, "rw")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Exec("UPDATE names SET row = zeroblob(length(row))"), c.Close()); err != nil {
		t.Fatal(err)
	}
	grow(t, m, 5, 2, time.Second)
	if !reopen(t, path, m, wantDump(t, m)) {
		t.Error("it was not made again")
	}
}

// Each change is one that a start finds out.
func TestInconsistent(t *testing.T) {
	path, m, want := sound(t, 300)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"PRAGMA user_version = 1",
		"DELETE FROM meta",
		"DROP TABLE names",
		"UPDATE meta SET origin = 'sum.example.org'",
		"UPDATE meta SET published = published + 1",
		"UPDATE meta SET root = zeroblob(32)",
		"UPDATE meta SET root = 'short'",
		"UPDATE meta SET size = size - 1",
		"UPDATE meta SET size = -1",
		"UPDATE meta SET size = 'many'",
		"UPDATE meta SET seed = zeroblob(16)",
		"UPDATE meta SET seed = zeroblob(15)",
	} {
		bad := copyDB(t, path)
		c, err := sqlite.Open(bad, "rw")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Exec(sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		c.Close()
		if !reopen(t, bad, m, want) {
			t.Errorf("%s: not made again", sql)
		}
	}
	for name, bad := range map[string][]byte{
		"empty":    {},
		"zero":     make([]byte, len(whole)),
		"text":     []byte("this is no database, and long enough for one: " + strings.Repeat("x", 5000)),
		"page":     whole[:8192],
		"headless": whole[100:],
	} {
		if err := os.WriteFile(path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if !reopen(t, path, m, want) {
			t.Errorf("%s: not made again", name)
		}
	}
}
