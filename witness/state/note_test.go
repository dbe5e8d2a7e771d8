// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.org/sumlog/internal/sqlite"
)

// TestNoteUnguarded reads the note of a log between the commit of the database
// and the guard's. What is read then has been given to nobody and is not safe from
// an older database, so it must not be shown; and the first note of a log is as
// little there as its tree.
func TestNoteUnguarded(t *testing.T) {
	type result struct {
		note []byte
		err  error
	}
	var s *Store
	var l testLog
	reads, early := make(chan result, 1), make(chan result, 1)
	watched := false
	s = mustOpen(t, Config{Dir: mustCreate(t), hook: func(point string) {
		if point != "committed" || !watched {
			return
		}
		go func() {
			note, err := s.Note(l.Origin)
			reads <- result{note, err}
		}()
		select {
		case r := <-reads:
			early <- r
		case <-time.After(100 * time.Millisecond): // it waits for the guard
		}
	}})
	l = newTestLog("a.example")
	mustAdd(t, s, l)
	watched = true
	mustStep(t, s, l, fakeTree("x", 1), 1)
	if r := <-early; r.note != nil || r.err != nil {
		t.Errorf("before the first was guarded: %q, %v", r.note, r.err)
	}
	mustStep(t, s, l, fakeTree("x", 2), 1)
	select {
	case r := <-early:
		t.Errorf("shown before it was guarded: %q, %v", r.note, r.err)
	case r := <-reads:
		if r.err != nil || !bytes.Equal(r.note, l.note(fakeTree("x", 2))) {
			t.Errorf("%q, %v", r.note, r.err)
		}
	}
}

// TestNoteGuardFailed: what the guard never got is not shown either.
func TestNoteGuardFailed(t *testing.T) {
	dir := mustCreate(t)
	s := mustOpen(t, Config{Dir: dir})
	l := newTestLog("a.example")
	mustAdd(t, s, l)
	mustStep(t, s, l, fakeTree("x", 1), 1)
	readOnly, err := os.Open(filepath.Join(dir, guardFile))
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	f := s.guard.f
	s.guard.f = readOnly
	if err := l.step(s, fakeTree("x", 2), 1); !errors.Is(err, ErrUnsafe) {
		t.Fatal(err)
	}
	s.guard.f = f
	if note, err := s.Note(l.Origin); !errors.Is(err, ErrUnsafe) {
		t.Errorf("%q, %v", note, err)
	}
}

// TestNoteForeign: a note that another program has written is not shown.
func TestNoteForeign(t *testing.T) {
	dir := mustCreate(t)
	s := mustOpen(t, Config{Dir: dir})
	l := newTestLog("a.example")
	mustAdd(t, s, l)
	mustStep(t, s, l, fakeTree("x", 1), 1)
	c, err := sqlite.Open(filepath.Join(dir, dbFile), "rw")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Exec("UPDATE heads SET note = x'00'"); err != nil {
		t.Fatal(err)
	}
	if note, err := s.Note(l.Origin); err == nil {
		t.Errorf("%q", note)
	}
}
