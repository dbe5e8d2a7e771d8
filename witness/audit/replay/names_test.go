// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestTwice compares the fingerprints found with those of a map.
func TestTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s names
		all := rapid.SliceOfN(rapid.Uint64Range(0, 500), 0, 400).Draw(t, "all")
		if rapid.Bool().Draw(t, "spread") {
			for i := range all {
				all[i] *= 0x9e3779b97f4a7c15
			}
		}
		s.set(slices.Clone(all))
		first := rapid.Int64Range(0, int64(len(all))).Draw(t, "first")
		seen, want := make(map[uint64]int), make(map[uint64]bool)
		for i, x := range all {
			if seen[x]++; x != 0 && seen[x] > 1 && int64(i) >= first {
				want[x] = true
			}
		}
		if got := s.twice(first).sorted; !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

func TestTwiceLarge(t *testing.T) {
	const size = 3*chunkNames + 1000
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]uint64, size)
	for i := range all {
		all[i] = r.Uint64()
	}
	all[chunkNames] = all[5]
	all[size-1] = all[2*chunkNames-1]
	for first, want := range map[int64][]int64{0: {5, 2*chunkNames - 1, chunkNames, size - 1}, chunkNames + 1: {2*chunkNames - 1, size - 1}, size: nil} {
		var s names
		s.set(slices.Clone(all))
		hits, more := s.hits(first)
		var got []int64
		for _, h := range hits {
			got = append(got, h.index)
		}
		slices.Sort(want)
		if !slices.Equal(got, want) || more != 0 {
			t.Errorf("from %d: hits %v and %d more, want %v", first, got, more, want)
		}
	}
}

// TestTooManyHits checks that what is not compared is counted.
func TestTooManyHits(t *testing.T) {
	all := make([]uint64, maxHits+77)
	for i := range all {
		all[i] = uint64(1 + i/2)
	}
	var s names
	s.set(all)
	want := int64(len(all) - maxHits)
	if len(all)%2 == 1 {
		want-- // the last one is alone
	}
	if hits, more := s.hits(0); len(hits) != maxHits || more != want {
		t.Errorf("%d hits and %d more, want %d and %d", len(hits), more, maxHits, want)
	}
}

type store struct {
	all []uint64
	err error
}

func (s *store) Load(n int64) ([]uint64, error) {
	s.all = s.all[:min(int(n), len(s.all))]
	return slices.Clone(s.all), s.err
}

func (s *store) Append(names []uint64) error {
	s.all = append(s.all, names...)
	return s.err
}

func TestNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kept := new(store)
		var want []uint64
		size := int64(0)
		for range rapid.IntRange(1, 4).Draw(t, "replays") {
			var s names
			all, _ := kept.Load(size)
			s.set(all)
			first := size
			size += rapid.Int64Range(0, 2*chunkNames).Draw(t, "more")
			for n := first / bundleWidth; first < size && n*bundleWidth < size; n++ {
				place := s.bundle(n, int(min(size-n*bundleWidth, bundleWidth)))
				for i := range place {
					if at := n*bundleWidth + int64(i); at >= first {
						place[i] = uint64(at * at)
					}
				}
			}
			for i := first; i < size; i++ {
				want = append(want, uint64(i*i))
			}
			if err := s.appendTo(kept, first); err != nil {
				t.Fatal(err)
			}
			if s.size != size || !slices.Equal(kept.all, want) {
				t.Fatalf("%d fingerprints of %d are not those that were made", len(kept.all), size)
			}
		}
	})
	var s names
	s.set(make([]uint64, 7))
	if err := s.appendTo(&store{err: errors.New("full")}, 3); err == nil {
		t.Error("no error of a full disk")
	}
}

func TestPseudoVersionTime(t *testing.T) {
	for v, want := range map[string]string{
		"v0.0.0-20191109021931-daa7c04131f5":              "20191109021931",
		"v1.2.3-0.20191109021931-daa7c04131f5":            "20191109021931",
		"v1.2.3-pre.0.20191109021931-daa7c04131f5":        "20191109021931",
		"v2.0.0-20191109021931-daa7c04131f5+incompatible": "20191109021931",
		"v1.2.3":                             "",
		"":                                   "",
		"v0.0.0-2019110902193x-daa7c04131f5": "",
		"v0.0.0-20191109021931_daa7c04131f5": "",
		"v0.0.0_20191109021931-daa7c04131f5": "",
		"-20191109021931-daa7c04131f5":       "",
		"v1.0.0-rc.1":                        "",
	} {
		if got := string(pseudoVersionTime([]byte(v))); got != want {
			t.Errorf("%s: %q, want %q", v, got, want)
		}
	}
}
