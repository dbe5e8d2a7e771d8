// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/tlog"
)

// The database of these tests; a name with a slash is legal.
const (
	dbName = "sum.example.com/db"
)

func TestRecord(t *testing.T) {
	s := newScene(t, 600)
	d := s.open()
	for _, i := range []int{0, 1, 255, 256, 511, 512, 599, 600, 601} {
		mustRecord(t, d, mod(i))
	}
	if n := s.count("/lookup/"); n != 9 {
		t.Errorf("%d lookups for 9 records", n)
	}
	if n := s.count("/supported"); n != 1 {
		t.Errorf("asked %d times whether the database is carried, want 1", n)
	}
	head, tree := d.latest()
	if b, err := os.ReadFile(s.file("latest")); err != nil || !bytes.Equal(b, head) || tree.N != 602 {
		t.Errorf("latest on disk is not that of size 602: %v\n%s", err, b)
	}

	// What is on disk serves the next process, and stays.
	before, err := os.Stat(s.file("tile/8/0/000"))
	if err != nil {
		t.Fatal(err)
	}
	s.set(nil, nil)
	mustRecord(t, s.open(), mod(3))
	if after, err := os.Stat(s.file("tile/8/0/000")); err != nil || !os.SameFile(before, after) {
		t.Errorf("a tile read from disk was written again: %v", err)
	}
	for _, p := range s.asked {
		if strings.HasPrefix(p, "/tile/") && !strings.Contains(p, ".p/") {
			t.Errorf("%s was fetched again", p)
		}
	}
	// Partial tiles are not kept, and nothing is half made.
	var files []string
	filepath.WalkDir(s.file(""), func(name string, e fs.DirEntry, err error) error {
		if !e.IsDir() {
			files = append(files, strings.TrimPrefix(name, s.file("")+"/"))
		}
		return err
	})
	want := []string{"latest", "tile/8/0/000", "tile/8/0/001"}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestRecordAbsent(t *testing.T) {
	s := newScene(t, 1)
	d := s.open()
	_, err := d.Record(t.Context(), module.Version{Path: "unknown.example/m", Version: "v1.0.0"})
	if e := asError(t, err); !errors.Is(err, fs.ErrNotExist) || e.Status != 404 || !strings.Contains(e.Text, "not exist") {
		t.Errorf("Record of an unknown module: %v", err)
	}
	s.set(nil, nil)
	for _, m := range []module.Version{
		{Path: "nodot", Version: "v1.0.0"}, {Path: "example.com/m", Version: "v1"}, {Path: "example.com/m", Version: "v1.0.0/go.mod"},
		{Path: "example.com/m", Version: "v2.0.0"}, {Path: "example.com/m", Version: "v1.0.0+meta"}, {Path: "example.com/../m", Version: "v1.0.0"},
	} {
		if _, err := d.Record(t.Context(), m); !errors.Is(err, ErrNotModule) || len(s.asked) > 0 {
			t.Errorf("Record(%q): %v, asked %v", m, err, s.asked)
		}
	}
}

// TestFlights shows that those who want the same share a request, and that one
// who gives up does not give up for the others.
func TestFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		var n atomic.Int64
		fetch := func(ctx context.Context) func() ([]byte, error) {
			return func() ([]byte, error) {
				n.Add(1)
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-time.After(time.Second):
					return nil, fs.ErrInvalid
				}
			}
		}
		do := func(ctx context.Context, want error) {
			if _, err := f.do(ctx, "k", fetch(ctx)); !errors.Is(err, want) {
				t.Errorf("do = %v, want %v", err, want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go do(ctx, context.Canceled)
		synctest.Wait()
		gone, leave := context.WithCancel(t.Context())
		go do(gone, context.Canceled)
		for range 10 {
			go do(t.Context(), fs.ErrInvalid)
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		if n.Load() != 1 {
			t.Errorf("%d requests while the first flies, want 1", n.Load())
		}
		cancel()
		time.Sleep(time.Hour)
		if n.Load() != 2 {
			t.Errorf("%d requests, want 2", n.Load())
		}
	})
}

func TestTileCacheBounded(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	c := newTileCache(root, "x", slog.New(slog.DiscardHandler))
	for n := range int64(3 * hotTiles) {
		c.write(tlog.Tile{H: 8, N: n, W: 1}, make([]byte, 32))
		if _, ok := c.read(tlog.Tile{H: 8, N: 0, W: 1}); !ok {
			t.Fatalf("a tile in use was forgotten after %d others", n)
		}
	}
	if n := len(c.young) + len(c.old); n > 2*hotTiles {
		t.Errorf("%d tiles in memory", n)
	}
}

// TestSetLatest shows that a head replaces only the one that it was compared
// with.
func TestSetLatest(t *testing.T) {
	s := newScene(t, 10)
	d := s.open()
	mustRecord(t, d, mod(1))
	head, tree := d.latest()
	for _, old := range [][]byte{nil, []byte("another")} {
		if err := d.setLatest(old, []byte("new"), tlog.Tree{N: 5}); err != errConflict {
			t.Errorf("setLatest(%q) = %v", old, err)
		}
	}
	if now, nowTree := d.latest(); !bytes.Equal(now, head) || nowTree != tree {
		t.Errorf("the head was replaced:\n%s", now)
	}
}

// TestOlderHead shows that older heads of the same history are well.
func TestOlderHead(t *testing.T) {
	skey, _ := newKeys(t, dbName)
	s := newScene(t, 600)
	d := s.open()
	mustRecord(t, d, mod(599))
	s.set(olderHead{s.ops, newServer(t, skey, 300)}, nil)
	mustRecord(t, d, mod(7))
	if head, err := d.Latest(t.Context()); err != nil || !bytes.Contains(head, []byte("\n600\n")) {
		t.Errorf("Latest = %v\n%s\nwant the head of size 600", err, head)
	}
}

// TestDamagedCache shows that our own rot costs requests, and no more.
func TestDamagedCache(t *testing.T) {
	damage := map[string]func([]byte) []byte{
		"torn":    func(b []byte) []byte { return b[:len(b)-32] },
		"empty":   func(b []byte) []byte { return nil },
		"long":    func(b []byte) []byte { return append(b, 0) },
		"zero":    func(b []byte) []byte { return make([]byte, len(b)) },
		"flipped": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
	}
	for name, change := range damage {
		s := newScene(t, 256*3+7)
		mustRecord(t, s.open(), mod(300))
		good := s.changeTiles(change)
		if len(good) == 0 {
			t.Fatal("no tiles on disk")
		}
		d := s.open()
		mustRecord(t, d, mod(300))
		if _, err := d.Tile(t.Context(), tlog.Tile{H: 8, L: 0, N: 1, W: 7}); err != nil {
			t.Errorf("%s: Tile: %v", name, err)
		}
		for file, want := range good {
			got, err := os.ReadFile(file)
			if err == nil && len(got) == len(want) && !bytes.Equal(got, want) {
				t.Errorf("%s: %s was not repaired", name, file)
			}
		}
		// The relay alone repairs too.
		s.changeTiles(change)
		d = s.open()
		if b, err := d.Tile(t.Context(), tlog.Tile{H: 8, L: 0, N: 1, W: 256}); err != nil || sha256.Sum256(b) != sha256.Sum256(good[s.file("tile/8/0/001")]) {
			t.Errorf("%s: Tile = %d bytes, %v", name, len(b), err)
		}
		if got, err := os.ReadFile(s.file("tile/8/0/001")); err != nil || !bytes.Equal(got, good[s.file("tile/8/0/001")]) {
			t.Errorf("%s: the tile was not repaired: %v", name, err)
		}
		if len(s.evidence) > 0 {
			t.Errorf("%s: our own rot became evidence", name)
		}
	}
}

// changeTiles changes the tiles on disk and returns what they were.
func (s *scene) changeTiles(change func([]byte) []byte) map[string][]byte {
	good := make(map[string][]byte)
	filepath.WalkDir(s.file("tile"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			s.t.Fatal(err)
		}
		good[name] = bytes.Clone(b)
		if err := os.WriteFile(name, change(b), 0o644); err != nil {
			s.t.Fatal(err)
		}
		return nil
	})
	return good
}

