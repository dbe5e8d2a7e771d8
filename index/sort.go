// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"example.org/sumlog/internal/durable"
)

// sortBuffer is how many bytes of rows are usually sorted in memory. A row has
// some 140 bytes.
const sortBuffer = 16 << 20

// A sorter sorts rows by path, version and index in bounded memory: when limit
// bytes of them are there, they go to a file as a sorted run, and the runs are
// merged in the end.
//
// A row is kept as the length of its key in 2 bytes, the key (path, 0, version),
// index and time in 8 bytes each, and the hashes. No path has a 0 in it, so the
// order of keys is that of (path, version), in bytes, which is SQLite's too.
type sorter struct {
	root  *os.Root
	limit int
	buf   []byte
	at    []uint32 // where rows begin in buf
	file  *os.File // nil until buf was full once
	w     *bufio.Writer
	ends  []int64 // where runs end in file
	size  int64   // bytes in file
}

const rowTail = 8 + 8 + 64

func newSorter(root *os.Root, limit int) *sorter { return &sorter{root: root, limit: limit} }

func (s *sorter) close() {
	if s.file != nil {
		s.file.Close()
	}
}

func (s *sorter) add(r *row) error {
	key := len(r.path) + 1 + len(r.version)
	if key > 1<<16-1 {
		return fmt.Errorf("entry %d: name of %d bytes", r.index, key)
	}
	if n := 2 + key + rowTail; len(s.buf)+n > s.limit {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.at = append(s.at, uint32(len(s.buf)))
	b := binary.BigEndian.AppendUint16(s.buf, uint16(key))
	b = append(append(b, r.path...), 0)
	b = append(b, r.version...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.index))
	b = binary.BigEndian.AppendUint64(b, uint64(r.time))
	s.buf = append(b, r.hashes[:]...)
	return nil
}

// key returns the key and index of the row that b begins with, in one piece.
func key(b []byte) []byte { return b[2 : 2+int(binary.BigEndian.Uint16(b))+8] }

func (s *sorter) sort() {
	slices.SortFunc(s.at, func(i, j uint32) int { return compareRows(s.buf[i:], s.buf[j:]) })
}

// compareRows compares the rows that a and b begin with.
func compareRows(a, b []byte) int {
	ka, kb := key(a), key(b)
	na, nb := len(ka)-8, len(kb)-8
	if c := bytes.Compare(ka[:na], kb[:nb]); c != 0 {
		return c
	}
	return bytes.Compare(ka[na:], kb[nb:])
}

// spill writes the rows in memory to the file as one sorted run.
func (s *sorter) spill() error {
	if s.file == nil {
		// The name goes at once, so that no crash can leave the file behind.
		name := durable.TempPrefix + rand.Text()
		f, err := s.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		s.file, s.w = f, bufio.NewWriterSize(f, 1<<18)
		if err := s.root.Remove(name); err != nil {
			return err
		}
	}
	s.sort()
	for _, i := range s.at {
		n, err := s.w.Write(s.buf[i:][:2+len(key(s.buf[i:]))-8+rowTail])
		s.size += int64(n)
		if err != nil {
			return err
		}
	}
	s.ends = append(s.ends, s.size)
	s.buf, s.at = s.buf[:0], s.at[:0]
	return s.w.Flush()
}

// sorted returns all rows in order.
func (s *sorter) sorted() iter.Seq2[row, error] {
	if s.file == nil {
		return s.fromMemory
	}
	return s.merged
}

func (s *sorter) fromMemory(yield func(row, error) bool) {
	s.sort()
	for _, i := range s.at {
		if !yield(decodeRow(s.buf[i:]), nil) {
			return
		}
	}
}

// merged merges the runs in the file, by a heap of their first rows.
func (s *sorter) merged(yield func(row, error) bool) {
	if err := s.spill(); err != nil {
		yield(row{}, err)
		return
	}
	s.buf, s.at = nil, nil
	var heap []*run
	begin := int64(0)
	for _, end := range s.ends {
		r := &run{r: bufio.NewReaderSize(io.NewSectionReader(s.file, begin, end-begin), runBuffer)}
		begin = end
		if err := r.advance(); err == io.EOF {
			continue
		} else if err != nil {
			yield(row{}, err)
			return
		}
		heap = append(heap, r)
	}
	slices.SortFunc(heap, func(a, b *run) int { return compareRows(a.head, b.head) })
	for len(heap) > 0 {
		if !yield(decodeRow(heap[0].head), nil) {
			return
		}
		switch err := heap[0].advance(); err {
		case nil:
		case io.EOF:
			heap[0] = heap[len(heap)-1]
			heap = heap[:len(heap)-1]
		default:
			yield(row{}, err)
			return
		}
		siftDown(heap)
	}
}

// siftDown restores the order of a heap whose first element has changed.
func siftDown(heap []*run) {
	for i := 0; ; {
		least := i
		for _, child := range []int{2*i + 1, 2*i + 2} {
			if child < len(heap) && compareRows(heap[child].head, heap[least].head) < 0 {
				least = child
			}
		}
		if least == i {
			return
		}
		heap[i], heap[least] = heap[least], heap[i]
		i = least
	}
}

// runBuffer is read of a run at once. No row may be longer.
const runBuffer = 1 << 17

// A run is a sorted sequence of rows in the file.
type run struct {
	r    *bufio.Reader
	head []byte // its first row, in r's buffer
}

// advance moves to the next row. The error is io.EOF after the last.
func (r *run) advance() error {
	if _, err := r.r.Discard(len(r.head)); err != nil {
		return err
	}
	n, err := r.r.Peek(2)
	if err != nil {
		return err // io.EOF exactly at the end, since Peek of 1 byte cannot be
	}
	r.head, err = r.r.Peek(2 + int(binary.BigEndian.Uint16(n)) + rowTail)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func decodeRow(b []byte) row {
	k := key(b)
	name := k[:len(k)-8]
	i := bytes.IndexByte(name, 0)
	tail := b[2+len(name):]
	r := row{
		path:    string(name[:i]),
		version: string(name[i+1:]),
		index:   int64(binary.BigEndian.Uint64(tail)),
		time:    int64(binary.BigEndian.Uint64(tail[8:])),
	}
	copy(r.hashes[:], tail[16:])
	return r
}
