// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestTable checks that the table of settings and the commands fit together.
func TestTable(t *testing.T) {
	for _, cmd := range commands {
		for _, name := range cmd.flags {
			if findSetting(name) == nil {
				t.Errorf("%s has the flag -%s, which is no setting", cmd.name, name)
			}
		}
		var help bytes.Buffer
		if err := cmd.help(&help); err != nil || !strings.HasPrefix(help.String(), "usage: sumlog "+cmd.name) {
			t.Errorf("help of %s: %v, %q", cmd.name, err, help.String())
		}
	}
	for _, s := range settings {
		used := slices.ContainsFunc(commands, func(c *command) bool { return slices.Contains(c.flags, s.name) })
		if !used {
			t.Errorf("no command has the flag -%s", s.name)
		}
	}
}

func TestInterspersed(t *testing.T) {
	for _, test := range []struct {
		args string
		dir  string
		pos  string
		code error
	}{
		{"-dir d index", "d", "index", nil},
		{"index -dir d", "d", "index", nil},
		{"index --dir=d", "d", "index", nil},
		{"-dir d -- -index", "d", "-index", nil},
		{"-- -index", "", "", errUsage}, // no -dir
		{"-dir d index more", "", "", errUsage},
		{"-dir", "", "", errUsage},
	} {
		c := &call{cmd: cmdRebuild}
		err := c.parse(strings.Fields(test.args))
		if test.code != nil {
			if exitCode(err) != exitUsage {
				t.Errorf("%q: %v, want a usage error", test.args, err)
			}
			continue
		}
		if err != nil || c.opts.dir != test.dir || strings.Join(c.args, " ") != test.pos {
			t.Errorf("%q: dir %q, args %q, %v; want %q, %q", test.args, c.opts.dir, c.args, err, test.dir, test.pos)
		}
	}
}

// FuzzSettings checks that a settings file holds what was written into it.
func FuzzSettings(f *testing.F) {
	f.Add("https://up.test|off", "corp.test,*.corp.test")
	f.Add(`"quoted" \back\slash`, "ünï")
	f.Add("line\nbreak", "\x00")
	f.Fuzz(func(t *testing.T, upstream, private string) {
		want := []keyValue{{"private", private}, {"upstream", upstream}}
		text, err := formatSettings(want)
		if err != nil {
			return
		}
		got, err := parseSettings(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("parseSettings(%q) = %q, %v; want %q", text, got, err, want)
		}
	})
}

func TestIsSelf(t *testing.T) {
	me, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		url, name, listen string
		want              bool
	}{
		{"http://127.0.0.1:8070", "sum.test", "127.0.0.1:8070", true},
		{"http://127.0.0.1:8070/x", "sum.test", "127.0.0.1:8070", true},
		{"http://127.0.0.1:8071", "sum.test", "127.0.0.1:8070", false},
		{"http://127.0.0.2:8070", "sum.test", "127.0.0.1:8070", false},
		{"http://127.0.0.2:8070", "sum.test", "0.0.0.0:8070", true},
		{"http://[::ffff:127.0.0.1]:8070", "sum.test", "127.0.0.1:8070", true},
		{"http://LOCALHOST:8070", "sum.test", "127.0.0.1:8070", true},
		{"http://localhost:8070", "sum.test", "[::1]:8070", true},
		{"http://x.localhost:8070", "sum.test", "127.0.0.1:8070", true},
		{"http://" + me + ":8070", "sum.test", "[::]:8070", true},
		{"http://0.0.0.0:8070", "sum.test", "127.0.0.1:8070", true},
		{"http://127.0.0.1", "sum.test", "127.0.0.1:80", true},
		{"https://127.0.0.1", "sum.test", "127.0.0.1:443", true},
		{"https://sum.test", "sum.test", "127.0.0.1:8070", true},
		{"https://SUM.test:8443/x", "sum.test", "127.0.0.1:8070", true},
		{"https://other.test", "sum.test", "127.0.0.1:8070", false},
		{"http://localhost:3000", "localhost", "127.0.0.1:8070", false},
		{"file:///srv/mirror", "sum.test", "127.0.0.1:8070", false},
	} {
		u, err := url.Parse(test.url)
		if err != nil {
			t.Fatal(err)
		}
		addr, err := net.ResolveTCPAddr("tcp", test.listen)
		if err != nil {
			t.Fatal(err)
		}
		if got := isSelf(u, test.name, addr); got != test.want {
			t.Errorf("isSelf(%s, %s, %s) = %v", test.url, test.name, test.listen, got)
		}
	}
}
