// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/durable"
)

// A testLog signs whatever it is told.
type testLog struct {
	Log
	private ed25519.PrivateKey
}

func newTestLog(origin string) testLog {
	seed := sha256.Sum256([]byte(origin))
	private := ed25519.NewKeyFromSeed(seed[:])
	k, err := checkpoint.NewKey("key.example/"+fmt.Sprintf("%x", seed[:4]), checkpoint.Ed25519, private.Public().(ed25519.PublicKey))
	if err != nil {
		panic(err)
	}
	return testLog{Log{Origin: origin, Keys: []*checkpoint.Key{k}}, private}
}

// fakeTree returns a tree of a size. Nothing here looks into trees.
func fakeTree(branch string, size int64) tlog.Tree {
	return tlog.Tree{N: size, Hash: sha256.Sum256(binary.BigEndian.AppendUint64([]byte(branch), uint64(size)))}
}

func (l testLog) note(t tlog.Tree) []byte {
	text := checkpoint.Checkpoint{Origin: l.Origin, Size: t.N, Root: t.Hash}.Text()
	sig := checkpoint.Signature{Name: l.Keys[0].Name(), ID: l.Keys[0].ID(), Bytes: ed25519.Sign(l.private, []byte(text))}
	return checkpoint.Note{Text: text, Signatures: []checkpoint.Signature{sig}}.Bytes()
}

// step makes t the newest of l, at a time.
func (l testLog) step(s *Store, t tlog.Tree, time int64) error {
	e, _ := s.Entry(l.Origin)
	return s.Update(context.Background(), Update{l.Origin, e.Tree, t, time, l.note(t)})
}

