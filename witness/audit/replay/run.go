// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"example.org/sumlog/internal/record"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/report"
)

// A run is a replay under way. What workers write to is guarded by mu or their
// own; the rest belongs to the goroutine of Run.
type run struct {
	Config
	checks checks
	first  int64    // the first entry that no earlier replay has seen
	future [14]byte // the time of no pseudo-version that was made yet

	tree    *tree
	last    []tlog.Hash // the leaves of a partial last bundle
	bundles []tlog.Hash // roots of the full bundles, from bundle start on
	start   int64       // the first bundle that is read
	changed bool        // an entry below first is not what it was
	roots   map[int64]tlog.Hash
	sizes   []int64                 // of roots, that are still to come
	partial []int64                 // of partial tiles, that are still to come
	latest  [maxLevel + 1]tlog.Tile // the partial tile of a level compared last
	prover  *prover
	whole   [maxLevel + 1]bool // all of the level's tile so far is proven
	names   names
	bad     map[record.Rule]*badList // by rule
	tiles   *errgroup.Group          // comparisons of tiles above level 0
	tilesC  context.Context

	mu         sync.Mutex
	mismatches []mismatch
	compared   int64 // tiles
	older      int64 // partial tiles of earlier sizes
	gone       int64 // of those, no longer there
}

// checks are the lines of the report.
type checks struct {
	b1, b2, b4, c1, c2, c3, c4, c6 *report.Check
}

