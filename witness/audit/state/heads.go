// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/tlogclient"

	"golang.org/x/mod/sumdb/tlog"
)

// Head returns the newest head that was verified in full; its Note is nil if none
// was.
func (s *State) Head() tlogclient.Head {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head
}

// KeepHead makes h, which was verified in full, the newest head, durably, and
// keeps it among those seen. The caller has made sure that it is consistent with
// the one before and not smaller.
func (s *State) KeepHead(h tlogclient.Head) error {
	if err := s.Saw(h); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.Size < s.head.Size {
		return fmt.Errorf("head of size %d after one of size %d", h.Size, s.head.Size)
	}
	if s.root != nil {
		if err := durable.WriteFile(s.root, "head", h.Note, 0o644); err != nil {
			return err
		}
	}
	s.head = h
	return nil
}

// Saw keeps h, signed by the key, among the heads seen, whatever it says.
func (s *State) Saw(h tlogclient.Head) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(h.Note) == 0 {
		return errors.New("a head without its note")
	}
	if s.root == nil {
		if _, ok := s.heads[h.Text()]; !ok {
			s.heads[h.Text()] = h
		}
		return nil
	}
	// Who can sign can make two texts with one beginning of their hashes: he
	// must not be able to have the second one taken for the first.
	sum := sha256.Sum256([]byte(h.Text()))
	for _, n := range []int{4, len(sum)} {
		name := fmt.Sprintf("heads/%d-%x", h.Size, sum[:n])
		note, err := s.root.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return durable.WriteFile(s.root, name, h.Note, 0o644)
		}
		if err != nil {
			return err
		}
		if old, err := tlogclient.ParseHead(note, "", s.key); err != nil {
			return s.damaged(name, lostSeen, err)
		} else if old.Text() == h.Text() {
			return nil
		}
	}
	return nil
}

// Heads returns all heads that were ever seen, by size.
func (s *State) Heads() ([]tlogclient.Head, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	heads := slices.Collect(maps.Values(s.heads))
	if s.root != nil {
		names, err := fs.ReadDir(s.root.FS(), "heads")
		if err != nil {
			return nil, err
		}
		for _, d := range names {
			name := path.Join("heads", d.Name())
			note, err := s.root.ReadFile(name)
			if err != nil {
				return nil, err
			}
			h, err := tlogclient.ParseHead(note, "", s.key)
			if err != nil {
				return nil, s.damaged(name, lostSeen, err)
			}
			heads = append(heads, h)
		}
	}
	slices.SortFunc(heads, func(a, b tlogclient.Head) int {
		return cmp.Or(cmp.Compare(a.Size, b.Size), strings.Compare(a.Text(), b.Text()))
	})
	return heads, nil
}

// A memory is a cache for one run.
type memory struct {
	mu    sync.Mutex
	tiles map[tlog.Tile][]byte
}

// maxMemory bounds the tiles of a memory: of 8 KiB at most, they are 64 MiB. They
// are those read first, and so the upper ones, that many readings need.
const maxMemory = 8 << 10

// Read implements tlogclient.Cache.
func (m *memory) Read(t tlog.Tile) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tiles[t]
}

// Keep implements tlogclient.Cache.
func (m *memory) Keep(t tlog.Tile, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tiles == nil {
		m.tiles = make(map[tlog.Tile][]byte)
	}
	if len(m.tiles) < maxMemory {
		m.tiles[t] = slices.Clone(data)
	}
}
