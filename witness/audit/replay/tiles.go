// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/report"
)

// A mismatch is a tile that is not what the entries make, if they are right.
type mismatch struct {
	path  string    // as it was published, below the site
	tile  tlog.Tile // the same
	older bool
	at    int // the first hash that is wrong
	data  []byte
}

// fullTile is called with each full tile above level 0.
func (r *run) fullTile(t tlog.Tile, hashes []tlog.Hash) {
	whole := r.whole[t.L]
	if t.L < maxLevel {
		r.whole[t.L+1] = r.whole[t.L+1] && whole
	}
	r.whole[t.L] = true
	if !r.Compare && (r.Cache == nil || !whole) {
		return
	}
	hashes = append([]tlog.Hash(nil), hashes...)
	if r.Cache != nil && whole {
		r.keep(t, hashes)
	}
	r.later(t, hashes, false)
}

// later compares a tile while the replay goes on.
func (r *run) later(t tlog.Tile, hashes []tlog.Hash, older bool) {
	if r.Compare {
		r.tiles.Go(func() error { return r.compare(r.tilesC, t, hashes, older) })
	}
}

// partialsBelow compares the partial tiles of sizes that lie within the bundle that
// is joined next.
func (r *run) partialsBelow(end int64, leaves []tlog.Hash) {
	for len(r.partial) > 0 && r.partial[0] < end {
		r.partials(r.partial[0], leaves)
		r.partial = r.partial[1:]
	}
}

// edgeTiles compares the partial tiles of the tree, and of the sizes within its
// last bundle.
func (r *run) edgeTiles() {
	for _, size := range r.partial {
		r.partials(size, r.last)
	}
	r.partial = nil
}

// partials compares the partial tiles of a size within the bundle that is joined
// next. The tiles of higher levels are those of many sizes.
func (r *run) partials(size int64, leaves []tlog.Hash) {
	for l := range maxLevel + 1 {
		hashes := r.tree.edges[l]
		if l == 0 {
			hashes = leaves[:size-r.tree.count*bundleWidth]
		}
		t := tlog.Tile{H: bundleHeight, L: l, N: size >> (bundleHeight * l) / bundleWidth, W: len(hashes)}
		if t.W == 0 || t == r.latest[l] {
			continue
		}
		r.latest[l] = t
		older := r.Tree.N>>(bundleHeight*l) != size>>(bundleHeight*l)
		r.later(t, append([]tlog.Hash(nil), hashes...), older)
	}
}

// compare compares a tile wherever it is published.
func (r *run) compare(ctx context.Context, t tlog.Tile, want []tlog.Hash, older bool) error {
	err := r.compareIn(ctx, Copy{r.Log, r.Place}, t, want, older)
	for _, c := range r.Copies {
		if err == nil {
			err = r.compareIn(ctx, c, t, want, older)
		}
	}
	return err
}

// compareIn reads a tile and compares it. A partial tile may be gone when there is a
// full one, which begins with the same hashes.
func (r *run) compareIn(ctx context.Context, c Copy, t tlog.Tile, want []tlog.Hash, older bool) error {
	published := t
	data, err := c.Log.RawTile(ctx, t)
	if errors.Is(err, fs.ErrNotExist) && t.W < bundleWidth {
		if older {
			r.mu.Lock()
			r.gone++
			r.mu.Unlock()
			return nil
		}
		published.W = bundleWidth
		data, err = c.Log.RawTile(ctx, published)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		r.checks.b2.Findf(report.Failed, "%s could not be read: %v", c.path(t), err)
		return nil
	}
	at := 0
	for at < len(want) && tlog.Hash(data[at*tlog.HashSize:]) == want[at] {
		at++
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if older {
		r.older++
	} else {
		r.compared++
	}
	if at < len(want) {
		m := mismatch{path: c.path(published), tile: published, older: older, at: at}
		if len(r.mismatches) < report.MaxFindings {
			m.data = data
		}
		r.mismatches = append(r.mismatches, m)
	}
	return nil
}

// reportTiles reports the tiles that are wrong, now that the entries are known to
// be right.
func (r *run) reportTiles(ctx context.Context) {
	if !r.Compare {
		return
	}
	r.checks.b2.Add(r.compared)
	r.checks.b4.Add(r.older)
	if r.gone > 0 {
		r.checks.b4.Skip("%d are no longer there, as they may", r.gone)
	}
	for _, m := range r.mismatches {
		check := r.checks.b2
		if m.older {
			check = r.checks.b4
		}
		index := (m.tile.N*bundleWidth + int64(m.at)) << (bundleHeight * m.tile.L)
		f := report.Finding{Result: report.Misbehaviour, Index: &index,
			Text: fmt.Sprintf("%s: hash %d is not that of the entries from %d on", m.path, m.at, index)}
		if m.data != nil {
			f = r.withEvidence(f, func() (*evidence.Evidence, error) { return r.observeTile(ctx, m, index) })
		}
		check.Find(f)
	}
}

// observeTile makes evidence of a tile that contradicts the entry at index, which
// is the first below the hash that is wrong.
func (r *run) observeTile(ctx context.Context, m mismatch, index int64) (*evidence.Evidence, error) {
	p, err := r.proven(ctx, index)
	if err != nil {
		return nil, err
	}
	return evidence.Observe(p, evidence.Answer{Service: evidence.Tile, URL: r.Address(m.path),
		Time: r.Now().UTC(), Status: 200, Body: m.data})
}

// path returns the path of a tile below the site.
func (c Copy) path(t tlog.Tile) string {
	path := t.Path()
	if c.Log.Layout() == tlogclient.Tiles {
		path = "tile/" + strings.TrimPrefix(path, "tile/8/")
	}
	return c.Place + path
}

// keep keeps a tile that was proven. It may be kept already.
func (r *run) keep(t tlog.Tile, hashes []tlog.Hash) {
	data := make([]byte, 0, len(hashes)*tlog.HashSize)
	for i := range hashes {
		data = append(data, hashes[i][:]...)
	}
	r.Cache.Keep(t, data)
}

// keepEdges keeps the partial tiles of a tree that was proven.
func (r *run) keepEdges(s *Snapshot) {
	if r.Cache == nil {
		return
	}
	for l, hashes := range s.Edges {
		if len(hashes) > 0 {
			r.keep(tlog.Tile{H: bundleHeight, L: l, N: s.Size >> (bundleHeight * l) / bundleWidth, W: len(hashes)}, hashes)
		}
	}
}
