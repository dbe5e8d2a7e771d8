// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package buckets

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// rows keeps rows in memory.
type rows map[uint64][]byte

func (r rows) Row(number uint64) ([]byte, error) {
	row, ok := r[number]
	if !ok {
		return nil, fmt.Errorf("%w: no row %d", ErrDamaged, number)
	}
	return row, nil
}

func (r rows) Put(number uint64, row []byte) error {
	r[number] = bytes.Clone(row)
	return nil
}

// newRows returns the rows of an empty table.
func newRows() rows {
	r := rows{}
	r.Put(0, Bucket(nil).AppendRow(nil, 't', 0, 1))
	return r
}

// spread makes keys of small numbers that differ in all their bits.
func spread(i int) uint64 {
	x := uint64(i+1) * 0x9e3779b97f4a7c15
	x ^= x >> 29
	return x * 0xbf58476d1ce4e5b9
}

// fill returns the rows of a table that has grown to items 0 to n-1, a few at a
// time.
func fill(t testing.TB, n, step int) rows {
	t.Helper()
	r := newRows()
	for i := 0; i < n; i += step {
		w := NewWriter('t', r, Count(int64(i)))
		end := min(i+step, n)
		if err := w.Grow(Count(int64(end))); err != nil {
			t.Fatal(err)
		}
		for ; i < end; i++ {
			if err := w.Add(spread(i), fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		i -= step
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// get returns the items of a key of a table with that many items.
func (r rows) get(key uint64, items int) (found [][]byte, err error) {
	n := Count(int64(items))
	number := Number(key, n)
	row, err := r.Row(number)
	if err != nil {
		return nil, err
	}
	b, err := Open(row, 't', number, n)
	if err != nil {
		return nil, err
	}
	return slices.Collect(b.With(key)), nil
}

// TestNumber compares numbers and depths with what they are for: to say where
// a key is, and that all keys with certain low bits are there.
func TestNumber(t *testing.T) {
	for n := uint64(1); n < 70; n++ {
		for key := range uint64(1 << 8) {
			b := Number(key, n)
			if b >= n {
				t.Fatalf("Number(%d, %d) = %d", key, n, b)
			}
			mask := uint64(1)<<depth(b, n) - 1
			if key&mask != b {
				t.Fatalf("key %d is in bucket %d of %d, which has other low %d bits", key, b, n, depth(b, n))
			}
			for other := range n {
				if m := uint64(1)<<depth(other, n) - 1; other != b && key&m == other {
					t.Fatalf("key %d is in bucket %d of %d, and bucket %d claims it too", key, b, n, other)
				}
			}
		}
	}
	if n := Number(1<<63, 1); n != 0 {
		t.Errorf("Number in one bucket = %d", n)
	}
}

// Whatever the order of growing and adding, all that was added is found, and
// nothing else.
func TestGrown(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRows()
		want := map[uint64][][]byte{}
		items := 0
		for range rapid.IntRange(0, 12).Draw(rt, "flushes") {
			w := NewWriter('t', r, Count(int64(items)))
			for range rapid.IntRange(0, 60).Draw(rt, "items") {
				key := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 40)).Draw(rt, "key")
				item := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(rt, "item")
				items++
				if err := w.Grow(Count(int64(items))); err != nil {
					rt.Fatal(err)
				}
				if err := w.Add(key, item); err != nil {
					rt.Fatal(err)
				}
				want[key] = append(want[key], item)
			}
			if err := w.Flush(); err != nil {
				rt.Fatal(err)
			}
		}
		if n := Count(int64(items)); uint64(len(r)) != n {
			rt.Fatalf("%d rows, want %d", len(r), n)
		}
		for key, items_ := range want {
			got, err := r.get(key, items)
			if err != nil || !slices.EqualFunc(got, items_, bytes.Equal) {
				rt.Fatalf("key %x: got %x, %v, want %x", key, got, err, items_)
			}
			if got, err := r.get(^key, items); want[^key] == nil && (len(got) > 0 || err != nil) {
				rt.Fatalf("key %x: got %x, %v, want nothing", ^key, got, err)
			}
		}
	})
}

// The rows depend on the items alone, not on how many came at a time.
func TestSteps(t *testing.T) {
	one := fill(t, 500, 1)
	for _, step := range []int{2, 7, 100, 500} {
		if many := fill(t, 500, step); !equalRows(one, many) {
			t.Errorf("in steps of %d: other rows", step)
		}
	}
}

