// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package netrc

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func mustURL(t *testing.T, s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

const file = `# of the build farm
machine proxy.example login alice password one
machine proxy.example login late password late
machine PORT.example:8443
	login bob
	account nobody
	password two
machine half.example login alone
machine macro.example
macdef init
machine inside.example login macro password macro

login carol password three
machine sub.example/team/ login dave password four
machine sub.example login erin password five
machine 127.0.0.1:8080 login local password six
machine localhost login local password seven
machine [::1]:80 login local password eight
default login everybody password nine
machine behind.example login never password ten
`

func TestFor(t *testing.T) {
	f, err := Parse([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	crlf, err := Parse([]byte(strings.ReplaceAll(file, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{
		"https://proxy.example/x":          "alice:one",
		"https://PROXY.example.:443/x":     "alice:one",
		"https://proxy.example:8443/x":     "",
		"https://x.proxy.example/x":        "",
		"https://proxy.example.org/x":      "",
		"http://proxy.example/x":           "", // in the open
		"https://port.example:8443":        "bob:two",
		"https://port.example/":            "",
		"https://half.example/":            "",
		"https://inside.example/":          "",
		"https://macro.example/":           "carol:three",
		"https://sub.example/team":         "dave:four",
		"https://sub.example/team/x":       "dave:four",
		"https://sub.example/teams":        "erin:five",
		"https://sub.example":              "erin:five",
		"http://127.0.0.1:8080/x":          "local:six",
		"http://[::ffff:127.0.0.1]:8080/x": "local:six",
		"http://127.0.0.1:8081/x":          "",
		"http://localhost/x":               "local:seven",
		"https://localhost/x":              "local:seven",
		"http://localhost:8080/x":          "",
		"http://localhost.example/x":       "",
		"http://[::1]/x":                   "local:eight",
		"https://nobody.example/":          "",
		"https://behind.example/":          "",
		"https:///x":                       "",
		"https://0x7f.1/":                  "",
		"file:///proxy.example":            "",
		"ftp://proxy.example/":             "",
	} {
		for _, f := range []*File{f, crlf} {
			got := ""
			if user := f.For(mustURL(t, at)); user != nil {
				got = user.String()
			}
			if got != want {
				t.Errorf("For(%s) = %q, want %q", at, got, want)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"machine", "machine x login", "hunter2 x", "machine x login y password z hunter2",
		"machine x\nlogin y\npassword\nhunter2\n", strings.Repeat("#", maxSize+1),
	} {
		_, err := Parse([]byte(text))
		if err == nil {
			t.Errorf("Parse took %.40q", text)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Parse(%.40q) quotes it: %v", text, err)
		}
	}
}

// TestFinder checks which file is read, and what GOAUTH and a broken file do.
func TestFinder(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	t.Setenv("GOENV", "off")
	write := func(name, text string) string {
		name = filepath.Join(home, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	goenv := write("goenv", "GOAUTH=off\n")
	other := write("other", "machine h.example login other password x")
	broken := write("broken", "machine h.example login broken password x hunter2")
	write(".netrc", "machine h.example login home password x")
	for _, tt := range []struct{ netrc, goauth, goenv, want, warned string }{
		{want: "home"},
		{netrc: other, want: "other"},
		{netrc: filepath.Join(home, "missing")},
		{netrc: broken, warned: "no credentials are taken from " + broken + ": line 1: "},
		{netrc: home, warned: "not a regular file"},
		{goauth: "off"},
		{goauth: "netrc", want: "home"},
		{goauth: "git /dir; netrc", want: "home", warned: `GOAUTH names "git", which is not supported`},
		{goauth: "helper hunter2", warned: `GOAUTH names "helper", which is not supported`},
		{goenv: goenv},
	} {
		t.Setenv("NETRC", tt.netrc)
		t.Setenv("GOAUTH", tt.goauth)
		t.Setenv("GOENV", "off")
		if tt.goenv != "" {
			t.Setenv("GOENV", tt.goenv)
		}
		var warned []string
		f := New(func(err error) { warned = append(warned, err.Error()) })
		for range 2 {
			got := ""
			if user := f.For(mustURL(t, "https://h.example/x")); user != nil {
				got = user.Username()
			}
			if got != tt.want {
				t.Errorf("%+v: found %q", tt, got)
			}
		}
		all := strings.Join(warned, "\n")
		if (tt.warned == "") != (all == "") || !strings.Contains(all, tt.warned) || len(warned) > 1 || strings.Contains(all, "hunter2") {
			t.Errorf("%+v: warned %q", tt, warned)
		}
	}
	if (*Finder)(nil).For(mustURL(t, "https://h.example/x")) != nil {
		t.Error("a nil Finder finds something")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(file), "https://proxy.example/x")
	f.Add([]byte("machine a/b login c password d default"), "http://127.0.0.1:80/")
	f.Fuzz(func(t *testing.T, data []byte, at string) {
		file, err := Parse(data)
		if err != nil {
			return
		}
		u, err := url.Parse(at)
		if err != nil {
			return
		}
		user := file.For(u)
		if user == nil {
			return
		}
		password, _ := user.Password()
		if u.Scheme != "https" && u.Scheme != "http" || user.Username() == "" || password == "" ||
			!strings.Contains(string(data), password) {
			t.Errorf("For(%q) = %q", at, user)
		}
	})
}
