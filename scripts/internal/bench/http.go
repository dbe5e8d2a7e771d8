// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/log"
)

const (
	plainText = "text/plain; charset=utf-8"
	octets    = "application/octet-stream"
)

// hotRecords is how many records are asked for again and again.
const hotRecords = 10_000

// measureLookup compares lookups with a map of finished answers, over a few
// records and over all of them.
func measureLookup(b *bench) error {
	s, err := b.serveBig()
	if err != nil {
		return err
	}
	head, err := s.get(b.ctx, "/latest")
	if err != nil {
		return err
	}
	mapped := b.usual()
	for _, c := range []struct {
		what  string
		every int64
		goal  float64
	}{
		{fmt.Sprintf("hot set of %d records; floor: map of their finished answers", hotRecords), max(1, b.records()/hotRecords), 0.75},
		{fmt.Sprintf("uniform over all records; floor: map of %d finished answers", mapped), 1, 0.6},
	} {
		// A map of more would be slower, and the log must not gain by that.
		in := min(b.records(), mapped*c.every)
		floor, err := b.floor(floorSpec{Records: in, Every: c.every, Head: head})
		if err != nil {
			return err
		}
		err = b.compareLoads("`/lookup`, "+c.what, s, floor,
			newLoad(smallConns, smallBuffer, lookups(b.records(), c.every)), newLoad(smallConns, smallBuffer, lookups(in, c.every)), c.goal)
		floor.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// lookups asks for every every-th of n records, evenly, and in every run of this
// program alike.
func lookups(n, every int64) func(uint64) string {
	return func(i uint64) string {
		r := rand.NewPCG(1, i)
		return lookupPath(int64(r.Uint64()%uint64(n/every)) * every)
	}
}

// anyOf chooses evenly, and in every run of this program alike.
func anyOf(paths []string) func(uint64) string {
	return func(i uint64) string {
		r := rand.NewPCG(1, i)
		return paths[r.Uint64()%uint64(len(paths))]
	}
}

func always(path string) func(uint64) string { return func(uint64) string { return path } }

// measureHeads compares the two notes with 300 bytes from memory.
func measureHeads(b *bench) error {
	s, err := b.serveBig()
	if err != nil {
		return err
	}
	floor, err := b.floor(floorSpec{Body: bytes.Repeat([]byte("x"), 300), Type: plainText})
	if err != nil {
		return err
	}
	defer floor.close()
	for _, path := range []string{"/checkpoint", "/latest"} {
		if err := b.compare("`"+path+"`; floor: 300 bytes from memory", s, floor, newLoad(smallConns, smallBuffer, always(path)), 0.8); err != nil {
			return err
		}
	}
	return nil
}

// hotTiles is how many full tiles are asked for again and again.
const hotTiles = 64

// measureTiles compares full hash tiles with 8 KiB from memory while all that
// are asked for fit into the server's cache, and with files when in turn so many
// are asked for that each has left the cache when it comes again.
func measureTiles(b *bench) error {
	s, err := b.serveBig()
	if err != nil {
		return err
	}
	dir, err := b.bigDir()
	if err != nil {
		return err
	}
	tiles := fullTiles(b.records())
	memory, err := b.floor(floorSpec{Body: bytes.Repeat([]byte("x"), 8<<10), Type: octets})
	if err != nil {
		return err
	}
	defer memory.close()
	hot := tiles[:min(hotTiles, len(tiles))]
	if err := b.compare("full tile, hot; floor: 8 KiB from memory", s, memory, newLoad(smallConns, smallBuffer, anyOf(hot)), 0.8); err != nil {
		return err
	}
	files, err := b.floor(floorSpec{Files: filepath.Join(dir, "log"), Type: octets})
	if err != nil {
		return err
	}
	defer files.close()
	inTurn := func(i uint64) string { return tiles[i%uint64(len(tiles))] }
	what := "full tile, cold; floor: ServeContent of files"
	if len(tiles) <= log.CachedTiles {
		what = "full tile, cold if there were more; floor: ServeContent of files"
	}
	b.table.note("Cold tiles are asked for in turn, %d of them, of which the server keeps %d in memory; the page cache has all", len(tiles), log.CachedTiles)
	return b.compare(what, s, files, newLoad(smallConns, smallBuffer, inTurn), 0.9)
}

// fullTiles returns the paths of the full hash tiles of level 0 in a log of n
// records.
func fullTiles(n int64) []string {
	paths := make([]string, 0, n/256)
	for i := range n / 256 {
		t := tlog.Tile{H: 8, L: 0, N: i, W: 256}
		// The C2SP layout has no height in its paths.
		paths = append(paths, "/tile/"+t.Path()[len("tile/8/"):])
	}
	return paths
}

// measureZips compares zips with the same files sent by ServeContent.
func measureZips(b *bench) error {
	dir, err := b.newDir("zips")
	if err != nil {
		return err
	}
	tree := filepath.Join(dir, "upstream")
	sizes := []struct {
		name  string
		bytes int
		conns int
		goal  float64
	}{
		{"100 KB", 100e3, largeConns, 0.9}, {"1 MB", 1e6, largeConns, 0.9}, {"10 MB", 10e6, largeConns, 0.9},
		{"40 MB", 40e6, 16, 0.95},
	}
	for i, z := range sizes {
		if err := makeModule(tree, zipModule(i), z.bytes); err != nil {
			return err
		}
	}
	data := filepath.Join(dir, "sumlog")
	s, err := b.serve(data, "-init", "-upstream", "file://"+tree, "-sumdb", "off", "-private", "")
	if err != nil {
		return err
	}
	defer s.close()
	floor, err := b.floor(floorSpec{Files: filepath.Join(data, "mirror"), Type: "application/zip"})
	if err != nil {
		return err
	}
	defer floor.close()
	for i, z := range sizes {
		path := "/" + zipModule(i) + "/@v/v1.0.0.zip"
		if _, err := s.get(b.ctx, path); err != nil { // admits it
			return err
		}
		if err := b.compare("zip of "+z.name+"; floor: ServeContent of files", s, floor, newLoad(z.conns, largeBuffer, always(path)), z.goal); err != nil {
			return err
		}
	}
	return nil
}

func zipModule(i int) string { return fmt.Sprintf("example.com/bench/zip%d", i) }

// makeModule puts version v1.0.0 of a module with a zip of about size bytes into
// a GOPROXY tree.
func makeModule(tree, path string, size int) error {
	dir := filepath.Join(tree, filepath.FromSlash(path), "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	mod := []byte("module " + path + "\n")
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(content) // cannot be compressed
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for name, data := range map[string][]byte{"go.mod": mod, "data.bin": content} {
		f, err := w.Create(path + "@v1.0.0/" + name)
		if err != nil {
			return err
		}
		if _, err := f.Write(data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	info := fmt.Appendf(nil, `{"Version":"v1.0.0","Time":%q}`, time.Unix(1_700_000_000, 0).UTC().Format(time.RFC3339))
	for ext, data := range map[string][]byte{"info": info, "mod": mod, "zip": buf.Bytes(), "list": []byte("v1.0.0\n")} {
		name := "v1.0.0." + ext
		if ext == "list" {
			name = ext
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
