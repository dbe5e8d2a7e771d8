// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package modfiles says, as claims that package gosum judges, what modules there
// are on a disk: in the module cache of a go command, in a vendor directory, in a
// Go binary. It computes hashes itself, and believes none that is written down
// beside the files; of a binary there is nothing else than what it says of itself.
//
// Nothing that is read is trusted, and nothing is written. A symbolic link to a
// directory, which a go command follows, is not followed, but said. Files may change while
// they are read: the claims are about what was read.
package modfiles

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	modzip "golang.org/x/mod/zip"
	"golang.org/x/sync/errgroup"

	"example.org/sumlog/witness/audit/gosum"
)

const maxMod = modzip.MaxGoMod

// Cache returns the claims of a module cache, GOMODCACHE: of each zip and go.mod that
// was downloaded, and of each directory that was extracted from a zip. A private
// module's too; nothing leaves this function. It calls progress, if that is not nil,
// from one goroutine at a time.
func Cache(ctx context.Context, dir string, progress func(done, total int64)) ([]gosum.Claim, error) {
	found, err := findCached(ctx, dir)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: no module cache, or an empty one", dir)
	}
	claims := make([]gosum.Claim, len(found))
	var mu sync.Mutex
	var done int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range found {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			claims[i] = f.claim(dir)
			mu.Lock()
			defer mu.Unlock()
			done++
			if progress != nil {
				progress(done, int64(len(found)))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return claims, nil
}

// A cached is a zip, a go.mod, or a directory.
type cached struct {
	name string // below the cache, with slashes
	mod  module.Version
	hash func(name string, m module.Version) (string, error)
	is   string // what it is
}

func (f cached) claim(dir string) gosum.Claim {
	c := gosum.Claim{File: filepath.Join(dir, filepath.FromSlash(f.name)), Path: f.mod.Path, Version: f.mod.Version, Mod: f.is == "go.mod"}
	if f.hash == nil {
		c.Given, c.Why = gosum.Unchecked, "neither a file nor a directory; what it may lead to was not read"
		return c
	}
	var err error
	if c.Hash, err = f.hash(c.File, f.mod); err != nil {
		c.Given, c.Why = gosum.Malformed, fmt.Sprintf("no %s: %v", f.is, err)
		if _, ok := errors.AsType[*fs.PathError](err); ok {
			c.Given = gosum.Unchecked
		}
	}
	return c
}

// findCached walks the cache. What a go command would not read is passed over. What
// is no file is not: behind a link there may be other code than was extracted, and
// who opens a pipe waits for ever.
func findCached(ctx context.Context, dir string) ([]cached, error) {
	var found []cached
	tree := os.DirFS(dir)
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch {
			case name == "cache/vcs", name == "cache/download/sumdb":
				return fs.SkipDir
			case !strings.HasPrefix(name, "cache/") && strings.Contains(d.Name(), "@"):
				if m, ok := versionOf(strings.Cut(name, "@")); ok {
					found = append(found, cached{name, m, hashDir, "directory"})
				}
				return fs.SkipDir
			}
			return ctx.Err()
		}
		if fi, err := fs.Stat(tree, name); err != nil || !fi.Mode().IsRegular() {
			if name != "cache/vcs" && name != "cache/download/sumdb" {
				found = append(found, cached{name: name})
			}
			return nil
		}
		rest, ok := strings.CutPrefix(name, "cache/download/")
		if !ok {
			return nil
		}
		path, file, ok := strings.Cut(rest, "/@v/")
		if version, isZip := strings.CutSuffix(file, ".zip"); isZip {
			if m, ok := versionOf(path, version, ok); ok {
				found = append(found, cached{name, m, hashZip, "zip"})
			}
		}
		if version, isMod := strings.CutSuffix(file, ".mod"); isMod {
			if m, ok := versionOf(path, version, ok); ok {
				found = append(found, cached{name, m, hashMod, "go.mod"})
			}
		}
		return nil
	})
	slices.SortFunc(found, func(a, b cached) int { return strings.Compare(a.name, b.name) })
	return found, err
}

// versionOf unescapes a module version.
func versionOf(path, version string, ok bool) (module.Version, bool) {
	if !ok {
		return module.Version{}, false
	}
	p, err := module.UnescapePath(path)
	if err != nil {
		return module.Version{}, false
	}
	v, err := module.UnescapeVersion(version)
	if err != nil || module.CanonicalVersion(v) != v {
		return module.Version{}, false
	}
	return module.Version{Path: p, Version: v}, true
}

// hashZip is only for zips that a go command would extract: others may be large
// without end.
func hashZip(name string, m module.Version) (string, error) {
	if _, err := modzip.CheckZip(m, name); err != nil {
		return "", err
	}
	return dirhash.HashZip(name, dirhash.Hash1)
}

func hashDir(dir string, m module.Version) (string, error) {
	names, err := dirhash.DirFiles(dir, m.String())
	if err != nil {
		return "", err
	}
	file := func(name string) string {
		return filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(name, m.String())))
	}
	for _, name := range names {
		fi, err := os.Stat(file(name))
		if err != nil {
			return "", err
		}
		if !fi.Mode().IsRegular() {
			return "", fmt.Errorf("%s is not a regular file", name)
		}
	}
	if m.Path == "golang.org/toolchain" {
		names = slices.DeleteFunc(names, func(name string) bool { return copied(file(name)) })
	}
	return dirhash.Hash1(names, func(name string) (io.ReadCloser, error) { return os.Open(file(name)) })
}

// copied reports whether a file of a toolchain is what a go command makes before it
// runs that: no zip can have a go.mod below its root, so that they are there as
// _go.mod, and copied.
func copied(name string) bool {
	dir, base := filepath.Split(name)
	if base != "go.mod" {
		return false
	}
	logged, err := readFile(filepath.Join(dir, "_go.mod"), maxMod)
	if err != nil {
		return false
	}
	data, err := readFile(name, maxMod)
	return err == nil && bytes.Equal(data, logged)
}

func hashMod(name string, _ module.Version) (string, error) {
	data, err := readFile(name, maxMod)
	if err != nil {
		return "", err
	}
	return dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	})
}

func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", name, limit)
	}
	return data, err
}

// Zip returns the zip of a module version in the module cache dir, and its hash.
func Zip(dir string, m module.Version) (name, h1 string, err error) {
	path, err := module.EscapePath(m.Path)
	if err != nil {
		return "", "", err
	}
	version, err := module.EscapeVersion(m.Version)
	if err != nil {
		return "", "", err
	}
	name = filepath.Join(dir, "cache", "download", filepath.FromSlash(path), "@v", version+".zip")
	if _, err := os.Stat(name); err != nil {
		return "", "", err
	}
	h1, err = hashZip(name, m)
	return name, h1, err
}

// HashZip returns the hash of a file that is said to be the zip of a module version.
func HashZip(name string, m module.Version) (string, error) { return hashZip(name, m) }

// files returns the regular files of a zip below its prefix.
func files(z *zip.Reader, m module.Version) map[string]*zip.File {
	out := make(map[string]*zip.File, len(z.File))
	for _, f := range z.File {
		if rel, ok := strings.CutPrefix(f.Name, m.Path+"@"+m.Version+"/"); ok {
			out[rel] = f
		}
	}
	return out
}
