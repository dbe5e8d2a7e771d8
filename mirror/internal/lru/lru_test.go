// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package lru

import (
	"testing"

	"pgregory.net/rapid"
)

func TestOrder(t *testing.T) {
	c := New[string, int](2, nil)
	c.Put("a", 1)
	c.Put("b", 2)
	c.Get("a")
	c.Put("c", 3)
	if _, ok := c.Get("b"); ok {
		t.Error("b, used least recently, is still there")
	}
	for k, want := range map[string]int{"a": 1, "c": 3} {
		if v, ok := c.Get(k); !ok || v != want {
			t.Errorf("Get(%q) = %d, %v, want %d", k, v, ok, want)
		}
	}
	c.Delete("a")
	if _, ok := c.Get("a"); ok || c.Len() != 1 {
		t.Errorf("after Delete: found %v, %d entries", ok, c.Len())
	}
}

// TestCost shows that the total cost never exceeds the bound, whatever is put,
// and that the last value put is there unless it is too dear by itself.
func TestCost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const max = 50
		c := New(max, func(_ int, v int) int { return v })
		for range rapid.IntRange(1, 100).Draw(t, "n") {
			k, v := rapid.IntRange(0, 9).Draw(t, "k"), rapid.IntRange(1, 60).Draw(t, "v")
			c.Put(k, v)
			got, ok := c.Get(k)
			if ok != (v <= max) || ok && got != v {
				t.Fatalf("after Put(%d, %d): Get = %d, %v", k, v, got, ok)
			}
			total := 0
			for _, e := range c.items {
				total += e.Value.(*entry[int, int]).cost
			}
			if total != c.total || total > max || c.order.Len() != c.Len() {
				t.Fatalf("total %d, counted %d, at most %d; %d in order, %d in map", c.total, total, max, c.order.Len(), c.Len())
			}
		}
	})
}
