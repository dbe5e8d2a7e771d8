// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/module"

	"example.org/sumlog/log"
	"example.org/sumlog/log/engine"
)

// measureAdmission compares the time of a lone append, from its call to its
// publication, with the durable steps that it consists of, over the large log
// with its index.
func measureAdmission(b *bench) error {
	b.closeBig()
	dir, err := b.bigDir()
	if err != nil {
		return err
	}
	l, x, err := openLog(dir)
	if err != nil {
		return err
	}
	err = b.admissions(l)
	return errors.Join(err, l.Close(), x.Close())
}

func (b *bench) admissions(l *log.Log) error {
	steps, err := b.newSteps()
	if err != nil {
		return err
	}
	add := appendNew(b.ctx, l)
	n := 400
	if b.short {
		n = 40
	}
	const pause, block = 20 * time.Millisecond, 20
	for _, c := range []struct {
		what  string
		block int
		pause time.Duration
	}{{"isolated", 1, pause}, {"back to back", block, 0}} {
		var appends, floors []float64
		for len(appends) < n {
			if appends, err = timed(appends, c.block, add); err != nil {
				return err
			}
			time.Sleep(c.pause)
			if floors, err = timed(floors, c.block, steps.run); err != nil {
				return err
			}
		}
		b.admissionRows(c.what, appends, floors)
	}
	b.table.note("Admission: floor is the durable steps of one append (four files replaced, one appended to; %d in all) plus the batch age of %v", durableSteps, engine.BatchAge)
	return nil
}

func (b *bench) admissionRows(what string, appends, floors []float64) {
	for _, q := range []struct {
		name        string
		q           float64
		limit, most float64 // milliseconds; ratio, 0 for none
	}{{"p50", 0.5, 40, 2}, {"p99", 0.99, 200, 0}} {
		got := quantile(appends, q.q)
		floor := quantile(floors, q.q) + float64(engine.BatchAge.Microseconds())/1000
		r := row{
			what: fmt.Sprintf("admission of a known record, %s, %s", what, q.name),
			got:  fmt.Sprintf("%.1f ms", got), floor: fmt.Sprintf("%.1f ms", floor),
			ratio: got / floor, goal: fmt.Sprintf("≤ %.0f ms", q.limit),
		}
		met := got <= q.limit
		if q.most > 0 {
			r.goal += fmt.Sprintf(", ≤ %.2f", q.most)
			met = met && r.ratio <= q.most
		}
		r.verdict = verdict(met)
		b.table.add(r)
	}
}

// timed calls f n times and appends the milliseconds that each took.
func timed(ms []float64, n int, f func() error) ([]float64, error) {
	for range n {
		begin := time.Now()
		if err := f(); err != nil {
			return ms, err
		}
		ms = append(ms, float64(time.Since(begin).Microseconds())/1000)
	}
	return ms, nil
}

// appendNew returns a function that appends one more record that no log has.
func appendNew(ctx context.Context, l *log.Log) func() error {
	next := newRecords()
	return func() error {
		_, err := l.Append(ctx, next())
		return err
	}
}

// newRecords returns a function that makes a record that was never made before.
// It may be called concurrently.
func newRecords() func() log.Record {
	var i atomic.Int64
	prefix := fmt.Sprintf("example.com/%.8x/", rand.Text())
	return func() log.Record {
		n := i.Add(1)
		r := record(n)
		r.Module = module.Version{Path: fmt.Sprintf("%sm%d", prefix, n), Version: "v1.0.0"}
		return r
	}
}

// steps are the durable steps of one append: Tessera replaces the last bundle,
// the last tile and its state, the log its guard; then the archive gets a line.
// The index syncs nothing, since it can be derived.
type steps struct {
	replaced []string
	data     [][]byte
	archive  *os.File
}

// durableSteps counts the syncs: of file and directory for each file replaced,
// and of the archive.
const durableSteps = 4*2 + 1

// newSteps prepares files of the sizes that a log has in the middle of a bundle.
func (b *bench) newSteps() (*steps, error) {
	dir, err := b.newDir("steps")
	if err != nil {
		return nil, err
	}
	s := &steps{}
	for _, f := range []struct {
		name string
		size int
	}{{"bundle", 128 * 210}, {"tile", 128 * 32}, {"state", 80}, {"guard", 700}} {
		if err := os.Mkdir(filepath.Join(dir, f.name), 0o755); err != nil {
			return nil, err
		}
		s.replaced = append(s.replaced, filepath.Join(dir, f.name, "file"))
		s.data = append(s.data, make([]byte, f.size))
	}
	s.archive, err = os.OpenFile(filepath.Join(dir, "archive"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	return s, err
}

func (s *steps) run() error {
	for i, name := range s.replaced {
		if err := replace(name, s.data[i]); err != nil {
			return err
		}
	}
	if _, err := s.archive.Write(make([]byte, 700)); err != nil {
		return err
	}
	return s.archive.Sync()
}

// replace is what it takes, at least, to replace a file durably.
func replace(name string, data []byte) error {
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_SYNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writers is how many appends wait at any time.
const writers = 64

// measureWriters compares a log to which 64 append with Tessera alone.
func measureWriters(b *bench) error {
	var mine, raw []float64
	for range 2 * b.rounds() {
		x, err := b.logWriters()
		if err != nil {
			return err
		}
		y, err := b.tesseraWriters()
		if err != nil {
			return err
		}
		mine, raw = append(mine, x), append(raw, y)
	}
	rate := func(x float64) string { return fmt.Sprintf("%.0f /s", x) }
	b.table.add(atLeast(fmt.Sprintf("entries from %d waiting writers; floor: Tessera alone", writers),
		rate(median(mine)), rate(median(raw)), median(ratios(mine, raw)), 0.8))
	return nil
}

func (b *bench) logWriters() (float64, error) {
	temp, err := b.newDir("writers")
	if err != nil {
		return 0, err
	}
	dir := filepath.Join(temp, "log")
	if _, err := log.Create(log.CreateConfig{Dir: dir}); err != nil {
		return 0, err
	}
	l, x, err := openLog(dir)
	if err != nil {
		return 0, err
	}
	rate, err := b.write(func(ctx context.Context, r log.Record) error {
		_, err := l.Append(ctx, r)
		return err
	})
	return rate, errors.Join(err, l.Close(), x.Close())
}

func (b *bench) tesseraWriters() (float64, error) {
	dir, err := b.newDir("tessera")
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	add, err := engine.Start(ctx, dir)
	if err != nil {
		return 0, err
	}
	return b.write(func(ctx context.Context, r log.Record) error {
		_, err := add(ctx, tessera.NewEntry(r.Text()))()
		return err
	})
}

// write lets writers write for a while and returns how many entries a second
// they wrote.
func (b *bench) write(add func(context.Context, log.Record) error) (float64, error) {
	next := newRecords()
	begin := time.Now()
	end := begin.Add(b.span())
	var n atomic.Int64
	err := together(b.ctx, writers, func(ctx context.Context) error {
		for time.Now().Before(end) {
			if err := add(ctx, next()); err != nil {
				return err
			}
			n.Add(1)
		}
		return nil
	})
	return float64(n.Load()) / time.Since(begin).Seconds(), err
}
