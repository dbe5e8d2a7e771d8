// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestEvidenceTwice: the same evidence comes twice before it is written, as it does
// when clients send the same at once. It is no failure of the database.
func TestEvidenceTwice(t *testing.T) {
	s := mustOpen(t, Config{Dir: mustCreate(t)})
	l := newTestLog("a.example")
	mustAdd(t, s, l)
	e := Evidence{Origin: l.Origin, Time: 1, File: []byte("file")}
	var added [2]bool
	err := s.do(context.Background(), func(b *batch) error {
		var errs [2]error
		for i := range added {
			added[i], errs[i] = b.addEvidence(e)
		}
		return errors.Join(errs[:]...)
	})
	if err != nil || added != [2]bool{true, false} {
		t.Errorf("%v, %v", added, err)
	}
	if list, err := s.Evidence(); err != nil || len(list) != 1 {
		t.Errorf("%d files, %v", len(list), err)
	}
}

// TestFreshGuards: of two witnesses that have done nothing yet, only the name
// tells the guards apart.
func TestFreshGuards(t *testing.T) {
	a, b := mustCreate(t), mustCreate(t)
	if s, err := Open(Config{Dir: a, Guard: guardPath(b, "")}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("opened with another's guard: %v", err)
		if s != nil {
			s.Close()
		}
	}
}

// TestLostDatabase: a directory of which only the guard is left has had a witness,
// and is not taken for one without.
func TestLostDatabase(t *testing.T) {
	dir := mustCreate(t)
	open := func(want error) {
		t.Helper()
		if s, err := Open(Config{Dir: dir}); !errors.Is(err, want) || errors.Is(err, ErrUnsafe) != (want == ErrUnsafe) {
			t.Errorf("%v, want %v", err, want)
			if s != nil {
				s.Close()
			}
		}
	}
	s := mustOpen(t, Config{Dir: dir})
	mustAdd(t, s, newTestLog("a.example"))
	mustClose(t, s)
	if err := os.Remove(filepath.Join(dir, dbFile)); err != nil {
		t.Fatal(err)
	}
	open(ErrUnsafe)
	// Without a guard, or with one of nothing as a crash of Create leaves it,
	// there never was one.
	if err := createGuard(guardPath(dir, ""), mark{id: "x"}); err != nil {
		t.Fatal(err)
	}
	open(fs.ErrNotExist)
	if err := os.Remove(guardPath(dir, "")); err != nil {
		t.Fatal(err)
	}
	open(fs.ErrNotExist)
}
