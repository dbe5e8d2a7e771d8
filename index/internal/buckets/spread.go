// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package buckets

import (
	"encoding/binary"
	"iter"
	"os"
	"slices"
)

// A Spread brings many items into the order of their buckets. Keys being spread
// evenly, no comparison is needed: items go to one part for each range of buckets,
// and the parts, which fit into memory, are read back one after the other.
type Spread struct {
	n     uint64
	shift int // buckets of a part, as a power of two
	parts []part
	file  func() (*os.File, error)
	f     *os.File // nil until it is needed
	size  int64
}

// A part is some pieces of the file, and what is not yet written to it.
type part struct {
	pieces []piece
	buf    Bucket
}

type piece struct {
	at   int64
	size int
}

const (
	partShift = 15      // with some 30 bytes an item, a part has 16 MB
	maxParts  = 256     // each has a buffer
	pieceSize = 1 << 16 // of a buffer
)

// NewSpread returns a Spread over n buckets. It calls file at most once, for a file
// to write to, which it closes.
func NewSpread(n uint64, file func() (*os.File, error)) *Spread {
	s := &Spread{n: n, shift: partShift, file: file}
	for (n-1)>>s.shift >= maxParts {
		s.shift++
	}
	s.parts = make([]part, (n-1)>>s.shift+1)
	return s
}

// Close gives the file up.
func (s *Spread) Close() {
	if s.f != nil {
		s.f.Close()
	}
}

// Add adds an item.
func (s *Spread) Add(key uint64, item []byte) error {
	p := &s.parts[Number(key, s.n)>>s.shift]
	p.buf = p.buf.Append(key, item)
	if len(p.buf) < pieceSize {
		return nil
	}
	if s.f == nil {
		f, err := s.file()
		if err != nil {
			return err
		}
		s.f = f
	}
	if _, err := s.f.WriteAt(p.buf, s.size); err != nil {
		return err
	}
	p.pieces = append(p.pieces, piece{s.size, len(p.buf)})
	s.size += int64(len(p.buf))
	p.buf = p.buf[:0]
	return nil
}

// All yields all buckets, in order, those without items too. The items of a bucket
// are in the order in which they were added. A bucket is the caller's only until the
// next one.
func (s *Spread) All() iter.Seq2[Bucket, error] {
	return func(yield func(Bucket, error) bool) {
		most := 0
		for i := range s.parts {
			most = max(most, s.parts[i].size())
		}
		raw, sorted := make(Bucket, 0, most), make(Bucket, 0, most)
		var ends []int
		for i := range s.parts {
			var err error
			if raw, err = s.load(raw[:0], &s.parts[i]); err != nil {
				yield(nil, err)
				return
			}
			first := uint64(i) << s.shift
			ends = raw.ends(ends[:0], first, min(s.n-first, 1<<s.shift), s.n)
			sorted = raw.sort(sorted[:len(raw)], ends, first, s.n)
			begin := 0
			for _, end := range ends {
				if !yield(sorted[begin:end], nil) {
					return
				}
				begin = end
			}
		}
	}
}

// size returns how many bytes the items of p are.
func (p *part) size() int {
	n := len(p.buf)
	for _, piece := range p.pieces {
		n += piece.size
	}
	return n
}

// load appends the items of p to b, which has room for them.
func (s *Spread) load(b Bucket, p *part) (Bucket, error) {
	for _, piece := range p.pieces {
		at := len(b)
		b = b[:at+piece.size]
		if _, err := s.f.ReadAt(b[at:], piece.at); err != nil {
			return nil, err
		}
	}
	b = append(b, p.buf...)
	p.buf = nil
	return b, nil
}

// ends appends where each of count buckets ends when the items of b are sorted.
func (b Bucket) ends(ends []int, first, count, n uint64) []int {
	ends = slices.Grow(ends, int(count))[:count]
	clear(ends)
	for len(b) > 0 {
		size := b.first()
		ends[Number(binary.BigEndian.Uint64(b), n)-first] += size
		b = b[size:]
	}
	end := 0
	for i := range ends {
		end += ends[i]
		ends[i] = end
	}
	return ends
}

// sort fills to with the items of b, sorted into buckets with these ends.
func (b Bucket) sort(to Bucket, ends []int, first, n uint64) Bucket {
	at := make([]int, len(ends))
	copy(at[1:], ends)
	for len(b) > 0 {
		size := b.first()
		i := Number(binary.BigEndian.Uint64(b), n) - first
		copy(to[at[i]:], b[:size])
		at[i] += size
		b = b[size:]
	}
	return to
}

// first returns the length of the first item of b, which this process has encoded.
func (b Bucket) first() int {
	size, n := binary.Uvarint(b[8:])
	return 8 + n + int(size)
}
