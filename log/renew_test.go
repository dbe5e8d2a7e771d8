// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/log/quorum"
)

// renew makes the guard of a log again, for someone who agrees to anything.
func renew(t *testing.T, c Config) (Renewal, error) {
	t.Helper()
	return RenewGuard(t.Context(), RenewConfig{Config: c, Confirm: func(Renewal) error { return nil }})
}

// wantNoGuard wants a refusal that left no guard.
func wantNoGuard(t *testing.T, what, guard string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
	if _, err := os.Stat(guard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: there is a guard: %v", what, err)
	}
}

// TestRenewGuard makes a lost guard again, and not if anything at all of what is on
// disk contradicts the rest.
func TestRenewGuard(t *testing.T) {
	const size = 700
	dir := grown(t, size)
	grow(t, dir, size, size+1)
	guard := filepath.Join(dir, guardFile)
	if _, err := renew(t, Config{Dir: dir}); !errors.Is(err, ErrGuardThere) {
		t.Errorf("over a guard: %v", err)
	}
	lost, err := readGuard(guard)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(guard); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"log/tile/entries/000", "log/tile/entries/001", "log/tile/entries/002.p/189", "log/tile/0/000", "log/tile/0/001",
		"log/tile/0/002.p/189", "log/tile/1/000.p/2", archiveFile, "log/.state/treeState",
	} {
		undo := flip(t, filepath.Join(dir, name))
		_, err := renew(t, Config{Dir: dir})
		wantNoGuard(t, name+" rotted", guard, err, ErrUnsafe)
		undo()
	}
	refused := errors.New("refused")
	_, err = RenewGuard(t.Context(), RenewConfig{Config: Config{Dir: dir}, Confirm: func(Renewal) error { return refused }})
	wantNoGuard(t, "not confirmed", guard, err, refused)

	done := int64(0)
	r, err := RenewGuard(t.Context(), RenewConfig{
		Config:   Config{Dir: dir},
		Progress: func(n, total int64) { done = total - n },
		Confirm: func(r Renewal) error {
			if r.Name != "sum.example.org/test" || r.Newest.Size != size+1 || r.Damaged {
				t.Errorf("%+v", r)
			}
			return nil
		},
	})
	if err != nil || r.Integrated != size+1 || done != 0 {
		t.Fatalf("%+v, %v, with %d files left", r, err, done)
	}
	// It knows of one publication more than the one before it.
	g, err := readGuard(guard)
	if err != nil || g.tree != lost.tree || g.archived != size+1 {
		t.Errorf("made %+v, %v, and %+v was lost", g, err, lost)
	}
	grow(t, dir, size+1, size+3)
}

