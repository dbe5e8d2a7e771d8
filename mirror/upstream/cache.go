// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"path"
	"sync"
	"time"

	"example.org/sumlog/internal/durable"

	"golang.org/x/mod/sumdb/tlog"
)

// hotTiles is the number of tiles of one generation in memory; there are two,
// so at most 4 MiB.
const hotTiles = 256

// A tileCache keeps authenticated tiles: full ones in files, for ever, and
// those lately used in memory. Partial tiles are only in memory: each head has
// its own, and a head is soon succeeded.
type tileCache struct {
	root   *os.Root
	dir    string
	logger *slog.Logger

	mu         sync.Mutex
	young, old map[tlog.Tile][]byte
}

func newTileCache(root *os.Root, dir string, logger *slog.Logger) *tileCache {
	return &tileCache{root: root, dir: dir, logger: logger, young: make(map[tlog.Tile][]byte)}
}

func (c *tileCache) file(t tlog.Tile) string { return path.Join(c.dir, t.Path()) }

// read returns t if it is there and has the right size. What is read may still
// be damaged; the caller checks it against its parent.
func (c *tileCache) read(t tlog.Tile) ([]byte, bool) {
	c.mu.Lock()
	data, ok := c.young[t]
	if !ok {
		data, ok = c.old[t]
	}
	c.mu.Unlock()
	if !ok {
		if t.W != tileWidth {
			return nil, false
		}
		var err error
		data, err = c.root.ReadFile(c.file(t))
		if err != nil || len(data) != tileWidth*tlog.HashSize {
			return nil, false // torn by a crash: as good as missing
		}
	}
	c.keep(t, data)
	return data, true
}

// keep puts t into the young generation, which becomes the old one when full.
func (c *tileCache) keep(t tlog.Tile, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.young[t]; !ok && len(c.young) >= hotTiles {
		c.young, c.old = make(map[tlog.Tile][]byte), c.young
	}
	c.young[t] = data
}

// write keeps an authenticated tile. A failure costs a request later.
func (c *tileCache) write(t tlog.Tile, data []byte) {
	c.keep(t, bytes.Clone(data)) // data may be the head of something larger
	if t.W != tileWidth {
		return
	}
	if err := c.writeFile(c.file(t), data); err != nil {
		c.logger.Warn("cannot keep tile of the public checksum database", "tile", t.Path(), "err", err)
	}
}

// writeFile makes the file whole or not at all for other readers, but does not
// sync it: a lookup would wait for a dozen syncs to save a dozen requests after
// a power loss. Temporary files are all in dir, where the next start sweeps.
func (c *tileCache) writeFile(name string, data []byte) error {
	temp := path.Join(c.dir, durable.TempPrefix+rand.Text())
	if err := c.root.WriteFile(temp, data, 0o644); err != nil {
		c.root.Remove(temp)
		return err
	}
	err := c.root.MkdirAll(path.Dir(name), 0o755)
	if err == nil {
		err = c.root.Rename(temp, name)
	}
	if err != nil {
		c.root.Remove(temp)
	}
	return err
}

// remove forgets t.
func (c *tileCache) remove(t tlog.Tile) {
	c.mu.Lock()
	delete(c.young, t)
	delete(c.old, t)
	c.mu.Unlock()
	if t.W == tileWidth {
		c.root.Remove(c.file(t))
	}
}

// flights lets those who want the same thing at the same time share one
// request for it.
type flights struct {
	mu sync.Mutex
	m  map[string]*flight
}

type flight struct {
	done      chan struct{} // closed when the rest is set
	data      []byte
	err       error
	abandoned bool // err is that its owner did not want it any more
}

// join returns what the one brings who fetches key, if there is one. Otherwise, and
// when that one is called off, it was not joined.
func (f *flights) join(ctx context.Context, key string) (joined bool, data []byte, err error) {
	f.mu.Lock()
	other := f.m[key]
	f.mu.Unlock()
	if other == nil {
		return false, nil, nil
	}
	select {
	case <-other.done:
		return !other.abandoned, other.data, other.err
	case <-ctx.Done():
		return true, nil, &Error{URL: key, Err: ctx.Err()}
	}
}

// begin returns a new flight, or nil if there is one of that key.
func (f *flights) begin(key string) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m[key] != nil {
		return nil
	}
	if f.m == nil {
		f.m = make(map[string]*flight)
	}
	f.m[key] = &flight{done: make(chan struct{}), abandoned: true}
	return f.m[key]
}

func (f *flights) end(key string, mine *flight) {
	f.mu.Lock()
	delete(f.m, key)
	f.mu.Unlock()
	close(mine.done)
}

// do returns what fetch returns, called by it or by another do with the same
// key. fetch must end when ctx does, and begin at once: others wait for it. Who
// waits takes over when the one who fetches is called off.
func (f *flights) do(ctx context.Context, key string, fetch func() ([]byte, error)) ([]byte, error) {
	for {
		if joined, data, err := f.join(ctx, key); joined {
			return data, err
		}
		mine := f.begin(key)
		if mine == nil {
			continue
		}
		defer f.end(key, mine)
		mine.data, mine.err = fetch()
		mine.abandoned = mine.err != nil && ctx.Err() != nil
		return mine.data, mine.err
	}
}

// A slot holds something that is learnt from outside now and then.
type slot[T any] struct {
	once  sync.Once
	sem   chan struct{} // held by who learns
	known bool
	at    time.Time
	value T
	err   error
}

func (s *slot[T]) init() { s.once.Do(func() { s.sem = make(chan struct{}, 1) }) }

// set makes v known for ever. It must precede get.
func (s *slot[T]) set(v T) { s.value, s.known, s.at = v, true, time.Now() }

// get returns what learn returned, at most life ago (0: ever) if it went well
// and pause ago if not, or else what it returns now. An end of ctx is not
// remembered.
func (s *slot[T]) get(ctx context.Context, life, pause time.Duration, learn func() (T, error)) (T, error) {
	s.init()
	select {
	case s.sem <- struct{}{}:
	case <-ctx.Done():
		var zero T
		return zero, &Error{URL: "public checksum database", Err: ctx.Err()}
	}
	defer func() { <-s.sem }()
	if s.known {
		age := time.Since(s.at)
		if s.err == nil && (life == 0 || age < life) || s.err != nil && age < pause {
			return s.value, s.err
		}
	}
	value, err := learn()
	if err != nil && ctx.Err() != nil {
		return value, err
	}
	s.value, s.err, s.known, s.at = value, err, true, time.Now()
	return value, err
}
