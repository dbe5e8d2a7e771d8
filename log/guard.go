// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/compact"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/durable"
)

// A guard is the memory of the largest tree ever signed: its size, its root,
// and the compact range that the next signature must extend. It also knows the
// size of the newest publication when it was written, below which the archive
// can never end again. It is a text file:
//
//	sumlog guard v1
//	NAME
//	SIZE that was about to be signed
//	SIZE that was published
//	ROOT
//	HASH of each node of the compact range, left to right
//	SHA-256 of all lines before
//
// hashes in base64.
type guard struct {
	name     string
	tree     tlog.Tree
	archived int64
	nodes    *compact.Range
}

const guardHeader = "sumlog guard v1"

// maxGuard bounds the file: a name, two numbers and at most 64 hashes.
const maxGuard = 8 << 10

func newGuard(name string, archived int64, r *compact.Range) (*guard, error) {
	root, err := rangeRoot(r)
	if err != nil {
		return nil, err
	}
	return &guard{name, tlog.Tree{N: int64(r.End()), Hash: root}, archived, r}, nil
}

func (g *guard) text() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%d\n%d\n%v\n", guardHeader, g.name, g.tree.N, g.archived, g.tree.Hash)
	for _, h := range g.nodes.Hashes() {
		fmt.Fprintf(&b, "%s\n", base64.StdEncoding.EncodeToString(h))
	}
	sum := tlog.Hash(sha256.Sum256([]byte(b.String())))
	fmt.Fprintf(&b, "%v\n", sum)
	return []byte(b.String())
}

func parseGuard(text []byte) (*guard, error) {
	bad := fmt.Errorf("guard: %w", errRotten)
	lines := strings.Split(string(text), "\n")
	if len(text) > maxGuard || len(lines) < 7 || lines[0] != guardHeader || lines[len(lines)-1] != "" {
		return nil, bad
	}
	size, err := strconv.ParseInt(lines[2], 10, 64)
	if err != nil || size < 0 || size > 1<<62 {
		return nil, bad
	}
	archived, err := strconv.ParseInt(lines[3], 10, 64)
	if err != nil || archived < 0 || archived > size {
		return nil, bad
	}
	root, err := tlog.ParseHash(lines[4])
	if err != nil {
		return nil, bad
	}
	var hashes [][]byte
	for _, l := range lines[5 : len(lines)-2] {
		h, err := tlog.ParseHash(l)
		if err != nil {
			return nil, bad
		}
		hashes = append(hashes, h[:])
	}
	r, err := rangeFactory.NewRange(0, uint64(size), hashes)
	if err != nil {
		return nil, bad
	}
	g, err := newGuard(lines[1], archived, r)
	if err != nil || g.tree.Hash != root || string(g.text()) != string(text) {
		return nil, bad
	}
	return g, nil
}

// readGuard reads the guard at path. A missing one is fs.ErrNotExist. A symbolic link
// is refused: the next write would put a file in its place, and the guard would no more
// be on the disk where it is believed to be; and one that leads nowhere is no lost
// guard, but a disk that is not mounted.
func readGuard(path string) (*guard, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if fi.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%w: the guard %s is a symbolic link, which its next write would replace: name the file that it leads to", ErrUnsafe, path)
	}
	if fi.Size() > maxGuard {
		return nil, fmt.Errorf("guard: %w", errRotten)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseGuard(text)
}

// write stores the guard durably. When it returns nil, no smaller guard can be
// found again unless somebody puts it there.
func (g *guard) write(path string) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer root.Close()
	return durable.WriteFile(root, filepath.Base(path), g.text(), 0o644)
}

// sweepGuard removes the temporary files that a crash of write left. Outside the
// data directory others may be writing theirs beside it.
func sweepGuard(path string) (removed int, err error) {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return 0, err
	}
	defer root.Close()
	return durable.SweepFile(root, filepath.Base(path))
}

// guardLock is the lock of a guard that is kept outside the data directory.
func guardLock(path string) string { return path + ".lock" }

// lockGuard takes the lock of a guard that is kept outside the data directory.
// The lock of the directory is not enough for it: a restored or copied directory
// names the same guard, and a guard that two processes extend, each from its own
// memory, lets both sign another tree of one size.
func lockGuard(path string) (unlock func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	defer root.Close()
	if unlock, err = durable.Lock(root, filepath.Base(guardLock(path))); err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	return unlock, nil
}

// lockNewGuard is lockGuard for a directory that is still to be made, which
// cannot have a guard of its own by name.
func lockNewGuard(dir, path string) (unlock func() error, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
		return nil, fmt.Errorf("guard %s: is in %s, which is still to be made; the default is there", path, dir)
	}
	return lockGuard(path)
}

// admits reports why a new or restored log of this size and name may not start
// under the guard that is at path, or nil. have computes the root of that log
// at an older size.
func admits(path, name string, size int64, have func(size int64) (tlog.Hash, error)) error {
	g, err := readGuard(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %v", ErrUnsafe, path, err)
	}
	if g.tree.N == 0 {
		return nil // left by an init that was cut off: nothing was signed
	}
	if g.name != name {
		return fmt.Errorf("%w: the guard %s belongs to the log %s", ErrUnsafe, path, g.name)
	}
	if g.tree.N > size {
		return fmt.Errorf("%w: the guard %s has seen size %d signed, and this would start at %d: that would be a second history", ErrUnsafe, path, g.tree.N, size)
	}
	root, err := have(g.tree.N)
	if err != nil {
		return fmt.Errorf("%w: root at the guard's size %d: %v", ErrUnsafe, g.tree.N, err)
	}
	if root != g.tree.Hash {
		return fmt.Errorf("%w: the guard %s has seen another tree of size %d", ErrUnsafe, path, g.tree.N)
	}
	return nil
}