// TestRenewArchive wants every line of the archive to be one of this tree.
func TestRenewArchive(t *testing.T) {
	dir := newDir(t)
	l, _ := start(t, dir)
	for i := range 4 {
		fill(t, l, i, i+1)
	}
	closeLog(t, l)
	other := newDir(t)
	l, _ = start(t, other)
	for i := range 4 {
		fill(t, l, i, i+1)
	}
	closeLog(t, l)
	lines := func(dir string) [][]byte {
		return bytes.SplitAfter(readFileForTest(t, filepath.Join(dir, archiveFile)), []byte("\n"))
	}
	own, foreign := lines(dir), lines(other)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	key, err := readKey(root)
	if err != nil {
		t.Fatal(err)
	}
	// This key's, of another tree.
	p, err := parseLine(own[2])
	if err != nil {
		t.Fatal(err)
	}
	forked, err := key.publication(tlog.Tree{N: 2, Hash: tlog.Hash{1}}, p.Time.Add(-time.Microsecond))
	if err != nil {
		t.Fatal(err)
	}
	forked.Time = p.Time
	fork, err := forked.line()
	if err != nil {
		t.Fatal(err)
	}
	for what, bad := range map[string][][]byte{
		"a line of another log":  {own[0], own[1], foreign[2], own[3], own[4]},
		"a line of another tree": {own[0], own[1], fork, own[3], own[4]},
		"lines in disorder":      {own[0], own[2], own[1], own[3], own[4]},
		"a line twice":           {own[0], own[1], own[1], own[2], own[3], own[4]},
	} {
		b := copyDir(t, dir)
		if err := os.Remove(filepath.Join(b, guardFile)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(b, archiveFile), slices.Concat(bad...), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := renew(t, Config{Dir: b})
		wantNoGuard(t, what, filepath.Join(b, guardFile), err, ErrUnsafe)
	}
}

// TestWhole compares each tile with the one above it, not those of the edge alone.
func TestWhole(t *testing.T) {
	dir := grown(t, 700)
	flip(t, filepath.Join(dir, treeDir, "tile/1/000.p/2"))
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := renewer{Log: newLog(Config{Dir: dir}, root)}
	defer r.Close()
	if r.signer, err = readKey(root); err != nil {
		t.Fatal(err)
	}
	if r.archive, err = openArchive(root, r.signer, os.O_RDONLY); err != nil {
		t.Fatal(err)
	}
	p := r.archive.last.Load()
	if _, err := r.whole(t.Context(), tlog.Tree{N: p.Size, Hash: p.Root}); !errors.Is(err, errRotten) {
		t.Errorf("a rotten tile of level 1: %v", err)
	}
}

// TestRenewTail makes the guard of a directory with entries that were integrated,
// maybe signed, and not published: the guard knows them.
func TestRenewTail(t *testing.T) {
	dir := grown(t, 5)
	published := readFileForTest(t, filepath.Join(dir, archiveFile))
	grow(t, dir, 5, 9)
	if err := os.WriteFile(filepath.Join(dir, archiveFile), published, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, guardFile)); err != nil {
		t.Fatal(err)
	}
	r, err := renew(t, Config{Dir: dir})
	if err != nil || r.Newest.Size != 5 || r.Integrated != 9 {
		t.Fatalf("%+v, %v", r, err)
	}
	g, err := readGuard(filepath.Join(dir, guardFile))
	if err != nil || g.tree.N != 9 || g.archived != 5 {
		t.Fatalf("%+v, %v", g, err)
	}
	grow(t, dir, 9, 10)
	if p, err := newestIn(dir); err != nil || p.Size != 10 {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestRenewDamaged takes the word of a damaged guard for more than the directory
// has, and for nothing else.
func TestRenewDamaged(t *testing.T) {
	dir := grown(t, 5)
	old := copyDir(t, dir)
	grow(t, dir, 5, 9)
	text := readFileForTest(t, filepath.Join(dir, guardFile))
	text = append(text[:len(text)-5], "x\n"...)
	for _, d := range []string{dir, old} {
		if err := os.WriteFile(filepath.Join(d, guardFile), text, 0o644); err != nil {
			t.Fatal(err)
		}
		wantUnsafe(t, Config{Dir: d}, "is damaged")
	}
	if _, err := renew(t, Config{Dir: old}); !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), "size 9") {
		t.Errorf("an older directory: %v", err)
	}
	// One in another place counts as much, and is not passed over if it cannot be read.
	other := filepath.Join(t.TempDir(), "guard")
	if err := errors.Join(os.WriteFile(other, text, 0o644), os.Remove(filepath.Join(old, guardFile))); err != nil {
		t.Fatal(err)
	}
	c := RenewConfig{Config: Config{Dir: old}, Others: []string{other}, Confirm: func(Renewal) error { return nil }}
	_, err := RenewGuard(t.Context(), c)
	wantNoGuard(t, "a damaged one elsewhere", filepath.Join(old, guardFile), err, ErrUnsafe)
	c.Others = []string{t.TempDir()} // as one that the disk does not give back
	_, err = RenewGuard(t.Context(), c)
	wantNoGuard(t, "an unreadable one elsewhere", filepath.Join(old, guardFile), err, syscall.EISDIR)
	c.Dir, c.Others = dir, []string{other}
	if r, err := RenewGuard(t.Context(), c); err != nil || !r.Damaged || !slices.Equal(r.Unread, c.Others) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestRenewAhead makes no guard of an older copy where a witness, an auditor's
// cosignature or another guard shows that there was more.
func TestRenewAhead(t *testing.T) {
	a := newWitness(t, "a")
	dir := newDir(t)
	l := mustStartWitnessed(t, dir, 1, a)
	for i := range 3 {
		if _, err := l.Append(t.Context(), record(i)); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	old := copyDir(t, dir)
	l = mustStartWitnessed(t, dir, 1, a)
	if _, err := l.Append(t.Context(), record(3)); err != nil {
		t.Fatal(err)
	}
	p := l.Published()
	closeLog(t, l)
	guard := filepath.Join(old, guardFile)
	if err := os.Remove(guard); err != nil {
		t.Fatal(err)
	}
	var kept [][]byte
	keep := func(_ string, text []byte) { kept = append(kept, text) }
	wantAhead := func(what string, err error) {
		t.Helper()
		wantNoGuard(t, what, guard, err, ErrUnsafe)
		wantNoGuard(t, what, guard, err, ErrAhead)
		if len(kept) != 1 {
			t.Errorf("%s: %d pieces of evidence", what, len(kept))
			return
		}
		if _, err := evidence.Parse(kept[0]); err != nil {
			t.Errorf("%s: %v:\n%s", what, err, kept[0])
		}
		kept = nil
	}

	_, err := renew(t, Config{Dir: old, Witnesses: newQuorum(t, old, 1, a), Evidence: keep})
	wantAhead("a witness", err)

	file := filepath.Join(old, auditedDir, "0011223344556677")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, p.Checkpoint, 0o644)); err != nil {
		t.Fatal(err)
	}
	_, err = renew(t, Config{Dir: old, Evidence: keep})
	wantAhead("an auditor", err)
	if err := os.WriteFile(file, []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}

	_, err = RenewGuard(t.Context(), RenewConfig{Config: Config{Dir: old}, Others: []string{filepath.Join(dir, guardFile)}, Confirm: func(Renewal) error { return nil }})
	wantNoGuard(t, "another guard", guard, err, ErrUnsafe)

	// The newest copy: all of them agree.
	if err := os.Remove(filepath.Join(dir, guardFile)); err != nil {
		t.Fatal(err)
	}
	r, err := renew(t, Config{Dir: dir, Witnesses: newQuorum(t, dir, 1, a)})
	if err != nil || len(r.Witnesses) != 1 || r.Witnesses[0].Checkpoint.Size != 4 {
		t.Errorf("%+v, %v", r, err)
	}
	l = mustStartWitnessed(t, dir, 1, a)
	closeLog(t, l)
	// Nobody who knows better: the old copy's is made, and what is no checkpoint is
	// said to be none.
	r, err = renew(t, Config{Dir: old})
	if err != nil || !slices.Equal(r.Unread, []string{auditedDir + "/0011223344556677"}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestRenewHeld makes no guard of a directory that a process works on, or that is
// another one by the time of the answer.
func TestRenewHeld(t *testing.T) {
	l, dir, guard, _ := guarded(t)
	if err := os.Remove(guard); err != nil {
		t.Fatal(err)
	}
	_, err := renew(t, Config{Dir: dir, Guard: guard})
	wantNoGuard(t, "a directory that is used", guard, err, durable.ErrLocked)
	closeLog(t, l)
	_, err = RenewGuard(t.Context(), RenewConfig{Config: Config{Dir: dir, Guard: guard}, Confirm: func(Renewal) error {
		aside(t, dir)
		return nil
	}})
	wantNoGuard(t, "a directory that was replaced", guard, err, ErrUnsafe)
	_, err = renew(t, Config{Dir: dir, Guard: filepath.Join(dir, "gone/guard")})
	if err == nil || !strings.Contains(err.Error(), "mounted") {
		t.Errorf("a guard in no directory: %v", err)
	}
	if _, err := renew(t, Config{Dir: dir, Guard: guard}); err != nil {
		t.Error(err)
	}
}

// TestRenewNoQuorum makes no guard while too few witnesses say what they have seen.
func TestRenewNoQuorum(t *testing.T) {
	if !thorough() {
		t.Skip("the witnesses are waited for, 10 seconds; CI=true does")
	}
	t.Parallel()
	a := newWitness(t, "a")
	a.set(func() { a.down = true })
	dir := grown(t, 1)
	guard := filepath.Join(dir, guardFile)
	if err := os.Remove(guard); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	_, err := renew(t, Config{Dir: dir, Witnesses: newQuorum(t, dir, 1, a)})
	wantNoGuard(t, "no quorum", guard, err, quorum.ErrQuorum)
	if time.Since(begin) > time.Minute {
		t.Error("it took a minute")
	}
}
