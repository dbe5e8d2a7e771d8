// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"example.org/sumlog/internal/record"
	"example.org/sumlog/internal/testrace"
)

type stored []tlog.Hash

func (s stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = s[x]
	}
	return out, nil
}

func (s *stored) add(t rapid.TB, n int64, leaf tlog.Hash) {
	h, err := tlog.StoredHashesForRecordHash(n, leaf, s)
	if err != nil {
		t.Fatal(err)
	}
	*s = append(*s, h...)
}

func treeHash(t rapid.TB, n int64, s stored) tlog.Hash {
	h, err := tlog.TreeHash(n, s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// leaf returns a made-up leaf hash.
func leaf(i int64) tlog.Hash { return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i))) }

func TestHasher(t *testing.T) {
	if !statesKnown {
		t.Error("the state of SHA-256 has another form than expected: hashing is a third slower")
	}
	slow := newHasher()
	slow.state = nil
	for name, h := range map[string]*hasher{"state": newHasher(), "Sum256": slow} {
		for _, n := range []int{0, 1, 53, 54, 55, 56, 62, 63, 64, 65, 118, 119, 120, 200, 4095, record.MaxSize - 1, record.MaxSize, 7, 0} {
			entry := bytes.Repeat([]byte{0xa5}, n)
			if got, want := h.leafHash(entry), tlog.RecordHash(entry); got != want {
				t.Errorf("%s: entry of %d bytes: %v, want %v", name, n, got, want)
			}
			a, b := leaf(int64(n)), leaf(int64(n+1))
			if got, want := h.nodeHash(&a, &b), tlog.NodeHash(a, b); got != want {
				t.Errorf("%s: node: %v, want %v", name, got, want)
			}
		}
	}
}

