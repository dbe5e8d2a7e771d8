// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package admit_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/log"
	"example.org/sumlog/mirror/admit"
	"example.org/sumlog/mirror/internal/mirrortest"
	"example.org/sumlog/mirror/store"
	"example.org/sumlog/mirror/upstream"
)

// world is a service and all it talks to.
type world struct {
	t               *testing.T
	dir             string
	log             *mirrortest.Log
	public, private *mirrortest.Upstream
	db              *mirrortest.Database
	store           *store.Store
	svc             *admit.Service

	mu       sync.Mutex
	evidence []string
}

func newWorld(t *testing.T, database bool) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), log: new(mirrortest.Log), public: new(mirrortest.Upstream), private: new(mirrortest.Upstream), db: new(mirrortest.Database)}
	w.start(database)
	return w
}

func (w *world) start(database bool) {
	w.t.Helper()
	var err error
	if w.store, err = store.Open(store.Config{Dir: w.dir}); err != nil {
		w.t.Fatal(err)
	}
	c := admit.Config{
		Log: w.log, Names: w.log, Store: w.store, Router: &mirrortest.Router{Public: w.public, Private: w.private},
		Evidence: func(kind string, text []byte) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.evidence = append(w.evidence, kind+": "+string(text))
		},
	}
	if database {
		c.Database = w.db
	}
	if w.svc, err = admit.New(c); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) close() {
	w.svc.Close()
	w.store.Close()
}

// add has upstream offer a module, and the database its record.
func (w *world) add(m mirrortest.Module) mirrortest.Module {
	w.t.Helper()
	if strings.HasPrefix(m.Path, "private.example") {
		w.private.Add(m)
		return m
	}
	w.public.Add(m)
	w.db.Add(m.Record(w.t))
	return m
}

func (w *world) simple(path, version string) mirrortest.Module {
	w.t.Helper()
	return w.add(mirrortest.Simple(w.t, path, version))
}

func (w *world) bytes(m module.Version, k store.Kind) error {
	return w.svc.Bytes(w.t.Context(), m, k)
}

// wantLogged checks that exactly these are logged, in any order.
func (w *world) wantLogged(ms ...mirrortest.Module) {
	w.t.Helper()
	entries := w.log.Entries()
	if len(entries) != len(ms) {
		w.t.Errorf("%d entries, want %d: %v", len(entries), len(ms), entries)
	}
	for _, m := range ms {
		if e, ok, _ := w.log.Find(m.Version); !ok || e.Record != m.Record(w.t) {
			w.t.Errorf("%s: logged %v, want %v", m, e.Record, m.Record(w.t))
		}
	}
}

func (w *world) have(m mirrortest.Module, k store.Kind) bool {
	w.t.Helper()
	f, _, err := w.store.Open(m.Record(w.t), k)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

func (w *world) wantCounts(u *mirrortest.Upstream, m module.Version, info, mod, zip int) {
	w.t.Helper()
	c := u.Counts()
	got := [3]int{c[mirrortest.Name(m, "info")], c[mirrortest.Name(m, "mod")], c[mirrortest.Name(m, "zip")]}
	if want := [3]int{info, mod, zip}; got != want {
		w.t.Errorf("%s: upstream was asked %d times for info, mod, zip, want %d", m, got, want)
	}
}

func TestPublic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		m := w.simple("example.com/Up", "v1.0.0")
		if err := w.svc.Admit(t.Context(), m.Version); err != nil {
			t.Fatal(err)
		}
		w.wantLogged(m)
		w.wantCounts(w.public, m.Version, 1, 1, 0)
		if !w.have(m, store.Info) || !w.have(m, store.Mod) || w.have(m, store.Zip) {
			t.Error("after Admit the store does not have just the .info and the .mod")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if !w.have(m, store.Zip) {
			t.Error("the zip was not fetched afterwards")
		}
		for _, k := range []store.Kind{store.Info, store.Mod, store.Zip} {
			if err := w.bytes(m.Version, k); err != nil {
				t.Error(err)
			}
		}
		w.wantCounts(w.public, m.Version, 1, 1, 1)
		if list, _ := os.ReadFile(filepath.Join(w.dir, "example.com/!up/@v/list")); string(list) != "v1.0.0\n" {
			t.Errorf("list of the tree = %q", list)
		}
	})
}

