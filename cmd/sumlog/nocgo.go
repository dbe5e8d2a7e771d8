// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build !cgo

package main

import "example.org/sumlog/internal/cli"

// Without cgo there is no SQLite, which the index is in.
var (
	cmdServe   = cli.WithoutC("serve", settings)
	cmdRebuild = cli.WithoutC("rebuild", settings)
	cmdImport  = cli.WithoutC("import", settings)
)
