// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/replay"
)

// measureAudit measures a replay of a local file tree, as records per second of
// CPU time of a whole process, beside hashing blocks of the same number and
// lengths that are already in memory.
func measureAudit(b *bench) error {
	tree, err := b.auditTree()
	if err != nil {
		return err
	}
	const floorText = "; floor: bare SHA-256 of the same blocks"
	var root, tiles, speedup, floors, wall []float64
	for range b.rounds() {
		floor, err := hashFloor(tree)
		if err != nil {
			return err
		}
		one, err := b.replay(tree, "-root", "-parallel", "1")
		if err != nil {
			return err
		}
		compare, err := b.replay(tree, "-root", "-compare", "-parallel", "1")
		if err != nil {
			return err
		}
		two, err := b.replay(tree, "-root", "-parallel", "2", "-procs", "2")
		if err != nil {
			return err
		}
		floors = append(floors, floor)
		root = append(root, one.rate)
		tiles = append(tiles, compare.rate)
		wall = append(wall, float64(tree.size)/two.wall.Seconds())
		speedup = append(speedup, one.wall.Seconds()/two.wall.Seconds())
	}
	b.table.add(atLeast("root of a local log of "+millions(tree.size)+floorText, perSecond(median(root)), perSecond(median(floors)), median(ratios(root, floors)), 0.80))
	b.table.add(atLeast("the same, all tiles compared"+floorText, perSecond(median(tiles)), perSecond(median(floors)), median(ratios(tiles, floors)), 0.65))
	b.table.add(row{
		"root of a local log on two cores, wall time; floor: on one", fmt.Sprintf("%.0f /s", median(wall)), "",
		median(speedup), "≥ 1.60", verdict(median(speedup) >= 1.6),
	})
	full, err := b.replay(tree, "-compare", "-parallel", "2", "-procs", "2")
	if err != nil {
		return err
	}
	b.table.add(row{what: "whole replay: root, tiles, grammar, duplicates", got: perSecond(full.rate), floor: perSecond(median(floors)),
		ratio: full.rate / median(floors), goal: "≥ 250 k/CPU-s", verdict: verdict(full.rate >= 250_000)})
	most := tree.size*24 + 64<<20
	b.table.add(row{what: "anonymous memory of the whole replay", got: mebibytes(full.memory),
		goal: "≤ " + mebibytes(most) + " (24 bytes a record and 64 MiB)", verdict: verdict(full.memory <= most)})
	return nil
}

func millions(n int64) string { return fmt.Sprintf("%.3g million records", float64(n)/1e6) }

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// hashFloor returns how many records a second of CPU time can be hashed, leaf and
// one inner node each, when all is in memory.
func hashFloor(tree *auditTree) (float64, error) {
	const bundles = 64
	var blocks [][]byte
	for n := range int64(bundles) {
		t := tlog.Tile{H: 8, L: 0, N: n, W: 256}
		data, err := os.ReadFile(filepath.Join(tree.dir, "tile/entries", t.Path()[len("tile/8/0/"):]))
		if err != nil {
			return 0, err
		}
		for len(data) > 2 {
			end := 2 + int(binary.BigEndian.Uint16(data))
			if end > len(data) {
				return 0, errors.New("a bundle is cut")
			}
			data[1] = 0 // the prefix of a leaf
			blocks = append(blocks, data[1:end:end])
			data = data[end:]
		}
	}
	var node [65]byte
	node[0] = 1
	rounds := max(int(tree.size/4)/len(blocks), 1)
	before := cpuTime()
	for range rounds {
		for _, block := range blocks {
			h := sha256.Sum256(block)
			copy(node[1:], h[:])
			h = sha256.Sum256(node[:])
			copy(node[33:], h[:])
		}
	}
	return float64(rounds*len(blocks)) / (cpuTime() - before).Seconds(), nil
}

// A replayed is one run of a replay in a process of its own.
type replayed struct {
	rate   float64 // records a second of CPU time
	wall   time.Duration
	memory int64 // most anonymous memory
}

func (b *bench) replay(tree *auditTree, args ...string) (replayed, error) {
	self, err := os.Executable()
	if err != nil {
		return replayed{}, err
	}
	cmd := exec.CommandContext(b.ctx, self, append([]string{"replay", "-dir", tree.dir}, args...)...)
	cmd.Env = environment()
	begin := time.Now()
	s, err := start(b.ctx, cmd, "replaying ")
	if err != nil {
		return replayed{}, err
	}
	if err := s.wait(); err != nil {
		return replayed{}, fmt.Errorf("replay: %w: %s", err, s.tail)
	}
	wall := time.Since(begin)
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return replayed{float64(tree.size) / used.Seconds(), wall, s.peak.Load()}, nil
}

// runReplay is the process that is measured.
func runReplay(args []string) error {
	flags := flag.NewFlagSet("replay", flag.ContinueOnError)
	dir := flags.String("dir", "", "")
	root := flags.Bool("root", false, "")
	compare := flags.Bool("compare", false, "")
	parallel := flags.Int("parallel", 1, "")
	procs := flags.Int("procs", 1, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	runtime.GOMAXPROCS(*procs)
	fmt.Println("replaying " + *dir)
	vkey, err := os.ReadFile(filepath.Join(*dir, "vkey"))
	if err != nil {
		return err
	}
	key, err := checkpoint.ParseKey(string(vkey))
	if err != nil {
		return err
	}
	log, err := tlogclient.New(tlogclient.Config{Source: tlogclient.Dir(*dir), Layout: tlogclient.Tiles, Keys: []*checkpoint.Key{key}})
	if err != nil {
		return err
	}
	ctx := context.Background()
	head, err := log.Head(ctx)
	if err != nil {
		return err
	}
	r, err := replay.Run(ctx, replay.Config{Log: log, Tree: head.Tree(), Key: key, Head: head, RootOnly: *root, Compare: *compare, Parallel: *parallel})
	if err != nil {
		return err
	}
	if !r.Sound || r.Bad+r.Repeated > 0 {
		return errors.New("the log does not replay")
	}
	return nil
}
