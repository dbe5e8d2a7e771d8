// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"example.org/sumlog/log"
)

// gosumLines is the number of lines of the go.sum that is verified: two for each
// module version.
const gosumLines = 1000

// measureVerify measures how long it takes to prove all lines of a go.sum, with a
// server on this machine that has served them before, and from a bundle, by wall
// time of whole processes. Nothing is kept between runs.
func measureVerify(b *bench) error {
	big, err := b.serveBig()
	if err != nil {
		return err
	}
	dir, err := b.bigDir()
	if err != nil {
		return err
	}
	_, vkey, err := log.ReadVKey(dir)
	if err != nil {
		return err
	}
	temp, err := b.newDir("verify")
	if err != nil {
		return err
	}
	gosum, bundle := filepath.Join(temp, "go.sum"), filepath.Join(temp, "go.sum.bundle")
	var text []byte
	for i := range int64(gosumLines / 2) {
		text = append(text, record(i*b.records()/(gosumLines/2)).Text()...)
	}
	if err := os.WriteFile(gosum, text, 0o644); err != nil {
		return err
	}
	if _, err := b.audit("bundle", "-vkey", vkey, "-o", bundle, big.url(), gosum); err != nil {
		return err
	}
	var online, offline []float64
	for range 3 * b.rounds() {
		d, err := b.audit("verify", "-vkey", vkey, big.url(), gosum)
		if err != nil {
			return err
		}
		online = append(online, d.Seconds())
		if d, err = b.audit("verify", "-vkey", vkey, "-bundle", bundle, gosum); err != nil {
			return err
		}
		offline = append(offline, d.Seconds())
	}
	for _, m := range []struct {
		how  string
		took []float64
		goal float64
	}{{"against a warm local server", online, 1}, {"from a bundle", offline, 0.1}} {
		got := median(m.took)
		b.table.add(row{what: fmt.Sprintf("`sumaudit verify` of %d lines %s", gosumLines, m.how),
			got: fmt.Sprintf("%.3f s", got), goal: fmt.Sprintf("≤ %.1f s", m.goal), verdict: verdict(got <= m.goal)})
	}
	return nil
}

// audit runs sumaudit and returns how long it took.
func (b *bench) audit(args ...string) (time.Duration, error) {
	cmd := exec.CommandContext(b.ctx, b.sumaudit, args...)
	cmd.Env = environment()
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("sumaudit %s: %w: %.500s", args[0], err, out)
	}
	return time.Since(begin), nil
}
