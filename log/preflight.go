// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/transparency-dev/tessera/api/layout"

	"example.org/sumlog/internal/durable"
	"example.org/sumlog/log/engine"
)

// preflight reads key, guard, archive and Tessera's state and checks that they
// tell one history. Tessera checks none of this: without its state it begins
// again at 0, and on rotted tiles it builds whatever follows from them.
//
// The work grows with the logarithm of the tree and with what was not yet
// published, not with the tree.
func (l *Log) preflight(flag int) error {
	err := l.openKey()
	if err != nil {
		return unsafeState(err)
	}
	if l.guard, err = needGuard(l.guardPath); err != nil {
		return err
	}
	if l.guard.name != l.Name() {
		return fmt.Errorf("%w: the guard %s belongs to the log %s, the key to %s", ErrUnsafe, l.guardPath, l.guard.name, l.Name())
	}
	if err := l.openArchive(flag); err != nil {
		return unsafeState(err)
	}
	if err := l.agree(); err != nil {
		return unsafeState(err)
	}
	l.loadCosigned()
	l.published.Store(l.newest())
	l.shown.Store(l.archive.size.Load())
	return nil
}

// openKey reads the key, which says whose log it is.
func (l *Log) openKey() (err error) {
	if l.signer, err = readKey(l.root); err == nil {
		l.id = l.signer.identity
	}
	return err
}

// openArchive opens the archive for the log and its readers.
func (l *Log) openArchive(flag int) (err error) {
	if l.archive, err = openArchive(l.root, l.signer, flag); err == nil {
		l.archived.Store(l.archive)
	}
	return err
}

// agree compares Tessera's state, its tiles and bundles, the archive and the
// guard.
func (l *Log) agree() error {
	last, signed := l.archive.last.Load(), l.guard.tree
	t, err := l.tree.state()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: log/%s is missing, though size %d was published: a copy that left out names with a dot?", ErrUnsafe, stateFile, last.Size)
	}
	if err != nil {
		return err
	}
	switch {
	case t.N < signed.N:
		return fmt.Errorf("%w: log/ has %d entries, and the guard saw %d signed: an older copy of log/ was put back", ErrUnsafe, t.N, signed.N)
	case signed.N < last.Size:
		return fmt.Errorf("%w: the guard has size %d, and the archive size %d: an older guard was put back", ErrUnsafe, signed.N, last.Size)
	case last.Size < l.guard.archived:
		return fmt.Errorf("%w: the archive ends at size %d, and the guard saw size %d published: an older archive was put back", ErrUnsafe, last.Size, l.guard.archived)
	case signed.N == last.Size && signed.Hash != last.Root:
		return fmt.Errorf("%w: guard and archive have different roots at size %d", ErrUnsafe, signed.N)
	}
	if err := l.tree.checkEdge(last.Size, last.Root); err != nil {
		return err
	}
	if err := l.tree.checkEdge(t.N, t.Hash); err != nil {
		return err
	}
	// From what was published, over what was signed, to what is integrated,
	// leaf by leaf.
	r, err := l.tree.compactRange(last.Size, t.N)
	if err != nil {
		return err
	}
	for _, next := range []struct {
		what string
		size int64
		root [32]byte
	}{{"the guard", signed.N, signed.Hash}, {"Tessera's state", t.N, t.Hash}} {
		if err := l.tree.extend(r, next.size, t.N); err != nil {
			return err
		}
		root, err := rangeRoot(r)
		if err != nil {
			return err
		}
		if root != next.root {
			return fmt.Errorf("%w: at size %d the entries do not give the root of %s", ErrUnsafe, next.size, next.what)
		}
	}
	l.integrated = t.N
	return l.hasSeen()
}

