// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient

import (
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
// there, which begins with it. Several processes may use one directory.
func DirCache(dir string) Cache { return &dirCache{dir: dir} }

type dirCache struct {
	dir  string
	made atomic.Pointer[string] // the directory made last
}

func (c *dirCache) file(t tlog.Tile) string {
	return filepath.Join(c.dir, filepath.FromSlash(t.Path()))
}

// Read implements Cache.
func (c *dirCache) Read(t tlog.Tile) []byte {
	if !validTile(t) {
		return nil
	}
	f, err := os.Open(c.file(t))
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := readAll(f, int64(t.W*tlog.HashSize), int64(t.W*tlog.HashSize), nil)
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
	if c.write(name, data) == nil && t.W == tileWidth {
		os.RemoveAll(name + ".p")
	}
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
