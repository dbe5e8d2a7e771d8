// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package lanes shares out the room for work that waits for somebody else: an
// upstream that may hang, asked for a client who may want many things that hang.
//
// # Two lanes
//
// Work enters the quick lane. Most is done there. What is not done after
// [Config.Patience] moves over to the slow lane and makes its place free, so a
// newcomer waits no longer than that, whatever hangs. When the slow lane is full,
// the work there that has been silent longest is given up ([ErrGivenUp]); if
// nothing there is silent, all is as it should be, and the quick lane waits.
// Silent is what waits for another: not a download while bytes come
// ([Place.Heard]), and not what this process does with them ([Place.Working]).
//
// # Parts
//
// No client and no subject (a module, say) holds more than its part of either
// lane, or of the queue before the first. A part is used up by those who use it:
// what is given up for a client's newcomer is that client's.
//
// # The queue
//
// Clients take turns. Of one client's work, the newest is next: when more is
// asked for than can be done, the oldest has waited so long that its client will
// soon be gone, and an old flood does not hold up what comes after it. What no
// longer fits into the queue is refused at once ([ErrFull]), the oldest first.
//
// Everything is in memory; nothing here knows what the work is.
package lanes

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// ErrFull is the error of work that could not wait.
var ErrFull = errors.New("too much is being waited for")

// ErrGivenUp is the cause of the end of the context of work that made room.
var ErrGivenUp = errors.New("given up for what others wait for")

// Config sizes the lanes. All is needed.
type Config struct {
	Quick int // places in the quick lane
	Slow  int // places in the slow lane
	Queue int // how many may wait for a place

	// Patience is how long work stays in the quick lane, and how long it is
	// silent in the slow one before it may be given up.
	Patience time.Duration

	// Wait is how long work waits in the queue before it is refused.
	Wait time.Duration
}

// A part of a lane or queue is what one client or one subject may hold: half and
// a quarter. With one place there is nothing to share.
func clientPart(n int) int  { return max(1, (n+1)/2) }
func subjectPart(n int) int { return max(1, (n+3)/4) }

// Lanes are a quick and a slow lane and the queue before them. They are safe for
// concurrent use.
type Lanes struct {
	c Config

	mu      sync.Mutex
	quick   lane
	slow    lane
	queue   lane
	waiting map[string][]*Place // of each client, oldest first
	turns   []string            // clients with waiting, in turn
}

// New returns empty lanes.
func New(c Config) *Lanes {
	return &Lanes{
		c:       c,
		quick:   newLane(c.Quick),
		slow:    newLane(c.Slow),
		queue:   newLane(c.Queue),
		waiting: make(map[string][]*Place),
	}
}

// A lane counts who is in it.
type lane struct {
	size     int
	places   map[*Place]bool
	clients  map[string]int
	subjects map[string]int
}

func newLane(size int) lane {
	return lane{size, make(map[*Place]bool), make(map[string]int), make(map[string]int)}
}

// room reports whether there is room for p, and within its client's and its
// subject's parts.
func (l *lane) room(p *Place) bool {
	return len(l.places) < l.size && !l.clientFull(p) && !l.subjectFull(p)
}

func (l *lane) clientFull(p *Place) bool  { return l.clients[p.client] >= clientPart(l.size) }
func (l *lane) subjectFull(p *Place) bool { return l.subjects[p.subject] >= subjectPart(l.size) }

func (l *lane) add(p *Place) {
	l.places[p] = true
	l.clients[p.client]++
	l.subjects[p.subject]++
}

func (l *lane) remove(p *Place) {
	delete(l.places, p)
	decrement(l.clients, p.client)
	decrement(l.subjects, p.subject)
}

func decrement(m map[string]int, key string) {
	if m[key]--; m[key] <= 0 {
		delete(m, key)
	}
}

// Work says whose work enters, and about what.
type Work struct {
	Client  string
	Subject string

	// Wanted, if set, reports whether anybody waits for the work. What nobody
	// waits for is given up first.
	Wanted func() bool
}

// A Place is held by work that has entered.
type Place struct {
	l               *Lanes
	client, subject string
	wanted          func() bool
	cancel          context.CancelCauseFunc

	entered chan error   // has one: nil, or why it may not
	heard   atomic.Int64 // when bytes came last, Unix nanoseconds
	in      *lane        // guarded by l.mu; nil: in none, any more
	timer   *time.Timer  // guarded by l.mu
}

// Enter returns when w may begin, with a context that ends with ctx and when the
// work is given up. The caller ends it with End. [ErrFull] says that w may not;
// any other error is that of ctx.
func (l *Lanes) Enter(ctx context.Context, w Work) (context.Context, *Place, error) {
	p := &Place{l: l, client: w.Client, subject: w.Subject, wanted: w.Wanted, entered: make(chan error, 1)}
	work, cancel := context.WithCancelCause(context.WithValue(ctx, placeKey{}, p))
	p.cancel = cancel
	l.mu.Lock()
	l.line(p)
	l.advance()
	l.mu.Unlock()
	timeout := time.NewTimer(l.c.Wait)
	defer timeout.Stop()
	var err error
	select {
	case err = <-p.entered:
	case <-timeout.C:
		err = ErrFull
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		p.End()
		return nil, nil, err
	}
	return work, p, nil
}

// Leave gives the place back, for what is still to be done needs none. It may be
// called more than once, and of nil does nothing.
func (p *Place) Leave() {
	if p == nil {
		return
	}
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	p.l.drop(p)
	p.l.advance()
}

// End is Leave at the end of the work.
func (p *Place) End() {
	p.Leave()
	p.cancel(nil)
}

// Heard says that the work is not silent: bytes came.
func (p *Place) Heard() {
	if p != nil {
		p.heard.Store(time.Now().UnixNano())
	}
}

