// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func TestRouter(t *testing.T) {
	client := newClient(t)
	public := client.Chain(mustList(t, "https://public.example"))
	private := client.Chain(mustList(t, "https://private.example"))
	r, err := NewRouter(public, private, "corp.example,*.corp.internal/team,github.com/Corp/*,box.local,git.example/*,deep.example/*/?*,*.wild.example/*,vanity.example/x/*,lib.example/m/p*,one.example/?")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ path, want string }{
		{"rsc.io/quote", "public"},
		{"golang.org/toolchain", "public"},
		{"github.com/Corp/secret", "private"},
		{"github.com/Corp/secret/v2", "private"},
		{"github.com/corp/open", "public"},
		// What a pattern claims all of, go commands ask for too.
		{"github.com/Corp", "private"},
		{"github.com", "public"},
		{"git.example/x/y", "private"},
		{"git.example/x", "private"},
		{"git.example", "private"},
		{"not.git.example", "public"},
		{"git.example.org", "public"},
		{"deep.example/x/y", "private"},
		{"deep.example/x", "private"},
		{"deep.example", "private"},
		{"a.wild.example/x", "private"},
		{"a.wild.example", "private"},
		{"wild.example", "public"},
		{"vanity.example/x/y", "private"},
		{"vanity.example/x", "private"},
		{"vanity.example/y", "public"},
		{"vanity.example", "public"}, // which may be a public module
		{"lib.example/m/p1", "private"},
		{"lib.example/m", "public"},
		{"one.example/a", "private"},
		{"one.example/ab", "public"},
		{"one.example", "public"}, // as ab is
		{"corp.example", "private"},
		{"corp.example/x/y", "private"},
		{"corp.example.org/x", "public"},
		{"git.corp.internal/team/x", "private"},
		{"git.corp.internal/other", "error"},
		{"box.local/x", "private"},
		{"other.local/x", "error"},
		{"example.test/x", "public"},
		{"1.2.3.4/x", "error"},
		{"127.1/x", "error"},
		{"1.2.3.4.5/x", "error"},
		{"foo.1/x", "error"},
		{"foo.0x7f/x", "error"},
		{"foo.0x/x", "error"},
		{"foo.0xyz/x", "public"},
		{"v1.example/x", "public"},
		{"localhost/x", "error"},
		{"foo.localhost/x", "error"},
		{"localhost.localdomain/x", "public"},
		{"nodot/x", "error"},
		{"[::1].x/x", "error"},
		{"example.com:8080/x", "error"},
		{"Example.com/x", "error"},
		{"example.com/../x", "error"},
		{"example.com/a\x00b", "error"},
		{"example.com/a\xffb", "error"},
		{"example.com/!a", "error"},
		{"", "error"},
		{"example.com/" + strings.Repeat("a", 1<<20), "error"},
	}
	for _, tt := range tests {
		c, isPrivate, err := r.For(tt.path)
		var got string
		switch {
		case err != nil:
			got = "error"
			if !errors.Is(err, ErrNotModule) || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("For(%.40q): error is not ErrNotModule and fs.ErrNotExist: %v", tt.path, err)
			}
		case c.links[0] == public.links[0] && !isPrivate:
			got = "public"
		case c.links[0] == private.links[0] && isPrivate:
			got = "private"
		}
		if got != tt.want {
			t.Errorf("For(%.40q) = %v, %v, %v, want %s", tt.path, c, isPrivate, err, tt.want)
		}
		if err == nil && r.IsPrivate(tt.path) != isPrivate {
			t.Errorf("IsPrivate(%q) = %v, want %v", tt.path, !isPrivate, isPrivate)
		}
	}
}

// TestNote checks what users are told of a path.
func TestNote(t *testing.T) {
	r, err := NewRouter(nil, nil, "none.example,git.example/*,vanity.example/x/*,vanity.example/p*/q")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"rsc.io/quote":     "",
		"rsc.io":           "rsc.io is a host alone: a go command asks",
		"git.example/x/y":  "git.example/x/y is private here, by the pattern git.example/*",
		"git.example":      "git.example is private here, by the pattern git.example/*, which claims all that is below it; a go command asks",
		"vanity.example/x": "vanity.example/x is private here, by the pattern vanity.example/x/*, which claims all",
		"vanity.example":   "vanity.example is public here: the private pattern vanity.example/x/* claims only a part",
		"vanity.example/p": "vanity.example/p is public here: the private pattern vanity.example/p*/q claims only a part",
	} {
		c, _, err := r.For(path)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = c.Get(t.Context(), path+"/@v/list", 1)
		if got := Note(err); got != want && (want == "" || !strings.HasPrefix(got, want)) {
			t.Errorf("note on %s is %q, want %q", path, got, want)
		}
		if !errors.Is(err, ErrOff) {
			t.Errorf("Get of %s: %v, want ErrOff", path, err)
		}
	}
}

func TestRouterOff(t *testing.T) {
	r, err := NewRouter(newClient(t).Chain(mustList(t, "https://public.example")), nil, "corp.example")
	if err != nil {
		t.Fatal(err)
	}
	c, private, err := r.For("corp.example/x")
	if err != nil || !private {
		t.Fatalf("For = %v, %v", private, err)
	}
	_, _, err = c.Get(t.Context(), "corp.example/x/@v/list", 1)
	if !errors.Is(err, ErrOff) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get of a private module without upstream: %v, want ErrOff", err)
	}
}

func TestRouterBadGlobs(t *testing.T) {
	for _, globs := range []string{"a.example, b.example", "[", "a.example,x[", "https://corp.example", "/corp", "a|b"} {
		if _, err := NewRouter(nil, nil, globs); err == nil {
			t.Errorf("NewRouter took patterns %q", globs)
		}
	}
	for _, globs := range []string{"", ",", "a.example,,b.example/", "*.corp.example"} {
		if _, err := NewRouter(nil, nil, globs); err != nil {
			t.Errorf("NewRouter(%q): %v", globs, err)
		}
	}
}