func mustCreate(t testing.TB) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "w")
	if err := Create(dir, ""); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mustOpen(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func mustAdd(t testing.TB, s *Store, logs ...testLog) {
	t.Helper()
	for _, l := range logs {
		if err := s.AddLog(context.Background(), l.Log); err != nil {
			t.Fatal(err)
		}
	}
}

func mustStep(t testing.TB, s *Store, l testLog, tree tlog.Tree, time int64) {
	t.Helper()
	if err := l.step(s, tree, time); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// copyFiles copies the files of a directory, those made since removed.
func copyFiles(t testing.TB, from, to string) {
	t.Helper()
	os.RemoveAll(to)
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func TestRoundTrip(t *testing.T) {
	dir := mustCreate(t)
	s := mustOpen(t, Config{Dir: dir})
	a, b := newTestLog("a.example/log"), newTestLog("b.example/log with spaces")
	b.QPD, b.Contact, b.Source = 144, "b@b.example", "list"
	mustAdd(t, s, a, b)
	if e, ok := s.Entry("a.example/log"); !ok || e.Tree != (tlog.Tree{}) || e.Time != 0 {
		t.Errorf("entry of a new log: %v %v", e, ok)
	}
	mustStep(t, s, a, fakeTree("x", 5), 100)
	mustStep(t, s, a, fakeTree("x", 5), 101)
	mustStep(t, s, a, fakeTree("x", 9), 101)
	if err := s.SetDisabled(context.Background(), b.Origin, true); err != nil {
		t.Fatal(err)
	}
	b.Disabled = true
	want := []Entry{{a.Log, fakeTree("x", 9), 101}, {b.Log, tlog.Tree{}, 0}}
	check := func(s *Store) {
		t.Helper()
		v, err := OpenView(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		got, err := v.Logs()
		if err != nil {
			t.Fatal(err)
		}
		sorted := s.Logs()
		slices.SortFunc(sorted, func(x, y Entry) int { return bytes.Compare([]byte(x.Origin), []byte(y.Origin)) })
		for _, got := range [][]Entry{got, sorted} {
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b *checkpoint.Key) bool { return a.String() == b.String() })); diff != "" {
				t.Error(diff)
			}
		}
		if note, err := s.Note(a.Origin); err != nil || string(note) != string(a.note(fakeTree("x", 9))) {
			t.Errorf("note %q %v", note, err)
		}
		if note, err := s.Note(b.Origin); err != nil || note != nil {
			t.Errorf("note of a log never cosigned: %q %v", note, err)
		}
	}
	check(s)
	mustClose(t, s)
	check(mustOpen(t, Config{Dir: dir}))
}

// TestViewAlone reads a state that no process runs.
func TestViewAlone(t *testing.T) {
	dir := mustCreate(t)
	s := mustOpen(t, Config{Dir: dir})
	l := newTestLog("a.example")
	mustAdd(t, s, l)
	mustStep(t, s, l, fakeTree("x", 5), 100)
	mustClose(t, s)
	v, err := OpenView(dir)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := v.Logs(); err != nil || len(all) != 1 || all[0].Tree.N != 5 {
		t.Errorf("%v %v", all, err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if _, err := OpenView(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of nothing: %v", err)
	}
	mustOpen(t, Config{Dir: dir})
}

func TestUpdateRefusals(t *testing.T) {
	s := mustOpen(t, Config{Dir: mustCreate(t)})
	l := newTestLog("a.example")
	mustAdd(t, s, l)
	mustStep(t, s, l, fakeTree("x", 5), 100)
	five := fakeTree("x", 5)
	for _, tt := range []struct {
		name string
		u    Update
		want error
	}{
		{"smaller", Update{l.Origin, five, fakeTree("x", 4), 100, nil}, ErrConflict},
		{"another root", Update{l.Origin, five, fakeTree("y", 5), 100, nil}, ErrConflict},
		{"from elsewhere", Update{l.Origin, fakeTree("x", 4), fakeTree("x", 6), 100, nil}, ErrConflict},
		{"from another root", Update{l.Origin, fakeTree("y", 5), fakeTree("x", 6), 100, nil}, ErrConflict},
		{"from nothing", Update{l.Origin, tlog.Tree{}, fakeTree("x", 6), 100, nil}, ErrConflict},
		{"back in time", Update{l.Origin, five, fakeTree("x", 6), 99, nil}, ErrConflict},
		{"no time", Update{l.Origin, five, fakeTree("x", 6), 0, nil}, ErrConflict},
		{"unknown", Update{"b.example", tlog.Tree{}, fakeTree("x", 6), 100, nil}, ErrUnknown},
	} {
		if err := s.Update(context.Background(), tt.u); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if err := s.SetDisabled(context.Background(), l.Origin, true); err != nil {
		t.Fatal(err)
	}
	if err := l.step(s, fakeTree("x", 6), 100); !errors.Is(err, ErrUnknown) {
		t.Errorf("disabled: %v", err)
	}
	if e, _ := s.Entry(l.Origin); e.Tree != five || e.Time != 100 {
		t.Errorf("refused steps left %v", e)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Update(ctx, Update{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	mustClose(t, s)
	if err := l.step(s, fakeTree("x", 6), 100); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestAddLogs(t *testing.T) {
	s := mustOpen(t, Config{Dir: mustCreate(t)})
	a, b := newTestLog("a.example"), newTestLog("b.example")
	other := a.Log
	other.Keys = b.Keys
	long := b.Log
	long.Origin = string(bytes.Repeat([]byte("o"), 256))
	line := b.Log
	line.Origin = "b.example\n"
	twice := b.Log
	twice.Keys = []*checkpoint.Key{b.Keys[0], b.Keys[0]}
	added, errs := s.AddLogs(context.Background(), a.Log, other, b.Log, a.Log, long, line, twice)
	if added != 2 || errs[0] != nil || !errors.Is(errs[1], ErrKeys) || errs[2] != nil || errs[3] != nil || errs[4] == nil || errs[5] == nil || errs[6] == nil {
		t.Errorf("added %d, %v", added, errs)
	}
	// A log that is there stays as it is, disabled too.
	if err := s.SetDisabled(context.Background(), a.Origin, true); err != nil {
		t.Fatal(err)
	}
	again := a.Log
	again.QPD, again.Contact = 5, "x"
	if added, errs := s.AddLogs(context.Background(), again); added != 0 || errs != nil {
		t.Errorf("added %d, %v", added, errs)
	}
	if e, _ := s.Entry(a.Origin); !e.Disabled || e.QPD != 0 || e.Contact != "" {
		t.Errorf("a second add changed a log: %+v", e)
	}
}

func TestLocks(t *testing.T) {
	dir := mustCreate(t)
	guard := filepath.Join(t.TempDir(), "g")
	elsewhere := filepath.Join(t.TempDir(), "w")
	if err := Create(elsewhere, guard); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, Config{Dir: dir})
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("second open: %v", err)
	}
	if err := Create(dir, ""); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("create in one that runs: %v", err)
	}
	// A copy of the directory, with the same guard by another name.
	twin := filepath.Join(t.TempDir(), "twin")
	copyFiles(t, elsewhere, twin)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(guard, link); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, Config{Dir: elsewhere, Guard: guard})
	if _, err := Open(Config{Dir: twin, Guard: link}); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("copy with the same guard: %v", err)
	}
	if err := Create(filepath.Join(t.TempDir(), "third"), guard); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("create with a guard in use: %v", err)
	}
}

func TestCreate(t *testing.T) {
	dir := mustCreate(t)
	if err := Create(dir, ""); !errors.Is(err, ErrExists) {
		t.Errorf("again: %v", err)
	}
	if _, err := Open(Config{Dir: t.TempDir()}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open of nothing: %v", err)
	}
	// Cut off after the guard: it can be done again.
	if err := os.Remove(filepath.Join(dir, dbFile)); err != nil {
		t.Fatal(err)
	}
	if err := Create(dir, ""); err != nil {
		t.Errorf("after a crash: %v", err)
	}
	s := mustOpen(t, Config{Dir: dir})
	mustAdd(t, s, newTestLog("a.example"))
	mustClose(t, s)
	if err := os.Remove(filepath.Join(dir, dbFile)); err != nil {
		t.Fatal(err)
	}
	if err := Create(dir, ""); !errors.Is(err, ErrUnsafe) {
		t.Errorf("beside the guard of a witness that did something: %v", err)
	}
}

// TestGroupCommit holds the writer up and sees what has gathered meanwhile go in
// one transaction.
func TestGroupCommit(t *testing.T) {
	commits, first, hold := 0, make(chan bool), make(chan bool)
	s := mustOpen(t, Config{Dir: mustCreate(t), hook: func(point string) {
		if point != "committed" {
			return
		}
		if commits++; commits == 2 {
			close(first)
			<-hold
		}
	}})
	const n = 50
	var logs []Log
	var tests []testLog
	for i := range n {
		l := newTestLog(fmt.Sprintf("%d.example", i))
		logs, tests = append(logs, l.Log), append(tests, l)
	}
	if _, errs := s.AddLogs(context.Background(), logs...); errs != nil {
		t.Fatal(errs)
	}
	var wg sync.WaitGroup
	step := func(l testLog) {
		wg.Go(func() {
			if err := l.step(s, fakeTree("x", 1), 1); err != nil {
				t.Error(err)
			}
		})
	}
	step(tests[0])
	<-first
	for _, l := range tests[1:] {
		step(l)
	}
	for {
		s.queue.mu.Lock()
		waiting := len(s.queue.changes)
		s.queue.mu.Unlock()
		if waiting == n-1 {
			break
		}
	}
	// What waits is not visible.
	if e, _ := s.Entry(tests[1].Origin); e.Time != 0 {
		t.Errorf("visible before it is durable: %v", e)
	}
	close(hold)
	wg.Wait()
	mustClose(t, s)
	if commits != 3 {
		t.Errorf("%d commits, not 3", commits)
	}
}

// TestBatch has changes that build on each other, and bad ones, in one batch. It
// is its own writer.
func TestBatch(t *testing.T) {
	dir := mustCreate(t)
	s := &Store{config: Config{Dir: dir}, logger: discard()}
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	l := newTestLog("a.example")
	update := func(from, to int64) func(*batch) error {
		return func(b *batch) error {
			r, ok := b.row(l.Origin)
			u := Update{l.Origin, tlog.Tree{}, fakeTree("x", to), 1, l.note(fakeTree("x", to))}
			if from > 0 {
				u.Old = fakeTree("x", from)
			}
			if !ok {
				return ErrUnknown
			}
			if err := u.check(r.Entry); err != nil {
				return err
			}
			r.Tree, r.Time = u.New, u.Time
			b.stageHead(r, u.Note)
			return nil
		}
	}
	var changes []*change
	for _, do := range []func(*batch) error{
		update(0, 1),
		func(b *batch) error { _, err := b.addLog(l.Log); return err },
		update(0, 1),
		update(0, 2),
		update(1, 3),
	} {
		changes = append(changes, &change{do: do})
	}
	if err := s.commit(changes); err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{ErrUnknown, nil, nil, ErrConflict, nil} {
		if !errors.Is(changes[i].err, want) || want == nil && changes[i].err != nil {
			t.Errorf("change %d: %v", i, changes[i].err)
		}
	}
	if e, _ := s.Entry(l.Origin); e.Tree != fakeTree("x", 3) {
		t.Errorf("%v", e)
	}
	if s.mark.generation != 1 {
		t.Errorf("generation %d", s.mark.generation)
	}
	if err := s.release(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, Config{Dir: dir}) // compares the digest
}

func TestEvidence(t *testing.T) {
	dir := mustCreate(t)
	s := mustOpen(t, Config{Dir: dir})
	a, b := newTestLog("a.example"), newTestLog("b.example")
	mustAdd(t, s, a, b)
	add := func(l testLog, time int64, file string, want bool) {
		t.Helper()
		added, err := s.AddEvidence(context.Background(), Evidence{l.Origin, time, []byte(file)})
		if err != nil || added != want {
			t.Errorf("%s: %v %v", file, added, err)
		}
	}
	add(a, 2, "two", true)
	add(b, 1, "one", true)
	add(a, 3, "two", false)
	for i := range maxEvidence - 1 {
		add(a, 4, fmt.Sprint(i), true)
	}
	add(a, 4, "too many", false)
	add(b, 5, "of another log", true)
	if _, err := s.AddEvidence(context.Background(), Evidence{a.Origin, 1, make([]byte, maxEvidenceFile+1)}); err == nil {
		t.Error("too large a file was kept")
	}
	if _, err := s.AddEvidence(context.Background(), Evidence{"c.example", 1, nil}); !errors.Is(err, ErrUnknown) {
		t.Errorf("of an unknown log: %v", err)
	}
	mustClose(t, s)
	s = mustOpen(t, Config{Dir: dir})
	all, err := s.Evidence()
	if err != nil || len(all) != maxEvidence+2 {
		t.Fatalf("%d files, %v", len(all), err)
	}
	if diff := cmp.Diff([]Evidence{{b.Origin, 1, []byte("one")}, {a.Origin, 2, []byte("two")}}, all[:2]); diff != "" {
		t.Error(diff)
	}
}

func TestDigest(t *testing.T) {
	var d digest
	x, y := digest(bytes.Repeat([]byte{0xff}, 32)), digest(sha256.Sum256(nil))
	d.add(x)
	d.add(y)
	d.sub(x)
	if d != y {
		t.Errorf("%x", d)
	}
	d.sub(y)
	if d != (digest{}) {
		t.Errorf("%x", d)
	}
}
