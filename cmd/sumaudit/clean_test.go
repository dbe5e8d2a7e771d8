// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"example.org/sumlog/internal/testrace"
	"example.org/sumlog/witness/audit/report"
)

// TestClean audits a real authority, with real witnesses, in which nothing is
// wrong, and once more after it has grown.
func TestClean(t *testing.T) {
	t.Parallel()
	size, more, sample := int64(3000), int64(100), "50"
	if os.Getenv("CI") == "true" && !testrace.Enabled {
		size, more, sample = 100_000, 1000, "500"
	}
	began := time.Now()
	lap := func(what string) {
		t.Logf("%s: %v", what, time.Since(began).Round(10*time.Millisecond))
		began = time.Now()
	}
	a := newDeployment(t)
	lap("three witnesses")
	a.fill(size)
	lap("filled")
	a.serve()
	lap("served")
	dir := t.TempDir()
	for _, step := range []struct {
		from, size int64
	}{{0, size}, {size, size + more}} {
		if step.size > a.size {
			a.admit(step.size)
			lap("admitted more")
		}
		code, out := a.audit("-state", dir, "-sample", sample, "-json")
		lap("audited")
		var s report.Summary
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			t.Fatalf("exit code %d, %v: %s", code, err, out)
		}
		if code != 0 || s.Result != report.OK {
			t.Errorf("exit code %d, result %s", code, s.Result)
		}
		if s.Head.Size != step.size || s.From != step.from {
			t.Errorf("audited %d to %d, want %d to %d", s.From, s.Head.Size, step.from, step.size)
		}
		for _, c := range s.Checks {
			t.Logf("%s %s %d %s %s", c.ID, c.Result, c.Checked, c.Unit, c.Skipped)
			for _, f := range c.Findings {
				t.Errorf("%s %s: %s", c.ID, f.Result, f.Text)
			}
		}
	}
}
