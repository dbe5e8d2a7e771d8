// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/durable"
)

// A BackupConfig says what Backup and Restore copy.
type BackupConfig struct {
	From string // a data directory, or a backup of one
	To   string // made; must not exist or be empty

	// FromGuard is the guard file of the log at From, where it is kept outside
	// From; "" is guard in From.
	FromGuard string

	// Guard is the guard file of the log at To, where it is to be kept outside
	// To; "" is guard in To.
	Guard string

	// Agree is asked by Restore once nothing that can be seen stands in the way,
	// before anything is written: nobody but the operator knows whether the log
	// published more after the backup was made. Its error ends the restore. Nil
	// agrees.
	Agree func(name string, size int64) error

	// Also copies what belongs to others into root, the directory that
	// becomes To, before it gets its name. Nil copies nothing.
	Also func(ctx context.Context, root *os.Root) error

	// Progress is told how many of the tree's files are copied. Nil is fine.
	Progress func(done, total int64)
}

// A GuardError is the refusal of a guard that is kept outside the directory that
// is to be made: it is locked, or has seen more, or another tree.
type GuardError struct{ Err error }

func (e *GuardError) Error() string { return e.Err.Error() }
func (e *GuardError) Unwrap() error { return e.Err }

// Backup copies the log as of its newest publication, consistently, beside a
// server that goes on writing: what is published never changes. It copies key,
// archive and tree, and makes a guard at the copied size. The copy has passed
// all checks of [Check] when Backup returns its size.
func Backup(ctx context.Context, c BackupConfig) (size int64, err error) {
	t, err := replicate(ctx, c)
	return t.N, err
}

// Restore makes a data directory from a backup. It refuses ([ErrUnsafe]) what
// would roll back: a directory that is not empty, or ([GuardError]) a guard
// outside it that has seen more than the backup, or another tree.
func Restore(ctx context.Context, c BackupConfig) (size int64, err error) {
	if _, _, err := Check(Config{Dir: c.From}); err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	if err := replaces(c.To, c.From); err != nil {
		return 0, err
	}
	t, err := replicate(ctx, c)
	if errors.Is(err, ErrExists) {
		err = fmt.Errorf("%w: %w", ErrUnsafe, err)
	}
	return t.N, err
}

// replaces says what a restore over dir would destroy.
func replaces(dir, from string) error {
	have, err := newestIn(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // install refuses whatever else is there
	}
	if err != nil {
		return fmt.Errorf("%w: %s holds a log that cannot be read: %v", ErrUnsafe, dir, err)
	}
	backup, err := newestIn(from)
	if err != nil {
		return err
	}
	if have.Size > backup.Size {
		return fmt.Errorf("%w: %s has published size %d, the backup has %d: that would roll the log back", ErrUnsafe, dir, have.Size, backup.Size)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnsafe, dir, ErrExists)
}

