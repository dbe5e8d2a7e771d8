// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package modfiles

import (
	"debug/buildinfo"
	"fmt"
	"runtime/debug"
	"strings"

	"golang.org/x/mod/module"

	"example.org/sumlog/witness/audit/gosum"
)

// Binary returns what a Go binary says that it was built from: its own module, all
// others, as replaced, and the toolchain.
//
// A directory on the disk of who built it is a Note, since no log can ever have what is
// in it: one that replaces a module, a member of a workspace, the main module. A main
// module that was built by "go install PATH@VERSION" has a hash. A dependency of a
// version and without a hash, as of what is built from a vendor directory, is Unchecked:
// a log has it, and the vendor directory can be compared with that.
func Binary(name string) ([]gosum.Claim, error) {
	bi, err := buildinfo.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	claims := []gosum.Claim{toolchain(bi.GoVersion)}
	if bi.Main.Path != "" {
		claims = append(claims, mainModule(bi.Main))
	}
	for _, m := range bi.Deps {
		claims = append(claims, dependency(*m))
	}
	for i := range claims {
		claims[i].File = name
	}
	return claims, nil
}

func toolchain(goVersion string) gosum.Claim {
	return gosum.Claim{
		Path: "go", Version: strings.TrimPrefix(goVersion, "go"), Given: gosum.Toolchain,
		Why: "what built it, by its own word; no hash of it is recorded",
	}
}

func mainModule(m debug.Module) gosum.Claim {
	if m.Replace != nil || m.Sum != "" {
		return dependency(m)
	}
	c := gosum.Claim{Path: m.Path, Version: m.Version, Given: gosum.Note}
	if directory(m) {
		c.Why = "the main module, built from a directory; no hash of it is recorded"
	} else {
		// Go commands make up a version from the state of the repository, +dirty too.
		c.Why = "the main module, of this version by the word of who built it; no hash of it is recorded"
	}
	return c
}

// directory reports whether m is a directory, or is replaced by this one.
func directory(m debug.Module) bool {
	return m.Sum == "" && (m.Version == "" || m.Version == "(devel)")
}

func dependency(m debug.Module) gosum.Claim {
	if r := m.Replace; r != nil {
		if directory(*r) {
			return gosum.Claim{Path: m.Path, Version: m.Version, Given: gosum.Note, Why: fmt.Sprintf("replaced by the directory %q", r.Path)}
		}
		m = *r
	}
	c := gosum.Claim{Path: m.Path, Version: m.Version, Hash: m.Sum}
	_, err := module.EscapePath(m.Path)
	switch {
	case directory(m):
		c.Given, c.Why = gosum.Note, "built from a directory, as a member of a workspace is; no hash of it is recorded"
	case err != nil || module.CanonicalVersion(m.Version) != m.Version || m.Version == "":
		c.Given, c.Why = gosum.Unchecked, fmt.Sprintf("%.200q is no version that a log can have", m.Path+"@"+m.Version)
	case m.Sum == "":
		c.Given, c.Why = gosum.Unchecked, "no hash of it is recorded, as of what is built from a vendor directory"
	case !strings.HasPrefix(m.Sum, "h1:"):
		// No go command has written another kind, as one may into a go.sum.
		c.Given, c.Why = gosum.Malformed, fmt.Sprintf("%.200q is no hash that a go command writes", m.Sum)
	}
	return c
}
