// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package quorum

import (
	"context"
	"errors"
	"sync"
	"time"

	"example.org/sumlog/internal/checkpoint"
)

// Seen is a checkpoint of the log that a witness shows.
type Seen struct {
	Witness    string // its name in the policy
	Checkpoint checkpoint.Checkpoint
	Note       []byte // with the log's signature
}

// Seen asks all witnesses for what they have seen of this log, those that fail
// again and again, until those that answered would meet the quorum, and a moment
// longer for those that have not said anything yet. It returns what each shows that the log has signed, in
// the order of the policy; one that has seen nothing shows nothing. When ctx ends
// before, Seen returns what there is and a [MissingError].
//
// While the quorum is not met by those that have answered or not failed yet, Seen
// goes on, and calls missing, if that is not nil, each time it learns more of it.
//
// Witnesses that met a quorum once and those that answer now have at least one
// in common, if any two quorums of the policy do.
func (q *Quorum) Seen(ctx context.Context, missing func(*MissingError)) ([]Seen, error) {
	q.mu.Lock()
	r := &round{policy: q.policy, members: q.members, got: make(map[*member]taken), failed: make(map[*member]error)}
	q.mu.Unlock()

	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(q.ctx, cancel)
	var wg sync.WaitGroup
	defer func() { cancel(); stop(); wg.Wait() }()
	views := make(chan view)
	for _, m := range r.members {
		wg.Go(func() { m.look(ctx, views) })
	}

	shown, heard := make(map[*member]Seen), make(map[*member]bool)
	var enough <-chan time.Time
	for len(r.got) < len(r.members) {
		if r.meets(r.has) {
			if len(heard) == len(r.members) {
				return r.seen(shown), nil // the others have failed, and are not waited for
			}
			if enough == nil {
				enough = time.After(grace)
			}
		}
		select {
		case v := <-views:
			heard[v.m] = true
			if v.err != nil {
				r.failed[v.m] = v.err
				if missing != nil && !r.meets(func(m *member) bool { return r.has(m) || r.failed[m] == nil }) {
					missing(r.missing(nil))
				}
				break
			}
			delete(r.failed, v.m)
			r.got[v.m] = taken{}
			if v.note != nil {
				shown[v.m] = Seen{v.m.Name, v.checkpoint, v.note}
			}
		case <-enough:
			return r.seen(shown), nil
		case <-ctx.Done():
			switch {
			case q.ctx.Err() != nil:
				return nil, errClosed
			case enough == nil:
				return r.seen(shown), r.missing(ctx.Err())
			}
			return r.seen(shown), nil
		}
	}
	return r.seen(shown), nil
}

func (r *round) seen(shown map[*member]Seen) []Seen {
	var out []Seen
	for _, m := range r.members {
		if s, ok := shown[m]; ok {
			out = append(out, s)
		}
	}
	return out
}

// A view is what a witness shows of the log.
type view struct {
	m          *member
	checkpoint checkpoint.Checkpoint
	note       []byte // nil if it has seen nothing
	err        error
}

// look asks a witness until it answers, and sends every view of it.
func (m *member) look(ctx context.Context, views chan<- view) {
	for pause := time.Second; ; pause = min(2*pause, timeout) {
		v := m.view(ctx)
		select {
		case views <- v:
		case <-ctx.Done():
			return
		}
		if v.err == nil {
			return
		}
		wait := pause
		var f *failure
		if errors.As(v.err, &f) {
			m.report(f)
			wait = max(pause, f.wait)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

func (m *member) view(ctx context.Context) view {
	v := view{m: m}
	if v.note, v.err = m.shown(ctx); v.err != nil {
		return v
	}
	if v.note != nil {
		var err error
		if v.checkpoint, _, err = m.q.own(v.note); err != nil {
			v.err = fail(garbage, "what it shows: %w", err)
			return v
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.size < 0 {
		m.size = v.checkpoint.Size
		m.metrics.size.Set(float64(m.size))
	}
	return v
}
