// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/tlogclient"
)

// A Snapshot is where a replay ended: enough of the tree to go on from there. It
// is the auditor's own, and kept as JSON.
type Snapshot struct {
	Size  int64         `json:"size"`
	Root  tlog.Hash     `json:"root"`
	Edges [][]tlog.Hash `json:"edges"` // the hashes of the partial tile of each level

	// What was found up to Size. A later replay reports it again: a log does
	// not become sound by growing.
	Bad      int64 `json:"bad,omitempty"`
	Repeated int64 `json:"repeated,omitempty"`
}

// Tree returns the tree of the snapshot.
func (s *Snapshot) Tree() tlog.Tree { return tlog.Tree{N: s.Size, Hash: s.Root} }

// Check reports what is wrong with a snapshot that was read from a file.
func (s *Snapshot) Check() error {
	if s.Size < 0 || s.Size > tlogclient.MaxSize || s.Bad < 0 || s.Bad > s.Size || s.Repeated < 0 || s.Repeated > s.Size {
		return fmt.Errorf("snapshot of size %d, with %d bad and %d repeated records", s.Size, s.Bad, s.Repeated)
	}
	if len(s.Edges) != maxLevel+1 {
		return fmt.Errorf("snapshot with %d levels, want %d", len(s.Edges), maxLevel+1)
	}
	for l, hashes := range s.Edges {
		if want := edgeWidth(s.Size, l); len(hashes) != want {
			return fmt.Errorf("snapshot of size %d with %d hashes at level %d, want %d", s.Size, len(hashes), l, want)
		}
	}
	t := newTree(nil)
	t.restore(s)
	if root := t.rootWith(s.Edges[0]); root != s.Root {
		return fmt.Errorf("snapshot of size %d hashes to %v, want %v", s.Size, root, s.Root)
	}
	return nil
}

// edgeWidth returns the number of hashes in the partial tile of a level.
func edgeWidth(size int64, level int) int {
	return int(size >> (bundleHeight * level) % bundleWidth)
}

// snapshot returns the snapshot of t with the leaves of a partial bundle.
func (t *tree) snapshot(leaves []tlog.Hash) *Snapshot {
	s := &Snapshot{
		Size:  t.count*bundleWidth + int64(len(leaves)),
		Root:  t.rootWith(leaves),
		Edges: make([][]tlog.Hash, maxLevel+1),
	}
	s.Edges[0] = append([]tlog.Hash{}, leaves...)
	for l := 1; l <= maxLevel; l++ {
		s.Edges[l] = append([]tlog.Hash{}, t.edges[l]...)
	}
	return s
}
