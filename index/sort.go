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
	"hash/maphash"
	"io"
	"iter"
	"os"
	"slices"
	"strings"

	"example.org/sumlog/internal/durable"
)

// sortBuffer is how many bytes of names are sorted in memory.
const sortBuffer = 8 << 20

// A sorter sorts names in bounded memory, and yields each once: when limit bytes of
// them are there, they go to a file as a sorted run, and the runs are merged in the
// end. A name is kept as its length in 2 bytes and itself.
type sorter struct {
	root  *os.Root
	limit int
	buf   []byte
	at    []uint32 // where names begin in buf
	file  *os.File // nil until buf was full once
	w     *bufio.Writer
	ends  []int64 // where runs end in file
	size  int64   // bytes in file
	last  []string
	seed  maphash.Seed
}

// lastNames is how many of the last names are remembered: most names come again
// soon, and those need not be sorted again.
const lastNames = 1 << 16

func newSorter(root *os.Root, limit int) *sorter {
	return &sorter{root: root, limit: limit, last: make([]string, lastNames), seed: maphash.MakeSeed()}
}

func (s *sorter) close() {
	if s.file != nil {
		s.file.Close()
	}
}

func (s *sorter) add(name string) error {
	if len(name) > 1<<16-1 {
		return fmt.Errorf("a name of %d bytes", len(name))
	}
	last := &s.last[maphash.String(s.seed, name)%lastNames]
	if *last == name && name != "" {
		return nil
	}
	*last = strings.Clone(name) // not the whole record that it is a part of
	if n := 2 + len(name); len(s.buf)+n > s.limit {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.at = append(s.at, uint32(len(s.buf)))
	s.buf = append(binary.BigEndian.AppendUint16(s.buf, uint16(len(name))), name...)
	return nil
}

// nameAt returns the name that b begins with.
func nameAt(b []byte) []byte { return b[2 : 2+int(binary.BigEndian.Uint16(b))] }

func (s *sorter) sort() {
	slices.SortFunc(s.at, func(i, j uint32) int { return bytes.Compare(nameAt(s.buf[i:]), nameAt(s.buf[j:])) })
}

// unnamedFile makes a file below root whose name goes at once, so that no crash can
// leave it behind.
func unnamedFile(root *os.Root) (*os.File, error) {
	name := durable.TempPrefix + rand.Text()
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := root.Remove(name); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// spill writes the names in memory to the file as one sorted run.
func (s *sorter) spill() error {
	if s.file == nil {
		f, err := unnamedFile(s.root)
		if err != nil {
			return err
		}
		s.file, s.w = f, bufio.NewWriterSize(f, 1<<18)
	}
	s.sort()
	for _, i := range s.at {
		n, err := s.w.Write(s.buf[i:][:2+len(nameAt(s.buf[i:]))])
		s.size += int64(n)
		if err != nil {
			return err
		}
	}
	s.ends = append(s.ends, s.size)
	s.buf, s.at = s.buf[:0], s.at[:0]
	return s.w.Flush()
}

// sorted returns all names in order, each once.
func (s *sorter) sorted() iter.Seq2[string, error] {
	all := s.merged
	if s.file == nil {
		all = s.fromMemory
	}
	return func(yield func(string, error) bool) {
		prev, any := "", false
		for b, err := range all {
			if err == nil && any && string(b) == prev {
				continue
			}
			prev, any = string(b), true
			if !yield(prev, err) {
				return
			}
		}
	}
}

func (s *sorter) fromMemory(yield func([]byte, error) bool) {
	s.sort()
	for _, i := range s.at {
		if !yield(nameAt(s.buf[i:]), nil) {
			return
		}
	}
}

// merged merges the runs in the file, by a heap of their first names.
func (s *sorter) merged(yield func([]byte, error) bool) {
	if err := s.spill(); err != nil {
		yield(nil, err)
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
			yield(nil, err)
			return
		}
		heap = append(heap, r)
	}
	slices.SortFunc(heap, compareRuns)
	for len(heap) > 0 {
		if !yield(nameAt(heap[0].head), nil) {
			return
		}
		switch err := heap[0].advance(); err {
		case nil:
		case io.EOF:
			heap[0] = heap[len(heap)-1]
			heap = heap[:len(heap)-1]
		default:
			yield(nil, err)
			return
		}
		siftDown(heap)
	}
}

func compareRuns(a, b *run) int { return bytes.Compare(nameAt(a.head), nameAt(b.head)) }

// siftDown restores the order of a heap whose first element has changed.
func siftDown(heap []*run) {
	for i := 0; ; {
		least := i
		for _, child := range []int{2*i + 1, 2*i + 2} {
			if child < len(heap) && compareRuns(heap[child], heap[least]) < 0 {
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

// runBuffer is read of a run at once. No name may be longer.
const runBuffer = 1 << 17

// A run is a sorted sequence of names in the file.
type run struct {
	r    *bufio.Reader
	head []byte // its first name with its length, in r's buffer
}

// advance moves to the next name. The error is io.EOF after the last.
func (r *run) advance() error {
	if _, err := r.r.Discard(len(r.head)); err != nil {
		return err
	}
	n, err := r.r.Peek(2)
	if err != nil {
		return err // io.EOF exactly at the end, since Peek of 1 byte cannot be
	}
	r.head, err = r.r.Peek(2 + int(binary.BigEndian.Uint16(n)))
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
