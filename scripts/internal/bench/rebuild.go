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
	rounds := b.rounds()
	if b.size > b.usual() {
		rounds = 2 // of a minute each
	}
	for range rounds {
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
		median(ratios(mine, floors)), "≥ 300 k/CPU-s", verdict(got >= 300_000),
	})
	return b.indexBytes(dir, p.Size)
}

// indexBytes measures how large the index is, just made. Its floor is the texts
// of the records.
func (b *bench) indexBytes(dir string, size int64) error {
	names, err := filepath.Glob(filepath.Join(dir, "index.db*"))
	if err != nil {
		return err
	}
	total := int64(0)
	for _, name := range names {
		fi, err := os.Stat(name)
		if err != nil {
			return err
		}
		total += fi.Size()
	}
	text := 0
	const sample = 1000
	for i := range int64(sample) {
		text += len(record(i).Text())
	}
	got, floor := float64(total)/float64(size), float64(text)/sample
	b.table.add(row{
		"index, bytes a record; floor: the records' texts", fmt.Sprintf("%.0f", got), fmt.Sprintf("%.0f", floor),
		got / floor, "≤ 180", verdict(got <= 180),
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
