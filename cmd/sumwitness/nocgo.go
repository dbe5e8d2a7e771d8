// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build !cgo

package main

import "example.org/sumlog/internal/cli"

// Without cgo there is no SQLite, which the state is in.
var (
	cmdInit   = cli.WithoutC("init", settings)
	cmdServe  = cli.WithoutC("serve", settings)
	cmdLogs   = cli.WithoutC("logs", settings)
	cmdExport = cli.WithoutC("export", settings)
	cmdImport = cli.WithoutC("import", settings)
)

func exitCode(error) int { return 0 }