// hasSeen returns an error if the directory does not have what its key was seen to
// have signed. Else a rollback that a witness has shown would be forgotten by the next
// start, under another policy or none.
func (l *Log) hasSeen() error {
	for _, t := range l.seen {
		err := l.remembers(t)
		if errors.Is(err, ErrAhead) {
			err = fmt.Errorf("%w: %w: a checkpoint of size %d that this log's key has signed was kept as evidence, and is not in this directory", ErrUnsafe, err, t.N)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// clean cuts off a torn archive line and removes the temporary files that a
// crash left. Tessera leaves its own beside the tiles they were to become, and
// never sweeps them.
func (l *Log) clean() error {
	if err := l.archive.trim(); err != nil {
		return err
	}
	if err := l.syncFound(); err != nil {
		return err
	}
	swept := 0
	for _, dir := range []string{".", path.Dir(archiveFile), auditedDir} {
		n, err := durable.Sweep(l.root, dir)
		if err != nil {
			return err
		}
		swept += n
	}
	n, err := sweepGuard(l.guardPath)
	if err != nil {
		return err
	}
	swept += n
	for dir, keep := range l.edgeDirs() {
		n, err := l.sweep(dir, keep)
		if err != nil {
			return err
		}
		swept += n
	}
	if swept > 0 {
		l.logger.Info("swept what a crash left", "files", swept)
	}
	return nil
}

// syncFound makes durable what was found. A process that was killed between a
// write or rename and its sync leaves what can be read and is not durable yet,
// and nothing built on it would be: an archive line, a name in a directory, the
// data directory itself.
func (l *Log) syncFound() error {
	if err := l.archive.f.Sync(); err != nil {
		return err
	}
	dirs := append(slices.Collect(maps.Keys(l.edgeDirs())), ".", path.Dir(archiveFile), auditedDir)
	for _, dir := range dirs {
		if err := durable.SyncDir(l.root, dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	guards, err := os.OpenRoot(filepath.Dir(l.guardPath))
	if err != nil {
		return err
	}
	defer guards.Close()
	if err := durable.SyncDir(guards, "."); err != nil {
		return err
	}
	return syncAbove(l.root.Name())
}

// edgeDirs returns the directories that a batch cut off at the integrated size
// can have been writing to, each with the test of a name that belongs there.
func (l *Log) edgeDirs() map[string]func(name string) bool {
	dirs := map[string]func(string) bool{
		treeDir:                            oneOf("checkpoint", "tile", ".state"),
		path.Join(treeDir, ".state"):       oneOf("version", "treeState", "treeState.lock", "publish.lock", "gcState", "gcState.lock"),
		path.Join(treeDir, "tile"):         isLevel,
		path.Join(treeDir, "tile/entries"): isGroup,
	}
	add := func(full string) {
		dirs[path.Join(treeDir, path.Dir(full))] = isGroup
		dirs[path.Join(treeDir, full+".p")] = isWidth
	}
	for level := 0; level <= maxLevel; level++ {
		first := l.integrated >> (8 * level) / tileWidth
		for n := max(0, first-1); n <= first+engine.BatchSize/tileWidth+1; n++ {
			add(layout.TilePath(uint64(level), uint64(n), 0))
			if level == 0 {
				add(layout.EntriesPath(uint64(n), 0))
			}
		}
	}
	return dirs
}

// sweep removes from dir what keep does not want.
func (l *Log) sweep(dir string, keep func(name string) bool) (removed int, err error) {
	d, err := l.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if keep(name) {
			continue
		}
		l.logger.Debug("sweeping", "file", path.Join(dir, name))
		if err := l.root.RemoveAll(path.Join(dir, name)); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

func oneOf(names ...string) func(string) bool {
	return func(name string) bool {
		for _, n := range names {
			if n == name {
				return true
			}
		}
		return false
	}
}

// isGroup reports whether name is one group of a tile's number: 067, x001 or
// 067.p.
func isGroup(name string) bool {
	name = strings.TrimSuffix(strings.TrimPrefix(name, "x"), ".p")
	return len(name) == 3 && isDigits(name)
}

// isWidth reports whether name is the width of a partial tile.
func isWidth(name string) bool {
	w, err := strconv.ParseUint(name, 10, 8)
	return err == nil && w > 0 && strconv.FormatUint(w, 10) == name
}

func isLevel(name string) bool { return name == "entries" || len(name) == 1 && isDigits(name) }

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }
