// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package buckets

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
)

// Rows are the rows of a table in its database.
type Rows interface {
	// Row returns a row; it is an error that there is none.
	Row(number uint64) ([]byte, error)

	// Put writes a row. It keeps nothing of it.
	Put(number uint64, row []byte) error
}

// A Writer changes a table. What it changes is in memory until Flush.
type Writer struct {
	table byte
	rows  Rows
	n     uint64
	dirty map[uint64]Bucket
}

// NewWriter returns a writer to a table of n buckets.
func NewWriter(table byte, rows Rows, n uint64) *Writer {
	return &Writer{table: table, rows: rows, n: n, dirty: make(map[uint64]Bucket)}
}

// Bucket returns the bucket of key. It is the caller's only until the next call.
func (w *Writer) Bucket(key uint64) (Bucket, error) { return w.bucket(Number(key, w.n)) }

func (w *Writer) bucket(number uint64) (Bucket, error) {
	if b, ok := w.dirty[number]; ok {
		return b, nil
	}
	row, err := w.rows.Row(number)
	if err != nil {
		return nil, err
	}
	return Open(row, w.table, number, w.n)
}

// Add adds an item.
func (w *Writer) Add(key uint64, item []byte) error {
	number := Number(key, w.n)
	b, err := w.bucket(number)
	if err != nil {
		return err
	}
	w.dirty[number] = b.Append(key, item)
	return nil
}

// Grow splits buckets until there are n.
func (w *Writer) Grow(n uint64) error {
	for w.n < n {
		number := w.n
		bit := uint64(1) << (bits.Len64(number) - 1)
		b, err := w.bucket(number &^ bit)
		if err != nil {
			return err
		}
		w.dirty[number], w.dirty[number&^bit] = b.split(bit)
		w.n++
	}
	return nil
}

// Flush writes the rows that have changed.
func (w *Writer) Flush() error {
	var row []byte
	for _, number := range slices.Sorted(maps.Keys(w.dirty)) {
		row = w.dirty[number].AppendRow(row[:0], w.table, number, w.n)
		if err := w.rows.Put(number, row); err != nil {
			return fmt.Errorf("bucket %c%d: %w", w.table, number, err)
		}
	}
	clear(w.dirty)
	return nil
}
