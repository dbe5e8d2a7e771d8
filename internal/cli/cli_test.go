// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// A call of the program that is tested.
type call struct {
	*Call
	dir  string
	pot  string
	loud bool
	wait time.Duration
	logs List
	run  *string // what was executed
}

var errBurnt = errors.New("burnt")

// prog returns a program with one command, cook, that says in *ran what it got
// and fails with fail.
func prog(ran *string, fail error, files ...File) *Program[*call] {
	return &Program[*call]{
		Name: "my-prog", Intro: "Prog cooks.", Outro: "The end.",
		Commands: []*Command[*call]{{
			Name: "cook", Args: "[FOOD]", Short: "make food", Long: "Cook makes food.",
			Flags: []string{"dir", "loud", "wait-for", "log"},
			Usage: map[string]string{"loud": "sizzle"},
			NArgs: func(n int) bool { return n <= 1 },
			Run: func(_ context.Context, c *call) error {
				*c.run = fmt.Sprintln(c.dir, c.loud, c.wait, c.logs, c.Args)
				return fail
			},
		}, {
			Name: "serve", Args: "[FILE...]", Short: "put it on the table", Long: "Serve brings food.",
			NArgs: func(int) bool { return true },
			Run:   func(context.Context, *call) error { return nil },
		}},
		Settings: []Setting[*call]{
			{Name: "dir", Value: "DIR", Needed: true, Usage: "where", Bind: Text(func(c *call) *string { return &c.dir }, "")},
			{Name: "loud", File: true, Usage: "or not", Bind: Switch(func(c *call) *bool { return &c.loud })},
			{Name: "wait-for", Value: "TIME", File: true, Usage: "first\nand then", Bind: Time(func(c *call) *time.Duration { return &c.wait }, time.Minute)},
			{Name: "pot", Value: "FILE", File: true, Usage: "which", Bind: Text(func(c *call) *string { return &c.pot }, "")},
			{Name: "log", Value: "VKEY", Usage: "many", Bind: Many(func(c *call) *List { return &c.logs })},
		},
		New: func(c *Call) *call { return &call{Call: c, run: ran} },
		Code: func(err error) int {
			if errors.Is(err, errBurnt) {
				return Unsafe
			}
			return 0
		},
		Files: func(*Command[*call], *call) ([]File, error) { return files, nil },
		Decode: func(data []byte) (map[string]any, error) {
			m := map[string]any{}
			for line := range strings.Lines(string(data)) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
				switch value {
				case "true", "false":
					m[name] = value == "true"
				case "1":
					m[name] = 1
				default:
					m[name] = value
				}
			}
			return m, nil
		},
	}
}

