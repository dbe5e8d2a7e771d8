// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"example.org/sumlog/internal/outbound"
)

// ErrImpatient is wrapped by the error of what was not asked for, because the host
// has kept its readers waiting for too long before.
var ErrImpatient = errors.New("the host has kept its readers waiting for too long, and is asked no more")

const (
	// regained is what an answer that came in time makes up for. So a host that is
	// slow now and then goes on being asked, and one that is slow on average is not.
	regained = 2 * time.Second

	// grace is what the body of an answer may take beyond the least rate.
	grace = 2 * time.Second
)

// A patience counts the time for which hosts have kept their readers waiting for
// nothing, over all that is asked. The limits of one exchange do not bound what many
// of them take: a host that drips each of a million small answers would keep its
// auditor for months.
type patience struct {
	most time.Duration // 0: for ever

	mu   sync.Mutex
	lost map[string]time.Duration // by host
}

// left returns an error when there is no patience left with a host.
func (p *patience) left(host string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.most == 0 || p.lost[host] < p.most {
		return nil
	}
	return fmt.Errorf("%w (%v in all)", ErrImpatient, p.most)
}

// waited counts an exchange that took so long, of which slow in its body beyond what
// the least rate allows, and that ended with err.
func (p *patience) waited(host string, took, slow time.Duration, err error) {
	lost := slow
	switch {
	case err != nil && !passes(err):
		return // refused, or broken for good: an answer
	case err != nil:
		lost = took + leastWait
		if e, ok := errors.AsType[*StatusError](err); ok && e.RetryAfter <= maxAsked {
			lost += e.RetryAfter
		}
	case slow <= 0:
		lost = -regained
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost == nil {
		p.lost = make(map[string]time.Duration)
	}
	p.lost[host] = max(0, p.lost[host]+lost)
}

// A meter reads a body and knows how long it took.
type meter struct {
	r     io.Reader
	begun time.Time
	n     int64
}

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	if m.begun.IsZero() {
		m.begun = time.Now()
	}
	n, err := m.r.Read(p)
	m.n += int64(n)
	return n, err
}

// slow returns how much longer than allowed the body has taken.
func (m *meter) slow() time.Duration {
	if m.begun.IsZero() {
		return 0
	}
	allowed := grace + time.Duration(m.n)*time.Second/outbound.LeastRate
	return time.Since(m.begun) - allowed
}
