// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient

import (
	"bytes"
	"os"
	"path/filepath"
	"sync/atomic"

	"example.org/sumlog/internal/durable"

	"golang.org/x/mod/sumdb/tlog"
)

// DirCache returns the cache of tiles in files below dir, which is made where it
// is missing, at the paths that a checksum database has them at:
// tile/8/L/N[.p/W].
//
// Files appear whole, by a rename, but they are not synced: what a crash leaves
// of one is found out when it is read, because a cache is not believed. What
// cannot be written is not kept. A partial tile is removed when the full tile is
// there, if that begins with it. Several processes may use one directory.
//
// A tile that another one of the same name replaces stays, once, under its name and
// ".was", and is read where nothing else proves a tree: it may be what is left of the
// history that a log showed before it forked, and that its fork is proven with.
func DirCache(dir string) Cache { return &dirCache{dir: dir} }

type dirCache struct {
	dir  string
	made atomic.Pointer[string] // the directory made last
}

func (c *dirCache) file(t tlog.Tile) string {
	return filepath.Join(c.dir, filepath.FromSlash(t.Path()))
}

// Read implements Cache.
func (c *dirCache) Read(t tlog.Tile) []byte { return c.read(t, "") }

const replaced = ".was"

// readReplaced implements elder.
func (c *dirCache) readReplaced(t tlog.Tile) []byte { return c.read(t, replaced) }

func (c *dirCache) read(t tlog.Tile, suffix string) []byte {
	if !validTile(t) {
		return nil
	}
	return readTile(c.file(t)+suffix, t.W)
}

func readTile(name string, width int) []byte {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	limit := int64(width * tlog.HashSize)
	data, err := readAll(f, limit, limit, nil)
	if err != nil {
		return nil
	}
	return data
}

// Keep implements Cache.
func (c *dirCache) Keep(t tlog.Tile, data []byte) {
	if !validTile(t) || len(data) != t.W*tlog.HashSize {
		return
	}
	name := c.file(t)
	if old := readTile(name, t.W); len(old) == len(data) && !bytes.Equal(old, data) {
		os.Link(name, name+replaced) // not over one that is there
	}
	if c.write(name, data) == nil && t.W == tileWidth {
		removeParts(name+".p", data)
	}
}

// removeParts removes the partial tiles in dir that the full tile begins with.
func removeParts(dir string, full []byte) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, d := range names {
		name := filepath.Join(dir, d.Name())
		if data := readTile(name, tileWidth); data != nil && bytes.HasPrefix(full, data) {
			os.Remove(name)
		}
	}
	os.Remove(dir) // if nothing is left
}

func (c *dirCache) write(name string, data []byte) error {
	dir := filepath.Dir(name)
	if made := c.made.Load(); made == nil || *made != dir {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		c.made.Store(&dir)
	}
	f, err := os.CreateTemp(dir, durable.TempPrefix+"*")
	if err != nil {
		c.made.Store(nil)
		return err
	}
	_, err = f.Write(data)
	if err1 := f.Close(); err == nil {
		err = err1
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// validTile reports whether t is one that a log of at most MaxSize can have.
func validTile(t tlog.Tile) bool {
	return t.H == tileHeight && t.L >= 0 && t.L <= 7 && t.N >= 0 && t.N < MaxSize>>tileHeight && t.W >= 1 && t.W <= tileWidth
}
