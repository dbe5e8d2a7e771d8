// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package store_test

import (
	"errors"
	"io/fs"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.org/sumlog/mirror/internal/mirrortest"
	"example.org/sumlog/mirror/store"
)

// TestFull has writes fail after some bytes, as on a full disk: nothing is
// visible, nothing is left, and later it works. (The limit of this process's
// files stands in for the disk's.)
func TestFull(t *testing.T) {
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	dir := t.TempDir()
	s := open(t, dir)
	m := mirrortest.New(t, "example.com/a", "v1.0.0", "go.mod", "module example.com/a\n"+strings.Repeat("//\n", 1000))
	rec := m.Record(t)
	limit := func(n uint64) {
		t.Helper()
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: old.Max}); err != nil {
			t.Fatal(err)
		}
	}
	defer limit(old.Cur)
	limit(200) // the .info fits, the .mod and the zip do not
	if err := s.PutMod(rec, m.Info, m.Mod); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("PutMod: %v", err)
	}
	z, err := s.NewZip(m.Version)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(m.Zip); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("writing a zip: %v", err)
	}
	if err := s.PutZip(t.Context(), rec, z); err == nil {
		t.Error("a zip that was cut was stored")
	}
	filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			t.Errorf("left behind: %s %v", name, err)
		}
		return nil
	})
	limit(old.Cur)
	if got := put(t, s, m); got != rec {
		t.Errorf("record %v, want %v", got, rec)
	}
	for _, k := range []store.Kind{store.Info, store.Mod, store.Zip} {
		read(t, s, rec, k)
	}
}
