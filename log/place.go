// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"github.com/transparency-dev/tessera/api/layout"
)

// A Place is where one entry is in its bundle, and how to know it.
type Place struct {
	At   int     // where its text begins, behind its length
	Leaf [4]byte // what its leaf hash begins with
}

// A PlacedEntry is an entry with its place.
type PlacedEntry struct {
	Entry
	Place
}

// entryAt returns entry i of the tree at size have.
func (t tree) entryAt(i int64, p Place, have int64) (Entry, error) {
	if i < 0 || i >= have || p.At < 2 {
		return Entry{}, fmt.Errorf("entry %d of %d at %d", i, have, p.At)
	}
	n := i / tileWidth
	var buf [1 + 1024]byte
	leaf, err := t.readAny(width(0, n, have), func(w uint8) string { return layout.EntriesPath(uint64(n), w) },
		func(name string) ([]byte, error) { return readLeaf(buf[:], name, int64(p.At)) })
	if err != nil {
		return Entry{}, err
	}
	if sum := sha256.Sum256(leaf); !bytes.Equal(sum[:len(p.Leaf)], p.Leaf[:]) {
		return Entry{}, fmt.Errorf("tile/entries/%d: entry %d is not the one that was logged: %w", n, i, errRotten)
	}
	r, err := splitRecord(leaf[1:])
	if err != nil {
		return Entry{}, fmt.Errorf("entry %d: %w", i, err)
	}
	return Entry{Index: i, Record: r}, nil
}

// readLeaf returns what the leaf hash of an entry is made of, a zero byte and the
// text that begins at byte at of the file name. It uses buf if that is large enough.
func readLeaf(buf []byte, name string, at int64) ([]byte, error) {
	fd, err := openFile(name)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	// The length goes before the text, and most texts are as long as buf or shorter.
	n, err := readAt(fd, name, buf[:len(buf)-1], at-2)
	if err != nil {
		return nil, err
	}
	if n < 2 {
		return nil, fmt.Errorf("%s: ends before byte %d: %w", name, at, errRotten)
	}
	size := int(binary.BigEndian.Uint16(buf))
	if size > MaxRecord {
		return nil, fmt.Errorf("%s: an entry of %d bytes: %w", name, size, errRotten)
	}
	if n -= 2; n < size {
		buf = append(slices.Clone(buf[:2+n]), make([]byte, size-n)...)
		more, err := readAt(fd, name, buf[2+n:], at+int64(n))
		if err != nil {
			return nil, err
		}
		if more < size-n {
			return nil, fmt.Errorf("%s: ends within an entry: %w", name, errRotten)
		}
	}
	buf[1] = 0
	return buf[1 : 2+size], nil
}

// readAt reads until b is full or the file ends.
func readAt(fd int, name string, b []byte, at int64) (n int, err error) {
	for n < len(b) {
		k, err := retry(func() (int, error) { return syscall.Pread(fd, b[n:], at+int64(n)) })
		if err != nil {
			return n, &fs.PathError{Op: "read", Path: name, Err: err}
		}
		if n += k; k == 0 || n < len(b) {
			break // a regular file gives less than asked for only at its end
		}
	}
	return n, nil
}
