// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"sync"

	"golang.org/x/mod/sumdb/tlog"
)

// A tree is a log of endless length whose entries follow from their indexes: one
// of two, by the number of ones in the index. So each perfect subtree is one of
// two of its height, and, unlike in a log of equal entries, the two halves of
// each differ: a witness that mixes up left and right is seen. A forked tree
// differs from the others from one entry on.
//
// Every hash costs at most one step a level.
type tree struct {
	forked bool
	at     int64 // the entry that is another one
	entry  tlog.Hash
}

// fork returns the tree whose entry at is not t's; each n gives another one.
func (t tree) fork(at int64, n int) tree {
	data := binary.BigEndian.AppendUint64([]byte("sumlog conformance fork "), uint64(n))
	return tree{true, at, tlog.RecordHash(binary.BigEndian.AppendUint64(data, uint64(at)))}
}

// perfect holds the two perfect trees of each height.
var perfect = sync.OnceValue(func() (p [63][2]tlog.Hash) {
	p[0] = [2]tlog.Hash{
		tlog.RecordHash([]byte("sumlog conformance 0\n")),
		tlog.RecordHash([]byte("sumlog conformance 1\n")),
	}
	for i := 1; i < len(p); i++ {
		p[i][0] = tlog.NodeHash(p[i-1][0], p[i-1][1])
		p[i][1] = tlog.NodeHash(p[i-1][1], p[i-1][0])
	}
	return p
})

// split returns where RFC 6962 splits the entries [lo, hi), two at least.
func split(lo, hi int64) int64 {
	return lo + 1<<(bits.Len64(uint64(hi-lo-1))-1)
}

// hash returns the Merkle tree hash of a subtree.
func (t tree) hash(lo, hi int64) tlog.Hash {
	n := hi - lo
	if n == 0 {
		return sha256.Sum256(nil)
	}
	own := t.forked && lo <= t.at && t.at < hi
	if n&(n-1) == 0 && !own {
		return perfect()[bits.TrailingZeros64(uint64(n))][bits.OnesCount64(uint64(lo))&1]
	}
	if n == 1 {
		return t.entry
	}
	mid := split(lo, hi)
	return tlog.NodeHash(t.hash(lo, mid), t.hash(mid, hi))
}

func (t tree) root(size int64) tlog.Hash { return t.hash(0, size) }

// proof returns the consistency proof between two sizes.
func (t tree) proof(old, size int64) []tlog.Hash {
	if old == 0 || old > size {
		return nil
	}
	return t.prove(0, old, 0, size, true)
}

// subproof returns the consistency proof between a subtree and the tree.
func (t tree) subproof(start, end, size int64) []tlog.Hash {
	return t.prove(start, end, 0, size, true)
}

// prove returns the proof for [start, end) in the tree of [lo, hi). The verifier
// has the hash of [start, end) unless it is only the end of what he has.
func (t tree) prove(start, end, lo, hi int64, known bool) []tlog.Hash {
	if start == lo && end == hi {
		if known {
			return nil
		}
		return []tlog.Hash{t.hash(lo, hi)}
	}
	mid := split(lo, hi)
	switch {
	case end <= mid:
		return append(t.prove(start, end, lo, mid, known), t.hash(mid, hi))
	case mid <= start:
		return append(t.prove(start, end, mid, hi, known), t.hash(lo, mid))
	}
	return append(t.prove(mid, end, mid, hi, false), t.hash(lo, mid))
}
