// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"slices"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// listed returns what @v/list under /cached-only/ has of the logged versions of a
// module: all but pseudo-versions, each once, in order.
func listed(logged []string) []string {
	var list []string
	for _, v := range logged {
		if !module.IsPseudoVersion(v) {
			list = append(list, v)
		}
	}
	semver.Sort(list)
	return slices.Compact(list)
}

// latestOf returns what @latest under /cached-only/ names: of the logged versions
// the highest release, else the highest prerelease, else the newest
// pseudo-version; and of each kind one with a go.mod of its major version before
// one without (+incompatible). logged is not empty.
func latestOf(logged []string) string {
	return slices.MaxFunc(logged, compareLatest)
}

func compareLatest(a, b string) int {
	if c := rank(a) - rank(b); c != 0 {
		return c
	}
	if module.IsPseudoVersion(a) {
		// Of two branches the later commit can have the lower base version.
		ta, _ := module.PseudoVersionTime(a)
		tb, _ := module.PseudoVersionTime(b)
		if c := ta.Compare(tb); c != 0 {
			return c
		}
	}
	return semver.Compare(a, b)
}

func rank(v string) int {
	n := 4
	switch {
	case module.IsPseudoVersion(v):
		n = 0
	case semver.Prerelease(v) != "":
		n = 2
	}
	if semver.Build(v) == "" {
		n++
	}
	return n
}

// parseList parses a @v/list as the go command does: the first field of a line is
// the version. Lines that are none make it no list at all, but the page of a
// login, say, and so do more than any module has.
func parseList(body []byte) ([]string, bool) {
	var list []string
	for line := range strings.Lines(string(body)) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if !semver.IsValid(f[0]) || len(list) == maxVersions {
			return nil, false
		}
		list = append(list, f[0])
	}
	return list, true
}

// A listDiff says how a list differs from the one that it should be.
type listDiff struct {
	missing, extra, twice []string
}

// diffLists compares a list with what is logged.
func diffLists(want, got []string) listDiff {
	var d listDiff
	have := make(map[string]int, len(got))
	for _, v := range got {
		if have[v]++; have[v] == 2 {
			d.twice = append(d.twice, v)
		}
	}
	for _, v := range want {
		if have[v] == 0 {
			d.missing = append(d.missing, v)
		}
		delete(have, v)
	}
	for v := range have {
		d.extra = append(d.extra, v)
	}
	slices.Sort(d.extra)
	return d
}
