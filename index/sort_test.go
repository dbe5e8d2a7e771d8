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
	for _, c := range []struct{ names, limit int }{{0, 1000}, {1, 1}, {50, 1}, {1000, 1 << 20}, {1000, 5000}, {3000, 200}} {
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		s := newSorter(root, c.limit)
		var want []string
		for i := range c.names {
			// Prefixes of one another, and long names, many of them twice and more.
			name := strings.Repeat("a", rnd.IntN(4)) + "b" + fmt.Sprint(rnd.IntN(500))
			if i%100 == 0 {
				name = strings.Repeat("z", 4000) + fmt.Sprint(i)
			}
			want = append(want, name)
			if err := s.add(name); err != nil {
				t.Fatal(err)
			}
			clear(s.last[:rnd.IntN(len(s.last))]) // some come again when they are forgotten
		}
		slices.Sort(want)
		want = slices.Compact(want)
		var got []string
		for name, err := range s.sorted() {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d names, limit %d: wrong order or names", c.names, c.limit)
		}
		s.close()
		if names, _ := os.ReadDir(root.Name()); len(names) != 0 {
			t.Errorf("sorter left %v", names)
		}
	}
}

func TestSorterLongName(t *testing.T) {
	s := newSorter(nil, sortBuffer)
	if err := s.add(strings.Repeat("a", 1<<16)); err == nil {
		t.Error("a name of 64 KiB was accepted, whose length would wrap")
	}
}