func newRun(c Config) (*run, error) {
	switch {
	case c.Log == nil:
		return nil, fmt.Errorf("%w: no log", ErrConfig)
	case c.Tree.N < 0 || c.Tree.N > tlogclient.MaxSize:
		return nil, fmt.Errorf("%w: size %d", ErrConfig, c.Tree.N)
	case c.From != nil && c.Names == nil && !c.RootOnly:
		return nil, fmt.Errorf("%w: names of the records below %d are missing", ErrConfig, c.From.Size)
	}
	if c.Parallel < 1 {
		c.Parallel = 8
	}
	if c.Report == nil {
		c.Report = new(report.Report)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	r := &run{Config: c, roots: make(map[int64]tlog.Hash), bad: make(map[record.Rule]*badList)}
	r.tree = newTree(r.fullTile)
	for l := range r.whole {
		r.whole[l] = true
	}
	if c.From != nil {
		if err := c.From.Check(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		if c.From.Size > c.Tree.N {
			return nil, fmt.Errorf("%w: snapshot of size %d, beyond %d", ErrConfig, c.From.Size, c.Tree.N)
		}
		r.tree.restore(c.From)
		r.first, r.start, r.last = c.From.Size, c.From.Size/bundleWidth, c.From.Edges[0]
	}
	c.Now().Add(clockSkew).UTC().AppendFormat(r.future[:0], "20060102150405")
	r.sizes = r.within(c.Sizes)
	if c.Compare {
		r.partial = r.within(append(slices.Clone(c.PartialSizes), c.Tree.N))
	}
	r.addChecks()
	if c.Names != nil && !c.RootOnly {
		all, err := c.Names.Load(r.first)
		if err == nil && int64(len(all)) != r.first {
			err = fmt.Errorf("%d of them, of %d records", len(all), r.first)
		}
		if err != nil {
			return nil, fmt.Errorf("names of records: %w", err)
		}
		r.names.set(all)
	}
	return r, nil
}

// within returns the sizes that this replay comes by, sorted.
func (r *run) within(sizes []int64) []int64 {
	sizes = slices.DeleteFunc(slices.Clone(sizes), func(n int64) bool { return n < r.first || n > r.Tree.N })
	slices.Sort(sizes)
	return slices.Compact(sizes)
}

func (r *run) addChecks() {
	check, c := r.Report.Check, &r.checks
	c.b1 = check("B1", "the entries hash to the signed root", "entries")
	c.b2 = check("B2", "published tiles are those that the entries make", "tiles")
	c.b4 = check("B4", "earlier partial tiles are those that the entries make", "tiles")
	if !r.Compare {
		c.b2.Skip("not asked for")
		c.b4.Skip("not asked for")
	}
	c.c1 = check("C1", "records have the exact form", "records")
	c.c2 = check("C2", "module paths and versions are valid", "records")
	c.c3 = check("C3", "hashes are well-formed", "records")
	c.c4 = check("C4", "one record for a version", "records")
	c.c6 = check("C6", "pseudo-versions have a time that has been", "records")
	check("C5", "names that differ in case only", "records").
		Skip("the escaped forms of such names differ, and logs have many of them")
	check("C7", "one zip hash under two names", "records").
		Skip("the hash of a zip covers the name: D1 finds a record that cannot be right")
	check("C8", "one zip hash with two go.mod hashes", "records").
		Skip("the hash of a zip covers its go.mod: D2 and D3 find a record that cannot be right")
	if r.RootOnly {
		for _, k := range []*report.Check{c.c1, c.c2, c.c3, c.c4, c.c6} {
			k.Skip("not asked for")
		}
	}
}

// replay reads all bundles.
func (r *run) replay(ctx context.Context) error {
	r.prover = newProver(ctx, r.Log, r.Tree)
	r.tiles, r.tilesC = errgroup.WithContext(ctx)
	r.tiles.SetLimit(r.Parallel)
	err := pipe(ctx, r.Parallel, r.toRead(), r.work, r.join)
	if err == nil {
		r.edgeTiles()
	}
	if terr := r.tiles.Wait(); err == nil {
		err = terr
	}
	return err
}

// toRead returns the bundles to read.
func (r *run) toRead() iter.Seq[item] {
	return func(yield func(item) bool) {
		if r.first == r.Tree.N {
			return
		}
		for n := r.start; n*bundleWidth < r.Tree.N; n++ {
			it := item{n: n, width: int(min(r.Tree.N-n*bundleWidth, bundleWidth))}
			if !r.RootOnly {
				it.names = r.names.bundle(n, it.width)
			}
			if !yield(it) {
				return
			}
		}
	}
}

// work does with a bundle what can be done in any order.
func (r *run) work(ctx context.Context, w *worker, j *job) error {
	entries, err := r.Log.BundleInto(ctx, &w.buf, j.n, j.width)
	if err != nil {
		return err
	}
	if err := w.hash(j, entries); err != nil {
		return err
	}
	if !r.RootOnly {
		r.records(w.hasher, j, entries)
	}
	if j.width < bundleWidth {
		return nil
	}
	tile := tlog.Tile{H: bundleHeight, L: 0, N: j.n, W: bundleWidth}
	if r.Compare {
		if err := r.compare(ctx, tile, j.leaves[:], false); err != nil {
			return err
		}
	}
	if r.Cache != nil {
		// Should the log's tiles not prove it, it is not kept, and that is all:
		// the root decides in the end.
		if root, err := r.prover.bundle(j.n); err == nil && root == j.root {
			j.proven = true
			r.keep(tile, j.leaves[:])
		}
	}
	return nil
}

// hash computes the leaves and root of a bundle.
func (h *hasher) hash(j *job, entries [][]byte) error {
	if len(entries) != j.width {
		return fmt.Errorf("bundle %d: %d entries, want %d", j.n, len(entries), j.width)
	}
	for i, e := range entries {
		if len(e) > record.MaxSize {
			return fmt.Errorf("bundle %d: entry of %d bytes", j.n, len(e))
		}
		j.leaves[i] = h.leafHash(e)
	}
	if j.width == bundleWidth {
		j.root = h.fullHash(&j.leaves)
	}
	return nil
}

// join adds a bundle to the tree, in order.
func (r *run) join(j *job) error {
	begin := j.n * bundleWidth
	if begin < r.first && !slices.Equal(r.From.Edges[0], j.leaves[:min(int(r.first-begin), j.width)]) {
		r.changed = true
	}
	end := begin + int64(j.width)
	r.rootsUpTo(end, j.leaves[:j.width])
	if j.width < bundleWidth {
		r.last = slices.Clone(j.leaves[:j.width])
	} else {
		r.partialsBelow(end, j.leaves[:])
		r.whole[1] = r.whole[1] && j.proven
		r.bundles = append(r.bundles, j.root)
		r.tree.push(j.root)
		r.last = nil
	}
	r.addBad(j.bad)
	if r.Progress != nil {
		r.Progress(end, r.Tree.N)
	}
	return nil
}

// rootsUpTo computes the roots asked for in the bundle that is joined next.
func (r *run) rootsUpTo(end int64, leaves []tlog.Hash) {
	i := 0
	for i < len(r.sizes) && r.sizes[i] <= end {
		i++
	}
	if i > 0 {
		r.tree.roots(r.sizes[:i], leaves, func(n int64, x tlog.Hash) { r.roots[n] = x })
		r.sizes = r.sizes[i:]
	}
}

// conclude reports what was found in a log whose root is right, and keeps what the
// next replay goes on from.
func (r *run) conclude(ctx context.Context) (*Result, error) {
	r.checks.b1.Add(r.Tree.N - r.first)
	for _, n := range r.sizes { // of a tree that did not grow
		r.tree.roots([]int64{n}, r.last, func(n int64, x tlog.Hash) { r.roots[n] = x })
	}
	s := r.tree.snapshot(r.last)
	r.keepEdges(s)
	r.reportTiles(ctx)
	if !r.RootOnly {
		if err := r.reportRecords(ctx, s); err != nil {
			return nil, err
		}
	}
	if r.Names != nil && !r.RootOnly {
		if err := r.names.appendTo(r.Names, r.first); err != nil {
			return nil, fmt.Errorf("names of records: %w", err)
		}
	}
	return &Result{Sound: true, Roots: r.roots, Snapshot: s, Bad: s.Bad, Repeated: s.Repeated}, nil
}
