// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package modfiles

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"go/build/constraint"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/module"

	"example.org/sumlog/witness/audit/gosum"
)

const maxModulesTxt = 16 << 20

// A Vendor is a vendor directory.
type Vendor struct {
	dir      string
	modules  []*vendored
	packages map[string]*vendored // by path
}

// A vendored is a module of which there are packages in a vendor directory.
type vendored struct {
	path     string         // as it is imported
	from     module.Version // what it was copied from: the module, or what replaces it
	local    string         // the directory that replaces it
	line     int            // of modules.txt
	packages []string
	files    []string // below the vendor directory
}

// OpenVendor reads what a vendor directory says that it contains.
func OpenVendor(dir string) (*Vendor, error) {
	data, err := readFile(filepath.Join(dir, "modules.txt"), maxModulesTxt)
	if err != nil {
		return nil, err
	}
	v := &Vendor{dir: dir, packages: make(map[string]*vendored)}
	var m *vendored
	n := 0
	for line := range bytes.Lines(data) {
		n++
		text := strings.TrimSpace(string(line))
		switch {
		case text == "" || strings.HasPrefix(text, "## "):
		case strings.HasPrefix(text, "# "):
			if m, err = parseModule(text[2:]); err != nil {
				return nil, fmt.Errorf("%s:%d: %v", filepath.Join(dir, "modules.txt"), n, err)
			}
			m.line = n
			v.modules = append(v.modules, m)
		case m == nil || !fs.ValidPath(text) || v.packages[text] != nil || !within(text, m.path):
			return nil, fmt.Errorf("%s:%d: %.200q is no package of a module before it", filepath.Join(dir, "modules.txt"), n, text)
		default:
			m.packages = append(m.packages, text)
			v.packages[text] = m
		}
	}
	// Modules are listed that are replaced, but not used.
	v.modules = slices.DeleteFunc(v.modules, func(m *vendored) bool { return len(m.packages) == 0 })
	// Of two versions of one module, the older may lend a package with a hole in it.
	seen := make(map[string]bool)
	for _, m := range v.modules {
		if seen[m.path] {
			return nil, fmt.Errorf("%s:%d: %s is there twice", filepath.Join(dir, "modules.txt"), m.line, m.path)
		}
		seen[m.path] = true
	}
	return v, nil
}

