// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
)

// A target is a witness of any number of logs of one key, in memory.
type target struct {
	key *checkpoint.Key

	mu       sync.Mutex
	trees    map[string]tlog.Tree
	requests []checkpoint.AddRequest
	before   func()      // is called before a request is looked at
	forks    []tlog.Hash // roots of validly signed heads that do not fit
}

func newTarget(key *checkpoint.Key) *target {
	return &target{key: key, trees: make(map[string]tlog.Tree)}
}

func (w *target) Head(origin string) (tlog.Tree, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t, ok := w.trees[origin]
	return t, ok
}

var errRefused = errors.New("refused")

func (w *target) Add(ctx context.Context, body []byte) ([]byte, error) {
	if w.before != nil {
		w.before()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	r, err := checkpoint.ParseAddRequest(body)
	if err != nil {
		return nil, err
	}
	w.requests = append(w.requests, r)
	h, err := tlogclient.ParseHead(r.Note, "", w.key)
	if err != nil {
		return nil, err
	}
	old := w.trees[h.Origin]
	if r.Old != old.N {
		return nil, fmt.Errorf("%w: conflict at %d", errRefused, old.N)
	}
	if old.N > 0 {
		var hashes [][]byte
		for _, p := range r.Proof {
			hashes = append(hashes, p[:])
		}
		err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(old.N), uint64(h.Size), hashes, old.Hash[:], h.Root[:])
		if err != nil {
			if e, ok := errors.AsType[proof.RootMismatchError](err); ok || old.N == h.Size {
				w.forks = append(w.forks, tlog.Hash(e.CalculatedRoot))
			}
			return nil, fmt.Errorf("%w: %v", errRefused, err)
		}
	} else if len(r.Proof) > 0 {
		return nil, errRefused
	}
	w.trees[h.Origin] = h.Tree()
	return []byte("line\n"), nil
}

// taken returns the requests since it was last called.
func (w *target) taken() []checkpoint.AddRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.requests
	w.requests = nil
	return r
}

// feeder returns a feeder of l that reads it directly.
func feeder(t *testing.T, l *tlogtest.Log, c Config) *Feeder {
	t.Helper()
	c.Key, c.URL = l.Key, "nowhere"
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	f.source = l
	return f
}

