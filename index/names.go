// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"

	"example.org/sumlog/index/internal/buckets"
	"example.org/sumlog/internal/sqlite"
	"example.org/sumlog/log"
	"golang.org/x/mod/module"
)

// The letters of the tables of buckets, which go into the sums of their rows.
const (
	namesTable   = 'n'
	modulesTable = 'm'
)

// groupVersions is how many versions of a module are kept under one key. A module
// of a hundred thousand versions would else make a row of megabytes, to be written
// again with each of its versions.
const groupVersions = 64

// A seed is mixed into all keys. It is secret, since whoever may name modules could
// else fill one bucket.
type seed [16]byte

// nameKey returns the key of a module version in the table names.
func (s *seed) nameKey(path, version string) uint64 {
	var buf [256]byte
	b := append(append(buf[:0], s[:]...), path...)
	b = append(append(b, 0), version...)
	h := sha256.Sum256(b)
	return binary.BigEndian.Uint64(h[:])
}

// A groupKey is where a group of versions of a module is in the table modules: the
// first 8 bytes are the key, the others stand with the item. Together they are
// enough to tell any module from any other.
type groupKey [12]byte

func (g groupKey) key() uint64 { return binary.BigEndian.Uint64(g[:]) }

// moduleKey returns the key of a module's first group.
func (s *seed) moduleKey(path string) (g groupKey) {
	var buf [256]byte
	h := sha256.Sum256(append(append(buf[:0], s[:]...), path...))
	copy(g[:], h[:])
	return g
}

// group returns the key of group n of the module whose first group has g.
func (g groupKey) group(n int) groupKey {
	if n == 0 {
		return g
	}
	var b [20]byte
	copy(b[:], g[:])
	binary.BigEndian.PutUint64(b[12:], uint64(n))
	h := sha256.Sum256(b[:])
	copy(g[:], h[:])
	return g
}

// An item of names is an entry's index in 5 bytes, its time in 7, where it begins in
// its bundle in 3, and what its leaf hash begins with.
type nameItem struct {
	index, time int64
	place       log.Place
}

const nameItemSize = 5 + 7 + 3 + len(log.Place{}.Leaf)

func (n *nameItem) append(b []byte) []byte {
	b = appendInt(b, n.index, 5)
	b = appendInt(b, n.time, 7)
	b = appendInt(b, int64(n.place.At), 3)
	return append(b, n.place.Leaf[:]...)
}

func parseNameItem(b []byte) (n nameItem, err error) {
	if len(b) != nameItemSize {
		return n, errItem
	}
	n.index, n.time, n.place.At = takeInt(b, 5), takeInt(b[5:], 7), int(takeInt(b[12:], 3))
	copy(n.place.Leaf[:], b[15:])
	return n, nil
}

// An item of modules is the rest of its group's key, an entry's index in 5 bytes,
// its time in 7, and its version.
const versionItemSize = 4 + 5 + 7 // without the version

func appendVersionItem(b []byte, g groupKey, index, time int64, version string) []byte {
	b = append(b, g[8:]...)
	b = appendInt(b, index, 5)
	b = appendInt(b, time, 7)
	return append(b, version...)
}

func parseVersionItem(b []byte) (v Version) {
	return Version{string(b[versionItemSize:]), takeInt(b[4:], 5), entryTime(takeInt(b[9:], 7))}
}

// ofGroup reports whether b is an item of g, of those that have its key.
func (g groupKey) ofGroup(b []byte) bool {
	return len(b) >= versionItemSize && string(b[:4]) == string(g[8:])
}

// errItem is the error of an item that this package cannot have written.
var errItem = fmt.Errorf("%w: malformed item", buckets.ErrDamaged)

// errAhead is the error of a row that has an entry which is not applied yet. A kill
// and a write-ahead log that rotted after it was written back leave such a mixture of
// states.
func errAhead(index, size int64) error {
	return fmt.Errorf("%w: it has entry %d and is of size %d", buckets.ErrDamaged, index, size)
}

