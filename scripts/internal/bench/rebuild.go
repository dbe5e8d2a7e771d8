// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/log"
)

// measureRebuild measures how fast the index is made again, by the CPU time of
// the whole process. Its floor is reading all bundles and hashing their leaves.
func measureRebuild(b *bench) error {
	b.closeBig()
	dir, err := b.bigDir()
	if err != nil {
		return err
	}
	_, p, err := log.Check(log.Config{Dir: dir})
	if err != nil {
		return err
	}
	var mine, floors []float64
	for range b.rounds() {
		cmd := exec.CommandContext(b.ctx, b.sumlog, "rebuild", "-dir", dir, "index")
		cmd.Env = environment()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("rebuild: %w: %s", err, out)
		}
		used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		before := cpuTime()
		if err := hashBundles(filepath.Join(dir, "log"), p.Size); err != nil {
			return err
		}
		mine = append(mine, float64(p.Size)/used.Seconds())
		floors = append(floors, float64(p.Size)/(cpuTime()-before).Seconds())
	}
	got := median(mine)
	b.table.add(row{
		"records in `rebuild index`; floor: reading and hashing them", perSecond(got), perSecond(median(floors)),
		median(ratios(mine, floors)), "≥ 200 k/CPU-s", verdict(got >= 200_000),
	})
	return nil
}

// hashBundles reads all full bundles of a tree and hashes their leaves.
func hashBundles(dir string, size int64) error {
	for i := range size / 256 {
		t := tlog.Tile{H: 8, L: 0, N: i, W: 256}
		data, err := os.ReadFile(filepath.Join(dir, "tile/entries", t.Path()[len("tile/8/0/"):]))
		if err != nil {
			return err
		}
		for len(data) > 2 {
			n := int(binary.BigEndian.Uint16(data)) + 2
			if n > len(data) {
				return io.ErrUnexpectedEOF
			}
			data[1] = 0 // the prefix of a leaf
			_ = sha256.Sum256(data[1:n])
			data = data[n:]
		}
	}
	return nil
}
