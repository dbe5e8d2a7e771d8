// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay

import (
	"cmp"
	"iter"
	"math/bits"
	"slices"
)

// chunkNames is the number of fingerprints that memory is taken for at once: it
// must not grow before entries come.
const chunkNames = 1 << 16

// names are the fingerprints of the names of all records. To double them as they
// grow would take three times their memory.
type names struct {
	size   int64
	chunks [][]uint64
}

// bundle returns the place of the fingerprints of bundle n, which must come in
// order.
func (s *names) bundle(n int64, width int) []uint64 {
	begin := n * bundleWidth
	if begin/chunkNames == int64(len(s.chunks)) {
		s.chunks = append(s.chunks, make([]uint64, chunkNames))
	}
	s.size = begin + int64(width)
	at := begin % chunkNames
	return s.chunks[begin/chunkNames][at : at+int64(width)]
}

// set makes s what a store had, and keeps all.
func (s *names) set(all []uint64) {
	s.size = int64(len(all))
	for chunk := range slices.Chunk(all, chunkNames) {
		if len(chunk) < chunkNames {
			chunk = append(make([]uint64, 0, chunkNames), chunk...)[:chunkNames]
		}
		s.chunks = append(s.chunks, chunk)
	}
}

// between returns the fingerprints of the entries from index from up to, not
// including, index to.
func (s *names) between(from, to int64) iter.Seq2[int64, uint64] {
	return func(yield func(int64, uint64) bool) {
		for i := from; i < to; {
			end := min(to, (i/chunkNames+1)*chunkNames)
			for k, x := range s.chunks[i/chunkNames][i%chunkNames : i%chunkNames+end-i] {
				if !yield(i+int64(k), x) {
					return
				}
			}
			i = end
		}
	}
}

// appendTo appends the fingerprints from index first on to a store.
func (s *names) appendTo(store NameStore, first int64) error {
	for i := first; i < s.size; {
		end := min(s.size, (i/chunkNames+1)*chunkNames)
		if err := store.Append(s.chunks[i/chunkNames][i%chunkNames : i%chunkNames+end-i]); err != nil {
			return err
		}
		i = end
	}
	return nil
}

// A fingerprints is a set that is asked far more often for what it does not have.
type fingerprints struct {
	sorted []uint64
	filter []uint64 // a bit for each value of the first bits
	shift  int
}

func newFingerprints(sorted []uint64) *fingerprints {
	n := max(bits.Len(uint(len(sorted)))+4, 6) // 16 bits for each
	f := &fingerprints{sorted, make([]uint64, 1<<n/64), 64 - n}
	for _, x := range sorted {
		f.filter[x>>f.shift/64] |= 1 << (x >> f.shift % 64)
	}
	return f
}

func (f *fingerprints) has(x uint64) bool {
	if f.filter[x>>f.shift/64]&(1<<(x>>f.shift%64)) == 0 {
		return false
	}
	_, ok := slices.BinarySearch(f.sorted, x)
	return ok
}

// parts is the number of parts that fingerprints are sorted in, one after the
// other: sorting needs a copy, and so that of a part.
const parts = 16

// twice returns the fingerprints that occur more than once, and from first on.
func (s *names) twice(first int64) *fingerprints {
	if first == 0 {
		return newFingerprints(s.twiceInAll())
	}
	var fresh []uint64
	for _, x := range s.between(first, s.size) {
		if x != 0 {
			fresh = append(fresh, x)
		}
	}
	slices.Sort(fresh)
	twice := repeated(nil, fresh)
	f := newFingerprints(fresh)
	for _, x := range s.between(0, first) {
		if f.has(x) {
			twice = append(twice, x)
		}
	}
	slices.Sort(twice)
	return newFingerprints(slices.Compact(twice))
}

func (s *names) twiceInAll() []uint64 {
	var twice, part []uint64
	part = make([]uint64, 0, s.size/parts*17/16+64)
	for p := range uint64(parts) {
		part = part[:0]
		for _, x := range s.between(0, s.size) {
			if x>>60 == p && x != 0 {
				part = append(part, x)
			}
		}
		slices.Sort(part)
		twice = repeated(twice, part)
	}
	return twice
}

// repeated appends to twice, once each, the values that occur more than once.
func repeated(twice, sorted []uint64) []uint64 {
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] && (i == 1 || sorted[i-2] != sorted[i]) {
			twice = append(twice, sorted[i])
		}
	}
	return twice
}

// A hit is an entry whose name has the fingerprint of another.
type hit struct {
	index  int64
	name   [32]byte // SHA-256
	hashes [32]byte // SHA-256 of both
}

func compareHits(a, b hit) int {
	return cmp.Or(slices.Compare(a.name[:], b.name[:]), cmp.Compare(a.index, b.index))
}

// maxHits bounds the entries that are read again. Tests change it.
var maxHits = 1 << 18

// hits returns the entries, in order, whose fingerprint occurs more than once, and
// from first on, and the number of those that are too many.
func (s *names) hits(first int64) (hits []hit, more int64) {
	twice := s.twice(first)
	if len(twice.sorted) == 0 {
		return nil, 0
	}
	for i, x := range s.between(0, s.size) {
		if !twice.has(x) {
			continue
		}
		if len(hits) == maxHits {
			more++
			continue
		}
		hits = append(hits, hit{index: i})
	}
	return hits, more
}
