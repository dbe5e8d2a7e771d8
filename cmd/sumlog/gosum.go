// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"

	"example.org/sumlog/internal/sumfile"
	"example.org/sumlog/log"
)

// Limits of what is read from a module cache.
const (
	maxCacheMod = 16 << 20
	maxZipHash  = 256
)

// A claim is what a file says of one hash of a module version.
type claim struct {
	where string // file and line
	mod   module.Version
	isMod bool   // of the go.mod, not of the zip
	hash  string // h1:…
}

// of returns the hash of rec that the claim is about.
func (c claim) of(rec log.Record) string {
	if c.isMod {
		return rec.Mod
	}
	return rec.Zip
}

// sums are what a file says.
type sums struct {
	claims []claim
	other  int     // lines with a kind of hash other than h1, which go commands pass over too
	bad    []error // lines that are malformed
}

// parseGoSum parses a go.sum file. It is strict, for what it lets through costs
// requests to upstreams, and becomes a record that stands for ever. Of a version that
// a malformed line names, nothing counts: what that line meant to say of the hash
// might have kept out a wrong record.
func parseGoSum(name string, data []byte) (s sums, err error) {
	lines, err := sumfile.Parse(data)
	if err != nil {
		return s, fmt.Errorf("%s: %w", name, err)
	}
	unsure := map[module.Version]bool{}
	for _, l := range lines {
		c := claim{fmt.Sprintf("%s:%d", name, l.Number), module.Version{Path: l.Path, Version: l.Version}, l.Mod, l.Hash}
		err := l.Err
		switch {
		case err == nil && !l.H1():
			s.other++
			continue
		case err == nil:
			// Stricter than the reader: it is to be a record that this log can take.
			err = log.Record{Module: c.mod, Zip: c.hash, Mod: c.hash}.Check()
		}
		if err != nil {
			s.bad = append(s.bad, fmt.Errorf("%s: %w", c.where, err))
			unsure[c.mod] = true
			continue
		}
		s.claims = append(s.claims, c)
	}
	s.claims = slices.DeleteFunc(s.claims, func(c claim) bool { return unsure[c.mod] })
	return s, nil
}

// readClaims reads what an argument of import names: a go.sum file, or the
// directory of a module cache.
func readClaims(name string) (s sums, err error) {
	fi, err := os.Stat(name)
	if err != nil {
		return s, err
	}
	if fi.IsDir() {
		s.claims, err = readCache(name)
		return s, err
	}
	f, err := os.Open(name)
	if err != nil {
		return s, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, sumfile.MaxFile+1))
	if err != nil {
		return s, err
	}
	return parseGoSum(name, data)
}

// readCache reads a module cache: GOMODCACHE, or its cache/download. The hash
// of a zip is in its .ziphash, that of a go.mod is computed.
func readCache(dir string) ([]claim, error) {
	if _, err := os.Stat(filepath.Join(dir, "cache", "download")); err == nil {
		dir = filepath.Join(dir, "cache", "download")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var claims []claim
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == "sumdb" {
				return fs.SkipDir // the client's copy of a checksum database
			}
			return nil
		}
		c, ok, err := cacheClaim(root, name)
		if ok {
			c.where = filepath.Join(dir, filepath.FromSlash(name))
			claims = append(claims, c)
		}
		return err
	})
	return claims, err
}

// cacheClaim reads the claim that a file of a module cache makes, if any.
func cacheClaim(root *os.Root, name string) (c claim, ok bool, err error) {
	escaped, file, ok := strings.Cut(name, "/@v/")
	ext := path.Ext(file)
	if !ok || ext != ".mod" && ext != ".ziphash" {
		return c, false, nil
	}
	if c.mod.Path, err = module.UnescapePath(escaped); err != nil {
		return c, false, nil // nothing of the go command's
	}
	c.mod.Version, err = module.UnescapeVersion(strings.TrimSuffix(file, ext))
	if err != nil || module.Check(c.mod.Path, c.mod.Version) != nil || module.CanonicalVersion(c.mod.Version) != c.mod.Version {
		return c, false, nil // the .mod of a branch, say
	}
	limit := int64(maxZipHash)
	if ext == ".mod" {
		c.isMod, limit = true, maxCacheMod
	}
	f, err := root.Open(name)
	if err != nil {
		return c, false, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return c, false, err
	}
	if int64(len(data)) > limit {
		return c, false, fmt.Errorf("%s: more than %d bytes", name, limit)
	}
	c.hash = strings.TrimSpace(string(data))
	if c.isMod {
		c.hash, err = dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(data)), nil
		})
	} else if (log.Record{Module: c.mod, Zip: c.hash, Mod: c.hash}).Check() != nil {
		return c, false, nil // cut short by a crash of the go command
	}
	return c, err == nil, err
}

// A wish is a module version to import, with all that files say of it.
type wish struct {
	mod    module.Version
	zip    bool // its zip is named, not its go.mod alone
	claims []claim
}

// wishes groups claims by module version, in a stable order.
func wishes(claims []claim) []wish {
	byMod := map[module.Version]*wish{}
	for _, c := range claims {
		w := byMod[c.mod]
		if w == nil {
			w = &wish{mod: c.mod}
			byMod[c.mod] = w
		}
		w.zip = w.zip || !c.isMod
		w.claims = append(w.claims, c)
	}
	mods := slices.Collect(maps.Keys(byMod))
	module.Sort(mods)
	var list []wish
	for _, m := range mods {
		list = append(list, *byMod[m])
	}
	return list
}

// expectation returns what refuses the records that the files contradict: the
// first hash stands for ever, so a wrong one must not become the first.
func expectation(list []wish) func(log.Record) error {
	byMod := make(map[module.Version]wish, len(list))
	for _, w := range list {
		byMod[w.mod] = w
	}
	return func(rec log.Record) error {
		w, ok := byMod[rec.Module]
		if !ok {
			return nil
		}
		return w.mismatches(rec, "upstream")
	}
}

// A mismatchError says, a line each, which claims the log contradicts.
type mismatchError struct{ error }

// mismatches returns a mismatchError if rec, which whose has, contradicts any
// claim.
func (w wish) mismatches(rec log.Record, whose string) error {
	var errs []error
	for _, c := range w.claims {
		if have := c.of(rec); have != c.hash {
			what := c.mod.String()
			if c.isMod {
				what += "/go.mod"
			}
			errs = append(errs, fmt.Errorf("MISMATCH %s: %s: the file has %s, %s has %s", c.where, what, c.hash, whose, have))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return mismatchError{errors.Join(errs...)}
}
