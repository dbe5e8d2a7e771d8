// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// maxEntry is the largest entry in bytes: the length before one in a bundle has
// two bytes. The other layout has no limit of its own and gets the same.
const maxEntry = 1<<16 - 1

// maxKept is the largest memory that a Buffer keeps.
const maxKept = 1 << 20

// ErrNoEntries is wrapped by the error of a log that has not got the file that
// entries are read from.
var ErrNoEntries = errors.New("the log does not serve these entries")

// ErrEntries is wrapped by the error of a file that was read and does not hold
// the entries that it should, whatever they are.
var ErrEntries = errors.New("malformed entries")

// Bundle returns the first width entries of bundle n, entry 256n being the
// first, as the log has them: nothing is verified. They are slices of one
// buffer, in which no entry can be extended.
func (l *Log) Bundle(ctx context.Context, n int64, width int) ([][]byte, error) {
	return l.BundleInto(ctx, new(Buffer), n, width)
}

// A Buffer is memory for a bundle.
type Buffer struct {
	data    []byte
	entries [][]byte
}

// BundleInto is Bundle for readers of many: what it returns lives in b, until b is
// used again.
func (l *Log) BundleInto(ctx context.Context, b *Buffer, n int64, width int) ([][]byte, error) {
	if n < 0 || n >= MaxSize>>tileHeight || width < 1 || width > tileWidth {
		return nil, fmt.Errorf("no bundle %d of %d entries", n, width)
	}
	entries, err := l.exactBundle(ctx, b, n, width)
	if err == nil || !Refused(err) {
		return entries, err
	}
	if width < tileWidth {
		full, err2 := l.exactBundle(ctx, b, n, tileWidth)
		if err2 == nil {
			return full[:width], nil
		}
		if !Refused(err2) {
			return nil, err2
		}
	}
	// As for tiles: a signed head promises them, so this is not the log's
	// saying that it is absent.
	return nil, fmt.Errorf("%w: %v", ErrNoEntries, err)
}

func (l *Log) exactBundle(ctx context.Context, b *Buffer, n int64, width int) ([][]byte, error) {
	path := l.layout.entries(n, width)
	data, err := readInto(ctx, l.source, path, int64(width)*(maxEntry+2), b.data)
	if err != nil {
		return nil, err
	}
	if b.data = data; cap(data) > maxKept {
		b.data = nil // a log can have few that large, or one that only costs memory
	}
	parse := appendBundle
	if l.layout == Database {
		parse = appendData
	}
	if b.entries, err = parse(b.entries[:0], data, width); err != nil {
		return nil, fmt.Errorf("%s/%s: %w", l.source, path, err)
	}
	return b.entries, nil
}

// entries returns the path of a file of entries.
func (l Layout) entries(n int64, width int) string {
	path := tlog.Tile{H: tileHeight, L: -1, N: n, W: width}.Path()
	if l == Database {
		return path
	}
	return "tile/entries/" + strings.TrimPrefix(path, "tile/8/data/")
}

// ParseBundle parses a bundle of C2SP tlog-tiles that holds width entries: each
// is two bytes of length, most significant first, and as many bytes. An entry
// can be anything, and empty.
func ParseBundle(data []byte, width int) ([][]byte, error) { return appendBundle(nil, data, width) }

func appendBundle(entries [][]byte, data []byte, width int) ([][]byte, error) {
	for i := range width {
		if len(data) < 2 {
			return nil, fmt.Errorf("%w: %d entries, want %d", ErrEntries, i, width)
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		if len(data) < end {
			return nil, fmt.Errorf("%w: entry %d is cut", ErrEntries, i)
		}
		entries = append(entries, data[2:end:end])
		data = data[end:]
	}
	if len(data) > 0 {
		return nil, fmt.Errorf("%w: %d bytes after %d entries", ErrEntries, len(data), width)
	}
	return entries, nil
}

// ParseData parses a data tile of a checksum database that holds width entries:
// each is lines, none of them empty, with an empty line after the last. An entry
// of another form cannot be served so.
func ParseData(data []byte, width int) ([][]byte, error) { return appendData(nil, data, width) }

func appendData(entries [][]byte, data []byte, width int) ([][]byte, error) {
	for i := range width {
		end := bytes.Index(data, []byte("\n\n")) + 1
		switch {
		case end == 0:
			return nil, fmt.Errorf("%w: %d entries, want %d", ErrEntries, i, width)
		case data[0] == '\n':
			return nil, fmt.Errorf("%w: entry %d begins with an empty line", ErrEntries, i)
		case end > maxEntry:
			return nil, fmt.Errorf("%w: entry %d of %d bytes", ErrEntries, i, end)
		}
		entries = append(entries, data[:end:end])
		data = data[end+1:]
	}
	if len(data) > 0 {
		return nil, fmt.Errorf("%w: %d bytes after %d entries", ErrEntries, len(data), width)
	}
	return entries, nil
}

// RawTile returns what the log publishes as the tile t, of exactly t.W hashes.
// Nothing is verified, no other tile takes its place, and no cache is asked. A
// tile that is not there is fs.ErrNotExist.
func (l *Log) RawTile(ctx context.Context, t tlog.Tile) ([]byte, error) {
	if t.H != tileHeight || t.L < 0 || t.L > 7 || t.N < 0 || t.N >= MaxSize>>tileHeight || t.W < 1 || t.W > tileWidth {
		return nil, fmt.Errorf("no tile %+v", t)
	}
	data, err := l.exactTile(ctx, t)
	if err != nil && Refused(err) && !errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %v", fs.ErrNotExist, err)
	}
	return data, err
}

// ProveEntry returns the proof that entry i is in tree, whose root the caller has
// from a signed head. It has been verified. To prove many entries of one tree,
// tlog.ProveRecord with one reader of [Log.Hashes] reads each tile once.
func (l *Log) ProveEntry(ctx context.Context, i int64, tree tlog.Tree) ([]tlog.Hash, error) {
	if i < 0 || i >= tree.N || tree.N > MaxSize {
		return nil, fmt.Errorf("no entry %d in a tree of size %d", i, tree.N)
	}
	hashes := l.Hashes(ctx, tree)
	proof, err := tlog.ProveRecord(tree.N, i, hashes)
	if err != nil {
		return nil, err
	}
	leaf, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, i)})
	if err != nil {
		return nil, err
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, i, leaf[0]); err != nil {
		return nil, fmt.Errorf("%w: entry %d: %v", ErrUnproven, i, err)
	}
	return proof, nil
}