func TestPrivate(t *testing.T) {
	w := newWorld(t, true)
	defer w.close()
	m := w.simple("private.example/a", "v1.0.0")
	if err := w.svc.Admit(t.Context(), m.Version); err != nil {
		t.Fatal(err)
	}
	w.wantLogged(m)
	w.wantCounts(w.private, m.Version, 1, 1, 1)
	for _, k := range []store.Kind{store.Info, store.Mod, store.Zip} {
		if !w.have(m, k) {
			t.Errorf("the .%s is not stored", k)
		}
	}
	if n := w.public.Total(); n != 0 || w.db.Asked != 0 {
		t.Errorf("public upstream and database were asked %d and %d times about a private module", n, w.db.Asked)
	}
}

func TestNoDatabase(t *testing.T) {
	w := newWorld(t, false)
	defer w.close()
	m := mirrortest.New(t, "example.com/a", "v1.0.0", "a.go", "package a\n")
	w.public.Add(m)
	if err := w.svc.Admit(t.Context(), m.Version); err != nil {
		t.Fatal(err)
	}
	w.wantLogged(m)
}

// TestStored shows that what the log will call the record's bytes is on disk
// when the record of a private module is appended.
func TestStored(t *testing.T) {
	w := newWorld(t, true)
	defer w.close()
	m := w.simple("private.example/a", "v1.0.0")
	w.log.Fail(log.ErrBusy)
	if err := w.svc.Admit(t.Context(), m.Version); !errors.Is(err, log.ErrBusy) {
		t.Fatalf("Admit = %v, want ErrBusy", err)
	}
	for _, k := range []store.Kind{store.Info, store.Mod, store.Zip} {
		if !w.have(m, k) {
			t.Errorf("the .%s was not stored before the append", k)
		}
	}
	if _, err := os.Stat(filepath.Join(w.dir, "private.example/a/@v/list")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a version that was not logged is listed: %v", err)
	}
	w.log.Fail(nil)
	if err := w.svc.Admit(t.Context(), m.Version); err != nil {
		t.Error(err)
	}
	w.wantLogged(m)
}

// TestStampede has fifty ask at once for the files of a version.
func TestStampede(t *testing.T) {
	for _, path := range []string{"example.com/a", "private.example/a"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, true)
			defer w.close()
			m := w.simple(path, "v1.0.0")
			up := w.public
			if strings.HasPrefix(path, "private") {
				up = w.private
			}
			release := up.Hang(".info")
			var wg sync.WaitGroup
			kinds := []store.Kind{store.Info, store.Mod, store.Zip}
			for i := range 50 {
				wg.Go(func() {
					if err := w.bytes(m.Version, kinds[i%3]); err != nil {
						t.Error(err)
					}
				})
				wg.Go(func() {
					if _, err := w.svc.Info(t.Context(), m.Path, m.Version.Version, false); err != nil {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			release()
			wg.Wait()
			w.wantCounts(up, m.Version, 1, 1, 1)
			w.wantLogged(m)
		})
	}
}

// TestGone shows that the work goes on when those who wait for it leave, by
// their own decision or because they waited long enough.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		m := w.simple("example.com/a", "v1.0.0")
		release := w.public.Hang(".zip")
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- w.svc.Bytes(ctx, m.Version, store.Zip) }()
		synctest.Wait()
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("after cancel: %v", err)
		}
		began := time.Now()
		if err := w.bytes(m.Version, store.Zip); !errors.Is(err, admit.ErrTimeout) {
			t.Errorf("of a hanging fetch: %v", err)
		}
		if d := time.Since(began); d > 30*time.Second {
			t.Errorf("waited for %v", d)
		}
		w.wantLogged()
		release()
		synctest.Wait()
		w.wantLogged(m)
		if !w.have(m, store.Zip) {
			t.Error("the zip is not there")
		}
		w.wantCounts(w.public, m.Version, 1, 1, 1)
	})
}

