// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package store_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.org/sumlog/mirror/internal/mirrortest"
	"example.org/sumlog/mirror/store"
)

// readable returns the files below dir that somebody else could read who may read dir.
func readable(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case fi.Mode().Perm()&0o077 == 0 && d.IsDir():
			return fs.SkipDir
		case fi.Mode().Perm()&0o077 == 0 || d.IsDir():
			return nil
		}
		rel, err := filepath.Rel(dir, name)
		names = append(names, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestPrivateModes checks that nobody else can read what is private, as it is stored
// and as it was left by a store that took it for public, and that all else stays
// readable.
func TestPrivateModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o022))
	private := func(path string) bool {
		return path == "corp.example/Team" || strings.HasPrefix(path, "corp.example/Team/") ||
			path == "example.com/in" || strings.HasPrefix(path, "example.com/in/")
	}
	below := func(path string) bool { return path == "corp.example" || path == "example.com" || private(path) }
	dir := t.TempDir()
	s, err := store.Open(store.Config{Dir: dir, Private: private, PrivateBelow: below})
	if err != nil {
		t.Fatal(err)
	}
	secret := mirrortest.Simple(t, "corp.example/Team/a", "v1.0.0")
	z := zipFile(t, s, secret.Version, secret.Zip)
	if names := readable(t, dir); len(names) > 0 {
		t.Errorf("others can read %q while a zip comes", names)
	}
	z.Abort()
	put(t, s, secret)
	put(t, s, mirrortest.Simple(t, "corp.example/Team", "v1.0.0"))
	if names := readable(t, dir); len(names) > 0 {
		t.Errorf("others can read %q", names)
	}
	for _, name := range []string{"corp.example/!team/a/@v/v1.0.0.zip", "corp.example/!team/a/@v/list", "corp.example/!team/@v/v1.0.0.info"} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, fi.Mode(), err)
		}
	}
	put(t, s, mirrortest.Simple(t, "example.com/open", "v1.0.0"))
	put(t, s, mirrortest.Simple(t, "other.example/open", "v1.0.0"))
	s.Close()

	// Public once, now no more.
	if s, err = store.Open(store.Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	put(t, s, mirrortest.Simple(t, "example.com/in/x", "v1.0.0"))
	os.Chmod(filepath.Join(dir, "corp.example/!team"), 0o755)
	s.Close()
	if names := strings.Join(readable(t, dir), "\n"); !strings.Contains(names, "example.com/in/x/@v/v1.0.0.zip") {
		t.Fatalf("others can read %s", names)
	}
	if s, err = store.Open(store.Config{Dir: dir, Private: private, PrivateBelow: below}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	names := readable(t, dir)
	if len(names) != 8 {
		t.Errorf("others can read %q, want the two public modules", names)
	}
	for _, name := range names {
		if !strings.Contains(name, "/open/@v/") {
			t.Errorf("others can read %s", name)
		}
	}
	if !s.Infos("example.com/in/x")("v1.0.0") {
		t.Error("the store does not know its private module any more")
	}
}