func TestRun(t *testing.T) {
	for _, test := range []struct {
		name, args, env string // NAME=value;…
		files           []string
		ran             string
		code            int
		stderr          string
	}{
		{name: "defaults", args: "cook -dir d", ran: "d false 1m0s [] []"},
		{name: "flags around an argument", args: "cook --dir=d soup -loud -wait-for 2s", ran: "d true 2s [] [soup]"},
		{name: "two dashes", args: "cook -dir d -- -soup", ran: "d false 1m0s [] [-soup]"},
		{name: "a list", args: "cook -dir d -log a -log b", ran: "d false 1m0s [a b] []"},
		{name: "variables", args: "cook", env: "MY_PROG_DIR=e;MY_PROG_WAIT_FOR=3s;MY_PROG_LOG= a b \n\nc\n", ran: "e false 3s [a b c] []"},
		{name: "flags before variables", args: "cook -dir d -log a", env: "MY_PROG_DIR=e;MY_PROG_LOG=b", ran: "d false 1m0s [a] []"},
		{name: "files in turn", args: "cook -dir d", files: []string{"wait-for=4s", "wait-for=5s\nloud=true"}, ran: "d true 4s [] []"},
		{name: "variables before files", args: "cook -dir d", env: "MY_PROG_WAIT_FOR=3s", files: []string{"wait-for=4s"}, ran: "d false 3s [] []"},
		{name: "not a key", args: "cook -dir d", files: []string{"dir=x"}, code: Usage, stderr: `my-prog: f0: unknown key "dir"` + "\n"},
		{name: "neither text nor switch", args: "cook -dir d", files: []string{"loud=1"}, code: Usage, stderr: "my-prog: f0: loud is neither a string nor true or false\n"},
		{name: "a switch for a text", args: "cook -dir d", files: []string{"wait-for=true"}, code: Usage, stderr: "my-prog: f0: wait-for is not a string\n"},
		{name: "bad value in a file", args: "cook -dir d", files: []string{"wait-for=soon"}, code: Usage, stderr: `my-prog: f0: wait-for = "soon": not a time such as 90s, 5m or 1h30m` + "\n"},
		{name: "bad variable", args: "cook -dir d", env: "MY_PROG_WAIT_FOR=soon", code: Usage, stderr: `my-prog: MY_PROG_WAIT_FOR="soon": not a time such as 90s, 5m or 1h30m` + "\n"},
		{name: "no unit", args: "cook -dir d -wait-for 5", code: Usage, stderr: `my-prog: cook: invalid value "5" for flag -wait-for: no unit: write 5s or 5m` + "\nmy-prog: hint: my-prog help cook\n"},
		{name: "no unit in a file", args: "cook -dir d", files: []string{"wait-for=1.5"}, code: Usage, stderr: `my-prog: f0: wait-for = "1.5": no unit: write 1.5s or 1.5m` + "\n"},
		{name: "no time at all", args: "cook -dir d -wait-for 0", ran: "d false 0s [] []"},
		{name: "empty value of a list", args: "cook -dir d -log=", code: Usage, stderr: `my-prog: cook: invalid value "" for flag -log: empty` + "\nmy-prog: hint: my-prog help cook\n"},
		{name: "nothing", args: "", code: Usage, stderr: "my-prog: no command\nmy-prog: hint: my-prog help lists the commands\n"},
		{name: "unknown command", args: "fry", code: Usage, stderr: `my-prog: unknown command "fry"` + "\nmy-prog: hint: my-prog help lists the commands\n"},
		{name: "unknown flag", args: "cook -dir d -salt", code: Usage, stderr: "my-prog: cook: flag provided but not defined: -salt\nmy-prog: hint: my-prog help cook\n"},
		{name: "needed", args: "cook", code: Usage, stderr: "my-prog: cook needs -dir DIR\nmy-prog: hint: my-prog help cook\n"},
		{name: "needed but empty", args: "cook -dir=", code: Usage, stderr: "my-prog: cook needs -dir DIR\nmy-prog: hint: my-prog help cook\n"},
		{name: "too many", args: "cook -dir d a b", code: Usage, stderr: `my-prog: wrong arguments: ["a" "b"]` + "\nmy-prog: hint: usage: my-prog cook [flags] [FOOD]\n"},
		{name: "a URL for a directory", args: "cook -dir s3://bucket/x", code: Usage, stderr: "my-prog: dir (from -dir): s3://bucket/x looks like a URL, and it must be a path on this machine\n" +
			"my-prog: hint: give the path where it is mounted; ./s3://bucket/x is a file or directory of that name\n"},
		{name: "a URL in a variable", args: "cook", env: "MY_PROG_DIR=file:///x/y", code: Usage, stderr: "my-prog: dir (from MY_PROG_DIR): file:///x/y looks like a URL, and it must be a path on this machine\n" +
			"my-prog: hint: write /x/y\n"},
		{name: "a URL in a file", args: "cook -dir d", files: []string{"pot=https://pots.test/p"}, code: Usage, stderr: "my-prog: pot (from f0): https://pots.test/p looks like a URL, and it must be a path on this machine\n" +
			"my-prog: hint: give the path where it is mounted; ./https://pots.test/p is a file or directory of that name\n"},
		{name: "a URL where there are others", args: "cook -dir d https://soup.test/", ran: "d false 1m0s [] [https://soup.test/]"},
		{name: "a URL for a file", args: "serve plate file:/x", code: Usage, stderr: "my-prog: FILE: file:/x looks like a URL, and it must be a path on this machine\n" +
			"my-prog: hint: write /x\n"},
		{name: "a directory with such a name", args: "cook -dir ./s3://bucket/x", ran: "./s3://bucket/x false 1m0s [] []"},
		{name: "a colon", args: "cook -dir 12:00", ran: "12:00 false 1m0s [] []"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for kv := range strings.SplitSeq(test.env, ";") {
				if name, value, ok := strings.Cut(kv, "="); ok {
					t.Setenv(name, value)
				}
			}
			var files []File
			for i, text := range test.files {
				files = append(files, File{fmt.Sprint("f", i), []byte(text)})
			}
			var ran string
			var stderr bytes.Buffer
			code := prog(&ran, nil, files...).Run(t.Context(), strings.Fields(test.args), io.Discard, &stderr)
			if code != test.code || strings.TrimSpace(ran) != test.ran || stderr.String() != test.stderr {
				t.Errorf("code %d, ran %q, stderr %q; want %d, %q, %q", code, ran, stderr.String(), test.code, test.ran, test.stderr)
			}
		})
	}
}

