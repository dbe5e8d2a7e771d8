// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"

	"golang.org/x/mod/sumdb/tlog"
)

// files returns the files below dir.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(filepath.ToSlash(path), filepath.ToSlash(dir)+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestDirCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	c := tlogclient.DirCache(dir)
	part := tlog.Tile{H: 8, L: 1, N: 1234, W: 3}
	full := part
	full.W = 256
	data := bytes.Repeat([]byte("0123456789abcdef"), 2*256)
	if c.Read(part) != nil {
		t.Error("read from nothing")
	}
	c.Keep(part, data[:96])
	if got := c.Read(part); !bytes.Equal(got, data[:96]) {
		t.Errorf("partial tile: %q", got)
	}
	if got := fmt.Sprint(files(t, dir)); got != "[tile/8/1/x001/234.p/3]" {
		t.Errorf("files %s", got)
	}
	c.Keep(full, data)
	if got := c.Read(full); !bytes.Equal(got, data) || c.Read(part) != nil {
		t.Errorf("full tile: %d bytes, and the partial one of %d", len(got), len(c.Read(part)))
	}
	if got := fmt.Sprint(files(t, dir)); got != "[tile/8/1/x001/234]" {
		t.Errorf("files %s", got)
	}
	// A directory that goes away comes back.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	c.Keep(full, data)
	c.Keep(full, data)
	if got := c.Read(full); !bytes.Equal(got, data) {
		t.Errorf("after the directory went away: %d bytes", len(got))
	}
	for _, bad := range []tlog.Tile{{H: 8, L: -1, W: 256}, {H: 7, W: 128}, {H: 8, L: 8, W: 1}, {H: 8, N: -1, W: 1}, {H: 8}, {H: 8, W: 257}} {
		c.Keep(bad, make([]byte, max(0, bad.W*32)))
		if got := c.Read(bad); got != nil {
			t.Errorf("tile %+v: %d bytes", bad, len(got))
		}
	}
	c.Keep(part, data[:95])
	if got := fmt.Sprint(files(t, dir)); got != "[tile/8/1/x001/234]" {
		t.Errorf("files %s", got)
	}
}

// TestDirCacheDamage reads a log beside a cache whose files were cut, flipped and
// made longer. They are mended.
func TestDirCacheDamage(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Grow("a", 700)
	dir := t.TempDir()
	c := open(t, l, l, tlogclient.DirCache(dir))
	extend := func() (reads int) {
		t.Helper()
		if _, err := c.Extend(t.Context(), l.Head(300), l.Head(700)); err != nil {
			t.Fatal(err)
		}
		return len(l.Reads())
	}
	if n := extend(); n == 0 {
		t.Error("nothing was read from the log")
	}
	for _, damage := range []func([]byte) []byte{
		func(b []byte) []byte { return b[:len(b)-1] },
		func(b []byte) []byte { return nil },
		func(b []byte) []byte { return append(b, 0) },
		func(b []byte) []byte { return make([]byte, 1<<20) },
		func(b []byte) []byte { b[5] ^= 1; return b },
	} {
		if n := extend(); n != 0 {
			t.Errorf("%d reads beside a good cache", n)
		}
		for _, name := range files(t, dir) {
			name = filepath.Join(dir, name)
			data, err := os.ReadFile(name)
			if err == nil {
				err = os.WriteFile(name, damage(data), 0o666)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if n := extend(); n == 0 {
			t.Error("read from a damaged cache")
		}
	}
}

// TestDirCacheTogether has writers of the same tile, and readers, who must see one
// of the versions whole.
func TestDirCacheTogether(t *testing.T) {
	dir := t.TempDir()
	tile := tlog.Tile{H: 8, W: 256}
	var g sync.WaitGroup
	for i := range 4 {
		c := tlogclient.DirCache(dir)
		g.Go(func() {
			for range 50 {
				c.Keep(tile, bytes.Repeat([]byte{byte(i)}, 8192))
				data := c.Read(tile)
				if len(data) != 8192 || !bytes.Equal(data, bytes.Repeat(data[:1], 8192)) {
					t.Errorf("%d bytes", len(data))
				}
			}
		})
	}
	g.Wait()
	if got := fmt.Sprint(files(t, dir)); got != "[tile/8/0/000 tile/8/0/000.was]" {
		t.Errorf("files %s", got)
	}
}

func TestDirCacheUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	c := tlogclient.DirCache(filepath.Join(file, "sub"))
	c.Keep(tlog.Tile{H: 8, W: 1}, make([]byte, 32))
	if c.Read(tlog.Tile{H: 8, W: 1}) != nil {
		t.Error("kept below a file")
	}
}

// TestDirCacheFork has a log that shows a fork, fails while that could be proven to be
// one, and serves the fork's tiles later: they must not replace those that the log
// does not serve any more, or its next, smaller head would only be a stale one.
func TestDirCacheFork(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Grow("a", 1000)
	evil := l.Fork(500)
	evil.Grow("b", 1200)
	cache := tlogclient.DirCache(t.TempDir())
	prove := func(source tlogclient.Source, head tlogclient.Head, i int64) error {
		_, err := open(t, l, source, cache).ProveEntry(t.Context(), i, head.Tree())
		return err
	}
	none := sourceFunc(func(string) ([]byte, error) { return nil, errors.New("busy") })
	for _, i := range []int64{600, 900} {
		if err := prove(l, l.Head(1000), i); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int64{700, 900} {
		if _, _, err := open(t, l, none, cache).Prove(t.Context(), n, l.Tree(1000)); err != nil {
			t.Fatalf("before the fork: %v", err)
		}
	}
	other := evil.Fork(550)
	other.Grow("c", 1200)
	for _, log := range []*tlogtest.Log{evil, other} {
		for _, i := range []int64{600, 900} {
			if err := prove(log, log.Head(1200), i); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, log := range []*tlogtest.Log{other, evil, other} {
		for name, source := range map[string]tlogclient.Source{"its fork": log, "no tiles": none} {
			for _, n := range []int64{700, 900} {
				_, err := open(t, l, source, cache).Extend(t.Context(), l.Head(1000), log.Head(n))
				if e, ok := errors.AsType[*tlogclient.ForkError](err); !ok {
					t.Errorf("%d, from a log that serves %s: %v", n, name, err)
				} else {
					checkFork(t, l, e, n, 1000)
				}
			}
		}
	}
}
