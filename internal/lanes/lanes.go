// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package lanes shares out the room for work that waits for somebody else: an
// upstream that may hang, asked for a client who may want many things that hang.
//
// # Two lanes
//
// Work enters the quick lane. Most is done there. What is not done after
// [Config.Patience] moves over to the slow lane, where it takes as long as it takes.
// If there is no room, it is called off and begun again when there is. So a newcomer
// waits for a quick place no longer than Patience, whatever hangs, and what is only
// slow is done in its turn.
//
// # Parts
//
// No client, no host and no subject (a module, say) holds more than its part of
// either lane, or of what waits. In the slow lane, work makes room that nobody waits
// for any more ([ErrGivenUp]); and that of a client that holds much for a client that
// holds less than half of that, or among one client's work that about a host: it is
// called off, what has been silent longest first, and waits for another turn.
//
// # The queues
//
// Clients take turns, and so do the hosts that one client's work is about, for where
// one thing hangs its neighbours often do. For a quick place, the newest of one
// client and host is next: when more is asked for than can be done, an old flood does
// not hold up what comes after it. For a slow one it is the oldest. What no longer
// fits is refused at once ([ErrFull]), the oldest of what there is most of, and so is
// what has waited for [Config.Wait].
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

// ErrGivenUp is the error of work that nobody waited for, and that made room.
var ErrGivenUp = errors.New("given up for what others wait for")

