// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package modzip

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/module"
)

// Read reads the directory and checks that it is that of a zip of m, by the
// rules of x/mod/zip.
func (z *Zip) Read(ctx context.Context, m module.Version) error {
	if err := z.Scan(ctx, m); err != nil {
		return err
	}
	return z.Check(ctx)
}

// Scan reads the directory, as that of a zip of m, and checks that what it names can
// be hashed at a bounded cost, whatever names it has.
func (z *Zip) Scan(ctx context.Context, m module.Version) error {
	if err := z.readDirectory(); err != nil {
		return err
	}
	z.prefix = m.Path + "@" + m.Version + "/"
	left, packed := uint64(MaxSize), uint64(z.size)
	for _, at := range z.at {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, _, _ := parseEntry(z.dir[at:])
		if e.packed > packed {
			return costly("files that overlap")
		}
		packed -= e.packed
		if e.size > left {
			return z.refuse(at, "more than %d bytes of files", int64(MaxSize))
		}
		left -= e.size
		if e.method != store && e.method != deflate && !strings.HasSuffix(e.name, "/") {
			return z.refuse(at, "files packed with method %d", e.method)
		}
	}
	z.inflated = MaxSize - int64(left)
	return nil
}

// Check applies the rules of x/mod/zip to the names of a zip that was scanned.
func (z *Zip) Check(ctx context.Context) error {
	// In the order of the file for all but collisions, which need another.
	for _, at := range z.at {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, _, _ := parseEntry(z.dir[at:])
		if err := checkName(e, z.prefix); err != nil {
			return z.refuse(at, "%v", err)
		}
	}
	return z.collisions(len(z.prefix))
}

// checkName applies the rules for one file.
func checkName(e entry, prefix string) error {
	name, ok := strings.CutPrefix(e.name, prefix)
	if !ok {
		return fmt.Errorf("%q: path does not have prefix %q", cut(e.name), cut(prefix))
	}
	if name == "" {
		return nil
	}
	name, isDir := strings.CutSuffix(name, "/")
	if path.Clean(name) != name {
		return fmt.Errorf("%q: file path is not clean", cut(name))
	}
	if err := module.CheckFilePath(name); err != nil {
		if e, ok := errors.AsType[*module.InvalidPathError](err); ok {
			err = e.Err // which does not repeat the name
		}
		return fmt.Errorf("%q: %s", cut(name), cut(err.Error()))
	}
	if isDir {
		return nil
	}
	if base := path.Base(name); strings.EqualFold(base, "go.mod") {
		if base != name {
			return fmt.Errorf("%q: go.mod file not in module root directory", cut(name))
		}
		if name != "go.mod" {
			return fmt.Errorf("%q: go.mod files must have lowercase names", cut(name))
		}
	}
	if name == "go.mod" && e.size > maxGoMod {
		return fmt.Errorf("go.mod file too large (max size is %d bytes)", maxGoMod)
	}
	if name == "LICENSE" && e.size > maxLicense {
		return fmt.Errorf("LICENSE file too large (max size is %d bytes)", maxLicense)
	}
	return nil
}

// collisions finds names that are the same to a file system that ignores case,
// and files that are directories too. x/mod keeps each name and all directories
// above it in a map. Here the names are sorted instead, element by element and
// without regard to case: those that begin with the same directory then follow
// each other, and if they do not spell it in the same way, or one of them makes
// it a file, two neighbours differ in that.
func (z *Zip) collisions(prefix int) error {
	name := func(at uint32) (s string, isDir bool) {
		return strings.CutSuffix(nameAt(z.dir, at)[prefix:], "/")
	}
	slices.SortFunc(z.at, func(i, j uint32) int {
		a, _ := name(i)
		b, _ := name(j)
		order, _, _ := compareFold(a, b)
		return order
	})
	for i := 1; i < len(z.at); i++ {
		a, aDir := name(z.at[i-1])
		b, bDir := name(z.at[i])
		if a == "" { // the prefix itself
			continue
		}
		_, na, nb := compareFold(a, b)
		switch {
		case a[:na] != b[:nb]:
			return z.refuse(z.at[i], "case-insensitive file name collision: %q and %q", cut(a[:na]), cut(b[:nb]))
		case na < len(a):
		case nb < len(b) && !aDir, nb == len(b) && aDir != bDir:
			return z.refuse(z.at[i], "entry %q is both a file and a directory", cut(a))
		case nb == len(b) && !aDir:
			return z.refuse(z.at[i], "multiple entries for file %q", cut(a))
		}
	}
	return nil
}

// compareFold compares two paths element by element, without regard to case. Of
// the elements that they have in common, a's take na bytes and b's nb, without
// the slash behind them.
func compareFold(a, b string) (order, na, nb int) {
	// What is the same byte for byte need not be folded.
	for na < len(a) && na < len(b) && a[na] == b[na] {
		na++
	}
	na = max(0, strings.LastIndexByte(a[:na], '/'))
	nb = na
	i, j := na, na
	for i < len(a) && j < len(b) {
		ra, la := fold(a[i:])
		rb, lb := fold(b[j:])
		if ra != rb {
			return int(ra) - int(rb), na, nb
		}
		if ra == slash {
			na, nb = i, j
		}
		i, j = i+la, j+lb
	}
	switch {
	case i == len(a) && j == len(b):
		return 0, i, j
	case i == len(a):
		if b[j] == '/' {
			na, nb = i, j
		}
		return -1, na, nb
	}
	if a[i] == '/' {
		na, nb = i, j
	}
	return 1, na, nb
}

// slash stands for a slash, which is before everything else that a name can have.
const slash = 0

// fold returns the first rune of s, the same for all that differ in case only,
// as x/mod/zip folds them.
func fold(s string) (r rune, n int) {
	switch c := s[0]; {
	case c == '/':
		return slash, 1
	case 'A' <= c && c <= 'Z':
		return rune(c) + 'a' - 'A', 1
	case c < utf8.RuneSelf:
		return rune(c), 1
	}
	r, n = utf8.DecodeRuneInString(s)
	for { // the least of its orbit
		r0 := r
		if r = unicode.SimpleFold(r0); r <= r0 {
			break
		}
	}
	if 'A' <= r && r <= 'Z' {
		r += 'a' - 'A'
	}
	return r, n
}