// TestHanging has many fetches hang, and shows that what is in the log and the
// store does not wait for them, nor do private modules for public ones; and
// that too many are refused in time.
func TestHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		have := w.simple("example.com/have", "v1.0.0")
		if err := w.bytes(have.Version, store.Zip); err != nil {
			t.Fatal(err)
		}
		private := w.simple("private.example/a", "v1.0.0")
		release := w.public.Hang("hang/@v/v1.0.0.mod")
		defer release()
		var wg sync.WaitGroup
		for i := range 40 {
			m := w.simple(fmt.Sprintf("example.com/%d/hang", i), "v1.0.0")
			wg.Go(func() {
				err := w.bytes(m.Version, store.Mod)
				if !errors.Is(err, admit.ErrTimeout) && !errors.Is(err, admit.ErrBusy) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		if err := w.bytes(have.Version, store.Zip); err != nil {
			t.Error(err)
		}
		if err := w.svc.Admit(t.Context(), have.Version); err != nil {
			t.Error(err)
		}
		if err := w.bytes(private.Version, store.Zip); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("waited %v for fetches that have nothing to do with it", d)
		}
		wg.Wait()
		if d := time.Since(began); d > 30*time.Second {
			t.Errorf("waited %v in all", d)
		}
		// Nobody waits any more for those that never began.
		release()
		synctest.Wait()
		n := 0
		for name, c := range w.public.Counts() {
			if strings.HasSuffix(name, "hang/@v/v1.0.0.mod") {
				n += c
			}
		}
		if n != 32 {
			t.Errorf("%d fetches at once, want 32", n)
		}
	})
}

// TestFirstHash has an upstream change its mind about versions whose bytes
// were lost here.
func TestFirstHash(t *testing.T) {
	for _, path := range []string{"private.example/a", "example.com/a"} {
		for _, ext := range []string{"mod", "zip"} {
			synctest.Test(t, func(t *testing.T) { testFirstHash(t, path, ext) })
		}
	}
}

func testFirstHash(t *testing.T, path, ext string) {
	w := newWorld(t, true)
	defer w.close()
	m := w.simple(path, "v1.0.0")
	if err := w.bytes(m.Version, store.Zip); err != nil {
		t.Fatal(err)
	}
	up := w.public
	if strings.HasPrefix(path, "private") {
		up = w.private
	}
	other := mirrortest.New(t, path, "v1.0.0", "go.mod", "module "+path+" // changed\n")
	up.Add(other)
	if err := os.Remove(filepath.Join(w.dir, mirrortest.Name(m.Version, ext))); err != nil {
		t.Fatal(err)
	}
	n := up.Counts()[mirrortest.Name(m.Version, ext)]
	for i := range 4 {
		if i == 2 {
			time.Sleep(2 * time.Minute)
		}
		err := w.bytes(m.Version, store.Kind(ext))
		var mismatch *admit.MismatchError
		if !errors.As(err, &mismatch) {
			t.Fatalf("%s: Bytes = %v, want a mismatch", ext, err)
		}
		rec, got := m.Record(t), other.Record(t)
		want := fmt.Sprintf("verifying %s@v1.0.0: checksum mismatch: logged %s on 2025-01-02, upstream now has %s; the first hash stands", path, rec.Zip, got.Zip)
		if ext == "mod" {
			want = fmt.Sprintf("verifying %s@v1.0.0/go.mod: checksum mismatch: logged %s on 2025-01-02, upstream now has %s; the first hash stands", path, rec.Mod, got.Mod)
		}
		if err.Error() != want {
			t.Errorf("error text\n%s, want\n%s", err, want)
		}
	}
	if got := up.Counts()[mirrortest.Name(m.Version, ext)] - n; got != 2 {
		t.Errorf("%s: upstream was asked %d times in two minutes", ext, got)
	}
	w.wantLogged(m)
	if w.have(m, store.Kind(ext)) {
		t.Errorf("other bytes were stored as the .%s", ext)
	}
	if len(w.evidence) != 1 || !strings.HasPrefix(w.evidence[0], "upstream-mismatch: sumlog evidence v1 upstream-mismatch\n") ||
		!strings.Contains(w.evidence[0], string(m.Record(t).Text())) {
		t.Errorf("evidence: %q", w.evidence)
	}
}

