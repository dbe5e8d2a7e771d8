// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package goenv

import (
	"os"
	"path/filepath"
	"testing"
)

// TestGet asks in modules and workspaces in which a go command would first look for
// another toolchain, or stop.
func TestGet(t *testing.T) {
	t.Setenv("GOTOOLCHAIN", "auto")
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOWORK", "")
	t.Setenv("GOENV", "settings")
	t.Setenv("GOSUMDB", "")
	for name, files := range map[string]map[string]string{
		"newer module":    {"go.mod": "module m.example/a\n\ngo 1.99\n"},
		"newer toolchain": {"go.mod": "module m.example/a\n\ngo 1.21\n\ntoolchain go1.99.0\n"},
		"newer workspace": {"go.work": "go 1.99\n"},
		"broken module":   {"go.mod": "neither\n"},
		"broken work":     {"go.work": "neither\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir)
			if files["go.work"] != "" { // named, it counts wherever it is
				t.Setenv("GOWORK", filepath.Join(dir, "go.work"))
			}
			files["settings"] = "GOSUMDB=sum.example\n"
			for file, text := range files {
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			env, err := Get(t.Context(), "GOSUMDB", "GOPROXY")
			if err != nil {
				t.Fatal(err)
			}
			if len(env) != 2 || env["GOSUMDB"] != "sum.example" || env["GOPROXY"] != "off" {
				t.Errorf("settings %v", env)
			}
		})
	}
}

// TestNone has no go command.
func TestNone(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if env, err := Get(t.Context(), "GOSUMDB"); err == nil {
		t.Errorf("settings %v", env)
	}
}
