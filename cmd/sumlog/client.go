// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"example.org/sumlog/internal/lanes"
	"example.org/sumlog/internal/listen"
)

// Work that a client causes is counted as its address's: of what all share, each
// address has a part. See package lanes.

// withClient makes a connection's requests know their client. It is once a
// connection, so that a request pays nothing.
func withClient(ctx context.Context, conn net.Conn) context.Context {
	peer, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return ctx
	}
	return lanes.WithClient(ctx, clientKey(peer.Addr()))
}

// clientKey names the client that an address belongs to. What is on this machine
// stays apart, for it may be a proxy.
func clientKey(a netip.Addr) string {
	if a = a.Unmap().WithZone(""); a.IsLoopback() {
		return a.String()
	}
	return listen.Client(a).String()
}

// forwarded returns r as of the client that a reverse proxy on this machine names:
// in the last X-Forwarded-For, which is the proxy's own, where what stands before it
// is anybody's. From elsewhere the header counts for nothing.
func forwarded(r *http.Request) *http.Request {
	values := r.Header["X-Forwarded-For"]
	if len(values) == 0 {
		return r
	}
	peer, err := netip.ParseAddr(lanes.ClientOf(r.Context()))
	if err != nil || !peer.IsLoopback() {
		return r
	}
	last := values[len(values)-1]
	a, err := netip.ParseAddr(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]))
	if err != nil {
		return r
	}
	return r.WithContext(lanes.WithClient(r.Context(), clientKey(a)))
}
