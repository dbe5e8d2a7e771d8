// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package cli

import (
	"context"
	"fmt"
	"runtime/debug"
)

// version is the command that prints the version.
func (p *Program[C]) version() *Command[C] {
	return &Command[C]{
		Name:  "version",
		Short: "print the version of this binary",
		Long:  "Version prints the module version, the commit if known, and the Go version.",
		NArgs: Exactly(0),
		Run: func(_ context.Context, c C) error {
			_, err := fmt.Fprintln(c.Base().Stdout, p.Name+" "+Version())
			return err
		},
	}
}

// Version returns the module version of the binary, the commit if known, and the Go
// version.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "version unknown"
	}
	var revision, modified string
	for _, kv := range info.Settings {
		switch kv.Key {
		case "vcs.revision":
			revision = " " + kv.Value
		case "vcs.modified":
			if kv.Value == "true" {
				modified = " (modified)"
			}
		}
	}
	return info.Main.Version + revision + modified + " " + info.GoVersion
}
