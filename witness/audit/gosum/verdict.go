// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package gosum

import (
	"fmt"
	"strings"

	"golang.org/x/mod/module"

	"example.org/sumlog/internal/record"
	"example.org/sumlog/witness/audit/bundle"
)

// A Verdict is what came of a claim. See the package comment.
type Verdict string

const (
	OK          Verdict = "ok"
	Mismatch    Verdict = "mismatch"
	NotLogged   Verdict = "not-logged"
	Private     Verdict = "private"
	UnknownHash Verdict = "unknown-hash"
	Malformed   Verdict = "malformed"
	Unchecked   Verdict = "unchecked"
	Note        Verdict = "note"
	Toolchain   Verdict = "toolchain"
)

// Verdicts are all verdicts, the gravest first.
var Verdicts = []Verdict{Mismatch, NotLogged, Malformed, Unchecked, UnknownHash, Private, Note, Toolchain, OK}

// An Item is a claim and its verdict.
type Item struct {
	Claim
	Verdict Verdict `json:"verdict"`
	Index   *int64  `json:"index,omitempty"`  // of the record in the log
	Logged  string  `json:"logged,omitempty"` // the record's hash, of a mismatch
	Reason  string  `json:"reason,omitempty"`
}

// String says in a line what is wrong, or that nothing is.
func (i Item) String() string {
	switch {
	case i.Verdict == Mismatch && i.Index != nil:
		return fmt.Sprintf("%s: %s has %s, and the log has %s at %d", i.Verdict, i.Name(), i.Hash, i.Logged, *i.Index)
	case i.Verdict == OK && i.Index != nil:
		return fmt.Sprintf("ok: %s is at %d", i.Name(), *i.Index)
	case i.Name() == "":
		return fmt.Sprintf("%s: %s", i.Verdict, i.Reason)
	}
	return fmt.Sprintf("%s: %s: %s", i.Verdict, i.Name(), i.Reason)
}

// A Finder has proven records. What it has not is NotLogged or Unchecked, for the
// reason that it gives.
type Finder interface {
	Find(path, version string) (e bundle.Entry, v Verdict, reason string)
}

// FromBundle returns the Finder of a bundle.
func FromBundle(b *bundle.Bundle) Finder { return bundleFinder{b} }

type bundleFinder struct{ b *bundle.Bundle }

func (f bundleFinder) Find(path, version string) (bundle.Entry, Verdict, string) {
	e, ok := f.b.Find(path, version)
	if !ok {
		return e, Unchecked, "not in the bundle"
	}
	return e, OK, ""
}

// Judge compares claims with records. Private are patterns as in GOPRIVATE.
func Judge(claims []Claim, private string, f Finder) []Item {
	items := make([]Item, len(claims))
	for i, c := range claims {
		items[i] = judge(c, private, f)
	}
	return items
}

func judge(c Claim, private string, f Finder) Item {
	switch {
	case c.Given != "":
		return Item{Claim: c, Verdict: c.Given, Reason: c.Why}
	case module.MatchPrefixPatterns(private, c.Path):
		return Item{Claim: c, Verdict: Private, Reason: "private by pattern, and not asked for"}
	case c.Hash == "":
		return Item{Claim: c, Verdict: Unchecked, Reason: "no hash is recorded"}
	case !strings.HasPrefix(c.Hash, "h1:"):
		kind, _, _ := strings.Cut(c.Hash, ":")
		return Item{Claim: c, Verdict: UnknownHash, Reason: fmt.Sprintf("hash of the kind %.40q", kind)}
	}
	e, v, reason := f.Find(c.Path, c.Version)
	if v != OK {
		return Item{Claim: c, Verdict: v, Reason: reason}
	}
	index := e.Index
	logged := record.H1(e.Zip)
	if c.Mod {
		logged = record.H1(e.Record.Mod)
	}
	if logged != c.Hash {
		return Item{Claim: c, Verdict: Mismatch, Index: &index, Logged: logged}
	}
	return Item{Claim: c, Verdict: OK, Index: &index}
}

// Counts counts verdicts.
func Counts(items []Item) map[Verdict]int {
	n := make(map[Verdict]int)
	for _, i := range items {
		n[i.Verdict]++
	}
	return n
}

// Outcome is what a set of verdicts means.
type Outcome string

const (
	Sound      Outcome = "sound"
	Incomplete Outcome = "incomplete" // something could not be checked, or there was nothing
	Different  Outcome = "different"  // something is not what is logged
)

// Conclude returns what items mean. If all must be logged, what is not, what no log
// was asked for, and what none can have, counts as different. A toolchain never does:
// no binary says more of it. No items at all are not sound, since nothing was checked:
// a file that was cut off, or another one than was meant, must not pass for years.
func Conclude(items []Item, requireLogged bool) Outcome {
	out := Sound
	if len(items) == 0 {
		out = Incomplete
	}
	for _, i := range items {
		switch i.Verdict {
		case Mismatch:
			return Different
		case NotLogged, Private, UnknownHash, Note:
			if requireLogged {
				return Different
			}
			if i.Verdict == NotLogged {
				out = Incomplete
			}
		case Malformed, Unchecked:
			out = Incomplete
		}
	}
	return out
}
