// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"
	"example.org/sumlog/witness/audit/state"

	"golang.org/x/mod/sumdb/tlog"
)

func openState(t testing.TB, dir string, key *checkpoint.Key) *state.State {
	t.Helper()
	s, err := state.Open(dir, key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func closeState(t testing.TB, s *state.State) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func newLog(t testing.TB, n int64) *tlogtest.Log {
	t.Helper()
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Grow("a", n)
	return l
}

// logDir returns the directory of a log.
func logDir(dir string, key *checkpoint.Key) string {
	sum := sha256.Sum256([]byte(key.String()))
	return filepath.Join(dir, "logs", fmt.Sprintf("%x", sum[:8]))
}

func TestOpen(t *testing.T) {
	l, other := newLog(t, 9), newLog(t, 9)
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := openState(t, dir, l.Key)
	if h := s.Head(); h.Note != nil {
		t.Errorf("head %+v of nothing", h)
	}
	if _, err := state.Open(dir, l.Key); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("opened twice: error %v", err)
	}
	o := openState(t, dir, other.Key)
	if err := o.KeepHead(other.Head(5)); err != nil {
		t.Fatal(err)
	}
	closeState(t, s)
	closeState(t, o)
	s = openState(t, dir, l.Key)
	if h := s.Head(); h.Note != nil {
		t.Errorf("head %+v of another log", h)
	}
	closeState(t, s)
	// The hash of another key may begin alike.
	if err := os.WriteFile(filepath.Join(logDir(dir, l.Key), "vkey"), []byte(other.Key.String()+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Open(dir, l.Key); err == nil {
		t.Error("opened the state of another key")
	}
	// After an error nothing is left locked.
	if err := os.WriteFile(filepath.Join(logDir(dir, l.Key), "vkey"), []byte(l.Key.String()+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	closeState(t, openState(t, dir, l.Key))
}

func TestHeads(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		l := newLog(t, 20)
		evil := l.Fork(3)
		evil.Grow("b", 20)
		s := openState(t, dir, l.Key)
		check := func(newest int64, want ...tlogclient.Head) {
			t.Helper()
			if h := s.Head(); h.Size != newest || newest > 0 && h.Tree() != l.Tree(newest) {
				t.Errorf("head %+v, want size %d", h, newest)
			}
			got, err := s.Heads()
			if err != nil || len(got) != len(want) {
				t.Fatalf("%d heads, %v, want %d", len(got), err, len(want))
			}
			for _, w := range want {
				if !slices.ContainsFunc(got, func(h tlogclient.Head) bool { return h.Text() == w.Text() && bytes.Equal(h.Note, w.Note) }) {
					t.Errorf("no head of size %d", w.Size)
				}
			}
			if !slices.IsSortedFunc(got, func(a, b tlogclient.Head) int { return int(a.Size - b.Size) }) {
				t.Error("heads are not sorted")
			}
		}
		do := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		check(0)
		do(s.Saw(l.Head(12)))
		do(s.Saw(evil.Head(12)))
		cosigned := l.Head(12)
		cosigned.Note = append(cosigned.Note, "— witness.example AAAAAAAA\n"...)
		do(s.Saw(cosigned)) // the same head
		check(0, l.Head(12), evil.Head(12))
		do(s.KeepHead(l.Head(7)))
		do(s.KeepHead(l.Head(9)))
		do(s.KeepHead(l.Head(9)))
		check(9, l.Head(12), evil.Head(12), l.Head(7), l.Head(9))
		if err := s.KeepHead(l.Head(8)); err == nil {
			t.Error("kept a smaller head")
		}
		if err := s.Saw(tlogclient.Head{Checkpoint: l.Head(3).Checkpoint}); err == nil {
			t.Error("kept a head without note")
		}
		check(9, l.Head(12), evil.Head(12), l.Head(7), l.Head(8), l.Head(9))
		if dir == "" {
			continue
		}
		closeState(t, s)
		// What a crash can leave is not a head.
		do(os.WriteFile(filepath.Join(logDir(dir, l.Key), "heads", durable.TempPrefix+"x"), []byte("half"), 0o666))
		s = openState(t, dir, l.Key)
		check(9, l.Head(12), evil.Head(12), l.Head(7), l.Head(8), l.Head(9))
	}
}

// TestHeadNames has two heads whose texts' hashes begin alike, which who can sign
// can also find: the second one is not taken for the first.
func TestHeadNames(t *testing.T) {
	l := newLog(t, 20)
	dir := t.TempDir()
	s := openState(t, dir, l.Key)
	h := l.Head(12)
	sum := sha256.Sum256([]byte(h.Text()))
	name := filepath.Join(logDir(dir, l.Key), "heads", fmt.Sprintf("12-%x", sum[:4]))
	if err := os.WriteFile(name, l.Head(11).Note, 0o666); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Saw(h); err != nil {
			t.Fatal(err)
		}
	}
	if heads, err := s.Heads(); err != nil || len(heads) != 2 || heads[1].Text() != h.Text() {
		t.Errorf("heads %+v, %v", heads, err)
	}
}

func TestDamagedHeads(t *testing.T) {
	l, other := newLog(t, 20), newLog(t, 20)
	for _, content := range [][]byte{nil, []byte("garbage"), other.Head(5).Note, make([]byte, 1<<20)} {
		dir := t.TempDir()
		s := openState(t, dir, l.Key)
		if err := s.KeepHead(l.Head(5)); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(logDir(dir, l.Key), "heads", "*"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		for _, f := range append(files, filepath.Join(logDir(dir, l.Key), "head")) {
			if err := os.WriteFile(f, content, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Heads(); !errors.Is(err, state.ErrDamaged) {
			t.Errorf("heads: error %v", err)
		}
		if err := s.Saw(l.Head(5)); !errors.Is(err, state.ErrDamaged) {
			t.Errorf("saw: error %v", err)
		}
		closeState(t, s)
		if _, err := state.Open(dir, l.Key); !errors.Is(err, state.ErrDamaged) {
			t.Errorf("open: error %v", err)
		}
	}
}

func TestCache(t *testing.T) {
	l := newLog(t, 700)
	dir := t.TempDir()
	for _, dir := range []string{"", dir} {
		s := openState(t, dir, l.Key)
		c, err := tlogclient.New(tlogclient.Config{Source: l, Layout: l.Layout, Keys: []*checkpoint.Key{l.Key}, Cache: s.Cache()})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			l.Reads()
			if _, err := c.Extend(t.Context(), l.Head(300), l.Head(700)); err != nil {
				t.Fatal(err)
			}
		}
		if reads := l.Reads(); len(reads) > 0 {
			t.Errorf("read again: %q", reads)
		}
	}
	if _, err := os.Stat(filepath.Join(logDir(dir, l.Key), "tile", "8", "0", "001")); err != nil {
		t.Error(err)
	}
}

// TestMemory checks that a run without a directory does not keep all tiles of a
// large log.
func TestMemory(t *testing.T) {
	c := openState(t, "", newLog(t, 1).Key).Cache()
	kept := 0
	for n := range int64(20000) {
		tile := tlog.Tile{H: 8, N: n, W: 1}
		c.Keep(tile, make([]byte, 32))
		if c.Read(tile) != nil {
			kept++
		}
	}
	if kept < 1000 || kept > 10000 {
		t.Errorf("%d tiles kept", kept)
	}
}

func TestEvidence(t *testing.T) {
	l := newLog(t, 20)
	evil := l.Fork(3)
	evil.Grow("b", 20)
	equivocation := func(n int64) *evidence.Evidence {
		t.Helper()
		var notes []checkpoint.Note
		for _, l := range []*tlogtest.Log{l, evil} {
			note, err := checkpoint.ParseNote(l.Head(n).Note)
			if err != nil {
				t.Fatal(err)
			}
			notes = append(notes, note)
		}
		e, err := evidence.New(l.Key, notes[0], notes[1], nil)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	dir := t.TempDir()
	t.Chdir(t.TempDir())
	for _, dir := range []string{"", dir} {
		s := openState(t, dir, l.Key)
		e := equivocation(9)
		for i := range 2 {
			sum := sha256.Sum256(e.Bytes())
			want := fmt.Sprintf("E2-%x.txt", sum[:8])
			if dir != "" {
				want = filepath.Join(dir, "evidence", want)
			}
			name, already, err := s.Evidence(e)
			if err != nil || name != want || already != (i > 0) {
				t.Fatalf("kept as %s, %v, want %s", name, err, want)
			}
			if data, err := os.ReadFile(name); err != nil || !bytes.Equal(data, e.Bytes()) {
				t.Errorf("%d bytes, %v", len(data), err)
			}
		}
		where := filepath.Join(dir, "evidence")
		if dir == "" {
			where = "."
		}
		for i := range 998 {
			if err := os.WriteFile(filepath.Join(where, fmt.Sprintf("E2-%016d.txt", i)), e.Bytes(), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(where, "E4-1.txt"), nil, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Evidence(equivocation(10)); err != nil {
			t.Errorf("the thousandth: %v", err)
		}
		if name, _, err := s.Evidence(equivocation(11)); err == nil {
			t.Errorf("after a thousand: %s", name)
		}
		if _, _, err := s.Evidence(e); err != nil {
			t.Errorf("again: %v", err)
		}
	}
}

// TestEvidenceOfOthers has a thousand files that a log could have made against itself:
// what another key has signed is kept all the same.
func TestEvidenceOfOthers(t *testing.T) {
	dir := t.TempDir()
	equivocation := func(l *tlogtest.Log) *evidence.Evidence {
		t.Helper()
		evil := l.Fork(3)
		evil.Grow("b", 20)
		a, err := checkpoint.ParseNote(l.Head(9).Note)
		b, err1 := checkpoint.ParseNote(evil.Head(9).Note)
		e, err2 := evidence.New(l.Key, a, b, nil)
		if err := errors.Join(err, err1, err2); err != nil {
			t.Fatal(err)
		}
		return e
	}
	hostile, l := newLog(t, 20), tlogtest.New(t, "other.example", tlogclient.Tiles)
	l.Grow("a", 20)
	e := equivocation(hostile)
	s := openState(t, dir, hostile.Key)
	for i := range 1000 {
		if err := os.WriteFile(filepath.Join(dir, "evidence", fmt.Sprintf("E2-%016d.txt", i)), e.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if name, _, err := s.Evidence(equivocation(hostile)); err == nil {
		t.Errorf("after a thousand: %s", name)
	}
	if _, _, err := s.Evidence(equivocation(l)); err != nil {
		t.Errorf("of another log: %v", err)
	}
}
