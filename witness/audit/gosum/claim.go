// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package gosum verifies what files say of hashes of modules, go.sum files first of
// all, against the records of a checksum database, each proven to be in the log.
//
// # Claims and verdicts
//
// A [Claim] is a line of a file: this go.mod, or this zip, of this module version
// has this hash. [Judge] compares claims with proven records:
//
//	ok            the log has this hash
//	mismatch      the log has another one: the file, or what it was made from, is
//	              not what everybody else gets
//	not-logged    the log says that it has no such version. Nothing proves that:
//	              it is the word of the log, or of whoever answered in its place
//	private       of a module that a pattern keeps from being asked for
//	unknown-hash  of a kind that is not h1, which go commands pass over as well
//	malformed     not a claim that a go command could have written
//	unchecked     it could not be proven, for the reason given
//	note          it says what is in a file, and has no hash that could be compared
//
// # Proofs
//
// [Prove] looks all module versions up, and believes nothing of the answers: each
// record must be in the tree of one head, and that head be consistent with every
// other one seen on the way and with the newest one of an earlier run. Two heads
// that are not are a [*tlogclient.ForkError], proof of a split view. [Set.Bundle]
// makes a file of it (see package bundle) which proves the same without a network.
//
// # What is trusted
//
// The key, and the policy if there is one. Paths of private modules are sent to
// nobody. Nothing is written.
package gosum

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/mod/module"
)

// Limits of a go.sum file.
const (
	MaxFile  = 64 << 20 // bytes
	MaxLines = 1 << 18
	maxLine  = 1 << 16
)

// A Claim is what a file says of the hash of a go.mod or a zip.
type Claim struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"` // from 1; 0 of a file without lines
	Path    string `json:"path"`
	Version string `json:"version"`
	Mod     bool   `json:"mod,omitempty"`  // of the go.mod, not of the zip
	Hash    string `json:"hash,omitempty"` // h1:…, or of another kind

	// Given is the verdict where no record is needed for one, and Why the reason:
	// that this is no claim, when all else may be anything, or that it was
	// compared with the files of a zip, and differs.
	Given Verdict `json:"given,omitempty"`
	Why   string  `json:"why,omitempty"`
}

// bad makes c one that is none.
func (c *Claim) bad(format string, args ...any) {
	c.Given, c.Why = Malformed, fmt.Sprintf(format, args...)
}

// Name returns path@version as people write it, with /go.mod if it is that.
func (c Claim) Name() string {
	name := c.Path
	if c.Version != "" {
		name += "@" + c.Version
	}
	if c.Mod {
		name += "/go.mod"
	}
	return name
}

// Where returns FILE:LINE.
func (c Claim) Where() string {
	if c.Line == 0 {
		return c.File
	}
	return fmt.Sprintf("%s:%d", c.File, c.Line)
}

// emptyGoMod is a hash that an old go command wrote by mistake for go.mod files it
// had not read. Go commands pass over it.
const emptyGoMod = "h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY="

// Parse reads a go.sum or go.work.sum file as go commands do: fields separated by
// white space, empty lines ignored, carriage returns too. A line that a go command
// would stop at is a claim given as Malformed, so that all others are still checked.
func Parse(name string, data []byte) ([]Claim, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("%s: more than %d bytes", name, MaxFile)
	}
	var claims []Claim
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if n > MaxLines {
			return nil, fmt.Errorf("%s: more than %d lines", name, MaxLines)
		}
		c := parseLine(line)
		if c.Hash == emptyGoMod && c.Given == "" {
			continue
		}
		c.File, c.Line = name, n
		claims = append(claims, c)
	}
	return claims, nil
}

func parseLine(line []byte) (c Claim) {
	if len(line) > maxLine || !utf8.Valid(line) {
		c.bad("too long, or not UTF-8")
		return c
	}
	f := strings.Fields(string(line))
	if len(f) != 3 {
		c.bad("%d fields, where a line has module, version and hash", len(f))
		return c
	}
	version, mod := strings.CutSuffix(f[1], "/go.mod")
	c = Claim{Path: f[0], Version: version, Mod: mod, Hash: f[2]}
	c.check()
	return c
}

// check makes c one that is none if no log can be asked for it.
func (c *Claim) check() {
	// Not module.Check: a log may have a record whose version does not fit its path.
	if _, err := module.EscapePath(c.Path); err != nil {
		c.bad("%.200q is no module path", c.Path)
		return
	}
	if _, err := module.EscapeVersion(c.Version); err != nil || module.CanonicalVersion(c.Version) != c.Version {
		c.bad("%.200q is no version", c.Version)
		return
	}
	if kind, _, ok := strings.Cut(c.Hash, ":"); !ok || kind == "" {
		c.bad("%.200q is no hash", c.Hash)
	}
}

// Modules returns the module versions that a log is to be asked for: each once, in
// the order of the claims, and no private one.
func Modules(claims []Claim, private string) []module.Version {
	var mods []module.Version
	seen := make(map[module.Version]bool)
	for _, c := range claims {
		m := module.Version{Path: c.Path, Version: c.Version}
		if seen[m] || !c.comparable() || module.MatchPrefixPatterns(private, c.Path) {
			continue
		}
		seen[m] = true
		mods = append(mods, m)
	}
	return mods
}

// comparable reports whether a record can confirm c or contradict it.
func (c Claim) comparable() bool {
	return c.Given == "" && strings.HasPrefix(c.Hash, "h1:")
}
