// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
)

// maxLooked bounds how many directories of an upstream's tree are looked at, and
// how many names of one: enough to find a module in any tree that has some.
const maxLooked = 1000

// noTree says why u, if it is a directory, cannot be an upstream; "" if nothing
// speaks against it. It is no error: a disk may be mounted later, an empty directory
// filled.
func noTree(u *url.URL) string {
	if u.Scheme != "file" {
		return ""
	}
	root, err := os.OpenRoot(u.Path)
	if err != nil {
		return "is no directory that can be read: nothing can be had from it"
	}
	defer root.Close()
	if fi, err := root.Stat("cache/download"); err == nil && fi.IsDir() {
		return "is a module cache; what can be an upstream is cache/download in it"
	}
	dirs := []string{"."}
	for n := 0; n < len(dirs); n++ {
		if n == maxLooked {
			return "" // perhaps further on
		}
		entries, err := list(root, dirs[n])
		if err != nil {
			continue
		}
		if isRepository(entries) {
			return "holds version control repositories; version control is not supported yet: put a module proxy in front of them"
		}
		for _, e := range entries {
			if e.IsDir() && e.Name() == "@v" {
				return ""
			}
			if e.IsDir() && len(dirs) <= maxLooked {
				dirs = append(dirs, path.Join(dirs[n], e.Name()))
			}
		}
		if n == 0 && len(entries) == 0 {
			return "" // nothing yet
		}
	}
	return "holds no module: those have their files in HOST/PATH/@v/"
}

func list(root *os.Root, dir string) ([]fs.DirEntry, error) {
	d, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.ReadDir(maxLooked)
	if len(entries) > 0 {
		return entries, nil
	}
	if err == io.EOF {
		err = nil
	}
	return nil, err
}

// isRepository reports whether a directory with these entries is a git repository.
func isRepository(entries []fs.DirEntry) bool {
	parts := 0
	for _, e := range entries {
		switch e.Name() {
		case ".git":
			return true
		case "HEAD", "objects", "refs":
			parts++
		}
	}
	return parts == 3
}
