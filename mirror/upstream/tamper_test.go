// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.org/sumlog/log"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

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
	for _, kind := range []string{"/lookup/", "/tile/", "/supported"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, 600)
			hanging := make(chan struct{}, 10)
			s.set(nil, func(w http.ResponseWriter, r *http.Request, path string, body []byte) bool {
				if strings.HasPrefix(path, kind) {
					hanging <- struct{}{}
					hang(w, r)
				}
				return false
			})
			s.http = impatient(t)
			if _, err := s.open().Record(t.Context(), mod(300)); !asError(t, err).Timeout() {
				t.Errorf("hangs: %v", err)
			}
			<-hanging
			s.http = newClient(t)
			d := s.open()
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-hanging
				cancel()
			}()
			if _, err := d.Record(ctx, mod(300)); !errors.Is(err, context.Canceled) {
				t.Errorf("hangs, canceled: %v", err)
			}
			// What was canceled is not remembered.
			s.set(nil, nil)
			mustRecord(t, d, mod(300))
		})
	}
}

// TestHeadExtension shows what counts in the signed text, besides its first lines:
// nothing, even if it looks like a record's.
func TestHeadExtension(t *testing.T) {
	s := newScene(t, 600)
	skey, _ := newKeys(t, dbName)
	s.set(extendedHead{s.ops, skey, string(recordOf(mod(1)).Text())}, nil)
	d := s.open()
	mustRecord(t, d, mod(1))
	mustRecord(t, d, mod(300))
}

// extendedHead adds lines to the head.
type extendedHead struct {
	sumdb.ServerOps
	skey, lines string
}

func (o extendedHead) Signed(ctx context.Context) ([]byte, error) {
	head, err := o.ServerOps.Signed(ctx)
	if err != nil {
		return nil, err
	}
	text, _, _ := strings.Cut(string(head), "\n\n")
	signer, err := note.NewSigner(o.skey)
	if err != nil {
		return nil, err
	}
	return note.Sign(&note.Note{Text: text + "\n" + o.lines}, signer)
}

// TestNegativeIndex: record 0 has one spelling of its index.
func TestNegativeIndex(t *testing.T) {
	s := newScene(t, 600)
	s.set(nil, func(w http.ResponseWriter, r *http.Request, path string, body []byte) bool {
		if !strings.HasPrefix(path, "/lookup/") {
			return false
		}
		w.Write(append([]byte("-7"), body[1:]...))
		return true
	})
	if r, err := s.open().Record(t.Context(), mod(0)); err == nil {
		t.Errorf("Record with index -7 = %v", r)
	}
}

// TestPartialGone shows that the full tile serves where a partial one is gone,
// and that a short one there is an error.
func TestPartialGone(t *testing.T) {
	for _, code := range []int{403, 404, 410, 500} {
		for _, short := range []bool{false, true} {
			s := newScene(t, 600)
			s.set(olderHead{s.ops, newServer(t, s.skey, 300)}, func(w http.ResponseWriter, r *http.Request, path string, body []byte) bool {
				switch {
				case path == "/tile/8/0/001.p/44":
					w.WriteHeader(code)
				case path == "/tile/8/0/001" && short:
					w.Write(body[:100])
				default:
					return false
				}
				return true
			})
			d := s.open()
			r, err := d.Record(t.Context(), mod(299))
			if want := code != 500 && !short; (err == nil) != want {
				t.Errorf("%d, short %v: %v, %v", code, short, r, err)
			} else if !want && errors.Is(asError(t, err), fs.ErrNotExist) {
				t.Errorf("%d, short %v: %v", code, short, err)
			}
		}
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
