// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build !cgo

package main

import (
	"context"
	"errors"

	"example.org/sumlog/internal/cli"
)

// Without cgo there is no SQLite, which the state is in. The go command builds
// so without a word where it finds no C compiler; the word is here.
var (
	cmdInit   = withoutC("init")
	cmdServe  = withoutC("serve")
	cmdLogs   = withoutC("logs")
	cmdExport = withoutC("export")
	cmdImport = withoutC("import")
)

func exitCode(error) int { return 0 }

func withoutC(name string) *command {
	err := cli.Hint(errors.New("this binary cannot "+name+": it was built without a C compiler and so has no SQLite"),
		"install one (on Debian: gcc and libc6-dev) and build again with CGO_ENABLED=1")
	var flags []string
	for _, s := range settings {
		flags = append(flags, s.Name)
	}
	return &command{
		Name:  name,
		Short: "not in this binary: it was built without a C compiler",
		Long:  "This binary was built without a C compiler and cannot do this.",
		Flags: flags,
		NArgs: func(int) bool { return true },
		Run:   func(context.Context, *call) error { return err },
	}
}
