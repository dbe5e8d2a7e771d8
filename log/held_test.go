// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"example.org/sumlog/internal/durable"
)

// aside moves what is at name away and puts a copy in its place.
func aside(t *testing.T, name string) (moved string) {
	t.Helper()
	moved = name + ".moved"
	if err := os.Rename(name, moved); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(moved)
	if err != nil {
		t.Fatal(err)
	}
	if fi.IsDir() {
		err = os.CopyFS(name, os.DirFS(moved))
		os.Chmod(filepath.Join(name, keyFile), 0o600)
	} else {
		var data []byte
		if data, err = os.ReadFile(moved); err == nil {
			err = os.WriteFile(name, data, 0o644)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return moved
}

// TestMoved puts something else in the place of what a running log has locked. It
// stops before the next signature, and neither what was moved nor what is there now
// gets one.
func TestMoved(t *testing.T) {
	base := func(dir, guard string) string { return dir }
	for name, swap := range map[string]func(dir, guard string) string{
		"directory": func(dir, guard string) string { return aside(t, dir) },
		"tree":      func(dir, guard string) string { aside(t, filepath.Join(dir, treeDir)); return dir },
		"archive":   func(dir, guard string) string { aside(t, filepath.Join(dir, archiveFile)); return dir },
		"lock":      func(dir, guard string) string { aside(t, filepath.Join(dir, lockFile)); return dir },
		"no lock": func(dir, guard string) string {
			os.Remove(filepath.Join(dir, lockFile))
			return dir
		},
		"tree is a file": func(dir, guard string) string {
			os.Rename(filepath.Join(dir, treeDir), filepath.Join(dir, "away"))
			os.WriteFile(filepath.Join(dir, treeDir), nil, 0o644)
			return dir
		},
		"tile is a file": func(dir, guard string) string {
			os.Rename(filepath.Join(dir, treeDir, "tile"), filepath.Join(dir, "away"))
			os.WriteFile(filepath.Join(dir, treeDir, "tile"), nil, 0o644)
			return dir
		},
		"guard's directory": func(dir, guard string) string { aside(t, filepath.Dir(guard)); return dir },
		"no guard":          func(dir, guard string) string { os.Remove(guard); return dir },
		"guard of before": func(dir, guard string) string {
			os.WriteFile(guard, readFileForTest(t, guard+".before"), 0o644)
			return dir
		},
		"nothing": base,
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir, guard := filepath.Join(parent, "d"), filepath.Join(parent, "g/guard")
			if err := os.Mkdir(filepath.Dir(guard), 0o755); err != nil {
				t.Fatal(err)
			}
			if _, err := Create(CreateConfig{Dir: dir, Guard: guard, Name: "sum.example.org/test"}); err != nil {
				t.Fatal(err)
			}
			l, err := begin(t, dir, guard)
			if err != nil {
				t.Fatal(err)
			}
			fill(t, l, 0, 1)
			if err := os.WriteFile(guard+".before", readFileForTest(t, guard), 0o644); err != nil {
				t.Fatal(err)
			}
			fill(t, l, 1, 2)
			if name == "nothing" {
				fill(t, l, 2, 3)
				closeLog(t, l)
				return
			}
			old := swap(dir, guard)
			archives := [][]byte{readFileForTest(t, filepath.Join(dir, archiveFile)), readFileForTest(t, filepath.Join(old, archiveFile))}
			wantStop(t, l, dir, 2)
			for i, d := range []string{dir, old} {
				if !bytes.Equal(readFileForTest(t, filepath.Join(d, archiveFile)), archives[i]) {
					t.Errorf("%s was written to", d)
				}
			}
			if g, err := readGuard(guard); err == nil && g.tree.N > 2 {
				t.Errorf("the guard was raised to %d", g.tree.N)
			}
		})
	}
}

