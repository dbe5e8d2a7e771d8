// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Sumwitness is a witness of transparency logs (https://c2sp.org/tlog-witness):
// it cosigns what logs show it, if that is consistent with all it cosigned
// before.
//
// See "sumwitness help" for its commands, and the package comments of witness,
// witness/state, witness/loglist, witness/feed, witness/keys, witness/bastion and
// witness/conform for what it does.
//
// Results go to stdout, everything else to stderr. Exit codes:
//
//	0  done
//	1  failed
//	2  usage
//	3  the state is not safe, or locked by another process: refused
package main

import "example.org/sumlog/internal/cli"

// program is the table of all commands and settings.
var program *cli.Program[*call]

func init() {
	program = &cli.Program[*call]{
		Name:  "sumwitness",
		Intro: intro,
		Outro: outro,
		Commands: []*command{
			cmdInit, cmdServe, cmdLogs, cmdExport, cmdImport, cmdConformance,
		},
		Settings: settings,
		New:      func(c *cli.Call) *call { return &call{Call: c} },
		Code:     exitCode,
	}
}

func main() { program.Main() }

// A command is one subcommand, and a call one execution of it.
type (
	command = cli.Command[*call]
	call    struct {
		*cli.Call
		opts options
	}
)

const (
	intro = `
Sumwitness is a witness of transparency logs: it cosigns checkpoints that are
consistent with all it cosigned before.

A first run needs no file:

	sumwitness init -dir DIR -name w1.example.org
	sumwitness serve -dir DIR -log VKEY`

	outro = `
"sumwitness help COMMAND" says more about a command. A flag can also be given as
an environment variable; one that can be given several times holds one value a
line there. A flag counts more than a variable.

Exit codes: 0 done, 1 failed, 2 usage, 3 the state is not safe or is locked by
another process.`
)
