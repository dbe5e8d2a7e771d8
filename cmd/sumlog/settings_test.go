// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"example.org/sumlog/internal/cli"
)

// TestTable checks that the table of settings and the commands fit together.
func TestTable(t *testing.T) {
	isSetting := func(name string) bool {
		return slices.ContainsFunc(settings, func(s cli.Setting[*call]) bool { return s.Name == name })
	}
	for _, cmd := range program.Commands {
		for _, name := range cmd.Flags {
			if !isSetting(name) {
				t.Errorf("%s has the flag -%s, which is no setting", cmd.Name, name)
			}
		}
		var help bytes.Buffer
		if err := program.Help(cmd, &help); err != nil || !strings.HasPrefix(help.String(), "usage: sumlog "+cmd.Name) {
			t.Errorf("help of %s: %v, %q", cmd.Name, err, help.String())
		}
	}
	for _, s := range settings {
		used := slices.ContainsFunc(program.Commands, func(c *command) bool { return slices.Contains(c.Flags, s.Name) })
		if !used {
			t.Errorf("no command has the flag -%s", s.Name)
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
		{"-- -index", "", "", cli.ErrUsage}, // no -dir
		{"-dir d index more", "", "", cli.ErrUsage},
		{"-dir", "", "", cli.ErrUsage},
	} {
		c, err := program.Parse(cmdRebuild, strings.Fields(test.args), io.Discard, io.Discard)
		if test.code != nil {
			if program.ExitCode(err) != cli.Usage {
				t.Errorf("%q: %v, want a usage error", test.args, err)
			}
			continue
		}
		if err != nil || c.opts.dir != test.dir || strings.Join(c.Args, " ") != test.pos {
			t.Errorf("%q: dir %q, args %q, %v; want %q, %q", test.args, c.opts.dir, c.Args, err, test.dir, test.pos)
		}
	}
}

// FuzzSettings checks that a settings file holds what was written into it.
func FuzzSettings(f *testing.F) {
	f.Add("https://up.test|off", "corp.test,*.corp.test")
	f.Add(`"quoted" \back\slash`, "ünï")
	f.Add("line\nbreak", "\x00")
	f.Fuzz(func(t *testing.T, upstream, private string) {
		want := []cli.KeyValue{{Name: "private", Value: private}, {Name: "upstream", Value: upstream}}
		text, err := formatSettings(want)
		if err != nil {
			return
		}
		got, err := program.ParseFile(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("program.ParseFile(%q) = %q, %v; want %q", text, got, err, want)
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
		{"https://Sum.test.:443", "sum.test", "127.0.0.1:8070", true},
		{"https://xn--bcher-kva.test", "bücher.test", "127.0.0.1:8070", true},
		{"http://LOCALHOST.:08070", "sum.test", "127.0.0.1:8070", true},
		{"http://[0:0::1]:8070", "sum.test", "[::1]:8070", true},
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

// TestWithSetting changes one line of a settings file, whatever the operator made of it.
func TestWithSetting(t *testing.T) {
	const set = "guard = \"/new \\\"g\\\"\"\n"
	for text, want := range map[string]string{
		"":                        set,
		"# mine\n\nopen = true\n": set + "# mine\n\nopen = true\n",
		"# mine\nguard = '/old'\nlisten = \":1\"": set + "# mine\nlisten = \":1\"",
		"# mine\n\n\t\"guard\"=\"/old\" # x":      set + "# mine\n\n",
		"guard = '''\n/old\n'''\n":                "",
		"private = '''\nguard = x\n'''\n":         "",
		"guards = \"/old\"\n":                     "", // no such setting
	} {
		got, err := withSetting([]byte(text), cli.KeyValue{Name: "guard", Value: `/new "g"`})
		if (err == nil) != (want != "") || string(got) != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}
