// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"example.org/sumlog/internal/testdisk"
)

// mounted makes a directory as an empty file system has it.
func mounted(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.MkdirAll(filepath.Join(dir, "lost+found"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestCreateIn makes a log in a directory that is there, which was cut off at each of
// its steps before.
func TestCreateIn(t *testing.T) {
	made := mounted(t)
	c := CreateConfig{Name: "sum.example.org", Files: map[string][]byte{"settings": nil}}
	c.Dir = made
	if _, err := Create(c); err != nil {
		t.Fatal(err)
	}
	names := []string{"key", "guard", "settings", "log", "checkpoints"}
	for moved := range len(names) + 1 {
		dir := copyDir(t, made)
		if err := os.Mkdir(filepath.Join(dir, unfinished), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range names[moved:] {
			if err := os.Rename(filepath.Join(dir, name), filepath.Join(dir, unfinished, name)); err != nil {
				t.Fatal(err)
			}
		}
		config := Config{Dir: dir}
		if l, err := Open(config); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrUnsafe) {
			t.Errorf("%d moved: Open = %v, %v", moved, l, err)
		}
		if _, _, err := Check(config); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d moved: Check: %v", moved, err)
		}
		if _, _, err := ReadVKey(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d moved: ReadVKey: %v", moved, err)
		}
		if _, err := Backup(t.Context(), BackupConfig{From: dir, To: filepath.Join(t.TempDir(), "b")}); err == nil {
			t.Errorf("%d moved: Backup succeeded", moved)
		}
		c.Dir = dir
		foreign := filepath.Join(dir, "mine")
		if err := os.WriteFile(foreign, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Create(c); !errors.Is(err, ErrExists) {
			t.Errorf("%d moved: Create over a file of others: %v", moved, err)
		}
		if err := os.Remove(foreign); err != nil {
			t.Fatal(err)
		}
		vkey, err := Create(c)
		if err != nil {
			t.Errorf("%d moved: Create again: %v", moved, err)
			continue
		}
		if _, got, err := ReadVKey(dir); got != vkey || err != nil {
			t.Errorf("%d moved: ReadVKey = %q, %v, want %q", moved, got, err, vkey)
		}
		grow(t, dir, 0, 2)
		if _, err := Create(c); !errors.Is(err, ErrExists) {
			t.Errorf("%d moved: Create over a log: %v", moved, err)
		}
	}

	full := mounted(t)
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c.Dir = full
	if _, err := Create(c); !errors.Is(err, ErrExists) {
		t.Errorf("Create in a directory that is not empty: %v", err)
	}
	if ok, err := Vacant(full); ok || err != nil {
		t.Errorf("Vacant = %v, %v", ok, err)
	}
	if left, err := os.ReadDir(full); err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestCreateAtOnce has several make a log of one directory at once. One does, and it is
// that one's log: another that waited for its lock must not make its own of it.
func TestCreateAtOnce(t *testing.T) {
	for range 20 {
		dir := filepath.Join(t.TempDir(), "log")
		made := make(chan string, 4)
		for range cap(made) {
			go func() {
				vkey, err := Create(CreateConfig{Dir: dir, Name: "sum.example.org"})
				if err != nil {
					vkey = ""
				}
				made <- vkey
			}()
		}
		var vkeys []string
		for range cap(made) {
			if vkey := <-made; vkey != "" {
				vkeys = append(vkeys, vkey)
			}
		}
		_, got, err := ReadVKey(dir)
		if err != nil || len(vkeys) != 1 || vkeys[0] != got {
			t.Fatalf("made %q, and there is %q, %v", vkeys, got, err)
		}
	}
}

// TestMountPoint makes and restores logs on file systems that are mounted there.
func TestMountPoint(t *testing.T) {
	if !testdisk.Enter(t) {
		return
	}
	base := t.TempDir()
	mount := func(name string) string {
		t.Helper()
		dir := filepath.Join(base, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("none", dir, "tmpfs", 0, "size=10m"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
		if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dir := mount("a")
	if _, err := Create(CreateConfig{Dir: dir, Name: "sum.example.org"}); err != nil {
		t.Fatal(err)
	}
	grow(t, dir, 0, 300)
	backup := filepath.Join(t.TempDir(), "backup")
	if _, err := Backup(t.Context(), BackupConfig{From: dir, To: backup}); err != nil {
		t.Fatal(err)
	}
	restored := mount("b")
	if _, err := Restore(t.Context(), BackupConfig{From: backup, To: restored}); err != nil {
		t.Fatal(err)
	}
	grow(t, restored, 300, 301)
	names, err := os.ReadDir(restored)
	if err != nil || !slices.ContainsFunc(names, func(e fs.DirEntry) bool { return e.Name() == "lost+found" }) {
		t.Errorf("%v, %v", names, err)
	}
	if beside, err := os.ReadDir(base); err != nil || len(beside) != 2 {
		t.Errorf("beside the mount points: %v, %v", beside, err)
	}
}
