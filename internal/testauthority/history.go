// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package testauthority

import (
	"maps"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// Clone returns an authority with the same keys and the same past. From here on
// each has a history of its own.
func (a *Authority) Clone() *Authority {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.clone()
}

func (a *Authority) clone() *Authority {
	b := &Authority{config: a.config, key: a.key, secret: a.secret,
		entries: slices.Clone(a.entries), hashes: slices.Clone(a.hashes),
		byName: map[string][]int64{}, archive: slices.Clone(a.archive), shown: a.shown,
		signers: slices.Clone(a.signers), origins: maps.Clone(a.origins), tampers: slices.Clone(a.tampers), carried: slices.Clone(a.carried),
		feeds: slices.Clone(a.feeds), pageBack: a.pageBack, proxied: a.proxied}
	for path, list := range a.byName {
		b.byName[path] = slices.Clone(list)
	}
	for _, w := range a.witnesses {
		b.witnesses = append(b.witnesses, w.clone())
	}
	return b
}

// Fork returns an authority with the same keys, and another history: the first at
// entries are the same, and the records of all that follow have other hashes. What
// was published beyond at is published again, at the same sizes and times, cosigned
// by those witnesses.
func (a *Authority) Fork(at int64, witnesses ...int) *Authority {
	a.mu.RLock()
	defer a.mu.RUnlock()
	b := a.clone()
	old, size := b.archive, int64(len(b.entries))
	b.truncate(at)
	b.signers = witnesses
	n := slices.IndexFunc(old, func(p Publication) bool { return p.Size > at })
	if n < 0 {
		n = len(old)
	}
	b.archive = b.archive[:n:n]
	b.shown = n - 1
	for _, p := range old[n:] {
		b.growAs(a, p.Size)
		b.publish(p.Time)
	}
	b.growAs(a, size)
	return b
}

// growAs appends the modules of a up to size, with other contents.
func (a *Authority) growAs(b *Authority, size int64) {
	for i := int64(len(a.entries)); i < size; i++ {
		m := b.entries[i].mod
		m.Salt += " forked"
		a.add(m)
	}
}

// truncate forgets all entries from size on.
func (a *Authority) truncate(size int64) {
	a.entries = a.entries[:size:size]
	n := tlog.StoredHashCount(size)
	a.hashes = a.hashes[:n:n]
	for path, list := range a.byName {
		list = slices.DeleteFunc(list, func(i int64) bool { return i >= size })
		if a.byName[path] = list; len(list) == 0 {
			delete(a.byName, path)
		}
	}
}

// Become replaces the whole history of a with that of b, which must not be used any
// more: what the clients of a see from now on.
func (a *Authority) Become(b *Authority) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.become(b)
}

func (a *Authority) become(b *Authority) {
	a.entries, a.hashes, a.byName = b.entries, b.hashes, b.byName
	a.archive, a.shown = b.archive, b.shown
	a.witnesses, a.signers = b.witnesses, b.signers
	a.origins, a.tampers, a.feeds, a.pageBack, a.proxied = b.origins, b.tampers, b.feeds, b.pageBack, b.proxied
}

// Show shows publication n of the archive as the newest; later ones are hidden.
func (a *Authority) Show(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.shown = n
}

// Alter replaces publication n of the archive; a negative n counts from the end.
func (a *Authority) Alter(n int, change func(*Publication)) {
	archive := a.Archive()
	if n < 0 {
		n += len(archive)
	}
	// It may call methods of a.
	change(&archive[n])
	a.mu.Lock()
	defer a.mu.Unlock()
	a.archive[n] = archive[n]
}
