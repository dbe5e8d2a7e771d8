// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"net/http/httptest"
	"net/netip"
	"testing"

	"example.org/sumlog/internal/lanes"
)

func TestClient(t *testing.T) {
	for _, tt := range []struct {
		peer string
		xff  []string
		want string
	}{
		{"192.0.2.7", nil, "192.0.2.7"},
		{"::ffff:192.0.2.7", nil, "192.0.2.7"},
		{"2001:db8:1:2:3:4:5:6", nil, "2001:db8:1:2::"},
		{"192.0.2.7", []string{"198.51.100.1"}, "192.0.2.7"}, // not from a proxy here
		{"127.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"::1", []string{"10.0.0.1, 2001:db8::9"}, "2001:db8::"},
		{"127.0.0.1", []string{"198.51.100.1", "198.51.100.2"}, "198.51.100.2"},
		{"127.0.0.1", []string{"unknown"}, "127.0.0.1"},
		{"127.0.0.1", []string{""}, "127.0.0.1"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["X-Forwarded-For"] = tt.xff
		r = r.WithContext(lanes.WithClient(r.Context(), clientKey(netip.MustParseAddr(tt.peer))))
		if got := lanes.ClientOf(forwarded(r).Context()); got != tt.want {
			t.Errorf("of %s, forwarded for %q: %s, want %s", tt.peer, tt.xff, got, tt.want)
		}
	}
}
