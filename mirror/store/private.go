// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package store

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/mod/module"

	"example.org/sumlog/internal/durable"
)

const (
	privateDir  fs.FileMode = 0o700
	privateFile fs.FileMode = 0o600
)

// isPrivate reports whether the module path is private.
func (s *Store) isPrivate(path string) bool { return s.c.Private != nil && s.c.Private(path) }

// closed returns the path of the directory that keeps others from the files of a
// private module: the first on the way to it below which all is private, and nothing
// public may become unreadable.
func (s *Store) closed(modulePath string) (escaped string, err error) {
	top := modulePath
	for i := range len(modulePath) {
		if modulePath[i] == '/' && s.isPrivate(modulePath[:i]) {
			top = modulePath[:i]
			break
		}
	}
	return escapePrefix(modulePath, len(top))
}

// escapePrefix escapes the first n bytes of a module path, which need not be one.
func escapePrefix(modulePath string, n int) (string, error) {
	escaped, err := module.EscapePath(modulePath)
	if err != nil {
		return "", err
	}
	elems := strings.Count(modulePath[:n], "/") + 1
	return strings.Join(strings.Split(escaped, "/")[:elems], "/"), nil
}

// makeDir makes the directory of a file of a private module, before the file gets its name
// there: at no moment can others read what is private.
func (s *Store) makeDir(modulePath, name string) error {
	closed, err := s.closed(modulePath)
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(s.root, closed); err != nil {
		return err
	}
	if err := s.close(closed); err != nil {
		return err
	}
	return durable.MkdirAll(s.root, path.Dir(name))
}

// close makes a directory this user's alone.
func (s *Store) close(dir string) error {
	if fi, err := s.root.Stat(dir); err != nil || fi.Mode().Perm() == privateDir {
		return err
	}
	return s.root.Chmod(dir, privateDir)
}

// tighten closes the directories of private modules, which an earlier version may
// have left open, or which were those of public ones. What is no longer private stays
// closed: who may read the tree is then the operator's to say. Only those directories
// are looked into below which something may be private and something else public.
func (s *Store) tighten() error {
	for _, dir := range []string{tempDir, badDir} {
		if err := durable.MkdirAll(s.root, dir); err != nil {
			return err
		}
		if err := s.close(dir); err != nil {
			return err
		}
	}
	if s.c.Private == nil {
		return nil
	}
	return fs.WalkDir(s.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // meanwhile
		case err != nil:
			return err
		case !d.IsDir() || name == ".":
			return nil
		}
		modulePath, err := unescape(name)
		switch {
		case err != nil, strings.HasPrefix(d.Name(), "@"):
			return fs.SkipDir
		case s.isPrivate(modulePath):
			if err := s.close(name); err != nil {
				return err
			}
			return fs.SkipDir
		case s.c.PrivateBelow == nil || s.c.PrivateBelow(modulePath):
			return nil
		}
		return fs.SkipDir
	})
}

// unescape is [module.UnescapePath] for a directory, which is the beginning of a
// module path and need not be one.
func unescape(dir string) (string, error) {
	const more = "/x"
	p, err := module.UnescapePath(dir + more)
	return strings.TrimSuffix(p, more), err
}
