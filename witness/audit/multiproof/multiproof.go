// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package multiproof proves that many entries are in one tree (RFC 6962, section
// 2.1), with each hash once that their inclusion proofs would share.
//
// # The proof
//
// Let D[lo:hi] be the entries of a part of the tree, and I those of the indexes
// proven that are within it. The proof of a part is
//
//	its Merkle tree hash, if I is empty;
//	nothing, if it is one entry, and that is in I;
//	else the proof of its left part followed by that of its right one, where they
//	are split as RFC 6962 does: after the largest power of two less than hi-lo.
//
// The proof of the tree is that of D[0:n]. Given n and the indexes there is one
// number of hashes and one order of them, and a verifier that walks the same way
// finds the root without anything in the proof that says what is where.
//
// Nothing is trusted: who knows the root from a signed head compares it with that
// of [Root], which hashes no more than 64 times for each index.
package multiproof

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// MaxSize is the largest tree: beyond it the numbers of stored hashes overflow.
const MaxSize = 1 << 52

// ErrInvalid is wrapped by the error of what cannot be a proof, or be proven.
var ErrInvalid = errors.New("invalid multiproof")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

func check(n int64, indexes []int64) error {
	if n < 1 || n > MaxSize {
		return invalid("tree of %d entries", n)
	}
	for i, x := range indexes {
		if x < 0 || x >= n || i > 0 && x <= indexes[i-1] {
			return invalid("index %d at %d of a tree of %d entries", x, i, n)
		}
	}
	return nil
}

// split returns where a part of n ≥ 2 entries is split.
func split(n int64) int64 { return 1 << (bits.Len64(uint64(n-1)) - 1) }

// A part is the hash of entries that the proof contains, as a number of stored
// hashes, of the largest complete trees in it from left to right.
type part struct{ from, to int }

type prover struct {
	parts  []part
	stored []int64
}

// Prove returns the proof of the entries at indexes, which increase, in the tree of
// n entries whose hashes r reads. It reads once.
func Prove(n int64, indexes []int64, r tlog.HashReader) ([]tlog.Hash, error) {
	if err := check(n, indexes); err != nil {
		return nil, err
	}
	var p prover
	p.walk(0, n, indexes)
	hashes, err := r.ReadHashes(p.stored)
	if err != nil {
		return nil, err
	}
	if len(hashes) != len(p.stored) {
		return nil, fmt.Errorf("%d hashes read, not %d", len(hashes), len(p.stored))
	}
	proof := make([]tlog.Hash, len(p.parts))
	for i, part := range p.parts {
		h := hashes[part.to-1]
		for j := part.to - 2; j >= part.from; j-- {
			h = tlog.NodeHash(hashes[j], h)
		}
		proof[i] = h
	}
	return proof, nil
}

func (p *prover) walk(lo, hi int64, indexes []int64) {
	if len(indexes) == 0 {
		from := len(p.stored)
		p.complete(lo, hi)
		p.parts = append(p.parts, part{from, len(p.stored)})
		return
	}
	if hi-lo == 1 {
		return
	}
	mid := lo + split(hi-lo)
	i, _ := slices.BinarySearch(indexes, mid)
	p.walk(lo, mid, indexes[:i])
	p.walk(mid, hi, indexes[i:])
}

// complete adds the complete trees of [lo, hi), which begins where the largest of
// them may.
func (p *prover) complete(lo, hi int64) {
	for lo < hi {
		level := bits.Len64(uint64(hi-lo)) - 1
		p.stored = append(p.stored, tlog.StoredHashIndex(level, lo>>level))
		lo += 1 << level
	}
}

type verifier struct {
	indexes []int64
	leaves  []tlog.Hash
	proof   []tlog.Hash
}

// Root returns the root of the tree of n entries that has these leaf hashes at
// indexes, which increase, by the proof.
func Root(n int64, indexes []int64, leaves, proof []tlog.Hash) (tlog.Hash, error) {
	if err := check(n, indexes); err != nil {
		return tlog.Hash{}, err
	}
	if len(leaves) != len(indexes) {
		return tlog.Hash{}, invalid("%d leaves at %d indexes", len(leaves), len(indexes))
	}
	v := verifier{indexes, leaves, proof}
	root, err := v.walk(0, n)
	if err == nil && len(v.proof) > 0 {
		err = invalid("%d hashes too many", len(v.proof))
	}
	return root, err
}

func (v *verifier) walk(lo, hi int64) (tlog.Hash, error) {
	if len(v.indexes) == 0 || v.indexes[0] >= hi {
		if len(v.proof) == 0 {
			return tlog.Hash{}, invalid("too few hashes")
		}
		h := v.proof[0]
		v.proof = v.proof[1:]
		return h, nil
	}
	if hi-lo == 1 {
		h := v.leaves[0]
		v.indexes, v.leaves = v.indexes[1:], v.leaves[1:]
		return h, nil
	}
	mid := lo + split(hi-lo)
	left, err := v.walk(lo, mid)
	if err != nil {
		return left, err
	}
	right, err := v.walk(mid, hi)
	if err != nil {
		return right, err
	}
	return tlog.NodeHash(left, right), nil
}