// TestWrongHash has an upstream that does not have what the database proves.
func TestWrongHash(t *testing.T) {
	for _, ext := range []string{"mod", "zip"} {
		w := newWorld(t, true)
		m := w.simple("example.com/a", "v1.0.0")
		other := mirrortest.New(t, m.Path, "v1.0.0", "go.mod", "module example.com/a // changed\n")
		data := other.Zip
		if ext == "mod" {
			data = other.Mod
		}
		w.public.Set(mirrortest.Name(m.Version, ext), data)
		err := w.bytes(m.Version, store.Kind(ext))
		if !errors.As(err, new(*admit.MismatchError)) || !strings.Contains(err.Error(), "checksum mismatch") {
			t.Errorf("Bytes = %v", err)
		}
		w.wantLogged()
		if len(w.evidence) != 1 {
			t.Errorf("evidence: %q", w.evidence)
		}
		w.close()
	}
}

// TestNothingLogged goes through what can go wrong at an upstream or at the
// database, file by file: nothing is logged, and the error says what it was.
func TestNothingLogged(t *testing.T) {
	refused := &upstream.Error{URL: "mem", Status: 403}
	broken := &upstream.Error{URL: "mem", Status: 500}
	for _, path := range []string{"example.com/a", "private.example/a"} {
		for _, ext := range []string{".info", ".mod", ".zip"} {
			for _, cause := range []error{refused, broken, &upstream.Error{URL: "mem", Status: 404}, errors.New("local")} {
				w := newWorld(t, true)
				m := w.simple(path, "v1.0.0")
				w.public.Fail(ext, cause)
				w.private.Fail(ext, cause)
				if err := w.bytes(m.Version, store.Zip); !errors.Is(err, cause) {
					t.Errorf("%s %s: Bytes = %v, want %v", path, ext, err, cause)
				}
				w.wantLogged()
				if left, _ := os.ReadDir(filepath.Join(w.dir, ".tmp")); len(left) > 0 {
					t.Errorf("temporary files left: %v", left)
				}
				w.close()
			}
			w := newWorld(t, true)
			m := w.simple(path, "v1.0.0")
			w.public.Set(mirrortest.Name(m.Version, ext[1:]), []byte("<html>"))
			w.private.Set(mirrortest.Name(m.Version, ext[1:]), []byte("<html>"))
			if err := w.bytes(m.Version, store.Zip); err == nil {
				t.Errorf("%s: garbage as %s was admitted", path, ext)
			} else if !errors.As(err, new(*admit.GarbageError)) && !errors.As(err, new(*admit.MismatchError)) {
				t.Errorf("%s: garbage as %s: %v", path, ext, err)
			}
			w.wantLogged()
			w.close()
		}
	}
	w := newWorld(t, true)
	defer w.close()
	m := w.simple("example.com/a", "v1.0.0")
	w.db.Fail(broken)
	if err := w.svc.Admit(t.Context(), m.Version); !errors.Is(err, broken) {
		t.Errorf("database fails: %v", err)
	}
	w.db.Fail(nil)
	unknown := mirrortest.Simple(t, "example.com/unknown", "v1.0.0")
	w.public.Add(unknown)
	if err := w.svc.Admit(t.Context(), unknown.Version); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unknown to the database: %v", err)
	}
	w.wantLogged()
	// What failed is not remembered.
	if err := w.svc.Admit(t.Context(), m.Version); err != nil {
		t.Error(err)
	}
}

// TestModWithoutZip shows that a .mod is had although a zip that others wait
// for is broken.
func TestModWithoutZip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		m := w.simple("example.com/a", "v1.0.0")
		release := w.public.Hang(".zip")
		w.public.Fail(".zip", &upstream.Error{URL: "mem", Status: 500})
		zip, mod := make(chan error, 1), make(chan error, 1)
		go func() { zip <- w.bytes(m.Version, store.Zip) }()
		synctest.Wait()
		go func() { mod <- w.bytes(m.Version, store.Mod) }()
		synctest.Wait()
		release()
		if err := <-zip; err == nil {
			t.Error("a broken zip was had")
		}
		if err := <-mod; err != nil {
			t.Errorf(".mod: %v", err)
		}
		w.wantLogged(m)
	})
}

