// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/tlog"
)

func (s *scene) relay(d *Database) *Relay {
	router, err := NewRouter(nil, nil, "example.com/private,corp.example")
	if err != nil {
		s.t.Fatal(err)
	}
	return &Relay{
		Database: d,
		Router:   router,
		Error: func(w http.ResponseWriter, r *http.Request, err error) {
			code := http.StatusBadGateway
			switch {
			case errors.Is(err, fs.ErrNotExist):
				code = http.StatusNotFound
			case errors.Is(err, ErrPrivate):
				code = http.StatusForbidden
			}
			http.Error(w, err.Error(), code)
		},
	}
}

// TestRelay shows that the go command's client is content with the relay, at
// any place in the tree, with heads old and new.
func TestRelay(t *testing.T) {
	s := newScene(t, 600)
	h := s.relay(s.open())
	srv := serve(t, http.StripPrefix("/sumdb/"+dbName, h).ServeHTTP)
	ops := &clientOps{url: srv.URL + "/sumdb/" + dbName, vkey: s.vkey}
	for _, i := range []int{599, 0, 255, 256, 511, 512, 700, 1} {
		m := mod(i)
		c := sumdb.NewClient(ops)
		lines, err := c.Lookup(m.Path, m.Version)
		if err != nil || len(lines) != 1 || !strings.HasSuffix(lines[0], recordOf(m).Zip) {
			t.Errorf("Lookup(%v) = %v, %v", m, lines, err)
		}
	}
}

