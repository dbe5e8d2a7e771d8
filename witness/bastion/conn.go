// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package bastion

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// A conn is the connection to a bastion, of which net/http cannot see that it is
// a TLS one. It remembers why it ended.
type conn struct {
	net.Conn
	begun  func() // called when the first byte arrives
	once   sync.Once
	seen   atomic.Bool
	closed chan struct{}
	end    sync.Once

	mu  sync.Mutex
	err error // the first of its errors
}

func newConn(c net.Conn, begun func()) *conn {
	return &conn{Conn: c, begun: begun, closed: make(chan struct{})}
}

// Read reads. In TLS 1.3 it is also where a client learns that its certificate
// was refused.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.once.Do(func() {
			c.seen.Store(true)
			c.begun()
		})
	}
	c.note(err)
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.note(err)
	return n, err
}

func (c *conn) note(err error) {
	if err == nil || errors.Is(err, net.ErrClosed) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

func (c *conn) Close() error {
	c.end.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// alive reports whether the bastion ever sent anything.
func (c *conn) alive() bool { return c.seen.Load() }

// cause returns an error of text and of why the connection ended, if that is
// known.
func (c *conn) cause(text string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil || errors.Is(c.err, io.EOF) {
		return errors.New(text)
	}
	return fmt.Errorf("%s: %w", text, c.err)
}

// A listener accepts one connection, and then nothing until that or the listener
// is closed.
type listener struct {
	conn     *conn
	accepted atomic.Bool
	once     sync.Once
	closed   chan struct{}
}

func newListener(c *conn) *listener { return &listener{conn: c, closed: make(chan struct{})} }

func (l *listener) Accept() (net.Conn, error) {
	if !l.accepted.Swap(true) {
		return l.conn, nil
	}
	select {
	case <-l.conn.closed:
	case <-l.closed:
	}
	return nil, net.ErrClosed
}

// Close is called when the server begins to end: the connection still serves
// then.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return l.conn.LocalAddr() }
