// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package store

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"example.org/sumlog/internal/durable"
)

// Publish adds m to the @v/list of its module, for those who read the tree
// without a server. It is called when m's entry is published and its .info is
// here.
//
// Pseudo-versions are among them, which a server leaves out: it has @latest
// beside the list, and a tree, where that would change, has not. The go command
// then takes the latest of the pseudo-versions in the list, if there are no
// others, and otherwise passes over them. (A list from before that was so is
// whole again when all entries are published again, as a rebuild of the mirror
// does.)
func (s *Store) Publish(m module.Version) error {
	name, err := Name(m, Info)
	if err != nil {
		return err
	}
	list := name[:strings.LastIndexByte(name, '/')] + "/list"
	defer s.locks.lock(list)()
	data, err := s.root.ReadFile(list)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	versions := strings.Fields(string(data))
	if slices.Contains(versions, m.Version) {
		return nil
	}
	versions = slices.DeleteFunc(append(versions, m.Version), func(v string) bool { return !semver.IsValid(v) })
	semver.Sort(versions)
	mode := fs.FileMode(0o644)
	if s.isPrivate(m.Path) {
		mode = privateFile
	}
	return durable.WriteFile(s.root, list, []byte(strings.Join(versions, "\n")+"\n"), mode)
}

// Infos returns what reports whether there is a .info of a version of the module
// path. It says nothing about what is in it. If the disk does not tell, there is one
// of each: no published version leaves a list for that.
func (s *Store) Infos(path string) func(version string) bool {
	escaped, err := module.EscapePath(path)
	if err != nil {
		return func(string) bool { return false }
	}
	dir, err := fs.ReadDir(s.root.FS(), escaped+"/@v")
	unknown := err != nil && !errors.Is(err, fs.ErrNotExist)
	names := make(map[string]bool)
	for _, d := range dir {
		names[d.Name()] = true
	}
	return func(version string) bool {
		v, err := module.EscapeVersion(version)
		return err == nil && (unknown || names[v+".info"])
	}
}

// keyed is a lock for each name in use.
type keyed struct {
	mu    sync.Mutex
	locks map[string]*counted
}

type counted struct {
	sync.Mutex
	users int // guarded by keyed.mu
}

// lock takes the lock of name and returns the function that gives it back.
func (k *keyed) lock(name string) (unlock func()) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = make(map[string]*counted)
	}
	l := k.locks[name]
	if l == nil {
		l = new(counted)
		k.locks[name] = l
	}
	l.users++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		if l.users--; l.users == 0 {
			delete(k.locks, name)
		}
		k.mu.Unlock()
	}
}
