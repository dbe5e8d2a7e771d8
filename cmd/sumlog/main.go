// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Sumlog is a Go checksum authority: a transparency log of go.sum records, with
// a module mirror and an index attached, in one process with one data directory.
//
// See "sumlog help" for its commands, and the package comments of log, index and
// mirror for what it does.
//
// Results go to stdout, everything else to stderr. Exit codes:
//
//	0  done
//	1  failed
//	2  usage
//	3  the state is not safe, or locked by another process: refused
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"example.org/sumlog/internal/durable"
	"example.org/sumlog/log"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitUnsafe = 3
)

// commands are the subcommands, in the order of the help text.
var commands []*command

func init() {
	commands = []*command{
		cmdInit, cmdServe, cmdEnv, cmdCheck, cmdRebuild, cmdImport,
		cmdBackup, cmdRestore, cmdVersion, cmdHelp,
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the default action is back: a second one quits.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := dispatch(ctx, args, stdout, stderr)
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(stderr, "sumlog: %v\n", err)
	if h, ok := errors.AsType[*hintError](err); ok {
		fmt.Fprintf(stderr, "sumlog: hint: %s\n", h.hint)
	}
	return exitCode(err)
}

// dispatch finds the command, parses its flags and runs it.
func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return usagef("no command").hint("sumlog help lists the commands")
	}
	switch args[0] {
	case "-h", "-help", "--help":
		args[0] = "help"
	}
	cmd := findCommand(args[0])
	if cmd == nil {
		return usagef("unknown command %q", args[0]).hint("sumlog help lists the commands")
	}
	c := &call{cmd: cmd, stdout: stdout, stderr: stderr}
	err := c.parse(args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return cmd.help(stdout)
	}
	if err != nil {
		return err
	}
	return cmd.run(ctx, c)
}

// exitCode says what an error means to the caller of the process.
func exitCode(err error) int {
	switch {
	case errors.Is(err, log.ErrUnsafe), errors.Is(err, durable.ErrLocked):
		return exitUnsafe
	case errors.Is(err, errUsage), errors.Is(err, log.ErrName):
		return exitUsage
	}
	return exitFailed
}

// errUsage is wrapped by the error of a command line, environment or file that
// asks for something that cannot be.
var errUsage = errors.New("usage")

// A usageError is an errUsage that does not say so.
type usageError string

func (e usageError) Error() string        { return string(e) }
func (e usageError) Is(target error) bool { return target == errUsage }

// A hintError adds a line on what was probably meant, or what helps.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

// usagef returns a usage error without a hint yet.
func usagef(format string, args ...any) usageError {
	return usageError(fmt.Sprintf(format, args...))
}

func (e usageError) hint(format string, args ...any) error { return hint(e, format, args...) }

// hint adds a hint to err.
func hint(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}
