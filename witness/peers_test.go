// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/witness/state"
)

// A peer answers monitoring requests with what it is told to.
type peer struct {
	*httptest.Server
	asked  atomic.Int64
	answer func(rw http.ResponseWriter, path string)
}

func newPeer(t *testing.T, answer func(rw http.ResponseWriter, path string)) *peer {
	p := &peer{answer: answer}
	p.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		p.answer(rw, r.URL.Path)
	}))
	t.Cleanup(p.Close)
	return p
}

// shows answers with notes, by their origin.
func shows(notes ...checkpoint.Note) func(http.ResponseWriter, string) {
	return func(rw http.ResponseWriter, path string) {
		for _, n := range notes {
			origin, _, _ := strings.Cut(n.Text, "\n")
			if path == fmt.Sprintf("/%x/checkpoint", sha256.Sum256([]byte(origin))) {
				rw.Write(n.Bytes())
				return
			}
		}
		rw.WriteHeader(http.StatusNotFound)
	}
}

func status(code int) func(http.ResponseWriter, string) {
	return func(rw http.ResponseWriter, _ string) { rw.WriteHeader(code) }
}

// cosigned returns a note with a cosignature of ours.
func (r *rig) cosigned(l *testLog, t tlog.Tree, at int64) checkpoint.Note {
	r.t.Helper()
	sig, err := r.cosigners[0].Cosign(checkpoint.Checkpoint{Origin: l.origin, Size: t.N, Root: t.Hash}, at)
	if err != nil {
		r.t.Fatal(err)
	}
	n := l.note(t)
	n.Signatures = append(n.Signatures, sig)
	return n
}

func TestPeersAnswer(t *testing.T) {
	l := newTestLog("a.example")
	stranger := newTestLog("b.example")
	foreign := l.note(l.tree(0, 9))
	foreign.Signatures = []checkpoint.Signature{stranger.sign(foreign.Text)}
	otherOrigin := stranger.note(stranger.tree(0, 9))
	otherOrigin.Signatures = []checkpoint.Signature{l.sign(otherOrigin.Text)}
	for _, tt := range []struct {
		name   string
		answer func(http.ResponseWriter, string)
		counts bool
	}{
		{"404", status(404), true},
		{"what we have", shows(l.note(l.tree(0, 5))), true},
		{"less", shows(l.note(l.tree(0, 3))), true},
		{"500", status(500), false},
		{"403", status(403), false},
		{"garbage", func(rw http.ResponseWriter, _ string) { rw.Write([]byte("garbage")) }, false},
		{"endless", func(rw http.ResponseWriter, _ string) {
			for {
				if _, err := rw.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, false},
		{"another key's", shows(foreign), false},
		{"another log's", func(rw http.ResponseWriter, _ string) { rw.Write(otherOrigin.Bytes()) }, false},
		{"redirect", func(rw http.ResponseWriter, _ string) {
			rw.Header().Set("Location", "/elsewhere")
			rw.WriteHeader(http.StatusFound)
		}, false},
	} {
		r := newRig(t, l)
		r.mustAdd(l, 0, 0, 5)
		dead := newPeer(t, nil)
		dead.Close()
		p := newPeer(t, tt.answer)
		r.restart(dead.URL, p.URL+"/")
		want := http.StatusServiceUnavailable
		if tt.counts {
			want = http.StatusOK
		}
		if got, _ := r.add(l.request(0, 5, 7)); got != want {
			t.Errorf("%s: status %d, not %d", tt.name, got, want)
		}
		if tt.counts {
			r.mustAdd(l, 0, 7, 8)
		} else {
			// It is asked again, but not for each request.
			r.add(l.request(0, 5, 7))
			r.clock.Add(10)
			p.answer = status(404)
			r.mustAdd(l, 0, 5, 7)
		}
		if got := p.asked.Load(); tt.counts && got != 1 || !tt.counts && got != 2 {
			t.Errorf("%s: asked %d times", tt.name, got)
		}
		select {
		case err := <-r.w.Failed():
			t.Errorf("%s: %v", tt.name, err)
		default:
		}
	}
}

// TestPeersUnsigned: nobody but the log makes the witness ask.
func TestPeersUnsigned(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	p := newPeer(t, status(404))
	r.restart(p.URL)
	req := l.request(0, 0, 5)
	req.Note = l.note(tlog.Tree{N: 5}).Bytes()
	req.Note[len(req.Note)-20] ^= 1
	r.add(req)
	if got := p.asked.Load(); got != 0 {
		t.Errorf("asked %d times", got)
	}
	// All that wait are served by one question.
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { r.w.Add(t.Context(), l.request(0, 0, int64(i)+1).Bytes()) })
	}
	wg.Wait()
	if got := p.asked.Load(); got != 1 {
		t.Errorf("asked %d times", got)
	}
}