func TestExitCode(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, Done},
		{errors.New("x"), Failed},
		{fmt.Errorf("x: %w", errBurnt), Unsafe},
		{Hint(errBurnt, "salve"), Unsafe},
		{Usagef("x"), Usage},
		{fmt.Errorf("x: %w", Usagef("y").Hint("z")), Usage},
	} {
		var ran string
		if got := prog(&ran, test.err).Run(t.Context(), []string{"cook", "-dir", "d"}, io.Discard, io.Discard); got != test.want {
			t.Errorf("%v: exit code %d, want %d", test.err, got, test.want)
		}
	}
}

func TestHelp(t *testing.T) {
	const cook = `usage: my-prog cook [flags] [FOOD]

Cook makes food.

Flags, each also an environment variable:

  -dir DIR  (MY_PROG_DIR)
        where
  -loud  (MY_PROG_LOUD)
        sizzle
  -wait-for TIME  (MY_PROG_WAIT_FOR)
        first
        and then
  -log VKEY  (MY_PROG_LOG)
        many
  -log-level LEVEL  (MY_PROG_LOG_LEVEL)
        what is logged: debug, info, warning or error, and what is worse
        (default: what matters to whoever runs it)
`
	const overview = `Prog cooks.

Commands:

  cook     make food
  serve    put it on the table
  version  print the version of this binary
  help     print help about my-prog or one of its commands

The end.
`
	for args, want := range map[string]string{
		"help": overview, "-h": overview, "-help": overview, "--help": overview,
		"help cook": cook, "cook -h": cook, "cook -loud --help": cook,
	} {
		var ran string
		var stdout, stderr bytes.Buffer
		code := prog(&ran, nil).Run(t.Context(), strings.Fields(args), &stdout, &stderr)
		if code != Done || stdout.String() != want || stderr.Len() > 0 || ran != "" {
			t.Errorf("%s: code %d, ran %q, stderr %q, stdout:\n%s", args, code, ran, stderr.String(), stdout.String())
		}
	}
	for _, arg := range []string{"version", "-version", "--version"} {
		var ran string
		var stdout bytes.Buffer
		if code := prog(&ran, nil).Run(t.Context(), []string{arg}, &stdout, io.Discard); code != Done || !strings.HasPrefix(stdout.String(), "my-prog ") || !strings.Contains(stdout.String(), "go1.") {
			t.Errorf("%s: code %d, %q", arg, code, stdout.String())
		}
	}
}

// TestErrorFromOutside has an error with the words of somebody who would like to have
// others take them for the program's.
func TestErrorFromOutside(t *testing.T) {
	var stderr bytes.Buffer
	err := Hint(errors.New("it says \x1b[2J\tno\ngo away\r\u202e"), "ask\nagain")
	prog(new(string), err).Run(t.Context(), []string{"cook", "-dir", "d"}, io.Discard, &stderr)
	if want := "my-prog: it says ?[2J\tno\nmy-prog: go away??\nmy-prog: hint: ask\nmy-prog: again\n"; stderr.String() != want {
		t.Errorf("%q, want %q", stderr.String(), want)
	}
}

// TestCommandsAreNotShared checks that what every program has is not written
// into the table of one.
func TestCommandsAreNotShared(t *testing.T) {
	p := prog(new(string), nil)
	p.Commands = slices.Grow(p.Commands, 2)
	p.all()
	if extra := p.Commands[:4][2]; extra != nil {
		t.Errorf("the table's array holds %s", extra.Name)
	}
}
