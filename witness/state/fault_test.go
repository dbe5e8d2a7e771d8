// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"example.org/sumlog/internal/testdisk"
)

// TestDiskFull fills the disk again and again. Updates fail while it is full and
// go on when it is not; memory is always what is on the disk.
func TestDiskFull(t *testing.T) {
	if !testdisk.Enter(t) {
		return
	}
	disk := t.TempDir()
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(disk, syscall.MNT_DETACH)
	dir := filepath.Join(disk, "w")
	if err := Create(dir, ""); err != nil {
		t.Fatal(err)
	}
	ballast, err := os.Create(filepath.Join(disk, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer ballast.Close()
	s := mustOpen(t, Config{Dir: dir})
	var logs []testLog
	for i := range 8 {
		logs = append(logs, newTestLog(fmt.Sprintf("%d.example", i)))
	}
	mustAdd(t, s, logs...)
	failed, answered := 0, make([]int64, len(logs))
	for round := range 30 {
		var fs syscall.Statfs_t
		if err := syscall.Statfs(disk, &fs); err != nil {
			t.Fatal(err)
		}
		if n := (int64(fs.Bfree) - int64(round%10)) * fs.Bsize; n > 0 {
			if err := syscall.Fallocate(int(ballast.Fd()), 0, 0, n); err != nil {
				t.Fatal(err)
			}
		}
		failed += stepAll(t, s, logs, answered)
		select {
		case err := <-s.Failed():
			// A full disk that leaves no other choice; the next start goes on.
			t.Logf("round %d: %v", round, err)
			mustClose(t, s)
			if err := ballast.Truncate(0); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, Config{Dir: dir})
			checkAnswered(t, s, logs, answered, 1)
			for i, l := range logs {
				e, _ := s.Entry(l.Origin)
				answered[i] = e.Tree.N
			}
		default:
		}
		checkAnswered(t, s, logs, answered, 0)
		if err := ballast.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if n := stepAll(t, s, logs, answered); n > 0 {
			t.Fatalf("round %d: %d updates failed with the disk empty", round, n)
		}
	}
	if failed == 0 {
		t.Error("no update failed")
	}
	t.Logf("%d updates failed", failed)
	mustClose(t, s)
	checkAnswered(t, mustOpen(t, Config{Dir: dir}), logs, answered, 0)
}

// stepAll takes a few steps with all logs at once and notes what was answered.
func stepAll(t *testing.T, s *Store, logs []testLog, answered []int64) (failed int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, l := range logs {
		wg.Go(func() {
			for range 5 {
				next := answered[i] + 1
				err := l.step(s, fakeTree("x", next), 1)
				if err != nil {
					mu.Lock()
					failed++
					mu.Unlock()
					return
				}
				answered[i] = next
			}
		})
	}
	wg.Wait()
	return failed
}

// checkAnswered compares memory and disk with what was answered; slack is how
// much further they may be.
func checkAnswered(t *testing.T, s *Store, logs []testLog, answered []int64, slack int64) {
	t.Helper()
	v, err := OpenView(s.config.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	entries, err := v.Logs()
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range logs {
		e, _ := s.Entry(l.Origin)
		if e.Tree.N < answered[i] || e.Tree.N > answered[i]+slack {
			t.Errorf("%s: answered %d, at %d in memory", l.Origin, answered[i], e.Tree.N)
		}
		if disk := entries[i]; disk.Origin != l.Origin || disk.Tree != e.Tree {
			t.Errorf("%s: at %v in memory, %v on the disk", l.Origin, e.Tree, disk.Tree)
		}
	}
}

// TestGuardFails: the database is written and the guard is not. Nothing is
// answered from then on, and the next start finds its way.
func TestGuardFails(t *testing.T) {
	dir := mustCreate(t)
	s := mustOpen(t, Config{Dir: dir})
	l := newTestLog("a.example")
	mustAdd(t, s, l)
	mustStep(t, s, l, fakeTree("x", 1), 1)
	readOnly, err := os.Open(filepath.Join(dir, guardFile))
	if err != nil {
		t.Fatal(err)
	}
	f := s.guard.f
	s.guard.f = readOnly
	if err := l.step(s, fakeTree("x", 2), 1); !errors.Is(err, ErrUnsafe) {
		t.Errorf("%v", err)
	}
	if err := <-s.Failed(); !errors.Is(err, ErrUnsafe) {
		t.Errorf("%v", err)
	}
	if e, _ := s.Entry(l.Origin); e.Tree.N != 1 {
		t.Errorf("at %d in memory", e.Tree.N)
	}
	s.guard.f = f
	if err := l.step(s, fakeTree("x", 2), 1); !errors.Is(err, ErrUnsafe) {
		t.Errorf("after it had failed: %v", err)
	}
	if _, errs := s.AddLogs(context.Background(), newTestLog("b.example").Log); len(errs) != 1 || !errors.Is(errs[0], ErrUnsafe) {
		t.Errorf("after it had failed: %v", errs)
	}
	mustClose(t, s)
	readOnly.Close()
	s = mustOpen(t, Config{Dir: dir})
	if e, _ := s.Entry(l.Origin); e.Tree.N != 2 {
		t.Errorf("at %d on the disk", e.Tree.N)
	}
	mustStep(t, s, l, fakeTree("x", 3), 1)
}

// limitEnv is set where TestIOError runs again in a process whose files may not
// grow.
const limitEnv = "SUMLOG_TEST_LIMIT"

// TestIOError has a write fail in a way that SQLite does not know: it is not clear
// what is on the disk, and nothing is answered from then on.
func TestIOError(t *testing.T) {
	if os.Getenv(limitEnv) == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self, "-test.run=^TestIOError$", "-test.v")
		cmd.Env = append(os.Environ(), limitEnv+"=1")
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Error(err)
		}
		return
	}
	dir := mustCreate(t)
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	l := newTestLog("a.example")
	mustAdd(t, s, l)
	signal.Ignore(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 200_000, Max: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	answered := int64(0)
	for {
		if err = l.step(s, fakeTree("x", answered+1), 1); err != nil {
			break
		}
		answered++
	}
	if !errors.Is(err, ErrUnsafe) || answered == 0 {
		t.Errorf("after %d: %v", answered, err)
	}
	if err := <-s.Failed(); !errors.Is(err, ErrUnsafe) {
		t.Errorf("%v", err)
	}
	if e, _ := s.Entry(l.Origin); e.Tree.N != answered {
		t.Errorf("at %d in memory, answered %d", e.Tree.N, answered)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 40, Max: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	if err := l.step(s, fakeTree("x", answered+1), 1); !errors.Is(err, ErrUnsafe) {
		t.Errorf("after it had failed: %v", err)
	}
	s.Close()
	s = mustOpen(t, Config{Dir: dir})
	if e, _ := s.Entry(l.Origin); e.Tree.N != answered && e.Tree.N != answered+1 {
		t.Errorf("at %d on the disk, answered %d", e.Tree.N, answered)
	}
}
