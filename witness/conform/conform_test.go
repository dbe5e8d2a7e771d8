// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"golang.org/x/mod/sumdb/tlog"
)

// runAll runs the suite and returns the results by name.
func runAll(t *testing.T, cfg Config) (map[string]Result, Summary) {
	t.Helper()
	got := make(map[string]Result)
	sum, err := Run(t.Context(), cfg, func(r Result) { got[r.Name] = r })
	if err != nil {
		t.Fatal(err)
	}
	return got, sum
}

func TestCorrectWitness(t *testing.T) {
	t.Parallel()
	w := newFake(t, "")
	got, sum := runAll(t, w.config(t))
	for _, c := range Cases() {
		if r := got[c.Name]; r.Status != Pass {
			t.Errorf("%s: %s %s", c.Name, r.Status, r.Detail)
		}
	}
	if sum.Passed != len(Cases()) || sum.Failed+sum.Skipped != 0 {
		t.Errorf("%v", sum)
	}
	// Again, and again.
	first := len(firstCases())
	for range 2 {
		got, sum = runAll(t, w.config(t))
		for name, r := range got {
			if r.Status == Fail {
				t.Errorf("again: %s: %s", name, r.Detail)
			}
		}
		if sum.Passed != len(Cases())-first || sum.Skips[string(needsFresh)] != first {
			t.Errorf("again: %v", sum)
		}
	}
}

// many runs tests that mostly wait, more of them at once than there are cores.
type many struct {
	t     *testing.T
	group sync.WaitGroup
	slots chan struct{}
}

func newMany(t *testing.T) *many { return &many{t: t, slots: make(chan struct{}, 12)} }

func (m *many) run(name string, f func(*testing.T)) {
	m.slots <- struct{}{}
	m.group.Go(func() {
		defer func() { <-m.slots }()
		m.t.Run(name, f)
	})
}

func (m *many) wait() { m.group.Wait() }

// wrongs are the witnesses that are wrong in one way, with the case that is there
// to see it. Where the name of the case says it, it is the same.
func wrongs() map[string]string {
	out := make(map[string]string)
	for _, c := range Cases() {
		out[c.Name] = c.Name
	}
	out["clock"] = "refresh-time"
	return out
}

