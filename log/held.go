// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ErrUnwritable says that the files of the tree are as they should be, and cannot
// be written.
var ErrUnwritable = errors.New("log/ cannot be written")

// A place is a file or directory that is used by its name, and what had this name
// when it was locked. Where a lock was deleted, or a copy was put in the place of a
// directory, another process can hold what this one believes to hold.
type place struct {
	name string
	had  os.FileInfo
}

// check reports whether the place still holds what it held.
func (p place) check() error {
	fi, err := os.Stat(p.name)
	if err != nil {
		return unsafeState(err)
	}
	if !os.SameFile(fi, p.had) {
		return fmt.Errorf("%w: %s is not the one that was opened: another was put in its place", ErrUnsafe, p.name)
	}
	return nil
}

// holdPlaces remembers what the log is kept in. All of it stays open while the log
// is, the locks by who took them: another file could get its number else.
func (l *Log) holdPlaces() (err error) {
	if l.treeRoot, err = l.root.OpenRoot(treeDir); err != nil {
		return unsafeState(err)
	}
	dir := l.root.Name()
	locks := []string{filepath.Join(dir, lockFile)}
	if l.guardPath != filepath.Join(dir, guardFile) {
		locks = append(locks, guardLock(l.guardPath))
	}
	hold := func(name string, stat func() (os.FileInfo, error)) {
		fi, serr := stat()
		err = errors.Join(err, serr)
		l.places = append(l.places, place{name, fi})
	}
	hold(l.tree.dir, func() (os.FileInfo, error) { return l.treeRoot.Stat(".") })
	hold(dir, func() (os.FileInfo, error) { return l.root.Stat(".") })
	hold(filepath.Join(dir, archiveFile), l.archive.f.Stat)
	for _, name := range locks {
		hold(name, func() (os.FileInfo, error) { return os.Stat(name) })
	}
	return unsafeState(err)
}

// heldPlaces reports whether all of them still hold what they held.
func (l *Log) heldPlaces() error {
	for _, p := range l.places {
		if err := p.check(); err != nil {
			return err
		}
	}
	return nil
}

// unmoved reports whether the directory, its lock, tree and archive are those that
// were locked and checked, and the guard is the one that this process wrote or read
// last. It is asked before each signature: after it, a copy of the directory, or who
// holds the lock of another file, would make a second history.
//
// The guard gets a new file with each write, so its lock and its text say which it
// is.
func (l *Log) unmoved() error {
	if err := l.heldPlaces(); err != nil {
		return err
	}
	text, err := os.ReadFile(l.guardPath)
	switch {
	case err != nil:
		return unsafeState(err)
	case bytes.Equal(text, l.guard.text()):
		return nil
	case l.tried != nil && bytes.Equal(text, l.tried.text()):
		l.guard = l.tried // its write failed after the rename
		return nil
	}
	return fmt.Errorf("%w: the guard %s is not the one that was written last: another process uses it, or an older one was put back", ErrUnsafe, l.guardPath)
}

// writable reports why Tessera could not write just now. An error that no try will
// end is [ErrUnwritable], or that the tree is not the one that was opened: Tessera
// writes by name, and would go on in whatever has the name.
func (l *Log) writable() error {
	if err := l.places[0].check(); err != nil {
		return err
	}
	return unwritable(l.tree.lockable())
}

// edgeWritable reports whether a directory that the next batch writes to cannot be
// written, as far as its mode, its mount and its flags say.
func (l *Log) edgeWritable() error {
	const forWriting = 2 // W_OK
	for dir := range l.edgeDirs() {
		err := syscall.Access(filepath.Join(l.root.Name(), dir), forWriting)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return unwritable(&fs.PathError{Op: "write", Path: dir, Err: err})
		}
	}
	return nil
}

// unwritable marks an error of a write below log/ that another try will not end.
func unwritable(err error) error {
	marked := unsafeState(err)
	if !isUnsafe(marked) || errors.Is(err, fs.ErrNotExist) {
		return marked
	}
	return fmt.Errorf("%w: %w: %w", ErrUnsafe, ErrUnwritable, err)
}
