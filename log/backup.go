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
	"strings"

	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/durable"
)

// A BackupConfig says what Backup and Restore copy.
type BackupConfig struct {
	From string // a data directory, or a backup of one
	To   string // made where it is missing or empty; Backup takes a backup, too

	// Existing says that To was a backup before, and Backup makes none: what was
	// mounted there may be gone.
	Existing bool

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

// ErrNoBackup is the error of a Backup into a directory that is neither empty nor a
// backup.
var ErrNoBackup = errors.New("directory is not empty, and no backup")

// Backup brings the backup in c.To up to the newest publication of the log in
// c.From, or makes one where c.To is missing or empty. A server may go on writing
// to c.From: what is published never changes. Key, tiles and archive are copied,
// of the last two only what is new, after it was checked: each entry with its tile,
// each tile with the one above it, up to the signed root, and each line of the
// archive with both its signatures and with the tree.
//
// The log that is in c.To at a smaller size must be the beginning of this one, and
// is never replaced by one that has less ([ErrUnsafe]).
//
// However it is cut off, c.To is a whole backup of the size that it had or a larger
// one. A backup is marked first of all. Tiles and bundles of both sizes have names
// of their own, so that the new ones change nothing; then the mark says that they
// are there; then the archive grows, line by line, and each of its lines is a size
// that can be restored. It has neither guard nor sequencer's state: Restore makes
// them of what the archive says, and without them no program starts on it.
func Backup(ctx context.Context, c BackupConfig) (size int64, err error) {
	if err := apart(c.From, c.To); err != nil {
		return 0, err
	}
	src, err := openSource(c.From, c.FromGuard)
	if err != nil {
		return 0, err
	}
	defer src.close()
	root, unlock, err := openBackup(c, src)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	defer unlock()
	return src.at.N, src.update(ctx, c, root)
}

// apart refuses a copy of a directory inside of itself, which would be copied too.
func apart(from, to string) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	if to, err = filepath.Abs(to); err != nil {
		return err
	}
	if rel, err := filepath.Rel(from, to); err == nil && filepath.IsLocal(rel) {
		return fmt.Errorf("%s: is in %s, which is copied", to, from)
	}
	return nil
}

// openBackup opens and locks the directory of a backup, and marks one that is new
// before it gets anything by which it could be taken for a data directory.
func openBackup(c BackupConfig, src *source) (root *os.Root, unlock func() error, err error) {
	if !c.Existing {
		if err := os.MkdirAll(c.To, 0o755); err != nil {
			return nil, nil, err
		}
	}
	if root, err = os.OpenRoot(c.To); err != nil {
		return nil, nil, err
	}
	// Before the lock too: what is no backup gets no lock file.
	if err = c.backsUp(root); err == nil {
		unlock, err = durable.Lock(root, lockFile)
	}
	if err == nil {
		if err = c.markNew(root, src); err != nil {
			unlock()
		}
	}
	if err != nil {
		root.Close()
		return nil, nil, fmt.Errorf("%s: %w", c.To, err)
	}
	return root, unlock, nil
}

// markNew marks the directory of a new backup. Under the lock: the mark of a backup
// that another Backup has just made would be put back to nothing.
func (c BackupConfig) markNew(root *os.Root, src *source) error {
	if err := c.backsUp(root); err != nil || isMarked(root) {
		return err
	}
	m := mark{src.signer.signer.Name(), tlog.Tree{Hash: tlog.Hash(hasher.EmptyRoot())}}
	if err := m.write(root); err != nil {
		return err
	}
	return syncAbove(c.To)
}

// backsUp reports as [ErrNoBackup] that a directory neither is a backup nor can become
// one, since it holds more than what a Backup that was cut off before its mark has
// left. It removes nothing: litter in a directory of others may be what they are
// writing, or tell that a data directory is not whole.
func (c BackupConfig) backsUp(root *os.Root) error {
	if isMarked(root) {
		return nil
	}
	if isUnfinished(root) {
		return fmt.Errorf("%w: it holds a log that is being made", ErrNoBackup)
	}
	names, err := namesBeside(root)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, durable.TempPrefix) {
			return fmt.Errorf("%w: it holds %q", ErrNoBackup, name)
		}
	}
	if c.Existing {
		return fmt.Errorf("%w: it was one before, perhaps of a disk that is gone", ErrNoBackup)
	}
	return nil
}