func readFileForTest(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestGuardTried lets the write of a guard fail after its rename: what is there is
// this process's own, and the log goes on.
func TestGuardTried(t *testing.T) {
	dir := grown(t, 3)
	l, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer closeLog(t, l)
	g, err := newGuard(l.Name(), 2, l.guard.nodes)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.write(l.guardPath); err != nil {
		t.Fatal(err)
	}
	if err := l.unmoved(); !errors.Is(err, ErrUnsafe) {
		t.Errorf("under another's guard: %v", err)
	}
	l.tried = g
	if err := l.unmoved(); err != nil || l.guard != g {
		t.Errorf("under a guard whose write failed: %v", err)
	}
}

// TestTreeUnreadable opens directories of which a part is something else.
func TestTreeUnreadable(t *testing.T) {
	dir := grown(t, 300)
	for _, name := range []string{treeDir, "log/.state", "log/.state/treeState", "log/tile", "log/tile/0", "log/tile/entries/000", "checkpoints", guardFile} {
		bad := copyDir(t, dir)
		file := filepath.Join(bad, name)
		fi, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(file); err != nil {
			t.Fatal(err)
		}
		if fi.IsDir() {
			err = os.WriteFile(file, []byte("not a directory"), 0o644)
		} else {
			err = os.Mkdir(file, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		if l, err := begin(t, bad, ""); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s is something else: %v, %v", name, l, err)
		}
		if _, _, err := Check(Config{Dir: bad}); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s is something else: Check: %v", name, err)
		}
	}
}

// TestGuardLitter leaves what a crash leaves beside a guard outside the directory,
// where the guards of others are.
func TestGuardLitter(t *testing.T) {
	l, dir, guard, _ := guarded(t)
	closeLog(t, l)
	left := map[string]bool{}
	for _, name := range []string{"guard", "other.guard"} {
		// As durable.WriteFile names them.
		sum := sha256.Sum256([]byte(name))
		temp := filepath.Join(filepath.Dir(guard), fmt.Sprintf("%s%x-%s", durable.TempPrefix, sum[:8], rand.Text()))
		if err := os.WriteFile(temp, []byte("sumlog"), 0o644); err != nil {
			t.Fatal(err)
		}
		left[temp] = name == "other.guard"
	}
	if _, _, err := Check(Config{Dir: dir, Guard: guard}); err != nil {
		t.Errorf("Check: litter is not a fault: %v", err)
	}
	l, err := Open(Config{Dir: dir, Guard: guard})
	if err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	for temp, want := range left {
		if _, err := os.Stat(temp); (err == nil) != want {
			t.Errorf("%s: %v, want it to be left: %v", temp, err, want)
		}
	}
}

// TestGuardLink wants the guard to be a file: a link would be replaced by the next
// write, and what it led to would know of nothing any more. Nor is one that leads
// nowhere a guard that is lost.
func TestGuardLink(t *testing.T) {
	dir := grown(t, 3)
	guard, disk := filepath.Join(dir, guardFile), filepath.Join(t.TempDir(), "guard")
	if err := errors.Join(os.Rename(guard, disk), os.Symlink(disk, guard)); err != nil {
		t.Fatal(err)
	}
	wantUnsafe(t, Config{Dir: dir}, "symbolic link")
	if err := os.Rename(disk, disk+".unmounted"); err != nil {
		t.Fatal(err)
	}
	wantUnsafe(t, Config{Dir: dir}, "symbolic link")
	if r, err := renew(t, Config{Dir: dir}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("renew: %+v, %v", r, err)
	}
	if fi, err := os.Lstat(guard); err != nil || fi.Mode()&os.ModeSymlink == 0 {
		t.Errorf("it was replaced: %v, %v", fi, err)
	}
}

// TestGuardNotMounted takes no log whose guard it could not lock.
func TestGuardNotMounted(t *testing.T) {
	dir := grown(t, 3)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := newLog(Config{Dir: dir}, root)
	defer l.Close()
	var missing *NoGuardError
	if err := l.lock(filepath.Join(t.TempDir(), "mnt", "guard")); !errors.As(err, &missing) {
		t.Errorf("lock: %v", err)
	}
}
