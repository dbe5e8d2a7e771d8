// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"strings"
	"testing"

	"example.org/sumlog/internal/outbound"
)

func TestParseList(t *testing.T) {
	tests := []struct{ list, want string }{
		{"https://a.example", "https://a.example,"},
		{"https://a.example/go,http://b.example:80|file:///srv/go", "https://a.example/go, http://b.example:80| file:///srv/go,"},
		{" a.example | b.example/x ,", "https://a.example| https://b.example/x,"},
		{"https://a.example,off,https://b.example", "https://a.example, off"},
		{"https://a.example,direct|https://b.example", "https://a.example, direct"},
		{"off", "off"},
		{"direct", "direct"},
		{"https://u:secret@a.example", "https://u:secret@a.example,"},
		{"u:secret@a.example", "https://u:secret@a.example,"},
		{"localhost:8080", "https://localhost:8080,"},
		{"", "error"},
		{",", "error"},
		{" | ", "error"},
		{"word", "error"},
		{"/abs/path", "error"},
		{"ftp://a.example", "error"},
		{"https://", "error"},
		{"https:///path", "error"},
		{"http://u:secret@a.example", "error"},
		{"https://a.example?secret", "error"},
		{"https://a.example/#secret", "error"},
		{"https://u:secret@a.example:x", "error"},
		{"https://u:secret/@a.example", "error"},
		{"https://u:secret%zz@a.example", "error"},
		{"file://host/srv", "error"},
		{"file:///srv?x", "error"},
		{"file:srv", "error"},
		{strings.Repeat("a.example,", 32), strings.TrimSpace(strings.Repeat("https://a.example, ", 32))},
		{strings.Repeat("a.example,", 33), "error"},
	}
	for _, tt := range tests {
		l, err := ParseList(tt.list)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("ParseList(%q): error shows the secret: %v", tt.list, err)
		}
		if got := formatList(l, err); got != tt.want {
			t.Errorf("ParseList(%q) = %q, %v, want %q", tt.list, got, err, tt.want)
		}
	}
}

func formatList(l List, err error) string {
	if err != nil {
		return "error"
	}
	var f []string
	for _, e := range l.Entries {
		sep := ","
		if e.AnyError {
			sep = "|"
		}
		f = append(f, e.URL.String()+sep)
	}
	if l.Off {
		f = append(f, "off")
	}
	if l.Direct {
		f = append(f, "direct")
	}
	return strings.Join(f, " ")
}

func TestSourceHidesUser(t *testing.T) {
	l, err := ParseList("https://user:secret@a.example/x")
	if err != nil {
		t.Fatal(err)
	}
	s := newClient(t).Source(l.Entries[0].URL)
	if got, want := s.String(), "https://a.example/x"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}

func FuzzParseList(f *testing.F) {
	for _, s := range []string{"https://a.example,direct", "a|b.example", "off", "file:///x|https://u:p@h/", "https://[::1]:8", "\x00,:/", "https:a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseList(s)
		if err != nil {
			return
		}
		if len(l.Entries) == 0 && !l.Off && !l.Direct || len(l.Entries) > maxList {
			t.Fatalf("ParseList(%q) = %d entries", s, len(l.Entries))
		}
		for _, e := range l.Entries {
			switch u := e.URL; {
			case u.Scheme == "https" && u.Host != "", u.Scheme == "http" && u.Host != "" && u.User == nil:
			case u.Scheme == "file" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
			default:
				t.Fatalf("ParseList(%q) has %q", s, u)
			}
			if strings.Contains(outbound.Redact(e.URL), "@") && !strings.Contains(e.URL.Host+e.URL.Path, "@") {
				t.Fatalf("outbound.Redact(%q) = %q", e.URL, outbound.Redact(e.URL))
			}
		}
	})
}