func TestRelayAnswers(t *testing.T) {
	s := newScene(t, 600)
	h := s.relay(s.open())
	tests := []struct {
		method, path string
		status       int
		kind         string
		asked        bool // may the database be asked because of it
	}{
		{"GET", "/supported", 200, "text/plain; charset=utf-8", false},
		{"GET", "/latest", 200, "text/plain; charset=utf-8", true},
		{"GET", "/lookup/example.com/!mod7@v1.0.0", 200, "text/plain; charset=utf-8", true},
		{"GET", "/lookup/unknown.example/m@v1.0.0", 404, "", true},
		{"GET", "/tile/8/0/000", 200, "application/octet-stream", true},
		{"GET", "/tile/8/0/001.p/17", 200, "application/octet-stream", true},
		{"GET", "/tile/8/0/002.p/88", 200, "application/octet-stream", true},
		{"GET", "/tile/8/1/000.p/1", 200, "application/octet-stream", true},
		{"GET", "/tile/8/1/000.p/2", 200, "application/octet-stream", true},
		{"HEAD", "/tile/8/1/000.p/2", 200, "application/octet-stream", false},
		{"HEAD", "/supported", 200, "text/plain; charset=utf-8", false},
		{"POST", "/latest", 405, "", false},
		{"PUT", "/tile/8/1/000.p/2", 405, "", false},
		{"GET", "/tile/8/0/002", 404, "", false},
		{"GET", "/tile/8/0/002.p/89", 404, "", false},
		{"GET", "/tile/8/0/003", 404, "", false},
		{"GET", "/tile/8/1/000", 404, "", false},
		{"GET", "/tile/8/1/001.p/1", 404, "", false},
		{"GET", "/tile/8/2/000.p/1", 404, "", false},
		{"GET", "/tile/8/7/000.p/1", 404, "", false},
		{"GET", "/tile/8/8/000.p/1", 404, "", false},
		{"GET", "/tile/8/63/000.p/1", 404, "", false},
		{"GET", "/tile/8/9999999999999999999/000", 404, "", false},
		{"GET", "/tile/8/0/x999/x999/x999/x999/x999/999", 404, "", false},
		{"GET", "/tile/8/0/x009/x223/x372/x036/x854/x775/807", 404, "", false},
		{"GET", "/tile/8/0/x036/x028/x797/x018/963.p/255", 404, "", false},
		{"GET", "/tile/8/0/" + strings.Repeat("x001/", 1000) + "001", 404, "", false},
		{"GET", "/tile/8/0/x072/x057/x594/x037/x927/936.p/1", 404, "", false}, // 2⁵⁶
		{"GET", "/tile/8/1152921504606846976/000.p/1", 404, "", false},        // 2⁶⁰
		{"GET", "/tile/8/9223372036854775807/000.p/1", 404, "", false},
		{"GET", "/tile/30/0/000", 404, "", false},
		{"GET", "/tile/1/0/000", 404, "", false},
		{"GET", "/tile/8/data/000", 404, "", false},
		{"GET", "/tile/8/entries/000", 404, "", false},
		{"GET", "/tile/8/-1/000", 404, "", false},
		{"GET", "/tile/8/0/0", 404, "", false},
		{"GET", "/tile/8/0/000.p/256", 404, "", false},
		{"GET", "/tile/8/0/000.p/0", 404, "", false},
		{"GET", "/tile/8/0/../../../latest", 404, "", false},
		{"GET", "/tile/", 404, "", false},
		{"GET", "/lookup/", 404, "", false},
		{"GET", "/lookup/example.com/m", 404, "", false},
		{"GET", "/lookup/example.com/m@v1", 404, "", false},
		{"GET", "/lookup/example.com/m@v1.0.0/go.mod", 404, "", false},
		{"GET", "/lookup/example.com/Mod7@v1.0.0", 404, "", false},
		{"GET", "/lookup/example.com/../m@v1.0.0", 404, "", false},
		{"GET", "/lookup/example.com/m@v1.0.0@v1.0.0", 404, "", false},
		{"GET", "/lookup/127.0.0.1/m@v1.0.0", 404, "", false},
		{"GET", "/lookup/localhost/m@v1.0.0", 404, "", false},
		{"GET", "/lookup/example.com/private@v1.0.0", 403, "", false},
		{"GET", "/lookup/example.com/private/x@v1.0.0", 403, "", false},
		{"GET", "/lookup/corp.example/x@v1.0.0", 403, "", false},
		{"GET", "/supported/x", 404, "", false},
		{"GET", "/latest/", 404, "", false},
		{"GET", "/", 404, "", false},
		{"GET", "/UNTRUSTED", 404, "", false},
	}
	for _, tt := range tests {
		s.set(nil, nil)
		r := httptest.NewRequest(tt.method, "/", nil)
		r.URL.Path = tt.path
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("%s %.80s: %d %s, want %d", tt.method, tt.path, w.Code, w.Body, tt.status)
		}
		if tt.kind != "" && w.Header().Get("Content-Type") != tt.kind {
			t.Errorf("%s %s: Content-Type %q", tt.method, tt.path, w.Header().Get("Content-Type"))
		}
		if w.Code != 200 && (w.Header().Get("Cache-Control") != "" || w.Header().Get("ETag") != "") {
			t.Errorf("%s %.80s: an error with headers %v", tt.method, tt.path, w.Header())
		}
		if !tt.asked && len(s.asked) > 0 {
			t.Errorf("%s %.80s: the database was asked %v", tt.method, tt.path, s.asked)
		}
	}
}

// TestTile compares every tile of every width with the database's own.
func TestTile(t *testing.T) {
	s := newScene(t, 256*2+5)
	d := s.open()
	if _, err := d.Latest(t.Context()); err != nil {
		t.Fatal(err)
	}
	honest := s.ops
	for _, tile := range tlog.NewTiles(8, 0, 256*2+5) {
		for w := 1; w <= tile.W; w++ {
			tile := tile
			tile.W = w
			want, err := honest.ReadTileData(t.Context(), tile)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := d.Tile(t.Context(), tile); err != nil || !bytes.Equal(got, want) {
				t.Errorf("Tile(%s) = %d bytes, %v", tile.Path(), len(got), err)
			}
		}
	}
}

