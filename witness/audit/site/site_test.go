// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package site_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"
	"example.org/sumlog/witness/audit/site"

	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"
)

const name = "sum.example/team"

// A rig is a log in both layouts, with one key.
type rig struct {
	tiles, database *tlogtest.Log
}

func newRig(t testing.TB, n int64) *rig {
	t.Helper()
	l := tlogtest.New(t, name, tlogclient.Tiles)
	l.Grow("a", n)
	d := l.Fork(n)
	d.Layout, d.Origin = tlogclient.Database, tlogclient.DatabaseOrigin
	return &rig{l, d}
}

func (r *rig) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if p := req.URL.Path; p == "/latest" || strings.HasPrefix(p, "/tile/8/") || strings.HasPrefix(p, "/lookup/") {
		r.database.ServeHTTP(w, req)
		return
	}
	r.tiles.ServeHTTP(w, req)
}

// at serves h below a prefix, and other everywhere else.
func at(prefix string, h, other http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, prefix+"/") {
			http.StripPrefix(prefix, h).ServeHTTP(w, r)
			return
		}
		other.ServeHTTP(w, r)
	})
}

func status(code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) })
}

func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, text) })
}

func openSite(t testing.TB, h http.Handler, key *checkpoint.Key) (*site.Site, error) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	reader := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
	t.Cleanup(reader.Close)
	return site.Open(t.Context(), site.Config{HTTP: reader, URL: srv.URL, Key: key, Tries: 1})
}

func TestOpen(t *testing.T) {
	r := newRig(t, 700)
	other := newRig(t, 3)
	page := says("<html>" + strings.Repeat("x", 300<<10))
	sumdb := "/sumdb/" + name
	for _, tt := range []struct {
		name            string
		h               http.Handler
		tiles, database bool
		heads           int
		bad             bool  // Heads fails
		err             error // of Open
	}{
		{"both", r, true, true, 2, false, nil},
		{"tiles only", r.tiles, true, false, 1, false, nil},
		{"database only", r.database, false, true, 1, false, nil},
		{"below a proxy", at(sumdb, r.database, status(404)), false, true, 1, false, nil},
		{"below a proxy that says 400", at(sumdb, r.database, status(400)), false, true, 1, false, nil},
		{"below a web site", at(sumdb, r, page), true, true, 2, false, nil},
		{"both, below and here", at(sumdb, other, r), true, true, 2, false, nil},
		{"checkpoint is garbage", hide(r, "/checkpoint", says("garbage")), true, true, 1, true, nil},
		{"checkpoint is too long", hide(r, "/checkpoint", page), true, true, 1, true, nil},
		{"latest is of another key", hide(r, "/latest", other), true, true, 1, true, nil},
		{"nothing", status(404), false, false, 0, false, fs.ErrNotExist},
		{"web site", says("<html>"), false, false, 0, false, tlogclient.ErrHead},
		{"large web site", page, false, false, 0, false, tlogclient.ErrHead},
		{"another log", other, false, false, 0, false, tlogclient.ErrHead},
		{"one broken", hide(r, "/latest", status(500)), false, false, 0, false, errAny},
		{"broken", status(500), false, false, 0, false, errAny},
		{"broken here", at(sumdb, r, status(500)), false, false, 0, false, errAny},
		{"broken below", at(sumdb, status(500), status(404)), false, false, 0, false, errAny},
	} {
		s, err := openSite(t, tt.h, r.tiles.Key)
		if tt.err != nil {
			if err == nil || tt.err != errAny && !errors.Is(err, tt.err) || tt.err == errAny && errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: error %v, want %v", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil || tt.tiles != (s.Tiles != nil) || tt.database != (s.Database != nil) || s.Log() == nil {
			t.Errorf("%s: %+v, %v", tt.name, s, err)
			continue
		}
		seen, err := s.Heads(t.Context())
		if len(seen) != tt.heads || tt.bad != (err != nil) || tt.bad && !errors.Is(err, tlogclient.ErrHead) {
			t.Errorf("%s: heads %v, %v", tt.name, seen, err)
		}
		for _, h := range seen {
			if h.Head.Tree() != r.tiles.Tree(700) || !strings.HasPrefix(h.Source, s.URL+"/") {
				t.Errorf("%s: head %+v", tt.name, h)
			}
		}
		if entries, err := s.Log().Bundle(t.Context(), 2, 188); err != nil || string(entries[0]) != "a 512\n" {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

var errAny = errors.New("any error but absence")

// hide serves h, but at path what instead does.
func hide(h http.Handler, path string, instead http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == path {
			instead.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// TestServer opens the server that golang.org/x/mod has.
func TestServer(t *testing.T) {
	skey, vkey, err := note.GenerateKey(nil, "sum.example")
	if err != nil {
		t.Fatal(err)
	}
	key, err := checkpoint.ParseKey(vkey)
	if err != nil {
		t.Fatal(err)
	}
	ops := sumdb.NewTestServer(skey, func(path, version string) ([]byte, error) {
		return fmt.Appendf(nil, "%s %s h1:\n", path, version), nil
	})
	s, err := openSite(t, sumdb.NewServer(ops), key)
	if err != nil || s.Tiles != nil || s.Log() != s.Database {
		t.Fatalf("%+v, %v", s, err)
	}
	if seen, err := s.Heads(t.Context()); err != nil || len(seen) != 1 || !strings.HasSuffix(seen[0].Source, "/latest") {
		t.Errorf("heads %v, %v", seen, err)
	}
	for _, err := range s.Archive(t.Context(), -1) {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("archive: error %v", err)
		}
	}
	s, err = openSite(t, hide(sumdb.NewServer(ops), "/checkpoints", status(400)), key)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range s.Archive(t.Context(), -1) {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("archive: error %v", err)
		}
	}
	if _, err := s.Get(t.Context(), "index?limit=1", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("feed: error %v", err)
	}
}

// TestFiles opens a file tree.
func TestFiles(t *testing.T) {
	r := newRig(t, 300)
	for _, below := range []string{"", "sumdb/" + name} {
		dir := t.TempDir()
		for _, path := range []string{"checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44"} {
			data, err := r.tiles.Read(t.Context(), path, 1<<20)
			file := filepath.Join(dir, below, path)
			if err == nil {
				err = os.MkdirAll(filepath.Dir(file), 0o777)
			}
			if err == nil {
				err = os.WriteFile(file, data, 0o666)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
		defer h.Close()
		for _, where := range []string{dir, "file://" + dir} {
			s, err := site.Open(t.Context(), site.Config{HTTP: h, URL: where, Key: r.tiles.Key})
			if err != nil || s.Tiles == nil || s.Database != nil {
				t.Fatalf("%+v, %v", s, err)
			}
			if _, err := s.Log().ProveEntry(t.Context(), 290, r.tiles.Tree(300)); err != nil {
				t.Error(err)
			}
			for _, err := range s.Archive(t.Context(), -1) {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("archive: error %v", err)
				}
			}
			f := tempFile(t)
			if n, err := s.Fetch(t.Context(), filepath.ToSlash(filepath.Join(below, "checkpoint")), 1000, f); err != nil || n == 0 {
				t.Errorf("fetched %d bytes, %v", n, err)
			}
		}
	}
}

func tempFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestGet(t *testing.T) {
	r := newRig(t, 3)
	var asked string
	s, err := openSite(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/checkpoint" || req.URL.Path == "/latest" {
			r.ServeHTTP(w, req)
			return
		}
		asked = req.URL.Path + "|" + req.URL.RawQuery
		io.WriteString(w, "answer")
	}), r.tiles.Key)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"index?since=a&limit=2":          "/index|since=a&limit=2",
		"example.com/!a/@v/list":         "/example.com/!a/@v/list|",
		"a%2f..%2fb/@v/v1.0.0+x.info":    "/a%2f..%2fb/@v/v1.0.0+x.info|",
		"cached-only/a b/@latest":        "/cached-only/a b/@latest|",
		"example.com/m/@v/v1.0.0#x.info": "/example.com/m/@v/v1.0.0#x.info|",
	} {
		if data, err := s.Get(t.Context(), path, 6); err != nil || string(data) != "answer" || asked != want {
			t.Errorf("%s: %q, %v; asked for %q", path, data, err, asked)
		}
	}
	asked = ""
	for _, path := range []string{"", ".", "../x", "a/../b", "/a", "a//b", "?a"} {
		if _, err := s.Get(t.Context(), path, 6); !errors.Is(err, fs.ErrInvalid) || asked != "" {
			t.Errorf("%s: error %v, asked for %q", path, err, asked)
		}
	}
	if _, err := s.Get(t.Context(), "index", 5); !errors.Is(err, tlogclient.ErrTooLarge) {
		t.Errorf("over the limit: error %v", err)
	}
}

