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
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/internal/lanes"
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
	f, _, err := w.store.Open(w.t.Context(), m.Record(w.t), k)
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

// TestRefused asks for versions, public and private, of a log that can publish nothing:
// the answer comes before anybody is asked for them. What is logged is had.
func TestRefused(t *testing.T) {
	w := newWorld(t, true)
	defer w.close()
	logged := w.simple("example.com/old", "v1.0.0")
	if err := w.svc.Admit(t.Context(), logged.Version); err != nil {
		t.Fatal(err)
	}
	before, asked := w.public.Total(), w.db.Asked
	w.log.Refuse(&log.RefusedError{Reason: "bob is away"})
	for _, path := range []string{"example.com/a", "private.example/a"} {
		m := w.simple(path, "v1.0.0")
		for _, k := range []store.Kind{store.Mod, store.Zip} {
			if err := w.bytes(m.Version, k); !errors.Is(err, log.ErrBusy) {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	if n := w.public.Total() - before + w.private.Total() + w.db.Asked - asked; n > 0 {
		t.Errorf("upstreams and database were asked %d times", n)
	}
	if err := w.bytes(logged.Version, store.Zip); err != nil {
		t.Errorf("what is logged: %v", err)
	}
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
		if d := time.Since(began); d != 5*time.Minute {
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

// TestHasten shows that who wants a proven version without its zip does not wait for
// the zip that somebody else wants, and that it is logged once, whatever becomes of it.
func TestHasten(t *testing.T) {
	for _, broken := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, true)
			defer w.close()
			m := w.simple("example.com/a", "v1.0.0")
			release := w.public.Hang(".zip")
			zip := make(chan error, 1)
			go func() { zip <- w.bytes(m.Version, store.Zip) }()
			synctest.Wait()
			w.wantLogged()
			began := time.Now()
			err := errors.Join(w.svc.Admit(t.Context(), m.Version), w.bytes(m.Version, store.Mod))
			if d := time.Since(began); err != nil || d != 0 {
				t.Errorf("took %v: %v", d, err)
			}
			if broken {
				w.public.Fail(".zip", &upstream.Error{URL: "mem", Status: 500})
			}
			release()
			if err := <-zip; (err != nil) != broken {
				t.Errorf("zip: %v", err)
			}
			w.wantLogged(m)
			if w.have(m, store.Zip) == broken {
				t.Error("the zip is not as it came")
			}
		})
	}
}

// TestMine shows that who joins work that another started, and lost with his share,
// tries once more in his own name; and so does who joins a question of a flight.
func TestMine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		release := w.public.Hang(".mod")
		a := lanes.WithClient(t.Context(), "a")
		var wg sync.WaitGroup
		ask := func(ctx context.Context, m module.Version) *error {
			w.public.Set(mirrortest.Name(m, "info"), fmt.Appendf(nil, `{"Version":%q}`, m.Version))
			err := new(error)
			wg.Go(func() { *err = w.svc.Admit(ctx, m) })
			time.Sleep(time.Millisecond)
			return err
		}
		common := w.simple("example.com/common", "v1.0.0")
		for i := range 100 {
			ask(a, module.Version{Path: fmt.Sprintf("example.com/%d", i), Version: "v1.0.0"})
		}
		first := ask(a, common.Version)
		for i := range 2000 { // it is refused for these
			ask(a, module.Version{Path: fmt.Sprintf("example.com/x%d", i), Version: "v1.0.0"})
			if i == 10 {
				b := lanes.WithClient(t.Context(), "b")
				defer func(err *error) {
					wg.Wait()
					if *err != nil {
						t.Errorf("of another client: %v", *err)
					}
				}(ask(b, common.Version))
			}
		}
		release()
		_ = first
	})
}

// TestHanging has many fetches hang, of the same client, and shows that what is in
// the log and the store does not wait for them, nor do private modules, and other
// public ones hardly; and that those that hang are told so in time.
func TestHanging(t *testing.T) {
	for _, leave := range []time.Duration{time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) { testHanging(t, leave) })
	}
}

