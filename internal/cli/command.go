// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// A Command is one subcommand.
type Command[C Caller] struct {
	Name  string
	Args  string   // positional arguments, for the usage line
	Short string   // one line
	Long  string   // what it does, for help
	Flags []string // names of settings
	NArgs func(n int) bool
	Run   func(ctx context.Context, c C) error

	// Usage is what a flag is for here, where that is not what the table of
	// settings says.
	Usage map[string]string
}

// Exactly returns a check of the number of positional arguments.
func Exactly(n int) func(int) bool { return func(have int) bool { return have == n } }

// all returns the commands with those that every program has.
func (p *Program[C]) all() []*Command[C] {
	return append(p.Commands[:len(p.Commands):len(p.Commands)], p.version(), p.help())
}

func (p *Program[C]) find(name string) (*Command[C], error) {
	for _, c := range p.all() {
		if c.Name == name {
			return c, nil
		}
	}
	return nil, Usagef("unknown command %q", name).Hint("%s help lists the commands", p.Name)
}

// usage is the usage line of cmd.
func (p *Program[C]) usage(cmd *Command[C]) string {
	s := p.Name + " " + cmd.Name
	if len(cmd.Flags) > 0 {
		s += " [flags]"
	}
	if cmd.Args != "" {
		s += " " + cmd.Args
	}
	return s
}

// Help prints what a command does and its flags.
func (p *Program[C]) Help(cmd *Command[C], w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: %s\n\n%s\n", p.usage(cmd), strings.TrimSpace(cmd.Long))
	if len(cmd.Flags) > 0 {
		b.WriteString("\nFlags, each also an environment variable:\n\n")
	}
	for _, name := range p.flags(cmd) {
		s := p.setting(name)
		fmt.Fprintf(&b, "  %s  (%s)\n", strings.TrimSpace("-"+name+" "+s.Value), p.env(name))
		usage := s.Usage
		if u, ok := cmd.Usage[name]; ok {
			usage = u
		}
		for line := range strings.Lines(usage) {
			fmt.Fprintf(&b, "        %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// help is the command that prints help.
func (p *Program[C]) help() *Command[C] {
	return &Command[C]{
		Name:  "help",
		Args:  "[COMMAND]",
		Short: "print help about " + p.Name + " or one of its commands",
		Long:  "Help prints what " + p.Name + " can do, or what one of its commands does.",
		NArgs: func(n int) bool { return n <= 1 },
		Run: func(_ context.Context, c C) error {
			call := c.Base()
			if len(call.Args) == 0 {
				return p.overview(call.Stdout)
			}
			cmd, err := p.find(call.Args[0])
			if err != nil {
				return err
			}
			return p.Help(cmd, call.Stdout)
		},
	}
}

// overview prints the commands.
func (p *Program[C]) overview(w io.Writer) error {
	fmt.Fprintf(w, "%s\n\nCommands:\n\n", strings.TrimSpace(p.Intro))
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, c := range p.all() {
		fmt.Fprintf(tw, "  %s\t%s\n", c.Name, c.Short)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(p.Outro))
	return err
}
