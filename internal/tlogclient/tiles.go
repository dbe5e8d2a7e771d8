// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"
)

// ErrUnproven is wrapped by the error of a reading whose requests all went well,
// and whose tiles do not hash to the tree they were read for.
var ErrUnproven = errors.New("tiles do not hash to the head")

// maxParallel bounds the requests of one reading that are under way.
const maxParallel = 8

// Hashes returns a reader of the stored hashes of tree, which proves each before
// it returns it. It keeps the tiles it has read for as long as it lives, and is
// for one operation, within ctx. It may be used by several goroutines.
func (l *Log) Hashes(ctx context.Context, tree tlog.Tree) tlog.HashReader {
	return &hashReader{log: l, ctx: ctx, tree: tree, proven: make(map[tlog.Tile][]byte)}
}

type hashReader struct {
	log  *Log
	ctx  context.Context
	tree tlog.Tree

	mu     sync.Mutex
	proven map[tlog.Tile][]byte
}

// An elder is a cache that still has tiles that others of their name replaced.
type elder interface {
	readReplaced(t tlog.Tile) []byte
}

// ReadHashes implements tlog.HashReader. If nothing is proven with tiles of the
// cache, it reads once more without it: they may be damaged, or they are those
// of another history, which can only be told by reading the tiles of this one. Where
// these cannot be had, those that the cache had before may be they.
func (r *hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	if len(indexes) == 0 {
		return nil, nil
	}
	if r.tree.N > MaxSize {
		return nil, fmt.Errorf("tree of size %d, more than %d", r.tree.N, int64(MaxSize))
	}
	if x := slices.Min(indexes); x < 0 { // package tlog checks the other end
		return nil, fmt.Errorf("stored hash %d", x)
	}
	t := &tileReader{r: r, fresh: r.log.cache == nil}
	hashes, err := tlog.TileHashReader(r.tree, t).ReadHashes(indexes)
	if err != nil && t.err == nil && t.cached {
		t = &tileReader{r: r, fresh: true}
		hashes, err = tlog.TileHashReader(r.tree, t).ReadHashes(indexes)
		if old, ok := r.log.cache.(elder); ok && err != nil && r.ctx.Err() == nil {
			t := &tileReader{r: r, elder: old}
			if hashes, err := tlog.TileHashReader(r.tree, t).ReadHashes(indexes); err == nil {
				return hashes, nil
			}
		}
	}
	if err != nil && t.err == nil {
		err = fmt.Errorf("%w: %s at size %d: %v", ErrUnproven, r.log.source, r.tree.N, err)
	}
	return hashes, err
}

// A tileReader is the tlog.TileReader of one call.
type tileReader struct {
	r      *hashReader
	fresh  bool  // the cache is not read
	elder  elder // what it had before is read first
	cached bool  // the cache gave tiles
	err    error // what ReadTiles returned
}

// Height implements tlog.TileReader.
func (t *tileReader) Height() int { return tileHeight }

// ReadTiles implements tlog.TileReader.
func (t *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	g, ctx := errgroup.WithContext(t.r.ctx)
	g.SetLimit(maxParallel)
	for i, tile := range tiles {
		if data[i] = t.known(tile); data[i] != nil {
			continue
		}
		g.Go(func() (err error) {
			data[i], err = t.r.log.tile(ctx, tile)
			return err
		})
	}
	if t.err = g.Wait(); t.err != nil {
		return nil, t.err
	}
	return data, nil
}

// known returns the tile as it was proven before, or as the cache has it, cut
// from the full tile if need be; or nil.
func (t *tileReader) known(tile tlog.Tile) []byte {
	t.r.mu.Lock()
	data := t.r.proven[tile]
	t.r.mu.Unlock()
	if data != nil || t.fresh {
		return data
	}
	reads := []func(tlog.Tile) []byte{t.r.log.cache.Read}
	if t.elder != nil {
		reads = []func(tlog.Tile) []byte{t.elder.readReplaced, t.r.log.cache.Read}
	}
	for _, w := range []int{tile.W, tileWidth} {
		wide := tile
		wide.W = w
		for _, read := range reads {
			if data := read(wide); len(data) == w*tlog.HashSize {
				t.cached = true
				return data[:tile.W*tlog.HashSize]
			}
		}
	}
	return nil
}

// SaveTiles implements tlog.TileReader. It is called for tiles that hash to the
// tree.
func (t *tileReader) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	for i, tile := range tiles {
		t.r.mu.Lock()
		known := t.r.proven[tile] != nil
		t.r.proven[tile] = data[i]
		t.r.mu.Unlock()
		if !known && t.r.log.cache != nil {
			t.r.log.cache.Keep(tile, data[i])
		}
	}
}

// tile reads a tile, from the full tile if the partial one is gone.
func (l *Log) tile(ctx context.Context, t tlog.Tile) ([]byte, error) {
	data, err := l.exactTile(ctx, t)
	if err != nil && t.W < tileWidth && Refused(err) {
		full := t
		full.W = tileWidth
		var err2 error
		if data, err2 = l.exactTile(ctx, full); err2 == nil {
			return data[:t.W*tlog.HashSize], nil
		}
		if !Refused(err2) {
			err = err2
		}
	}
	if err != nil && Refused(err) {
		// A signed head promises it. The log is not absent for that: this
		// must not be taken for its saying so.
		err = fmt.Errorf("tile is missing: %v", err)
	}
	return data, err
}

func (l *Log) exactTile(ctx context.Context, t tlog.Tile) ([]byte, error) {
	path := l.layout.tile(t)
	size := t.W * tlog.HashSize
	data, err := l.source.Read(ctx, path, int64(size))
	if err != nil {
		return nil, err
	}
	if len(data) != size {
		return nil, fmt.Errorf("%s/%s: %d bytes, want %d", l.source, path, len(data), size)
	}
	return data, nil
}