func TestNegative(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		m := mirrortest.Simple(t, "example.com/a", "v1.0.0")
		ask := func(want bool) {
			t.Helper()
			if err := w.svc.Admit(t.Context(), m.Version); errors.Is(err, fs.ErrNotExist) == want || want && err != nil {
				t.Errorf("Admit = %v, want it to be there: %v", err, want)
			}
		}
		ask(false)
		synctest.Wait()
		n := w.public.Total()
		w.add(m)
		time.Sleep(59 * time.Second)
		ask(false)
		if got := w.public.Total(); got != n {
			t.Errorf("asked %d times more within a minute", got-n)
		}
		time.Sleep(2 * time.Second)
		ask(true)
		w.wantLogged(m)
	})
}

// TestZipNegative is TestNegative for a file that is missing from a version.
func TestZipNegative(t *testing.T) {
	w := newWorld(t, true)
	defer w.close()
	m := w.simple("example.com/a", "v1.0.0")
	w.public.Set(mirrortest.Name(m.Version, "zip"), nil)
	for range 2 {
		if err := w.bytes(m.Version, store.Zip); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Bytes = %v", err)
		}
	}
	w.wantCounts(w.public, m.Version, 1, 1, 1)
	w.wantLogged()
	// Admission ends what was believed.
	w.public.Set(mirrortest.Name(m.Version, "zip"), m.Zip)
	if err := w.svc.Admit(t.Context(), m.Version); err != nil {
		t.Error(err)
	}
	if err := w.bytes(m.Version, store.Zip); err != nil {
		t.Error(err)
	}
}

// early is a log whose index knows an entry before it is published.
type early struct {
	*mirrortest.Log
	appends int
}

func (e *early) Published() *log.Publication { return new(log.Publication) }

func (e *early) Append(ctx context.Context, r log.Record) (int64, error) {
	e.appends++
	return e.Log.Append(ctx, r)
}

// TestUnpublished shows that Admit does not return for an entry that is on its
// way: it joins by appending the same record.
func TestUnpublished(t *testing.T) {
	w := newWorld(t, true)
	defer w.close()
	m := w.simple("example.com/a", "v1.0.0")
	if _, err := w.log.Append(t.Context(), m.Record(t)); err != nil {
		t.Fatal(err)
	}
	l := &early{Log: w.log}
	svc, err := admit.New(admit.Config{Log: l, Names: l, Store: w.store, Database: w.db, Router: &mirrortest.Router{Public: w.public, Private: w.private}})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close()
	if err := svc.Admit(t.Context(), m.Version); err != nil || l.appends != 1 {
		t.Errorf("Admit = %v after %d appends", err, l.appends)
	}
}

// wrong is a database that proves another record than it was asked for.
type wrong log.Record

func (w wrong) Record(context.Context, module.Version) (log.Record, error) { return log.Record(w), nil }

func TestWrongRecord(t *testing.T) {
	w := newWorld(t, true)
	defer w.close()
	m := w.simple("example.com/a", "v1.0.0")
	other := m.Record(t)
	other.Module.Path = "example.com/b"
	svc, err := admit.New(admit.Config{Log: w.log, Names: w.log, Store: w.store, Database: wrong(other), Router: &mirrortest.Router{Public: w.public, Private: w.private}})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close()
	if err := svc.Admit(t.Context(), m.Version); err == nil {
		t.Error("a record of another module was taken")
	}
	w.wantLogged()
}

