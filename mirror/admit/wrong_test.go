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
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/log"
	"example.org/sumlog/mirror/admit"
	"example.org/sumlog/mirror/internal/mirrortest"
	"example.org/sumlog/mirror/store"
	"example.org/sumlog/mirror/upstream"
)

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
	given := other.Record(t).Zip
	if ext == "mod" {
		given = other.Record(t).Mod
	}
	wantEvidence(w, "upstream-mismatch", m.Path+"@v1.0.0", "logged at index 0", m.Record(t).Zip, given)
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
		wantEvidence(w, "upstream-mismatch", "example.com/a@v1.0.0", "not in the log yet", m.Record(t).Zip)
		w.close()
	}
}

// TestConflict has the log know another record for what is computed.
func TestConflict(t *testing.T) {
	w := newWorld(t, true)
	defer w.close()
	m := w.simple("private.example/a", "v1.0.0")
	have := mirrortest.New(t, m.Path, "v1.0.0", "go.mod", "module private.example/a // before\n").Record(t)
	w.log.Fail(&log.ConflictError{Have: have, Got: m.Record(t)})
	if err := w.bytes(m.Version, store.Zip); !errors.As(err, new(*log.ConflictError)) {
		t.Errorf("Bytes = %v", err)
	}
	wantEvidence(w, "conflict", "private.example/a@v1.0.0", "somebody has given", have.Zip, have.Mod, m.Record(t).Zip, m.Record(t).Mod)
}

// wantEvidence checks that there is one file, a refusal that says all of these.
func wantEvidence(w *world, kind string, texts ...string) {
	w.t.Helper()
	if len(w.evidence) != 1 {
		w.t.Fatalf("evidence: %q", w.evidence)
	}
	file, ok := strings.CutPrefix(w.evidence[0], kind+": ")
	e, err := evidence.Parse([]byte(file))
	if !ok || err != nil || e.Kind() != evidence.Refused {
		w.t.Fatalf("evidence: %v: %q", err, w.evidence)
	}
	for _, text := range texts {
		if !strings.Contains(e.String(), text) {
			w.t.Errorf("no %q in %s", text, e)
		}
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
				err := w.bytes(m.Version, store.Zip)
				if ext == ".info" && errors.Is(cause, fs.ErrNotExist) && path == "example.com/a" {
					// A proven record needs none.
					if err != nil {
						t.Errorf("without .info: %v", err)
					}
					w.close()
					continue
				}
				if !errors.Is(err, cause) {
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
	var unvouched *admit.UnvouchedError
	if err := w.svc.Admit(t.Context(), unknown.Version); !errors.As(err, &unvouched) {
		t.Errorf("unknown to the database alone: %v", err)
	}
	w.public.Set(mirrortest.Name(unknown.Version, "info"), nil)
	nobodys := mirrortest.Simple(t, "example.com/nobody", "v1.0.0")
	if err := w.svc.Admit(t.Context(), nobodys.Version); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unknown to everybody: %v", err)
	}
	w.wantLogged()
	// What failed is not remembered.
	if err := w.svc.Admit(t.Context(), m.Version); err != nil {
		t.Error(err)
	}
}

// TestNoModule has an upstream with whole zips that can be no module's: absent for
// ever where nothing else is known, and a mismatch where the record is.
func TestNoModule(t *testing.T) {
	for _, path := range []string{"example.com/a", "private.example/a"} {
		w := newWorld(t, true)
		m := w.simple(path, "v1.0.0")
		bad := mirrortest.Simple(t, path, "v1.0.1").Zip // all its names are of another version
		w.public.Set(mirrortest.Name(m.Version, "zip"), bad)
		w.private.Set(mirrortest.Name(m.Version, "zip"), bad)
		err := w.bytes(m.Version, store.Zip)
		if path == "example.com/a" {
			if !errors.As(err, new(*admit.MismatchError)) || len(w.evidence) != 1 {
				t.Errorf("%s: Bytes = %v, evidence %q", path, err, w.evidence)
			}
		} else if !errors.As(err, new(*admit.InvalidError)) || !errors.Is(err, fs.ErrNotExist) || len(w.evidence) != 0 {
			t.Errorf("%s: Bytes = %v, evidence %q", path, err, w.evidence)
		}
		for _, text := range w.evidence {
			if e, err := evidence.Parse([]byte(strings.TrimPrefix(text, "upstream-mismatch: "))); err != nil || e.Kind() != evidence.Refused {
				t.Errorf("evidence: %v", err)
			}
		}
		w.wantLogged()
		w.close()
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
