// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/mod/module"
)

// TestNoDescriptors takes all descriptors away from a log that works, and gives
// them back: what has to be read or written is put off, and nothing else follows.
// It is not parallel to any other test.
func TestNoDescriptors(t *testing.T) {
	l, _ := start(t, newDir(t))
	defer closeLog(t, l)
	fill(t, l, 0, 3)
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	none := files
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	_, appended := l.Append(context.Background(), record(3))
	answers := map[string]*httptest.ResponseRecorder{}
	for _, path := range []string{"/tile/0/000.p/3", "/tile/entries/000.p/3", "/tile/8/data/000.p/3", "/checkpoints", "/latest"} {
		rec := httptest.NewRecorder()
		l.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		answers[path] = rec
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(appended, ErrBusy) {
		t.Errorf("Append without descriptors: %v", appended)
	}
	for path, rec := range answers {
		open := path == "/checkpoints" || path == "/latest" // what it needs was opened before
		if open && rec.Code != http.StatusOK || !open && (rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "") {
			t.Errorf("GET %s without descriptors: %d %v %s", path, rec.Code, rec.Header(), rec.Body)
		}
	}
	fill(t, l, 3, 6)
	if _, err := get(l, "/tile/0/000.p/6"); err != nil {
		t.Error(err)
	}
	select {
	case err := <-l.Failed():
		t.Errorf("signing stopped: %v", err)
	default:
	}
}

// TestLockInTheWay puts something in the place of Tessera's lock, as a disk that
// became read-only would, under a log that works and before one starts.
func TestLockInTheWay(t *testing.T) {
	dir := newDir(t)
	l, _ := start(t, dir)
	fill(t, l, 0, 3)
	lock := filepath.Join(dir, treeDir, stateLock)
	block := func() {
		t.Helper()
		if err := errors.Join(os.Remove(lock), os.Mkdir(lock, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	free := func() {
		t.Helper()
		if err := os.Remove(lock); err != nil {
			t.Fatal(err)
		}
	}
	block()
	wantStop(t, l, dir, 3)
	l, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	names := &memNames{l: l, m: make(map[module.Version]Entry)}
	if err := errors.Join(names.Publish(l.Published()), l.Start(names)); !errors.Is(err, ErrUnsafe) {
		t.Errorf("Start: %v", err)
	}
	l.Close()
	free()
	grow(t, dir, 3, 6)
}
