// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"net"
	"net/http"
	"sync"
	"syscall"
)

// maxConns is how many connections there are at a time. Each has a descriptor,
// and the state needs some too: without a limit, whoever opens enough of them
// and says nothing stops the witness. With TLS this many take some 100 MB; fewer
// would let others wait longer.
const maxConns = 2048

// connLimit is maxConns, or half of what the process may open if that is less.
func connLimit() int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil {
		return int(min(maxConns, max(2, uint64(files.Cur))/2))
	}
	return maxConns
}

// A limited listener leaves what is above its limit, but for the next, in the
// kernel's queue.
type limited struct {
	net.Listener
	slots  chan struct{} // has one of each connection
	closed chan struct{}
}

func limit(ln net.Listener, most int) *limited {
	return &limited{ln, make(chan struct{}, most), make(chan struct{})}
}

// Close is called once, by net/http.
func (l *limited) Close() error {
	close(l.closed)
	return l.Listener.Close()
}

func (l *limited) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		conn.Close()
		return nil, net.ErrClosed
	}
	return &limitedConn{conn.(*net.TCPConn), sync.OnceFunc(func() { <-l.slots })}, nil
}

// A limitedConn is all that a TCP connection is: net/http ends one in two steps,
// so that the answer to a body that it did not read arrives.
type limitedConn struct {
	*net.TCPConn
	release func()
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}

// brief wraps a handler so that connections end with the answer while more than
// half of those that may be are there: the idle cannot keep the others out.
func (l *limited) brief(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(l.slots) > cap(l.slots)/2 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
