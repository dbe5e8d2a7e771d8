// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"

	"golang.org/x/mod/sumdb/tlog"
)

// A cache is a tlogclient.Cache that remembers what it was asked.
type cache struct {
	tiles map[tlog.Tile][]byte
	kept  int
}

func (c *cache) Read(t tlog.Tile) []byte { return c.tiles[t] }
func (c *cache) Keep(t tlog.Tile, data []byte) {
	c.kept++
	c.tiles[t] = slices.Clone(data)
}

func TestCache(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Grow("a", 700)
	kept := &cache{tiles: make(map[tlog.Tile][]byte)}
	extend := func(source tlogclient.Source, to tlogclient.Head) error {
		_, err := open(t, l, source, kept).Extend(t.Context(), l.Head(300), to)
		return err
	}
	if err := extend(l, l.Head(700)); err != nil {
		t.Fatal(err)
	}
	if kept.kept == 0 || len(l.Reads()) != kept.kept {
		t.Errorf("%d tiles kept", kept.kept)
	}
	if err := extend(l, l.Head(700)); err != nil {
		t.Fatal(err)
	}
	if reads := l.Reads(); len(reads) != 0 {
		t.Errorf("read again: %q", reads)
	}

	for _, data := range kept.tiles {
		data[17] ^= 1
	}
	if err := extend(l, l.Head(700)); err != nil {
		t.Errorf("with damaged cache: %v", err)
	}
	for tile := range kept.tiles {
		kept.tiles[tile] = []byte("short")
	}
	if err := extend(l, l.Head(700)); err != nil {
		t.Errorf("with cut cache: %v", err)
	}

	// The tiles of one history must not keep a fork from being proven.
	evil := l.Fork(200)
	evil.Grow("b", 701)
	if err := extend(l, l.Head(700)); err != nil {
		t.Fatal(err)
	}
	err := extend(evil, evil.Head(701))
	if _, ok := errors.AsType[*tlogclient.ForkError](err); !ok {
		t.Errorf("fork beside a cache: error %v", err)
	}
	kept.kept = 0
	l.Fault(func(path string, data []byte) ([]byte, error) { data[0] ^= 1; return data, nil })
	kept.tiles = make(map[tlog.Tile][]byte)
	if err := extend(l, l.Head(700)); !errors.Is(err, tlogclient.ErrUnproven) || kept.kept != 0 {
		t.Errorf("%d unproven tiles kept, error %v", kept.kept, err)
	}
}

// TestParallel checks that a reading waits for all its requests, and has no more
// under way than allowed.
func TestParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := tlogtest.New(t, "log.example", tlogclient.Tiles)
		l.Grow("a", 256*40)
		src := &slowSource{Log: l, started: make(chan string), release: make(chan struct{})}
		c := open(t, l, src, nil)
		var indexes []int64
		for i := range int64(40) {
			indexes = append(indexes, tlog.StoredHashIndex(0, i*256+1))
		}
		done := make(chan error)
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			_, err := c.Hashes(ctx, l.Tree(256*40)).ReadHashes(indexes)
			done <- err
		}()
		for range 8 {
			<-src.started
		}
		synctest.Wait()
		select {
		case path := <-src.started:
			t.Errorf("a ninth request, of %s, at once", path)
		default:
		}
		stop := errors.New("enough")
		cancel(stop)
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

type slowSource struct {
	*tlogtest.Log
	started chan string
	release chan struct{}
}

func (s *slowSource) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	select {
	case s.started <- path:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-s.release:
		return s.Log.Read(ctx, path, limit)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
