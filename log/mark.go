// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/durable"
)

// markFile says that a directory is a backup, so that no copy is ever signed in
// by accident. Its name has no dot in front: a copy made with cp DEST/* has it too.
const markFile = "THIS-IS-A-BACKUP"

// ErrBackup is the [ErrUnsafe] of a backup where a data directory is wanted.
var ErrBackup = fmt.Errorf("%w: it is a backup, and what it signs would be a second history", ErrUnsafe)

// A mark is a text file:
//
//	sumlog backup v1
//	NAME
//	SIZE of the tree whose tiles and bundles are all there
//	ROOT
//
// The archive ends at that size or, where a backup was cut off, at a smaller one.
type mark struct {
	name string
	tree tlog.Tree
}

const markHeader = "sumlog backup v1"

func (m mark) write(root *os.Root) error {
	text := fmt.Sprintf("%s\n%s\n%d\n%v\n", markHeader, m.name, m.tree.N, m.tree.Hash)
	return durable.WriteFile(root, markFile, []byte(text), 0o644)
}

// readMark reads the mark of a backup. A directory without one is
// [fs.ErrNotExist].
func readMark(root *os.Root) (mark, error) {
	f, err := root.Open(markFile)
	if err != nil {
		return mark{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxGuard))
	if err != nil {
		return mark{}, err
	}
	bad := fmt.Errorf("%s: %w", markFile, errRotten)
	lines := strings.Split(string(text), "\n")
	if len(lines) != 5 || lines[0] != markHeader || lines[4] != "" {
		return mark{}, bad
	}
	size, err := strconv.ParseInt(lines[2], 10, 64)
	if err != nil || size < 0 || size > 1<<62 {
		return mark{}, bad
	}
	hash, err := tlog.ParseHash(lines[3])
	if err != nil {
		return mark{}, bad
	}
	return mark{lines[1], tlog.Tree{N: size, Hash: hash}}, nil
}

// isMarked reports whether a directory is a backup, whatever its mark says.
func isMarked(root *os.Root) bool {
	_, err := root.Lstat(markFile)
	return !errors.Is(err, fs.ErrNotExist)
}

// tiles returns the tree of a backup whose mark is m, in dir.
func (m mark) tiles(dir string) tree {
	t := tree{dir: dir, whole: new(atomic.Int64)}
	t.whole.Store(m.tree.N)
	return t
}
