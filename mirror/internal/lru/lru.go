// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package lru is a map that forgets: it holds entries up to a total cost and
// drops those that were used least recently. Whatever requests make the mirror
// remember is kept in one of these, so that nobody can fill its memory.
package lru

import (
	"container/list"
	"sync"
)

// A Cache maps keys to values. It is safe for concurrent use.
type Cache[K comparable, V any] struct {
	max  int
	cost func(K, V) int // nil: every entry costs 1

	mu    sync.Mutex
	total int
	order *list.List // front: used most recently; of *entry[K, V]
	items map[K]*list.Element
}

type entry[K comparable, V any] struct {
	key   K
	value V
	cost  int
}

// New returns a cache whose entries cost at most max together. A nil cost
// counts entries.
func New[K comparable, V any](max int, cost func(K, V) int) *Cache[K, V] {
	return &Cache[K, V]{max: max, cost: cost, order: list.New(), items: make(map[K]*list.Element)}
}

// Get returns the value of k.
func (c *Cache[K, V]) Get(k K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[k]
	if !ok {
		return v, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*entry[K, V]).value, true
}

// Put sets the value of k and drops what no longer fits. A value that costs
// more than the whole cache is not kept.
func (c *Cache[K, V]) Put(k K, v V) {
	cost := 1
	if c.cost != nil {
		cost = c.cost(k, v)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[k]; ok {
		c.remove(e)
	}
	if cost > c.max {
		return
	}
	c.items[k] = c.order.PushFront(&entry[K, V]{k, v, cost})
	c.total += cost
	for c.total > c.max {
		c.remove(c.order.Back())
	}
}

// Delete forgets k.
func (c *Cache[K, V]) Delete(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[k]; ok {
		c.remove(e)
	}
}

// Len returns the number of entries.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.items)
}

func (c *Cache[K, V]) remove(e *list.Element) {
	it := c.order.Remove(e).(*entry[K, V])
	delete(c.items, it.key)
	c.total -= it.cost
}
