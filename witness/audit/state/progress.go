// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"

	"example.org/sumlog/internal/durable"
)

const (
	progressFile = "progress.json"
	namesFile    = "names"
)

// progress is the content of progress.json.
type progress struct {
	Names  int64           // how many there are
	SHA256 string          // of their bytes
	Replay json.RawMessage // what SetProgress was given
}

// Progress begins a run: it reads into v what SetProgress was given last, and
// forgets the names of a run that did not come to it. If there was no SetProgress,
// the error is fs.ErrNotExist.
func (s *State) Progress(v any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.names.rewind(); err != nil {
		return err
	}
	p, err := s.progress()
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(p.Replay))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%s: %w: %v", progressFile, ErrDamaged, err)
	}
	return nil
}

func (s *State) progress() (p progress, err error) {
	if s.root == nil {
		if s.names.kept.Replay == nil {
			return p, fs.ErrNotExist
		}
		return s.names.kept, nil
	}
	data, err := s.root.ReadFile(progressFile)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("%s: %w: %v", progressFile, ErrDamaged, err)
	}
	return p, nil
}

// SetProgress says, durably, how far the replay went: v is encoded as JSON, and
// stands for the names that have been appended so far.
func (s *State) SetProgress(v any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	replay, err := json.Marshal(v)
	if err != nil {
		return err
	}
	n := &s.names
	if s.root == nil {
		n.kept = progress{Names: int64(len(n.list)), Replay: replay}
		return nil
	}
	if err := n.open(); err != nil {
		return err
	}
	// Crash point: names are longer than what progress.json says of them.
	if err := n.file.Sync(); err != nil {
		return err
	}
	data, err := json.Marshal(progress{n.count, fmt.Sprintf("%x", n.sum.Sum(nil)), replay})
	if err != nil {
		return err
	}
	return durable.WriteFile(s.root, progressFile, append(data, '\n'), 0o644)
}

// Reset forgets how far the replay went, and the names. Heads and tiles stay.
func (s *State) Reset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root == nil {
		s.names.list, s.names.kept = nil, progress{}
		return nil
	}
	// In this order: names without progress are nothing.
	for _, name := range []string{progressFile, namesFile} {
		if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := durable.SyncDir(s.root, "."); err != nil {
			return err
		}
	}
	return s.names.close()
}

// Names returns the file of names.
func (s *State) Names() *Names { return &s.names }

// Names is eight bytes for each record that was replayed.
type Names struct {
	state *State
	file  *os.File // nil until it is used
	count int64
	sum   hash.Hash

	list []uint64 // without a directory
	kept progress // the same
}

// Load returns the names that the last SetProgress stands for, and forgets others.
func (n *Names) Load() ([]uint64, error) {
	n.state.mu.Lock()
	defer n.state.mu.Unlock()
	if err := n.rewind(); err != nil {
		return nil, err
	}
	if n.state.root == nil {
		return slices.Clone(n.list), nil
	}
	if err := n.open(); err != nil {
		return nil, err
	}
	names := make([]uint64, 0, n.count)
	_, err := n.scan(n.count, func(block []byte) {
		for ; len(block) >= 8; block = block[8:] {
			names = append(names, binary.LittleEndian.Uint64(block))
		}
	})
	return names, err
}

// Append appends names. They last from the next SetProgress on.
func (n *Names) Append(names []uint64) error {
	n.state.mu.Lock()
	defer n.state.mu.Unlock()
	if n.state.root == nil {
		n.list = append(n.list, names...)
		return nil
	}
	if err := n.open(); err != nil {
		return err
	}
	block := make([]byte, 0, min(8*len(names), 64<<10))
	for len(names) > 0 {
		block = block[:0]
		for len(names) > 0 && len(block) < cap(block) {
			block = binary.LittleEndian.AppendUint64(block, names[0])
			names = names[1:]
		}
		// At its place: what a failed write left is overwritten by the next.
		if _, err := n.file.WriteAt(block, n.count*8); err != nil {
			return err
		}
		n.sum.Write(block)
		n.count += int64(len(block) / 8)
	}
	return nil
}

// open opens the file, and verifies the names that progress.json stands for. What
// is behind them is overwritten.
func (n *Names) open() error {
	if n.file != nil {
		return nil
	}
	p, err := n.state.progress()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err1 := n.state.root.OpenFile(namesFile, os.O_RDWR|os.O_CREATE, 0o644)
	if err1 != nil {
		return err1
	}
	n.file = f
	sum, err1 := n.scan(p.Names, func([]byte) {})
	if err1 == nil && err == nil && fmt.Sprintf("%x", sum.Sum(nil)) != p.SHA256 {
		err1 = fmt.Errorf("%s: %w", namesFile, ErrDamaged)
	}
	if err1 != nil {
		n.close()
		return err1
	}
	n.count, n.sum = p.Names, sum
	return nil
}

// scan hands the first count names to f, in blocks, and returns their hash.
func (n *Names) scan(count int64, f func(block []byte)) (hash.Hash, error) {
	sum := sha256.New()
	if count < 0 || count > 1<<59 {
		return nil, fmt.Errorf("%s: %w: of %d names", namesFile, ErrDamaged, count)
	}
	block := make([]byte, 64<<10)
	for at := int64(0); at < count*8; {
		b := block[:min(int64(len(block)), count*8-at)]
		m, err := n.file.ReadAt(b, at)
		if m < len(b) && (err == io.EOF || err == nil) {
			return nil, fmt.Errorf("%s: %w: cut", namesFile, ErrDamaged)
		}
		if m < len(b) {
			return nil, err
		}
		sum.Write(b)
		f(b)
		at += int64(len(b))
	}
	return sum, nil
}

// rewind makes the names those that progress.json stands for, when they are opened
// again.
func (n *Names) rewind() error {
	n.list = n.list[:n.kept.Names]
	return n.close()
}

func (n *Names) close() error {
	if n.file == nil {
		return nil
	}
	err := n.file.Close()
	n.file, n.count, n.sum = nil, 0, nil
	return err
}