// TestRollback: a peer shows a cosignature that the state does not know.
func TestRollback(t *testing.T) {
	l := newTestLog("a.example")
	for _, tt := range []struct {
		name     string
		state    int64 // size in the state, at startTime; -1: none
		note     func(r *rig) checkpoint.Note
		rollback bool
	}{
		{"larger", 5, func(r *rig) checkpoint.Note { return r.cosigned(l, l.tree(0, 6), startTime-50) }, true},
		{"never seen", -1, func(r *rig) checkpoint.Note { return r.cosigned(l, l.tree(0, 0), startTime) }, true},
		{"another root", 5, func(r *rig) checkpoint.Note { return r.cosigned(l, l.tree(2, 5), startTime) }, true},
		{"later", 5, func(r *rig) checkpoint.Note { return r.cosigned(l, l.tree(0, 5), startTime+1) }, true},
		{"known", 5, func(r *rig) checkpoint.Note { return r.cosigned(l, l.tree(0, 5), startTime) }, false},
		{"older", 5, func(r *rig) checkpoint.Note { return r.cosigned(l, l.tree(0, 4), startTime-1) }, false},
		{"in our name", 5, func(r *rig) checkpoint.Note {
			n := r.cosigned(l, l.tree(0, 6), startTime)
			n.Signatures[1].Bytes[20] ^= 1
			return n
		}, false},
		{"in our name and ours", 5, func(r *rig) checkpoint.Note {
			n := r.cosigned(l, l.tree(0, 6), startTime)
			n.Signatures = append(n.Signatures, checkpoint.Signature{Name: n.Signatures[1].Name, ID: n.Signatures[1].ID, Bytes: make([]byte, 72)})
			return n
		}, true},
	} {
		r := newRig(t, l)
		if tt.state >= 0 {
			r.mustAdd(l, 0, 0, tt.state)
		}
		r.restart(newPeer(t, shows(tt.note(r))).URL)
		got, _ := r.add(l.request(0, max(tt.state, 0), 9))
		if tt.rollback != (got == http.StatusServiceUnavailable) {
			t.Errorf("%s: status %d", tt.name, got)
		}
		var err error
		select {
		case err = <-r.w.Failed():
		default:
		}
		if tt.rollback != errors.Is(err, state.ErrUnsafe) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.rollback {
			if head := r.head(l); head.N != max(tt.state, 0) {
				t.Errorf("%s: cosigned %v", tt.name, head)
			}
		}
	}
}

// TestFloor: a peer has seen more, which we have not cosigned.
func TestFloor(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	r.mustAdd(l, 0, 0, 5)
	low := newPeer(t, shows(l.note(l.tree(0, 8))))
	high := newPeer(t, shows(l.note(l.tree(0, 10))))
	for _, tt := range []struct {
		req    checkpoint.AddRequest
		status int
	}{
		{l.request(0, 5, 5), 503},
		{l.request(0, 5, 9), 503},
		{l.request(0, 0, 9), 503},
		{l.request(0, 0, 12), 409},
		{l.request(7, 5, 10), 422}, // consistent with the state, but not with the peer
		{l.request(0, 5, 10), 200},
		{l.request(0, 10, 10), 200},
		{l.request(0, 10, 11), 200},
	} {
		if tt.status != 200 || tt.req.Old == 5 {
			r.restart(low.URL, high.URL, low.URL)
		}
		got, _ := r.add(tt.req)
		if got != tt.status {
			t.Errorf("from %d: status %d, not %d", tt.req.Old, got, tt.status)
		}
	}
	if got := r.kept(); len(got) != 1 || got[0].Kind() != evidence.Equivocation {
		t.Errorf("%v", got)
	}
	// Peers that exclude each other, and the state.
	other := newPeer(t, shows(l.note(l.tree(3, 11))))
	third, fourth := newPeer(t, shows(l.note(l.tree(0, 20)))), newPeer(t, shows(l.note(l.tree(4, 20))))
	r.restart(other.URL, third.URL, fourth.URL)
	if got, _ := r.add(l.request(0, 11, 20)); got != 200 {
		t.Errorf("status %d", got)
	}
	if got := r.kept(); len(got) != 3 {
		t.Errorf("%d files: %v", len(got), got)
	}
}

