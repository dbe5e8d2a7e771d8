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
//	note          of what no log can ever have: a directory on somebody's disk
//	toolchain     what a binary says that it was built with
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
	"fmt"
	"strings"

	"golang.org/x/mod/module"

	"example.org/sumlog/internal/sumfile"
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

// Parse reads a go.sum or go.work.sum file (see package sumfile). A malformed line is a
// claim given as such, so that all others are still checked.
func Parse(name string, data []byte) ([]Claim, error) {
	lines, err := sumfile.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	claims := make([]Claim, len(lines))
	for i, l := range lines {
		claims[i] = claimOf(l)
		claims[i].File = name
	}
	return claims, nil
}

func claimOf(l sumfile.Line) Claim {
	c := Claim{Line: l.Number, Path: l.Path, Version: l.Version, Mod: l.Mod, Hash: l.Hash}
	if l.Err != nil {
		c.Given, c.Why = Malformed, l.Err.Error()
	}
	return c
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
