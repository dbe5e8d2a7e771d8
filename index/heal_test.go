// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"errors"
	"net/http"
	"syscall"
	"testing"
	"time"

	"example.org/sumlog/log"
)

// ahead gives the index a publication that is archived and not yet shown, as the log
// does between its archive and its pointer.
func ahead(t *testing.T, m *memory, x *Index, i int) {
	t.Helper()
	m.append(t, nthRecord(i))
	p := m.publication(t, m.Published().Time.Add(time.Second))
	if err := x.Publish(p); err != nil {
		t.Fatal(err)
	}
}

// What the log has told of is in the index that takes the place of a damaged one,
// though it is not yet shown: by its absence the log would log it again.
func TestHealsAhead(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	grow(t, m, 100, 10, time.Second)
	x := open(t, t.TempDir()+"/index.db", m)
	ahead(t, m, x, 1000)
	last := m.entries[len(m.entries)-1]
	if m.Published().Size > last.Index {
		t.Fatal("it is shown already")
	}
	if err := x.remake(); err != nil {
		t.Fatal(err)
	}
	e, found, err := x.Find(last.Record.Module)
	if err != nil || !found || e.Index != last.Index {
		t.Errorf("Find of what was applied before: %v, %v, %v", e, found, err)
	}
	if n := x.Size(); n != last.Index+1 {
		t.Errorf("size %d, want %d", n, last.Index+1)
	}
}

// A machine that is out of descriptors while an index is put in place ends no
// process: what is asked meanwhile is told that the index is damaged.
func TestHealsWithoutFiles(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	grow(t, m, 20, 10, time.Second)
	x := open(t, t.TempDir()+"/index.db", m)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	failed := 0
	for n := uint64(8); n < 64; n++ {
		x.damaged.Store(true)
		if x.w != nil { // as if the first try had failed
			if err := errors.Join(x.readers.close(), (<-x.scanner).conn.Close(), x.w.close()); err != nil {
				t.Fatal(err)
			}
			x.w, x.readers = nil, nil
		}
		few := limit
		few.Cur = n
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
			t.Fatal(err)
		}
		err := x.remake()
		_, found, ferr := x.Find(m.entries[0].Record.Module)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		if err == nil {
			break // more are no less
		}
		if failed++; !errors.Is(ferr, ErrDamaged) {
			t.Errorf("with %d files: Find = %v, %v", n, found, ferr)
		}
		for _, target := range []string{"/index", "/index?prefix=example.com"} {
			if w := serve(x.Feed(), target); w.Code != http.StatusServiceUnavailable {
				t.Errorf("with %d files: %s is %d", n, target, w.Code)
			}
		}
	}
	if failed == 0 {
		t.Error("nothing failed")
	}
	if err := x.remake(); err != nil {
		t.Fatal(err)
	}
	checkDump(t, x, m)
}

// A log that has rotted itself is found out as its damaged index is made again of it.
// That is tried once, and the log is told.
func TestHealsUnsafe(t *testing.T) {
	var r recorder
	_, m, x := rotten(t, "DELETE FROM names", &r)
	m.mu.Lock()
	m.entries[200].Record.Module = m.entries[100].Record.Module
	m.mu.Unlock()
	if _, _, err := x.Find(m.entries[0].Record.Module); !errors.Is(err, ErrDamaged) {
		t.Fatalf("Find: %v", err)
	}
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		x.healer.Wait()
	}()
	select {
	case <-waited:
	case <-time.After(time.Minute):
		t.Fatal("it is tried again and again")
	}
	for _, p := range grow(t, m, 2, 1, time.Second) {
		if err := x.Publish(p); !errors.Is(err, log.ErrUnsafe) {
			t.Errorf("Publish: %v", err)
		}
	}
}

// Close does not wait until a damaged index has been made again, however much of it is
// done: in a large log that takes a minute.
func TestHealIsCutOff(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	grow(t, m, 3000, 1000, time.Second)
	for after := range 2 { // after all has been read, and at the very end
		looked := 0
		_, err := prepare(Config{
			Path: t.TempDir() + "/index.db", Source: m,
			Progress: func(int64, int64) { looked++ },
			stopped:  func() bool { return looked > after },
		})
		if !errors.Is(err, errClosed) {
			t.Errorf("%d: prepare: %v", after, err)
		}
	}
}