func TestDamagedLatest(t *testing.T) {
	s := newScene(t, 10)
	mustRecord(t, s.open(), mod(1))
	for _, text := range []string{"", "x", "go.sum database tree\n10\n"} {
		if err := os.WriteFile(s.file("latest"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := s.tryOpen(); err == nil || !strings.Contains(err.Error(), path.Join(dbName, "latest")) {
			t.Errorf("OpenDatabase with latest %q: %v", text, err)
		}
	}
}

// TestLatestNotWritable shows that a head that could not be kept is not relied
// on, and that this is no upstream's fault.
func TestLatestNotWritable(t *testing.T) {
	s := newScene(t, 10)
	d := s.open()
	if err := os.RemoveAll(s.file("")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.file(""), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := d.Record(t.Context(), mod(1))
	if _, theirs := errors.AsType[*Error](err); err == nil || theirs {
		t.Errorf("Record without a place for the head: %v (%T)", err, err)
	}
	if head, _ := d.latest(); len(head) > 0 {
		t.Errorf("head in memory is not on disk:\n%s", head)
	}
}

func TestParallel(t *testing.T) {
	s := newScene(t, 256*3+7)
	d := s.open()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() { mustRecord(t, d, mod(i*17)) })
		if i%10 == 0 {
			wg.Go(func() { d.Latest(t.Context()) })
			wg.Go(func() { d.Tile(t.Context(), tlog.Tile{H: 8, L: 0, N: 1, W: 9}) })
		}
	}
	wg.Wait()
	if n := s.count("/lookup/"); n != 50 {
		t.Errorf("%d lookups for 50 records", n)
	}
	if _, tree := d.latest(); tree.N < 256*3+7 {
		t.Errorf("latest is of size %d", tree.N)
	}
	d = s.open() // what is on disk is well
	mustRecord(t, d, mod(5))
}

// TestPlace shows how the database is reached.
func TestPlace(t *testing.T) {
	var mu sync.Mutex
	asked := ""
	var up []string
	for _, code := range []int{200, 404, 410, 403, 500} {
		srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if strings.HasSuffix(r.URL.Path, "/supported") {
				asked += fmt.Sprint(code, " ")
			} else {
				asked += "proxy "
			}
			w.WriteHeader(code)
		})
		up = append(up, fmt.Sprint(code), srv.URL)
	}
	direct := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/db/lookup/") {
			asked += "direct "
		}
		w.WriteHeader(404)
	}))
	t.Cleanup(direct.Close)
	name := strings.TrimPrefix(direct.URL, "https://") + "/db"
	_, vkey := newKeys(t, name)
	tests := []struct {
		list, url, want string
	}{
		{"200", "", "200 proxy "},
		{"404,200", "", "404 200 proxy "},
		{"404,410", "", "404 410 direct "},
		{"404,off", "", "404 direct "},
		{"off", "", "direct "},
		{"direct", "", "direct "},
		{"500,200", "", "500 "},
		{"403", "", "403 "},
		{"500|200", "", "500 200 proxy "},
		{"500|404", "", "500 404 "},
		{"500", "404", "proxy "},
	}
	for _, tt := range tests {
		list := strings.NewReplacer(up...).Replace(tt.list)
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		c := trusting(t, direct)
		c.dialer.Name(&url.URL{Scheme: "https", Host: strings.TrimSuffix(name, "/db")}) // as if it were a public address
		spec, err := ParseSpec(vkey + " " + strings.NewReplacer(up...).Replace(tt.url))
		if err != nil {
			t.Fatal(err)
		}
		d, err := OpenDatabase(DatabaseConfig{Spec: spec, Client: c, Public: c.Chain(mustList(t, list)), Root: root})
		if err != nil {
			t.Fatal(err)
		}
		asked = ""
		d.Record(t.Context(), mod(1))
		if asked != tt.want {
			t.Errorf("list %s, URL %q: asked %q, want %q", tt.list, tt.url, asked, tt.want)
		}
		// The answer is remembered.
		first := asked
		asked = ""
		_, err = d.Record(t.Context(), mod(1))
		if want := first[max(0, strings.LastIndex(strings.TrimSpace(first), " ")+1):]; err == nil || strings.Contains(first, "proxy") && asked != want {
			t.Errorf("list %s, URL %q: then asked %q, %v", tt.list, tt.url, asked, err)
		}
		if !strings.Contains(first, "proxy") && !strings.Contains(first, "direct") {
			if asked != "" {
				t.Errorf("list %s: a failure was not remembered: %q", tt.list, asked)
			}
			d.pause = 0
			if d.Record(t.Context(), mod(1)); asked != first {
				t.Errorf("list %s: a failure was remembered for ever: %q", tt.list, asked)
			}
		}
	}
}

// TestDirectoryGone shows that the loss of the database's directory is not taken for
// the absence of what is asked for.
func TestDirectoryGone(t *testing.T) {
	s := newScene(t, 300)
	d := s.open()
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	_, err := d.Record(t.Context(), mod(7))
	_, latest := d.Latest(t.Context())
	_, tile := d.Tile(t.Context(), tlog.Tile{H: 8, L: 0, N: 0, W: 256})
	for _, err := range []error{err, latest, tile} {
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without the directory: %v", err)
		}
	}
}