// Config sizes the lanes. All is needed.
type Config struct {
	Quick int // places in the quick lane
	Slow  int // places in the slow lane
	Queue int // how many may wait for a place

	// Patience is how long work stays in the quick lane.
	Patience time.Duration

	// Wait is how long work waits for each of its places before it is refused.
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

// Lanes are a quick and a slow lane and the queues before them. They are safe for
// concurrent use.
type Lanes struct {
	c Config

	mu    sync.Mutex
	quick lane
	slow  lane
	queue lane // all that waits, for either

	// What waits, by client, then by host; oldest first.
	first  line // for a quick place
	second line // for a slow one
}

type line = turns[*turns[[]*Place]]

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

// unline takes p out of a line.
func unline(l *line, p *Place) {
	client, host := p.names[byClient], p.names[byHost]
	hosts := l.lists[client]
	list := slices.DeleteFunc(hosts.lists[host], func(o *Place) bool { return o == p })
	hosts.lists[host] = list
	if len(list) == 0 {
		hosts.remove(host)
	}
	if len(hosts.order) == 0 {
		l.remove(client)
	}
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

// rivals returns the name by which what has to make room for p is known: that of the
// part that is used up, if one is, else of the client that holds most.
func (l *lane) rivals(p *Place) (by key, name string) {
	by, ok := l.full(p)
	if ok {
		return by, p.names[by]
	}
	most := 0
	for client, n := range l.counts[byClient] {
		if n > most {
			name, most = client, n
		}
	}
	return byClient, name
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

// A Place is what work has in the lanes, or waits for.
type Place struct {
	l      *Lanes
	wanted func() bool
	heard  atomic.Int64 // when bytes came last, Unix nanoseconds

	entered chan error // has one: nil, or why it may not

	// Guarded by l.mu.
	names  [keys]string
	in     *lane                   // nil: in none, any more
	lined  *line                   // the line it waits in, if in is the queue
	since  time.Time               // when it came there
	cancel context.CancelCauseFunc // of the work; nil: it does not run
	timer  *time.Timer
}

// New returns a place for w, which has none of its own before [Place.Do].
func (l *Lanes) New(w Work) *Place {
	return &Place{l: l, names: [keys]string{w.Client, w.Host, w.Subject}, wanted: w.Wanted, entered: make(chan error, 1)}
}

// errAgain is the cause of the end of the context of work that is to begin again.
var errAgain = errors.New("called off, to begin again")

// Do runs work when there is a place for it, with a context that ends with ctx and
// when it is called off: then it must return soon, with an error that is the end of a
// context, and is run again. [ErrFull] and [ErrGivenUp] are of the lanes; all other
// errors are those of ctx and of work.
func (p *Place) Do(ctx context.Context, work func(context.Context) error) error {
	p.l.mu.Lock()
	p.l.line(p, &p.l.first)
	p.l.advance()
	p.l.mu.Unlock()
	defer p.Leave()
	for {
		if err := p.wait(ctx); err != nil {
			return err
		}
		run, cancel := context.WithCancelCause(context.WithValue(ctx, placeKey{}, p))
		p.runs(cancel)
		err := work(run)
		p.runs(nil)
		cause := context.Cause(run)
		cancel(nil)
		switch {
		case err == nil || !errors.Is(err, context.Canceled) || ctx.Err() != nil:
			return err
		case cause == ErrGivenUp:
			return ErrGivenUp
		case cause != errAgain:
			return err
		}
	}
}

// wait waits for the place.
func (p *Place) wait(ctx context.Context) error {
	timeout := time.NewTimer(p.l.c.Wait)
	defer timeout.Stop()
	select {
	case err := <-p.entered:
		return err
	case <-timeout.C:
		return ErrFull
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runs notes how the work that p is for can be called off.
func (p *Place) runs(cancel context.CancelCauseFunc) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	p.cancel = cancel
}

// Offer says that client wants the work too. If it waits for a place, it does so as
// that client's from now on, if that has less in the lanes.
func (p *Place) Offer(client string) {
	l := p.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.in != &l.queue || l.load(client) >= l.load(p.names[byClient])-1 {
		return
	}
	lined := p.lined
	l.drop(p)
	p.names[byClient] = client
	l.line(p, lined)
	l.advance()
}

// load is how much of a client is in the lanes.
func (l *Lanes) load(client string) int {
	return l.quick.counts[byClient][client] + l.slow.counts[byClient][client] + l.queue.counts[byClient][client]
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

// Heard says that the work is not silent: bytes came.
func (p *Place) Heard() {
	if p != nil && p.heard.Load() != working {
		p.heard.Store(time.Now().UnixNano())
	}
}

// working is heard of work that waits for nobody.
const working = math.MaxInt64

// Working says that the work waits for nobody any more: it is not called off.
func (p *Place) Working() {
	if p != nil {
		p.heard.Store(working)
	}
}

// placeKey is the key of the contexts that work gets.
type placeKey struct{}

// PlaceOf returns the place of work with this context, or nil.
func PlaceOf(ctx context.Context) *Place {
	p, _ := ctx.Value(placeKey{}).(*Place)
	return p
}

// line puts p into a line, in place of older ones if need be.
func (l *Lanes) line(p *Place, to *line) {
	for !l.queue.room(p) {
		l.refuse(l.oldest(p))
	}
	hosts := to.lists[p.names[byClient]]
	if hosts == nil {
		hosts = new(turns[[]*Place])
		to.set(p.names[byClient], hosts)
	}
	hosts.set(p.names[byHost], append(hosts.lists[p.names[byHost]], p))
	l.put(p, &l.queue)
	p.lined = to
	if to == &l.second {
		p.timer = time.AfterFunc(l.c.Patience, func() { l.claim(p) })
	}
}

// put puts p, which is in none, into a lane.
func (l *Lanes) put(p *Place, in *lane) {
	p.in, p.since = in, time.Now()
	in.add(p)
}

// oldest returns what in the queue has to make room for p: what came first, of a
// client and a host of which most waits.
func (l *Lanes) oldest(p *Place) (oldest *Place) {
	by, name := l.queue.rivals(p)
	most := 0
	for o := range l.queue.places {
		if o.names[by] != name {
			continue
		}
		n := len(o.lined.lists[o.names[byClient]].lists[o.names[byHost]])
		if n > most || n == most && o.since.Before(oldest.since) {
			oldest, most = o, n
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
		unline(p.lined, p)
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	p.in.remove(p)
	p.in = nil
}

// advance lets in who is next, while there is room.
func (l *Lanes) advance() {
	for {
		p := l.next(&l.slow, &l.second)
		if p == nil {
			break
		}
		l.admit(p, &l.slow)
	}
	for {
		p := l.next(&l.quick, &l.first)
		if p == nil {
			return
		}
		l.admit(p, &l.quick)
		p.timer = time.AfterFunc(l.c.Patience, func() { l.move(p) })
	}
}

// admit lets p, which waits, into a lane.
func (l *Lanes) admit(p *Place, in *lane) {
	l.drop(p)
	l.put(p, in)
	p.heard.Store(time.Now().UnixNano())
	p.entered <- nil
}

// next returns the waiting work of the client and the host whose turns it is that
// have any within its parts, or nil: the newest for a quick place, the oldest for a
// slow one. Their next turns come after all others'.
func (l *Lanes) next(in *lane, from *line) *Place {
	if len(in.places) >= in.size {
		return nil
	}
	for i, client := range from.order {
		if in.counts[byClient][client] >= byClient.part(in.size) {
			continue
		}
		hosts := from.lists[client]
		for j, host := range hosts.order {
			list := hosts.lists[host]
			for k := range list {
				p := list[k]
				if from == &l.first {
					p = list[len(list)-1-k]
				}
				if in.room(p) {
					hosts.last(j)
					from.last(i)
					return p
				}
			}
		}
	}
	return nil
}

// move takes p, whose time in the quick lane is over, to the slow one, or calls it
// off until there is room.
func (l *Lanes) move(p *Place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.in != &l.quick {
		return
	}
	switch {
	case l.makeRoom(p):
		l.drop(p)
		l.put(p, &l.slow)
	case p.heard.Load() == working || p.cancel == nil:
		p.timer.Reset(l.c.Patience) // it is about to end, or to begin
		return
	default:
		l.callOff(p)
	}
	l.advance()
}

// claim looks for room for p, which waits for a slow place, and goes on looking.
func (l *Lanes) claim(p *Place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.in != &l.queue || p.lined != &l.second {
		return
	}
	room := l.makeRoom(p)
	if p.in != &l.queue {
		l.advance() // what made room took its place in the queue
		return
	}
	if room {
		l.admit(p, &l.slow)
		return
	}
	p.timer.Reset(l.c.Patience)
}

// callOff has the work of p begin again when it is its turn in the slow lane.
func (l *Lanes) callOff(p *Place) {
	p.cancel(errAgain)
	p.cancel = nil
	l.drop(p)
	l.line(p, &l.second)
}

// makeRoom makes room for p in the slow lane. It reports whether there is some.
func (l *Lanes) makeRoom(p *Place) bool {
	for !l.slow.room(p) {
		victim := l.victim(p)
		switch {
		case victim == nil:
			return false
		case victim.unwanted():
			victim.cancel(ErrGivenUp)
			victim.cancel = nil
			l.drop(victim)
		default:
			l.callOff(victim)
		}
	}
	return true
}

func (p *Place) unwanted() bool { return p.wanted != nil && !p.wanted() }

// victim returns the work that makes room for p in the slow lane, or nil. It is what
// nobody waits for, or what has been silent longest of who holds most of the part
// that p lacks, if that is more than twice as much as p's would be then: of a client,
// or where p's own client has used up its part, of a host of that client's work.
func (l *Lanes) victim(p *Place) (victim *Place) {
	by, part := l.slow.full(p)
	among := func(o *Place) bool { return !part || o.names[by] == p.names[by] }
	of := byClient
	if part && by == byClient {
		of = byHost
	}
	held, greedy := map[string]int{p.names[of]: 1}, p.names[of]
	for o := range l.slow.places {
		if among(o) {
			if held[o.names[of]]++; held[o.names[of]] > held[greedy] {
				greedy = o.names[of]
			}
		}
	}
	yields := held[greedy] > 2*held[p.names[of]]
	loose := false
	for o := range l.slow.places {
		if o.cancel == nil || o.heard.Load() == working || !among(o) {
			continue
		}
		unwanted := o.unwanted()
		if !unwanted && (loose || !yields || o.names[of] != greedy) {
			continue
		}
		if victim == nil || unwanted && !loose || o.heard.Load() < victim.heard.Load() {
			victim, loose = o, unwanted
		}
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
