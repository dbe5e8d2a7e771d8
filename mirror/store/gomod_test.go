// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package store

import (
	"strings"
	"testing"
)

func TestSameMeaning(t *testing.T) {
	const (
		long  = "module example.com/a\n\ngo 1.20\n\nrequire (\n\texample.com/b v1.0.0\n\texample.com/c v1.1.0 // indirect\n)\n"
		bad   = "modul example.com/a\n" // not an error in a dependency, but no statement that it knows
		worse = "module example.com/a\nrequire example.com/b master\n"
	)
	for _, tt := range []struct {
		name, a, b string
		same       bool
	}{
		{"line ends", long, strings.ReplaceAll(long, "\n", "\r\n"), true},
		{"byte order mark", long, "\ufeff" + long, true},
		{"both", long, "\ufeff" + strings.ReplaceAll(long, "\n", "\r\n"), true},
		{"layout", long, "module   \"example.com/a\" // x\ngo 1.20\n// y\nrequire example.com/c v1.1.0 // indirect\nrequire example.com/b v1.0.0", true},
		{"empty block", long, long + "replace (\n)\n", true},
		{"other module", long, strings.Replace(long, "com/a", "com/x", 1), false},
		{"other go line", long, strings.Replace(long, "1.20", "1.21", 1), false},
		{"no go line", long, strings.Replace(long, "go 1.20", "", 1), false},
		{"toolchain", long, long + "toolchain go1.24.0\n", false},
		{"other version", long, strings.Replace(long, "v1.0.0", "v1.0.1", 1), false},
		{"one more", long, long + "require example.com/d v1.0.0\n", false},
		{"not indirect", long, strings.Replace(long, " // indirect", "", 1), false},
		{"deprecated", long, "// Deprecated: use b\n" + long, false},
		{"deprecated otherwise", "// Deprecated: use c\n" + long, "// Deprecated: use b\n" + long, false},
		{"retracted", long, long + "retract v1.0.0\n", false},
		{"why", long + "retract v1.0.0 // bad\n", long + "retract v1.0.0 // worse\n", false},
		{"replace", long, long + "replace example.com/b => ../b\n", false},
		{"exclude", long, long + "exclude example.com/b v1.2.0\n", false},
		{"unknown statement", long, long + "unknown x\n", false},
		{"commented out", long, strings.Replace(long, "\texample.com/b", "\t// example.com/b", 1), false},
		{"no module statement", bad, strings.ReplaceAll(bad, "\n", "\n\n"), true},
		{"cannot be parsed", worse, worse + "\n", false},
		{"cannot be parsed, line ends", worse, strings.ReplaceAll(worse, "\n", "\r\n"), true},
		{"huge", long + strings.Repeat("\n", maxParsed), long + strings.Repeat("\n", maxParsed+1), false},
		{"huge, line ends", long + strings.Repeat("\n", maxParsed), long + strings.Repeat("\r\n", maxParsed), true},
		{"empty", "", "\ufeff", true},
	} {
		if got := sameMeaning([]byte(tt.a), []byte(tt.b)); got != tt.same {
			t.Errorf("%s: %v", tt.name, got)
		}
		if got := sameMeaning([]byte(tt.b), []byte(tt.a)); got != tt.same {
			t.Errorf("%s, exchanged: %v", tt.name, got)
		}
	}
}

// FuzzSameMeaning has what any two files must hold to, and that a change of line
// ends is no change.
func FuzzSameMeaning(f *testing.F) {
	f.Add("module example.com/a\n\nrequire example.com/b v1.0.0 // indirect\n", "module example.com/a\n")
	f.Add("// Deprecated: x\nmodule m\nretract [v1.0.0, v1.1.0] // y\n", "module m\nretract (\n\tv1.0.0\n)\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		if sameMeaning([]byte(a), []byte(b)) != sameMeaning([]byte(b), []byte(a)) {
			t.Errorf("%q and %q depend on their order", a, b)
		}
		if !strings.Contains(a, "\r") && !sameMeaning([]byte(a), []byte(strings.ReplaceAll(a, "\n", "\r\n"))) {
			t.Errorf("%q is another with other line ends", a)
		}
	})
}
