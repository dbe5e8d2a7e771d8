// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/lanes"
)

const maxRelay = 25 * time.Second // below the 30 s that no request may exceed

// slowRelayed is how many slow places the relay has for each quick one.
const slowRelayed = 4

// relayLanes returns what bounds the requests to the database that clients of the
// relay cause at a time, so that they leave connections to admission, and one of them
// to others: of a module that is new to it, the database answers when it has fetched it.
func relayLanes(quick int) *lanes.Lanes {
	return lanes.New(lanes.Config{
		Quick: quick, Slow: slowRelayed * quick, Queue: 512, Patience: 300 * time.Millisecond, Wait: maxRelay,
	})
}

// tooMany is what clients of the relay are told who got no place, or lost it.
const tooMany = "too many requests to the public checksum database, try again in a moment"

// relayed is the key of contexts of the relay's requests.
type relayed struct{}

// relayedGet is get in a place of the relay's lanes, unless file is being fetched
// already. Only who has a place fetches, so that nobody who joins, admission least,
// waits in the queue of another.
func (d *Database) relayedGet(ctx context.Context, file string, get func(context.Context) ([]byte, error)) ([]byte, error) {
	if joined, data, err := d.flights.join(ctx, file); joined {
		return data, err
	}
	_, rest, _ := strings.Cut(file, "/")
	host, _, _ := strings.Cut(rest, "/")
	var data []byte
	err := d.relayed.New(lanes.Work{Client: lanes.ClientOf(ctx), Host: host, Subject: file}).Do(ctx, func(ctx context.Context) (err error) {
		data, err = get(ctx)
		return err
	})
	if err == lanes.ErrFull || err == lanes.ErrGivenUp {
		return nil, &Error{URL: file, Status: http.StatusServiceUnavailable, RetryAfter: time.Second, Text: tooMany, Err: err}
	}
	return data, err
}

// Latest returns the newest signed head of the database that is known. The
// database is asked at most once a minute.
func (d *Database) Latest(ctx context.Context) ([]byte, error) {
	if err := d.trusted(); err != nil {
		return nil, err
	}
	// The head is everybody's, and one at a time asks for it: it needs no place, and
	// that a client has none must not be remembered for all.
	ctx = context.WithValue(ctx, relayed{}, nil)
	head, err := d.newest.get(ctx, d.headLife, d.pause, func() ([]byte, error) {
		head, err := d.fetch(ctx, "latest", maxAnswer)
		if err != nil {
			return nil, err
		}
		return head, d.run(ctx, func(r *tileReader) error { return d.merge(r, head) })
	})
	if err != nil {
		return nil, err
	}
	if err := d.trusted(); err != nil {
		return nil, err
	}
	// A lookup may have brought a newer one. An empty tree is not kept.
	if newest, _ := d.latest(); len(newest) > 0 {
		return newest, nil
	}
	return head, nil
}

// Tile returns a hash tile, authenticated by the newest head. A tile that is
// not in the newest tree is [fs.ErrNotExist], and so are data tiles, which are
// not carried.
func (d *Database) Tile(ctx context.Context, t tlog.Tile) ([]byte, error) {
	absent := &fs.PathError{Op: "read", Path: t.Path(), Err: fs.ErrNotExist}
	if t.H != tileHeight || t.L < 0 || t.N < 0 || t.W < 1 || t.W > tileWidth {
		return nil, absent
	}
	if err := d.trusted(); err != nil {
		return nil, err
	}
	if _, tree := d.latest(); !inTree(t, tree.N) {
		if _, err := d.Latest(ctx); err != nil {
			return nil, err
		}
	}
	_, tree := d.latest()
	if !inTree(t, tree.N) {
		return nil, absent
	}
	var data []byte
	err := d.run(ctx, func(r *tileReader) (err error) {
		if data, err = tlog.ReadTileData(t, tlog.TileHashReader(tree, r)); err != nil {
			err = d.unproven(err)
		}
		return err
	})
	return data, err
}

// inTree reports whether a tree of n records has all hashes of t, whose H and
// W are in range. Nothing is multiplied that came from outside.
func inTree(t tlog.Tile, n int64) bool {
	if t.L >= 64/tileHeight {
		return false
	}
	hashes := n >> (tileHeight * t.L) // at t's level
	return int64(t.W) <= hashes && t.N <= (hashes-int64(t.W))>>tileHeight
}

// A Relay serves a database to go commands, below /sumdb/NAME, which must have
// been stripped: supported, latest, lookup/M@V and tile/8/…
type Relay struct {
	Database *Database

	// Router says which modules are private: those are not looked up
	// ([ErrPrivate]).
	Router *Router

	// Error answers a request that failed with err.
	Error func(w http.ResponseWriter, r *http.Request, err error)
}

// ServeHTTP implements [http.Handler].
func (h *Relay) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	// An answer may take many requests, each with a limit of its own.
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), relayed{}, true), maxRelay)
	defer cancel()
	data, kind, err := h.read(ctx, strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil {
		h.Error(w, r, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	switch kind {
	case "tile":
		// A tile of one width never changes.
		header.Set("Content-Type", "application/octet-stream")
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
		header.Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(data)))
	case "latest", "lookup":
		header.Set("Cache-Control", "public, max-age=60")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// read returns what is at path, and the path's first element.
func (h *Relay) read(ctx context.Context, path string) (data []byte, kind string, err error) {
	kind, rest, _ := strings.Cut(path, "/")
	switch {
	default:
		return nil, "", &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
	case path == "supported":
		return nil, kind, h.Database.trusted()
	case path == "latest":
		data, err = h.Database.Latest(ctx)
	case kind == "lookup":
		var m module.Version
		if m, err = h.parseLookup(rest); err == nil {
			data, err = h.Database.Lookup(ctx, m)
		}
	case kind == "tile":
		t, perr := tlog.ParseTilePath(path)
		if perr != nil {
			return nil, "", &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
		}
		data, err = h.Database.Tile(ctx, t)
	}
	return data, kind, err
}

// parseLookup parses what follows lookup/ and decides whether it may be asked.
func (h *Relay) parseLookup(s string) (module.Version, error) {
	p, v, _ := strings.Cut(s, "@")
	p, err := module.UnescapePath(p)
	if err != nil {
		return module.Version{}, fmt.Errorf("%w: %v", ErrNotModule, err)
	}
	if v, err = module.UnescapeVersion(v); err != nil {
		return module.Version{}, fmt.Errorf("%w: %v", ErrNotModule, err)
	}
	c, private, err := h.Router.For(p)
	if err == nil && private {
		err = noted(ErrPrivate, c.note)
	}
	return module.Version{Path: p, Version: v}, err
}
