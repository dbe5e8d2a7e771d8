// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package quorum

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/sumlog/internal/checkpoint"
)

// Over real sockets: connections are kept, redirects are not followed, what is
// too long is not read, and a port where nobody listens is told.
func TestSockets(t *testing.T) {
	l := newLog(100)
	ws := []*fakeWitness{newWitness("a", false), newWitness("b", true), newWitness("c", false), newWitness("d", false), newWitness("e", false)}
	ws[2].set(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/a/add-checkpoint", http.StatusPermanentRedirect)
	})
	var sent atomic.Int64
	stopped := make(chan bool, 1)
	ws[3].set(func(w http.ResponseWriter, r *http.Request) {
		for {
			n, err := io.WriteString(w, strings.Repeat("— x AAAAAAA=\n", 1000))
			sent.Add(int64(n))
			if err != nil || sent.Load() > 50<<20 {
				stopped <- true
				return
			}
		}
	})
	n := make(network)
	for _, w := range ws {
		n[w.name] = w
	}
	var conns atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n[strings.Split(r.URL.Path, "/")[1]].ServeHTTP(w, r)
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + free.Addr().String()
	free.Close()

	p := policyOf(t, server.URL, ws, "group g all a b\nquorum g\n")
	p.Witnesses[4].URL = nobody
	q, err := New(Config{Policy: p, Log: l.key})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if seen, err := q.Seen(t.Context(), nil); err != nil || len(seen) > 0 {
		t.Fatalf("%v, %v", seen, err)
	}
	for size := int64(10); size <= 50; size += 10 {
		note, err := q.Cosign(t.Context(), l.request(size), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := cosigned(t, ws, note, l.checkpoint(size)); got != "a b" {
			t.Errorf("cosigned by %q", got)
		}
	}
	<-stopped
	if sent.Load() > 40<<20 {
		t.Errorf("%d bytes were taken", sent.Load())
	}
	// Ten requests of a and b, and a few of the others.
	if n := conns.Load(); n > 8 {
		t.Errorf("%d connections", n)
	}
	q.Close() // waits for the others
	v := values(t, q)
	for _, key := range []string{"requests_total c refused", "requests_total d garbage", "requests_total e unreachable"} {
		if v[key] < 1 {
			t.Errorf("%s = %v", key, v[key])
		}
	}
	if ws[0].gets != 1 || len(ws[0].asked()) != 5 {
		t.Error("a was asked through the redirect")
	}
}

// An error is one short line, whoever wrote it.
func TestErrorsAreShort(t *testing.T) {
	m := &member{base: "http://witness.example", q: &Quorum{client: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("a\nb\x00\u2028c" + strings.Repeat("x", 1000))
	})}}}
	_, err := m.do(t.Context(), http.MethodGet, "/", nil)
	if err == nil || !strings.HasPrefix(err.Error(), `unreachable: a\nb\x00\u2028c`) || len(err.Error()) > 300 {
		t.Errorf("%q", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Whatever comes, a cosignature that is taken verifies, is of our time, and a
// size that is taken is written in its one way.
func FuzzAnswer(f *testing.F) {
	l := newLog(100)
	w := newWitness("a", false)
	cp := l.checkpoint(50)
	f.Add(200, "", []byte(must(w.cosigner.Cosign(cp, 5)).String()))
	f.Add(200, "", []byte(must(w.cosigner.Cosign(cp, time.Now().Unix()+100000)).String()))
	f.Add(200, "", []byte("— x AAAAAAA=\n"+must(w.cosigner.Cosign(cp, 5)).String()))
	f.Add(409, "text/x.tlog.size", []byte("7\n"))
	f.Add(409, "text/x.tlog.size", []byte("9223372036854775807\n"))
	f.Add(409, "text/plain", []byte("7\n"))
	f.Add(422, "text/plain", []byte("bad\r\n"))
	f.Add(429, "", []byte{0xff, 0})
	r := &round{checkpoint: cp, text: cp.Text()}
	m := &member{}
	m.Key = w.cosigner.Key()
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		sig, size, err := m.understand(&answer{status: status, kind: kind, body: body}, r, 3)
		var fl *failure
		switch {
		case err == nil:
			at, _ := sig.Time()
			if status != 200 || !m.Key.Verify(cp.Text(), sig.Bytes) || at <= 0 || at > time.Now().Add(maxFuture).Unix() {
				t.Errorf("took %v", sig)
			}
			n := checkpoint.Note{Text: cp.Text(), Signatures: []checkpoint.Signature{sig}}
			if _, err := checkpoint.ParseNote(n.Bytes()); err != nil {
				t.Error(err)
			}
		case !errors.As(err, &fl):
			t.Errorf("%v", err)
		case fl.outcome == conflict:
			if status != 409 || kind != "text/x.tlog.size" || size < 0 || size > cp.Size || string(body) != fmt.Sprintln(size) {
				t.Errorf("took %d from %q", size, body)
			}
		}
		if err != nil && (strings.ContainsAny(err.Error(), "\r\n\x00") || len(err.Error()) > 1000) {
			t.Errorf("%q", err)
		}
	})
}
