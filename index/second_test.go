// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"example.org/sumlog/internal/sqlite"
	"example.org/sumlog/log"
)

// A kept is a log on disk and its index.
type kept struct {
	t    *testing.T
	dir  string
	path string
	l    *log.Log
	x    *Index
}

func newKept(t *testing.T) *kept {
	t.Helper()
	k := &kept{t: t, dir: filepath.Join(t.TempDir(), "log"), path: filepath.Join(t.TempDir(), "index.db")}
	if _, err := log.Create(log.CreateConfig{Dir: k.dir, Name: "sum.example.com"}); err != nil {
		t.Fatal(err)
	}
	k.start()
	t.Cleanup(func() { k.stop() })
	return k
}

func (k *kept) start() {
	k.t.Helper()
	var err error
	if k.l, err = log.Open(log.Config{Dir: k.dir}); err != nil {
		k.t.Fatal(err)
	}
	k.x = mustOpen(k.t, Config{Path: k.path, Source: k.l, Logger: slog.New(slog.NewTextHandler(testWriter{k.t}, nil))})
	if err := k.l.Start(k.x); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kept) stop() {
	k.t.Helper()
	if k.l == nil {
		return
	}
	if err := errors.Join(k.l.Close(), k.x.Close()); err != nil {
		k.t.Error(err)
	}
	k.l = nil
}

// damage changes the database behind the back of the index.
func (k *kept) damage(sql string) {
	k.t.Helper()
	c, err := sqlite.Open(k.path, "rw", "busy_timeout=10000")
	if err != nil {
		k.t.Fatal(err)
	}
	if err := errors.Join(c.Exec(sql), c.Close()); err != nil {
		k.t.Fatal(err)
	}
}

// append appends what may be refused for the index's sake until it is made again.
func (k *kept) append(r log.Record) (int64, error) {
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
	defer cancel()
	for {
		i, err := k.l.Append(ctx, r)
		if !errors.Is(err, ErrDamaged) {
			return i, err
		}
		time.Sleep(time.Millisecond)
	}
}

// second is another record of the version of nthRecord(i).
func second(i int) log.Record {
	r := nthRecord(i)
	r.Zip = testRecord("example.com/another", "v1.0.0").Zip
	return r
}

// No second record of a module version gets into a log over an index that rotted,
// while it is open or before, whoever appends at the same time: neither while the
// index is damaged, nor as it is replaced, nor after.
func TestSecondRecord(t *testing.T) {
	const first, more = 60, 20
	for _, sql := range []string{
		"UPDATE names SET row = zeroblob(length(row))",
		"UPDATE names SET row = (SELECT row FROM names WHERE bucket = 0)",
		"DELETE FROM names",
		"DELETE FROM paths; DELETE FROM modules",
	} {
		for _, open := range []bool{true, false} {
			t.Run(sql, func(t *testing.T) {
				k := newKept(t)
				var work sync.WaitGroup
				var at [first]int64
				for i := range at {
					work.Go(func() {
						var err error
						if at[i], err = k.append(nthRecord(i)); err != nil {
							t.Errorf("append: %v", err)
						}
					})
				}
				work.Wait()
				if !open {
					k.stop()
				}
				k.damage(sql)
				if !open {
					k.start()
				} else {
					k.x.readers.renew()
				}
				for i := range first + more {
					// Both of the new ones are on their way at once: one of them wins.
					for _, r := range []log.Record{nthRecord(i), second(i)} {
						work.Go(func() {
							n, err := k.append(r)
							_, conflict := errors.AsType[*log.ConflictError](err)
							switch {
							case err != nil && !conflict:
								t.Errorf("append of record %d: %v", i, err)
							case i < first && r == nthRecord(i) && n != at[i], i < first && r == second(i) && !conflict:
								t.Errorf("append of record %d: index %d, %v", i, n, err)
							}
						})
					}
				}
				work.Wait()
				seen := make(map[string]bool)
				for e, err := range k.l.Entries(0, k.l.Published().Size) {
					if err != nil {
						t.Fatal(err)
					}
					if seen[e.Record.Module.String()] {
						t.Errorf("%v is there twice", e.Record.Module)
					}
					seen[e.Record.Module.String()] = true
				}
				if len(seen) != first+more {
					t.Errorf("%d versions, want %d", len(seen), first+more)
				}
			})
		}
	}
}
