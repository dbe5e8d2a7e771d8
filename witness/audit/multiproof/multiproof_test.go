// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package multiproof

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// A memory holds the stored hashes of a tree.
type memory []tlog.Hash

func (m memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = m[x]
	}
	return out, nil
}

func leaf(i int64) tlog.Hash { return tlog.RecordHash(fmt.Appendf(nil, "entry %d", i)) }

// grow returns the tree of n entries.
func grow(t testing.TB, n int64) memory {
	var m memory
	for i := range n {
		h, err := tlog.StoredHashesForRecordHash(i, leaf(i), m)
		if err != nil {
			t.Fatal(err)
		}
		m = append(m, h...)
	}
	return m
}

func leaves(indexes []int64) []tlog.Hash {
	var out []tlog.Hash
	for _, x := range indexes {
		out = append(out, leaf(x))
	}
	return out
}

// All sets of entries of all small trees.
func TestAll(t *testing.T) {
	m := grow(t, 9)
	for n := int64(1); n <= 9; n++ {
		root, err := tlog.TreeHash(n, m)
		if err != nil {
			t.Fatal(err)
		}
		for set := range int64(1) << n {
			var indexes []int64
			for i := range n {
				if set>>i&1 == 1 {
					indexes = append(indexes, i)
				}
			}
			p, err := Prove(n, indexes, m)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Root(n, indexes, leaves(indexes), p)
			if err != nil || got != root {
				t.Fatalf("%v of %d: %v, want %v; %v", indexes, n, got, root, err)
			}
			if len(indexes) == 1 {
				single, err := tlog.ProveRecord(n, indexes[0], m)
				if err != nil || len(single) != len(p) {
					t.Fatalf("%v of %d: %d hashes, in an inclusion proof %d; %v", indexes, n, len(p), len(single), err)
				}
			}
		}
	}
}

func draw(t *rapid.T, n int64) []int64 {
	indexes := rapid.SliceOfDistinct(rapid.Int64Range(0, n-1), func(x int64) int64 { return x }).Draw(t, "indexes")
	slices.Sort(indexes)
	return indexes
}

// Whatever is changed of what is proven or of the proof, the root is another one, or
// there is none.
func TestChanged(t *testing.T) {
	m := grow(t, 70)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 70).Draw(t, "n")
		indexes := draw(t, n)
		root, _ := tlog.TreeHash(n, m)
		p, err := Prove(n, indexes, m)
		if err != nil {
			t.Fatal(err)
		}
		ls := leaves(indexes)
		if got, err := Root(n, indexes, ls, p); err != nil || got != root {
			t.Fatalf("root %v, want %v; %v", got, root, err)
		}
		all := []*tlog.Hash{}
		for i := range ls {
			all = append(all, &ls[i])
		}
		for i := range p {
			all = append(all, &p[i])
		}
		h := rapid.SampledFrom(all).Draw(t, "hash")
		h[rapid.IntRange(0, 31).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if got, err := Root(n, indexes, ls, p); err != nil || got == root {
			t.Fatalf("with a bit flipped: root %v; %v", got, err)
		}
		if len(p) > 0 {
			if _, err := Root(n, indexes, ls, p[1:]); !errors.Is(err, ErrInvalid) {
				t.Fatalf("with a hash less: %v", err)
			}
		}
		if _, err := Root(n, indexes, ls, append(p, tlog.Hash{})); !errors.Is(err, ErrInvalid) {
			t.Fatalf("with a hash more: %v", err)
		}
	})
}

func TestInvalid(t *testing.T) {
	m := grow(t, 4)
	for name, c := range map[string]struct {
		n       int64
		indexes []int64
	}{
		"no tree":       {0, nil},
		"negative tree": {-1, nil},
		"vast tree":     {MaxSize + 1, nil},
		"negative":      {4, []int64{-1}},
		"outside":       {4, []int64{4}},
		"twice":         {4, []int64{1, 1}},
		"unordered":     {4, []int64{2, 1}},
	} {
		if _, err := Prove(c.n, c.indexes, m); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: proven: %v", name, err)
		}
		if _, err := Root(c.n, c.indexes, leaves(c.indexes), make([]tlog.Hash, 64)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Root(4, []int64{1}, nil, make([]tlog.Hash, 2)); !errors.Is(err, ErrInvalid) {
		t.Errorf("no leaf: %v", err)
	}
}

// The largest tree there may be.
func TestVast(t *testing.T) {
	for _, indexes := range [][]int64{nil, {0}, {MaxSize - 2}, {0, 1 << 51, MaxSize - 2}} {
		p, err := Prove(MaxSize-1, indexes, sparse{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Root(MaxSize-1, indexes, leaves(indexes), p); err != nil {
			t.Fatal(err)
		}
	}
}

type sparse struct{}

func (sparse) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	return make([]tlog.Hash, len(indexes)), nil
}

// The saving against inclusion proofs of their own.
func TestSaving(t *testing.T) {
	m := grow(t, 100_000)
	for _, n := range []int64{100_000, 99_999, 65_536} {
		random := rand.New(rand.NewPCG(1, 2))
		seen := make(map[int64]bool)
		for len(seen) < 500 {
			seen[random.Int64N(n)] = true
		}
		var indexes []int64
		single := 0
		for i := range n {
			if !seen[i] {
				continue
			}
			indexes = append(indexes, i)
			p, err := tlog.ProveRecord(n, i, m)
			if err != nil {
				t.Fatal(err)
			}
			single += len(p)
		}
		p, err := Prove(n, indexes, m)
		if err != nil {
			t.Fatal(err)
		}
		ratio := float64(len(p)) / float64(single)
		t.Logf("500 of %d entries: %d hashes, %d in proofs of their own: %.3f", n, len(p), single, ratio)
		if ratio > 0.75 {
			t.Errorf("ratio %.3f", ratio)
		}
	}
}

func FuzzRoot(f *testing.F) {
	f.Add(int64(9), []byte{0, 0, 0, 0, 0, 0, 0, 3}, make([]byte, 128))
	f.Add(int64(MaxSize), []byte{}, make([]byte, 32))
	f.Fuzz(func(t *testing.T, n int64, is, hs []byte) {
		var indexes []int64
		for ; len(is) >= 8; is = is[8:] {
			indexes = append(indexes, int64(binary.BigEndian.Uint64(is)))
		}
		var proof []tlog.Hash
		for ; len(hs) >= 32; hs = hs[32:] {
			proof = append(proof, tlog.Hash(hs[:32]))
		}
		if _, err := Root(n, indexes, leaves(indexes), proof); err == nil && n < 1 {
			t.Fatal("a root of nothing")
		}
	})
}
