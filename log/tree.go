// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/durable"
)

// tileWidth is the number of hashes of a full tile, and of entries of a full
// bundle.
const tileWidth = 256

// maxLevel is the highest tile level of a tree whose size is an int64.
const maxLevel = 7

var (
	hasher       = rfc6962.DefaultHasher
	rangeFactory = compact.RangeFactory{Hash: hasher.HashChildren}
)

// A tree reads Tessera's files below one directory. It believes nothing but
// the coordinates it is asked for: callers compare what it returns.
//
// Paths are made of integers alone, never of a request's bytes, so they need
// no os.Root to stay inside.
type tree struct {
	dir string

	// whole is, of a backup, the size of the tree whose files are all there: it
	// can have been cut off before its archive came to that size, and has no
	// partial files of the sizes between. Nil: what is asked for is there.
	whole *atomic.Int64
}

// have returns the size of the tree whose files are read for one of size n.
func (t tree) have(n int64) int64 {
	if t.whole == nil {
		return n
	}
	return max(n, t.whole.Load())
}

// width returns how many hashes tile n of a level has in a tree of size
// entries, 0 if it has no such tile.
func width(level int, n, size int64) int {
	if level < 0 || level > maxLevel || n < 0 || n > (size>>(8*level))/tileWidth {
		return 0
	}
	return int(min(size>>(8*level)-n*tileWidth, tileWidth))
}

// hashTile returns the first w hashes of a tile of the tree at size have, which
// is one that was integrated: see read.
func (t tree) hashTile(level int, n int64, w int, have int64) ([]byte, error) {
	data, err := t.read(w, width(level, n, t.have(have)), func(p uint8) string { return layout.TilePath(uint64(level), uint64(n), p) })
	if err != nil {
		return nil, err
	}
	if len(data)%tlog.HashSize != 0 || len(data) < w*tlog.HashSize {
		return nil, fmt.Errorf("tile/%d/%d: %d bytes, want %d hashes: %w", level, n, len(data), w, errRotten)
	}
	return data[:w*tlog.HashSize], nil
}

// bundle returns the first w entries of a bundle of the tree at size have, in
// the bundle's encoding: a 16-bit big-endian length before each
// (https://c2sp.org/tlog-tiles).
func (t tree) bundle(n int64, w int, have int64) ([]byte, error) {
	data, err := t.read(w, width(0, n, t.have(have)), func(p uint8) string { return layout.EntriesPath(uint64(n), p) })
	if err != nil {
		return nil, err
	}
	end := 0
	for i := range w {
		if len(data)-end < 2 {
			return nil, fmt.Errorf("tile/entries/%d: ends before entry %d: %w", n, i, errRotten)
		}
		l := int(binary.BigEndian.Uint16(data[end:]))
		if len(data)-end-2 < l {
			return nil, fmt.Errorf("tile/entries/%d: ends within entry %d: %w", n, i, errRotten)
		}
		end += 2 + l
	}
	return data[:end], nil
}

// errRotten is wrapped by errors about a file that cannot be what was written.
var errRotten = errors.New("file is damaged")

// read returns the file of a tile that has have items, of which w are wanted.
// The full file takes the place of a partial one that Tessera collected.
//
// Only files of a tree that was integrated are ever read. At other widths a
// batch that was killed or failed can have left a file with other entries, and
// the file of the width asked for can be such a one.
func (t tree) read(w, have int, path func(p uint8) string) ([]byte, error) {
	if w < 1 || w > have {
		return nil, fmt.Errorf("%s: width %d of %d", path(0), w, have)
	}
	return t.readAny(have, path, readFile)
}

// readAny reads, with a function that is given its name, the file of a tile that has
// have items.
func (t tree) readAny(have int, path func(p uint8) string, read func(name string) ([]byte, error)) ([]byte, error) {
	name := func(p uint8) string { return t.dir + "/" + path(p) }
	data, err := read(name(uint8(have % tileWidth)))
	if have == tileWidth || !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	return read(name(0))
}

// readFile is os.ReadFile for files that mostly have the size of a full tile. It
// asks neither for the size nor for a poller, which a regular file cannot have:
// that would cost as much as the read.
func readFile(name string) ([]byte, error) {
	fd, err := openFile(name)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	data := make([]byte, 0, tileWidth*tlog.HashSize+1)
	for {
		n, err := retry(func() (int, error) { return syscall.Read(fd, data[len(data):cap(data)]) })
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: name, Err: err}
		}
		data = data[:len(data)+n]
		if len(data) < cap(data) {
			return data, nil // a regular file gives less than asked for only at its end
		}
		data = slices.Grow(data, 8*len(data))
	}
}

// openFile opens a file for reading.
func openFile(name string) (fd int, err error) {
	fd, err = retry(func() (int, error) { return syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0) })
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

// retry calls f again when a signal came in between.
func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != syscall.EINTR {
			return n, err
		}
	}
}

