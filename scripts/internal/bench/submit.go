// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"
)

// A submission is requests to add-checkpoint, which all shall be answered with
// one status.
type submission struct {
	list    []submit
	clients int // connections; the requests of a log all take the same one
	status  int
}

// A submitted is how a submission went.
type submitted struct {
	rate float64   // answers a second
	ms   []float64 // that each answer took
}

// run makes the requests, as fast as they are answered.
func (s submission) run(ctx context.Context, t *serving) (submitted, error) {
	clients := make([]*poster, s.clients)
	for i := range clients {
		c, err := dialPoster(ctx, t.addr)
		if err != nil {
			return submitted{}, err
		}
		defer c.conn.Close()
		clients[i] = c
	}
	for _, x := range s.list {
		c := clients[x.log%s.clients]
		c.requests = append(c.requests, request(x.body))
	}
	for _, c := range clients {
		c.ms = make([]float64, 0, len(c.requests))
	}
	runtime.GC() // of what was made to be sent, not while it is sent
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begin := time.Now()
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			if err := c.run(ctx, s.status); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	if err := context.Cause(ctx); err != nil {
		return submitted{}, fmt.Errorf("add-checkpoint: %w (%s)", err, t.tail)
	}
	out := submitted{rate: float64(len(s.list)) / took.Seconds()}
	for _, c := range clients {
		out.ms = append(out.ms, c.ms...)
	}
	return out, nil
}

// request is a request as it is sent.
func request(body []byte) []byte {
	b := make([]byte, 0, len(body)+128)
	b = fmt.Appendf(b, "POST /add-checkpoint HTTP/1.1\r\nHost: witness.example\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", len(body))
	return append(b, body...)
}

// A poster is one connection.
type poster struct {
	conn     net.Conn
	r        *bufio.Reader
	requests [][]byte
	ms       []float64
}

func dialPoster(ctx context.Context, addr string) (*poster, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &poster{conn: conn, r: bufio.NewReaderSize(conn, smallBuffer)}, nil
}

func (c *poster) run(ctx context.Context, status int) error {
	for _, req := range c.requests {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		begin := time.Now()
		if err := c.conn.SetDeadline(begin.Add(30 * time.Second)); err != nil {
			return err
		}
		if _, err := c.conn.Write(req); err != nil {
			return err
		}
		got, err := readStatus(c.r)
		if err != nil {
			return err
		}
		if got != status {
			return fmt.Errorf("answered %d, want %d", got, status)
		}
		c.ms = append(c.ms, float64(time.Since(begin).Microseconds())/1000)
	}
	return nil
}