// TestBackfillWaits shows that zips nobody asked for are fetched one at a time,
// and not while somebody waits for something else.
func TestBackfillWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		a, b := w.simple("example.com/a", "v1.0.0"), w.simple("example.com/b", "v1.0.0")
		releaseZip := w.public.Hang(".zip")
		for _, m := range []mirrortest.Module{a, b} {
			if err := w.svc.Admit(t.Context(), m.Version); err != nil {
				t.Fatal(err)
			}
		}
		c := w.simple("example.com/c", "v1.0.0")
		releaseMod := w.public.Hang("c/@v/v1.0.0.mod")
		result := make(chan error, 1)
		go func() { result <- w.bytes(c.Version, store.Mod) }()
		time.Sleep(10 * time.Second)
		w.wantCounts(w.public, a.Version, 1, 1, 0)
		releaseMod()
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		w.wantCounts(w.public, a.Version, 1, 1, 1)
		w.wantCounts(w.public, b.Version, 1, 1, 0)
		releaseZip()
		time.Sleep(5 * time.Second)
		w.wantCounts(w.public, b.Version, 1, 1, 1)
	})
}

func TestRebuild(t *testing.T) {
	w := newWorld(t, true)
	defer w.close()
	var ms []mirrortest.Module
	for i := range 5 {
		m := w.simple("example.com/a", fmt.Sprintf("v1.%d.0", i))
		if err := w.bytes(m.Version, store.Zip); err != nil {
			t.Fatal(err)
		}
		ms = append(ms, m)
	}
	path := func(i int, ext string) string { return filepath.Join(w.dir, mirrortest.Name(ms[i].Version, ext)) }
	os.Remove(path(1, "zip"))
	os.WriteFile(path(2, "mod"), []byte("module other\n"), 0o644)
	os.Remove(path(3, "zip"))
	w.public.Set(mirrortest.Name(ms[3].Version, "zip"), nil)
	os.WriteFile(path(4, "zip"), ms[0].Zip, 0o644)
	w.public.Set(mirrortest.Name(ms[4].Version, "zip"), ms[1].Zip)
	os.Remove(filepath.Join(w.dir, "example.com/a/@v/list"))

	seq := func(yield func(log.Entry, error) bool) {
		for _, e := range w.log.Entries() {
			if !yield(e, nil) {
				return
			}
		}
	}
	var last admit.Progress
	calls := 0
	p, err := w.svc.Rebuild(t.Context(), seq, func(p admit.Progress) { last = p; calls++ })
	if err != nil || calls != 5 || p.Sound != 1 || p.Fetched != 2 || p.Missing != 2 || p != last {
		t.Errorf("Rebuild = %+v, %v after %d calls, the last with %+v", p, err, calls, last)
	}
	for i, m := range ms {
		if got := w.have(m, store.Zip) && w.have(m, store.Mod); got != (i < 3) {
			t.Errorf("%s: whole %v", m, got)
		}
	}
	if aside, _ := filepath.Glob(filepath.Join(w.dir, ".bad/*")); len(aside) != 2 {
		t.Errorf("set aside: %q, want the two damaged files", aside)
	}
	if list, _ := os.ReadFile(filepath.Join(w.dir, "example.com/a/@v/list")); string(list) != "v1.0.0\nv1.1.0\nv1.2.0\n" {
		t.Errorf("list = %q", list)
	}
	w.wantLogged(ms...)
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		m := w.simple("example.com/a", "v1.0.0")
		defer w.public.Hang(".mod")()
		result := make(chan error, 1)
		go func() { result <- w.svc.Admit(t.Context(), m.Version) }()
		synctest.Wait()
		w.close()
		if err := <-result; !errors.Is(err, log.ErrClosed) {
			t.Errorf("Admit of a service that is closed = %v", err)
		}
		if err := w.svc.Admit(t.Context(), m.Version); !errors.Is(err, log.ErrClosed) {
			t.Errorf("Admit after Close = %v", err)
		}
	})
}

func TestInvalid(t *testing.T) {
	w := newWorld(t, true)
	defer w.close()
	for _, m := range []module.Version{{Path: "example.com/a", Version: "v1"}, {Path: "nodot", Version: "v1.0.0"},
		{Path: "example.com/../a", Version: "v1.0.0"}, {Path: "10.0.0.1/a", Version: "v1.0.0"}, {Path: "example.com/a", Version: "v2.0.0"}} {
		if err := w.svc.Admit(t.Context(), m); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Admit(%v) = %v", m, err)
		}
	}
	if n := w.public.Total() + w.private.Total() + w.db.Asked; n > 0 {
		t.Errorf("asked %d times", n)
	}
}
