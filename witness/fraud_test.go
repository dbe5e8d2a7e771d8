// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
)

// kept returns the evidence in the state, verified.
func (r *rig) kept() (all []*evidence.Evidence) {
	r.t.Helper()
	files, err := r.store.Evidence()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range files {
		e, err := evidence.Parse(f.File)
		if err != nil || e.Origin() != f.Origin || f.Time != r.clock.Load() {
			r.t.Errorf("%v\n%s", err, f.File)
			continue
		}
		all = append(all, e)
	}
	return all
}

func TestEvidence(t *testing.T) {
	l, other := newTestLog("a.example"), newTestLog("b.example")
	r := newRig(t, l, other)
	r.mustAdd(l, 0, 0, 11)
	r.mustAdd(other, 0, 0, 8)
	submit := func(req checkpoint.AddRequest, status, evidence int) {
		t.Helper()
		if got, _ := r.add(req); got != status {
			t.Errorf("status %d, not %d", got, status)
		}
		if got := r.kept(); len(got) != evidence {
			t.Errorf("%d files, not %d", len(got), evidence)
		}
	}
	noProof := l.request(3, 11, 20)
	noProof.Proof = make([]tlog.Hash, len(noProof.Proof))
	stale := l.request(6, 0, 11)
	unsigned := l.request(4, 11, 20)
	n := l.note(l.tree(4, 20))
	n.Signatures = []checkpoint.Signature{other.sign(n.Text)}
	unsigned.Note = n.Bytes()

	submit(l.request(0, 5, 8), 409, 0)      // only old
	submit(noProof, 422, 0)                 // proves nothing
	submit(l.request(3, 11, 20), 422, 1)    // a fork
	submit(l.request(3, 11, 20), 422, 1)    // the same
	submit(l.request(5, 11, 11), 422, 2)    // another root of the same size
	submit(stale, 409, 3)                   // also where the old size is stale
	submit(other.request(3, 8, 20), 422, 3) // from a power of two a proof shows no other root
	submit(other.request(3, 8, 8), 422, 4)  // but at the same size it needs none
	submit(unsigned, 403, 4)                // nothing that the log has not signed
	submit(l.request(0, 11, 20), 200, 4)

	got := r.kept()
	slices.SortStableFunc(got, func(a, b *evidence.Evidence) int { return strings.Compare(string(a.Kind()), string(b.Kind())) })
	if a, b := got[0].Trees(); got[0].Kind() != evidence.Fork || a != l.tree(0, 11) || b != l.tree(3, 20) || got[0].Key().String() != l.key.String() {
		t.Errorf("%v", got[0])
	}
	for _, e := range got[1:] {
		if e.Kind() != evidence.Equivocation {
			t.Errorf("%v", e)
		}
	}
	if n := strings.Count(r.logged.String(), "level=ERROR"); n != 4 {
		t.Errorf("%d errors were logged\n%s", n, r.logged)
	}
	if n := r.w.logs[l.origin].inconsistent.Load(); n != 5 {
		t.Errorf("%d inconsistent checkpoints were counted", n)
	}
}

// TestEvidenceOfKeys has a log with two keys: one key must have signed both
// checkpoints.
func TestEvidenceOfKeys(t *testing.T) {
	l, next := newTestLog("a.example"), newTestLog("seed of the next key")
	r := newRig(t)
	c := l.config()
	c.Keys = append(c.Keys, next.key)
	if err := r.w.AddLog(c); err != nil {
		t.Fatal(err)
	}
	r.mustAdd(l, 0, 0, 11)
	by := func(branch int64, keys ...*testLog) checkpoint.AddRequest {
		n := l.note(l.tree(branch, 11))
		n.Signatures = nil
		for _, k := range keys {
			n.Signatures = append(n.Signatures, k.sign(n.Text))
		}
		return checkpoint.AddRequest{Old: 11, Note: n.Bytes()}
	}
	r.add(by(3, next))
	if got := r.kept(); len(got) != 0 {
		t.Errorf("%v", got)
	}
	r.add(by(4, next, l))
	if got := r.kept(); len(got) != 1 || got[0].Key().String() != l.key.String() {
		t.Errorf("%v", got)
	}
}
