// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package listen lets a server have a bounded number of connections, so that
// clients who open many and do nothing cost neither the memory nor the
// descriptors that the others need.
//
// A connection is quiet while no request of it is being answered: it was just
// opened, its headers are not finished, or its last answer is given. It is busy
// from the end of a request's headers to the end of the answer. Then:
//
//   - There are at most so many connections at a time as [New] was told. When one
//     more arrives, a quiet one is closed for it: of the client that has most
//     connections the one that was quiet longest. If none is quiet, one that is
//     stalled: its client has read nothing of an answer for half a second, or
//     nearly nothing for two. If there is none of these either, it waits, with all
//     behind it in the kernel's queue.
//   - One client is busy on half of them at most. Beyond that its stalled ones are
//     closed for its new ones. Where there are none, requests wait up to five
//     seconds, on a quarter of all connections at most; then they are answered 503
//     with Retry-After.
//   - Who reads nearly nothing of an answer for a minute is closed in any case.
//
// Whoever waits for an answer that is not there yet is never closed, however
// long it takes: that wait is bounded by who makes the answer.
//
// A client is an IPv4 address or an IPv6 network of 64 bits, which is what one
// customer gets. Nearly nothing is less than 64 KiB, if that much was there to
// be read. How much a client has taken is what its TCP has acknowledged; where
// the kernel does not tell that, only connections without a request are closed,
// and the server needs a write deadline of its own.
//
// New connections have a tenth of a second to say something before they are
// closed for others, so that one of a crowd gets its turn too.
package listen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"example.org/sumlog/internal/cli"
)

// A Listener is a listener with bounded connections, for one [http.Server], which
// must be given to Attach before it serves.
type Listener struct {
	net.Listener
	logger *slog.Logger
	limits limits
	slots  chan struct{} // has one of each connection
	closed chan struct{}
	close  func() error

	mu      sync.Mutex
	conns   map[*conn]struct{}
	clients map[netip.Addr]*client
	looked  time.Time // when it was looked at what clients have read
	told    time.Time // when the operator was told that there are too many
}

// limits are constants, but in tests.
type limits struct {
	most  int           // connections
	part  int           // what one client may be busy on
	grace time.Duration // for a quiet connection to say something
	still time.Duration // for a client to read anything while others wait
	patch time.Duration // for a client to read patchSize while others wait
	stall time.Duration // for a client to read patchSize in any case
	watch time.Duration // from one look at what clients have read to the next
	turn  time.Duration // for a request of a client that has its part
}

// patchSize is what counts as reading, and not as pretending to.
const patchSize = 64 << 10

// A client is whoever comes from one address.
type client struct {
	addr   netip.Addr
	conns  int
	served int             // requests that have their turn
	queue  []chan struct{} // requests that wait for it, in order; closed when it comes
}

// A conn is a connection. It embeds the TCP connection itself: net/http ends one
// in two steps, and lets the kernel send files through its ReadFrom.
type conn struct {
	*net.TCPConn
	l       *Listener
	release func() // of its slot and all else, once

	// Guarded by l.mu.
	client *client
	busy   bool
	since  time.Time // when it became busy or quiet
	ended  time.Time // when it was closed for another one; zero: it was not

	// What looks have seen. What happened since the last one is not known, and is
	// held against nobody.
	seen    time.Time // when it was last looked at
	waiting bool      // there was something to take
	acked   uint64    // what the client had taken
	moved   time.Time // when it was last seen to have taken anything, or to have nothing to take
	mark    uint64    // what it had taken at read
	read    time.Time // when it was last seen to have taken a patch, or to have nothing to take
}

// On listens on the address that a flag -listen gave.
func On(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, cli.Hint(fmt.Errorf("another process listens on %s", addr), "pass -listen with another port")
	case errors.Is(err, syscall.EACCES):
		return nil, cli.Hint(err, "ports below 1024 need a privilege; pass -listen with a higher one")
	}
	return ln, err
}

// New returns a listener that has at most so many connections of ln, which is one
// of TCP, at a time. A nil logger discards.
func New(ln net.Listener, most int, logger *slog.Logger) *Listener {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	l := &Listener{
		Listener: ln,
		logger:   logger,
		limits: limits{
			most: most, part: max(1, most/2),
			grace: 100 * time.Millisecond, still: 500 * time.Millisecond, patch: 2 * time.Second,
			stall: time.Minute, watch: time.Second, turn: 5 * time.Second,
		},
		slots:   make(chan struct{}, most),
		closed:  make(chan struct{}),
		conns:   make(map[*conn]struct{}),
		clients: make(map[netip.Addr]*client),
	}
	l.close = sync.OnceValue(func() error {
		close(l.closed)
		return ln.Close()
	})
	return l
}

// Attach makes srv tell the listener what its connections do, and keep to what
// one client may have. It comes after everything else was set.
func (l *Listener) Attach(srv *http.Server) {
	srv.ConnState = l.state
	more := srv.ConnContext
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if more != nil {
			ctx = more(ctx, c)
		}
		return context.WithValue(ctx, connKey{}, unwrap(c))
	}
	srv.Handler = l.fair(srv.Handler)
	go l.watch()
}

