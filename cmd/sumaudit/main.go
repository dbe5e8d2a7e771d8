// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Sumaudit checks a Go checksum authority from outside and trusts nothing of it:
// the whole log, what is derived from it, the witnesses, what go commands saw. It
// verifies go.sum files with proofs, and what it finds wrong it writes down as
// evidence that anybody can verify.
//
// See "sumaudit help" for its commands, and the package comments of witness/audit
// and the packages below it for what it does.
//
// Results go to stdout, everything else to stderr. Exit codes:
//
//	0  checked, and sound
//	1  could not be checked
//	2  usage
//	3  your own files do not match the log
//	4  misbehaviour; the evidence's path is printed
//	5  stale, or cosigned by too few witnesses
//
// Where several hold, the first of 4, 3, 5, 1 counts.
package main

import (
	"context"
	"errors"
	"slices"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/netrc"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/report"
	"example.org/sumlog/witness/audit/state"
)

// program is the table of all commands and settings.
var program *cli.Program[*call]

func init() {
	program = &cli.Program[*call]{
		Name:  "sumaudit",
		Intro: intro,
		Outro: outro,
		Commands: []*command{
			withState(cmdLog), withState(cmdVerify), withState(cmdBundle), withState(cmdProve),
			withState(cmdClient), withState(cmdGossip), withState(cmdCosign), cmdEvidence,
		},
		Settings: slices.Concat(settings, logSettings, verifySettings, bundleSettings, proveSettings,
			clientSettings, cosignSettings),
		New:  func(c *cli.Call) *call { return &call{Call: c} },
		Code: exitCode,
	}
}

func main() { program.Main() }

// withState returns a command that says what to do with a state that is damaged.
func withState(c *command) *command {
	run := c.Run
	hinted := *c
	hinted.Run = func(ctx context.Context, call *call) error {
		err := run(ctx, call)
		if d, ok := errors.AsType[*state.DamagedError](err); ok {
			return cli.Hint(err, "move %s away, and run again; what is lost by it: %s. Or begin anew with -state OTHER, which remembers nothing", d.File, d.Lost)
		}
		return err
	}
	return &hinted
}

// A command is one subcommand, and a call one execution of it.
type (
	command = cli.Command[*call]
	call    struct {
		*cli.Call
		opts  options // of several commands
		netrc *netrc.Finder

		log    logOptions
		verify verifyOptions
		bundle bundleOptions
		prove  proveOptions
		client clientOptions
		cosign cosignOptions
	}
)

// Exit codes beside those of package cli, which has 0, 1 and 2.
const (
	exitMismatch     = 3 // own files do not match the log
	exitMisbehaviour = 4
	exitStale        = 5
)

// An exitError is an error that knows its exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// withCode returns err with the exit code that it means.
func withCode(code int, err error) error { return &exitError{code, err} }

// exitCode is the code of an error; 0 leaves it to be cli.Failed.
func exitCode(err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*tlogclient.ForkError](err); ok {
		return exitMisbehaviour
	}
	if _, ok := errors.AsType[*tlogclient.StaleError](err); ok {
		return exitStale
	}
	return 0
}

// resultCode is the exit code of what an audit came to.
func resultCode(r report.Result) int {
	switch r {
	case report.Misbehaviour:
		return exitMisbehaviour
	case report.Stale:
		return exitStale
	case report.Failed:
		return cli.Failed
	}
	return cli.Done
}

const (
	intro = `
Sumaudit checks a Go checksum authority from outside: the log, what is derived
from it, its witnesses, and your own go.sum. It trusts the key you give it, and
nothing that does not hash to what that key signed.

A first run needs no file:

	sumaudit log -vkey VKEY https://sum.example.org

When to use what:

	log       you run or rely on a log: check all of it, once or for ever
	verify    you have a go.sum, a module cache or a binary: is it what is logged?
	bundle    you must verify without a network: take the proofs along
	prove     you want one small proof for one module version
	client    you want to know whether this machine was shown another log
	gossip    you can see the log from several places: do they see the same?
	cosign    you want others to see that you audit
	evidence  somebody hands you evidence: is it?`

	outro = `
"sumaudit help COMMAND" says more about a command. A flag can also be given as an
environment variable; one that can be given several times holds one value a line
there. A flag counts more than a variable.

Exit codes: 0 checked and sound, 1 could not be checked, 2 usage, 3 your own
files do not match the log, 4 misbehaviour (the path of the evidence is printed),
5 stale or cosigned by too few.`
)
