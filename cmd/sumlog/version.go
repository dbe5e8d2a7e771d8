// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"fmt"
	"runtime/debug"
)

var cmdVersion = &command{
	name:  "version",
	short: "print the version of this binary",
	long:  "Version prints the module version, the commit if known, and the Go version.",
	nargs: exactly(0),
	run: func(_ context.Context, c *call) error {
		_, err := fmt.Fprintln(c.stdout, versionText())
		return err
	},
}

func versionText() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "sumlog, version unknown"
	}
	s := "sumlog " + info.Main.Version
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
	return s + revision + modified + " " + info.GoVersion
}