func within(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

// parseModule parses PATH [VERSION] [=> PATH [VERSION]].
func parseModule(text string) (*vendored, error) {
	left, right, replaced := strings.Cut(text, " => ")
	f := strings.Fields(left)
	if len(f) < 1 || len(f) > 2 {
		return nil, fmt.Errorf("%.200q is no module", text)
	}
	m := &vendored{path: f[0]}
	if replaced {
		f = strings.Fields(right)
		if len(f) == 1 {
			m.local = f[0]
			return m, nil
		}
	}
	if len(f) == 2 {
		m.from = module.Version{Path: f[0], Version: f[1]}
	}
	return m, nil
}

// Modules returns claims without hashes, for the modules that records are needed of.
func (v *Vendor) Modules() []module.Version {
	var mods []module.Version
	for _, m := range v.modules {
		if m.from.Version != "" {
			mods = append(mods, m.from)
		}
	}
	return mods
}

// Zips returns the file of the zip of a module version, and its hash, which is want
// if there is such a one.
type Zips func(ctx context.Context, m module.Version, want string) (name, h1 string, err error)

// A Want returns the hash that the zip of a module version must have, if its verdict
// is OK; else why there is none.
type Want func(m module.Version) (h1 string, v gosum.Verdict, why string)

// Claims compares all files with those of the zips.
//
// There is a claim for each module: that the zip which its files were compared with
// has its hash. A file that is not in the zip, or is another one there, and one that
// "go mod vendor" would have copied and that is missing, are claims that do not hold.
// Of a module that a directory replaces, which no log can have, there is a Note.
func (v *Vendor) Claims(ctx context.Context, want Want, zips Zips) ([]gosum.Claim, error) {
	claims, err := v.assign(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range v.modules {
		c := gosum.Claim{File: filepath.Join(v.dir, "modules.txt"), Line: m.line, Path: m.from.Path, Version: m.from.Version}
		switch {
		case m.local != "":
			c.Path, c.Given, c.Why = m.path, gosum.Note, fmt.Sprintf("replaced by the directory %q", m.local)
		case m.from.Version == "":
			c.Path, c.Given, c.Why = m.path, gosum.Malformed, "it has no version"
		default:
			bad, err := v.check(ctx, m, &c, want, zips)
			if err != nil {
				return nil, err
			}
			claims = append(claims, bad...)
		}
		claims = append(claims, c)
	}
	return claims, nil
}

// check compares the files of a module, and completes the claim about it.
func (v *Vendor) check(ctx context.Context, m *vendored, c *gosum.Claim, want Want, zips Zips) (bad []gosum.Claim, err error) {
	hash, verdict, why := want(m.from)
	if verdict != gosum.OK {
		c.Given, c.Why = verdict, why
		return nil, nil
	}
	name, h1, err := zips(ctx, m.from, hash)
	if err != nil {
		c.Given, c.Why = gosum.Unchecked, fmt.Sprintf("no zip: %v", err)
		return nil, ctx.Err()
	}
	if c.Hash = h1; h1 != hash {
		return nil, nil
	}
	return v.compare(m, name)
}

// assign finds the module of each file. A file outside of all of them does not
// belong there.
func (v *Vendor) assign(ctx context.Context) (strangers []gosum.Claim, err error) {
	for _, m := range v.modules {
		m.files = nil
	}
	err = fs.WalkDir(os.DirFS(v.dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return cmp.Or(err, ctx.Err())
		}
		if d.IsDir() || name == "modules.txt" {
			return nil
		}
		m := v.owner(path.Dir(name))
		why := ""
		switch {
		case !d.Type().IsRegular():
			why = "not a regular file"
		case m == nil:
			why = "of none of the modules in modules.txt"
		default:
			m.files = append(m.files, name)
			return nil
		}
		strangers = append(strangers, gosum.Claim{File: filepath.Join(v.dir, filepath.FromSlash(name)), Given: gosum.Mismatch, Why: why})
		return nil
	})
	return strangers, err
}

// owner returns the module that a directory belongs to: that of the nearest package
// at or above it, or the one that begins nearer, as of a licence in its root.
func (v *Vendor) owner(dir string) *vendored {
	for d := dir; d != "."; d = path.Dir(d) {
		if m := v.packages[d]; m != nil {
			return m
		}
		for _, m := range v.modules {
			if m.path == d {
				return m
			}
		}
	}
	return nil
}

func (v *Vendor) compare(m *vendored, zipName string) (bad []gosum.Claim, err error) {
	z, err := zip.OpenReader(zipName)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	logged := files(&z.Reader, m.from)
	differs := func(name, why string) {
		bad = append(bad, gosum.Claim{
			File: filepath.Join(v.dir, filepath.FromSlash(name)), Path: m.from.Path, Version: m.from.Version,
			Given: gosum.Mismatch, Why: why,
		})
	}
	for _, name := range m.files {
		f := logged[strings.TrimPrefix(name, m.path+"/")]
		if f == nil {
			differs(name, "not in the logged zip")
			continue
		}
		same, err := v.same(name, f)
		if err != nil {
			return nil, err
		}
		if !same {
			differs(name, "not the file of the logged zip")
		}
	}
	for _, name := range missing(m, logged) {
		differs(name, "missing, and in the logged zip")
	}
	return bad, nil
}

// same compares a file with that of a zip.
func (v *Vendor) same(name string, f *zip.File) (bool, error) {
	file, err := os.Open(filepath.Join(v.dir, filepath.FromSlash(name)))
	if err != nil {
		return false, err
	}
	defer file.Close()
	fi, err := file.Stat()
	if err != nil || uint64(fi.Size()) != f.UncompressedSize64 {
		return false, err
	}
	in, err := f.Open()
	if err != nil {
		return false, err
	}
	defer in.Close()
	a, b := sha256.New(), sha256.New()
	if _, err := io.Copy(a, file); err != nil {
		return false, err
	}
	if _, err := io.Copy(b, in); err != nil {
		return false, err
	}
	return bytes.Equal(a.Sum(nil), b.Sum(nil)), nil
}

// missing returns the files of packages that a go command would have copied.
// Without one of them other code is built, too.
func missing(m *vendored, logged map[string]*zip.File) []string {
	have := make(map[string]bool, len(m.files))
	for _, name := range m.files {
		have[name] = true
	}
	packages := make(map[string]bool, len(m.packages))
	for _, p := range m.packages {
		packages[p] = true
	}
	var out []string
	for rel, f := range logged {
		name := m.path + "/" + rel
		if have[name] || !packages[path.Dir(name)] {
			continue
		}
		if base := path.Base(name); base == "go.mod" || base == "go.sum" || strings.HasSuffix(base, "_test.go") || ignored(base, f) {
			continue
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// ignored reports whether a Go file is never built, whatever the tags: it is not
// copied then. A tag can be on or off, except for "ignore".
func ignored(base string, f *zip.File) bool {
	if !strings.HasSuffix(base, ".go") {
		return false
	}
	r, err := f.Open()
	if err != nil {
		return false
	}
	defer r.Close()
	s := bufio.NewScanner(io.LimitReader(r, 1<<20))
	for s.Scan() {
		line := strings.TrimSpace(s.Text())
		if strings.HasPrefix(line, "package ") {
			return false
		}
		if x, err := constraint.Parse(line); err == nil && !possible(x, true) {
			return true
		}
	}
	return false
}

// possible reports whether x can have a value, each tag having the one that suits it.
func possible(x constraint.Expr, value bool) bool {
	switch x := x.(type) {
	case *constraint.TagExpr:
		return x.Tag != "ignore" || !value
	case *constraint.NotExpr:
		return possible(x.X, !value)
	case *constraint.AndExpr:
		if value {
			return possible(x.X, true) && possible(x.Y, true)
		}
		return possible(x.X, false) || possible(x.Y, false)
	case *constraint.OrExpr:
		if value {
			return possible(x.X, true) || possible(x.Y, true)
		}
		return possible(x.X, false) && possible(x.Y, false)
	}
	return true
}
