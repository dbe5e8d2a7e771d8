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
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/sumlog/log"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// The database of these tests; a name with a slash is legal.
const (
	dbName = "sum.example.com/db"
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
	vkey string
	url  string

	mu     sync.Mutex
	ops    sumdb.ServerOps
	asked  []string
	tamper func(w http.ResponseWriter, r *http.Request, path string, body []byte) (done bool)

	evidence []string
}

func newScene(t testing.TB, n int) *scene {
	skey, vkey := newKeys(t, dbName)
	s := &scene{t: t, dir: t.TempDir(), vkey: vkey, ops: newServer(t, skey, n)}
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
	c := newClient(s.t)
	return OpenDatabase(DatabaseConfig{
		Spec:   Spec{Name: dbName, VKey: s.vkey},
		Client: c,
		Public: c.Chain(mustList(s.t, s.url)),
		Root:   root,
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

	// What is on disk serves the next process.
	s.set(nil, nil)
	mustRecord(t, s.open(), mod(3))
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

// TestRecordTampered shows what an upstream between the database and us can do:
// deny, but neither deceive nor make absent.
func TestRecordTampered(t *testing.T) {
	otherSKey, _ := newKeys(t, "other.example/db")
	s := newScene(t, 600)
	target := mod(300)
	skey, _ := newKeys(t, dbName)
	tests := []struct {
		name   string
		prefix string // of the paths that are tampered with
		tamper func(body []byte) []byte
	}{
		{"empty", "/lookup/", func(b []byte) []byte { return nil }},
		{"garbage", "/lookup/", func(b []byte) []byte { return []byte("<html>") }},
		{"truncated", "/lookup/", func(b []byte) []byte { return b[:len(b)-10] }},
		{"no head", "/lookup/", func(b []byte) []byte { i := bytes.Index(b, []byte("\n\n")); return b[:i+2] }},
		{"another module", "/lookup/", func(b []byte) []byte { return s.answer(t, mod(301)) }},
		{"another record with this index", "/lookup/", func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte(recordOf(target).Zip), []byte(recordOf(mod(1)).Zip))
		}},
		{"lines after the record", "/lookup/", func(b []byte) []byte {
			a := s.answer(t, mod(301))
			return bytes.Replace(a, []byte("\n\n"), []byte("\n\n"+string(recordOf(target).Text())), 1)
		}},
		{"negative index", "/lookup/", func(b []byte) []byte { return append([]byte("-"), b...) }},
		{"huge index", "/lookup/", func(b []byte) []byte { return append([]byte("9223372036854775807\n"), b[4:]...) }},
		{"index beyond the tree", "/lookup/", func(b []byte) []byte { return append([]byte("600\n"), b[4:]...) }},
		{"another index", "/lookup/", func(b []byte) []byte { return append([]byte("299\n"), b[4:]...) }},
		{"huge tree", "/lookup/", func(b []byte) []byte { return reSign(t, b, skey, 1<<62) }},
		{"other key", "/lookup/", func(b []byte) []byte { return reSign(t, b, otherSKey, 600) }},
		{"tiles empty", "/tile/", func(b []byte) []byte { return nil }},
		{"tiles short", "/tile/", func(b []byte) []byte { return b[:max(0, len(b)-tlog.HashSize)] }},
		{"tiles long", "/tile/", func(b []byte) []byte { return append(b, b[:min(len(b), tlog.HashSize)]...) }},
		{"tiles zero", "/tile/", func(b []byte) []byte { return make([]byte, len(b)) }},
	}
	for _, tt := range tests {
		s.dir = t.TempDir()
		d := s.open()
		s.set(nil, func(w http.ResponseWriter, r *http.Request, path string, body []byte) bool {
			if !strings.HasPrefix(path, tt.prefix) {
				return false
			}
			w.Write(tt.tamper(bytes.Clone(body)))
			return true
		})
		r, err := d.Record(t.Context(), target)
		if err == nil {
			t.Errorf("%s: Record = %v", tt.name, r)
			continue
		}
		if e := asError(t, err); errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrSecurity) || e.Timeout() {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.name != "huge tree" { // the go command's client would calculate for ever
			lines, err := s.client().Lookup(target.Path, target.Version)
			if err == nil && len(lines) > 0 {
				t.Errorf("%s: the go command's client takes it: %v", tt.name, lines)
			}
		}
		s.set(nil, nil)
		mustRecord(t, d, target)
	}
	if len(s.evidence) > 0 {
		t.Errorf("evidence of what the database did not do: %v", s.evidence)
	}
}

// answer returns the honest answer to a lookup.
func (s *scene) answer(t *testing.T, m module.Version) []byte {
	p, err := module.EscapePath(m.Path)
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	sumdb.NewServer(s.ops).ServeHTTP(rec, httptest.NewRequest("GET", "/lookup/"+p+"@"+m.Version, nil))
	return rec.Body.Bytes()
}

// reSign replaces the head of an answer by one of size n.
func reSign(t *testing.T, answer []byte, skey string, n int64) []byte {
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	head, err := note.Sign(&note.Note{Text: string(tlog.FormatTree(tlog.Tree{N: n}))}, signer)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(answer, []byte("\n\n"))
	return append(bytes.Clone(answer[:i+2]), head...)
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

// TestRecordFlippedTile flips one bit at each end of each tile in turn
// (CVE-2026-56865: tiles that were not checked against their parents).
func TestRecordFlippedTile(t *testing.T) {
	s := newScene(t, 256*3+7)
	target := mod(300)
	mustRecord(t, s.open(), target)
	var tiles []string
	for _, p := range s.asked {
		if strings.HasPrefix(p, "/tile/") {
			tiles = append(tiles, p)
		}
	}
	if len(tiles) < 3 {
		t.Fatalf("only tiles %v were read", tiles)
	}
	for _, tile := range tiles {
		for _, last := range []bool{false, true} {
			s.dir = t.TempDir()
			d := s.open()
			s.set(nil, func(w http.ResponseWriter, r *http.Request, path string, body []byte) bool {
				if path != tile {
					return false
				}
				i := 0
				if last {
					i = len(body) - 1
				}
				body[i] ^= 1
				w.Write(body)
				return true
			})
			if r, err := d.Record(t.Context(), target); err == nil {
				t.Errorf("%s flipped: Record = %v", tile, r)
			} else if asError(t, err); errors.Is(err, ErrSecurity) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s flipped: %v", tile, err)
			}
			s.set(nil, nil)
			mustRecord(t, d, target)
		}
	}
}

// TestRecordStatus shows what the proxy's statuses become, for the lookup, for
// tiles, and for the question whether the database is carried.
func TestRecordStatus(t *testing.T) {
	s := newScene(t, 600)
	for _, kind := range []string{"/lookup/", "/tile/", "/supported"} {
		for _, code := range []int{401, 403, 404, 410, 429, 500, 503} {
			s.dir = t.TempDir()
			d := s.open()
			s.set(nil, func(w http.ResponseWriter, r *http.Request, path string, body []byte) bool {
				if !strings.HasPrefix(path, kind) {
					return false
				}
				w.Header().Set("Retry-After", "77")
				http.Error(w, "said so", code)
				return true
			})
			if kind == "/supported" && code/100 == 4 && (code == 404 || code == 410) {
				continue // TestPlace
			}
			_, err := d.Record(t.Context(), mod(300))
			e := asError(t, err)
			absent := code == 404 || code == 410
			if errors.Is(err, fs.ErrNotExist) != (absent && kind == "/lookup/") {
				t.Errorf("%s %d: %v", kind, code, err)
			}
			if kind == "/tile/" && absent {
				continue // a missing tile is not a missing module
			}
			if e.Status != code || e.Text != "said so" || e.RetryAfter != 77*time.Second {
				t.Errorf("%s %d: %+v", kind, code, e)
			}
		}
	}
}

func TestRecordHangs(t *testing.T) {
	s := newScene(t, 600)
	for _, kind := range []string{"/lookup/", "/tile/", "/supported"} {
		s.dir = t.TempDir()
		d := s.open()
		s.set(nil, func(w http.ResponseWriter, r *http.Request, path string, body []byte) bool {
			if strings.HasPrefix(path, kind) {
				hang(w, r)
			}
			return false
		})
		if _, err := d.Record(t.Context(), mod(300)); !asError(t, err).Timeout() {
			t.Errorf("%s hangs: %v", kind, err)
		}
		d = s.open()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		if _, err := d.Record(ctx, mod(300)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s hangs, canceled: %v", kind, err)
		}
		// What was canceled is not remembered.
		s.set(nil, nil)
		mustRecord(t, d, mod(300))
	}
}

func TestRecordText(t *testing.T) {
	skey, _ := newKeys(t, dbName)
	m := module.Version{Path: "example.com/m", Version: "v1.0.0"}
	good := string(recordOf(m).Text())
	zip, modLine, _ := strings.Cut(good, "\n")
	tests := []struct {
		text string
		ok   bool
	}{
		{good, true},
		{modLine + zip + "\n", true},
		{good + "example.com/m v1.0.0 h2:future\n", true},
		{good + "a comment\n", true},
		{good + string(recordOf(mod(1)).Text()), true},
		{good + zip + "\n", false},
		{good + modLine, false},
		{zip + "\n", false},
		{modLine, false},
		{strings.Replace(good, "h1:", "h2:", 1), false},
		{strings.Replace(good, "h1:", "h1:AA", 1), false},
		{strings.ReplaceAll(good, "v1.0.0", "v1.0.1"), false},
		{strings.ReplaceAll(good, "example.com/m", "example.com/M"), false},
	}
	for _, tt := range tests {
		s := newScene(t, 0)
		s.set(sumdb.NewTestServer(skey, func(path, version string) ([]byte, error) { return []byte(tt.text), nil }), nil)
		r, err := s.open().Record(t.Context(), m)
		if (err == nil) != tt.ok || tt.ok && r != recordOf(m) {
			t.Errorf("record %q: %v, %v, want ok: %v", tt.text, r, err, tt.ok)
		}
		if err != nil {
			asError(t, err)
		}
	}
}

// TestFork shows that two histories end the use of the database, for good.
func TestFork(t *testing.T) {
	skey, _ := newKeys(t, dbName)
	forked := func() *sumdb.TestServer {
		f := newServer(t, skey, 0)
		for i := range 700 {
			f.Lookup(t.Context(), mod(i+1000))
		}
		return f
	}
	ways := map[string]func(*Database) error{
		"record": func(d *Database) error { _, err := d.Record(t.Context(), mod(1500)); return err },
		"lookup": func(d *Database) error { _, err := d.Lookup(t.Context(), mod(1500)); return err },
		"latest": func(d *Database) error { _, err := d.Latest(t.Context()); return err },
		"tile": func(d *Database) error {
			_, err := d.Tile(t.Context(), tlog.Tile{H: 8, L: 0, N: 2, W: 150})
			return err
		},
	}
	for name, discover := range ways {
		for _, reopen := range []bool{false, true} {
			s := newScene(t, 600)
			d := s.open()
			mustRecord(t, d, mod(1))
			if reopen {
				d = s.open() // the head comes from disk
			}
			s.set(forked(), nil)
			if err := discover(d); !errors.Is(err, ErrSecurity) {
				t.Errorf("%s: a fork is %v, want ErrSecurity", name, err)
			}
			latest, _ := os.ReadFile(s.file("latest"))
			if !bytes.Contains(latest, []byte("\n600\n")) {
				t.Errorf("%s: the head of before the fork was replaced:\n%s", name, latest)
			}
			kept, err := os.ReadFile(s.file("UNTRUSTED"))
			if err != nil || len(s.evidence) != 1 || !strings.HasSuffix(s.evidence[0], string(kept)) ||
				strings.Count(string(kept), "go.sum database tree") != 2 || !strings.HasPrefix(s.evidence[0], "fork-sum.example.com_db\n") {
				t.Errorf("%s: evidence %q, %v", name, s.evidence, err)
			}
			// It says nothing any more, not to this process nor the next, not
			// even when the fork is gone.
			s.set(newServer(t, skey, 600), nil)
			for _, d := range []*Database{d, s.open()} {
				for name, ask := range ways {
					if err := ask(d); !errors.Is(err, ErrSecurity) {
						t.Errorf("%s after a fork: %v", name, err)
					}
				}
			}
			if len(s.asked) > 0 || len(s.evidence) != 1 {
				t.Errorf("after the fork: asked %v, %d times evidence", s.asked, len(s.evidence))
			}
			// Until an operator says so.
			if err := os.Remove(s.file("UNTRUSTED")); err != nil {
				t.Fatal(err)
			}
			mustRecord(t, s.open(), mod(1))
		}
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

// olderHead is a database, one of whose front ends lags behind.
type olderHead struct {
	sumdb.ServerOps
	old *sumdb.TestServer
}

func (o olderHead) Signed(ctx context.Context) ([]byte, error) { return o.old.Signed(ctx) }

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
	up := map[string]string{}
	for _, code := range []int{200, 404, 410, 403, 500} {
		up[fmt.Sprint(code)] = serve(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if strings.HasSuffix(r.URL.Path, "/supported") {
				asked += fmt.Sprint(code, " ")
			} else {
				asked += "proxy "
			}
			w.WriteHeader(code)
		}).URL
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
		{"500", up["404"], "proxy "},
	}
	for _, tt := range tests {
		list := tt.list
		for code, url := range up {
			list = strings.ReplaceAll(list, code, url)
		}
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		c := trusting(t, direct)
		spec, err := ParseSpec(vkey + " " + tt.url)
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

func FuzzAnswer(f *testing.F) {
	skey, vkey := newKeys(f, dbName)
	srv := newServer(f, skey, 5)
	answer := func(path string) []byte {
		rec := httptest.NewRecorder()
		sumdb.NewServer(srv).ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		b, _ := io.ReadAll(rec.Body)
		return b
	}
	_, head, _ := bytes.Cut(answer("/lookup/example.com/!mod1@v1.0.0"), []byte("\n\n"))
	f.Add([]byte("1\n" + string(recordOf(mod(1)).Text()) + "\n"))
	f.Add([]byte("-1\nexample.com/m v1.0.0 h1:\n\n"))
	f.Add([]byte("9223372036854775807\nx\n\n"))
	f.Add([]byte("007\n\n\n"))
	s := &scene{t: f, dir: f.TempDir(), vkey: vkey, ops: srv}
	s.url = serve(f, s.serve).URL
	d := s.open()
	mustRecord(f, d, mod(1)) // has all tiles in memory
	f.Fuzz(func(t *testing.T, record []byte) {
		data := append(bytes.Clone(record), head...)
		var r log.Record
		err := d.run(t.Context(), func(tiles *tileReader) (err error) {
			r, err = d.prove(tiles, mod(1), data)
			return err
		})
		if err == nil && r != recordOf(mod(1)) || errors.Is(err, ErrSecurity) {
			t.Errorf("answer %q is taken as %v, %v", data, r, err)
		}
	})
}
