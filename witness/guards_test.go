// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/sqlite"
	"example.org/sumlog/witness/state"
)

// TestStoreFails: once it is not known what is on the disk, the process hears that
// it has to end.
func TestStoreFails(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	r.mustAdd(l, 0, 0, 5)
	c, err := sqlite.Open(filepath.Join(r.dir, "witness.db"), "rw")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Exec("DROP TABLE heads"); err != nil {
		t.Fatal(err)
	}
	if status, _ := r.add(l.request(0, 5, 6)); status != 503 {
		t.Errorf("status %d", status)
	}
	if err := <-r.w.Failed(); !errors.Is(err, state.ErrUnsafe) {
		t.Errorf("%v", err)
	}
}

// TestEndlessBody sends a body that does not say how long it is, and is without
// end. It is read no further than any request may be long.
func TestEndlessBody(t *testing.T) {
	r := newRig(t)
	body := &countingReader{Reader: endless{}}
	req := httptest.NewRequest("POST", "/add-checkpoint", body)
	req.ContentLength = -1
	rec := httptest.NewRecorder()
	r.w.ServeHTTP(rec, req)
	if rec.Code != 413 {
		t.Errorf("status %d", rec.Code)
	}
	if body.n > 2*checkpoint.MaxRequest {
		t.Errorf("%d bytes were read", body.n)
	}
}

// endless is a body of many megabytes.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return copy(b, strings.Repeat("x", len(b))), nil }

type countingReader struct {
	io.Reader
	n int
}

func (c *countingReader) Read(b []byte) (int, error) {
	if c.n > 1<<24 {
		return 0, io.EOF
	}
	n, err := c.Reader.Read(b)
	c.n += n
	return n, err
}

// TestSubtreeFork shows the witness a cosignature of its own for another root of
// the size that the state is at: two states have lived.
func TestSubtreeFork(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	r.cosigners = append(r.cosigners, mldsaCosigner(t, witnessName))
	r.restart()
	r.mustAdd(l, 0, 0, 12)
	req := subtreeRequest(t, l, r.cosigned(l, l.tree(3, 12), startTime))
	if _, err := r.w.SignSubtree(context.Background(), req.Bytes()); statusOf(err) != 503 {
		t.Errorf("%v", err)
	}
	select {
	case err := <-r.w.Failed():
		if !errors.Is(err, state.ErrUnsafe) {
			t.Errorf("%v", err)
		}
	default:
		t.Error("it goes on")
	}
}

// TestFutureClock: a clock that was far ahead once leaves a time that stands still.
func TestFutureClock(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	r.clock.Add(1000)
	r.mustAdd(l, 0, 0, 5)
	r.clock.Add(-1000)
	r.restart()
	if !strings.Contains(r.logged.String(), "of the future") {
		t.Error("nobody was told")
	}
}

// TestStopBeforeAnswer: what was proven while a checkpoint was being stored keeps
// its cosignature back.
func TestStopBeforeAnswer(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	r.w.config.hook = func(point string) {
		if point == "stored" {
			r.w.fail(fmt.Errorf("%w: test", state.ErrUnsafe))
		}
	}
	if got, _ := r.add(l.request(0, 0, 5)); got != http.StatusServiceUnavailable {
		t.Errorf("status %d", got)
	}
}

// TestEndlessPeer: of a peer that sends without end no more is read than a note
// can have.
func TestEndlessPeer(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	var sent atomic.Int64
	done := make(chan struct{})
	p := newPeer(t, func(rw http.ResponseWriter, _ string) {
		defer close(done)
		for sent.Load() < 64<<20 {
			n, err := rw.Write(make([]byte, 64<<10))
			if err != nil {
				return
			}
			sent.Add(int64(n))
		}
	})
	r.restart(p.URL)
	if got, _ := r.add(l.request(0, 0, 5)); got != http.StatusServiceUnavailable {
		t.Errorf("status %d", got)
	}
	<-done
	// The rest are buffers of the two ends.
	if n := sent.Load(); n > 32<<20 {
		t.Errorf("%d bytes were taken", n)
	}
}

// TestNotSniffed: no browser takes a refusal, which quotes what it was sent, for
// anything but text.
func TestNotSniffed(t *testing.T) {
	r := newRig(t)
	rec := httptest.NewRecorder()
	r.w.ServeHTTP(rec, httptest.NewRequest("POST", "/add-checkpoint", strings.NewReader("<html>")))
	if got := rec.Header().Get("X-Content-Type-Options"); rec.Code != http.StatusBadRequest || got != "nosniff" {
		t.Errorf("%d %q", rec.Code, got)
	}
}

// TestRacingForks submits 64 trees of one size that exclude each other, all at
// once: one is cosigned, and is what the state has.
func TestRacingForks(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	r.mustAdd(l, 0, 0, 5)
	requests := make([]checkpoint.AddRequest, 64)
	for i := range requests {
		requests[i] = l.request(int64(5+i), 5, 100)
	}
	status := make([]int, len(requests))
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for i, req := range requests {
		wg.Go(func() {
			<-begin
			_, err := r.w.Add(t.Context(), req.Bytes())
			if refusal, ok := errors.AsType[*Refusal](err); ok {
				status[i] = refusal.Status
			}
		})
	}
	close(begin)
	wg.Wait()
	won := -1
	for i, s := range status {
		switch {
		case s == 0 && won < 0:
			won = i
		case s == 0:
			t.Errorf("forks %d and %d were both cosigned", won, i)
		case s != http.StatusConflict:
			t.Errorf("fork %d: status %d", i, s)
		}
	}
	if won < 0 {
		t.Fatal("none was cosigned")
	}
	if want := l.tree(int64(5+won), 100); r.head(l) != want {
		t.Errorf("the state has %v, not the winner's %v", r.head(l), want)
	}
}