// update brings the backup in root up to src.
func (s *source) update(ctx context.Context, c BackupConfig, root *os.Root) error {
	m, err := readMark(root)
	if err != nil {
		return damagedCopy(c.To, err)
	}
	if err := s.continues(c, root, m); err != nil {
		return err
	}
	if err := sweepBackup(root); err != nil {
		return err
	}
	if err := s.copyKey(root); err != nil {
		return err
	}
	a, err := openCopy(root, s.signer)
	if err != nil {
		return damagedCopy(c.To, err)
	}
	if a != nil {
		defer a.f.Close()
	}
	if err := s.verifyArchive(ctx, a); err != nil {
		return unsafeState(err)
	}
	if err := s.copyTree(ctx, c, root, m.tree.N); err != nil {
		return err
	}
	if c.Also != nil {
		if err := c.Also(ctx, root); err != nil {
			return err
		}
	}
	// Crash point: tiles beyond the size that the mark has, which nothing reads.
	if s.at.N > m.tree.N {
		if err := (mark{s.signer.signer.Name(), s.at}).write(root); err != nil {
			return err
		}
	}
	// Crash point: the archive ends at a smaller size than the tiles, which serve
	// for that one too.
	if err := s.copyArchive(root, a); err != nil {
		return err
	}
	if err := s.copyAudited(root); err != nil {
		return err
	}
	return s.tree.collect(root, m.tree.N, s.at.N)
}

// damagedCopy is the error of what was read of a backup. It is unsafe only if it can
// never be read: a disk that is gone may come back.
func damagedCopy(dir string, err error) error {
	if errors.Is(err, errRotten) {
		return fmt.Errorf("%w: the copy in %s: %w", ErrUnsafe, dir, err)
	}
	return fmt.Errorf("the copy in %s: %w", dir, err)
}

