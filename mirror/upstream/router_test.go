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
	r, err := NewRouter(public, private, "corp.example,*.corp.internal/team,github.com/Corp/*,box.local")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ path, want string }{
		{"rsc.io/quote", "public"},
		{"golang.org/toolchain", "public"},
		{"github.com/Corp/secret", "private"},
		{"github.com/Corp/secret/v2", "private"},
		{"github.com/corp/open", "public"},
		{"github.com/Corp", "public"},
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
		case c == public && !isPrivate:
			got = "public"
		case c == private && isPrivate:
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
