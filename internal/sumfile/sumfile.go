// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package sumfile reads go.sum and go.work.sum files as go commands do
// (cmd/go/internal/modfetch, readGoSum): lines of three fields, module, version and
// hash, with any white space between them.
//
// Passed over are empty lines, and all lines with the hash of an empty go.mod: an old
// go command wrote such for files it had not read, and those of today drop them
// wherever they stand. Go commands compare only hashes of the kind h1 with what they
// have computed; lines of other kinds are here, for who counts them.
//
// A line is malformed that has another number of fields, where a go command stops, or
// whose module, version or hash none can have written. Of those it never makes use; a
// reader of this package is told, since somebody has meant something by it.
//
// Nothing that is read is trusted: there are limits of size, lines and length.
package sumfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/mod/module"
)

// Limits of a file.
const (
	MaxFile  = 64 << 20 // bytes
	MaxLines = 1 << 18
	MaxLine  = 1 << 16 // bytes
)

// emptyGoMod is the hash that is dropped.
const emptyGoMod = "h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY="

// ErrFields says that a line has not three fields: a go command stops there.
var ErrFields = errors.New("a line has module, version and hash")

// A Line is one that says something.
type Line struct {
	Number  int // from 1
	Path    string
	Version string
	Mod     bool   // of the go.mod, not of the zip
	Hash    string // h1:…, or of another kind
	Err     error  // it is malformed, and all else may be anything
}

// H1 reports whether the hash is of the one kind that go commands compare.
func (l Line) H1() bool { return strings.HasPrefix(l.Hash, "h1:") }

// Parse parses a file. Its error is about a limit.
func Parse(data []byte) ([]Line, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("more than %d bytes", MaxFile)
	}
	var lines []Line
	n := 0
	for text := range bytes.Lines(data) {
		n++
		l, ok := parse(text)
		if !ok {
			continue
		}
		if n > MaxLines {
			return nil, fmt.Errorf("more than %d lines", MaxLines)
		}
		l.Number = n
		lines = append(lines, l)
	}
	return lines, nil
}

// parse parses a line, unless it is passed over.
func parse(text []byte) (l Line, ok bool) {
	if len(text) > MaxLine {
		l.Err = fmt.Errorf("more than %d bytes", MaxLine)
		return l, len(bytes.TrimSpace(text)) > 0
	}
	f := strings.Fields(string(text))
	switch {
	case len(f) == 0:
		return l, false
	case len(f) != 3:
		l.Err = fmt.Errorf("%d fields, where %w", len(f), ErrFields)
		return l, true
	case f[2] == emptyGoMod:
		return l, false
	case !utf8.Valid(text):
		l.Err = errors.New("not UTF-8")
		return l, true
	}
	l.Path, l.Hash = f[0], f[2]
	l.Version, l.Mod = strings.CutSuffix(f[1], "/go.mod")
	l.Err = l.Check()
	return l, true
}

// Check returns what of the module, version and hash no go command can have written.
func (l Line) Check() error {
	// Not module.Check: a log may have a record whose version does not fit its path.
	if _, err := module.EscapePath(l.Path); err != nil {
		return fmt.Errorf("%.200q is no module path", l.Path)
	}
	if _, err := module.EscapeVersion(l.Version); err != nil || module.CanonicalVersion(l.Version) != l.Version {
		return fmt.Errorf("%.200q is no version", l.Version)
	}
	if kind, _, ok := strings.Cut(l.Hash, ":"); !ok || kind == "" {
		return fmt.Errorf("%.200q is no hash", l.Hash)
	}
	return nil
}
