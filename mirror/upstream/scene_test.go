// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"example.org/sumlog/log"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"
)

// newKeys makes keys of the name that the tests use.
func newKeys(t testing.TB, name string) (skey, vkey string) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(zeroes{}, name)
	if err != nil {
		t.Fatal(err)
	}
	return skey, vkey
}

// zeroes makes every key the same.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func mod(i int) module.Version {
	return module.Version{Path: "example.com/Mod" + fmt.Sprint(i), Version: "v1.0.0"}
}

// recordOf is the record that an honest database has of m.
func recordOf(m module.Version) log.Record {
	h := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "h1:" + base64.StdEncoding.EncodeToString(sum[:])
	}
	return log.Record{Module: m, Zip: h("zip" + m.String()), Mod: h("mod" + m.String())}
}

// newServer returns a database of the first n modules, in order.
func newServer(t testing.TB, skey string, n int) *sumdb.TestServer {
	t.Helper()
	s := sumdb.NewTestServer(skey, func(path, version string) ([]byte, error) {
		if !strings.HasPrefix(path, "example.com/") {
			return nil, fs.ErrNotExist
		}
		return recordOf(module.Version{Path: path, Version: version}).Text(), nil
	})
	for i := range n {
		if _, err := s.Lookup(t.Context(), mod(i)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// A scene is a proxy that carries a database, and what was asked of it.
type scene struct {
	t    testing.TB
	dir  string
	skey string
	vkey string
	url  string
	http *Client // nil: newClient

	relayed int // places of the relay

	mu     sync.Mutex
	ops    sumdb.ServerOps
	asked  []string
	tamper func(w http.ResponseWriter, r *http.Request, path string, body []byte) (done bool)

	evidence []string
}

func newScene(t testing.TB, n int) *scene {
	skey, vkey := newKeys(t, dbName)
	s := &scene{t: t, dir: t.TempDir(), skey: skey, vkey: vkey, ops: newServer(t, skey, n)}
	s.url = serve(t, s.serve).URL
	return s
}

func (s *scene) serve(w http.ResponseWriter, r *http.Request) {
	p := strings.TrimPrefix(r.URL.Path, "/sumdb/"+dbName)
	s.mu.Lock()
	s.asked = append(s.asked, p)
	ops, tamper := s.ops, s.tamper
	s.mu.Unlock()
	if p == "/supported" {
		if tamper != nil {
			tamper(w, r, p, nil)
		}
		return
	}
	r.URL.Path = p
	rec := httptest.NewRecorder()
	func() {
		// The server panics for a tile beyond its tree.
		defer func() {
			if recover() != nil {
				rec.Code = http.StatusInternalServerError
			}
		}()
		sumdb.NewServer(ops).ServeHTTP(rec, r)
	}()
	if tamper != nil && tamper(w, r, p, rec.Body.Bytes()) {
		return
	}
	w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
	w.WriteHeader(rec.Code)
	w.Write(rec.Body.Bytes())
}

// set changes what the proxy does.
func (s *scene) set(ops sumdb.ServerOps, tamper func(w http.ResponseWriter, r *http.Request, path string, body []byte) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.tamper = nil, tamper
	if ops != nil {
		s.ops = ops
	}
}

// count returns how many paths with prefix were asked.
func (s *scene) count(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.asked {
		if strings.HasPrefix(p, prefix) {
			n++
		}
	}
	return n
}

func (s *scene) open() *Database {
	s.t.Helper()
	d, err := s.tryOpen()
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *scene) tryOpen() (*Database, error) {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { root.Close() })
	c := s.http
	if c == nil {
		c = newClient(s.t)
	}
	return OpenDatabase(DatabaseConfig{
		Spec:   Spec{Name: dbName, VKey: s.vkey},
		Client: c,
		Public: c.Chain(mustList(s.t, s.url)),
		Root:   root,

		Relayed: s.relayed,
		Evidence: func(name string, text []byte) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.evidence = append(s.evidence, name+"\n"+string(text))
		},
	})
}

func (s *scene) file(name string) string { return filepath.Join(s.dir, dbName, name) }

// mustRecord checks that d has the right record of m.
func mustRecord(t testing.TB, d *Database, m module.Version) {
	t.Helper()
	if r, err := d.Record(t.Context(), m); err != nil || r != recordOf(m) {
		t.Errorf("Record(%v) = %v, %v", m, r, err)
	}
}

// client returns the go command's client of the scene's proxy.
func (s *scene) client() *sumdb.Client {
	return sumdb.NewClient(&clientOps{url: s.url + "/sumdb/" + dbName, vkey: s.vkey})
}

// clientOps are the least that a client needs.
type clientOps struct {
	url, vkey string
	mu        sync.Mutex
	head      []byte
}

func (o *clientOps) ReadRemote(path string) ([]byte, error) {
	resp, err := http.Get(o.url + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return nil, errors.New(resp.Status)
	}
	return io.ReadAll(resp.Body)
}

func (o *clientOps) ReadConfig(file string) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if file == "key" {
		return []byte(o.vkey), nil
	}
	return o.head, nil
}

func (o *clientOps) WriteConfig(file string, old, head []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !bytes.Equal(old, o.head) {
		return sumdb.ErrWriteConflict
	}
	o.head = head
	return nil
}

func (o *clientOps) ReadCache(file string) ([]byte, error) { return nil, fs.ErrNotExist }
func (o *clientOps) WriteCache(file string, data []byte)   {}
func (o *clientOps) Log(msg string)                        {}
func (o *clientOps) SecurityError(msg string)              {}

// olderHead is a database, one of whose front ends lags behind.
type olderHead struct {
	sumdb.ServerOps
	old *sumdb.TestServer
}

func (o olderHead) Signed(ctx context.Context) ([]byte, error) { return o.old.Signed(ctx) }
