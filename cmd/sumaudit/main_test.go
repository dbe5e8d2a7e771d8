// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	// With the race detector each of the many processes would sleep a second
	// when it ends.
	if os.Getenv("GORACE") == "" {
		os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	testscript.Main(tests{m}, map[string]func(){"sumaudit": main})
}

// tests are all tests, and what is cleaned up behind them.
type tests struct{ *testing.M }

func (m tests) Run() int {
	defer func() { os.RemoveAll(builtDir) }()
	return m.M.Run()
}

// TestTable checks that the table of settings and the commands fit together.
func TestTable(t *testing.T) {
	defined := map[string]bool{}
	for _, s := range program.Settings {
		if defined[s.Name] {
			t.Errorf("-%s is defined twice", s.Name)
		}
		defined[s.Name] = true
	}
	used := map[string]bool{}
	for _, cmd := range program.Commands {
		for _, name := range cmd.Flags {
			used[name] = true
			if !defined[name] {
				t.Fatalf("%s has the flag -%s, which is no setting", cmd.Name, name)
			}
		}
		for name := range cmd.Usage {
			if !slices.Contains(cmd.Flags, name) {
				t.Errorf("%s says what -%s is, and does not have it", cmd.Name, name)
			}
		}
		var help bytes.Buffer
		if err := program.Help(cmd, &help); err != nil || !strings.HasPrefix(help.String(), "usage: sumaudit "+cmd.Name) {
			t.Errorf("help of %s: %v, %q", cmd.Name, err, help.String())
		}
		for line := range strings.Lines(help.String()) {
			if len(line) > 82 {
				t.Errorf("help of %s has a long line: %s", cmd.Name, line)
			}
		}
		if !strings.Contains(intro, "\n\t"+cmd.Name+" ") {
			t.Errorf("help does not say when to use %s", cmd.Name)
		}
	}
	for name := range defined {
		if !used[name] {
			t.Errorf("no command has the flag -%s", name)
		}
	}
}

// TestPure checks that the auditor is built without C, and without what it audits:
// one mistake must not be made on both sides.
func TestPure(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", ".", "example.org/sumlog/witness/audit/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	list := strings.Split(string(out), "\n")
	for _, pkg := range list {
		for _, without := range []string{
			"example.org/sumlog/log", "example.org/sumlog/index", "example.org/sumlog/mirror",
			"github.com/mattn/go-sqlite3", "github.com/transparency-dev/tessera",
		} {
			if pkg == without || strings.HasPrefix(pkg, without+"/") {
				t.Errorf("it imports %s", pkg)
			}
		}
	}
	if !slices.Contains(list, "example.org/sumlog/witness/audit/replay") {
		t.Errorf("no list of packages: %s", out)
	}
}
