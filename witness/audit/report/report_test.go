// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package report

import (
	"fmt"
	"slices"
	"sync"
	"testing"
)

func TestResult(t *testing.T) {
	var r Report
	if r.Result() != OK {
		t.Errorf("empty: %s", r.Result())
	}
	c := r.Check("B1", "root", "records")
	if got := c.Data().Result; got != Skipped {
		t.Errorf("not made: %s", got)
	}
	c.Add(3)
	if got := c.Data(); got.Result != OK || got.Checked != 3 {
		t.Errorf("made: %+v", got)
	}
	// A later, lighter finding does not hide a grave one.
	for _, f := range []struct{ find, want Result }{
		{Warning, Warning}, {Failed, Failed}, {Stale, Stale}, {Misbehaviour, Misbehaviour}, {Failed, Misbehaviour}, {Warning, Misbehaviour},
	} {
		r.Check("B1", "", "").Findf(f.find, "found")
		if got := r.Result(); got != f.want {
			t.Errorf("%s: %s, want %s", f.find, got, f.want)
		}
	}
}

// TestMany counts all findings of many and keeps some, whoever adds them.
func TestMany(t *testing.T) {
	var r Report
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			c := r.Check("C4", "one record a version", "records")
			c.Add(1)
			n := int64(i)
			c.Find(Finding{Result: Misbehaviour, Index: &n, Text: "twice"})
			r.Checks()
		})
	}
	wg.Wait()
	d := r.Check("C4", "", "").Data()
	if d.Checked != 100 || d.Counts[Misbehaviour] != 100 || len(d.Findings) != MaxFindings {
		t.Errorf("%d checked, %v, %d kept", d.Checked, d.Counts, len(d.Findings))
	}
}

// TestGrave finds something grave after more harmless things than are kept.
func TestGrave(t *testing.T) {
	var r Report
	c := r.Check("C2", "modules", "records")
	for range MaxFindings + 5 {
		c.Findf(Warning, "odd")
	}
	c.Find(Finding{Result: Misbehaviour, Text: "twice", Evidence: "E4.txt"})
	d := c.Data()
	if len(d.Findings) != MaxFindings || !slices.ContainsFunc(d.Findings, func(f Finding) bool { return f.Evidence == "E4.txt" }) {
		t.Errorf("%+v", d.Findings)
	}
	if Worst(OK, Stale) != Stale || Worst(Stale, Failed) != Stale {
		t.Error("wrong order of results")
	}
}

func TestOrder(t *testing.T) {
	var r Report
	for _, id := range []string{"V1", "B10", "B2", "A1", "C1"} {
		r.Check(id, "", "")
	}
	var ids []string
	for _, c := range r.Checks() {
		ids = append(ids, c.ID)
	}
	if got := fmt.Sprint(ids); got != "[A1 B2 B10 C1 V1]" {
		t.Error(got)
	}
}
