// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/sumlog/internal/checkpoint"
)

// TestRace has clients submit what excludes each other: one wins, at each size.
func TestRace(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	server := httptest.NewServer(r.w)
	defer server.Close()
	const clients = 64
	size := int64(0)
	for round := range 5 {
		bodies := make([][]byte, clients)
		for i := range bodies {
			// Branches that part after what was cosigned.
			bodies[i] = l.request(0, size, size+1+int64(i)).Bytes()
		}
		statuses := make([]int, clients)
		var wg sync.WaitGroup
		begin := make(chan struct{})
		for i := range clients {
			wg.Go(func() {
				<-begin
				resp, err := server.Client().Post(server.URL+"/add-checkpoint", "", bytes.NewReader(bodies[i]))
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				statuses[i] = resp.StatusCode
			})
		}
		close(begin)
		wg.Wait()
		won := 0
		for i, s := range statuses {
			switch s {
			case 200:
				won++
				size += 1 + int64(i)
			case 409:
			default:
				t.Errorf("round %d: client %d got %d", round, i, s)
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d winners", round, won)
		}
		if got := r.head(l); got != l.tree(0, size) {
			t.Fatalf("round %d: at %v", round, got)
		}
	}
}

// TestFlood has requests of one log hang about; others pass.
func TestFlood(t *testing.T) {
	a, b := newTestLog("a.example"), newTestLog("b.example")
	r := newRig(t, a, b)
	r.w.logs[a.origin].verifying.Store(maxVerifying)
	resp := post(r.w, "/add-checkpoint", string(a.request(0, 0, 1).Bytes()))
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("status %d", resp.StatusCode)
	}
	r.mustAdd(b, 0, 0, 1)
	if got := r.w.logs[a.origin].verifying.Load(); got != maxVerifying {
		t.Errorf("%d verifying", got)
	}
	r.w.logs[a.origin].verifying.Store(0)
	r.mustAdd(a, 0, 0, 1)
	if got := r.w.logs[a.origin].verifying.Load(); got != 0 {
		t.Errorf("%d verifying", got)
	}
}

// TestLargeBodies has clients that hold all slots for large bodies. Small ones,
// as all are of logs with Ed25519 keys, pass.
func TestLargeBodies(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	for range maxLarge {
		r.w.large <- struct{}{}
	}
	if resp := post(r.w, "/add-checkpoint", string(l.request(0, 0, 5).Bytes())); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	n := l.note(l.tree(0, 7), strings.Repeat("x", maxSmall))
	large := string(checkpoint.AddRequest{Old: 5, Proof: l.proof(nil, 5, 7), Note: n.Bytes()}.Bytes())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	rec := httptest.NewRecorder()
	r.w.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, "POST", "/add-checkpoint", strings.NewReader(large)))
	if rec.Code != 503 {
		t.Errorf("status %d", rec.Code)
	}
	<-r.w.large
	if resp := post(r.w, "/add-checkpoint", large); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if n := len(r.w.large); n != maxLarge-1 {
		t.Errorf("%d slots are taken", n)
	}
}

// TestSlow has a client that sends a part of a body and no more.
func TestSlow(t *testing.T) {
	if !thorough() {
		t.Skip("takes 10 s; CI=true or SUMLOG_LONG=1 runs it")
	}
	r := newRig(t)
	server := httptest.NewServer(r.w)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	io.WriteString(conn, "POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 200\r\n\r\nold 0\n")
	conn.SetReadDeadline(began.Add(3 * maxRead))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the connection was held for %v: %v", time.Since(began), err)
	}
}