// Working says that the work waits for nobody any more, and is never silent.
func (p *Place) Working() {
	if p != nil {
		p.heard.Store(math.MaxInt64)
	}
}

// placeKey is the key of the contexts that Enter returns.
type placeKey struct{}

// PlaceOf returns the place that work with this context holds, or held, or nil.
func PlaceOf(ctx context.Context) *Place {
	p, _ := ctx.Value(placeKey{}).(*Place)
	return p
}

// line puts p into the queue, in place of older ones if need be.
func (l *Lanes) line(p *Place) {
	for !l.queue.room(p) {
		greedy := p.client
		match := func(o *Place) bool { return o.client == greedy }
		switch {
		case l.queue.subjectFull(p):
			match = func(o *Place) bool { return o.subject == p.subject }
		case !l.queue.clientFull(p):
			greedy = l.queue.greediest()
		}
		l.refuse(l.oldest(match))
	}
	if len(l.waiting[p.client]) == 0 {
		l.turns = append(l.turns, p.client)
	}
	l.waiting[p.client] = append(l.waiting[p.client], p)
	p.in = &l.queue
	l.queue.add(p)
	p.Heard()
}

// oldest returns the place in the queue that was heard of first among those that
// match; there is one.
func (l *Lanes) oldest(match func(*Place) bool) (oldest *Place) {
	for p := range l.queue.places {
		if match(p) && (oldest == nil || p.heard.Load() < oldest.heard.Load()) {
			oldest = p
		}
	}
	return oldest
}

// greediest returns the client that holds most.
func (l *lane) greediest() (client string) {
	most := 0
	for c, n := range l.clients {
		if n > most {
			client, most = c, n
		}
	}
	return client
}

// refuse ends the wait of p.
func (l *Lanes) refuse(p *Place) {
	l.drop(p)
	p.entered <- ErrFull
}

// drop takes p out of wherever it is.
func (l *Lanes) drop(p *Place) {
	if p.in == nil {
		return
	}
	if p.in == &l.queue {
		l.unline(p)
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	p.in.remove(p)
	p.in = nil
}

// unline takes p out of its client's waiting.
func (l *Lanes) unline(p *Place) {
	list := l.waiting[p.client]
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == p {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if len(list) > 0 {
		l.waiting[p.client] = list
		return
	}
	delete(l.waiting, p.client)
	for i, c := range l.turns {
		if c == p.client {
			l.turns = append(l.turns[:i], l.turns[i+1:]...)
			break
		}
	}
}

// advance lets into the quick lane who is next, while there is room.
func (l *Lanes) advance() {
	for len(l.quick.places) < l.quick.size {
		p := l.next()
		if p == nil {
			return
		}
		l.drop(p)
		p.in = &l.quick
		l.quick.add(p)
		p.Heard()
		p.timer = time.AfterFunc(l.c.Patience, func() { l.move(p) })
		p.entered <- nil
	}
}

// next returns the newest waiting work of the client whose turn it is that has
// any within its parts, or nil.
func (l *Lanes) next() *Place {
	for i, c := range l.turns {
		list := l.waiting[c]
		for j := len(list) - 1; j >= 0; j-- {
			if p := list[j]; l.quick.room(p) {
				// Its next turn comes after all others'.
				l.turns = append(append(l.turns[:i:i], l.turns[i+1:]...), c)
				return p
			}
			if l.quick.clients[c] >= clientPart(l.quick.size) {
				break
			}
		}
	}
	return nil
}

// move takes p, whose time in the quick lane is over, to the slow one. If all
// there is busy, p stays until something leaves or falls silent.
func (l *Lanes) move(p *Place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.in != &l.quick {
		return
	}
	for !l.slow.room(p) {
		victim := l.victim(p)
		if victim == nil {
			p.timer.Reset(l.c.Patience)
			return
		}
		l.drop(victim)
		victim.cancel(ErrGivenUp)
		if victim == p {
			l.advance()
			return
		}
	}
	l.quick.remove(p)
	p.in = &l.slow
	l.slow.add(p)
	l.advance()
}

// maxQuick is how many times Patience silent work stays in the quick lane while
// all that is in the slow one makes progress.
const maxQuick = 10

// victim returns the work to be given up so that p can move: of p's own subject
// or client if their part is used up, else of the client that holds most; what
// nobody waits for first, and then what has been silent longest. It is p itself
// if all of that makes progress and p does not. Nil: p stays where it is.
func (l *Lanes) victim(p *Place) (victim *Place) {
	now, greedy := time.Now(), l.slow.greediest()
	silent := now.Add(-l.c.Patience).UnixNano()
	unwanted := false
	for o := range l.slow.places {
		switch {
		case l.slow.subjectFull(p):
			if o.subject != p.subject {
				continue
			}
		case l.slow.clientFull(p):
			if o.client != p.client {
				continue
			}
		case o.client != greedy:
			continue
		}
		heard := o.heard.Load()
		loose := o.wanted != nil && !o.wanted()
		if heard <= silent && (victim == nil || loose && !unwanted || loose == unwanted && heard < victim.heard.Load()) {
			victim, unwanted = o, loose
		}
	}
	if victim == nil && p.heard.Load() <= now.Add(-maxQuick*l.c.Patience).UnixNano() {
		return p
	}
	return victim
}

// clientKey is the key of contexts that know the client.
type clientKey struct{}

// WithClient returns a context of work that is done for client. Work of a context
// without one is the server's own.
func WithClient(ctx context.Context, client string) context.Context {
	return context.WithValue(ctx, clientKey{}, client)
}

// ClientOf returns the client of [WithClient], or "".
func ClientOf(ctx context.Context) string {
	client, _ := ctx.Value(clientKey{}).(string)
	return client
}