type connKey struct{}

// ClientOf returns the client whose request has the context ctx, the zero Addr if
// the request came over no listener of this package.
func ClientOf(ctx context.Context) netip.Addr {
	if c, ok := ctx.Value(connKey{}).(*conn); ok && c != nil {
		return c.client.addr // never changes
	}
	return netip.Addr{}
}

// Client returns the client that an address belongs to.
func Client(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		return netip.PrefixFrom(a, 64).Masked().Addr()
	}
	return a
}

// unwrap returns the connection below those of TLS.
func unwrap(c net.Conn) *conn {
	for {
		switch v := c.(type) {
		case *conn:
			return v
		case interface{ NetConn() net.Conn }:
			c = v.NetConn()
		default:
			return nil
		}
	}
}

// Close ends Accept.
func (l *Listener) Close() error { return l.close() }

// Accept returns the next connection when it has a slot.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if !l.room() {
		c.Close()
		return nil, net.ErrClosed
	}
	return l.add(c.(*net.TCPConn)), nil
}

// pause is between two looks for room.
const pause = 50 * time.Millisecond

// room takes a slot, which it makes if there is none. It returns false when the
// listener is closed.
func (l *Listener) room() bool {
	for {
		select {
		case l.slots <- struct{}{}:
			return true
		default:
		}
		l.look(pause)
		l.makeRoom(time.Now())
		select {
		case l.slots <- struct{}{}:
			return true
		case <-l.closed:
			return false
		case <-time.After(pause):
		}
	}
}

func (l *Listener) add(tcp *net.TCPConn) *conn {
	c := &conn{TCPConn: tcp, l: l, since: time.Now()}
	var addr netip.Addr
	if a, ok := tcp.RemoteAddr().(*net.TCPAddr); ok {
		addr = Client(a.AddrPort().Addr())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.client = l.clients[addr]
	if c.client == nil {
		c.client = &client{addr: addr}
		l.clients[addr] = c.client
	}
	c.client.conns++
	l.conns[c] = struct{}{}
	c.release = sync.OnceFunc(func() { l.remove(c) })
	return c
}

func (l *Listener) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setBusy(c, false)
	delete(l.conns, c)
	if c.client.conns--; c.client.conns == 0 {
		delete(l.clients, c.client.addr)
	}
	<-l.slots
}

// Close ends the connection. It is what net/http calls when nothing works on it
// any more: not before that may another take its place, with a file of its own.
func (c *conn) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}

// state learns what a connection does.
func (l *Listener) state(nc net.Conn, s http.ConnState) {
	c := unwrap(nc)
	if c == nil || s != http.StateActive && s != http.StateIdle {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setBusy(c, s == http.StateActive)
}

// setBusy makes c busy or quiet. The caller holds l.mu.
func (l *Listener) setBusy(c *conn, busy bool) {
	if c.busy == busy {
		return
	}
	c.busy, c.since = busy, time.Now()
	c.seen, c.read, c.moved, c.waiting = c.since, c.since, c.since, false
}

// makeRoom closes a few of the connections that can be closed for others. Not
// one, because to look for it costs more than to close it.
func (l *Listener) makeRoom(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 1 + l.limits.most/64
	var quiet, stalled []*conn
	for c := range l.conns {
		switch {
		case !c.ended.IsZero():
			if now.Sub(c.ended) < time.Second {
				n-- // its slot comes
			}
		case !c.busy:
			quiet = append(quiet, c)
		case l.stalled(c):
			stalled = append(stalled, c)
		}
	}
	l.tell(now)
	switch {
	case n <= 0:
	case len(quiet) > 0:
		l.endSome(quiet, n, func(c *conn) time.Time { return c.since.Add(l.limits.grace) }, now)
	default:
		l.endSome(stalled, n, func(c *conn) time.Time { return c.read }, now)
	}
}

// endSome closes up to n of conns, those of the clients that have most first, of
// each the oldest first, and stops at one whose time has not come: one of a client
// that has less is not closed in its place. The caller holds l.mu.
func (l *Listener) endSome(conns []*conn, n int, age func(*conn) time.Time, now time.Time) {
	slices.SortFunc(conns, func(a, b *conn) int {
		if a.client != b.client && a.client.conns != b.client.conns {
			return b.client.conns - a.client.conns
		}
		return age(a).Compare(age(b))
	})
	for _, c := range conns[:min(n, len(conns))] {
		if age(c).After(now) {
			return
		}
		c.end(now)
	}
}

// end closes a connection that net/http still works on; its slot is free when
// that is over. What a client has not read of an answer is dropped, so that it is
// not taken for a whole one, and not kept in the kernel. The caller holds l.mu.
func (c *conn) end(now time.Time) {
	c.ended = now
	if c.busy {
		c.SetLinger(0)
	}
	go c.TCPConn.Close() // it waits until nobody uses the descriptor any more
}

// tell says, now and then, that there are too many. The caller holds l.mu.
func (l *Listener) tell(now time.Time) {
	if now.Sub(l.told) < time.Minute {
		return
	}
	l.told = now
	l.logger.Warn("too many connections: those that do nothing are closed", "addr", l.Addr().String(), "limit", l.limits.most)
}

// fair answers 503 to clients that are busy on more than their part.
func (l *Listener) fair(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(connKey{}).(*conn)
		if c == nil {
			next.ServeHTTP(w, r)
			return
		}
		if !l.turn(r.Context(), c.client) {
			h := w.Header()
			h.Set("Content-Type", "text/plain; charset=utf-8")
			h.Set("Cache-Control", "no-store")
			h.Set("Retry-After", "5")
			h.Set("Connection", "close")
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, "too many requests at a time from this address, try again in a moment\n")
			return
		}
		defer l.served(c.client)
		next.ServeHTTP(w, r)
	})
}

