// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"strings"
	"testing"
)

func TestParseSpec(t *testing.T) {
	_, vkey := newKeys(t, dbName)
	_, dots := newKeys(t, "sum.example.com/../x")
	_, slash := newKeys(t, "sum.example.com/")
	_, query := newKeys(t, "sum.example.com/x?y")
	const public = "sum.golang.org"
	tests := []struct{ spec, want string }{
		{"off", "off"},
		{public, public},
		{" " + public + "\t", public},
		{knownKeys[public], public},
		{"sum.golang.google.cn", public + " https://sum.golang.google.cn"},
		{public + " https://mirror.example/sumdb", public + " https://mirror.example/sumdb"},
		{public + " file:///srv/sumdb", public + " file:///srv/sumdb"},
		{public + " https://u:secret@mirror.example", public + " https://u:secret@mirror.example"},
		{vkey, dbName},
		{vkey + "  http://127.0.0.1:1", dbName + " http://127.0.0.1:1"},
		{"", "error"},
		{"  ", "error"},
		{"off off", "error"},
		{"unknown.example", "error"},
		{public + "+033de0ae+AAAA", "error"},
		{strings.Replace(vkey, "db+", "xx+", 1), "error"},
		{vkey + " a b", "error"},
		{vkey + " http://u:secret@mirror.example", "error"},
		{vkey + " https://u:secret@x:y", "error"},
		{vkey + " word", "error"},
		{dots, "error"},
		{slash, "error"},
		{query, "error"},
	}
	for _, tt := range tests {
		spec, err := ParseSpec(tt.spec)
		got := spec.Name
		switch {
		case err != nil:
			got = "error"
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("ParseSpec(%q): error shows the secret: %v", tt.spec, err)
			}
		case spec.Off:
			got = "off"
		case spec.URL != nil:
			got += " " + spec.URL.String()
		}
		if got != tt.want {
			t.Errorf("ParseSpec(%q) = %q, %v, want %q", tt.spec, got, err, tt.want)
		}
	}
}

func FuzzParseSpec(f *testing.F) {
	_, vkey := newKeys(f, dbName)
	for _, s := range []string{"off", "sum.golang.org", "sum.golang.google.cn", vkey, vkey + " https://x.example", vkey + " http://u@x", "a+b+c d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		spec, err := ParseSpec(s)
		if err == nil && spec.Off == (spec.Name != "" && spec.VKey != "" && checkName(spec.Name) == nil) {
			t.Errorf("ParseSpec(%q) = %+v", s, spec)
		}
	})
}
