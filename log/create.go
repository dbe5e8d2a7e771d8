// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/durable"
)

// A CreateConfig says which log to create.
type CreateConfig struct {
	Dir   string // made by Create; may exist if it is empty
	Guard string // the guard file; "" is guard in Dir
	Name  string // "" makes localhost/ and eight hex digits of the key
	Key   string // a note signing key; "" generates one

	// Files are further files to put into Dir, by name, with mode 0600: settings
	// can hold an upstream's password.
	Files map[string][]byte
}

// ErrExists reports that the directory is not empty.
var ErrExists = errors.New("directory is not empty")

// ErrName reports a name that cannot be the log's.
var ErrName = errors.New("bad name")

// Create makes an empty log, signs and archives its empty tree, and returns its
// verifier key. The log is built beside Dir and renamed, so that Dir holds a
// whole log or none; what a crash leaves beside it, the next Create uses. A
// guard outside Dir is written before the rename: a log never exists without
// one.
//
// A key must never start a second log: its signatures over two trees would be a
// fork. Create refuses the guard of a log that has signed something, and can
// know no more than that.
func Create(c CreateConfig) (vkey string, err error) {
	skey := c.Key
	if c.Name != "" {
		if err := CheckName(c.Name); err != nil {
			return "", fmt.Errorf("%w: %w", ErrName, err)
		}
	}
	if skey == "" {
		if skey, err = generateKey(c.Name); err != nil {
			return "", err
		}
	}
	s, err := newSigner(skey)
	if err != nil {
		return "", err
	}
	if c.Name != "" && s.signer.Name() != c.Name {
		return "", fmt.Errorf("%w: the key belongs to %q, not to %q", ErrName, s.signer.Name(), c.Name)
	}
	if err := CheckName(s.signer.Name()); err != nil {
		return "", fmt.Errorf("%w: %w", ErrName, err)
	}
	if c.Guard != "" {
		unlock, err := lockNewGuard(c.Dir, c.Guard)
		if err != nil {
			return "", err
		}
		defer unlock()
		if err := admits(c.Guard, s.signer.Name(), 0, nil); err != nil {
			return "", err
		}
	}
	g, err := newGuard(s.signer.Name(), 0, rangeFactory.NewEmptyRange(0))
	if err != nil {
		return "", err
	}
	err = install(c.Dir, c.Guard, g, func(root *os.Root) error {
		return build(root, s, skey, g, c.Files)
	})
	return s.vkey, err
}

// build fills the directory of an empty log.
func build(root *os.Root, s *signer, skey string, g *guard, files map[string][]byte) error {
	empty := tlog.Tree{N: 0, Hash: tlog.Hash(hasher.EmptyRoot())}
	p, err := s.publication(empty, time.Time{})
	if err != nil {
		return err
	}
	line, err := p.line()
	if err != nil {
		return err
	}
	if err := durable.WriteFile(root, keyFile, []byte(skey+"\n"), 0o600); err != nil {
		return err
	}
	if err := durable.MkdirAll(root, treeDir); err != nil {
		return err
	}
	log, err := root.OpenRoot(treeDir)
	if err != nil {
		return err
	}
	defer log.Close()
	if err := writeState(log, empty); err != nil {
		return err
	}
	for name, data := range files {
		if err := durable.WriteFile(root, name, data, 0o600); err != nil {
			return err
		}
	}
	return durable.WriteFile(root, archiveFile, line, 0o644)
}

// install makes dir, whole or not at all: fill puts the log into a directory
// beside it, g becomes its guard, and the directory gets its name.
func install(dir, guardPath string, g *guard, fill func(*os.Root) error) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if names, err := os.ReadDir(dir); err == nil && len(names) > 0 {
		return fmt.Errorf("%s: %w", dir, ErrExists)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	parent, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer parent.Close()
	temp := durable.TempPrefix + "init-" + filepath.Base(dir)
	if err := durable.MkdirAll(parent, temp); err != nil {
		return err
	}
	root, err := parent.OpenRoot(temp)
	if err != nil {
		return err
	}
	defer root.Close()
	unlock, err := durable.Lock(root, lockFile)
	if err != nil {
		return err
	}
	defer unlock()
	if err := empty(root); err != nil {
		return err
	}
	if err := fill(root); err != nil {
		return err
	}
	if guardPath == "" {
		err = durable.WriteFile(root, guardFile, g.text(), 0o644)
	} else {
		err = g.write(guardPath)
	}
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	// Crash point: a guard of the size that is about to appear, and no log.
	// The same command again finds it acceptable.
	if err := parent.Remove(filepath.Base(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // an empty directory would stand in the way
	}
	if err := parent.Rename(temp, filepath.Base(dir)); err != nil {
		return err
	}
	return syncAbove(dir)
}

// syncAbove makes the names of dir and of the directories above it durable. All
// of them: one that is there may have been made by an install that was killed
// before its sync. A directory that may not be read is not one that it made.
func syncAbove(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		f, err := os.Open(dir)
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		err = f.Sync()
		f.Close()
		if err != nil && !errors.Is(err, syscall.EINVAL) { // a file system that is only read
			return err
		}
	}
	return nil
}

// empty removes what a cut-off install left, but for its lock.
func empty(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range slices.DeleteFunc(names, func(n string) bool { return n == lockFile }) {
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}
