// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// hostile returns a body that is not answered with 200.
func hostile(rng *rand.Rand, l *testLog, i int) []byte {
	good := l.request(0, 10, 12)
	body := good.Bytes()
	switch i % 8 {
	case 0: // any bytes
		body = make([]byte, rng.IntN(checkpoint.MaxRequest+100))
		for j := range body {
			body[j] = byte(rng.Uint32())
		}
	case 1: // one other byte
		body[rng.IntN(len(body)-90)] ^= 1 << rng.IntN(7)
	case 2: // very many signatures
		n := l.note(l.tree(0, 12))
		for j := range 60 {
			n.Signatures = append(n.Signatures, checkpoint.Signature{Name: fmt.Sprintf("%d.example", j), ID: uint32(j), Bytes: make([]byte, 1500)})
		}
		n.Signatures = append(n.Signatures[1:], n.Signatures[:1]...)
		body = checkpoint.AddRequest{Old: 9, Note: n.Bytes()}.Bytes()
	case 3: // many bad signatures by the log
		n := l.note(l.tree(0, 12))
		n.Signatures[0].Bytes = make([]byte, ed25519.SignatureSize)
		for range 90 {
			n.Signatures = append(n.Signatures, n.Signatures[0])
		}
		body = checkpoint.AddRequest{Old: 10, Note: n.Bytes()}.Bytes()
	case 4: // an origin of its own each time
		text := fmt.Sprintf("%d.stranger.example\n%s", i, strings.Join(strings.Split(string(good.Note), "\n")[1:], "\n"))
		body = checkpoint.AddRequest{Old: 10, Note: []byte(text)}.Bytes()
	case 5: // very many lines
		body = bytes.Repeat([]byte("\n"), checkpoint.MaxRequest)
	case 6: // a very long text of the log's, inconsistent
		n := l.note(tlog.Tree{N: 12, Hash: tlog.Hash{byte(i), byte(i >> 8)}}, strings.Repeat("x", 50_000))
		body = checkpoint.AddRequest{Old: 10, Proof: make([]tlog.Hash, 63), Note: n.Bytes()}.Bytes()
	case 7: // equivocation, another each time
		n := l.note(tlog.Tree{N: 10, Hash: tlog.Hash{byte(i), byte(i >> 8)}})
		body = checkpoint.AddRequest{Old: 10, Note: n.Bytes()}.Bytes()
	}
	return body
}

// TestHostile has clients send 10,000 bad requests. Each is answered with one
// line, nothing is stored, and no memory stays behind.
func TestHostile(t *testing.T) {
	requests := 2_000
	if thorough() && !withRace() {
		requests = 10_000
	}
	l, calm := newTestLog("a.example"), newTestLog("b.example")
	r := newRig(t, l, calm)
	r.mustAdd(l, 0, 0, 10)
	server := httptest.NewServer(r.w)
	defer server.Close()
	client := server.Client()
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 16
	send := func(from, to int) {
		var wg sync.WaitGroup
		var next atomic.Int64
		next.Store(int64(from))
		for c := range 16 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(from), uint64(c)))
				for i := next.Add(1); i <= int64(to); i = next.Add(1) {
					resp, err := client.Post(server.URL+"/add-checkpoint", "", bytes.NewReader(hostile(rng, l, int(i))))
					if err != nil {
						continue // the server need not read all of what is too large
					}
					body, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err != nil || resp.StatusCode < 400 || resp.StatusCode >= 500 || len(body) > 400 || bytes.Count(body, []byte("\n")) != 1 {
						t.Errorf("kind %d: status %d, %q, %v", i%8, resp.StatusCode, body, err)
					}
				}
			})
		}
		wg.Wait()
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	send(0, 1_000) // fills pools and the evidence
	before := heap()
	send(1_000, 1_000+requests)
	if after := heap(); after > before+2<<20 {
		t.Errorf("%d bytes of memory after %d requests more, %d before", after, requests, before)
	}
	if got := r.head(l); got != l.tree(0, 10) {
		t.Errorf("at %v", got)
	}
	if got := r.head(calm); got != (tlog.Tree{}) {
		t.Errorf("at %v", got)
	}
	if got := r.kept(); len(got) != 64 {
		t.Errorf("%d files of evidence", len(got))
	}
	r.mustAdd(l, 0, 10, 12)
	r.mustAdd(calm, 0, 0, 5)
}

func FuzzAdd(f *testing.F) {
	l := newTestLog("a.example")
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 8 {
		if body := hostile(rng, l, i); len(body) < 4<<10 {
			f.Add(body)
		}
	}
	f.Add(l.request(0, 0, 10).Bytes())
	f.Add(l.request(0, 10, 12).Bytes())
	f.Add(l.request(0, 10, 10).Bytes())
	r := newRigIn(f, memoryDir(f), l)
	r.mustAdd(l, 0, 0, 10)
	f.Fuzz(func(t *testing.T, body []byte) {
		resp := post(r.w, "/add-checkpoint", string(body))
		switch resp.StatusCode {
		case 200, 400, 403, 404, 409, 413, 422:
		default:
			t.Errorf("status %d", resp.StatusCode)
		}
		if head, _ := r.w.Head(l.origin); head != l.tree(0, 10) && head != l.tree(0, 12) {
			t.Errorf("at %v", head)
		}
	})
}

func FuzzSubtree(f *testing.F) {
	l := newTestLog("a.example")
	r := newRigIn(f, memoryDir(f), l)
	r.cosigners = append(r.cosigners, mldsaCosigner(f, witnessName))
	r.restart()
	n := l.note(l.tree(0, 12))
	n.Signatures = r.mustAdd(l, 0, 0, 12)[:1]
	f.Add(subtreeRequest(f, l, n).Bytes())
	f.Fuzz(func(t *testing.T, body []byte) {
		switch resp := post(r.w, "/sign-subtree", string(body)); resp.StatusCode {
		case 200, 400, 403, 404, 413, 422:
		default:
			t.Errorf("status %d", resp.StatusCode)
		}
	})
}
