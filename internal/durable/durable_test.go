// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func open(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, dir
}

func TestWriteFile(t *testing.T) {
	root, dir := open(t)
	for _, content := range []string{"one", "two, longer"} {
		if err := WriteFile(root, "a/b/c", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "a/b/c"))
		if err != nil || string(got) != content {
			t.Errorf("content %q, %v, want %q", got, err, content)
		}
	}
	if fi, err := root.Stat("a/b/c"); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if names, _ := os.ReadDir(filepath.Join(dir, "a/b")); len(names) != 1 {
		t.Errorf("%d files are left, want 1", len(names))
	}
	if err := WriteFile(root, "../x", nil, 0o600); err == nil {
		t.Error("wrote outside the root")
	}
	if err := WriteFile(root, "a/b/c/d", nil, 0o600); err == nil {
		t.Error("wrote below a file")
	}
}

// TestUncommitted shows that a file has no final name before Commit, and that
// what is left is swept.
func TestUncommitted(t *testing.T) {
	root, dir := open(t)
	if err := WriteFile(root, "x", []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Create(root, ".")
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("new"))
	if got, _ := os.ReadFile(filepath.Join(dir, "x")); string(got) != "old" {
		t.Errorf("x is %q before Commit", got)
	}
	f.Close() // as a crash would
	if n, err := Sweep(root, "."); n != 1 || err != nil {
		t.Errorf("Sweep = %d, %v", n, err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("%d files after Sweep", len(names))
	}
	if n, err := Sweep(root, "missing"); n != 0 || err != nil {
		t.Errorf("Sweep of nothing = %d, %v", n, err)
	}

	f, err = Create(root, "d")
	if err != nil {
		t.Fatal(err)
	}
	f.Abort()
	f.Abort()
	if names, _ := os.ReadDir(filepath.Join(dir, "d")); len(names) != 0 {
		t.Errorf("%d files after Abort", len(names))
	}
}

func TestCommitThenAbort(t *testing.T) {
	root, dir := open(t)
	f, err := Create(root, ".")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	f.Write([]byte("new"))
	if err := f.Commit("deep/er/x"); err != nil {
		t.Fatal(err)
	}
	f.Abort()
	if got, err := os.ReadFile(filepath.Join(dir, "deep/er/x")); string(got) != "new" || err != nil {
		t.Errorf("after Abort of a committed file: %q, %v", got, err)
	}
}

func TestLock(t *testing.T) {
	root, _ := open(t)
	unlock, err := Lock(root, "lock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(root, "lock"); !errors.Is(err, ErrLocked) {
		t.Errorf("second Lock: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	unlock, err = Lock(root, "lock")
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if _, err := Lock(root, "no/such"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lock in no directory: %v", err)
	}
}

// TestLocked looks at a lock, and writes nothing for it.
func TestLocked(t *testing.T) {
	root, dir := open(t)
	look := func(want bool) {
		t.Helper()
		if got, err := Locked(root, "lock"); got != want || err != nil {
			t.Errorf("Locked = %v, %v, want %v", got, err, want)
		}
	}
	look(false)
	if names, _ := os.ReadDir(dir); len(names) > 0 {
		t.Errorf("it made %v", names)
	}
	unlock, err := Lock(root, "lock")
	if err != nil {
		t.Fatal(err)
	}
	look(true)
	unlock()
	look(false)
}

// TestLockedInTheWay takes a lock while another looks at it, who keeps nobody out.
func TestLockedInTheWay(t *testing.T) {
	root, _ := open(t)
	f, err := root.Create("lock")
	if err != nil {
		t.Fatal(err)
	}
	if err := flock(f, syscall.LOCK_SH); err != nil { // as Locked does
		t.Fatal(err)
	}
	time.AfterFunc(5*time.Millisecond, func() { f.Close() })
	unlock, err := Lock(root, "lock")
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// TestSweepFile sweeps what a crash left of one file, and nothing of another that
// is written in the same directory.
func TestSweepFile(t *testing.T) {
	root, _ := open(t)
	for _, name := range []string{"guard", "guard2"} {
		f, err := create(root, ".", tempOf(name))
		if err != nil {
			t.Fatal(err)
		}
		f.Close() // and no more, as if it was killed
	}
	if _, err := Create(root, "."); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 0} {
		if n, err := SweepFile(root, "guard"); n != want || err != nil {
			t.Errorf("SweepFile = %d, %v, want %d", n, err, want)
		}
	}
	if n, err := Sweep(root, "."); n != 2 || err != nil {
		t.Errorf("Sweep = %d, %v: of what is others'", n, err)
	}
}