// entries calls yield with each text of a bundle.
func bundleEntries(bundle []byte, yield func(text []byte) error) error {
	for len(bundle) > 0 {
		l := int(binary.BigEndian.Uint16(bundle))
		if err := yield(bundle[2 : 2+l]); err != nil {
			return err
		}
		bundle = bundle[2+l:]
	}
	return nil
}

// node returns the hash of a complete subtree of the tree at size have, computed
// from the one tile that holds its leaves or their nearest stored ancestors.
func (t tree) node(id compact.NodeID, have int64) ([]byte, error) {
	level, height := int(id.Level/8), id.Level%8
	first := int64(id.Index) << height // of the tile level's hashes
	n, at := first/tileWidth, int(first%tileWidth)
	w := at + 1<<height
	data, err := t.hashTile(level, n, w, have)
	if err != nil {
		return nil, err
	}
	return subtree(data[at*tlog.HashSize:]), nil
}

// include returns the inclusion proof of entry i in the tree that has n entries.
func (t tree) include(i, n int64) ([]tlog.Hash, error) {
	if i < 0 || i >= n {
		return nil, fmt.Errorf("no proof of entry %d in a tree of size %d", i, n)
	}
	nodes, err := proof.Inclusion(uint64(i), uint64(n))
	if err != nil {
		return nil, err
	}
	return t.hashes(nodes, n)
}

// prove returns the consistency proof from size old to size n of the tree that
// has n entries.
func (t tree) prove(old, n int64) ([]tlog.Hash, error) {
	if old < 0 || old > n {
		return nil, fmt.Errorf("no proof from size %d to %d", old, n)
	}
	if old == 0 {
		return nil, nil
	}
	nodes, err := proof.Consistency(uint64(old), uint64(n))
	if err != nil {
		return nil, err
	}
	return t.hashes(nodes, n)
}

// hashes returns the hashes of a proof in the tree that has n entries.
func (t tree) hashes(nodes proof.Nodes, n int64) ([]tlog.Hash, error) {
	hashes := make([][]byte, len(nodes.IDs))
	var err error
	for i, id := range nodes.IDs {
		if hashes[i], err = t.node(id, n); err != nil {
			return nil, err
		}
	}
	if hashes, err = nodes.Rehash(hashes, hasher.HashChildren); err != nil {
		return nil, err
	}
	out := make([]tlog.Hash, len(hashes))
	for i, h := range hashes {
		out[i] = tlog.Hash(h)
	}
	return out, nil
}

// subtree returns the root over a power of two of hashes.
func subtree(hashes []byte) []byte {
	if len(hashes) == tlog.HashSize {
		return hashes
	}
	mid := len(hashes) / 2
	return hasher.HashChildren(subtree(hashes[:mid]), subtree(hashes[mid:]))
}

// compactRange returns the range [0, size) as the tiles of the tree at size have
// have it.
func (t tree) compactRange(size, have int64) (*compact.Range, error) {
	var hashes [][]byte
	for _, id := range compact.RangeNodes(0, uint64(size), nil) {
		h, err := t.node(id, have)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, h)
	}
	return rangeFactory.NewRange(0, uint64(size), hashes)
}

// rangeRoot returns the root of the tree that r covers.
func rangeRoot(r *compact.Range) (tlog.Hash, error) {
	if r.End() == 0 {
		return tlog.Hash(hasher.EmptyRoot()), nil
	}
	root, err := r.GetRootHash(nil)
	if err != nil {
		return tlog.Hash{}, err
	}
	return tlog.Hash(root), nil
}

// root computes the root at size from the tiles of the tree at size have.
func (t tree) root(size, have int64) (tlog.Hash, error) {
	r, err := t.compactRange(size, have)
	if err != nil {
		return tlog.Hash{}, err
	}
	return rangeRoot(r)
}

