// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/witness"
	"example.org/sumlog/witness/state"
)

// witnessLogs is how many logs a witness of a usual load has: each of the
// largest number of clients submits for one of its own.
const witnessLogs = 128

// measureWitness measures add-checkpoint: valid growing checkpoints beside a
// witness that commits each alone, requests that are refused, and the CPU time
// of a checkpoint without HTTP and disk.
func measureWitness(b *bench) error {
	g, err := newGrowth()
	if err != nil {
		return err
	}
	logs, err := newMadeLogs(witnessLogs)
	if err != nil {
		return err
	}
	s, err := b.startWitness("witness", logs)
	if err != nil {
		return err
	}
	defer s.close()
	floor, err := b.commitFloor(logs)
	if err != nil {
		return err
	}
	defer floor.close()
	mine, plain := newCourse(g, logs), newCourse(g, logs)
	for t, c := range map[*serving]*course{s: mine, floor: plain} {
		if err := b.begin(t, c); err != nil {
			return err
		}
	}
	for _, clients := range []int{1, 8, 32, 128} {
		if err := b.growing(clients, s, floor, mine, plain); err != nil {
			return fmt.Errorf("%d clients: %w", clients, err)
		}
	}
	if err := b.refused(s, mine); err != nil {
		return err
	}
	b.table.note("add-checkpoint: every answer was 200; %d logs with trees of more than %d entries; floor is a witness with the same checks and one durable SQLite commit a request", witnessLogs, growthBase)
	return b.checkpointCPU(g, logs)
}

// initWitness makes the directory of a witness that knows logs.
func (b *bench) initWitness(name string, logs []*madeLog) (dir string, err error) {
	temp, err := b.newDir(name)
	if err != nil {
		return "", err
	}
	dir = filepath.Join(temp, "sumwitness")
	cmd := exec.CommandContext(b.ctx, b.sumwitness, "init", "-dir", dir, "-name", cosignerName)
	cmd.Env = environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("sumwitness init: %w: %s", err, out)
	}
	return dir, addLogs(b.ctx, dir, logs)
}

// addLogs adds logs to the state of a witness that does not run.
func addLogs(ctx context.Context, dir string, logs []*madeLog) error {
	store, err := state.Open(state.Config{Dir: dir})
	if err != nil {
		return err
	}
	_, errs := store.AddLogs(ctx, stateLogs(logs)...)
	return errors.Join(append(errs, store.Close())...)
}

func stateLogs(logs []*madeLog) []state.Log {
	list := make([]state.Log, len(logs))
	for i, l := range logs {
		list[i] = state.Log{Origin: l.key.Name(), Keys: []*checkpoint.Key{l.key}}
	}
	return list
}

// startWitness starts a new witness that knows logs.
func (b *bench) startWitness(name string, logs []*madeLog) (*serving, error) {
	dir, err := b.initWitness(name, logs)
	if err != nil {
		return nil, err
	}
	return b.serveWitness(dir)
}