func testHanging(t *testing.T, leave time.Duration) {
	w := newWorld(t, true)
	defer w.close()
	have := w.simple("example.com/have", "v1.0.0")
	if err := w.bytes(have.Version, store.Zip); err != nil {
		t.Fatal(err)
	}
	private := w.simple("private.example/a", "v1.0.0")
	defer w.public.Hang("hang/@v/v1.0.0.mod")()
	defer w.public.Hang("hang/@v/list")()
	var wg sync.WaitGroup
	began := time.Now()
	for i := range 1000 {
		m := module.Version{Path: fmt.Sprintf("example.com/%d/hang", i), Version: "v1.0.0"}
		w.public.Set(mirrortest.Name(m, "info"), []byte(`{"Version":"v1.0.0"}`))
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), leave)
			defer cancel()
			var err error
			switch i % 3 {
			case 0:
				err = w.svc.Bytes(ctx, m, store.Mod)
			case 1:
				err = w.svc.Admit(ctx, m)
			case 2:
				_, err = w.svc.List(ctx, m.Path, false)
			}
			if !errors.Is(err, admit.ErrTimeout) && !errors.Is(err, admit.ErrBusy) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("of what hangs: %v", err)
			}
		})
	}
	for i := range 10 {
		synctest.Wait()
		began := time.Now()
		err := errors.Join(w.bytes(have.Version, store.Zip), w.svc.Admit(t.Context(), have.Version))
		if d := time.Since(began); err != nil || d != 0 {
			t.Errorf("what is here took %v: %v", d, err)
		}
		if i == 0 {
			err = w.bytes(private.Version, store.Zip)
		}
		if d := time.Since(began); err != nil || d != 0 {
			t.Errorf("a private module took %v: %v", d, err)
		}
		cold := w.simple(fmt.Sprintf("example.com/cold%d", i), "v1.0.0")
		if _, err := w.svc.List(t.Context(), cold.Path, false); err != nil {
			t.Errorf("list of a cold module: %v", err)
		}
		if err := w.bytes(cold.Version, store.Zip); err != nil {
			t.Errorf("cold module: %v", err)
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("a cold module took %v", d)
		}
		time.Sleep(700 * time.Millisecond)
	}
	wg.Wait()
	if d := time.Since(began); d > 5*time.Minute {
		t.Errorf("waited %v in all", d)
	}
}

// TestDropped shows that a question that nobody waits for any more is dropped, and
// one that refreshes an answer is not.
func TestDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		release := w.public.Hang("list")
		ask := func(hurry bool) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if _, err := w.svc.List(ctx, "example.com/a", hurry); err == nil {
				t.Error("an answer of what hangs")
			}
			synctest.Wait()
		}
		asked := func(want int) {
			t.Helper()
			if n := w.public.Counts()["example.com/a/@v/list"]; n != want {
				t.Errorf("asked %d times, want %d", n, want)
			}
		}
		ask(false)
		ask(false)
		asked(2)
		if n := w.public.Hung(); n != 0 {
			t.Errorf("%d questions that nobody waits for go on", n)
		}
		ask(true)
		asked(3)
		if n := w.public.Hung(); n != 1 {
			t.Errorf("%d questions go on, want the one that refreshes an answer", n)
		}
		ask(true)
		asked(3)
		release()
		synctest.Wait()
		if got, err := w.list("example.com/a", false); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("List = %v, %v", got, err)
		}
		asked(3)
	})
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

// TestHastenWithoutInfo is TestHasten for who wants the .info of a version that has
// none: that is told at once, and not waited for.
func TestHastenWithoutInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		m := w.simple("example.com/a", "v1.0.0")
		w.public.Set(mirrortest.Name(m.Version, "info"), nil)
		release := w.public.Hang(".zip")
		zip := make(chan error, 1)
		go func() { zip <- w.bytes(m.Version, store.Zip) }()
		synctest.Wait()
		began := time.Now()
		if err := w.bytes(m.Version, store.Info); !errors.Is(err, fs.ErrNotExist) || time.Since(began) != 0 {
			t.Errorf("Bytes = %v after %v", err, time.Since(began))
		}
		release()
		if err := <-zip; err != nil {
			t.Error(err)
		}
		w.wantLogged(m)
	})
}

// waiting is a log whose appends wait, as without a quorum.
type waiting struct {
	*mirrortest.Log
	appends atomic.Int32
	over    chan struct{}
}

func (l *waiting) Append(ctx context.Context, r log.Record) (int64, error) {
	l.appends.Add(1)
	<-l.over
	return l.Log.Append(ctx, r)
}

// TestPublicationWaits shows that what waits for publication takes no place of what
// waits for upstreams.
func TestPublicationWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		l := &waiting{Log: w.log, over: make(chan struct{})}
		svc, err := admit.New(admit.Config{Log: l, Names: l, Store: w.store, Database: w.db, Flights: 1,
			Router: &mirrortest.Router{Public: w.public, Private: w.private}})
		if err != nil {
			t.Fatal(err)
		}
		defer svc.Close()
		var wg sync.WaitGroup
		const n = 10
		for i := range n {
			path := fmt.Sprintf("example.com/%d", i)
			if i >= n/2 {
				path = "private." + path
			}
			m := w.simple(path, "v1.0.0")
			wg.Go(func() {
				if err := svc.Admit(t.Context(), m.Version); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if got := l.appends.Load(); got != n {
			t.Errorf("%d of %d got as far as the log", got, n)
		}
		close(l.over)
		wg.Wait()
	})
}
