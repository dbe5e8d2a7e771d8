// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// measureStart measures, by wall time from the start of the process over the large
// log, when the first lookup is answered and when the first new record is. Their
// floor is the first answer of a plain net/http server. The page cache is warm.
func measureStart(b *bench) error {
	b.closeBig()
	dir, err := b.bigDir()
	if err != nil {
		return err
	}
	fresh, err := b.newModules(b.rounds())
	if err != nil {
		return err
	}
	var lookups, admissions, floors []float64
	for i := range b.rounds() {
		known := lookupPath(int64(i) * 7919 % b.records())
		times, err := b.firstAnswers(fresh.command(b, dir), serveMark, known, fresh.lookup(i))
		if err != nil {
			return err
		}
		lookups, admissions = append(lookups, times[0]), append(admissions, times[1])
		cmd, err := b.floorCommand(floorSpec{Body: make([]byte, 300), Type: plainText})
		if err != nil {
			return err
		}
		if times, err = b.firstAnswers(cmd, floorMark, "/"); err != nil {
			return err
		}
		floors = append(floors, times[0])
	}
	seconds := func(x float64) string { return fmt.Sprintf("%.2f s", x) }
	for _, r := range []struct {
		what string
		got  float64
		goal float64
	}{{"lookup", median(lookups), 1}, {"admission", median(admissions), 10}} {
		b.table.add(row{
			what: fmt.Sprintf("first %s after the process starts; floor: first answer of plain net/http", r.what),
			got:  seconds(r.got), floor: seconds(median(floors)),
			goal: fmt.Sprintf("≤ %.0f s", r.goal), verdict: verdict(r.got <= r.goal),
		})
	}
	return nil
}

// firstAnswers starts a server and returns after how many seconds each path was
// answered, one after the other. It asks again until it is.
func (b *bench) firstAnswers(cmd *exec.Cmd, mark string, paths ...string) (seconds []float64, err error) {
	ctx, cancel := context.WithTimeout(b.ctx, 3*time.Minute)
	defer cancel()
	begin := time.Now()
	s, err := start(ctx, cmd, mark)
	if err != nil {
		return nil, err
	}
	defer s.close()
	for _, path := range paths {
		for {
			if _, err = s.get(ctx, path); err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return nil, fmt.Errorf("%w (%s)", err, s.tail)
			case <-time.After(2 * time.Millisecond):
			}
		}
		seconds = append(seconds, time.Since(begin).Seconds())
	}
	return seconds, nil
}

// newModules are modules in a file tree that no log has.
type newModules struct {
	tree, prefix string
}

func (b *bench) newModules(n int) (m newModules, err error) {
	if m.tree, err = b.newDir("fresh"); err != nil {
		return m, err
	}
	m.prefix = "example.com/" + strings.ToLower(rand.Text())
	for i := range n {
		if err := makeModule(m.tree, m.path(i), 1000); err != nil {
			return m, err
		}
	}
	return m, nil
}

func (m newModules) path(i int) string   { return fmt.Sprintf("%s/m%d", m.prefix, i) }
func (m newModules) lookup(i int) string { return "/lookup/" + m.path(i) + "@v1.0.0" }

// command is that of a server over dir which can admit m. args are further flags.
func (m newModules) command(b *bench, dir string, args ...string) *exec.Cmd {
	return b.serveCommand(dir, append([]string{"-upstream", "file://" + filepath.ToSlash(m.tree), "-sumdb", "off", "-private", ""}, args...)...)
}
