// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/sumlog/witness/state"
)

// measure starts a witness, has it work, and says how long the start took, how
// fast it works, and how much memory it has that is not a file's.
func (c childConfig) measure() error {
	began := time.Now()
	store, err := state.Open(state.Config{Dir: c.Dir})
	if err != nil {
		return err
	}
	w, err := New(Config{Name: witnessName, Cosigners: testCosigners(), Store: store})
	if err != nil {
		return err
	}
	start := time.Since(began)
	bodies := make([][]byte, min(c.N, 2_000))
	for i := range bodies {
		bodies[i] = manyLog(i).request(0, 3, 5).Bytes()
	}
	began = time.Now()
	if err := addAll(w, bodies); err != nil {
		return err
	}
	rate := float64(len(bodies)) / time.Since(began).Seconds()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	m := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		return fmt.Errorf("no RssAnon in %s", status)
	}
	fmt.Printf("%d %s %.0f\n", start.Milliseconds(), m[1], rate)
	return nil
}

func manyLog(i int) *testLog { return newTestLog(fmt.Sprintf("log.example/of/the/usual/length/%d", i)) }

// addAll submits bodies by 32 clients.
func addAll(w *Witness, bodies [][]byte) error {
	var next atomic.Int64
	errs := make(chan error, 32)
	for range 32 {
		go func() {
			for i := next.Add(1); int(i) <= len(bodies); i = next.Add(1) {
				if _, err := w.Add(context.Background(), bodies[i-1]); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range 32 {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// withRace reports whether the test runs with the race detector, which needs a
// multiple of the memory.
func withRace() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// TestMany knows many logs, and memory stays small. How fast it is, is for
// scripts/bench to measure.
func TestMany(t *testing.T) {
	type size struct {
		logs      int
		megabytes int
	}
	sizes := []size{{1_000, 64}}
	if thorough() && !withRace() {
		sizes = append(sizes, size{40_000, 128})
	}
	for _, tt := range sizes {
		r := newRigIn(t, memoryDir(t))
		logs := make([]state.Log, tt.logs)
		bodies := make([][]byte, tt.logs)
		var wg sync.WaitGroup
		for part := range 2 {
			wg.Go(func() {
				for i := part; i < tt.logs; i += 2 {
					l := manyLog(i)
					logs[i], bodies[i] = l.config(), l.request(0, 0, 3).Bytes()
				}
			})
		}
		wg.Wait()
		if _, errs := r.w.AddLogs(logs); errs != nil {
			t.Fatal(errs)
		}
		if err := addAll(r.w, bodies); err != nil {
			t.Fatal(err)
		}
		if err := r.store.Close(); err != nil {
			t.Fatal(err)
		}
		config, err := json.Marshal(childConfig{Dir: r.dir, N: tt.logs, Measure: true})
		if err != nil {
			t.Fatal(err)
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), childEnv+"="+string(config))
		cmd.Stderr = os.Stderr
		out, _ := cmd.Output()
		var start, kilobytes, rate int
		if n, err := fmt.Sscan(string(out), &start, &kilobytes, &rate); n != 3 {
			t.Fatalf("child: %q %v", out, err)
		}
		t.Logf("%d logs: start in %d ms, %d kB, %d requests a second", tt.logs, start, kilobytes, rate)
		if withRace() {
			continue
		}
		if kilobytes > tt.megabytes<<10 {
			t.Errorf("%d logs: %d kB of memory", tt.logs, kilobytes)
		}
	}
}
