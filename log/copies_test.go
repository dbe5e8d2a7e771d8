// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/module"

	"example.org/sumlog/internal/durable"
)

// begin opens and starts a log that may be refused.
func begin(t testing.TB, dir, guard string) (*Log, error) {
	t.Helper()
	l, err := Open(Config{Dir: dir, Guard: guard, Logger: testLogger(t)})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { l.Close() })
	names := &memNames{l: l, m: map[module.Version]Entry{}}
	if err := names.Publish(l.Published()); err != nil {
		return nil, err
	}
	return l, l.Start(names)
}

// guarded returns a running log of five entries with its guard elsewhere, and a
// backup of it.
func guarded(t *testing.T) (l *Log, dir, guard, backup string) {
	t.Helper()
	base := t.TempDir()
	dir, guard, backup = filepath.Join(base, "d"), filepath.Join(base, "guard"), filepath.Join(base, "backup")
	if _, err := Create(CreateConfig{Dir: dir, Guard: guard, Name: "sum.example.org"}); err != nil {
		t.Fatal(err)
	}
	l, err := begin(t, dir, guard)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 0, 5)
	if _, err := Backup(t.Context(), BackupConfig{From: dir, FromGuard: guard, To: backup}); err != nil {
		t.Fatal(err)
	}
	return l, dir, guard, backup
}

// TestTwoUnderOneGuard restores a copy beside a running log: both name one
// guard, and each would extend it from its own memory.
func TestTwoUnderOneGuard(t *testing.T) {
	_, dir, guard, backup := guarded(t)
	if _, err := Restore(t.Context(), BackupConfig{From: backup, To: dir + "2", Guard: guard}); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("Restore under the guard of a running log: %v", err)
	}
	copied := copyDir(t, dir)
	if _, err := begin(t, copied, guard); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("a copy under the guard of a running log: %v", err)
	}
	if _, err := Create(CreateConfig{Dir: dir + "3", Guard: guard, Name: "sum.example.org"}); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("Create under the guard of a running log: %v", err)
	}
	if _, err := Create(CreateConfig{Dir: dir + "4", Guard: dir + "4/guard", Name: "sum.example.org"}); err == nil {
		t.Error("Create took a guard in the directory that is to be made")
	}
}

// TestRestoreUnderGuard restores once the log is gone: only what the guard has
// not gone beyond.
func TestRestoreUnderGuard(t *testing.T) {
	l, dir, guard, backup := guarded(t)
	closeLog(t, l)
	if _, err := Restore(t.Context(), BackupConfig{From: backup, To: dir + "2", Guard: guard}); err != nil {
		t.Fatalf("Restore of the newest tree: %v", err)
	}
	l, err := begin(t, dir+"2", guard)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 5, 6)
	closeLog(t, l)
	if _, err := Restore(t.Context(), BackupConfig{From: backup, To: dir + "3", Guard: guard}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("Restore of an older tree: %v", err)
	}
	wantUnsafe(t, Config{Dir: dir, Guard: guard}, "an older copy")
}

// TestBackupOfOlderArchive shows that a backup does not make a sound log of one
// that does not start.
func TestBackupOfOlderArchive(t *testing.T) {
	dir := newDir(t)
	l, _ := start(t, dir)
	for i := range 3 {
		fill(t, l, i, i+1)
	}
	closeLog(t, l)
	name := filepath.Join(dir, archiveFile)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, bytes.Join(bytes.SplitAfter(data, []byte("\n"))[:2], nil), 0o644); err != nil {
		t.Fatal(err)
	}
	wantUnsafe(t, Config{Dir: dir}, "an older archive was put back")
	if _, err := Backup(t.Context(), BackupConfig{From: dir, To: dir + "2"}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("Backup: %v", err)
	}
}

// TestRottenInside rots an entry far from the right edge so that it still is a
// record. Names are derived from entries: one that nobody finds would let a
// second record of its version in.
func TestRottenInside(t *testing.T) {
	dir := grown(t, 700)
	name := filepath.Join(dir, treeDir, "tile/entries/000")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	// The first entry of the bundle, whichever of the concurrent appends it was:
	// two bytes of its length, and its name up to the first space.
	entry := data[2 : 2+int(binary.BigEndian.Uint16(data))]
	path := entry[:bytes.IndexByte(entry, ' ')+1]
	other := bytes.Clone(path)
	other[len(other)-2] = '_'
	rotted := bytes.Replace(data, path, other, 2)
	if bytes.Equal(rotted, data) {
		t.Fatal("nothing to rot")
	}
	if err := os.WriteFile(name, rotted, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := begin(t, dir, ""); !errors.Is(err, ErrUnsafe) {
		t.Errorf("names from a rotted entry: %v", err)
	}
	if _, err := Backup(t.Context(), BackupConfig{From: dir, To: dir + "2"}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("Backup of a rotted entry: %v", err)
	}
}

// TestCloseEndsAppends closes a log whose publications fail.
func TestCloseEndsAppends(t *testing.T) {
	t.Parallel() // Close waits 5 s for the publication
	l, names := start(t, newDir(t))
	names.mu.Lock()
	names.err = errors.New("index is down")
	names.mu.Unlock()
	done := make(chan error)
	go func() {
		_, err := l.Append(context.Background(), record(1))
		done <- err
	}()
	for waiting := 0; waiting == 0; {
		l.mu.Lock()
		waiting = len(l.waiting)
		l.mu.Unlock()
	}
	closeLog(t, l)
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("Append: %v", err)
	}
}

// TestOvertaken hands the second entry to Tessera before the first, as its queue
// does when one batch's timer has taken a batch and another batch is full
// before it is handed over.
func TestOvertaken(t *testing.T) {
	l, _ := start(t, newDir(t))
	defer closeLog(t, l)
	real := l.seq.add
	var held *tessera.Entry
	results := make(chan tessera.IndexFuture, 1)
	l.seq.feeding.Lock()
	l.seq.add = func(ctx context.Context, e *tessera.Entry) tessera.IndexFuture {
		if held == nil {
			held = e
			return func() (tessera.Index, error) { return (<-results)() }
		}
		second := real(ctx, e)
		results <- real(ctx, held)
		l.seq.add = real
		return second
	}
	l.seq.feeding.Unlock()
	var wg sync.WaitGroup
	var index [2]int64
	for i := range index {
		wg.Go(func() {
			var err error
			if index[i], err = l.Append(context.Background(), record(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if index[0]+index[1] != 1 {
		t.Errorf("indexes %v", index)
	}
}
