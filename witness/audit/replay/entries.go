// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/tlogclient"
)

// A prover knows what bundles of a tree hash to, from the log's tiles and proven by
// the root.
type prover struct {
	log    *tlogclient.Log
	tree   tlog.Tree
	hashes tlog.HashReader

	mu   sync.Mutex
	runs map[int64]*bundleRun
}

// A bundleRun has the hashes of 256 bundles, which are one tile.
type bundleRun struct {
	once   sync.Once
	hashes []tlog.Hash
	err    error
}

func newProver(ctx context.Context, l *tlogclient.Log, tree tlog.Tree) *prover {
	return &prover{log: l, tree: tree, hashes: l.Hashes(ctx, tree), runs: make(map[int64]*bundleRun)}
}

// bundle returns the hash of full bundle n.
func (p *prover) bundle(n int64) (tlog.Hash, error) {
	p.mu.Lock()
	b := p.runs[n/bundleWidth]
	if b == nil {
		b = new(bundleRun)
		p.runs[n/bundleWidth] = b
	}
	p.mu.Unlock()
	b.once.Do(func() {
		first := n / bundleWidth * bundleWidth
		b.hashes, b.err = p.read(bundleHeight, first, min(p.tree.N/bundleWidth-first, bundleWidth))
	})
	if b.err != nil {
		return tlog.Hash{}, b.err
	}
	return b.hashes[n%bundleWidth], nil
}

// leaves returns the hashes of the entries of bundle n.
func (p *prover) leaves(n int64, width int) ([]tlog.Hash, error) {
	return p.read(0, n*bundleWidth, int64(width))
}

func (p *prover) read(height int, first, count int64) ([]tlog.Hash, error) {
	indexes := make([]int64, count)
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(height, first+int64(i))
	}
	return p.hashes.ReadHashes(indexes)
}

// verify reports whether a bundle is that of the tree.
func (p *prover) verify(j *job) error {
	if j.width == bundleWidth {
		root, err := p.bundle(j.n)
		if err == nil && root != j.root {
			err = errBundle(j.n)
		}
		return err
	}
	leaves, err := p.leaves(j.n, j.width)
	if err != nil {
		return err
	}
	for i := range leaves {
		if leaves[i] != j.leaves[i] {
			return errBundle(j.n)
		}
	}
	return nil
}

func errBundle(n int64) error {
	return fmt.Errorf("%w: entries from %d on", tlogclient.ErrUnproven, n*bundleWidth)
}

// An Entry is an entry that is proven to be in a tree.
type Entry struct {
	Index int64
	Text  []byte
}

// entriesParallel bounds the requests of Entries under way.
const entriesParallel = 8

// Entries returns the entries from index from up to, not including, index to, each
// proven to be in tree. It ends with the first error, which wraps
// tlogclient.ErrUnproven if the log serves other entries than tree has.
func Entries(ctx context.Context, l *tlogclient.Log, tree tlog.Tree, from, to int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if from < 0 || to > tree.N || tree.N > tlogclient.MaxSize {
			yield(Entry{}, fmt.Errorf("no entries from %d to %d in a tree of size %d", from, to, tree.N))
			return
		}
		if from >= to {
			return
		}
		p := newProver(ctx, l, tree)
		items := func(yield func(item) bool) {
			for n := from / bundleWidth; n*bundleWidth < to; n++ {
				if !yield(item{n: n, width: int(min(tree.N-n*bundleWidth, bundleWidth))}) {
					return
				}
			}
		}
		err := pipe(ctx, int(min(entriesParallel, (to-1)/bundleWidth-from/bundleWidth+1)), items, p.entries, func(j *job) error {
			begin := j.n * bundleWidth
			for i := max(from, begin); i < min(to, begin+int64(j.width)); i++ {
				if !yield(Entry{i, j.entries[i-begin]}, nil) {
					return errStopped
				}
			}
			j.entries = nil
			return nil
		})
		if err != nil && err != errStopped {
			yield(Entry{}, err)
		}
	}
}

// entries reads and verifies a bundle.
func (p *prover) entries(ctx context.Context, w *worker, j *job) error {
	entries, err := p.log.Bundle(ctx, j.n, j.width)
	if err != nil {
		return err
	}
	if err := w.hash(j, entries); err != nil {
		return err
	}
	j.entries = entries
	return p.verify(j)
}
