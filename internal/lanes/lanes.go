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
// No client, no host and no subject (a module, say) holds more than its part of
// either lane, or of the queue before the first. A part is used up by those who use
// it: what is given up for a client's newcomer is that client's.
//
// # The queue
//
// Clients take turns, and so do the hosts that one client's work is about, for where
// one thing hangs its neighbours often do. Of one client's work about one host, the
// newest is next: when more is asked for than can be done, the oldest has waited so
// long that its client will soon be gone, and an old flood does not hold up what
// comes after it. What no longer fits into the queue is refused at once ([ErrFull]),
// the oldest first, of what there is most of.
//
// Everything is in memory; nothing here knows what the work is.
package lanes

import (
	"context"
	"errors"
	"math"
	"slices"
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

// A key is what work has parts by.
type key int

const (
	byClient key = iota
	byHost
	bySubject
	keys
)

// part is what one client, host or subject may hold of n places: a half, three
// quarters, a quarter. With one place there is nothing to share.
func (k key) part(n int) int {
	quarters := [keys]int{2, 3, 1}[k]
	return max(1, (n*quarters+3)/4)
}

// Lanes are a quick and a slow lane and the queue before them. They are safe for
// concurrent use.
type Lanes struct {
	c Config

	mu      sync.Mutex
	quick   lane
	slow    lane
	queue   lane
	waiting turns[*turns[[]*Place]] // by client, then by host; oldest first
}

// turns are lists that take turns, by name. None is empty.
type turns[T any] struct {
	order []string
	lists map[string]T
}

// last makes the i'th list the last one in turn.
func (t *turns[T]) last(i int) {
	name := t.order[i]
	t.order = append(slices.Delete(t.order, i, i+1), name)
}

// set sets the list of a name.
func (t *turns[T]) set(name string, list T) {
	if _, ok := t.lists[name]; !ok {
		t.order = append(t.order, name)
	}
	if t.lists == nil {
		t.lists = make(map[string]T)
	}
	t.lists[name] = list
}

// remove removes the list of a name.
func (t *turns[T]) remove(name string) {
	delete(t.lists, name)
	t.order = slices.DeleteFunc(t.order, func(other string) bool { return other == name })
}

// New returns empty lanes.
func New(c Config) *Lanes {
	return &Lanes{c: c, quick: newLane(c.Quick), slow: newLane(c.Slow), queue: newLane(c.Queue)}
}

// A lane counts who is in it.
type lane struct {
	size   int
	places map[*Place]bool
	counts [keys]map[string]int
}

func newLane(size int) lane {
	l := lane{size: size, places: make(map[*Place]bool)}
	for k := range keys {
		l.counts[k] = make(map[string]int)
	}
	return l
}

// full returns by which key p's part is used up.
func (l *lane) full(p *Place) (by key, ok bool) {
	for k := bySubject; k >= byClient; k-- {
		if l.counts[k][p.names[k]] >= k.part(l.size) {
			return k, true
		}
	}
	return 0, false
}

// room reports whether there is room for p, within its parts.
func (l *lane) room(p *Place) bool {
	_, full := l.full(p)
	return len(l.places) < l.size && !full
}

func (l *lane) add(p *Place) {
	l.places[p] = true
	for k, name := range p.names {
		l.counts[k][name]++
	}
}

func (l *lane) remove(p *Place) {
	delete(l.places, p)
	for k, name := range p.names {
		if l.counts[k][name]--; l.counts[k][name] <= 0 {
			delete(l.counts[k], name)
		}
	}
}

// rivals returns what has to make room for p: all that shares with p the part that
// is used up, else all of the client that holds most.
func (l *lane) rivals(p *Place) func(o *Place) bool {
	by, ok := l.full(p)
	name := p.names[by]
	if !ok {
		most := 0
		for client, n := range l.counts[byClient] {
			if n > most {
				name, most = client, n
			}
		}
	}
	return func(o *Place) bool { return o.names[by] == name }
}

// Work says whose work enters, and about what.
type Work struct {
	Client  string
	Host    string
	Subject string

	// Wanted, if set, reports whether anybody waits for the work. What nobody
	// waits for is given up first.
	Wanted func() bool
}

// A Place is held by work that has entered.
type Place struct {
	l      *Lanes
	names  [keys]string
	wanted func() bool
	cancel context.CancelCauseFunc

	entered chan error   // has one: nil, or why it may not
	heard   atomic.Int64 // when bytes came last, Unix nanoseconds
	in      *lane        // guarded by l.mu; nil: in none, any more
	timer   *time.Timer  // guarded by l.mu
}

// Enter returns when w may begin, with a context that ends with ctx and when the
// work is given up. The caller ends it with End. [ErrFull] says that w may not;
// any other error is that of ctx.
func (l *Lanes) Enter(ctx context.Context, w Work) (context.Context, *Place, error) {
	p := &Place{l: l, names: [keys]string{w.Client, w.Host, w.Subject}, wanted: w.Wanted, entered: make(chan error, 1)}
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
		l.refuse(l.oldest(l.queue.rivals(p)))
	}
	hosts := l.waiting.lists[p.names[byClient]]
	if hosts == nil {
		hosts = new(turns[[]*Place])
		l.waiting.set(p.names[byClient], hosts)
	}
	hosts.set(p.names[byHost], append(hosts.lists[p.names[byHost]], p))
	p.in = &l.queue
	l.queue.add(p)
	p.Heard()
}

// oldest returns which of those in the queue that match came first, of a client and
// a host of which most wait; there is one.
func (l *Lanes) oldest(match func(*Place) bool) (oldest *Place) {
	most := 0
	for p := range l.queue.places {
		if !match(p) {
			continue
		}
		n := len(l.waiting.lists[p.names[byClient]].lists[p.names[byHost]])
		if n > most || n == most && p.heard.Load() < oldest.heard.Load() {
			oldest, most = p, n
		}
	}
	return oldest
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

// unline takes p out of what waits.
func (l *Lanes) unline(p *Place) {
	client, host := p.names[byClient], p.names[byHost]
	hosts := l.waiting.lists[client]
	list := slices.DeleteFunc(hosts.lists[host], func(o *Place) bool { return o == p })
	hosts.lists[host] = list
	if len(list) == 0 {
		hosts.remove(host)
	}
	if len(hosts.order) == 0 {
		l.waiting.remove(client)
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

// next returns the newest waiting work of the client and the host whose turns it is
// that have any within its parts, or nil. Their next turns come after all others'.
func (l *Lanes) next() *Place {
	for i, client := range l.waiting.order {
		if l.quick.counts[byClient][client] >= byClient.part(l.quick.size) {
			continue
		}
		hosts := l.waiting.lists[client]
		for j, host := range hosts.order {
			for _, p := range slices.Backward(hosts.lists[host]) {
				if l.quick.room(p) {
					hosts.last(j)
					l.waiting.last(i)
					return p
				}
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

// victim returns the work to be given up so that p can move: of its rivals, what
// nobody waits for first, and then what has been silent longest. It is p itself if
// all of them make progress and p does not. Nil: p stays where it is.
func (l *Lanes) victim(p *Place) (victim *Place) {
	now, rival := time.Now(), l.slow.rivals(p)
	silent := now.Add(-l.c.Patience).UnixNano()
	unwanted := false
	for o := range l.slow.places {
		if !rival(o) {
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
