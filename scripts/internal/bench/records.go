// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/index"
	"example.org/sumlog/log"
)

// versions is how many versions each made-up module has.
const versions = 10

// record returns the i-th made-up record. Modules come in no order of their
// names. All is lower case, so that no path needs escaping.
func record(i int64) log.Record {
	m := sum("module", i/versions)
	return log.Record{
		Module: module.Version{
			Path:    fmt.Sprintf("github.com/%x/project-%x", m[:4], m[4:7]),
			Version: fmt.Sprintf("v1.%d.0", i%versions),
		},
		Zip: h1(sum("zip", i)),
		Mod: h1(sum("mod", i)),
	}
}

func sum(kind string, i int64) [sha256.Size]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte(kind), uint64(i)))
}

func h1(h [sha256.Size]byte) string { return "h1:" + base64.StdEncoding.EncodeToString(h[:]) }

func lookupPath(i int64) string {
	m := record(i).Module
	return "/lookup/" + m.Path + "@" + m.Version
}

// unknown is the index of a log in which nothing is found: the records added
// while it is used are all different.
type unknown struct{}

func (unknown) Find(module.Version) (log.Entry, bool, error) { return log.Entry{}, false, nil }
func (unknown) Publish(*log.Publication) error               { return nil }

// bigDir returns the directory of the large log, and makes it if there is none.
// Measuring admissions adds entries behind the first ones.
func (b *bench) bigDir() (string, error) {
	dir := filepath.Join(b.work, fmt.Sprintf("log-%d", b.records()))
	if b.found == dir {
		return dir, nil
	}
	_, p, err := log.Check(log.Config{Dir: dir})
	if err == nil && p.Size >= b.records() {
		b.found = dir
		return dir, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("the log of an earlier run cannot be used; unless it is in use, remove it: %w", err)
	}
	progress("making a log of %d records in %s", b.records(), dir)
	temp, err := b.newDir("big")
	if err != nil {
		return "", err
	}
	begin := time.Now()
	if err := b.makeLog(filepath.Join(temp, "log")); err != nil {
		return "", err
	}
	progress("made it in %v", time.Since(begin).Round(time.Second))
	if err := os.Rename(filepath.Join(temp, "log"), dir); err != nil {
		return "", err
	}
	b.found = dir
	return dir, nil
}

// makeLog makes a log of all records and its index.
func (b *bench) makeLog(dir string) error {
	if _, err := log.Create(log.CreateConfig{Dir: dir, Name: "sum.example.org/bench"}); err != nil {
		return err
	}
	l, err := log.Open(log.Config{Dir: dir})
	if err != nil {
		return err
	}
	defer l.Close()
	if err := l.Start(unknown{}); err != nil {
		return err
	}
	var next atomic.Int64
	err = together(b.ctx, log.MaxUnpublished/2, func(ctx context.Context) error {
		for {
			i := next.Add(1) - 1
			if i >= b.records() {
				return nil
			}
			if _, err := l.Append(ctx, record(i)); err != nil {
				return err
			}
			if i%500_000 == 0 {
				progress("%d records", i)
			}
		}
	})
	if err != nil {
		return err
	}
	x, err := index.Open(index.Config{Path: filepath.Join(dir, "index.db"), Source: l})
	if err != nil {
		return err
	}
	return errors.Join(x.Close(), l.Close())
}

// together runs f n times at once and returns the first error.
func together(ctx context.Context, n int, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := f(ctx); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// openLog opens a log with its index and starts it.
func openLog(dir string) (*log.Log, *index.Index, error) {
	l, err := log.Open(log.Config{Dir: dir})
	if err != nil {
		return nil, nil, err
	}
	x, err := index.Open(index.Config{Path: filepath.Join(dir, "index.db"), Source: l})
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	if err := l.Start(x); err != nil {
		return nil, nil, errors.Join(err, x.Close(), l.Close())
	}
	return l, x, nil
}

// serveBig returns the server over the large log, which stays until closeBig.
func (b *bench) serveBig() (*serving, error) {
	if b.big != nil {
		return b.big, nil
	}
	dir, err := b.bigDir()
	if err != nil {
		return nil, err
	}
	b.big, err = b.serve(dir, "-upstream", "off", "-sumdb", "off", "-private", "")
	return b.big, err
}

// closeBig gives the directory of the large log free.
func (b *bench) closeBig() {
	if b.big != nil {
		b.big.close()
		b.big = nil
	}
}
