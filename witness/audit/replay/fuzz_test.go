// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay

import (
	"encoding/json"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/tlog"
)

// FuzzSnapshot checks that what passes Check is a tree.
func FuzzSnapshot(f *testing.F) {
	t := newTree(func(tlog.Tile, []tlog.Hash) {})
	for n := range int64(300) {
		if n < 2 || n > 255 && n < 259 {
			data, err := json.Marshal(t.snapshot([]tlog.Hash{leaf(1), leaf(2)}))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
		t.push(leaf(n))
	}
	f.Add([]byte(`{"size":4611686018427387904,"edges":[[],[],[],[],[],[],[]]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := new(Snapshot)
		if json.Unmarshal(data, s) != nil || s.Check() != nil {
			return
		}
		tree := newTree(func(tlog.Tile, []tlog.Hash) {})
		tree.restore(s)
		again := tree.snapshot(s.Edges[0])
		if again.Tree() != s.Tree() || tree.count != s.Size/bundleWidth {
			t.Errorf("%+v becomes %+v", s, again)
		}
	})
}

// FuzzPseudoVersionTime compares with package module.
func FuzzPseudoVersionTime(f *testing.F) {
	for _, v := range []string{"v1.2.3", "v0.0.0-20191109021931-daa7c04131f5", "v1.2.4-0.20191109021931-daa7c04131f5",
		"v1.2.3-pre.0.20191109021931-daa7c04131f5+incompatible", "v0.0.0-19991109021931-daa7c04131f", "-20191109021931-daa7c04131f5",
		"v0.0.0-0.00000101000000-000000000000+0"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		got := pseudoVersionTime([]byte(v))
		if got != nil && !strings.Contains(v, string(got)) {
			t.Errorf("%q: %q", v, got)
		}
		// Package module takes revisions of any length; those of the go command
		// have 12 characters.
		rev, err := module.PseudoVersionRev(v)
		if err != nil || len(rev) != 12 {
			return
		}
		want, err := module.PseudoVersionTime(v)
		if err == nil && string(got) != want.Format("20060102150405") {
			t.Errorf("%q: %q, want %v", v, got, want)
		}
	})
}
