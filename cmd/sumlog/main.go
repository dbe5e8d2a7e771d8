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
	"errors"

	"github.com/BurntSushi/toml"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/log"
	"example.org/sumlog/log/quorum"
)

// program is the table of all commands and settings.
var program *cli.Program[*call]

func init() {
	program = &cli.Program[*call]{
		Name:  "sumlog",
		Intro: intro,
		Outro: outro,
		Commands: []*command{
			cmdInit, cmdServe, cmdEnv, cmdCheck, cmdRebuild, cmdImport, cmdBackup, cmdRestore, cmdGuard,
		},
		Settings: settings,
		New:      func(c *cli.Call) *call { return &call{Call: c} },
		Code:     exitCode,
		Files:    settingsFiles,
		Decode: func(data []byte) (m map[string]any, err error) {
			err = toml.Unmarshal(data, &m)
			return m, err
		},
	}
}

func main() { program.Main() }

// A command is one subcommand, and a call one execution of it.
type (
	command = cli.Command[*call]
	call    struct {
		*cli.Call
		opts      options
		witnesses *quorum.Quorum // that openSigning found in the policy; nil: none
	}
)

// exitCode says what an error means to the caller of the process.
func exitCode(err error) int {
	switch {
	case errors.Is(err, log.ErrUnsafe), errors.Is(err, durable.ErrLocked):
		return cli.Unsafe
	case errors.Is(err, log.ErrName):
		return cli.Usage
	}
	return 0
}

const (
	intro = `
Sumlog is a Go checksum authority with a module mirror and an index.

A first run needs no file: this creates a log and serves it, and prints what to
paste into a shell so that a go command uses it.

	sumlog serve -init -dir DIR`

	outro = `
"sumlog help COMMAND" says more about a command. A flag can also be given as an
environment variable, and those of the server as keys of DIR/sumlog.toml or of
the file given with -config; a flag counts more than a variable, and a variable
more than a file.

Exit codes: 0 done, 1 failed, 2 usage, 3 the state is not safe or is locked by
another process.`
)