// copyKey copies the key where there is none, and never over one.
func (s *source) copyKey(to *os.Root) error {
	if _, err := to.Lstat(keyFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := s.root.ReadFile(keyFile)
	if err != nil {
		return err
	}
	return durable.WriteFile(to, keyFile, key, 0o600)
}

// continues reports why what is in a backup is not the beginning of s.
func (s *source) continues(c BackupConfig, root *os.Root, m mark) error {
	if m.name != s.signer.signer.Name() {
		return fmt.Errorf("%w: %s is a backup of the log %s, and %s is the log %s", ErrUnsafe, c.To, m.name, c.From, s.signer.signer.Name())
	}
	have, err := readKey(root)
	if err == nil && have.vkey != s.signer.vkey {
		err = fmt.Errorf("%w: %s is a backup of a log with another key", ErrUnsafe, c.To)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return damagedCopy(c.To, err)
	}
	if m.tree.N > s.at.N {
		return fmt.Errorf("%w: %s has published size %d, and its backup %s has %d: an older copy was put back", ErrUnsafe, c.From, s.at.N, c.To, m.tree.N)
	}
	r, err := s.tree.root(m.tree.N, s.at.N)
	if err != nil {
		return unsafeState(err)
	}
	if r != m.tree.Hash {
		return fmt.Errorf("%w: %s has another tree of size %d than its backup %s: one of them is of a second history", ErrUnsafe, c.From, m.tree.N, c.To)
	}
	return nil
}

// sweepBackup removes the temporary files that a Backup which was cut off left
// where they are not replaced by the next one.
func sweepBackup(root *os.Root) error {
	for _, dir := range []string{".", path.Dir(archiveFile), auditedDir} {
		if _, err := durable.Sweep(root, dir); err != nil {
			return err
		}
	}
	return nil
}

// openCopy opens the archive of a backup, nil if it has none yet.
func openCopy(root *os.Root, s *signer) (*archive, error) {
	a, err := openArchive(root, s, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := a.trim(); err != nil {
		a.f.Close()
		return nil, err
	}
	return a, nil
}

// copyArchive makes the archive of a backup, have or nil, that of s.
func (s *source) copyArchive(root *os.Root, have *archive) error {
	if have == nil {
		f, err := durable.Create(root, path.Dir(archiveFile))
		if err != nil {
			return err
		}
		defer f.Abort()
		if _, err := io.Copy(f, io.NewSectionReader(s.archive.f, 0, s.archive.size.Load())); err != nil {
			return err
		}
		return f.Commit(archiveFile)
	}
	from, end := have.size.Load(), s.archive.size.Load()
	for at := from; at < end; at += maxLine {
		// Crash point: a line that is torn is none, and is cut off by the next Backup;
		// so is a hole of this length, which a power loss can leave.
		part := io.NewSectionReader(s.archive.f, at, min(maxLine, end-at))
		if _, err := io.Copy(io.NewOffsetWriter(have.f, at), part); err != nil {
			return errors.Join(err, have.f.Truncate(from))
		}
		if err := have.f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// copyAudited copies what auditors cosigned of what is copied. What is not whole is
// left out: it comes again. The archive comes before: what an auditor has seen is
// never larger.
func (s *source) copyAudited(to *os.Root) error {
	for name, n := range s.audited() {
		if n.Size > s.at.N {
			continue // published after this copy was begun
		}
		if root, err := s.tree.root(n.Size, s.at.N); err != nil {
			return unsafeState(err)
		} else if root != n.Root {
			return fmt.Errorf("%w: %s is signed by this log's key, and of another tree of size %d", ErrUnsafe, name, n.Size)
		}
		if have, err := to.ReadFile(name); err == nil && bytes.Equal(have, n.note) {
			continue
		}
		if err := durable.WriteFile(to, name, n.note, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// copyTree copies the tiles and bundles of s that a tree of size old does not have,
// each at the width that it has, and compares every bundle and every full tile
// with the tile above it, and what came out with the root.
func (s *source) copyTree(ctx context.Context, c BackupConfig, root *os.Root, old int64) error {
	if err := durable.MkdirAll(root, treeDir); err != nil {
		return err
	}
	to, err := root.OpenRoot(treeDir)
	if err != nil {
		return err
	}
	defer to.Close()
	size := s.at.N
	var done, total int64
	for level := range maxLevel + 1 {
		total += (size>>(8*level)+tileWidth-1)/tileWidth - old>>(8*level)/tileWidth
	}
	for level := 0; size>>(8*level) > old>>(8*level); level++ {
		for n := old >> (8 * level) / tileWidth; width(level, n, size) > 0; n++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := s.copyTile(to, level, n, old); err != nil {
				return err
			}
			if done++; c.Progress != nil {
				c.Progress(done, total)
			}
		}
	}
	dst := tree{dir: filepath.Join(root.Name(), treeDir)}
	if err := dst.checkEdge(size, s.at.Hash); err != nil {
		return damagedCopy(root.Name(), err)
	}
	return nil
}

// copyTile copies one tile, and the bundle under it if it is of level 0.
func (s *source) copyTile(to *os.Root, level int, n, old int64) error {
	size := s.at.N
	w := width(level, n, size)
	p := uint8(w % tileWidth)
	tile, bundle, err := s.tree.checkedTile(level, n, w, old, size)
	if err != nil {
		return unsafeState(err)
	}
	if err := durable.WriteFile(to, layout.TilePath(uint64(level), uint64(n), p), tile, 0o644); err != nil || level > 0 {
		return err
	}
	return durable.WriteFile(to, layout.EntriesPath(uint64(n), p), bundle, 0o644)
}

// collect removes from a backup the partial files of tiles that have become full
// since size old. The others stay: who reads the backup at an older size needs
// them. A crash before it leaves some kilobytes.
func (t tree) collect(root *os.Root, old, size int64) error {
	for level := 0; size>>(8*level) > 0; level++ {
		for n := old >> (8 * level) / tileWidth; width(level, n, size) == tileWidth; n++ {
			full := []string{layout.TilePath(uint64(level), uint64(n), 0)}
			if level == 0 {
				full = append(full, layout.EntriesPath(uint64(n), 0))
			}
			for _, name := range full {
				if err := root.RemoveAll(path.Join(treeDir, name+".p")); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
