// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestSorter(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct{ rows, limit int }{{0, 1000}, {1, 1}, {50, 1}, {1000, 1 << 20}, {1000, 5000}, {3000, 200}} {
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		s := newSorter(root, c.limit)
		var want []row
		for i := range c.rows {
			// Prefixes of one another, and long names.
			r := row{path: strings.Repeat("a", rnd.IntN(4)) + "b", version: fmt.Sprint("v", rnd.IntN(50)), index: int64(i), time: -int64(i)}
			if i%100 == 0 {
				r.path = strings.Repeat("z", 4000) + fmt.Sprint(i)
			}
			r.hashes[rnd.IntN(64)] = byte(i)
			want = append(want, r)
			if err := s.add(&r); err != nil {
				t.Fatal(err)
			}
		}
		slices.SortFunc(want, func(a, b row) int {
			return strings.Compare(fmt.Sprintf("%s\x00%s\x00%010d", a.path, a.version, a.index), fmt.Sprintf("%s\x00%s\x00%010d", b.path, b.version, b.index))
		})
		var got []row
		for r, err := range s.sorted() {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d rows, limit %d: wrong order or rows", c.rows, c.limit)
		}
		s.close()
		if names, _ := os.ReadDir(root.Name()); len(names) != 0 {
			t.Errorf("sorter left %v", names)
		}
	}
}

func TestSorterLongName(t *testing.T) {
	s := newSorter(nil, sortBuffer)
	if err := s.add(&row{path: strings.Repeat("a", 1<<16)}); err == nil {
		t.Error("a name of 64 KiB was accepted, whose length would wrap")
	}
}