// newestIn returns the newest publication of a directory that may be in use.
func newestIn(dir string) (*Publication, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	s, err := readKey(root)
	if err != nil {
		return nil, err
	}
	a, err := openArchive(root, s, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer a.f.Close()
	return a.last.Load(), nil
}

// replicate copies the log in c.From at its newest publication to c.To.
func replicate(ctx context.Context, c BackupConfig) (tlog.Tree, error) {
	from, err := os.OpenRoot(c.From)
	if err != nil {
		return tlog.Tree{}, err
	}
	defer from.Close()
	s, err := readKey(from)
	if err != nil {
		return tlog.Tree{}, err
	}
	// Before the archive, which a server may be extending: so the archive has
	// at least what this guard saw published.
	signed, err := sourceGuard(c, s.signer.Name())
	if err != nil {
		return tlog.Tree{}, err
	}
	a, err := openArchive(from, s, os.O_RDONLY)
	if err != nil {
		return tlog.Tree{}, unsafeState(err)
	}
	defer a.f.Close()
	t := tlog.Tree{N: a.last.Load().Size, Hash: a.last.Load().Root}
	src := tree{filepath.Join(c.From, treeDir)}
	if err := src.follows(t.N, signed); err != nil {
		return t, unsafeState(err)
	}
	if c.Guard != "" {
		unlock, err := lockNewGuard(c.To, c.Guard)
		if err != nil {
			return t, &GuardError{err}
		}
		defer unlock()
		if err := admits(c.Guard, s.signer.Name(), t.N, func(size int64) (tlog.Hash, error) {
			return src.root(size, t.N)
		}); err != nil {
			return t, &GuardError{err}
		}
	}
	r, err := src.compactRange(t.N, t.N)
	if err != nil {
		return t, unsafeState(err)
	}
	g, err := newGuard(s.signer.Name(), t.N, r)
	if err != nil {
		return t, err
	}
	if g.tree != t {
		return t, fmt.Errorf("%w: the tiles at size %d do not give the published root", ErrUnsafe, t.N)
	}
	if c.Agree != nil {
		if err := c.Agree(s.signer.Name(), t.N); err != nil {
			return t, err
		}
	}
	return t, install(c.To, c.Guard, g, func(root *os.Root) error {
		return copyLog(ctx, c, root, from, a, src, t)
	})
}

// sourceGuard returns the guard of the log that is copied.
func sourceGuard(c BackupConfig, name string) (*guard, error) {
	file := c.FromGuard
	if file == "" {
		file = filepath.Join(c.From, guardFile)
	}
	g, err := readGuard(file)
	if err != nil {
		return nil, unsafeState(err)
	}
	if g.name != name {
		return nil, fmt.Errorf("%w: the guard %s belongs to the log %s, the key to %s", ErrUnsafe, file, g.name, name)
	}
	return g, nil
}

// follows reports why a log whose archive ends at size is older than its guard,
// or another one. A copy gets a new guard, and nothing would tell any more.
func (t tree) follows(size int64, g *guard) error {
	if size < g.archived {
		return fmt.Errorf("%w: the archive ends at size %d, and the guard saw size %d published: an older archive was put back", ErrUnsafe, size, g.archived)
	}
	if size < g.tree.N {
		return nil // signed, not yet published
	}
	root, err := t.root(g.tree.N, size)
	if err == nil && root != g.tree.Hash {
		err = fmt.Errorf("%w: the guard has seen another tree of size %d", ErrUnsafe, g.tree.N)
	}
	return err
}

// copyLog fills root with the log at t: first what is large, last what makes
// it a log.
func copyLog(ctx context.Context, c BackupConfig, root, from *os.Root, a *archive, src tree, t tlog.Tree) error {
	if err := durable.MkdirAll(root, treeDir); err != nil {
		return err
	}
	to, err := root.OpenRoot(treeDir)
	if err != nil {
		return err
	}
	defer to.Close()
	if err := src.copyTo(ctx, to, t.N, c.Progress); err != nil {
		return unsafeState(err)
	}
	if err := writeState(to, t); err != nil {
		return err
	}
	dst := tree{filepath.Join(root.Name(), treeDir)}
	if err := dst.checkEdge(t.N, t.Hash); err != nil {
		return unsafeState(err)
	}
	if c.Also != nil {
		if err := c.Also(ctx, root); err != nil {
			return err
		}
	}
	key, err := from.ReadFile(keyFile)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(root, keyFile, key, 0o600); err != nil {
		return err
	}
	f, err := durable.Create(root, path.Dir(archiveFile))
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := io.Copy(f, io.NewSectionReader(a.f, 0, a.size.Load())); err != nil {
		return err
	}
	return f.Commit(archiveFile)
}

// copyTo copies the tiles and bundles of the tree at size, each at the width it
// has there, and compares every bundle and every full tile with the tile above
// it. (The last tile of each level is compared with the root by checkEdge.)
func (t tree) copyTo(ctx context.Context, to *os.Root, size int64, progress func(done, total int64)) error {
	var done, total int64
	for level := range maxLevel + 1 {
		total += (size>>(8*level) + tileWidth - 1) / tileWidth
	}
	for level := 0; size>>(8*level) > 0; level++ {
		for n := int64(0); width(level, n, size) > 0; n++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := t.copyTile(to, level, n, size); err != nil {
				return err
			}
			if done++; progress != nil {
				progress(done, total)
			}
		}
	}
	return nil
}

// copyTile copies one tile, and the bundle under it if it is of level 0.
func (t tree) copyTile(to *os.Root, level int, n, size int64) error {
	w := width(level, n, size)
	p := uint8(w % tileWidth)
	tile, err := t.hashTile(level, n, w, size)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(to, layout.TilePath(uint64(level), uint64(n), p), tile, 0o644); err != nil {
		return err
	}
	if level > 0 {
		return t.checkChildren(level, n, tile, size)
	}
	bundle, _, err := t.leaves(n, w, size)
	if err != nil {
		return err
	}
	return durable.WriteFile(to, layout.EntriesPath(uint64(n), p), bundle, 0o644)
}

// checkChildren compares the hashes of a tile with the tiles they are the roots
// of.
func (t tree) checkChildren(level int, n int64, tile []byte, size int64) error {
	for i := range int64(len(tile) / tlog.HashSize) {
		child, err := t.hashTile(level-1, n*tileWidth+i, tileWidth, size)
		if err != nil {
			return err
		}
		if !bytes.Equal(subtree(child), tile[i*tlog.HashSize:(i+1)*tlog.HashSize]) {
			return fmt.Errorf("tile/%d/%d is not the one that tile/%d/%d has the hash of: %w", level-1, n*tileWidth+i, level, n, errRotten)
		}
	}
	return nil
}
