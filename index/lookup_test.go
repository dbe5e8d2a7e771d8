// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/sumlog/log"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func TestLookupHTTP(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	for _, mod := range []module.Version{
		{Path: "example.com/A/b", Version: "v1.0.0"},
		{Path: "example.com/a", Version: "v1.0.0-RC.1"},
		{Path: "example.com/a", Version: "v2.0.0+incompatible"},
		{Path: "gopkg.in/yaml.v1", Version: "v1.0.0"},
		{Path: "golang.org/toolchain", Version: "v0.0.1-go1.26.0.linux-amd64"},
	} {
		m.append(t, testRecord(mod.Path, mod.Version))
	}
	m.archive(m.publication(t, epoch.Add(time.Second)))
	x := open(t, filepath.Join(t.TempDir(), "index.db"), m)
	h := x.Lookup(nil, nil)
	for _, c := range []struct {
		method, path string
		status       int
		entry        int
	}{
		{"GET", "example.com/!a/b@v1.0.0", 200, 0},
		{"GET", "example.com/!a/b@v1.0.0", 200, 0}, // from memory
		{"HEAD", "example.com/!a/b@v1.0.0", 200, 0},
		{"GET", "example.com/a@v1.0.0-!r!c.1", 200, 1},
		{"GET", "example.com/a@v2.0.0+incompatible", 200, 2},
		{"GET", "example.com/a@v2.0.0%2Bincompatible", 200, 2},
		{"GET", "gopkg.in/yaml.v1@v1.0.0", 200, 3},
		{"GET", "golang.org/toolchain@v0.0.1-go1.26.0.linux-amd64", 200, 4},
		{"GET", "example.com/a@v1.0.0", 404, 0},
		{"GET", "example.com/!a@v1.0.0-!r!c.1", 404, 0},
		{"POST", "example.com/!a/b@v1.0.0", 405, 0},
		{"PUT", "example.com/none@v1.0.0", 405, 0},
		{"GET", "example.com/A/b@v1.0.0", 400, 0},
		{"GET", "example.com/a@v1.0.0-RC.1", 400, 0},
		{"GET", "example.com/!a/b@v1.0.0/go.mod", 400, 0},
		{"GET", "example.com/a", 400, 0},
		{"GET", "example.com/a@", 400, 0},
		{"GET", "@v1.0.0", 400, 0},
		{"GET", "", 400, 0},
		{"GET", "example.com/a@v1", 400, 0},
		{"GET", "example.com/a@v1.0", 400, 0},
		{"GET", "example.com/a@1.0.0", 400, 0},
		{"GET", "example.com/a@v1.0.0+meta", 400, 0},
		{"GET", "example.com/a@v2.0.0", 400, 0},
		{"GET", "example.com/a/v2@v1.0.0", 400, 0},
		{"GET", "example.com/a@master", 400, 0},
		{"GET", "example.com/a@latest", 400, 0},
		{"GET", "example.com/a%00b@v1.0.0", 400, 0},
		{"GET", "example.com/%ff@v1.0.0", 400, 0},
		{"GET", "example.com/../a@v1.0.0", 400, 0},
		{"GET", "127.0.0.1@v1.0.0", 404, 0}, // a valid path; admission's business
		{"GET", "localhost@v1.0.0", 400, 0},
		{"GET", "example.com/" + strings.Repeat("a", log.MaxRecord) + "@v1.0.0", 400, 0},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, "/lookup/"+c.path, nil))
		name := c.method + " " + c.path[:min(60, len(c.path))]
		if w.Code != c.status {
			t.Errorf("%s: %d %q, want %d", name, w.Code, w.Body, c.status)
			continue
		}
		checkHeader(t, name, w, "max-age=60", "text/plain; charset=utf-8")
		if want := wantDump(t, m).Lookups[c.entry]; w.Code == 200 && w.Body.String() != want {
			t.Errorf("%s: %q, want %q", name, w.Body, want)
		}
	}
	if w := serve(h, "/other"); w.Code != 400 {
		t.Errorf("/other: %d, want 400", w.Code)
	}
}

// The head is always the newest, whether the record came from memory or not.
func TestLookupNewestHead(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	grow(t, m, 3, 1, time.Second)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), m)
	h := x.Lookup(nil, nil)
	for range 3 {
		if w := serve(h, lookupPath(m.entries[1].Record.Module)); !strings.HasSuffix(w.Body.String(), string(m.Published().TreeHead)) {
			t.Errorf("answer %q has not the newest head", w.Body)
		}
		if err := x.Publish(grow(t, m, 1, 1, time.Second)[0]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLookupAdmits(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	grow(t, m, 3, 1, time.Second)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), m)
	errNo := errors.New("no such thing")
	var asked []module.Version
	type key struct{}
	admit := func(ctx context.Context, mod module.Version) error {
		asked = append(asked, mod)
		if ctx.Value(key{}) != "request" {
			t.Error("admission did not get the request's context")
		}
		switch mod.Path {
		case "example.com/no":
			return errNo
		case "example.com/lie":
			return nil
		}
		m.append(t, testRecord(mod.Path, mod.Version))
		p := m.publication(t, m.Published().Time.Add(time.Second))
		if err := x.Publish(p); err != nil {
			return err
		}
		m.archive(p)
		return nil
	}
	onError := func(w http.ResponseWriter, r *http.Request, err error) {
		if !errors.Is(err, errNo) {
			t.Errorf("handler got error %v", err)
		}
		w.WriteHeader(418)
	}
	h := x.Lookup(admit, onError)
	get := func(mod module.Version, status int) string {
		t.Helper()
		r := httptest.NewRequest("GET", lookupPath(mod), nil)
		r = r.WithContext(context.WithValue(r.Context(), key{}, "request"))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != status {
			t.Errorf("%v: %d %q, want %d", mod, w.Code, w.Body, status)
		}
		return w.Body.String()
	}
	newMod := module.Version{Path: "example.com/New", Version: "v1.2.3"}
	for range 2 {
		got := get(newMod, 200)
		want := fmt.Sprintf("3\n%s\n%s", testRecord(newMod.Path, newMod.Version).Text(), m.Published().TreeHead)
		if got != want {
			t.Errorf("answer is %q, want %q", got, want)
		}
	}
	if len(asked) != 1 || asked[0] != newMod {
		t.Errorf("admission was asked for %v, want %v once", asked, newMod)
	}
	get(m.entries[0].Record.Module, 200)
	if len(asked) != 1 {
		t.Error("admission was asked for what is logged")
	}
	get(module.Version{Path: "example.com/no", Version: "v1.0.0"}, 418)
	get(module.Version{Path: "example.com/no", Version: "v1.0.0"}, 418)
	if len(asked) != 3 {
		t.Error("a failed admission was remembered")
	}
	if body := get(module.Version{Path: "example.com/lie", Version: "v1.0.0"}, 500); strings.Contains(body, "admitted") {
		t.Errorf("an answer shows internals: %q", body)
	}
	if w := serve(h, "/lookup/example.com/a@v1"); w.Code != 400 || len(asked) != 4 {
		t.Error("admission was asked for what can never be logged")
	}
}

func TestAnswersBounded(t *testing.T) {
	a := newAnswers(20_000)
	for i := range 10_000 {
		a.add("/lookup/"+strconv.Itoa(i), make([]byte, i%3000))
		a.get("/lookup/7")
		if a.bytes > a.max {
			t.Fatalf("%d bytes kept, more than %d", a.bytes, a.max)
		}
	}
	if _, ok := a.get("/lookup/7"); !ok {
		t.Error("the answer used all the time has gone")
	}
	sum := 0
	for _, k := range a.lru.Keys() {
		b, _ := a.lru.Peek(k)
		sum += len(k) + len(b) + answerCost
	}
	if sum != a.bytes {
		t.Errorf("counted %d bytes, there are %d", a.bytes, sum)
	}
	a.add("/lookup/7", []byte("again"))
	if got, _ := a.get("/lookup/7"); string(got) == "again" {
		t.Error("an answer was replaced")
	}
	a.add("/large", make([]byte, 30_000))
	if a.bytes > a.max {
		t.Errorf("%d bytes kept after a large answer", a.bytes)
	}
}

// clientOps connects x/mod's checksum database client to the handler. Tiles
// come straight from the tree.
type clientOps struct {
	m *memory
	h http.Handler

	mu     sync.Mutex
	latest []byte
	cache  map[string][]byte
}

func (c *clientOps) ReadRemote(path string) ([]byte, error) {
	if strings.HasPrefix(path, "/lookup/") {
		if w := serve(c.h, path); w.Code == 200 {
			return w.Body.Bytes(), nil
		}
		return nil, errors.New("no answer")
	}
	tile, err := tlog.ParseTilePath(strings.TrimPrefix(path, "/"))
	if err != nil {
		return nil, err
	}
	return tlog.ReadTileData(tile, c.m)
}

func (c *clientOps) ReadConfig(file string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if file == "key" {
		return []byte(c.m.vkey), nil
	}
	return c.latest, nil
}

