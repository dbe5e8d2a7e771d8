// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package store

import (
	"archive/zip"
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/log"
)

// TestShare has several wait for one check, which ends when all have left.
func TestShare(t *testing.T) {
	c := checks{ctx: t.Context()}
	begun, ended := make(chan bool, 1), make(chan bool, 1)
	check := func(ctx context.Context) (checked, error) {
		begun <- true
		<-ctx.Done()
		ended <- true
		return checked{}, ctx.Err()
	}
	first, leave1 := context.WithCancel(t.Context())
	second, leave2 := context.WithCancel(t.Context())
	left := make(chan error)
	for _, ctx := range []context.Context{first, second} {
		go func() {
			_, err := c.share(ctx, task{}, check)
			left <- err
		}()
	}
	<-begun
	for users := 0; users < 2; runtime.Gosched() {
		c.mu.Lock()
		users = c.running[task{}].users
		c.mu.Unlock()
	}
	leave1()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the first got %v", err)
	}
	select {
	case <-ended:
		t.Error("a check ended that somebody waits for")
	default:
	}
	leave2()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the second got %v", err)
	}
	<-ended
	// Who comes now does not get the end of it.
	res, err := c.share(t.Context(), task{}, func(context.Context) (checked, error) { return checked{path: "x"}, nil })
	if err != nil || res.path != "x" || len(c.running) != 0 {
		t.Errorf("after it: %v, %v, %d running", res, err, len(c.running))
	}
}

// stored is a store that was opened anew with one version, whose zip has one
// file of n bytes.
func stored(t *testing.T, s *Store, version string, n int64) log.Record {
	t.Helper()
	m := module.Version{Path: "example.com/a", Version: version}
	z, err := s.NewZip(m)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(z)
	f, err := w.Create("example.com/a@" + version + "/x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(f, zeros{}, n); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	mod := []byte("module example.com/a\n")
	rec, err := s.Compute(t.Context(), z, mod)
	if err == nil {
		err = s.PutZip(t.Context(), rec, z)
	}
	if err == nil {
		err = s.PutMod(rec, []byte(`{"Version":"`+version+`"}`), mod)
	}
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestSides has every place taken in which the files of public modules are checked:
// those of private ones do not wait.
func TestSides(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	rec := stored(t, s, "v1.0.0", lightFiles+1)
	s.Close()
	if s, err = Open(Config{Dir: dir, Private: func(path string) bool { return path == "example.com/a" }}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, r := range []room{s.public.small, s.public.light, s.public.heavy, s.public.directory} {
		for range cap(r) {
			r <- struct{}{}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, k := range []Kind{Info, Mod, Zip} {
		f, _, err := s.Open(ctx, rec, k)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// TestRooms has every place taken in which large zips are checked, as after a
// restart with many asked for at once: small files, be they of the same version,
// and small zips wait for none of them.
func TestRooms(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	large, small := stored(t, s, "v1.0.0", lightFiles+1), stored(t, s, "v1.0.1", 1)
	s.Close()
	if s, err = Open(Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range cap(s.public.heavy) {
		s.public.heavy <- struct{}{}
	}
	ctx, leave := context.WithCancel(t.Context())
	waits := make(chan error)
	go func() {
		_, _, err := s.Open(ctx, large, Zip)
		waits <- err
	}()
	for running := 0; running == 0; runtime.Gosched() {
		s.checks.mu.Lock()
		running = len(s.checks.running)
		s.checks.mu.Unlock()
	}
	for _, tt := range []struct {
		rec  log.Record
		kind Kind
	}{{large, Mod}, {large, Info}, {small, Zip}} {
		f, _, err := s.Open(t.Context(), tt.rec, tt.kind)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	// Nor does who stores the same version.
	if err := s.PutMod(large, []byte(`{"Version":"v1.0.0"}`), []byte("module example.com/a\n")); err != nil {
		t.Error(err)
	}
	select {
	case err := <-waits:
		t.Fatalf("the large zip did not wait: %v", err)
	default:
	}
	leave()
	if err := <-waits; !errors.Is(err, context.Canceled) {
		t.Errorf("who left got %v", err)
	}
	<-s.public.heavy
	f, meta, err := s.Open(t.Context(), large, Zip)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if meta.Size > lightZip {
		t.Fatalf("large by its %d bytes, not by its files", meta.Size)
	}
	if _, _, err := s.hashZipIn(t.Context(), s.public.light, lightFiles, f, meta.Size, large.Module); err != errHeavy {
		t.Errorf("among the light ones: %v", err)
	}
}

// TestShorter has a zip that is shorter than it was when its check began.
func TestShorter(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rec := stored(t, s, "v1.0.0", 1)
	f, meta, err := s.Open(t.Context(), rec, Zip)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for more, want := range map[int64]error{0: nil, 1: io.ErrUnexpectedEOF} {
		if _, err := s.sumZip(t.Context(), f, meta.Size+more, rec.Module); err != want {
			t.Errorf("%d bytes shorter: %v, want %v", more, err, want)
		}
	}
}

// TestLargeDirectories has them come one at a time.
func TestLargeDirectories(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.public.directory <- struct{}{}
	m := module.Version{Path: "example.com/a", Version: "v1.0.0"}
	z, err := s.NewZip(m)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Abort()
	w := zip.NewWriter(z)
	w.SetComment(string(make([]byte, 1<<16-1)))
	for range 1 << 7 { // it is refused in the end
		if _, err := w.CreateHeader(&zip.FileHeader{Name: "x", Extra: make([]byte, 1<<15)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // it takes one
	defer cancel()
	if _, err := s.Compute(ctx, z, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second one got %v", err)
	}
	<-s.public.directory
	if _, err := s.Compute(t.Context(), z, nil); !errors.As(err, new(*BadZipError)) {
		t.Errorf("later: %v", err)
	}
}

// TestReplaced has a damaged file replaced before it can be set aside.
func TestReplaced(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rec := stored(t, s, "v1.0.0", 1)
	name, err := Name(rec.Module, Mod)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.setAside(key{rec.Module, Mod}, name, identity{ino: 1}, errors.New("damaged")); err != errChanged {
		t.Errorf("setAside: %v", err)
	}
	f, _, err := s.Open(t.Context(), rec, Mod)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}
