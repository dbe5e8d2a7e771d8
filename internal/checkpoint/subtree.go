// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package checkpoint

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrProof says that a proof does not show what it is said to show.
var ErrProof = errors.New("proof does not verify")

// CheckRange reports with ErrMalformed why [r.Start, r.End) is no subtree of a
// tree of that size. By draft-ietf-plants-merkle-tree-certs-03, section 4.1, a
// subtree is not empty, and its start is a multiple of the least power of two
// that is not less than the number of its entries.
func (r SubtreeRequest) CheckRange(size int64) error {
	if r.Start < 0 || r.Start >= r.End {
		return malformed("subtree [%d, %d): empty", r.Start, r.End)
	}
	if r.End > size {
		return malformed("subtree [%d, %d): ends after the checkpoint's size %d", r.Start, r.End, size)
	}
	// At most 2^63, which an int64 does not hold.
	if ceil := uint64(1) << bits.Len64(uint64(r.End-r.Start-1)); uint64(r.Start)%ceil != 0 {
		return malformed("subtree [%d, %d): its start is not a multiple of %d", r.Start, r.End, ceil)
	}
	return nil
}

// CheckSubtree verifies that the entries [r.Start, r.End) of the tree of c have
// the hash r.Hash. It fails with ErrMalformed if that is no subtree of it, and
// with ErrProof if r.Proof does not show it.
//
// The proof is the subtree consistency proof of the same draft, section 4.4.1:
// from the last hash to the first it walks down from the root of c.
func CheckSubtree(r SubtreeRequest, c Checkpoint) error {
	if err := r.CheckRange(c.Size); err != nil {
		return err
	}
	w := subtreeWalk{SubtreeRequest: r}
	part, whole, ok := w.down(0, c.Size, r.Start, true)
	if !ok || len(w.Proof) > 0 || part != r.Hash || whole != c.Root {
		return fmt.Errorf("subtree [%d, %d) of %d: %w", r.Start, r.End, c.Size, ErrProof)
	}
	return nil
}

// A subtreeWalk is a request whose proof is used up from its end.
type subtreeWalk struct{ SubtreeRequest }

func (w *subtreeWalk) pop() (h tlog.Hash, ok bool) {
	last := len(w.Proof) - 1
	if last < 0 {
		return h, false
	}
	h, w.Proof = w.Proof[last], w.Proof[:last]
	return h, true
}

// down returns two hashes made of the same hashes of the proof: of those entries
// of the subtree, and of all entries, that are in [lo, hi). Those of the subtree
// begin at start. They are all of the subtree if whole is set: only then is their
// hash known already.
func (w *subtreeWalk) down(lo, hi, start int64, whole bool) (part, all tlog.Hash, ok bool) {
	if start == lo && w.End == hi {
		if whole {
			return w.Hash, w.Hash, true
		}
		h, ok := w.pop()
		return h, h, ok
	}
	side, ok := w.pop()
	if !ok {
		return part, all, false
	}
	// RFC 6962 splits before the largest power of two that is less than the size.
	mid := lo + 1<<(bits.Len64(uint64(hi-lo-1))-1)
	switch {
	case w.End <= mid:
		part, all, ok = w.down(lo, mid, start, whole)
		return part, tlog.NodeHash(all, side), ok
	case mid <= start:
		part, all, ok = w.down(mid, hi, start, whole)
		return part, tlog.NodeHash(side, all), ok
	}
	// The subtree has entries on both sides, so it begins at lo: the whole left
	// side is in it.
	part, all, ok = w.down(mid, hi, mid, false)
	return tlog.NodeHash(side, part), tlog.NodeHash(side, all), ok
}
