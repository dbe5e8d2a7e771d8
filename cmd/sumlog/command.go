// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
)

// A command is one subcommand.
type command struct {
	name  string
	args  string   // positional arguments, for the usage line
	short string   // one line
	long  string   // what it does, for help
	flags []string // names in settings
	nargs func(n int) bool
	run   func(ctx context.Context, c *call) error
}

// A call is one execution of a command.
type call struct {
	cmd    *command
	opts   options
	from   map[string]string // where a setting came from; absent: its default
	args   []string          // positional
	stdout io.Writer
	stderr io.Writer
}

// exactly returns a check of the number of positional arguments.
func exactly(n int) func(int) bool { return func(have int) bool { return have == n } }

func findCommand(name string) *command {
	for _, c := range commands {
		if c.name == name {
			return c
		}
	}
	return nil
}

// usage is the usage line.
func (c *command) usage() string {
	s := "sumlog " + c.name
	if len(c.flags) > 0 {
		s += " [flags]"
	}
	if c.args != "" {
		s += " " + c.args
	}
	return s
}

// help prints what the command does and its flags.
func (c *command) help(w io.Writer) error {
	fmt.Fprintf(w, "usage: %s\n\n%s\n", c.usage(), strings.TrimSpace(c.long))
	if len(c.flags) == 0 {
		return nil
	}
	fmt.Fprintf(w, "\nFlags, each also an environment variable:\n\n")
	for _, name := range c.flags {
		s := findSetting(name)
		fmt.Fprintf(w, "  %s  (%s)\n", strings.TrimSpace("-"+name+" "+s.value), s.env())
		for line := range strings.Lines(s.usage) {
			fmt.Fprintf(w, "        %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
	return nil
}

var cmdHelp = &command{
	name:  "help",
	args:  "[COMMAND]",
	short: "print help about sumlog or one of its commands",
	long:  "Help prints what sumlog can do, or what one of its commands does.",
	nargs: func(n int) bool { return n <= 1 },
	run: func(_ context.Context, c *call) error {
		if len(c.args) == 0 {
			return overview(c.stdout)
		}
		cmd := findCommand(c.args[0])
		if cmd == nil {
			return usagef("unknown command %q", c.args[0]).hint("sumlog help lists the commands")
		}
		return cmd.help(c.stdout)
	},
}

// overview prints the commands.
func overview(w io.Writer) error {
	fmt.Fprint(w, `Sumlog is a Go checksum authority with a module mirror and an index.

A first run needs no file: this creates a log and serves it, and prints what to
paste into a shell so that a go command uses it.

	sumlog serve -init -dir DIR

Commands:

`)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, c := range commands {
		fmt.Fprintf(tw, "  %s\t%s\n", c.name, c.short)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(w, `
"sumlog help COMMAND" says more about a command. A flag can also be given as an
environment variable, and those of the server as keys of DIR/sumlog.toml or of
the file given with -config; a flag counts more than a variable, and a variable
more than a file.

Exit codes: 0 done, 1 failed, 2 usage, 3 the state is not safe or is locked by
another process.
`)
	return err
}

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminal(f)
}