// TestAboveFloor: what is larger than a peer's checkpoint must follow on it and
// on the state, by two proofs for one tree.
func TestAboveFloor(t *testing.T) {
	l := newTestLog("a.example")
	type step struct {
		req    checkpoint.AddRequest
		status int
		size   int64 // of a conflict
	}
	for name, steps := range map[string][]step{
		"from the state first": {
			{l.request(0, 5, 12), 409, 10}, {l.request(0, 10, 12), 200, 0}, {l.request(0, 12, 14), 200, 0},
		},
		"from the floor first": {
			{l.request(0, 10, 12), 409, 5}, {l.request(0, 5, 12), 409, 10}, {l.request(0, 10, 12), 200, 0},
		},
		"from nowhere": {
			{l.request(0, 0, 12), 409, 5}, {l.request(0, 7, 12), 409, 5}, {l.request(0, 11, 12), 409, 5},
		},
		"proofs for different trees": {
			{l.request(0, 5, 12), 409, 10}, {l.request(0, 10, 13), 409, 5},
			{l.request(0, 5, 13), 409, 10}, {l.request(0, 10, 12), 409, 5},
		},
		// It parted from the peer's history at 7, behind the state.
		"a fork above the floor": {
			{l.request(7, 5, 12), 409, 10}, {l.request(7, 10, 12), 422, 0}, {l.request(0, 5, 12), 409, 10}, {l.request(0, 10, 12), 200, 0},
		},
		// It parted from the state's history, and goes on from a peer that was
		// shown the same fork.
		"the peer's fork": {{l.request(3, 5, 12), 422, 0}, {l.request(3, 10, 12), 422, 0}},
	} {
		r := newRig(t, l)
		r.mustAdd(l, 0, 0, 5)
		r.restart(newPeer(t, shows(l.note(l.tree(0, 10)))).URL)
		for i, s := range steps {
			got, size := r.answer(s.req)
			if got != s.status || size != s.size {
				t.Errorf("%s, step %d, from %d: %d %d, want %d %d", name, i, s.req.Old, got, size, s.status, s.size)
			}
		}
	}
	// A witness that has cosigned nothing follows on the floor alone.
	r := newRig(t, l)
	r.restart(newPeer(t, shows(l.note(l.tree(0, 10)))).URL)
	for _, s := range []step{{l.request(0, 0, 12), 409, 10}, {l.request(7, 10, 12), 422, 0}, {l.request(0, 10, 12), 200, 0}} {
		if got, size := r.answer(s.req); got != s.status || size != s.size {
			t.Errorf("new witness, from %d: %d %d, want %d %d", s.req.Old, got, size, s.status, s.size)
		}
	}
	// And one whose state is a fork of what the peer shows follows on neither.
	r = newRig(t, l)
	r.mustAdd(l, 3, 0, 5)
	r.restart(newPeer(t, shows(l.note(l.tree(0, 10)))).URL)
	for _, s := range []step{{l.request(3, 5, 12), 409, 10}, {l.request(3, 10, 12), 422, 0}, {l.request(0, 5, 12), 422, 0}, {l.request(0, 10, 12), 409, 5}} {
		if got, size := r.answer(s.req); got != s.status || size != s.size {
			t.Errorf("forked, from %d: %d %d, want %d %d", s.req.Old, got, size, s.status, s.size)
		}
	}
}

// TestFloorReplay: a stranger who repeats an older checkpoint between the two
// halves of the log's newest does not undo the first; and a floor that the state has
// passed is none any more.
func TestFloorReplay(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	r.mustAdd(l, 0, 0, 5)
	r.restart(newPeer(t, shows(l.note(l.tree(0, 10)))).URL)
	for _, s := range []struct {
		from, to int64
		status   int
		size     int64
	}{{5, 20, 409, 10}, {5, 12, 409, 10}, {10, 20, 200, 0}, {5, 9, 409, 20}} {
		if got, size := r.answer(l.request(0, s.from, s.to)); got != s.status || size != s.size {
			t.Errorf("from %d to %d: %d %d, want %d %d", s.from, s.to, got, size, s.status, s.size)
		}
	}
}

// answer is what the witness answers to a request: a status, and with 409 a size.
func (r *rig) answer(req checkpoint.AddRequest) (status int, size int64) {
	_, err := r.w.Add(r.t.Context(), req.Bytes())
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		return refusal.Status, refusal.Size
	}
	return http.StatusOK, 0
}

func TestPeerURLs(t *testing.T) {
	r := newRig(t)
	for _, p := range []string{"", "x", "ftp://h.example", "http://", "http://a b"} {
		if w, err := New(Config{Name: "x", Cosigners: r.cosigners, Store: r.store, Peers: []string{p}}); err == nil {
			w.Close()
			t.Errorf("peer %q was taken", p)
		}
	}
}
