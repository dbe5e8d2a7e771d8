// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/mod/module"
)

// A claim is what a private pattern says of a module path.
type claim int

const (
	claimsNothing claim = iota
	claimsBelow         // something below the path
	claimsAllBelow
	claimsIt
)

// claimOf returns what glob, which is one pattern of GOPRIVATE, says of modulePath.
func claimOf(glob, modulePath string) claim {
	if module.MatchPrefixPatterns(glob, modulePath) {
		return claimsIt
	}
	claimed := strings.Split(strings.TrimSuffix(glob, "/"), "/")
	above := strings.Split(modulePath, "/")
	if len(above) >= len(claimed) {
		return claimsNothing
	}
	for i, elem := range above {
		if ok, err := path.Match(claimed[i], elem); !ok || err != nil {
			return claimsNothing
		}
	}
	for _, elem := range claimed[len(above):] {
		if !matchesAll(elem) {
			return claimsBelow
		}
	}
	return claimsAllBelow
}

// matchesAll reports whether the element of a pattern matches every name. Of names
// that have one letter at least, ?* does too, and ? does not.
func matchesAll(elem string) bool {
	stars := strings.Replace(elem, "?", "", 1)
	return stars != "" && strings.Trim(stars, "*") == ""
}

// PrivateBelow reports whether something below path may be private. path need not be
// that of a module.
func (r *Router) PrivateBelow(path string) bool {
	for glob := range strings.SplitSeq(r.globs, ",") {
		if claimOf(glob, path) != claimsNothing {
			return true
		}
	}
	return false
}

// judge decides whether modulePath is private, and says why to people. There is
// nothing to be said of most public ones.
func (r *Router) judge(modulePath string) (private bool, note string) {
	most, by := claimsNothing, ""
	for glob := range strings.SplitSeq(r.globs, ",") {
		if c := claimOf(glob, modulePath); c > most {
			most, by = c, glob
		}
	}
	const asked = "a go command asks for it too when it looks for a module below it"
	switch {
	case most == claimsIt:
		return true, fmt.Sprintf("%s is private here, by the pattern %s", modulePath, by)
	case most == claimsAllBelow:
		return true, fmt.Sprintf("%s is private here, by the pattern %s, which claims all that is below it; %s", modulePath, by, asked)
	case most == claimsBelow:
		return false, fmt.Sprintf("%s is public here: the private pattern %s claims only a part of what is below it; %s", modulePath, by, asked)
	case !strings.Contains(modulePath, "/"):
		return false, fmt.Sprintf("%s is a host alone: %s", modulePath, asked)
	}
	return false, ""
}

// A notedError is the error of a path of which there is more to be said than what
// went wrong.
type notedError struct {
	err  error
	note string
}

func (e *notedError) Error() string { return e.err.Error() + " (" + e.note + ")" }
func (e *notedError) Unwrap() error { return e.err }

func noted(err error, note string) error {
	if err == nil || note == "" {
		return err
	}
	return &notedError{err, note}
}

// Note returns what users should know of the path that err is about: a sentence
// that names it, says whether it is private and by which pattern, and why it was
// asked for. It is empty if there is nothing to be said.
func Note(err error) string {
	if e, ok := errors.AsType[*notedError](err); ok {
		return e.note
	}
	return ""
}
