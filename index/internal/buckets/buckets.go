// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package buckets is a hash table whose every row proves what it says, what it
// leaves out included: that a key is not in the table is known from one row, and
// no row is believed because another one is sound.
//
// # Table
//
// A table holds items, each a key of 64 bits and some bytes. Many items may have
// the same key. The items are in buckets, one row of the database each, and how
// many buckets there are follows from how many items ([Count]). Keys must be
// spread evenly, by a hash that whoever chooses what is stored cannot foresee:
// nothing bounds a bucket but that.
//
// It grows as a linear hash table does. With 2^(d-1) < n <= 2^d buckets, a key is
// in the bucket of its low d bits, or, where there is no such bucket yet, of its
// low d-1 bits. One more bucket takes from the one bucket that differs from it in
// the highest bit alone the keys that have this bit set.
//
// # Row
//
//	sum    4 bytes, big-endian: CRC-32C of the table's letter, the number of the
//	       bucket in 8 bytes, and what follows
//	depth  1 byte: how many low bits of its keys are those of the bucket's number
//	items  each the key in 8 bytes, big-endian, the number of its bytes as a
//	       uvarint, and these
//
// # What is trusted
//
// Nothing that is read. A row is used only if it has its sum under the table and
// number asked for, the depth that this bucket has at the present number of
// buckets, and only keys that belong there: so a row that was damaged, that is another bucket's, or that was
// written before a split is [ErrDamaged]. Every bucket has a row, if with no
// items, so one that is missing is damage too, and never an absence. Two kinds of
// damage are beyond it: what has the right CRC-32C by chance, and an older row of
// the same bucket put back whole.
package buckets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"math/bits"
)

// ErrDamaged is wrapped by the error of a row that is not what was written.
var ErrDamaged = errors.New("damaged bucket")

// perBucket is how many items a bucket has on average. More make a row longer to
// read and write, fewer cost space.
const perBucket = 16

// Count returns the number of buckets of a table with that many items.
func Count(items int64) uint64 { return uint64(max(items, 0))/perBucket + 1 }

// Number returns the bucket, of n, of key.
func Number(key, n uint64) uint64 {
	d := bits.Len64(n - 1)
	b := key & (1<<d - 1)
	if b >= n {
		b &= 1<<(d-1) - 1
	}
	return b
}

// depth returns how many low bits the keys of bucket b of n have in common.
func depth(b, n uint64) int {
	d := bits.Len64(n - 1)
	if d > 0 && b < 1<<(d-1) && b|1<<(d-1) >= n {
		d--
	}
	return d
}

// A Bucket is the items of one bucket, encoded.
type Bucket []byte

// head is the length of what stands before the items.
const head = 4 + 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(table byte, number uint64, rest []byte) uint32 {
	var b [9]byte
	b[0] = table
	binary.BigEndian.PutUint64(b[1:], number)
	return crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, rest)
}

// AppendRow appends to row that of bucket number of n.
func (b Bucket) AppendRow(row []byte, table byte, number, n uint64) []byte {
	at := len(row)
	row = append(row, 0, 0, 0, 0, byte(depth(number, n)))
	row = append(row, b...)
	binary.BigEndian.PutUint32(row[at:], sum(table, number, row[at+4:]))
	return row
}

// Open returns the items in row, which must be that of bucket number of n.
func Open(row []byte, table byte, number, n uint64) (Bucket, error) {
	if len(row) < head || binary.BigEndian.Uint32(row) != sum(table, number, row[4:]) || int(row[4]) != depth(number, n) ||
		!Bucket(row[head:]).sound(number, uint64(1)<<row[4]-1) {
		return nil, fmt.Errorf("%w: %c%d of %d", ErrDamaged, table, number, n)
	}
	return row[head:], nil
}

// sound reports whether b is items alone, all of bucket number.
func (b Bucket) sound(number, mask uint64) bool {
	for len(b) > 0 {
		key, _, rest, ok := b.next()
		if !ok || key&mask != number {
			return false
		}
		b = rest
	}
	return true
}

// Append appends an item.
func (b Bucket) Append(key uint64, item []byte) Bucket {
	b = binary.BigEndian.AppendUint64(b, key)
	b = binary.AppendUvarint(b, uint64(len(item)))
	return append(b, item...)
}

// next cuts the first item off b. It reports false if b does not begin with one.
func (b Bucket) next() (key uint64, item []byte, rest Bucket, ok bool) {
	if len(b) < 9 {
		return 0, nil, nil, false
	}
	key = binary.BigEndian.Uint64(b)
	size, n := binary.Uvarint(b[8:])
	if n <= 0 || size > uint64(len(b)-8-n) {
		return 0, nil, nil, false
	}
	end := 8 + n + int(size)
	return key, b[8+n : end], b[end:], true
}

// All yields all items, in the order in which they were appended.
func (b Bucket) All() iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		for len(b) > 0 {
			key, item, rest, ok := b.next()
			if !ok || !yield(key, item) {
				return
			}
			b = rest
		}
	}
}

// With yields the items that have key, in the order in which they were appended.
func (b Bucket) With(key uint64) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for k, item := range b.All() {
			if k == key && !yield(item) {
				return
			}
		}
	}
}

// split returns the items whose keys have the bit set, and those that have not.
func (b Bucket) split(bit uint64) (set, clear Bucket) {
	for key, item := range b.All() {
		if key&bit != 0 {
			set = set.Append(key, item)
		} else {
			clear = clear.Append(key, item)
		}
	}
	return set, clear
}
