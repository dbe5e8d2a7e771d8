// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package store

import (
	"context"
	"sync"
)

// checks are the checks under way. Clients come and go, and a check takes
// seconds: each is made once for all who wait for it, and ends with the last.
type checks struct {
	ctx context.Context

	mu      sync.Mutex
	running map[task]*running
}

// A task is to find out whether a file is the one with a hash.
type task struct {
	key
	want string
}

type running struct {
	users int // guarded by checks.mu
	stop  context.CancelFunc
	done  chan struct{}
	res   checked // set before done is closed, err too
	err   error
}

// share returns what check says of t.
func (c *checks) share(ctx context.Context, t task, check func(context.Context) (checked, error)) (checked, error) {
	c.mu.Lock()
	r := c.running[t]
	if r == nil {
		r = c.start(t, check)
	}
	r.users++
	c.mu.Unlock()
	select {
	case <-r.done:
		return r.res, r.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.users--; r.users == 0 {
		r.stop()
		c.forget(t, r)
	}
	return checked{}, ctx.Err()
}

// start is called with c.mu held.
func (c *checks) start(t task, check func(context.Context) (checked, error)) *running {
	if c.running == nil {
		c.running = make(map[task]*running)
	}
	ctx, stop := context.WithCancel(c.ctx)
	r := &running{stop: stop, done: make(chan struct{})}
	c.running[t] = r
	go func() {
		defer stop()
		r.res, r.err = check(ctx)
		c.mu.Lock()
		c.forget(t, r)
		c.mu.Unlock()
		close(r.done)
	}()
	return r
}

// forget is called with c.mu held. Who comes from now on starts anew.
func (c *checks) forget(t task, r *running) {
	if c.running[t] == r {
		delete(c.running, t)
	}
}
