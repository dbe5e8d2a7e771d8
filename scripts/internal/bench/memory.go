// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"time"
)

// measureMemory measures anonymous memory, idle and under load. Its floor is
// that of a plain net/http server.
func measureMemory(b *bench) error {
	floor, err := b.floor(floorSpec{Body: make([]byte, 300), Type: plainText})
	if err != nil {
		return err
	}
	defer floor.close()
	temp, err := b.newDir("idle")
	if err != nil {
		return err
	}
	fresh, err := b.serve(filepath.Join(temp, "sumlog"), "-init", "-upstream", "off", "-sumdb", "off", "-private", "")
	if err != nil {
		return err
	}
	defer fresh.close()
	time.Sleep(2 * b.span())
	got, err := fresh.anonymous()
	if err != nil {
		return err
	}
	plain, err := floor.anonymous()
	if err != nil {
		return err
	}
	b.memoryRow("anonymous memory, idle; floor: plain net/http", got, plain, 64)
	s, err := b.serveBig()
	if err != nil {
		return err
	}
	mix := b.mixed()
	for _, t := range []*serving{s, floor} {
		if _, err := mix.run(b.ctx, t.addr, 6*b.span()); err != nil {
			return fmt.Errorf("%w (%s)", err, t.tail)
		}
	}
	b.memoryRow("anonymous memory over the large log, largest under load", s.peak.Load(), floor.peak.Load(), 200)
	return nil
}

// mixed asks for everything that the log and the index serve.
func (b *bench) mixed() load {
	lookup, tiles := lookups(b.records(), 1), anyOf(fullTiles(b.records()))
	return newLoad(smallConns, largeBuffer, func(i uint64) string {
		switch i % 16 {
		case 0:
			return fmt.Sprintf("/index?after=%d", i*7919%uint64(b.records()-page))
		case 1:
			return "/checkpoint"
		case 2, 3, 4, 5:
			return tiles(i)
		case 6, 7:
			return "/tile/entries" + tiles(i)[len("/tile/0"):]
		}
		return lookup(i)
	})
}

func (b *bench) memoryRow(what string, got, floor int64, limit float64) {
	mib := func(n int64) float64 { return float64(n) / (1 << 20) }
	text := func(n int64) string { return fmt.Sprintf("%.0f MiB", mib(n)) }
	b.table.add(row{what, text(got), text(floor), 0, fmt.Sprintf("≤ %.0f MiB", limit), verdict(mib(got) <= limit)})
}