// serveWitness starts the witness in dir. args are further flags.
func (b *bench) serveWitness(dir string, args ...string) (*serving, error) {
	cmd := exec.Command(b.sumwitness, append([]string{"serve", "-dir", dir, "-listen", "127.0.0.1:0"}, args...)...)
	cmd.Env = environment()
	s, err := start(b.ctx, cmd, ", on http://")
	if err != nil {
		return nil, err
	}
	if err := s.ready(b.ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// begin submits the first checkpoint of each log.
func (b *bench) begin(s *serving, c *course) error {
	list, err := c.first()
	if err != nil {
		return err
	}
	_, err = submission{list, 32, 200}.run(b.ctx, s)
	return err
}

// A submitter makes a number of requests, and knows how many it can make in a
// while.
type submitter struct {
	clients int
	to      *serving
	course  *course
	n       int // requests a turn
	rates   []float64
	ms      []float64
}

// warm makes some requests to learn how many there are in a turn.
func (u *submitter) warm(b *bench) error {
	u.n = 4*u.clients + 200
	if err := u.turn(b); err != nil {
		return err
	}
	span := b.span() / turns
	u.n = max(2*u.clients, int(u.rates[0]*span.Seconds()))
	u.rates, u.ms = nil, nil
	return nil
}

func (u *submitter) turn(b *bench) error {
	list, err := u.course.next(u.n)
	if err != nil {
		return err
	}
	out, err := submission{list, u.clients, 200}.run(b.ctx, u.to)
	u.rates = append(u.rates, out.rate)
	u.ms = append(u.ms, out.ms...)
	return err
}

// takeTurns measures two witnesses in turns, and the disk's time between them.
func (b *bench) takeTurns(d *disk, us ...*submitter) error {
	for _, u := range us {
		if err := u.warm(b); err != nil {
			return err
		}
	}
	for range b.rounds() * turns {
		for _, u := range us {
			if err := u.turn(b); err != nil {
				return err
			}
		}
		if err := d.sample(20); err != nil {
			return err
		}
	}
	return nil
}

// What add-checkpoint shall reach.
const (
	addRate  = 3000.0 // a second
	addRatio = 2.0    // to one commit a request
	addTime  = 20.0   // milliseconds, p99 at 32 clients
	addSyncs = 5.0    // or that many syncs, p99
)

// growing measures valid growing checkpoints from a number of clients.
func (b *bench) growing(clients int, s, floor *serving, mine, plain *course) error {
	d, err := b.newDisk()
	if err != nil {
		return err
	}
	defer d.close()
	u, v := &submitter{clients: clients, to: s, course: mine}, &submitter{clients: clients, to: floor, course: plain}
	if err := b.takeTurns(d, u, v); err != nil {
		return err
	}
	rate, ratio := median(u.rates), median(ratios(u.rates, v.rates))
	r := row{
		what: fmt.Sprintf("add-checkpoint, %d clients; floor: a commit each", clients),
		got:  fmt.Sprintf("%.0f /s", rate), floor: fmt.Sprintf("%.0f /s", median(v.rates)),
		ratio: ratio, goal: "all 200", verdict: verdict(true),
	}
	// The rate is that of a witness with enough to do: few clients, each of which
	// waits for its answer, mostly wait for the disk, whatever the design.
	if clients >= 32 {
		r.goal = fmt.Sprintf("≥ %.0f /s, ≥ %.2f", addRate, addRatio)
		r.verdict = verdict(rate >= addRate && ratio >= addRatio)
	}
	b.table.add(r)
	got, sync := quantile(u.ms, 0.99), quantile(d.ms, 0.99)
	r = row{
		what: fmt.Sprintf("add-checkpoint, %d clients, p99; floor: p99 of a sync of 4 KiB", clients),
		got:  fmt.Sprintf("%.1f ms", got), floor: fmt.Sprintf("%.2f ms", sync), verdict: "–",
	}
	if clients == 32 {
		r.goal = fmt.Sprintf("≤ %.0f ms or %.0f syncs", addTime, addSyncs)
		r.verdict = verdict(got <= max(addTime, addSyncs*sync))
	}
	b.table.add(r)
	return nil
}

// refused measures requests that a witness refuses.
func (b *bench) refused(s *serving, c *course) error {
	const clients, goal = 32, 8000.0
	all, err := c.wrongs()
	if err != nil {
		return err
	}
	for _, w := range all {
		var rates []float64
		n := 2000
		for i := range b.rounds() * turns {
			list := make([]submit, n)
			for j := range list {
				list[j] = w.list[j%len(w.list)]
			}
			out, err := submission{list, clients, w.status}.run(b.ctx, s)
			if err != nil {
				return fmt.Errorf("%s: %w", w.what, err)
			}
			if i == 0 {
				n = max(clients, int(out.rate*(b.span()/turns).Seconds()))
				continue
			}
			rates = append(rates, out.rate)
		}
		rate := median(rates)
		b.table.add(row{
			what: fmt.Sprintf("add-checkpoint, %d clients: %s", clients, w.what), got: fmt.Sprintf("%.0f /s", rate),
			goal: fmt.Sprintf("≥ %.0f /s", goal), verdict: verdict(rate >= goal),
		})
	}
	return nil
}

// checkpointCPU compares the CPU time of an accepted checkpoint, without HTTP and
// without the goroutine that writes, with that of one verification and one
// signature. What the runtime does beside, on threads of its own, is in neither.
func (b *bench) checkpointCPU(g *growth, logs []*madeLog) error {
	dir, err := b.initWitness("cpu", logs)
	if err != nil {
		return err
	}
	store, err := state.Open(state.Config{Dir: dir})
	if err != nil {
		return err
	}
	defer store.Close()
	cosigner, err := newCosigner()
	if err != nil {
		return err
	}
	w, err := witness.New(witness.Config{Name: cosignerName, Cosigners: []*checkpoint.Cosigner{cosigner}, Store: store})
	if err != nil {
		return err
	}
	defer w.Close()
	c := newCourse(g, logs)
	add := func(body []byte) error {
		_, err := w.Add(b.ctx, body)
		return err
	}
	begin, err := c.first()
	if err != nil {
		return err
	}
	if _, err := threadTime(begin, add); err != nil {
		return err
	}
	s, err := g.step(1)
	if err != nil {
		return err
	}
	note := logs[0].note(s.new)
	cp, err := checkpoint.Parse(note.Text)
	if err != nil {
		return err
	}
	least := func([]byte) error {
		if !logs[0].key.Verify(note.Text, note.Signatures[0].Bytes) {
			return errors.New("a made-up note is not signed")
		}
		_, err := cosigner.Cosign(cp, 1)
		return err
	}
	n := 400
	if b.short {
		n = 100
	}
	var mine, floor []float64
	for range b.rounds() * turns {
		list, err := c.next(n)
		if err != nil {
			return err
		}
		x, err := threadTime(list, add)
		if err != nil {
			return err
		}
		y, err := threadTime(list, least)
		if err != nil {
			return err
		}
		mine, floor = append(mine, x), append(floor, y)
	}
	text := func(us float64) string { return fmt.Sprintf("%.0f µs CPU", us) }
	b.table.add(atMost("an accepted checkpoint, before HTTP and disk; floor: verify and sign once",
		text(median(mine)), text(median(floor)), median(ratios(mine, floor)), 2.5))
	return nil
}

// threadTime calls f with each body and returns the CPU time of the
// calls' thread, in microseconds a call.
func threadTime(list []submit, f func(body []byte) error) (float64, error) {
	runtime.GC()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := threadClock()
	for _, x := range list {
		if err := f(x.body); err != nil {
			return 0, err
		}
	}
	return float64((threadClock() - begin).Nanoseconds()) / 1000 / float64(len(list)), nil
}

// threadClock is the CPU time of this thread so far.
func threadClock() time.Duration {
	const threadCPU = 3
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, threadCPU, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic(errno) // only a bad argument
	}
	return time.Duration(ts.Nano())
}

// A disk measures how long the least durable write takes.
type disk struct {
	f  *os.File
	ms []float64
}

func (b *bench) newDisk() (*disk, error) {
	f, err := os.CreateTemp(b.temp, "disk-")
	if err != nil {
		return nil, err
	}
	d := &disk{f: f}
	if err := d.sample(1); err != nil { // which also makes the file as large as it will be
		return nil, errors.Join(err, f.Close())
	}
	d.ms = nil
	return d, nil
}

func (d *disk) close() error { return d.f.Close() }

func (d *disk) sample(n int) (err error) {
	block := make([]byte, 4096)
	d.ms, err = timed(d.ms, n, func() error {
		if _, err := d.f.WriteAt(block, 0); err != nil {
			return err
		}
		return d.f.Sync()
	})
	return err
}
