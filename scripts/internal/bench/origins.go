// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"fmt"
	"time"
)

// manyOrigins is how many logs the largest profile of the witness network asks
// of a witness.
func (b *bench) manyOrigins() int {
	if b.short {
		return 2000
	}
	return 40_000
}

// measureOrigins measures a witness with many logs: its start, its memory, and
// its speed beside one with few; and the memory with a usual number of them.
func measureOrigins(b *bench) error {
	g, err := newGrowth()
	if err != nil {
		return err
	}
	many, err := newMadeLogs(b.manyOrigins())
	if err != nil {
		return err
	}
	if err := b.usualMemory(g, many[:1000]); err != nil {
		return err
	}
	dir, err := b.initWitness("origins", many)
	if err != nil {
		return err
	}
	s, err := b.serveWitness(dir)
	if err != nil {
		return err
	}
	mine := newCourse(g, many)
	if err := b.begin(s, mine); err != nil {
		s.close()
		return err
	}
	if err := s.close(); err != nil {
		return fmt.Errorf("sumwitness: %w (%s)", err, s.tail)
	}
	begin := time.Now()
	if s, err = b.serveWitness(dir); err != nil {
		return err
	}
	defer s.close()
	took := time.Since(begin).Seconds()
	b.table.add(row{
		what: fmt.Sprintf("start of a witness with %d origins", len(many)), got: fmt.Sprintf("%.2f s", took),
		goal: "≤ 5 s", verdict: verdict(took <= 5),
	})
	return b.manyRates(s, g, mine)
}

// manyRates compares the witness with many logs to one with few.
func (b *bench) manyRates(s *serving, g *growth, mine *course) error {
	few, err := b.startWitness("few", mine.logs[:witnessLogs])
	if err != nil {
		return err
	}
	defer few.close()
	plain := newCourse(g, mine.logs[:witnessLogs])
	if err := b.begin(few, plain); err != nil {
		return err
	}
	d, err := b.newDisk()
	if err != nil {
		return err
	}
	defer d.close()
	u, v := &submitter{clients: 32, to: s, course: mine}, &submitter{clients: 32, to: few, course: plain}
	if err := b.takeTurns(d, u, v); err != nil {
		return err
	}
	b.table.add(atLeast(fmt.Sprintf("add-checkpoint, 32 clients, %d origins; floor: %d origins", len(mine.logs), witnessLogs),
		fmt.Sprintf("%.0f /s", median(u.rates)), fmt.Sprintf("%.0f /s", median(v.rates)), median(ratios(u.rates, v.rates)), 0.95))
	b.memoryRow(fmt.Sprintf("anonymous memory of a witness, %d origins, largest under load", len(mine.logs)), s.peak.Load(), few.peak.Load(), 128)
	return nil
}

// usualMemory measures the memory of a witness with some logs.
func (b *bench) usualMemory(g *growth, logs []*madeLog) error {
	s, err := b.startWitness("usual", logs)
	if err != nil {
		return err
	}
	defer s.close()
	few, err := b.startWitness("one", logs[:1])
	if err != nil {
		return err
	}
	defer few.close()
	c := newCourse(g, logs)
	if err := b.begin(s, c); err != nil {
		return err
	}
	u := &submitter{clients: 32, to: s, course: c, n: 4000}
	for range b.rounds() {
		if err := u.turn(b); err != nil {
			return err
		}
	}
	idle, err := few.anonymous()
	if err != nil {
		return err
	}
	b.memoryRow(fmt.Sprintf("anonymous memory of a witness, %d logs, largest under load; floor: 1 log, idle", len(logs)), s.peak.Load(), idle, 64)
	return nil
}
