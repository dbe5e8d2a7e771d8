// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestLimit checks that there are never more connections than may be, that what
// waits for one gets it, and that the idle make room for the others.
func TestLimit(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const most = 8
	ln := limit(tcp, most)
	srv := newHTTPServer(ln.brief(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello")
	})), slog.New(slog.DiscardHandler))
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		return conn
	}
	// get asks on a connection and returns whether it then ends.
	get := func(conn net.Conn) (ends bool) {
		t.Helper()
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: w.test\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "hello" {
			t.Fatalf("body %q, %v", body, err)
		}
		return resp.Close
	}
	full := func() {
		t.Helper()
		for start := time.Now(); len(ln.slots) < most; time.Sleep(time.Millisecond) {
			if time.Since(start) > 3*time.Second {
				t.Fatalf("%d connections, want %d", len(ln.slots), most)
			}
		}
	}
	// Those that have been answered, and say nothing more, take half of the room.
	for i := range most {
		if ends := get(dial()); ends != (i >= most/2) {
			t.Fatalf("connection %d ends: %v", i, ends)
		}
	}
	// Those that say nothing take the rest, and more of them wait.
	silent := make([]net.Conn, 2*most)
	for i := range silent {
		silent[i] = dial()
	}
	last := dial()
	io.WriteString(last, "GET / HTTP/1.1\r\nHost: w.test\r\n\r\n")
	full()
	last.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := last.Read(make([]byte, 1)); err == nil {
		t.Fatalf("%d bytes of answer beside %d connections", n, most)
	}
	// When they go, it is its turn.
	for _, conn := range silent {
		conn.Close()
	}
	last.SetReadDeadline(time.Now().Add(10 * time.Second))
	if resp, err := http.ReadResponse(bufio.NewReader(last), nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the one that waited: %v, %v", resp, err)
	}
	// The end comes before theirs.
	for range 2 * most {
		dial()
	}
	full()
	go srv.Close()
	select {
	case err := <-served:
		if err != http.ErrServerClosed {
			t.Error(err)
		}
	case <-time.After(maxReadHeader * 3 / 4):
		t.Error("the server waits for connections")
	}
}
