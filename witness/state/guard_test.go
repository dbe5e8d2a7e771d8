// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"example.org/sumlog/internal/sqlite"
)

// TestGuard puts back, loses and exchanges what can be.
func TestGuard(t *testing.T) {
	tmp := t.TempDir()
	at := func(name string) string { return filepath.Join(tmp, name) }
	for _, name := range []string{"w", "other"} {
		if err := Create(at(name), at(name+".guard")); err != nil {
			t.Fatal(err)
		}
	}
	l := newTestLog("a.example")
	open := func(dir, guard string) error {
		s, err := Open(Config{Dir: at(dir), Guard: at(guard)})
		if err != nil {
			return err
		}
		return s.Close()
	}
	save := func(suffix string) {
		copyFiles(t, at("w"), at("w"+suffix))
		b, err := os.ReadFile(at("w.guard"))
		if err == nil {
			err = os.WriteFile(at("w.guard"+suffix), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	steps := func(branch string, from, to int64) {
		s := mustOpen(t, Config{Dir: at("w"), Guard: at("w.guard")})
		if from == 1 {
			mustAdd(t, s, l)
		}
		for i := from; i <= to; i++ {
			mustStep(t, s, l, fakeTree(branch, i), i)
		}
		mustClose(t, s)
	}
	save("0")
	steps("x", 1, 3)
	save("3")
	steps("x", 4, 4)
	save("4")
	steps("x", 5, 5)
	save("5")
	for _, tt := range []struct {
		dir, guard string
		safe       bool
	}{
		{"w", "w.guard", true},
		{"w4", "w.guard5", false}, // the directory put back
		{"w0", "w.guard", false},
		{"w", "missing", false},
		{"w", "other.guard", false},
		{"w", "w.guard0", false}, // the guard put back
		{"w5", "w.guard3", false},
		{"w5", "w.guard4", true},  // as a crash leaves it
		{"w5", "w.guard4", true},  // and that has moved the guard on
		{"w4", "w.guard4", false}, // from here too
		{"w4", "w.guard3", true},
	} {
		if err := open(tt.dir, tt.guard); (err == nil) != tt.safe || err != nil && !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s with %s: %v", tt.dir, tt.guard, err)
		}
	}
	// Another history of the same witness, one generation ahead.
	copyFiles(t, at("w3"), at("w"))
	b, err := os.ReadFile(at("w.guard3")) // which is at 4 by now
	if err != nil {
		t.Fatal(err)
	}
	if m, err := parseGuard(b); err != nil || m.generation != 5 {
		t.Fatalf("%v %v", m, err)
	}
	save("4") // the guard of x at 5
	copyFiles(t, at("w0"), at("w"))
	b, err = os.ReadFile(at("w.guard0"))
	if err == nil {
		err = os.WriteFile(at("w.guard"), b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	steps("y", 1, 5)
	if err := open("w", "w.guard4"); !errors.Is(err, ErrUnsafe) {
		t.Errorf("the same generation of another history: %v", err)
	}
	steps("y", 6, 6)
	if err := open("w", "w.guard4"); !errors.Is(err, ErrUnsafe) {
		t.Errorf("the next generation of another history: %v", err)
	}
}

// TestTornGuard damages the slot that is written last, as a crash does, and the
// other one too, as no crash does.
func TestTornGuard(t *testing.T) {
	dir := mustCreate(t)
	path := filepath.Join(dir, guardFile)
	l := newTestLog("a.example")
	s := mustOpen(t, Config{Dir: dir})
	mustAdd(t, s, l)
	mustStep(t, s, l, fakeTree("x", 1), 1)
	mustStep(t, s, l, fakeTree("x", 2), 1)
	mustClose(t, s)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range slotSize { // the third generation is in the odd slot
		b := slices.Clone(whole)
		b[slotEvery+cut] ^= 1
		if m, err := parseGuard(b); err != nil || m.generation != 2 {
			t.Fatalf("bad byte %d: %v %v", cut, m, err)
		}
		b[cut] ^= 1
		if m, err := parseGuard(b); err == nil {
			t.Fatalf("two bad bytes %d: %v", cut, m)
		}
	}
	torn := slices.Clone(whole)
	clear(torn[slotEvery+100:][:slotSize-100])
	if err := os.WriteFile(path, torn, 0o644); err != nil {
		t.Fatal(err)
	}
	mustClose(t, mustOpen(t, Config{Dir: dir}))
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, whole) {
		t.Errorf("guard was not made whole again: %v", err)
	}
	for _, b := range [][]byte{nil, whole[:len(whole)-1], append(slices.Clone(whole), 0), make([]byte, len(whole))} {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrUnsafe) {
			t.Errorf("guard of %d bytes: %v", len(b), err)
		}
	}
}

// TestDamage edits the database by hand.
func TestDamage(t *testing.T) {
	dir := mustCreate(t)
	a, b := newTestLog("a.example"), newTestLog("b.example")
	s := mustOpen(t, Config{Dir: dir})
	mustAdd(t, s, a, b)
	mustStep(t, s, a, fakeTree("x", 7), 100)
	mustClose(t, s)
	good := filepath.Join(t.TempDir(), "good")
	copyFiles(t, dir, good)
	for _, sql := range []string{
		"UPDATE heads SET size = 6",
		"UPDATE heads SET root = zeroblob(32)",
		"UPDATE heads SET root = x'00'",
		"UPDATE heads SET time = 99",
		"UPDATE heads SET note = x'00'",
		"UPDATE heads SET id = 2",
		"DELETE FROM heads",
		"DELETE FROM logs WHERE id = 2",
		"UPDATE logs SET keys = (SELECT keys FROM logs WHERE id = 2) WHERE id = 1",
		"UPDATE logs SET keys = 'x'",
		"UPDATE logs SET origin = 'c.example' WHERE id = 1",
		"UPDATE logs SET disabled = 1 WHERE id = 1",
		"UPDATE meta SET generation = generation + 1",
		"UPDATE meta SET digest = previous",
		"UPDATE meta SET digest = x''",
		"DELETE FROM meta",
		"DROP TABLE heads",
		"PRAGMA user_version = 2",
	} {
		copyFiles(t, good, dir)
		c, err := sqlite.Open(filepath.Join(dir, dbFile), "rw", "foreign_keys=OFF")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.Exec(sql), c.Close()); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	copyFiles(t, good, dir)
	if err := os.WriteFile(filepath.Join(dir, dbFile), []byte("not a database, and long enough to be seen not to be one"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("no database: %v", err)
	}
	copyFiles(t, good, dir)
	mustOpen(t, Config{Dir: dir})
}

// TestMixedSlots: slots that are not of one guard, or not where they belong, are
// none.
func TestMixedSlots(t *testing.T) {
	file := func(even, odd mark) []byte {
		b := make([]byte, 2*slotEvery)
		copy(b, even.slot())
		copy(b[slotEvery:], odd.slot())
		return b
	}
	for _, tt := range []struct {
		name      string
		even, odd mark
		want      int64 // generation; -1: refused
	}{
		{"one guard", mark{id: "a", generation: 4}, mark{id: "a", generation: 5}, 5},
		{"one guard, the first is newer", mark{id: "a", generation: 6}, mark{id: "a", generation: 5}, 6},
		{"two guards", mark{id: "a", generation: 4}, mark{id: "b", generation: 5}, -1},
		{"an odd one first", mark{id: "a", generation: 5}, mark{id: "a", generation: 5}, -1},
		{"an even one second", mark{id: "a", generation: 4}, mark{id: "a", generation: 4}, -1},
	} {
		m, err := parseGuard(file(tt.even, tt.odd))
		if err != nil {
			m.generation = -1
		}
		if m.generation != tt.want {
			t.Errorf("%s: generation %d, want %d (%v)", tt.name, m.generation, tt.want, err)
		}
	}
}
