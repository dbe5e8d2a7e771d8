// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import "testing"

// A known name may have a URL after it, as go commands take it.
func TestDatabase(t *testing.T) {
	key := knownDatabases["sum.golang.org"]
	for spec, want := range map[string][2]string{
		"sum.golang.org": {key, ""},
		" sum.golang.org\t https://db.example/x ": {key, "https://db.example/x"},
		"sum.golang.google.cn":                    {key, "https://sum.golang.google.cn"},
		key + " https://db.example":               {key, "https://db.example"},
		key:                                       {key, ""},
		"a b c":                                   {"a b c", ""},
		"":                                        {"", ""},
	} {
		if vkey, url := database(spec); vkey != want[0] || url != want[1] {
			t.Errorf("%q: %q and %q", spec, vkey, url)
		}
	}
}
