// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"syscall"
	"time"
)

// ErrRefused is wrapped by the error of a connection that is not made, because it
// would lead to where the operator has not named a host.
var ErrRefused = errors.New("refused: a host at an internal address that was not named by the operator")

const (
	connectTime = 10 * time.Second
	slotTime    = 30 * time.Second // to wait for a connection below the bound
	slotPause   = 100 * time.Millisecond
)

// A Dialer connects to the outside. It is safe for concurrent use. Each kind of
// secret needs a Dialer and a Transport of its own: what one client's operator
// has named is reached by that client only.
type Dialer struct {
	net    net.Dialer
	proxy  func(*http.Request) (*url.URL, error) // of the environment
	slots  chan struct{}                         // one for each open connection; nil: no bound
	closer func()                                // closes idle connections; nil: there are none

	mu      sync.RWMutex
	named   map[Host]bool
	proxies map[Host]bool // that were used
}

// NewDialer returns a dialer that knows no named host, and has at most maxConns
// connections open at once; 0 means no bound.
func NewDialer(maxConns int) *Dialer {
	d := &Dialer{
		net:     net.Dialer{Timeout: connectTime},
		proxy:   http.ProxyFromEnvironment, // as the go command
		named:   make(map[Host]bool),
		proxies: make(map[Host]bool),
	}
	if maxConns > 0 {
		d.slots = make(chan struct{}, maxConns)
	}
	return d
}

// Name says that the operator named the host of u. A URL without a proper host
// names nothing: requests to it fail.
func (d *Dialer) Name(u *url.URL) {
	if h, err := HostOf(u); err == nil {
		d.NameHost(h)
	}
}

// NameHost says that the operator named h.
func (d *Dialer) NameHost(h Host) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.named[h] = true
}

// Named reports whether the operator named the host of u.
func (d *Dialer) Named(u *url.URL) bool {
	h, err := HostOf(u)
	return err == nil && d.isNamed(h)
}

func (d *Dialer) isNamed(h Host) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.named[h]
}

func (d *Dialer) isProxy(h Host) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.proxies[h]
}

// Check returns the error with which a request to u would be refused without
// anybody being asked for an address.
func (d *Dialer) Check(u *url.URL) error {
	h, err := HostOf(u)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrRefused, err)
	}
	if h.local() && !d.isNamed(h) {
		return fmt.Errorf("%v: %w", h, ErrRefused)
	}
	return nil
}

// DialContext connects to addr, HOST:PORT.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	h, err := ParseHost(addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrRefused, err)
	}
	dialer := d.net
	if !d.isNamed(h) && !d.isProxy(h) {
		dialer.ControlContext = refuseInternal
	}
	if err := d.take(ctx); err != nil {
		return nil, err
	}
	c, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		d.give()
		return nil, err
	}
	if d.slots == nil {
		return c, nil
	}
	return &conn{Conn: c, give: sync.OnceFunc(d.give)}, nil
}

// refuseInternal is called with the address that a connection is about to be made
// to, once for each that is tried.
func refuseInternal(_ context.Context, network, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s address %.100q", ErrRefused, network, address)
	}
	if Internal(at.Addr()) {
		return ErrRefused
	}
	return nil
}

// take waits for its turn to open a connection. Those of the transport that are
// idle are closed for it, again and again, since others become idle meanwhile.
// That also ends connecting for requests that were given up: net/http does not
// tell the dialer when they were.
func (d *Dialer) take(ctx context.Context) error {
	if d.slots == nil {
		return nil
	}
	select {
	case d.slots <- struct{}{}:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeoutCause(ctx, slotTime, errSlots)
	defer cancel()
	tick := time.NewTicker(slotPause)
	defer tick.Stop()
	for {
		if d.closer != nil {
			d.closer()
		}
		select {
		case d.slots <- struct{}{}:
			return nil
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

var errSlots error = timeout("too many connections are open")

func (d *Dialer) give() {
	if d.slots != nil {
		<-d.slots
	}
}

// A conn gives its place back when it is closed.
type conn struct {
	net.Conn
	give func()
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.give()
	return err
}

// Transport returns a new transport that connects with d, which must have one
// only.
func (d *Dialer) Transport() *http.Transport {
	t := &http.Transport{
		Proxy:                  d.way,
		DialContext:            d.DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    connectTime,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	d.closer = t.CloseIdleConnections
	return t
}

// way returns the proxy by which r is to go, nil if it goes straight.
func (d *Dialer) way(r *http.Request) (*url.URL, error) {
	if err := d.Check(r.URL); err != nil {
		return nil, err
	}
	p, err := d.proxy(r)
	if err != nil {
		return nil, err
	}
	if p == nil {
		// That a proxy may be connected to does not make it a target.
		if h, err := HostOf(r.URL); err != nil || d.isProxy(h) && !d.isNamed(h) {
			return nil, fmt.Errorf("%v, a proxy: %w", h, ErrRefused)
		}
		return nil, nil
	}
	via, err := HostOf(p)
	if err != nil {
		return nil, fmt.Errorf("proxy of the environment: %v", err)
	}
	if !d.isProxy(via) {
		d.mu.Lock()
		d.proxies[via] = true
		d.mu.Unlock()
	}
	return p, nil
}

// Strip takes from a request that follows a redirect what its new host need not
// know: where it was sent from (net/http adds a Referer, and a private module's
// path is in it), and, unless all hosts on the way are the same, all headers but
// the user agent, so that no credentials go to another host. It is to be called
// by every [http.Client.CheckRedirect] that follows any.
func Strip(r *http.Request, via []*http.Request) {
	for _, v := range via {
		if !Same(v.URL, r.URL) {
			agent := r.Header["User-Agent"]
			clear(r.Header)
			if agent != nil {
				r.Header["User-Agent"] = agent
			}
			r.URL.User = nil
			return
		}
	}
	r.Header.Del("Referer")
}
