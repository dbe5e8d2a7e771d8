// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/report"
)

// item returns the bundle n.
func (r *run) item(n int64) item {
	return item{n: n, width: int(min(r.Tree.N-n*bundleWidth, bundleWidth))}
}

// readAgain reads a bundle once more, when the root is known to be right.
func (r *run) readAgain(ctx context.Context, w *worker, j *job) error {
	entries, err := r.Log.Bundle(ctx, j.n, j.width)
	if err != nil {
		return err
	}
	if err := w.hash(j, entries); err != nil {
		return err
	}
	j.entries = entries
	if j.width == bundleWidth {
		root, err := (&ownHashes{r, ctx, w}).node(1, j.n)
		if err == nil && j.root != root {
			err = errBundle(j.n)
		}
		return err
	}
	for i := range r.last {
		if j.leaves[i] != r.last[i] {
			return errBundle(j.n)
		}
	}
	return nil
}

// entry returns an entry.
func (r *run) entry(ctx context.Context, index int64) ([]byte, error) {
	j := &job{item: r.item(index / bundleWidth)}
	if err := r.readAgain(ctx, newWorker(), j); err != nil {
		return nil, err
	}
	return j.entries[index%bundleWidth], nil
}

// proven returns an entry with the proof that it is under the head.
func (r *run) proven(ctx context.Context, index int64) (evidence.Proven, error) {
	text, err := r.entry(ctx, index)
	if err != nil {
		return evidence.Proven{}, err
	}
	proof, err := tlog.ProveRecord(r.Tree.N, index, &ownHashes{r, ctx, newWorker()})
	if err != nil {
		return evidence.Proven{}, err
	}
	note, err := checkpoint.ParseNote(r.Head.Note)
	if err != nil {
		return evidence.Proven{}, err
	}
	return evidence.Proven{Key: r.Key, Note: note, Index: index, Record: text, Proof: proof}, nil
}

// withEvidence adds the evidence that accuse makes, where any is asked for, to a
// finding, or why there is none.
func (r *run) withEvidence(f report.Finding, accuse func() (*evidence.Evidence, error)) report.Finding {
	if r.Keep == nil || r.Key == nil || r.Address == nil || len(r.Head.Note) == 0 {
		return f
	}
	e, err := accuse()
	if err == nil {
		f.Evidence, err = r.Keep(e)
	}
	if err != nil {
		f.Text += fmt.Sprintf("; no evidence: %v", err)
	}
	return f
}

// An ownHashes reads the stored hashes of a tree that was replayed. It asks none
// of the log's tiles that are over what was replayed: they may be what a proof is
// to be made against. To entries of an earlier replay it comes down from the hashes
// of the snapshot.
type ownHashes struct {
	r   *run
	ctx context.Context
	w   *worker
}

// ReadHashes implements tlog.HashReader.
func (o *ownHashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		height, n := tlog.SplitStoredHashIndex(x)
		var err error
		if height < bundleHeight {
			hashes[i], err = o.within(height, n)
		} else {
			hashes[i], err = o.over(height/bundleHeight, n, height%bundleHeight)
		}
		if err != nil {
			return nil, err
		}
	}
	return hashes, nil
}

// within returns the hash of a subtree within a bundle.
func (o *ownHashes) within(height int, n int64) (tlog.Hash, error) {
	first := n << height
	j := &job{item: o.r.item(first / bundleWidth)}
	if err := o.r.readAgain(o.ctx, o.w, j); err != nil {
		return tlog.Hash{}, err
	}
	at := first % bundleWidth
	return o.perfect(j.leaves[at : at+1<<height]), nil
}

// over returns the hash of the n-th subtree over 1<<height nodes of a level.
func (o *ownHashes) over(level int, n int64, height int) (tlog.Hash, error) {
	nodes := make([]tlog.Hash, 1<<height)
	for i := range nodes {
		var err error
		if nodes[i], err = o.node(level, n<<height+int64(i)); err != nil {
			return tlog.Hash{}, err
		}
	}
	return o.perfect(nodes), nil
}

// node returns the n-th hash of a level of tiles above 0.
func (o *ownHashes) node(level int, n int64) (tlog.Hash, error) {
	r := o.r
	height := bundleHeight * (level - 1)
	first, end := n<<height-r.start, (n+1)<<height-r.start
	switch {
	case end > int64(len(r.bundles)):
		return tlog.Hash{}, fmt.Errorf("tree of size %d has no hash %d at level %d", r.Tree.N, n, level)
	case first >= 0:
		return o.perfect(r.bundles[first:end]), nil
	case end > 0: // partly of an earlier replay
		return o.over(level-1, n, bundleHeight)
	}
	last := r.first >> (bundleHeight * level)
	if edge := r.From.Edges[level]; n >= last-int64(len(edge)) {
		return edge[n-last+int64(len(edge))], nil
	}
	hashes, err := o.tile(level, n/bundleWidth)
	if err != nil {
		return tlog.Hash{}, err
	}
	return hashes[n%bundleWidth], nil
}

// tile reads a full tile, all of an earlier replay.
func (o *ownHashes) tile(level int, n int64) (*[bundleWidth]tlog.Hash, error) {
	t := tlog.Tile{H: bundleHeight, L: level, N: n, W: bundleWidth}
	data, err := o.r.Log.RawTile(o.ctx, t)
	if err != nil {
		return nil, err
	}
	var hashes [bundleWidth]tlog.Hash
	for i := range hashes {
		hashes[i] = tlog.Hash(data[i*tlog.HashSize:])
	}
	want, err := o.node(level+1, n)
	if err == nil && o.w.fullHash(&hashes) != want {
		err = fmt.Errorf("%w: %s", tlogclient.ErrUnproven, t.Path())
	}
	return &hashes, err
}

func (o *ownHashes) perfect(hashes []tlog.Hash) tlog.Hash {
	var p peaks
	var skip passed
	for _, x := range hashes {
		p.push(o.w.hasher, x, 0, &skip)
	}
	return p.root(o.w.hasher)
}