func TestWrongWitnesses(t *testing.T) {
	cases := Cases()
	m := newMany(t)
	defer m.wait()
	for wrong, name := range wrongs() {
		m.run(wrong, func(t *testing.T) {
			w := newFake(t, wrong)
			r, err := newRun(w.config(t))
			if err != nil {
				t.Fatal(err)
			}
			defer r.client.close()
			if err := r.begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(cases, func(c Case) bool { return c.Name == name })
			before := cases[:min(i, len(firstCases()))]
			for _, c := range before {
				if res := r.try(t.Context(), c); res.Status == Fail {
					t.Logf("before: %s: %s", c.Name, res.Detail)
					if err := r.locate(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			w.mu.Lock()
			w.racing = true
			w.mu.Unlock()
			res := r.try(t.Context(), cases[i])
			if res.Status != Fail {
				t.Fatalf("%s: %s %s, want it to fail", name, res.Status, res.Detail)
			}
			t.Log(res.Detail)
			if strings.Contains(res.Detail, errNoAnswer.Error()) {
				t.Errorf("%s failed for another reason", name)
			}
			// The suite finds its way on.
			if err := r.locate(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// No case passes by accident, and no name is used twice.
func TestEachCaseHasAWrongWitness(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range Cases() {
		if seen[c.Name] || c.Rule == "" {
			t.Errorf("case %s: twice, or without a rule", c.Name)
		}
		seen[c.Name] = true
	}
	caught := make(map[string]bool)
	for name := range maps.Values(wrongs()) {
		caught[name] = true
	}
	if !maps.Equal(seen, caught) {
		t.Errorf("cases %v, caught %v", seen, caught)
	}
}

// fresh runs and what they skip.
func TestSkips(t *testing.T) {
	t.Parallel()
	m := newMany(t)
	defer m.wait()
	for _, tc := range []struct {
		name, wrong string
		change      func(*Config)
		skips       []skipped
	}{
		{"no keys", "", func(c *Config) { c.Witness = nil }, []skipped{needsKeys}},
		{"no restart", "", func(c *Config) { c.Restart = nil }, []skipped{needsRestart}},
		{"Ed25519 only", "ed25519", func(c *Config) {}, []skipped{needsMLDSA, notOffered}},
		{"late monitor", "monitor-newest", func(c *Config) { c.MonitorDelay = 0 }, []skipped{"where the monitoring prefix is behind, which it may be for an hour"}},
	} {
		m.run(tc.name, func(t *testing.T) {
			w := newFake(t, tc.wrong)
			cfg := w.config(t)
			tc.change(&cfg)
			_, sum := runAll(t, cfg)
			for _, why := range tc.skips {
				n := sum.Skips[string(why)]
				if n == 0 || !strings.Contains(sum.String(), fmt.Sprintf("%d %s", n, why)) {
					t.Errorf("%v, want some skipped %s", sum, why)
				}
			}
			if len(sum.Skips) != len(tc.skips) || sum.Failed != 0 {
				t.Errorf("%v", sum)
			}
		})
	}
}

// Monitoring is only recommended.
func TestNoMonitor(t *testing.T) {
	t.Parallel()
	w := newFake(t, "no-monitor")
	got, sum := runAll(t, w.config(t))
	if sum.Failed != 1 || sum.Should != 1 || !got["monitor-checkpoint"].Should || sum.Skips[string(noMonitor)] != 5 {
		t.Errorf("%v", sum)
	}
	out, err := json.Marshal(got["monitor-checkpoint"])
	if err != nil || !strings.Contains(string(out), `"status":"fail","should":true,"detail":"nothing is served`) {
		t.Errorf("%s, %v", out, err)
	}
}

// What keeps a run from beginning is an error that says what to do.
func TestCannotBegin(t *testing.T) {
	foreign := func(w *fake) {
		cp := checkpoint.Checkpoint{Origin: w.log.origin(), Size: 1234, Root: tlog.Hash{1}}
		n := checkpoint.Note{Text: cp.Text(), Signatures: []checkpoint.Signature{w.log.sign(cp.Text())}}
		w.record(cp, n)
	}
	for _, tc := range []struct {
		name   string
		change func(*fake, *Config)
		want   string
	}{
		{"unknown log", func(w *fake, c *Config) { c.LogKey = stranger("another.example/log") }, "it must know another.example/log+"},
		{"other key", func(w *fake, c *Config) { c.LogKey = stranger(w.log.origin()) }, "it must know log.example/conformance+"},
		{"used elsewhere", func(w *fake, c *Config) { foreign(w) }, "use a new key"},
		{"no room", func(w *fake, c *Config) { foreign(w); w.st.cp.Size = math.MaxInt64 }, "no room"},
		{"no witness", func(w *fake, c *Config) { w.stop(); c.Timeout = 50 * time.Millisecond }, "no answer"},
		{"no key", func(w *fake, c *Config) { c.LogKey = nil }, "no log key"},
		{"log key as witness", func(w *fake, c *Config) { c.Witness = []*checkpoint.Key{w.log.key} }, "of a log"},
		{"no URL", func(w *fake, c *Config) { c.URL = "127.0.0.1:1" }, "not an http"},
		{"monitor", func(w *fake, c *Config) { c.Monitor = "ftp://x/" }, "not an http"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newFake(t, "")
			cfg := w.config(t)
			tc.change(w, &cfg)
			sum, err := Run(t.Context(), cfg, func(r Result) { t.Errorf("%s was run", r.Name) })
			if err == nil || !strings.Contains(err.Error(), tc.want) || sum.Passed != 0 {
				t.Errorf("%v, %v, want %q", sum, err, tc.want)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	w := newFake(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	_, err := Run(ctx, w.config(t), func(Result) {
		if n++; n == 10 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || n != 10 {
		t.Errorf("%v after %d cases, want an end after 10", err, n)
	}
}

// A witness that limits the rate is waited for.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	w := newFake(t, "")
	var requests atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if n := requests.Add(1); n%31 == 0 {
			rw.Header().Set("Retry-After", "0")
			rw.WriteHeader([]int{http.StatusTooManyRequests, http.StatusServiceUnavailable}[n%2])
			return
		}
		w.ServeHTTP(rw, req)
	}))
	defer srv.Close()
	cfg := w.config(t)
	cfg.URL, cfg.Restart = srv.URL+"/", nil
	if got, sum := runAll(t, cfg); sum.Failed != 0 {
		for _, r := range got {
			if r.Status == Fail {
				t.Errorf("%s: %s", r.Name, r.Detail)
			}
		}
	}
}
