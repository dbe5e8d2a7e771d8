// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package testupstream is the outside world for tests: a module proxy with a
// checksum database, on 127.0.0.1, that records every request and misbehaves on
// demand.
//
// What it serves comes from a tree of files in which a directory named
// PATH@VERSION holds the files of that module version:
//
//	example.com/hello@v1.0.0/go.mod
//	example.com/hello@v1.0.0/hello.go
//
// Paths are written unescaped. Files whose names begin with a dot are not part
// of the module but say how it is served:
//
//	.mod       the go.mod the proxy serves, where it is not the one of the zip
//	.info      the .info the proxy serves, instead of the one made up
//	.query     names (main, v1, a commit) that resolve to this version
//	.unlisted  keeps the version out of @v/list
//	.list      the lines of @v/list for this version, instead of the version
//	           alone; it lists a pseudo-version, which proxies seldom do
//	.unlogged  keeps the version out of the checksum database
//
// The checksum database, at /sumdb/NAME/, has the record of each version as it
// was when the version was first added. Replacing a version later (see
// [Server.Add]) makes an upstream that changed its mind.
package testupstream

import (
	"archive/zip"
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/mod/sumdb/dirhash"
	modzip "golang.org/x/mod/zip"
)

// A release is one module version as the proxy serves it.
type release struct {
	mod      module.Version
	info     []byte
	gomod    []byte
	zip      []byte
	queries  []string
	lines    string // in @v/list
	unlisted bool
	unlogged bool
}

// releases reads all module versions of a tree.
func releases(fsys fs.FS) ([]*release, error) {
	var list []*release
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || !strings.Contains(path.Base(name), "@") {
			return err
		}
		p, v, _ := strings.Cut(name, "@")
		r, err := readRelease(fsys, name, module.Version{Path: p, Version: v})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, r)
		return fs.SkipDir
	})
	return list, err
}

func readRelease(fsys fs.FS, dir string, m module.Version) (*release, error) {
	if err := module.Check(m.Path, m.Version); err != nil {
		return nil, err
	}
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		return nil, err
	}
	r := &release{mod: m}
	var served []byte // the .mod, if it is not the zip's
	var files []modzip.File
	err = fs.WalkDir(sub, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(sub, name)
		if err != nil {
			return err
		}
		switch name {
		case ".mod":
			served = data
		case ".info":
			r.info = data
		case ".query":
			r.queries = strings.Fields(string(data))
		case ".list":
			r.lines = string(data)
		case ".unlisted":
			r.unlisted = true
		case ".unlogged":
			r.unlogged = true
		case "go.mod":
			r.gomod = data
			fallthrough
		default:
			files = append(files, zipFile{name, data})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if served != nil {
		r.gomod = served
	}
	return r, r.finish(files)
}

// finish makes what the tree did not give.
func (r *release) finish(files []modzip.File) error {
	m := r.mod
	if r.gomod == nil {
		r.gomod = fmt.Appendf(nil, "module %s\n", m.Path)
	}
	var buf bytes.Buffer
	if err := modzip.Create(&buf, m, files); err != nil {
		return err
	}
	r.zip = buf.Bytes()
	if r.info == nil {
		r.info = madeInfo(m)
	}
	if r.lines == "" {
		r.lines = m.Version + "\n"
		r.unlisted = r.unlisted || module.IsPseudoVersion(m.Version)
	}
	return nil
}

// madeInfo is the .info of a version that has none of its own. It names an
// origin, as proxies do for versions from version control.
func madeInfo(m module.Version) []byte {
	type origin struct{ VCS, URL, Hash, Ref string }
	info := struct {
		Version string
		Time    time.Time
		Origin  origin
	}{Version: m.Version, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	if t, err := module.PseudoVersionTime(m.Version); err == nil {
		info.Time = t
	}
	sum := sha1.Sum([]byte(m.String()))
	info.Origin = origin{"git", "https://" + m.Path, hex.EncodeToString(sum[:]), "refs/tags/" + m.Version}
	data, err := json.Marshal(info)
	if err != nil {
		panic(err) // a struct of strings and a time always encodes
	}
	return data
}

// goSum returns the record: the two lines of go.sum.
func (r *release) goSum() ([]byte, error) {
	open := func(data []byte) func(string) (io.ReadCloser, error) {
		return func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	}
	mod, err := dirhash.Hash1([]string{"go.mod"}, open(r.gomod))
	if err != nil {
		return nil, err
	}
	zr, err := zip.NewReader(bytes.NewReader(r.zip), int64(len(r.zip)))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range zr.File {
		names = append(names, f.Name)
	}
	sum, err := dirhash.Hash1(names, func(name string) (io.ReadCloser, error) { return zr.Open(name) })
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s %s %s\n%s %s/go.mod %s\n",
		r.mod.Path, r.mod.Version, sum, r.mod.Path, r.mod.Version, mod), nil
}

// A zipFile is a file of a module that is being zipped.
type zipFile struct {
	name string
	data []byte
}

func (f zipFile) Path() string                 { return f.name }
func (f zipFile) Lstat() (os.FileInfo, error)  { return fileInfo(f), nil }
func (f zipFile) Open() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(f.data)), nil }

