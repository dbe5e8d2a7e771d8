// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A load is requests over keep-alive connections, one after the other on each.
type load struct {
	conns  int
	buffer int // bytes a connection reads at once

	// path returns the path of the i-th request. No run repeats those of another:
	// what a server keeps in memory would else be what it is asked for.
	path func(i uint64) string
	next *atomic.Uint64
}

func newLoad(conns, buffer int, path func(i uint64) string) load {
	return load{conns, buffer, path, &atomic.Uint64{}}
}

// small answers and large ones.
const (
	smallConns, smallBuffer = 32, 16 << 10
	largeConns, largeBuffer = 8, 256 << 10
)

// run sends requests for a while and returns how many were answered. Any
// answer but 200 is an error.
func (l load) run(ctx context.Context, addr string, span time.Duration) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	end := time.Now().Add(span)
	var answered atomic.Int64
	var wg sync.WaitGroup
	for range l.conns {
		wg.Go(func() {
			n, err := l.connection(ctx, addr, end)
			answered.Add(n)
			if err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return answered.Load(), context.Cause(ctx)
}

func (l load) connection(ctx context.Context, addr string, end time.Time) (n int64, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(end.Add(30 * time.Second)); err != nil {
		return 0, err
	}
	r := bufio.NewReaderSize(conn, l.buffer)
	var req []byte
	for time.Now().Before(end) && ctx.Err() == nil {
		path := l.path(l.next.Add(1) - 1)
		req = append(req[:0], "GET "...)
		req = append(req, path...)
		req = append(req, " HTTP/1.1\r\nHost: sumlog.example\r\n\r\n"...)
		if _, err := conn.Write(req); err != nil {
			return n, err
		}
		if err := readAnswer(r); err != nil {
			return n, fmt.Errorf("%s: %w", path, err)
		}
		n++
	}
	return n, nil
}

// readAnswer reads an answer of status 200 and throws it away.
func readAnswer(r *bufio.Reader) error {
	status, err := readStatus(r)
	if err == nil && status != 200 {
		err = fmt.Errorf("answered %d", status)
	}
	return err
}

// readStatus reads an answer with a Content-Length, and keeps only its status.
func readStatus(r *bufio.Reader) (status int, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 13 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, fmt.Errorf("answered %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, err
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(v)); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, fmt.Errorf("no Content-Length")
	}
	_, err = r.Discard(length)
	return status, err
}

// perCPU runs l on a server and returns its answers per CPU-second of the
// server.
func (l load) perCPU(ctx context.Context, s *serving, span time.Duration) (float64, error) {
	before, err := s.cpu()
	if err != nil {
		return 0, err
	}
	n, err := l.run(ctx, s.addr, span)
	if err != nil {
		return 0, fmt.Errorf("%w (%s)", err, s.tail)
	}
	after, err := s.cpu()
	if err != nil {
		return 0, err
	}
	if after == before {
		return 0, fmt.Errorf("%d requests cost no measurable CPU time", n)
	}
	return float64(n) / (after - before).Seconds(), nil
}

// turns is into how many parts a round is cut. Servers change places after
// each: what else the machine does comes and goes, and then meets both.
const turns = 4

// inTurns measures answers per CPU-second of sumlog to the requests of l, and of
// the floor to those of other.
func (b *bench) inTurns(s, floor *serving, l, other load) (mine, plain []float64, err error) {
	for t, l := range map[*serving]load{s: l, floor: other} {
		if _, err := l.run(b.ctx, t.addr, b.span()/2); err != nil { // warm up
			return nil, nil, fmt.Errorf("%w (%s)", err, t.tail)
		}
	}
	for range b.rounds() * turns {
		x, err := l.perCPU(b.ctx, s, b.span()/turns)
		if err != nil {
			return nil, nil, err
		}
		y, err := other.perCPU(b.ctx, floor, b.span()/turns)
		if err != nil {
			return nil, nil, fmt.Errorf("floor: %w", err)
		}
		mine, plain = append(mine, x), append(plain, y)
	}
	return mine, plain, nil
}

// compare is compareLoads where both get the requests of l from the first on.
func (b *bench) compare(what string, s, floor *serving, l load, goal float64) error {
	return b.compareLoads(what, s, floor, l, newLoad(l.conns, l.buffer, l.path), goal)
}

// compareLoads adds a row with what inTurns measured.
func (b *bench) compareLoads(what string, s, floor *serving, l, other load, goal float64) error {
	mine, plain, err := b.inTurns(s, floor, l, other)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	b.table.add(atLeast(what, perSecond(median(mine)), perSecond(median(plain)), median(ratios(mine, plain)), goal))
	return nil
}

func perSecond(x float64) string {
	if x >= 10_000 {
		return fmt.Sprintf("%.1f k/CPU-s", x/1000)
	}
	return fmt.Sprintf("%.0f /CPU-s", x)
}