// turn waits until one more request of a client may be served. The end of that is
// served.
func (l *Listener) turn(ctx context.Context, who *client) bool {
	next, ok := l.enter(who)
	if !ok || next == nil {
		return ok
	}
	end := time.After(l.limits.turn)
	for {
		select {
		case <-next:
			return true
		case <-time.After(pause):
			l.look(pause)
			if !l.insist(who, next) {
				continue
			}
			return true
		case <-end:
		case <-ctx.Done():
		}
		return l.giveUp(who, next)
	}
}

// enter takes a turn for a client that has one left. For one that has none, it
// returns what its next one closes, unless too many wait for theirs: half as many as
// are served.
func (l *Listener) enter(who *client) (next chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case who.served < l.limits.part, l.yields(who):
		who.served++
		return nil, true
	case len(who.queue) >= max(1, l.limits.part/2):
		return nil, false
	}
	next = make(chan struct{})
	who.queue = append(who.queue, next)
	return next, true
}

// insist takes a turn for who waits for next, if a connection can be closed for it.
func (l *Listener) insist(who *client, next chan struct{}) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(who.queue, next)
	if i < 0 {
		return true // it came
	}
	if !l.yields(who) {
		return false
	}
	who.queue = slices.Delete(who.queue, i, i+1)
	who.served++
	return true
}

// giveUp ends the wait for next. It reports whether that came all the same.
func (l *Listener) giveUp(who *client, next chan struct{}) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(who.queue, next)
	if i >= 0 {
		who.queue = slices.Delete(who.queue, i, i+1)
	}
	return i < 0
}

// served ends a turn: it is the next one's who waits.
func (l *Listener) served(who *client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(who.queue) == 0 {
		who.served--
		return
	}
	close(who.queue[0])
	who.queue = slices.Delete(who.queue, 0, 1)
}

// yields closes the connection of a client that has read nothing for longest, if
// there is one. The caller holds l.mu.
func (l *Listener) yields(who *client) bool {
	var victim *conn
	for c := range l.conns {
		if c.client == who && l.stalled(c) && (victim == nil || c.read.Before(victim.read)) {
			victim = c
		}
	}
	if victim == nil {
		return false
	}
	victim.end(time.Now())
	return true
}

// stalled reports whether the client of c was seen to read nothing, or nearly
// nothing, for too long. The caller holds l.mu.
func (l *Listener) stalled(c *conn) bool {
	return c.busy && c.ended.IsZero() && (c.seen.Sub(c.moved) > l.limits.still || c.seen.Sub(c.read) > l.limits.patch)
}

// watch looks at what clients read, until the listener is closed: what is left
// then is the server's to close.
func (l *Listener) watch() {
	tick := time.NewTicker(l.limits.watch)
	defer tick.Stop()
	for {
		select {
		case <-l.closed:
			return
		case <-tick.C:
			l.look(0)
		}
	}
}

// look notes what clients have read, unless that was done a moment ago, and closes
// those who have read nearly nothing for too long.
func (l *Listener) look(moment time.Duration) {
	for _, c := range l.toLook(moment) {
		acked, waiting, ok := sent(c.TCPConn)
		now := time.Now()
		l.mu.Lock()
		if ok && c.busy && c.ended.IsZero() {
			l.note(c, acked, waiting, now)
		}
		l.mu.Unlock()
	}
}

func (l *Listener) toLook(moment time.Duration) (busy []*conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.looked) < moment {
		return nil
	}
	l.looked = now
	for c := range l.conns {
		if c.busy && c.ended.IsZero() {
			busy = append(busy, c)
		}
	}
	return busy
}

// note takes in what the client of c, which is busy, has read. The caller holds
// l.mu.
func (l *Listener) note(c *conn, acked uint64, waiting bool, now time.Time) {
	// What waits now and did not at the last look may have come this moment.
	idle := !waiting || !c.waiting
	c.seen, c.waiting = now, waiting
	if idle || acked != c.acked {
		c.acked, c.moved = acked, now
	}
	switch {
	case idle || acked-c.mark >= patchSize:
		c.mark, c.read = acked, now
	case now.Sub(c.read) >= l.limits.stall:
		c.end(now)
	}
}
