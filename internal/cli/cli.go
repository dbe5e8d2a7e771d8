// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package cli is the command line that the programs of this module share: a
// table of commands, a table of settings, and what both mean to whoever calls
// the process.
//
// A setting is a flag of some of the commands; it is also an environment
// variable, PROGRAM_NAME, and maybe a key of a file. A flag counts more than a
// variable, and a variable more than a file. Flags take one dash or two, and may
// stand before, between and after positional arguments. What help calls DIR, FILE
// or DEST is a path on this machine: a URL there is refused.
//
// Help that was asked for goes to stdout and ends with 0. So do results. All else is
// said on stderr, in lines that begin with the program's name:
//
//	program: what is said to whoever called it, errors also
//	program: hint: what was probably meant, or what helps
//	program: 2006-01-02T15:04:05Z warning: line of the log key=value key="a b"
//
// The levels of the log are debug, info, warning and error; every command has the
// setting -log-level. Durations have three digits, and bytes that could end a line or
// speak to a terminal are quoted.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unicode"
)

// Exit codes.
const (
	Done   = 0
	Failed = 1
	Usage  = 2
	Unsafe = 3 // the state is not safe, or locked by another process
)

// A Program is a binary with commands. C is its own type for one execution of
// one of them: a pointer to a struct that embeds the *Call and holds the values
// of the settings.
type Program[C Caller] struct {
	Name     string // of the binary
	Intro    string // of the overview: what the program is, and a first run
	Outro    string // of the overview: exit codes, and what else holds for all
	Commands []*Command[C]
	Settings []Setting[C]

	// New returns a C that embeds call.
	New func(call *Call) C

	// Code returns the exit code of an error that is not ErrUsage; 0 leaves it
	// to be Failed. It may be nil.
	Code func(error) int

	// Files returns the settings files that a command reads, those that count
	// more first, and Decode parses one. Both are nil in a program that has none.
	Files  func(cmd *Command[C], c C) ([]File, error)
	Decode func(data []byte) (map[string]any, error)
}

// A Call is one execution of a command.
type Call struct {
	From   map[string]string // where a setting came from; absent: its default
	Args   []string          // positional
	Stdout io.Writer
	Stderr io.Writer

	stream *logStream
	level  *slog.Level // of the log; nil: not asked for
}

// Say says something to whoever called the process.
func (c *Call) Say(format string, args ...any) {
	say(c.Stderr, c.stream.program, fmt.Sprintf(format, args...))
}

// say writes lines of which each says whose it is. There may be words from outside in
// them, which must not speak to a terminal.
func say(w io.Writer, program, text string) {
	clean := strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	for line := range strings.Lines(clean) {
		fmt.Fprintf(w, "%s: %s\n", program, strings.TrimSuffix(line, "\n"))
	}
}

// A Caller embeds a *Call.
type Caller interface{ Base() *Call }

// Base returns c.
func (c *Call) Base() *Call { return c }

// Main runs the process.
func (p *Program[C]) Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the default action is back: a second one quits.
	context.AfterFunc(ctx, stop)
	os.Exit(p.Run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Run executes one command line and returns the exit code.
func (p *Program[C]) Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := p.dispatch(ctx, args, stdout, stderr)
	if err == nil {
		return Done
	}
	say(stderr, p.Name, err.Error())
	if h, ok := errors.AsType[*hintError](err); ok {
		say(stderr, p.Name, "hint: "+h.hint)
	}
	return p.ExitCode(err)
}

// dispatch finds the command, parses its flags and runs it.
func (p *Program[C]) dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return Usagef("no command").Hint("%s help lists the commands", p.Name)
	}
	name := args[0]
	switch name {
	case "-h", "-help", "--help":
		name = "help"
	case "-version", "--version":
		name = "version"
	}
	cmd, err := p.find(name)
	if err != nil {
		return err
	}
	c, err := p.Parse(cmd, args[1:], stdout, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return p.Help(cmd, stdout)
	}
	if err != nil {
		return err
	}
	return cmd.Run(ctx, c)
}

// ExitCode says what an error means to the caller of the process.
func (p *Program[C]) ExitCode(err error) int {
	if errors.Is(err, ErrUsage) {
		return Usage
	}
	if p.Code != nil {
		if code := p.Code(err); code != 0 {
			return code
		}
	}
	return Failed
}

// ErrUsage is wrapped by the error of a command line, environment or file that
// asks for something that cannot be.
var ErrUsage = errors.New("usage")

// A UsageError is an ErrUsage that does not say so.
type UsageError string

func (e UsageError) Error() string        { return string(e) }
func (e UsageError) Is(target error) bool { return target == ErrUsage }

// Usagef returns a usage error without a hint yet.
func Usagef(format string, args ...any) UsageError {
	return UsageError(fmt.Sprintf(format, args...))
}

// Hint adds a hint to e.
func (e UsageError) Hint(format string, args ...any) error { return Hint(e, format, args...) }

// A hintError adds a line on what was probably meant, or what helps.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

// TooFewFiles is the error of a process that may not open as many files as it needs.
func TooFewFiles(limit, need int) error {
	return Hint(fmt.Errorf("the process may open only %d files, and it needs at least %d", limit, need),
		"raise the limit, with ulimit -n or LimitNOFILE= in its unit")
}

// Hint adds a hint to err.
func Hint(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}
