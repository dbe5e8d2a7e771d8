// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package checkpoint

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

func leaf(i int) tlog.Hash {
	return tlog.RecordHash(binary.BigEndian.AppendUint64(nil, uint64(i)))
}

// mth is the Merkle tree hash of the leaves [from, to), as RFC 6962 defines it.
func mth(from, to int) tlog.Hash {
	if to-from == 1 {
		return leaf(from)
	}
	k := 1
	for 2*k < to-from {
		k *= 2
	}
	return tlog.NodeHash(mth(from, from+k), mth(from+k, to))
}

// subproof is the recursive definition of the proof: of [start, end) in the tree
// of the leaves [lo, hi).
func subproof(start, end, lo, hi int, known bool) []tlog.Hash {
	if start == lo && end == hi {
		if known {
			return nil
		}
		return []tlog.Hash{mth(lo, hi)}
	}
	k := 1
	for 2*k < hi-lo {
		k *= 2
	}
	switch mid := lo + k; {
	case end <= mid:
		return append(subproof(start, end, lo, mid, known), mth(mid, hi))
	case start >= mid:
		return append(subproof(start, end, mid, hi, known), mth(lo, mid))
	default:
		return append(subproof(mid, end, mid, hi, false), mth(lo, mid))
	}
}

// aligned is the definition of a subtree, counted out.
func aligned(start, end int) bool {
	if start >= end {
		return false
	}
	ceil := 1
	for ceil < end-start {
		ceil *= 2
	}
	return start%ceil == 0
}

func TestSubtreeAll(t *testing.T) {
	const most = 34
	valid := 0
	for n := 1; n <= most; n++ {
		c := Checkpoint{Origin: "o", Size: int64(n), Root: mth(0, n)}
		for start := 0; start <= n+1; start++ {
			for end := 0; end <= n+2; end++ {
				r := SubtreeRequest{Start: int64(start), End: int64(end)}
				if !aligned(start, end) || end > n {
					if err := CheckSubtree(r, c); !errors.Is(err, ErrMalformed) || errors.Is(err, ErrProof) {
						t.Fatalf("[%d, %d) of %d: %v, want malformed", start, end, n, err)
					}
					continue
				}
				valid++
				r.Hash = mth(start, end)
				r.Proof = subproof(start, end, 0, n, true)
				if err := CheckSubtree(r, c); err != nil {
					t.Fatalf("[%d, %d) of %d: %v", start, end, n, err)
				}
				if len(r.Proof) > MaxProof {
					t.Fatalf("[%d, %d) of %d: %d hashes", start, end, n, len(r.Proof))
				}
			}
		}
	}
	if valid < 1000 {
		t.Errorf("only %d subtrees", valid)
	}
}

// The draft's two examples in a tree of 14.
func TestSubtreeExamples(t *testing.T) {
	c := Checkpoint{Origin: "o", Size: 14, Root: mth(0, 14)}
	for _, r := range []SubtreeRequest{
		{Start: 4, End: 8, Hash: mth(4, 8), Proof: []tlog.Hash{mth(0, 4), mth(8, 14)}},
		{Start: 8, End: 13, Hash: mth(8, 13), Proof: []tlog.Hash{leaf(12), leaf(13), mth(8, 12), mth(0, 8)}},
	} {
		if err := CheckSubtree(r, c); err != nil {
			t.Error(err)
		}
	}
}

// A changed proof shows nothing, and the hash of other entries is not shown by
// any proof made for them or for the true ones.
func TestSubtreeForged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(t, "n")
		start := rapid.IntRange(0, n-1).Draw(t, "start")
		end := rapid.IntRange(start+1, n).Draw(t, "end")
		for !aligned(start, end) {
			end--
		}
		c := Checkpoint{Origin: "o", Size: int64(n), Root: mth(0, n)}
		r := SubtreeRequest{Start: int64(start), End: int64(end), Hash: mth(start, end), Proof: subproof(start, end, 0, n, true)}
		if err := CheckSubtree(r, c); err != nil {
			t.Fatal(err)
		}
		bad := r
		bad.Proof = slices.Clone(r.Proof)
		last := len(bad.Proof)
		at := rapid.IntRange(0, last).Draw(t, "at")
		switch kind := rapid.SampledFrom([]string{"hash", "root", "flip", "cut", "add", "front", "swap", "move"}).Draw(t, "kind"); {
		case kind == "front":
			// A hash that the walk from the other end never comes to.
			bad.Proof = slices.Insert(bad.Proof, 0, mth(0, n))
		case kind == "hash" || last == 0:
			bad.Hash[at%32] ^= 1
		case kind == "root":
			c.Root[at%32] ^= 0x80
		case kind == "flip":
			bad.Proof[at%last][at%32] ^= 1
		case kind == "cut":
			bad.Proof = slices.Delete(bad.Proof, at%last, at%last+1)
		case kind == "add":
			bad.Proof = slices.Insert(bad.Proof, at, mth(0, n))
		case kind == "swap":
			i, j := at%last, (at+1)%last
			if i == j {
				bad.Hash[0] ^= 1
			}
			bad.Proof[i], bad.Proof[j] = bad.Proof[j], bad.Proof[i]
		case kind == "move":
			// The same hash and proof at another place.
			width := end - start
			bad.Start, bad.End = r.Start+int64(width), r.End+int64(width)
			if bad.CheckRange(c.Size) != nil {
				bad.Start, bad.End, bad.Hash = r.Start, r.End, leaf(n)
			}
		}
		if err := CheckSubtree(bad, c); !errors.Is(err, ErrProof) || errors.Is(err, ErrMalformed) {
			t.Fatalf("%v, want a bad proof", err)
		}
	})
}

// Sizes near the largest neither overflow nor take long.
func TestSubtreeLarge(t *testing.T) {
	const most = math.MaxInt64
	for _, tc := range []struct {
		start, end, size int64
		malformed        bool
	}{
		{0, most, most, false},
		{0, most - 1, most, false},
		{1 << 62, most, most, false},
		{1<<62 + 1, most, most, true},
		{most - 1, most, most, false},
		{most, most, most, true},
		{0, most, most - 1, true},
		{-1, 1, most, true},
		{-2, -1, most, true},
		{math.MinInt64, most, most, true},
	} {
		r := SubtreeRequest{Start: tc.start, End: tc.end, Proof: make([]tlog.Hash, MaxProof)}
		want := ErrProof
		if tc.malformed {
			want = ErrMalformed
		}
		if err := CheckSubtree(r, Checkpoint{Size: tc.size, Root: leaf(0)}); !errors.Is(err, want) {
			t.Errorf("[%d, %d) of %d: %v, want %v", tc.start, tc.end, tc.size, err, want)
		}
	}
}
