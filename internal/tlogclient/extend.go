// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient

import (
	"context"
	"fmt"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"

	"golang.org/x/mod/sumdb/tlog"
)

// A ForkError is proof that a log signed two histories. If both heads have the
// same size, they are it. Else Proof proves that the first Older.Size entries of
// Newer hash to Root, which is not Older's.
type ForkError struct {
	Older, Newer Head // by size
	Root         tlog.Hash
	Proof        []tlog.Hash
}

func (e *ForkError) Error() string {
	return fmt.Sprintf("%s: forked: signed root %v at size %d, and size %d, whose tree has there %v",
		e.Older.Origin, e.Older.Root, e.Older.Size, e.Newer.Size, e.Root)
}

// Evidence returns the evidence that e is against key, which signed both heads.
func (e *ForkError) Evidence(key *checkpoint.Key) (*evidence.Evidence, error) {
	older, err := checkpoint.ParseNote(e.Older.Note)
	if err != nil {
		return nil, err
	}
	newer, err := checkpoint.ParseNote(e.Newer.Note)
	if err != nil {
		return nil, err
	}
	// The root too: a proof from a power of two does not contain it.
	return evidence.New(key, older, newer, append([]tlog.Hash{e.Root}, e.Proof...))
}

// A StaleError is a head that is smaller than one known, and not proven to be of
// another history.
type StaleError struct {
	Known, Shown Head
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("%s: shows size %d after %d", e.Known.Origin, e.Shown.Size, e.Known.Size)
}

// Extend returns the proof that the tree of shown, a head of this log, begins
// with the tree of known; it is empty from size 0, and between equal sizes. The
// note of known is only used to carry it in errors.
func (l *Log) Extend(ctx context.Context, known, shown Head) ([]tlog.Hash, error) {
	switch {
	case known.Size == 0:
		return nil, nil // all trees begin with the empty one
	case shown.Size < known.Size:
		return nil, l.checkStale(ctx, known, shown)
	}
	root, proof, err := l.Prove(ctx, known.Size, shown.Tree())
	if err != nil {
		return nil, err
	}
	if root != known.Root {
		return nil, &ForkError{known, shown, root, proof}
	}
	return proof, nil
}

// checkStale tells a head that was once right from a fork, as far as the log
// still serves the tiles of the larger tree.
func (l *Log) checkStale(ctx context.Context, known, shown Head) error {
	stale := &StaleError{known, shown}
	root, proof, err := l.Prove(ctx, shown.Size, known.Tree())
	if err != nil || root == shown.Root {
		return stale
	}
	return &ForkError{shown, known, root, proof}
}

// Prove returns the root of the first n entries of tree, whose root the caller
// has from a signed head, and the consistency proof between the two.
func (l *Log) Prove(ctx context.Context, n int64, tree tlog.Tree) (root tlog.Hash, proof []tlog.Hash, err error) {
	switch {
	case n < 0 || n > tree.N || tree.N > MaxSize:
		return root, nil, fmt.Errorf("no proof from size %d to %d", n, tree.N)
	case n == 0:
		return emptyRoot, nil, nil
	case n == tree.N:
		return tree.Hash, nil, nil
	}
	hashes := l.Hashes(ctx, tree)
	if root, err = tlog.TreeHash(n, hashes); err != nil {
		return root, nil, err
	}
	proof, err = tlog.ProveTree(tree.N, n, hashes)
	return root, proof, err
}
