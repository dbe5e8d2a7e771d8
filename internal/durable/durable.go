// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package durable makes files that survive a crash whole or not at all.
//
// A file is written under a temporary name beside its final one, synced,
// renamed over the final name, and the directory is synced. After a crash at
// any point the final name holds the old content or the new one, never a part
// of either. What a crash can leave behind is the temporary file: its name
// begins with [TempPrefix], no reader ever opens such a name, and [Sweep]
// removes them when a directory is opened again. In a directory that others write
// to as well, [SweepFile] removes those of one file only.
//
// Every function works below an [os.Root], so that a name built from outside
// bytes cannot leave the directory it belongs to.
//
// What is trusted: the file system keeps what fsync acknowledged, and rename is
// atomic. Nothing else is.
package durable

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// TempPrefix begins the name of every file that is still being made.
// Module paths cannot contain it: module.CheckPath allows no leading dot.
const TempPrefix = ".tmp-"

// ErrLocked reports that another process, or another open directory of this
// process, holds the lock.
var ErrLocked = errors.New("locked by another process")

// A File is a file being made. It becomes visible, whole, with [File.Commit];
// until then it has a temporary name.
type File struct {
	*os.File
	root *os.Root
	temp string
	done bool
}

// Create starts a file in the directory dir of root ("." for root itself),
// making dir where it is missing. The caller ends it with Commit or Abort.
func Create(root *os.Root, dir string) (*File, error) {
	return create(root, dir, TempPrefix)
}

func create(root *os.Root, dir, prefix string) (*File, error) {
	if err := MkdirAll(root, dir); err != nil {
		return nil, err
	}
	temp := path.Join(dir, prefix+rand.Text())
	f, err := root.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	return &File{File: f, root: root, temp: temp}, nil
}

// Commit syncs the file, gives it the name name below the root, replacing what
// had that name, and syncs name's directory, which is made where it is missing.
// After an error before the rename the file is gone and the old one is
// untouched. An error of the last sync leaves the new file in place but not
// known to be durable.
func (f *File) Commit(name string) error {
	if err := f.Sync(); err != nil {
		f.Abort()
		return err
	}
	dir := path.Dir(name)
	if err := MkdirAll(f.root, dir); err != nil {
		f.Abort()
		return err
	}
	// Crash point: temporary file durable, final name still old.
	if err := f.root.Rename(f.temp, name); err != nil {
		f.Abort()
		return err
	}
	f.done = true
	err := f.Close()
	// Crash point: renamed, directory not yet synced; either content may be
	// found, so nobody is told of success before the sync below.
	return errors.Join(err, SyncDir(f.root, dir))
}

// Abort gives the file up. It does nothing after Commit.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	f.Close()
	f.root.Remove(f.temp)
}

// WriteFile replaces the content of name below root.
func WriteFile(root *os.Root, name string, data []byte, perm fs.FileMode) error {
	f, err := create(root, path.Dir(name), tempOf(name))
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit(name)
}

// tempOf begins the temporary names of WriteFile for one file. It has a hash, not
// the name, which can be as long as a name may be.
func tempOf(name string) string {
	sum := sha256.Sum256([]byte(path.Base(name)))
	return fmt.Sprintf("%s%x-", TempPrefix, sum[:8])
}

// MkdirAll makes the directory name below root and those above it, each
// durable: a file synced into a directory that a crash then forgets is lost.
func MkdirAll(root *os.Root, name string) error {
	if fi, err := root.Stat(name); err == nil {
		if !fi.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
		}
		return nil
	}
	parent := path.Dir(name)
	if err := MkdirAll(root, parent); err != nil {
		return err
	}
	if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(root, parent)
}

// SyncDir makes the names in the directory name below root durable.
func SyncDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Sweep removes the temporary files that a crash left in the directory name
// below root. It does not descend. It must not run while files are being made
// there. A missing directory has no litter.
func Sweep(root *os.Root, name string) (removed int, err error) {
	return sweep(root, name, TempPrefix)
}

// SweepFile removes the temporary files that a crash of [WriteFile] left beside
// the file name. It must not run while that file is being written; others may be.
func SweepFile(root *os.Root, name string) (removed int, err error) {
	return sweep(root, path.Dir(name), tempOf(name))
}

func sweep(root *os.Root, name, prefix string) (removed int, err error) {
	d, err := root.Open(name)
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
	for _, n := range names {
		if !strings.HasPrefix(n, prefix) {
			continue
		}
		if err := root.RemoveAll(path.Join(name, n)); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// Lock takes the exclusive lock that the file name below root stands for, and
// returns the function that gives it back. It waits for nobody but those who look
// with [Locked], for a moment. The lock ends with the process, however that ends. It
// belongs to the open file, so a second Lock in the same process fails too
// ([ErrLocked]), unlike fcntl locks.
func Lock(root *os.Root, name string) (unlock func() error, err error) {
	for wait := time.Millisecond; ; wait *= 2 {
		unlock, err = lock(root, name)
		if !errors.Is(err, ErrLocked) || wait > 64*time.Millisecond {
			return unlock, err
		}
		time.Sleep(wait)
	}
}

func lock(root *os.Root, name string) (unlock func() error, err error) {
	// Not for writing: what can only be read, a backup maybe, can be locked too.
	f, err := root.OpenFile(name, os.O_RDONLY|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	err = flock(f, syscall.LOCK_EX)
	if errors.Is(err, syscall.EBADF) { // NFS wants it open for writing
		f.Close()
		if f, err = root.OpenFile(name, os.O_RDWR, 0); err != nil {
			return nil, err
		}
		err = flock(f, syscall.LOCK_EX)
	}
	if err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", f.Name(), ErrLocked)
		}
		return nil, err
	}
	return f.Close, nil
}

// Locked reports whether somebody holds the lock that the file name below root
// stands for. It writes nothing, and two who ask do not see each other.
func Locked(root *os.Root, name string) (bool, error) {
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close() // gives up the lock too
	err = flock(f, syscall.LOCK_SH)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

func flock(f *os.File, how int) error {
	return syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
}
