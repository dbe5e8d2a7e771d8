// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package scripts_test tests how the scripts beside it are called.
package scripts_test

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// call runs a script from another directory.
func call(t *testing.T, script string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	path, err := exec.LookPath("./" + script)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(cmd.Environ(), "HOME="+home, "XDG_DATA_HOME="+home)
	cmd.WaitDelay = time.Second
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	cmd.Run()
	return out.String(), talk.String(), cmd.ProcessState.ExitCode()
}

func TestHelp(t *testing.T) {
	for _, script := range []string{"run", "test", "check", "bench"} {
		for _, flag := range []string{"-h", "--help"} {
			stdout, stderr, code := call(t, script, flag)
			if code != 0 || stderr != "" || !strings.Contains(stdout, "\n\tscripts/"+script) || strings.Contains(stdout, "Copyright") || strings.Contains(stdout, "set -eu") {
				t.Errorf("%s %s: exit code %d, stdout %q, stderr %q", script, flag, code, stdout, stderr)
			}
		}
	}
}

// TestWrong calls them with what they must not take for something else: a flag for a
// directory, an argument for none.
func TestWrong(t *testing.T) {
	for _, args := range [][]string{{"run", "-upstream", "off"}, {"test", "./log"}, {"check", "-short"}} {
		stdout, stderr, code := call(t, args[0], args[1:]...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, args[0]+": hint: scripts/"+args[0]+" -h") {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}
