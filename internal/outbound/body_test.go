// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package outbound

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// trickle gives n bytes every so often, until ctx ends or there were total.
type trickle struct {
	ctx   context.Context
	every time.Duration
	n     int
	total int
}

func (r *trickle) Read(p []byte) (int, error) {
	if r.total <= 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(r.every):
	case <-r.ctx.Done():
		return 0, context.Cause(r.ctx)
	}
	n := min(r.n, r.total, len(p))
	r.total -= n
	return n, nil
}

// lazy is a writer that takes its time.
type lazy time.Duration

func (l lazy) Write(p []byte) (int, error) { time.Sleep(time.Duration(l)); return len(p), nil }

func TestBody(t *testing.T) {
	const much = 100 << 20
	for _, tt := range []struct {
		name string
		r    trickle
		busy time.Duration // of who reads, with each piece
		err  error
		took time.Duration // 0: not asked
	}{
		{"a byte every 10 s", trickle{every: 10 * time.Second, n: 1, total: much}, 0, ErrSlow, 30 * time.Second},
		{"silent", trickle{every: time.Hour, n: 1, total: much}, 0, ErrSilent, 20 * time.Second},
		{"silent late", trickle{every: 21 * time.Second, n: 1 << 20, total: much}, 0, ErrSilent, 20 * time.Second},
		{"below the rate", trickle{every: time.Second, n: LeastRate - 1, total: much}, 0, ErrSlow, 30 * time.Second},
		{"just above", trickle{every: 999 * time.Millisecond, n: LeastRate, total: LeastRate * 300}, 0, nil, 0},
		{"in bursts", trickle{every: 19 * time.Second, n: 30 * LeastRate, total: 30 * LeastRate * 10}, 0, nil, 190 * time.Second},
		{"a little, and that soon", trickle{every: 10 * time.Second, n: 1, total: 2}, 0, nil, 20 * time.Second},
		{"10 Mbit/s", trickle{every: time.Second, n: 1 << 20, total: 70 << 20}, 0, nil, 0},
		{"a busy reader", trickle{every: 999 * time.Millisecond, n: LeastRate, total: LeastRate * 100}, time.Minute, nil, 0},
		{"a busy reader and a slow server", trickle{every: 11 * time.Second, n: 1, total: much}, time.Minute, ErrSlow, 30*time.Second + 2*time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			tt.r.ctx = ctx
			start := time.Now()
			// Without ReadFrom and WriteTo, so that each piece is written.
			_, err := io.CopyBuffer(lazy(tt.busy), NewBody(&tt.r, LeastPace, cancel), make([]byte, 2<<20))
			if took := time.Since(start); !errors.Is(err, tt.err) || tt.took != 0 && took != tt.took {
				t.Errorf("%s: %v after %v, want %v after %v", tt.name, err, took, tt.err, tt.took)
			}
			if e, ok := errors.AsType[net.Error](err); err != nil && (!ok || !e.Timeout() || !errors.Is(err, context.DeadlineExceeded)) {
				t.Errorf("%s: %v is no timeout", tt.name, err)
			}
		})
	}
}