func TestHasherRandom(t *testing.T) {
	h := newHasher()
	rapid.Check(t, func(t *rapid.T) {
		entry := rapid.SliceOfN(rapid.Byte(), 0, 400).Draw(t, "entry")
		if got, want := h.leafHash(entry), tlog.RecordHash(entry); got != want {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

func TestHasherAllocates(t *testing.T) {
	if testrace.Enabled {
		t.Skip("the race detector makes package sha256 allocate")
	}
	w := newWorker()
	j := &job{item: item{width: bundleWidth}}
	entries := make([][]byte, bundleWidth)
	for i := range entries {
		entries[i] = make([]byte, 200+i)
	}
	if n := testing.AllocsPerRun(10, func() {
		if err := w.hash(j, entries); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a bundle", n)
	}
}

func TestHashRefuses(t *testing.T) {
	w := newWorker()
	for name, entries := range map[string][][]byte{
		"too few":   {nil},
		"too many":  {nil, nil, nil},
		"too large": {nil, make([]byte, record.MaxSize+1)},
	} {
		if w.hash(&job{item: item{width: 2}}, entries) == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestWhole checks that a tile is kept only if all below it is proven.
func TestWhole(t *testing.T) {
	r := &run{Config: Config{Cache: noCache{}}}
	for l := range r.whole {
		r.whole[l] = true
	}
	r.whole[1] = false
	r.fullTile(tlog.Tile{H: 8, L: 1, W: 256}, nil)
	r.fullTile(tlog.Tile{H: 8, L: 1, N: 1, W: 256}, nil)
	if !r.whole[1] || r.whole[2] || !r.whole[3] {
		t.Errorf("%v", r.whole)
	}
	r.fullTile(tlog.Tile{H: 8, L: 2, W: 256}, nil)
	if !r.whole[1] || !r.whole[2] || r.whole[3] {
		t.Errorf("%v", r.whole)
	}
}

// A noCache keeps nothing.
type noCache struct{}

func (noCache) Read(tlog.Tile) []byte  { return nil }
func (noCache) Keep(tlog.Tile, []byte) {}

// TestTree grows trees by whole bundles, of which it makes up the roots, and
// compares roots and tiles with those of package tlog, for which the bundles are
// entries.
func TestTree(t *testing.T) {
	const most = 256*256 + 700
	var all stored
	for i := range int64(most) {
		all.add(t, i, leaf(i))
	}
	tiles := make(map[tlog.Tile][]tlog.Hash)
	tree := newTree(func(tile tlog.Tile, hashes []tlog.Hash) { tiles[tile] = slices.Clone(hashes) })
	for n := range int64(most) {
		if n < 1000 || n%997 == 0 || n > most-800 {
			if got, want := tree.rootWith(nil), treeHash(t, n, all); got != want {
				t.Fatalf("%d bundles: root %v, want %v", n, got, want)
			}
		}
		tree.push(leaf(n))
	}
	for _, tile := range tlog.NewTiles(8, 0, most) {
		data, err := tlog.ReadTileData(tile, all)
		if err != nil {
			t.Fatal(err)
		}
		tile.L++
		got := tiles[tile]
		if tile.W < bundleWidth {
			got = tree.edges[tile.L]
		}
		delete(tiles, tile)
		if !bytes.Equal(flat(got), data) {
			t.Errorf("tile %+v is another one", tile)
		}
	}
	for tile := range tiles {
		t.Errorf("tile %+v is too many", tile)
	}
}

func flat(hashes []tlog.Hash) []byte {
	var data []byte
	for _, h := range hashes {
		data = append(data, h[:]...)
	}
	return data
}

// TestRoots compares the roots at all sizes of a small tree, and at random ones
// after a snapshot has gone through a file.
func TestRoots(t *testing.T) {
	const most = 1500
	var all stored
	for i := range int64(most) {
		all.add(t, i, leaf(i))
	}
	leavesOf := func(n, size int64) []tlog.Hash {
		var leaves []tlog.Hash
		for i := n * bundleWidth; i < min(size, (n+1)*bundleWidth); i++ {
			leaves = append(leaves, leaf(i))
		}
		return leaves
	}
	check := func(t rapid.TB, tree *tree, size int64) *Snapshot {
		for n := tree.count; n < size/bundleWidth; n++ {
			leaves := leavesOf(n, size)
			var sizes []int64
			for k := range int64(bundleWidth + 1) {
				sizes = append(sizes, n*bundleWidth+k)
			}
			tree.roots(sizes, leaves, func(size int64, root tlog.Hash) {
				if want := treeHash(t, size, all); root != want {
					t.Fatalf("size %d: root %v, want %v", size, root, want)
				}
			})
			tree.push(tree.fullHash((*[bundleWidth]tlog.Hash)(leaves)))
		}
		return tree.snapshot(leavesOf(size/bundleWidth, size))
	}
	check(t, newTree(nil), most)
	rapid.Check(t, func(t *rapid.T) {
		tree := newTree(func(tlog.Tile, []tlog.Hash) {})
		size := int64(0)
		for size < most {
			size = rapid.Int64Range(size, most).Draw(t, "size")
			s := check(t, tree, size)
			if want := treeHash(t, size, all); s.Root != want || s.Size != size {
				t.Fatalf("snapshot of size %d: %d, %v, want %v", size, s.Size, s.Root, want)
			}
			data, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			s = new(Snapshot)
			if err := json.Unmarshal(data, s); err != nil {
				t.Fatal(err)
			}
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
			tree = newTree(func(tlog.Tile, []tlog.Hash) {})
			tree.restore(s)
		}
	})
}

func TestSnapshotCheck(t *testing.T) {
	tree := newTree(func(tlog.Tile, []tlog.Hash) {})
	for i := range int64(300) {
		tree.push(leaf(i))
	}
	snapshot := func() *Snapshot { return tree.snapshot([]tlog.Hash{leaf(1), leaf(2)}) }
	if err := snapshot().Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Snapshot){
		"negative":       func(s *Snapshot) { s.Size = -1 },
		"huge":           func(s *Snapshot) { *s = Snapshot{1 << 62, sha256.Sum256(nil), make([][]tlog.Hash, maxLevel+1), 0, 0} },
		"another size":   func(s *Snapshot) { s.Size += bundleWidth },
		"another root":   func(s *Snapshot) { s.Root[3] ^= 1 },
		"another leaf":   func(s *Snapshot) { s.Edges[0][1][0] ^= 1 },
		"another hash":   func(s *Snapshot) { s.Edges[1][43][0] ^= 1 },
		"hash missing":   func(s *Snapshot) { s.Edges[1] = s.Edges[1][1:] },
		"hash too many":  func(s *Snapshot) { s.Edges[3] = append(s.Edges[3], leaf(1)) },
		"level missing":  func(s *Snapshot) { s.Edges = s.Edges[:maxLevel] },
		"level too many": func(s *Snapshot) { s.Edges = append(s.Edges, nil) },
		"no edges":       func(s *Snapshot) { s.Edges = nil },
		"bad":            func(s *Snapshot) { s.Bad = -1 },
		"repeated":       func(s *Snapshot) { s.Repeated = s.Size + 1 },
	} {
		s := snapshot()
		if change(s); s.Check() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
