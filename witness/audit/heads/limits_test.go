// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package heads

import (
	"context"
	"errors"
	"testing"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/witness/audit/report"
)

// TestMany gives more heads than are kept, and more that exclude each other than are
// looked into.
func TestMany(t *testing.T) {
	l := newLog(t, 1000)
	r := newRig(t, l, nil)
	r.set.most = 20
	r.add(Shown, "/checkpoint", l.Head(1000).Note)
	for n := int64(1); n <= 500; n++ {
		r.add(Archived, "archive", l.Head(n).Note)
	}
	r.check(nil)
	r.want(nil)
	if d := r.data("A2"); d.Checked != 21 || d.Skipped != "20 of 500 archived heads were compared, chosen at random" {
		t.Errorf("%+v", d)
	}
	if s := r.set.Sizes(); len(s) != 21 || s[19] <= 40 { // the chance that none is beyond 40 is 12.5^-20
		t.Errorf("sizes %v", s)
	}
	fork := l.Fork(0)
	fork.Grow("other", 500)
	r = newRig(t, l, nil)
	r.add(Shown, "/checkpoint", l.Head(1000).Note)
	for n := int64(1); n <= 200; n++ {
		r.add(Archived, "archive", fork.Head(n).Note)
	}
	l.Reads()
	r.check(nil)
	if d := r.data("A2"); d.Counts[report.Misbehaviour] != maxTries || d.Counts[report.Failed] != 200-maxTries || len(r.evidence) != maxTries {
		t.Errorf("%v, %d files", d.Counts, len(r.evidence))
	}
	// A log that does not answer is not asked 500 times.
	r = newRig(t, l, nil)
	r.add(Shown, "/checkpoint", l.Head(1000).Note)
	for n := int64(1); n <= 500; n++ {
		r.add(Archived, "archive", l.Head(n).Note)
	}
	l.Reads()
	l.Fault(func(string, []byte) ([]byte, error) { return nil, errors.New("gone") })
	r.check(nil)
	if n := len(l.Reads()); n > 4*maxTries {
		t.Errorf("%d reads", n)
	}
	r.want(map[string]report.Result{"A2": report.Failed})
}

func TestErrors(t *testing.T) {
	l := newLog(t, 300)
	fork := l.Fork(100)
	fork.Grow("other", 300)
	full := errors.New("disk is full")
	r := newRig(t, l, func(c *Config) { c.Keep = func(*evidence.Evidence) (string, error) { return "", full } })
	r.add(Shown, "/checkpoint", l.Head(300).Note)
	r.add(Known, "state", fork.Head(200).Note)
	if err := r.set.Check(t.Context(), nil); !errors.Is(err, full) {
		t.Errorf("Check = %v", err)
	}
	if d := r.data("A2"); d.Result != report.Misbehaviour {
		t.Errorf("what was found and could not be written is not reported: %+v", d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.set.Check(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Check = %v", err)
	}
	if _, err := New(Config{Key: l.Key}); err == nil {
		t.Error("a set without a log")
	}
}
