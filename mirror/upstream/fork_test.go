// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/evidence"
)

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
				!strings.HasPrefix(s.evidence[0], "fork-sum.example.com_db\n") {
				t.Errorf("%s: evidence %q, %v", name, s.evidence, err)
			}
			checkEvidence(t, kept)
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

// TestForkMeanwhile shows that an operation that was under way when the fork
// was found comes to nothing.
func TestForkMeanwhile(t *testing.T) {
	d := newScene(t, 10).open()
	err := d.run(t.Context(), func(r *tileReader) error {
		d.distrust(nil)
		return nil
	})
	if !errors.Is(err, ErrSecurity) {
		t.Errorf("run = %v, want ErrSecurity", err)
	}
	if err := d.setLatest(nil, []byte("new"), tlog.Tree{N: 5}); !errors.Is(err, ErrSecurity) {
		t.Errorf("setLatest = %v, want ErrSecurity", err)
	}
}

// checkEvidence checks, with nothing but the text, that it proves a fork.
func checkEvidence(t *testing.T, text []byte) {
	t.Helper()
	_, vkey := newKeys(t, dbName)
	e, err := evidence.Parse(text)
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	older, newer := e.Trees()
	if e.Kind() != evidence.Fork || e.Key().String() != vkey || older.N != 600 || newer.N != 700 {
		t.Errorf("evidence %v", e)
	}
}

// TestForkEvidence keeps both heads where the proof cannot be read any more, and where
// the heads alone are it.
func TestForkEvidence(t *testing.T) {
	skey, _ := newKeys(t, dbName)
	d := newScene(t, 10).open()
	head := func(n int) signedTree {
		text, err := newServer(t, skey, n).Signed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tree, err := d.openHead(text)
		if err != nil {
			t.Fatal(err)
		}
		return signedTree{tree, text}
	}
	gone := tlog.HashReaderFunc(func([]int64) ([]tlog.Hash, error) { return nil, errors.New("gone") })
	for _, newer := range []int{6, 7} {
		old := head(6)
		other := signedTree{tlog.Tree{}, head(newer).head}
		if newer == 6 {
			f := newServer(t, skey, 0)
			for i := range 6 {
				f.Lookup(t.Context(), mod(i+1000))
			}
			var err error
			if other.head, err = f.Signed(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		other.Tree, _ = d.openHead(other.head)
		e, err := evidence.Parse(d.forkEvidence(old, other, tlog.Hash{1}, gone))
		if err != nil {
			t.Fatal(err)
		}
		if want := map[int]evidence.Kind{6: evidence.Equivocation, 7: evidence.Stray}[newer]; e.Kind() != want || e.Key().String() != d.key.String() {
			t.Errorf("%v, want %s", e, want)
		}
	}
}