func TestFetch(t *testing.T) {
	r := newRig(t, 3)
	body := strings.Repeat("0123456789", 1000)
	tries := 0
	srv := httptest.NewServer(hide(r, "/m.zip", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if tries++; tries == 1 {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			io.WriteString(w, body[:500])
			return // cut
		}
		io.WriteString(w, body)
	})))
	defer srv.Close()
	h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
	defer h.Close()
	s, err := site.Open(t.Context(), site.Config{HTTP: h, URL: srv.URL, Key: r.tiles.Key, Tries: 2})
	if err != nil {
		t.Fatal(err)
	}
	f := tempFile(t)
	if _, err := io.WriteString(f, strings.Repeat("old", 10000)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Fetch(t.Context(), "m.zip", 10000, f); err != nil || n != 10000 || tries != 2 {
		t.Errorf("fetched %d bytes in %d tries, %v", n, tries, err)
	}
	if data, err := os.ReadFile(f.Name()); err != nil || string(data) != body {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if _, err := s.Fetch(t.Context(), "m.zip", 9999, f); !errors.Is(err, tlogclient.ErrTooLarge) {
		t.Errorf("over the limit: error %v", err)
	}
	if _, err := s.Fetch(t.Context(), "none.zip", 9999, f); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: error %v", err)
	}
}

func TestConfig(t *testing.T) {
	r := newRig(t, 3)
	h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
	defer h.Close()
	for _, c := range []site.Config{
		{URL: "http://127.0.0.1:1", Key: r.tiles.Key}, {HTTP: h, Key: r.tiles.Key}, {HTTP: h, URL: "http://127.0.0.1:1"},
		{HTTP: h, URL: "ftp://log.example", Key: r.tiles.Key}, {HTTP: h, URL: "http://log.example/?a=b", Key: r.tiles.Key},
	} {
		if s, err := site.Open(t.Context(), c); err == nil {
			t.Errorf("%+v: %v", c, s)
		}
	}
}
