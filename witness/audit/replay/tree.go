// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay

import (
	"crypto/sha256"

	"golang.org/x/mod/sumdb/tlog"
)

// bundleHeight is the height of the subtree over a full bundle, and bundleWidth
// the number of its entries; of a full tile too.
const (
	bundleHeight = 8
	bundleWidth  = 1 << bundleHeight
)

// maxLevel is the highest level of tiles of a tree that tlogclient reads.
const maxLevel = 6

// A peak is the hash of a perfect subtree.
type peak struct {
	height int
	hash   tlog.Hash
}

// A peaks is the list of the largest perfect subtrees of a tree, from left to
// right: what is needed of a tree to make it grow.
type peaks []peak

// A passed has the hashes of the perfect subtrees of heights 0, 8, 16, … that end
// where the last one was pushed, as far as there are such.
type passed [maxLevel + 2]tlog.Hash

// push appends a perfect subtree. The size of the tree must be a multiple of the
// subtree's.
func (p *peaks) push(h *hasher, x tlog.Hash, height int, passed *passed) {
	s := *p
	for {
		if height%bundleHeight == 0 {
			passed[height/bundleHeight] = x
		}
		if len(s) == 0 || s[len(s)-1].height > height {
			break
		}
		x = h.nodeHash(&s[len(s)-1].hash, &x)
		s = s[:len(s)-1]
		height++
	}
	*p = append(s, peak{height, x})
}

// root returns the root.
func (p peaks) root(h *hasher) tlog.Hash {
	if len(p) == 0 {
		return sha256.Sum256(nil)
	}
	x := p[len(p)-1].hash
	for i := len(p) - 2; i >= 0; i-- {
		x = h.nodeHash(&p[i].hash, &x)
	}
	return x
}

// A tree is one that grows bundle by bundle.
type tree struct {
	*hasher
	count int64                                 // of full bundles
	peaks peaks                                 // of the full bundles
	last  passed                                // of the bundle that was pushed last
	edges [maxLevel + 1][]tlog.Hash             // of the partial tiles above level 0
	full  func(t tlog.Tile, hashes []tlog.Hash) // is called with each full tile above level 0
}

func newTree(full func(tlog.Tile, []tlog.Hash)) *tree {
	t := &tree{hasher: newHasher(), full: full}
	for l := 1; l <= maxLevel; l++ {
		t.edges[l] = make([]tlog.Hash, 0, bundleWidth)
	}
	return t
}

// restore makes t the tree of a snapshot without its last bundle, if that is a
// partial one: its entries are read again.
func (t *tree) restore(s *Snapshot) {
	t.count = s.Size / bundleWidth
	for l := maxLevel; l > 0; l-- {
		for _, x := range s.Edges[l] {
			t.edges[l] = append(t.edges[l], x)
			t.peaks.push(t.hasher, x, l*bundleHeight, &t.last)
		}
	}
}

// push appends a full bundle.
func (t *tree) push(root tlog.Hash) {
	t.peaks.push(t.hasher, root, bundleHeight, &t.last)
	t.count++
	for l := 1; l <= maxLevel; l++ {
		t.edges[l] = append(t.edges[l], t.last[l])
		if len(t.edges[l]) < bundleWidth {
			return
		}
		t.full(tlog.Tile{H: bundleHeight, L: l, N: t.count>>(bundleHeight*l) - 1, W: bundleWidth}, t.edges[l])
		t.edges[l] = t.edges[l][:0]
	}
}

// rootWith returns the root when leaves, fewer than a bundle has, follow.
func (t *tree) rootWith(leaves []tlog.Hash) (root tlog.Hash) {
	size := t.count*bundleWidth + int64(len(leaves))
	t.roots([]int64{size}, leaves, func(_ int64, x tlog.Hash) { root = x })
	return root
}

// roots calls yield with the root at each of the sizes, which are sorted and lie
// within the bundle that follows, of which leaves are the leaf hashes.
func (t *tree) roots(sizes []int64, leaves []tlog.Hash, yield func(size int64, root tlog.Hash)) {
	p := append(make(peaks, 0, 64), t.peaks...)
	var skip passed
	n := 0
	for _, size := range sizes {
		for ; n < int(size-t.count*bundleWidth); n++ {
			p.push(t.hasher, leaves[n], 0, &skip)
		}
		yield(size, p.root(t.hasher))
	}
}