// extend appends to r the leaf hashes of the entries [r.End(), size), read back
// from the bundles of the tree at size have, and compares every leaf of every
// bundle it touches with the tile above it. Bundles are rehashed from their first entry, because
// Tessera copies the older part of a partial bundle into the newer one: a byte
// that rotted there would be carried on without it.
func (t tree) extend(r *compact.Range, size, have int64) error {
	for from := int64(r.End()); from < size; from = int64(r.End()) {
		n := from / tileWidth
		skip := int(from % tileWidth)
		_, hashes, err := t.leaves(n, width(0, n, size), have)
		if err != nil {
			return err
		}
		for leaf := range slices.Chunk(hashes[skip*tlog.HashSize:], tlog.HashSize) {
			if err := r.Append(leaf, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// leaves returns the first w entries of a bundle, and their leaf hashes after
// comparing them with the tile above.
func (t tree) leaves(n int64, w int, have int64) (bundle, hashes []byte, err error) {
	if bundle, err = t.bundle(n, w, have); err != nil {
		return nil, nil, err
	}
	if hashes, err = t.hashTile(0, n, w, have); err != nil {
		return nil, nil, err
	}
	// RFC 6962: a leaf's hash is that of a zero byte and the entry.
	leaf := make([]byte, 1, 512)
	at := 0
	err = bundleEntries(bundle, func(text []byte) error {
		leaf = append(leaf[:1], text...)
		if sum := sha256.Sum256(leaf); !bytes.Equal(sum[:], hashes[at:at+tlog.HashSize]) {
			return fmt.Errorf("tile/entries/%d: entry %d is not the one that tile/0/%d has the hash of: %w", n, n*tileWidth+int64(at/tlog.HashSize), n, errRotten)
		}
		at += tlog.HashSize
		return nil
	})
	return bundle, hashes, err
}

// records yields the entries [from, to) of the tree at size.
func (t tree) records(from, to, size int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range t.placed(from, to, size) {
			if !yield(e.Entry, err) {
				return
			}
		}
	}
}

// placed is records with the places of the entries.
func (t tree) placed(from, to, size int64) iter.Seq2[PlacedEntry, error] {
	return func(yield func(PlacedEntry, error) bool) {
		if from < 0 || to > size {
			yield(PlacedEntry{}, fmt.Errorf("entries [%d, %d) of %d", from, to, size))
			return
		}
		for i := from; i < to; {
			n := i / tileWidth
			bundle, hashes, err := t.leaves(n, width(0, n, to), size)
			if err != nil {
				yield(PlacedEntry{}, err)
				return
			}
			at, end := n*tileWidth, 0
			stopped := errors.New("stopped")
			err = bundleEntries(bundle, func(text []byte) error {
				begin := end + 2
				end = begin + len(text)
				if at++; at <= i {
					return nil
				}
				r, err := splitRecord(text)
				if err != nil {
					return fmt.Errorf("entry %d: %w", i, err)
				}
				p := Place{At: begin}
				copy(p.Leaf[:], hashes[i%tileWidth*tlog.HashSize:])
				if !yield(PlacedEntry{Entry{Index: i, Record: r}, p}, nil) {
					return stopped
				}
				i++
				return nil
			})
			if err == stopped {
				return
			}
			if err != nil {
				yield(PlacedEntry{}, err)
				return
			}
		}
	}
}

// checkEdge compares what the right edge of the tree at size consists of: at
// every level the last tile, through the root, and the last full tile, through
// its parent; the last bundle and the last full one, through their leaf hashes.
// These are the files that the next batch is built on.
func (t tree) checkEdge(size int64, want tlog.Hash) error {
	root, err := t.root(size, size)
	if err != nil {
		return err
	}
	if root != want {
		return fmt.Errorf("the tiles' root at size %d is %v, not %v: %w", size, root, want, errRotten)
	}
	for level := 1; size>>(8*level) > 0; level++ {
		last := size>>(8*level) - 1 // the last full tile one level below
		child, err := t.hashTile(level-1, last, tileWidth, size)
		if err != nil {
			return err
		}
		parent, err := t.hashTile(level, last/tileWidth, int(last%tileWidth)+1, size)
		if err != nil {
			return err
		}
		if !bytes.Equal(subtree(child), parent[len(parent)-tlog.HashSize:]) {
			return fmt.Errorf("tile/%d/%d is not the one that tile/%d/%d has the hash of: %w", level-1, last, level, last/tileWidth, errRotten)
		}
	}
	for n := max(0, size/tileWidth-1); width(0, n, size) > 0; n++ {
		if _, _, err := t.leaves(n, width(0, n, size), size); err != nil {
			return err
		}
	}
	return nil
}

// treeState is Tessera's record of what is integrated (format version 1 of its
// POSIX driver, which names it .state/treeState).
type treeState struct {
	Size uint64 `json:"size"`
	Root []byte `json:"root"`
}

const (
	stateFile      = ".state/treeState"
	stateLock      = ".state/treeState.lock"
	versionFile    = ".state/version"
	tesseraVersion = "1"
)

// lockable reports why Tessera could not open its lock just now. To close the file
// gives up a lock that a batch of Tessera holds at this moment; it is there to keep
// other processes out, which this log's own lock does.
func (t tree) lockable() error {
	f, err := os.OpenFile(filepath.Join(t.dir, stateLock), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// state returns what Tessera has integrated.
func (t tree) state() (tlog.Tree, error) {
	data, err := os.ReadFile(filepath.Join(t.dir, stateFile))
	if err != nil {
		return tlog.Tree{}, err
	}
	var s treeState
	if err := json.Unmarshal(data, &s); err != nil || len(s.Root) != tlog.HashSize || s.Size > 1<<62 {
		return tlog.Tree{}, fmt.Errorf("log/%s: %w", stateFile, errRotten)
	}
	return tlog.Tree{N: int64(s.Size), Hash: tlog.Hash(s.Root)}, nil
}

// writeState makes the state file of a tree that was put together by hand: an
// empty one or a copy.
func writeState(root *os.Root, t tlog.Tree) error {
	data, err := json.Marshal(treeState{uint64(t.N), t.Hash[:]})
	if err != nil {
		return err
	}
	if err := durable.WriteFile(root, versionFile, []byte(tesseraVersion), 0o644); err != nil {
		return err
	}
	return durable.WriteFile(root, stateFile, data, 0o644)
}
