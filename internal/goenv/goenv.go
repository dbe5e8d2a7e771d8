// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package goenv asks the go command of this machine for its settings, as "go env"
// prints them: the environment, then what "go env -w" wrote, then the defaults.
//
// It is asked outside of any module and workspace. In one whose go line is newer than
// the go command, that would download another toolchain before it answers, or fail
// where it may not: and who verifies something does not want to run what the module
// names. Nothing is lost by it, since neither go.mod nor go.work sets any of these;
// a GOENV that is relative to the working directory is made absolute.
//
// The go command is trusted, as by whoever builds with it. It gets half a minute.
package goenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const timeout = 30 * time.Second

// Get returns the settings with the names.
func Get(ctx context.Context, names ...string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append([]string{"env", "-json"}, names...)...)
	cmd.WaitDelay = time.Second
	cmd.Dir = string(os.PathSeparator)
	// There may be a go.mod even there.
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local", "GOWORK=off", "PWD="+cmd.Dir)
	if file := os.Getenv("GOENV"); file != "" && file != "off" {
		file, err := filepath.Abs(file)
		if err != nil {
			return nil, fmt.Errorf("go env: %w", err)
		}
		cmd.Env = append(cmd.Env, "GOENV="+file)
	}
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, fmt.Errorf("go env: %w", err)
	}
	var env map[string]string
	if err := json.Unmarshal(out, &env); err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	return env, nil
}
