// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"
)

// TestPatience counts what keeps readers waiting, and nothing else.
func TestPatience(t *testing.T) {
	busy := func(after time.Duration) error { return &StatusError{"u", http.StatusServiceUnavailable, after} }
	for _, tt := range []struct {
		name       string
		took, slow time.Duration
		err        error
		want       time.Duration // of a minute that was lost before
	}{
		{"in time", time.Second, -time.Second, nil, time.Minute - regained},
		{"a long wait for an answer", 29 * time.Second, -time.Second, nil, time.Minute - regained},
		{"a slow body", 20 * time.Second, 15 * time.Second, nil, time.Minute + 15*time.Second},
		{"a timeout", 30 * time.Second, 0, context.DeadlineExceeded, time.Minute + 30*time.Second + leastWait},
		{"broken", 0, 0, busy(0), time.Minute + leastWait},
		{"come back later", 0, 0, busy(50 * time.Second), time.Minute + 50*time.Second + leastWait},
		{"come back tomorrow", 0, 0, busy(20 * time.Hour), time.Minute + leastWait}, // nobody waits for that
		{"absent", time.Second, 0, &StatusError{"u", http.StatusNotFound, 0}, time.Minute},
		{"too large", time.Second, 0, ErrTooLarge, time.Minute},
	} {
		p := &patience{most: time.Hour, lost: map[string]time.Duration{"a": time.Minute}}
		p.waited("a", tt.took, tt.slow, tt.err)
		if p.lost["a"] != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, p.lost["a"], tt.want)
		}
	}
	p := &patience{most: time.Minute}
	p.waited("a", 0, 0, nil) // is not saved up
	for range 2 {
		if err := p.left("a"); err != nil {
			t.Error(err)
		}
		p.waited("a", 30*time.Second, 0, context.DeadlineExceeded)
	}
	if err := p.left("a"); !errors.Is(err, ErrImpatient) || passes(err) {
		t.Errorf("error %v", err)
	}
	if err := p.left("b"); err != nil {
		t.Errorf("another host: %v", err)
	}
	h := NewHTTP(HTTPConfig{})
	defer h.Close()
	h.patience.waited("a", time.Hour, 0, context.DeadlineExceeded)
	if err := h.patience.left("a"); err != nil {
		t.Errorf("by default: %v", err)
	}
	h.patience.most = time.Minute
	if h.Forgive(); h.patience.left("a") != nil {
		t.Error("nothing was forgiven")
	}
}
