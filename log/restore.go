// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/mod/sumdb/tlog"
)

// A GuardError is the refusal of a guard that is kept outside the directory that
// is to be made: it is locked, or has seen more, or another tree.
type GuardError struct{ Err error }

func (e *GuardError) Error() string { return e.Err.Error() }

func (e *GuardError) Unwrap() error { return e.Err }

// Restore makes a data directory from a backup. It refuses ([ErrUnsafe]) what
// would roll back: a directory that is not empty, a backup in which an auditor has
// cosigned more, or ([GuardError]) a guard outside the directory that has seen more
// than the backup, or another tree. A directory that Backup made before backups
// were marked is restored too.
func Restore(ctx context.Context, c BackupConfig) (size int64, err error) {
	src, err := openSource(c.From, "")
	if err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	defer src.close()
	if !src.marked {
		if _, _, err := Check(Config{Dir: c.From}); err != nil {
			return 0, fmt.Errorf("backup: %w", err)
		}
	}
	if err := replaces(c.To, src.at.N); err != nil {
		return 0, err
	}
	for name, n := range src.audited() {
		if n.Size > src.at.N {
			return 0, fmt.Errorf("%w: %s in the backup is of size %d, which was published, and the backup ends at %d", ErrUnsafe, name, n.Size, src.at.N)
		}
	}
	if err := src.restore(ctx, c); err != nil {
		if errors.Is(err, ErrExists) {
			err = fmt.Errorf("%w: %w", ErrUnsafe, err)
		}
		return 0, err
	}
	return src.at.N, nil
}

// replaces says what a restore of this size over dir would destroy.
func replaces(dir string, size int64) error {
	have, err := newestIn(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // install refuses whatever else is there
	}
	if err != nil {
		return fmt.Errorf("%w: %s holds a log that cannot be read: %v", ErrUnsafe, dir, err)
	}
	if have.Size > size {
		return fmt.Errorf("%w: %s has published size %d, the backup has %d: that would roll the log back", ErrUnsafe, dir, have.Size, size)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnsafe, dir, ErrExists)
}

// restore makes the data directory c.To of s.
func (s *source) restore(ctx context.Context, c BackupConfig) error {
	if c.Guard != "" {
		unlock, err := lockNewGuard(c.To, c.Guard)
		if err != nil {
			return &GuardError{err}
		}
		defer unlock()
		if err := admits(c.Guard, s.signer.signer.Name(), s.at.N, func(size int64) (tlog.Hash, error) {
			return s.tree.root(size, s.at.N)
		}); err != nil {
			return &GuardError{err}
		}
	}
	r, err := s.tree.compactRange(s.at.N, s.at.N)
	if err != nil {
		return unsafeState(err)
	}
	g, err := newGuard(s.signer.signer.Name(), s.at.N, r)
	if err != nil {
		return err
	}
	if g.tree != s.at {
		return fmt.Errorf("%w: the tiles at size %d do not give the published root", ErrUnsafe, s.at.N)
	}
	if c.Agree != nil {
		if err := c.Agree(s.signer.signer.Name(), s.at.N); err != nil {
			return err
		}
	}
	if err := s.verifyArchive(ctx, nil); err != nil {
		return fmt.Errorf("backup: %w", unsafeState(err))
	}
	return install(c.To, c.Guard, g, func(root *os.Root) error { return s.fill(ctx, c, root) })
}

// fill fills the directory of a log that is restored: first what is large, last
// what makes it a log.
func (s *source) fill(ctx context.Context, c BackupConfig, root *os.Root) error {
	if err := s.copyTree(ctx, c, root, 0); err != nil {
		return err
	}
	tiles, err := root.OpenRoot(treeDir)
	if err != nil {
		return err
	}
	defer tiles.Close()
	if err := writeState(tiles, s.at); err != nil {
		return err
	}
	if c.Also != nil {
		if err := c.Also(ctx, root); err != nil {
			return err
		}
	}
	if err := s.copyKey(root); err != nil {
		return err
	}
	if err := s.copyAudited(root); err != nil {
		return err
	}
	return s.copyArchive(root, nil)
}
