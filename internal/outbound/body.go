// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package outbound

import (
	"context"
	"io"
	"sync/atomic"
	"time"
)

// A Pace is what is expected of an answer's body.
type Pace struct {
	Silence time.Duration // the longest without a byte

	// Rate, in bytes a second, is the least that a body must have on average
	// over any Window that is spent waiting for it.
	Rate   int64
	Window time.Duration
}

// LeastRate is enough to let an honest slow line work, with others beside it: a
// line of 10 Mbit/s has room for 300 such bodies at once. What is slower than
// that, on purpose or not, holds what others wait for.
const LeastRate = 4 << 10

// LeastPace is the usual one.
var LeastPace = Pace{Silence: 20 * time.Second, Rate: LeastRate, Window: 30 * time.Second}

// A timeout is an error that says that something took too long.
type timeout string

func (t timeout) Error() string   { return string(t) }
func (timeout) Timeout() bool     { return true }
func (timeout) Temporary() bool   { return true }
func (timeout) Is(err error) bool { return err == context.DeadlineExceeded }

// ErrSilent and ErrSlow are the causes with which a [Body] ends an exchange. They
// are timeouts.
var (
	ErrSilent error = timeout("the server is silent")
	ErrSlow   error = timeout("the server gives less than the least rate")
)

// A Body reads an answer's body as long as it comes at its pace. Time is counted
// while Read waits for bytes, and only then: what the reader's user takes, for a
// slow disk say, is not the server's.
type Body struct {
	r      io.Reader
	pace   Pace
	timer  *time.Timer
	slow   atomic.Bool // what it means when the timer fires
	waited time.Duration
	got    int64 // since waited was 0
}

// NewBody returns a reader of r that calls cancel, which must end r's reading,
// when r does not keep its pace.
func NewBody(r io.Reader, p Pace, cancel context.CancelCauseFunc) *Body {
	b := &Body{r: r, pace: p}
	b.timer = time.AfterFunc(p.Silence, func() {
		if b.slow.Load() {
			cancel(ErrSlow)
		} else {
			cancel(ErrSilent)
		}
	})
	b.timer.Stop()
	return b
}

// Read implements [io.Reader].
func (b *Body) Read(p []byte) (int, error) {
	left := b.pace.Window - b.waited
	b.slow.Store(left <= b.pace.Silence)
	b.timer.Reset(min(left, b.pace.Silence))
	start := time.Now()
	n, err := b.r.Read(p)
	b.timer.Stop()
	b.waited += time.Since(start)
	b.got += int64(n)
	// Each amount that is due in a window has a window of its own, from when
	// the one before was there.
	if b.got >= int64(b.pace.Window.Seconds()*float64(b.pace.Rate)) {
		b.got, b.waited = 0, 0
	}
	return n, err
}
