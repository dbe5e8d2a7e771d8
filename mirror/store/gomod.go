// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package store

import (
	"bytes"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// maxParsed bounds the go.mod files that are parsed, which takes a hundred times
// their memory. The largest of real ones are a fifth of it.
const maxParsed = 256 << 10

// sameMeaning reports whether two go.mod files mean the same. Line ends and a
// byte order mark have no meaning: an archive made by git may have others than
// the file that the go command takes out of the repository
// (https://go.dev/issue/31870). Nor has the layout, or the order of statements.
// Otherwise they have to have the same statements, those included that the go
// command ignores in a dependency, and the same of the comments that it reads:
// “// indirect”, “Deprecated:”, and why a version was retracted. One that it
// cannot parse, or that is very large, means its bytes.
func sameMeaning(a, b []byte) bool {
	a, b = plainText(a), plainText(b)
	if bytes.Equal(a, b) {
		return true
	}
	x, ok := statements(a)
	if !ok {
		return false
	}
	y, ok := statements(b)
	return ok && slices.Equal(x, y)
}

func plainText(data []byte) []byte {
	return bytes.ReplaceAll(bytes.TrimPrefix(data, []byte("\ufeff")), []byte("\r\n"), []byte("\n"))
}

// statements returns what a go.mod says, in an order of its own. It is parsed as
// the go command parses that of a dependency.
func statements(data []byte) (list []string, ok bool) {
	if len(data) > maxParsed {
		return nil, false
	}
	f, err := modfile.ParseLax("go.mod", data, nil)
	if err != nil {
		return nil, false
	}
	add := func(tokens ...string) { list = append(list, strings.Join(tokens, " ")) }
	for _, stmt := range f.Syntax.Stmt {
		switch x := stmt.(type) {
		case *modfile.Line:
			add(x.Token...)
		case *modfile.LineBlock:
			for _, line := range x.Line {
				add(slices.Concat(x.Token, line.Token)...)
			}
		}
	}
	if f.Module != nil && f.Module.Deprecated != "" {
		add("// Deprecated:", f.Module.Deprecated)
	}
	for _, r := range f.Require {
		if r.Indirect {
			add("// indirect", r.Mod.String())
		}
	}
	for _, r := range f.Retract {
		if r.Rationale != "" {
			add("// retracted", r.Low, r.High, r.Rationale)
		}
	}
	slices.Sort(list)
	return list, true
}