// appendInt appends the low n bytes of v, big-endian.
func appendInt(b []byte, v int64, n int) []byte {
	for i := n - 1; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

// takeInt is the inverse of appendInt, of numbers with a sign.
func takeInt(b []byte, n int) int64 {
	v := int64(int8(b[0]))
	for _, c := range b[1:n] {
		v = v<<8 | int64(c)
	}
	return v
}

// bucketRows are the rows of a table of buckets.
type bucketRows struct {
	get, put *sqlite.Stmt
}

func (r bucketRows) Row(number uint64) (row []byte, err error) {
	err = r.get.Run(func(v []sqlite.Value) error { return sqlite.Take(v[0], &row) }, int64(number))
	if err == nil && row == nil {
		err = fmt.Errorf("%w: no row %d", buckets.ErrDamaged, number)
	}
	return row, err
}

func (r bucketRows) Put(number uint64, row []byte) error { return r.put.Run(nil, int64(number), row) }

// bucket returns the bucket of key in a table of this state.
func (st *state) bucket(table byte, rows *bucketRows, key uint64) (buckets.Bucket, error) {
	n := buckets.Count(st.size)
	number := buckets.Number(key, n)
	row, err := rows.Row(number)
	if err != nil {
		return nil, err
	}
	return buckets.Open(row, table, number, n)
}

// find returns the entry of m: what the log itself has at the place that the index
// remembers. That it has none follows from the one bucket where it would be.
func (r *reader) find(src Source, m module.Version) (log.Entry, bool, error) {
	key := r.state.seed.nameKey(m.Path, m.Version)
	b, err := r.state.bucket(namesTable, &r.names, key)
	if err != nil {
		return log.Entry{}, false, err
	}
	for item := range b.With(key) {
		e, err := entryOf(src, item, r.state.size)
		if err != nil {
			return log.Entry{}, false, err
		}
		if e.Record.Module == m {
			return e, true, nil
		}
	}
	return log.Entry{}, false, nil
}

// entryOf reads the entry of an item of names, which must be below size.
func entryOf(src Source, item []byte, size int64) (log.Entry, error) {
	n, err := parseNameItem(item)
	if err != nil {
		return log.Entry{}, err
	}
	if n.index >= size {
		return log.Entry{}, errAhead(n.index, size)
	}
	e, err := src.EntryAt(n.index, n.place)
	e.Time = entryTime(n.time)
	return e, err
}

// versionsOf returns the versions of a module among the first size entries. A group
// that is not full is the last one.
func (r *reader) versionsOf(path string, size int64) (vs []Version, err error) {
	first := r.state.seed.moduleKey(path)
	for n := 0; ; n++ {
		g := first.group(n)
		b, err := r.state.bucket(modulesTable, &r.modules, g.key())
		if err != nil {
			return nil, err
		}
		have := 0
		for item := range b.With(g.key()) {
			if !g.ofGroup(item) {
				continue
			}
			have++
			v := parseVersionItem(item)
			if v.Index >= r.state.size {
				return nil, errAhead(v.Index, r.state.size)
			}
			if v.Index < size {
				vs = append(vs, v)
			}
		}
		if have < groupVersions {
			return vs, nil
		}
	}
}

// An inserter inserts the entries that follow size into the tables, up to size to.
type inserter struct {
	src     Source
	seed    *seed
	chain   *chain
	names   *buckets.Writer
	modules *buckets.Writer
	next    int64 // index of the entry that is inserted
	item    []byte
}

func (w *writer) newInserter(src Source, s *seed, size, to int64) (*inserter, error) {
	n := buckets.Count(size)
	in := &inserter{
		src: src, seed: s, chain: &w.chain,
		names:   buckets.NewWriter(namesTable, w.names, n),
		modules: buckets.NewWriter(modulesTable, w.modules, n),
	}
	n = buckets.Count(to)
	if err := in.names.Grow(n); err != nil {
		return nil, err
	}
	return in, in.modules.Grow(n)
}

// insert inserts r. An entry with r's name that is there already is one too many in
// the log.
func (in *inserter) insert(r *row) error {
	key := in.seed.nameKey(r.path, r.version)
	b, err := in.names.Bucket(key)
	if err != nil {
		return err
	}
	for item := range b.With(key) {
		e, err := entryOf(in.src, item, r.index)
		if err != nil {
			return err
		}
		if m := e.Record.Module; m.Path == r.path && m.Version == r.version {
			return errTwice(r.path, r.version, e.Index, r.index)
		}
	}
	n := nameItem{r.index, r.time, r.place}
	in.item = n.append(in.item[:0])
	if err := in.names.Add(key, in.item); err != nil {
		return err
	}
	return in.insertVersion(r)
}

// insertVersion inserts r into the last group of its module.
func (in *inserter) insertVersion(r *row) error {
	first := in.seed.moduleKey(r.path)
	in.next = r.index
	n, have, err := in.lastGroup(first)
	if err != nil {
		return err
	}
	if n == 0 && have == 0 {
		// The module's name, out of the memory of the record that it is a part of.
		if err := in.chain.insert(strings.Clone(r.path)); err != nil {
			return err
		}
	}
	return in.addVersion(first.group(n), r.index, r.time, r.version)
}

func (in *inserter) addVersion(g groupKey, index, time int64, version string) error {
	in.item = appendVersionItem(in.item[:0], g, index, time, version)
	return in.modules.Add(g.key(), in.item)
}

// lastGroup returns the first group that is not full, and how many versions it has.
// Groups are filled one after the other, so it is found by halving.
func (in *inserter) lastGroup(first groupKey) (n, have int, err error) {
	if have, err = in.versions(first, 0); err != nil || have < groupVersions {
		return 0, have, err
	}
	full, last := 0, 1 // the first is full, and the last the first of those that may not be
	for {
		if have, err = in.versions(first, last); err != nil {
			return 0, 0, err
		}
		if have < groupVersions {
			break
		}
		full, last = last, 2*last
	}
	for last-full > 1 {
		mid := full + (last-full)/2
		n, err := in.versions(first, mid)
		if err != nil {
			return 0, 0, err
		}
		if n < groupVersions {
			last, have = mid, n
		} else {
			full = mid
		}
	}
	return last, have, nil
}

// versions returns how many versions group n has.
func (in *inserter) versions(first groupKey, n int) (have int, err error) {
	g := first.group(n)
	b, err := in.modules.Bucket(g.key())
	if err != nil {
		return 0, err
	}
	for item := range b.With(g.key()) {
		if !g.ofGroup(item) {
			continue
		}
		if v := parseVersionItem(item); v.Index >= in.next {
			return 0, errAhead(v.Index, in.next)
		}
		have++
	}
	return have, nil
}

// flush writes what has changed. It stops at the first error: with one, SQLite may
// have taken back the transaction, and what followed would be one of its own.
func (in *inserter) flush() error {
	if err := in.names.Flush(); err != nil {
		return err
	}
	return in.modules.Flush()
}
