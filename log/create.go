// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/durable"
)

// A CreateConfig says which log to create.
type CreateConfig struct {
	Dir   string // made by Create; may exist if it is vacant
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
// verifier key. The log is built beside Dir and renamed, or in it where Dir is there,
// so that Dir holds a whole log or none; what a crash leaves, the next Create uses. A
// guard outside Dir is written before: a log never exists without one.
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

// unfinished is a directory in a data directory that was there before, a mount point
// maybe, and that install is still filling. As long as it is there, all the rest is no
// log yet.
const unfinished = durable.TempPrefix + "init"

// isUnfinished reports whether install was cut off in a directory.
func isUnfinished(root *os.Root) bool {
	_, err := root.Lstat(unfinished)
	return err == nil
}

// errUnfinished is the error of a directory that holds no log yet.
func errUnfinished(dir string) error {
	return fmt.Errorf("%s: what made it was cut off, and can be run again: %w", dir, fs.ErrNotExist)
}

// Vacant reports whether Create can make a log of dir: it is missing, or empty, or
// holds what a Create left that was cut off. A mounted file system that is empty holds
// lost+found.
func Vacant(dir string) (bool, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer root.Close()
	others, err := namesBeside(root)
	return len(others) == 0 || isUnfinished(root), err
}

// namesBeside returns the names in a directory that are not of an empty one.
func namesBeside(root *os.Root) ([]string, error) {
	names, err := namesIn(root)
	return slices.DeleteFunc(names, oneOf("lost+found", lockFile, unfinished)), err
}

func namesIn(root *os.Root) ([]string, error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// install makes a log of dir, whole or not at all: fill puts it into another
// directory, and g becomes its guard. Where dir is missing, the other one is beside it
// and gets its name. Where dir is there, and vacant, it keeps its owner and its mount:
// the other one is in it, and what is in that one is moved up.
func install(dir, guardPath string, g *guard, fill func(*os.Root) error) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	made := func(root *os.Root) error {
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
		return nil
	}
	if _, err = os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		err = installBeside(dir, made)
	} else if err == nil {
		err = installIn(dir, made)
	}
	if err != nil {
		return err
	}
	return syncAbove(dir)
}

// installBeside makes the directory dir of one beside it, which made fills.
func installBeside(dir string, made func(*os.Root) error) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	parent, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer parent.Close()
	temp := durable.TempPrefix + "init-" + filepath.Base(dir)
	root, err := openNew(parent, temp)
	if err != nil {
		return err
	}
	defer root.Close()
	unlock, err := durable.Lock(root, lockFile)
	if err != nil {
		return err
	}
	defer unlock()
	if err := same(parent, temp, root); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if err := made(root); err != nil {
		return err
	}
	return parent.Rename(temp, filepath.Base(dir))
}

// installIn fills the directory dir, which is there.
func installIn(dir string, made func(*os.Root) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if ok, err := Vacant(dir); err != nil || !ok {
		return errors.Join(err, fmt.Errorf("%s: %w", dir, ErrExists))
	}
	unlock, err := durable.Lock(root, lockFile)
	if err != nil {
		return err
	}
	defer unlock()
	if ok, err := Vacant(dir); err != nil || !ok { // another was first
		return errors.Join(err, fmt.Errorf("%s: %w", dir, ErrExists))
	}
	temp, err := openNew(root, unfinished)
	if err != nil {
		return err
	}
	defer temp.Close()
	if err := made(temp); err != nil {
		return err
	}
	return moveUp(root, temp)
}

// openNew opens a directory that is made where it is missing.
func openNew(parent *os.Root, name string) (*os.Root, error) {
	if err := durable.MkdirAll(parent, name); err != nil {
		return nil, err
	}
	return parent.OpenRoot(name)
}

// same reports as [ErrExists] that name is no more the directory that was opened by it:
// another install had the lock until it had given the directory its last name, and what
// is in it now is a log.
func same(parent *os.Root, name string, root *os.Root) error {
	is, err := parent.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrExists
	}
	if err != nil {
		return err
	}
	had, err := root.Stat(".")
	if err != nil {
		return err
	}
	if !os.SameFile(is, had) {
		return ErrExists
	}
	return nil
}

// moveUp moves what is in the unfinished directory of root into root. Crash point at
// each step: as long as it is there, there is no log, and the same command makes
// everything again.
func moveUp(root, temp *os.Root) error {
	names, err := namesIn(temp)
	if err != nil {
		return err
	}
	have, err := namesBeside(root)
	if err != nil {
		return err
	}
	for _, name := range have {
		if !slices.Contains(names, name) {
			return fmt.Errorf("%s: %w: %s is not of the log that was being made", root.Name(), ErrExists, name)
		}
	}
	for _, name := range names {
		if err := root.RemoveAll(name); err != nil { // of the one that was cut off
			return err
		}
		if err := root.Rename(path.Join(unfinished, name), name); err != nil {
			return err
		}
	}
	if err := durable.SyncDir(root, "."); err != nil {
		return err
	}
	if err := root.Remove(unfinished); err != nil {
		return err
	}
	return durable.SyncDir(root, ".")
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
	names, err := namesIn(root)
	if err != nil {
		return err
	}
	for _, name := range slices.DeleteFunc(names, oneOf(lockFile)) {
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}
