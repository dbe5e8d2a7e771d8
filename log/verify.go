// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"errors"
	"fmt"
	"iter"

	"github.com/transparency-dev/merkle/compact"
	"golang.org/x/mod/sumdb/tlog"
)

// A verifier verifies the lines of an archive, one after the other: their form and
// order, both notes, and that their roots are those that the entries give.
type verifier struct {
	lines  lineOpener
	leaves leafReader
	nodes  *compact.Range // of the tree at last
	last   *Publication   // the one before
}

func (v *verifier) verify(lines iter.Seq2[[]byte, error]) error {
	for line, err := range lines {
		if err != nil {
			return err
		}
		p, err := v.lines.openLine(line)
		if err != nil {
			return err
		}
		if p.Size <= v.last.Size || !p.Time.After(v.last.Time) {
			return fmt.Errorf("archive: size %d after %d: %w: lines are not in order", p.Size, v.last.Size, errRotten)
		}
		if err := v.leaves.extend(v.nodes, p.Size); err != nil {
			return err
		}
		if root, err := rangeRoot(v.nodes); err != nil || root != p.Root {
			return errors.Join(err, fmt.Errorf("archive: line of size %d: %w: its root is not that of the entries", p.Size, errRotten))
		}
		v.last = p
	}
	return nil
}

// A leafReader reads the leaf hashes of a tree from first to last, each bundle once.
type leafReader struct {
	tree   tree
	size   int64 // of the tree
	bundle int64 // whose hashes it has; -1: none
	hashes []byte
	step   func() error // after each bundle
}

// extend appends to r the leaf hashes up to size, after comparing them with the
// entries.
func (x *leafReader) extend(r *compact.Range, size int64) error {
	if size > x.size {
		return fmt.Errorf("%w: size %d was published, and log/ has %d entries", ErrUnsafe, size, x.size)
	}
	for i := int64(r.End()); i < size; i++ {
		if n := i / tileWidth; n != x.bundle {
			_, hashes, err := x.tree.leaves(n, width(0, n, x.size), x.size)
			if err != nil {
				return err
			}
			x.bundle, x.hashes = n, hashes
			if err := x.step(); err != nil {
				return err
			}
		}
		at := i % tileWidth * tlog.HashSize
		if err := r.Append(x.hashes[at:at+tlog.HashSize], nil); err != nil {
			return err
		}
	}
	return nil
}