func TestFeed(t *testing.T) {
	for _, layout := range []tlogclient.Layout{tlogclient.Tiles, tlogclient.Database} {
		l := tlogtest.New(t, "log.example", layout)
		w := newTarget(l.Key)
		srv := httptest.NewServer(http.StripPrefix("/log", l))
		defer srv.Close()
		var found []string
		f, err := New(Config{Key: l.Key, URL: srv.URL + "/log", Target: w, Found: func(origin string) error {
			found = append(found, origin)
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int64{0, 1, 255, 257, 257, 700} {
			l.Grow("a", n)
			if err := f.Feed(t.Context()); err != nil {
				t.Fatalf("%v, size %d: %v", layout, n, err)
			}
			if got, _ := w.Head(l.Origin); got != l.Tree(n) {
				t.Errorf("%v: witness has %v, want size %d", layout, got, n)
			}
			if st := f.Status(); st.Size != n || st.Origin != l.Origin || st.URL != srv.URL+"/log" || st.Err != nil || st.Success.IsZero() {
				t.Errorf("status %+v", st)
			}
		}
		if n := len(w.taken()); n != 5 {
			t.Errorf("%d requests for five heads", n)
		}
		if len(found) != 1 || found[0] != l.Origin {
			t.Errorf("found %q", found)
		}
	}
}

func TestOrigin(t *testing.T) {
	for _, tt := range []struct {
		origin, configured string
		ok                 bool
	}{
		{"log.example", "", true},
		{tlogclient.DatabaseOrigin, "", true},
		{"victim.example", "", false},
		{"old name of the log", "old name of the log", true},
		{"log.example", "old name of the log", false},
		{tlogclient.DatabaseOrigin, "log.example", false},
	} {
		l := tlogtest.New(t, "log.example", tlogclient.Tiles)
		l.Origin = tt.origin
		l.Grow("a", 3)
		w := newTarget(l.Key)
		found := 0
		f := feeder(t, l, Config{Target: w, Origin: tt.configured, Found: func(string) error { found++; return nil }})
		err := f.Feed(t.Context())
		if ok := err == nil; ok != tt.ok || ok != (len(w.taken()) == 1) || ok != (found == 1) {
			t.Errorf("%q, configured %q: found %d times, %v", tt.origin, tt.configured, found, err)
		}
	}

	// Once found, it stays.
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Grow("a", 3)
	w := newTarget(l.Key)
	f := feeder(t, l, Config{Target: w})
	if err := f.Feed(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.Origin = tlogclient.DatabaseOrigin
	l.Grow("a", 4)
	if err := f.Feed(t.Context()); !errors.Is(err, tlogclient.ErrHead) {
		t.Errorf("another origin: error %v", err)
	}
	l.Layout = tlogclient.Database
	for range 3 {
		if err := f.Feed(t.Context()); err == nil {
			t.Error("another layout and origin: no error")
		}
	}
	if n := len(w.taken()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// TestLayoutChange moves a log from one layout to the other.
func TestLayoutChange(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Origin = tlogclient.DatabaseOrigin
	l.Grow("a", 3)
	w := newTarget(l.Key)
	found := 0
	f := feeder(t, l, Config{Target: w, Found: func(string) error { found++; return nil }})
	if err := f.Feed(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.Layout = tlogclient.Database
	l.Grow("a", 400)
	if err := f.Feed(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if err := f.Feed(t.Context()); err != nil {
		t.Error(err)
	}
	if got, _ := w.Head(l.Origin); got.N != 400 || found != 1 {
		t.Errorf("witness has size %d, found %d times", got.N, found)
	}
}

func TestFoundRefuses(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Grow("a", 3)
	w := newTarget(l.Key)
	refuse := errors.New("known with another key")
	f := feeder(t, l, Config{Target: w, Found: func(string) error { return refuse }})
	if err := f.Feed(t.Context()); !errors.Is(err, refuse) || len(w.taken()) != 0 {
		t.Errorf("error %v", err)
	}
	refuse = nil
	if err := f.Feed(t.Context()); err != nil || len(w.taken()) != 1 {
		t.Errorf("error %v", err)
	}
}

// TestConflict lets another submitter come first.
func TestConflict(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Grow("a", 700)
	w := newTarget(l.Key)
	sizes := []int64{10, 300, 700}
	w.before = func() {
		if len(sizes) > 1 {
			w.mu.Lock()
			w.trees[l.Origin] = l.Tree(sizes[0])
			w.mu.Unlock()
			sizes = sizes[1:]
		}
	}
	f := feeder(t, l, Config{Target: w})
	if err := f.Feed(t.Context()); err != nil {
		t.Fatal(err)
	}
	var old []int64
	for _, r := range w.taken() {
		old = append(old, r.Old)
	}
	if fmt.Sprint(old) != "[0 10 300]" {
		t.Errorf("submitted from %v", old)
	}

	// One that always comes first is given way to.
	l.Grow("a", 800)
	n := int64(700)
	w.before = func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		n++
		w.trees[l.Origin] = l.Tree(n)
	}
	if err := f.Feed(t.Context()); !errors.Is(err, errRefused) || len(w.taken()) != maxTries {
		t.Errorf("error %v", err)
	}
	// One that refuses for a reason is not asked twice.
	w.before = nil
	w.key = tlogtest.New(t, "other.example", tlogclient.Tiles).Key
	if err := f.Feed(t.Context()); !errors.Is(err, tlogclient.ErrHead) || len(w.taken()) != 1 {
		t.Errorf("error %v", err)
	}
}

// TestFork checks that the witness gets what it needs for its evidence, once,
// and that the operator hears of it.
func TestFork(t *testing.T) {
	for _, tt := range []struct {
		name         string
		known, shown int64
		submitted    int
	}{{"equal", 300, 300, 1}, {"larger", 300, 700, 1}, {"smaller", 700, 300, 0}} {
		l := tlogtest.New(t, "log.example", tlogclient.Tiles)
		l.Grow("a", tt.known)
		evil := l.Fork(200)
		evil.Grow("b", tt.shown)
		w := newTarget(l.Key)
		var out bytes.Buffer
		f := feeder(t, l, Config{Target: w, Logger: slog.New(slog.NewTextHandler(&out, nil))})
		if err := f.Feed(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.taken()

		f.log, f.source = nil, evil
		if tt.shown < tt.known {
			f.source = &twoFaced{evil, l}
		}
		for range 3 {
			err := f.Feed(t.Context())
			if _, ok := errors.AsType[*tlogclient.ForkError](err); !ok {
				t.Errorf("%s: error %v", tt.name, err)
			}
			if f.Status().Err != err {
				t.Errorf("%s: status %+v", tt.name, f.Status())
			}
		}
		if got, _ := w.Head(l.Origin); got != l.Tree(tt.known) {
			t.Errorf("%s: witness has size %d", tt.name, got.N)
		}
		if n := len(w.taken()); n != tt.submitted || len(w.forks) != tt.submitted {
			t.Errorf("%s: %d requests, of which the witness kept %d", tt.name, n, len(w.forks))
		}
		if tt.name == "larger" && w.forks[0] != evil.Tree(tt.known).Hash {
			t.Errorf("the proof shows another root")
		}
		log := out.String()
		if strings.Count(log, "level=ERROR") != 1 || !strings.Contains(log, strings.Split(string(evil.Sign(evil.Tree(tt.shown))), "\n")[2]) {
			t.Errorf("%s: log is\n%s", tt.name, log)
		}
	}
}

// A twoFaced log shows the head of one history, and tiles of another.
type twoFaced struct{ head, tiles *tlogtest.Log }

func (s *twoFaced) String() string { return "two-faced log" }

func (s *twoFaced) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	if path == "checkpoint" {
		return s.head.Read(ctx, path, limit)
	}
	return s.tiles.Read(ctx, path, limit)
}

// TestRun checks when a feeder reads and hands in, through failures and back.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := tlogtest.New(t, "log.example", tlogclient.Tiles)
		l.Grow("a", 3)
		w := newTarget(l.Key)
		f := feeder(t, l, Config{Target: w})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { f.Run(ctx); close(done) }()

		synctest.Wait()
		if len(w.taken()) != 1 {
			t.Fatal("nothing was handed in at the start")
		}
		// Idle: read each minute, handed in each ten.
		l.Reads()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(l.Reads()); n < 54 || n > 67 {
			t.Errorf("%d readings in an hour", n)
		}
		if n := len(w.taken()); n < 5 || n > 6 {
			t.Errorf("handed in %d times in an hour", n)
		}
		// Broken: less and less often.
		l.Fault(func(string, []byte) ([]byte, error) { return nil, errors.New("broken") })
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if n := len(l.Reads()); n < 10 || n > 25 {
			t.Errorf("%d readings in two hours of failures", n)
		}
		if st := f.Status(); st.Err == nil || time.Since(st.ErrTime) > maxPause || time.Since(st.Success) < time.Hour {
			t.Errorf("status %+v", st)
		}
		// Busy: as seldom as asked.
		l.Fault(func(string, []byte) ([]byte, error) {
			return nil, &tlogclient.StatusError{Status: 429, RetryAfter: 50 * time.Minute}
		})
		time.Sleep(maxPause)
		l.Reads()
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		if n := len(l.Reads()); n < 5 || n > 6 {
			t.Errorf("%d readings in five hours of 429", n)
		}
		// Well again: at once what it missed.
		l.Fault(nil)
		l.Grow("a", 300)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got, _ := w.Head(l.Origin); got.N != 300 || f.Status().Err != nil {
			t.Errorf("witness has size %d, status %+v", got.N, f.Status())
		}
		cancel()
		<-done
	})
}

// TestGoDatabase feeds two heads of the Go team's database, with the tiles that
// it served of the second.
func TestGoDatabase(t *testing.T) {
	key, err := checkpoint.ParseKey("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")
	if err != nil {
		t.Fatal(err)
	}
	abs, err := filepath.Abs("testdata/sum.golang.org")
	if err != nil {
		t.Fatal(err)
	}
	w := newTarget(key)
	for i, n := range []int64{69959272, 71848828} {
		dir := filepath.Join(abs, fmt.Sprint(n))
		url := dir
		if i == 0 {
			url = "file://" + dir
		}
		f, err := New(Config{Key: key, URL: url, Target: w})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Feed(t.Context()); err != nil {
			t.Fatal(err)
		}
		latest, err := os.ReadFile(filepath.Join(dir, "latest"))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := w.Head(tlogclient.DatabaseOrigin)
		if r := w.taken(); got.N != n || len(r) != 1 || !bytes.Equal(r[0].Note, latest) {
			t.Errorf("witness has size %d by %d requests", got.N, len(r))
		}
	}
}