// TestTileTampered shows that a wrong tile is not passed on.
func TestTileTampered(t *testing.T) {
	s := newScene(t, 600)
	for _, tile := range []tlog.Tile{{H: 8, L: 0, N: 1, W: 256}, {H: 8, L: 0, N: 1, W: 3}, {H: 8, L: 0, N: 2, W: 88}, {H: 8, L: 1, N: 0, W: 2}} {
		s.dir = t.TempDir()
		d := s.open()
		s.set(nil, func(w http.ResponseWriter, r *http.Request, path string, body []byte) bool {
			if !strings.HasPrefix(path, "/tile/") {
				return false
			}
			body[len(body)-1] ^= 1
			w.Write(body)
			return true
		})
		if b, err := d.Tile(t.Context(), tile); err == nil {
			t.Errorf("Tile(%s) = %d bytes, though tampered with", tile.Path(), len(b))
		} else if asError(t, err); errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Tile(%s): %v", tile.Path(), err)
		}
	}
}

// TestTileGrown shows that tiles of a tree that has grown are found, and that
// the database is not asked again and again for those it has not.
func TestTileGrown(t *testing.T) {
	s := newScene(t, 300)
	d := s.open()
	if _, err := d.Latest(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		s.ops.Lookup(t.Context(), mod(300+i))
	}
	grown := tlog.Tile{H: 8, L: 0, N: 1, W: 256}
	if _, err := d.Tile(t.Context(), grown); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Tile beyond the head asked for lately: %v", err)
	}
	d.headLife = 1 // a minute later
	if b, err := d.Tile(t.Context(), grown); err != nil || len(b) != 256*tlog.HashSize {
		t.Errorf("Tile = %d bytes, %v", len(b), err)
	}
}

func TestRelayStatus(t *testing.T) {
	s := newScene(t, 600)
	s.set(nil, func(w http.ResponseWriter, r *http.Request, path string, body []byte) bool {
		if path == "/supported" {
			return false
		}
		http.Error(w, "busy", http.StatusTooManyRequests)
		return true
	})
	d := s.open()
	if _, err := d.Latest(t.Context()); asError(t, err).Status != 429 {
		t.Errorf("Latest: %v", err)
	}
	n := s.count("/latest")
	if _, err := d.Tile(t.Context(), tlog.Tile{H: 8, L: 0, N: 0, W: 256}); asError(t, err).Status != 429 || s.count("/latest") != n {
		t.Errorf("Tile: %v, and latest was asked for %d times more", err, s.count("/latest")-n)
	}
	if _, err := d.Lookup(t.Context(), mod(1)); asError(t, err).Status != 429 {
		t.Errorf("Lookup: %v", err)
	}
	if _, err := d.Lookup(t.Context(), module.Version{Path: "x", Version: "v1.0.0"}); !errors.Is(err, ErrNotModule) {
		t.Errorf("Lookup: %v", err)
	}
}

func FuzzRelayPath(f *testing.F) {
	for _, p := range []string{"tile/8/0/000", "tile/8/0/x001/000.p/3", "tile/8/0/x999/x999/x999/x999/x999/999", "tile/30/0/000", "lookup/example.com/!m@v1.0.0", "latest", "tile/8/data/000"} {
		f.Add(p, int64(600))
	}
	f.Fuzz(func(t *testing.T, path string, size int64) {
		tile, err := tlog.ParseTilePath(path)
		if err != nil || tile.H != tileHeight || tile.L < 0 || size < 0 || size > maxTree {
			return
		}
		// The last hash of a tile in the tree covers a record in the tree.
		if inTree(tile, size) {
			last := tlog.StoredHashIndex(tile.H*tile.L, tile.N<<tileHeight+int64(tile.W)-1)
			if last < 0 || last >= tlog.StoredHashCount(size) {
				t.Fatalf("%s is not in a tree of %d", path, size)
			}
		}
	})
}