func (c *clientOps) WriteConfig(file string, old, new []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if string(old) != string(c.latest) {
		return sumdb.ErrWriteConflict
	}
	c.latest = new
	return nil
}

func (c *clientOps) ReadCache(file string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b, ok := c.cache[file]; ok {
		return b, nil
	}
	return nil, errors.New("not cached")
}

func (c *clientOps) WriteCache(file string, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cache[file] = data
}

func (c *clientOps) Log(string)             {}
func (c *clientOps) SecurityError(s string) { panic(s) }

// The go command's own client believes every answer, for both lines of the
// record, as the log grows.
func TestClient(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	if _, err := note.NewVerifier(m.vkey); err != nil {
		t.Fatal(err)
	}
	x := open(t, filepath.Join(t.TempDir(), "index.db"), m)
	ops := &clientOps{m: m, h: x.Lookup(nil, nil), cache: map[string][]byte{}}
	c := sumdb.NewClient(ops)
	for _, p := range append(grow(t, m, 257, 40, time.Second), grow(t, m, 300, 299, time.Second)...) {
		if err := x.Publish(p); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range m.entries {
		r := e.Record
		for version, hash := range map[string]string{r.Module.Version: r.Zip, r.Module.Version + "/go.mod": r.Mod} {
			lines, err := c.Lookup(r.Module.Path, version)
			if want := fmt.Sprintf("%s %s %s", r.Module.Path, version, hash); err != nil || len(lines) != 1 || lines[0] != want {
				t.Fatalf("entry %d: Lookup = %q, %v, want %q", i, lines, err, want)
			}
		}
	}
	if _, err := c.Lookup("example.com/none", "v1.0.0"); err == nil {
		t.Error("Lookup of what is not logged succeeded")
	}
}

func FuzzLookupPath(f *testing.F) {
	m := newMemory(f, "sum.example.com")
	for i := range 50 {
		m.append(f, nthRecord(i))
	}
	m.archive(m.publication(f, epoch.Add(time.Second)))
	x := open(f, filepath.Join(f.TempDir(), "index.db"), m)
	h := x.Lookup(nil, nil)
	for _, s := range []string{
		lookupPath(m.entries[3].Record.Module), lookupPath(m.entries[4].Record.Module), "/lookup/example.com/a@v1.0.0",
		"/lookup/example.com/a@v1.0.0/go.mod", "/lookup/!a!b@!v", "/lookup/a@@v1.0.0", "/lookup/../x.y@v0.0.0-2", "/lookup/", "/", "",
		"/lookup/example.com/\xff@v1.0.0", "/lookup/example.com/\x00@v1.0.0+incompatible",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path = path
		for range 2 { // the second time perhaps from memory
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			switch w.Code {
			case 400, 404:
			case 200:
				i, _, _ := strings.Cut(w.Body.String(), "\n")
				n, err := strconv.Atoi(i)
				if err != nil || lookupPath(m.entries[n].Record.Module) != path {
					t.Fatalf("%q is answered with %q", path, w.Body)
				}
			default:
				t.Fatalf("%q: status %d", path, w.Code)
			}
			if got, err := parseLookup(path); err == nil && lookupPath(got) != path {
				t.Fatalf("%q is parsed as %v, whose path is %q", path, got, lookupPath(got))
			}
		}
	})
}

// One publisher and many readers: whatever has been published is found, at
// once, by everyone.
func TestConcurrent(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	grow(t, m, 10, 1, time.Second)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), m)
	lookup, feed := x.Lookup(nil, nil), x.Feed()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := g; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				size := m.Published().Size
				m.mu.Lock()
				mod := m.entries[int64(i)%size].Record.Module
				last := m.entries[size-1].Record.Module
				m.mu.Unlock()
				for _, mod := range []module.Version{mod, last} {
					if w := serve(lookup, lookupPath(mod)); w.Code != 200 {
						t.Errorf("lookup of %v at size %d: %d", mod, size, w.Code)
						return
					}
				}
				target := fmt.Sprintf("/index?after=%d", size-2)
				if g%2 == 0 {
					target += "&prefix=example.com"
				}
				if w := serve(feed, target); w.Code != 200 || w.Body.Len() == 0 {
					t.Errorf("%s at size %d: %d", target, size, w.Code)
					return
				}
			}
		})
	}
	for range 300 {
		m.append(t, nthRecord(len(m.entries)))
		p := m.publication(t, m.Published().Time.Add(time.Second))
		if err := x.Publish(p); err != nil {
			t.Error(err)
			break
		}
		m.archive(p)
	}
	close(stop)
	wg.Wait()
	checkDump(t, x, m)
}