type fileInfo zipFile

func (f fileInfo) Name() string       { return path.Base(f.name) }
func (f fileInfo) Size() int64        { return int64(len(f.data)) }
func (f fileInfo) Mode() fs.FileMode  { return 0o644 }
func (f fileInfo) ModTime() time.Time { return time.Time{} }
func (f fileInfo) IsDir() bool        { return false }
func (f fileInfo) Sys() any           { return nil }

// answer returns the file that the proxy has under an escaped path.
func (s *Server) answer(name string) ([]byte, error) {
	if p, ok := strings.CutSuffix(name, "/@latest"); ok {
		return s.latest(p)
	}
	esc, file, ok := strings.Cut(name, "/@v/")
	if !ok {
		return nil, fs.ErrNotExist
	}
	p, err := module.UnescapePath(esc)
	if err != nil {
		return nil, err
	}
	if file == "list" {
		return s.list(p)
	}
	ext := path.Ext(file)
	v, err := module.UnescapeVersion(strings.TrimSuffix(file, ext))
	if err != nil {
		return nil, err
	}
	r := s.find(p, v, ext == ".info")
	if r == nil {
		return nil, fs.ErrNotExist
	}
	switch ext {
	case ".info":
		return r.info, nil
	case ".mod":
		return r.gomod, nil
	case ".zip":
		return r.zip, nil
	}
	return nil, fs.ErrNotExist
}

func (s *Server) find(p, v string, query bool) *release {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.releases {
		if r.mod.Path == p && (r.mod.Version == v || query && slices.Contains(r.queries, v)) {
			return r
		}
	}
	return nil
}

func (s *Server) list(p string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*release
	known := false
	for _, r := range s.releases {
		known = known || r.mod.Path == p
		if r.mod.Path == p && !r.unlisted {
			list = append(list, r)
		}
	}
	if !known {
		return nil, fs.ErrNotExist
	}
	slices.SortFunc(list, func(a, b *release) int { return semver.Compare(a.mod.Version, b.mod.Version) })
	var text strings.Builder
	for _, r := range list {
		text.WriteString(r.lines)
	}
	return []byte(text.String()), nil
}

// latest answers as proxies do: the newest release, else the newest
// pre-release, else the newest pseudo-version.
func (s *Server) latest(esc string) ([]byte, error) {
	p, err := module.UnescapePath(esc)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rank := func(r *release) int {
		switch {
		case module.IsPseudoVersion(r.mod.Version):
			return 0
		case semver.Prerelease(r.mod.Version) != "":
			return 1
		}
		return 2
	}
	var best *release
	for _, r := range s.releases {
		if r.mod.Path != p {
			continue
		}
		if best == nil || rank(r) > rank(best) ||
			rank(r) == rank(best) && semver.Compare(r.mod.Version, best.mod.Version) > 0 {
			best = r
		}
	}
	if best == nil {
		return nil, fs.ErrNotExist
	}
	return best.info, nil
}

// gosum is what the checksum database calls for a version that it has not
// recorded yet.
func (s *Server) gosum(p, v string) ([]byte, error) {
	r := s.find(p, v, false)
	if r == nil || r.unlogged {
		// Not wrapped in text: sumdb.Server answers 404 by os.IsNotExist.
		return nil, &fs.PathError{Op: "lookup", Path: p + "@" + v, Err: fs.ErrNotExist}
	}
	return r.goSum()
}

// errText is what a proxy says of a file it does not have.
func errText(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "not found: no such version upstream"
	}
	return err.Error()
}