func equalRows(a, b rows) bool {
	if len(a) != len(b) {
		return false
	}
	for n := range a {
		if !bytes.Equal(a[n], b[n]) {
			return false
		}
	}
	return true
}

// No bit of any row can be flipped, and no row be zeroed, cut, lost or put in the
// place of another, without a read of that bucket being an error.
func TestRot(t *testing.T) {
	const items = 200
	r := fill(t, items, 9)
	n := Count(items)
	damaged := func(what string, number uint64, row []byte) {
		t.Helper()
		if _, err := Open(row, 't', number, n); !errors.Is(err, ErrDamaged) {
			t.Fatalf("bucket %d, %s: got %v", number, what, err)
		}
	}
	for number, row := range r {
		if _, err := Open(row, 't', number, n); err != nil {
			t.Fatal(err)
		}
		for bit := range 8 * len(row) {
			row[bit/8] ^= 1 << (bit % 8)
			damaged(fmt.Sprintf("bit %d", bit), number, row)
			row[bit/8] ^= 1 << (bit % 8)
		}
		for end := range len(row) {
			damaged(fmt.Sprintf("cut at %d", end), number, row[:end])
			if !bytes.Equal(row[end:], make([]byte, len(row)-end)) {
				damaged(fmt.Sprintf("zeroed from %d on", end), number, append(bytes.Clone(row[:end]), make([]byte, len(row)-end)...))
			}
		}
		damaged("longer", number, append(bytes.Clone(row), 0))
		for other := range r {
			if other != number {
				damaged("of another bucket", other, row)
			}
		}
		if _, err := Open(row, 'u', number, n); !errors.Is(err, ErrDamaged) {
			t.Errorf("bucket %d was taken for that of another table", number)
		}
	}
}

// A row from before its bucket was split, which an index that lost a write has,
// is not taken for what it is after.
func TestBeforeSplit(t *testing.T) {
	before := fill(t, 100, 1)
	after := fill(t, 200, 1)
	stale := 0
	n := Count(200)
	for number, row := range before {
		if depth(number, Count(100)) == depth(number, n) {
			continue
		}
		stale++
		if _, err := Open(row, 't', number, n); !errors.Is(err, ErrDamaged) {
			t.Errorf("bucket %d of before its split: got %v", number, err)
		}
		after[number] = row
		w := NewWriter('t', after, n)
		if err := w.Add(number, []byte("new")); !errors.Is(err, ErrDamaged) {
			t.Errorf("bucket %d of before its split was added to: %v", number, err)
		}
	}
	if stale == 0 {
		t.Error("no bucket was split")
	}
}

func TestWriterPassesErrors(t *testing.T) {
	r := fill(t, 100, 1)
	n := Count(100)
	parent := n &^ (1 << 2)
	if parent >= n {
		t.Fatalf("%d buckets: the next is not split off %d", n, parent)
	}
	delete(r, parent)
	w := NewWriter('t', r, n)
	if err := w.Grow(n + 1); !errors.Is(err, ErrDamaged) {
		t.Errorf("Grow over a missing row: %v", err)
	}
	if err := w.Add(parent, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("Add to a missing row: %v", err)
	}
	if _, err := w.Bucket(parent); !errors.Is(err, ErrDamaged) {
		t.Errorf("Bucket of a missing row: %v", err)
	}
}

// FuzzOpen gives Open rows that have their sum, whatever they hold.
func FuzzOpen(f *testing.F) {
	for number, row := range fill(f, 60, 1) {
		f.Add(row[4:], number)
	}
	f.Add([]byte{0}, uint64(0))
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, uint64(0))
	f.Fuzz(func(t *testing.T, rest []byte, number uint64) {
		n := Count(60)
		row := binary.BigEndian.AppendUint32(nil, sum('t', number, rest))
		b, err := Open(append(row, rest...), 't', number, n)
		if err != nil {
			return
		}
		size := 0
		for key, item := range b.All() {
			if Number(key, n) != number {
				t.Fatalf("bucket %d has key %x", number, key)
			}
			size += 8 + len(item)
		}
		if items := len(b) - size; items < 0 || size > 0 && items == 0 {
			t.Fatalf("%x has items of %d bytes", b, size)
		}
	})
}
