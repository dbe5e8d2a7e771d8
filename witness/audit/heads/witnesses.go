// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package heads

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/witness/audit/report"
)

// maxSkew is how far the clock of a witness may be ahead.
const maxSkew = 5 * time.Minute

// maxUnknown bounds the list of signers that are not known.
const maxUnknown = 20

// verify verifies what a head has beside the log's signature.
func (s *Set) verify(h *seen) {
	s.checks.a7.Add(1)
	for _, sig := range h.note.Signatures {
		s.lookAt(h, sig)
	}
	if s.c.Policy == nil || !s.isCheckpoint(h) {
		return
	}
	for _, w := range s.c.Policy.Witnesses {
		sigs, err := h.note.Verify(w.Key)
		if errors.Is(err, checkpoint.ErrUnsigned) {
			continue
		}
		s.checks.w2.Add(1)
		if err != nil {
			s.checks.w2.Findf(report.Failed, "%v: witness %s: %v", h, w.Name, err)
			continue
		}
		t, ok := sigs[0].Time()
		if !ok || t <= 0 {
			continue // of sign-subtree: it says nothing about a time
		}
		if at := time.Unix(t, 0); at.After(s.c.Now().Add(maxSkew)) {
			s.checks.w2.Findf(report.Warning, "%v: witness %s cosigned at %s, which is in the future", h, w.Name, stamp(at))
		}
		h.cosigned = append(h.cosigned, cosigned{w.Key, t})
	}
	s.checkPolicy(h)
}

// lookAt notes a signature by nobody who is known.
func (s *Set) lookAt(h *seen, sig checkpoint.Signature) {
	if sig.Name == s.c.Key.Name() {
		if sig.ID != s.c.Key.ID() {
			s.checks.a7.Findf(report.Warning, "%v: signed under the log's name by another key, %08x, too", h, sig.ID)
		}
		return
	}
	if s.c.Policy != nil && slices.ContainsFunc(s.c.Policy.Witnesses, func(w policy.Witness) bool {
		return sig.Name == w.Key.Name() && sig.ID == w.Key.ID()
	}) {
		return
	}
	if signer := fmt.Sprintf("%.100s+%08x", sig.Name, sig.ID); len(s.unknown) < maxUnknown {
		s.unknown[signer] = true
	}
}

// checkPolicy judges what the log says it has published.
func (s *Set) checkPolicy(h *seen) {
	if h.place != Shown && h.place != Archived {
		return // others keep what is theirs of a note
	}
	s.checks.w1.Add(1)
	if _, err := s.c.Policy.Check(h.note); err != nil {
		result := report.Stale
		if h.place == Archived {
			result = report.Warning
		}
		s.checks.w1.Findf(result, "%v: %v", h, err)
	}
}

// checkFresh judges the age of the cosignatures of the newest head.
func (s *Set) checkFresh(base *seen) {
	p := s.c.Policy
	switch {
	case p == nil:
		for _, c := range []*report.Check{s.checks.a6, s.checks.w1, s.checks.w2, s.checks.w3} {
			c.Skip("no witness policy was given")
		}
		return
	case !s.isCheckpoint(base):
		// A tree head is never cosigned.
		if p.Quorum != policy.None {
			s.checks.w1.Findf(report.Stale, "%v: the log has no checkpoint, so nothing that a witness can cosign", base)
		}
		return
	case s.c.MaxAge == 0 || p.Quorum == policy.None:
		s.checks.a6.Skip("any age was allowed")
		return
	}
	s.checks.a6.Add(1)
	now := s.c.Now()
	var newest time.Time
	met := p.Met(func(name string) bool {
		i := slices.IndexFunc(p.Witnesses, func(w policy.Witness) bool { return w.Name == name })
		c, ok := base.by(p.Witnesses[i].Key)
		at := time.Unix(c.time, 0)
		if !ok || at.After(now.Add(maxSkew)) {
			return false
		}
		if at.After(newest) {
			newest = at
		}
		return now.Sub(at) <= s.c.MaxAge
	})
	switch {
	case met:
	case newest.IsZero():
		s.checks.a6.Findf(report.Stale, "%v: not cosigned", base)
	default:
		s.checks.a6.Findf(report.Stale, "%v: no quorum of cosignatures younger than %v; the newest is of %s", base, s.c.MaxAge, stamp(newest))
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// checkWitnesses looks for witnesses that contradict themselves.
func (s *Set) checkWitnesses(ctx context.Context) error {
	if s.c.Policy == nil {
		return nil
	}
	for _, w := range s.c.Policy.Witnesses {
		var mine []*seen
		for _, h := range s.seen {
			if _, ok := h.by(w.Key); ok {
				mine = append(mine, h)
			}
		}
		if len(mine) == 0 {
			continue
		}
		s.checks.w3.Add(int64(len(mine)))
		if err := s.checkBack(w, mine); err != nil {
			return err
		}
		if err := s.checkBoth(ctx, w, mine); err != nil {
			return err
		}
	}
	return nil
}

// checkBack looks for a cosignature of a smaller tree than one that the witness
// had cosigned before: by it the witness said that it knew of none that is larger.
func (s *Set) checkBack(w policy.Witness, mine []*seen) error {
	at := func(h *seen) int64 { c, _ := h.by(w.Key); return c.time }
	slices.SortFunc(mine, func(a, b *seen) int { return cmp.Compare(at(a), at(b)) })
	var before, largest *seen // largest of those with a time before the one looked at
	for i, h := range mine {
		if i > 0 && at(mine[i-1]) < at(h) {
			before = largest
		}
		if before != nil && before.Size > h.Size {
			e, err := evidence.Rollback(w.Key, before.note, h.note)
			text := fmt.Sprintf("witness %s cosigned %v at %s, after it had cosigned %v at %s", w.Name,
				h, stamp(time.Unix(at(h), 0)), before, stamp(time.Unix(at(before), 0)))
			return s.find(s.checks.w3, text, e, err) // the first is enough
		}
		if largest == nil || h.Size > largest.Size {
			largest = h
		}
	}
	return nil
}

// checkBoth looks for two trees, by one witness, that exclude each other: one that
// the newest head excludes, and one that it does not.
func (s *Set) checkBoth(ctx context.Context, w policy.Witness, mine []*seen) error {
	for _, h := range mine {
		if h.verdict.err != nil || h.verdict.same {
			continue // nothing is known that it excludes
		}
		other, v := s.counterpart(ctx, h, mine)
		if err := ctx.Err(); err != nil {
			return err
		}
		if other == nil {
			continue
		}
		e, err := fork(h, other, v, func(a, b checkpoint.Note, proof []tlog.Hash) (*evidence.Evidence, error) {
			return evidence.DoubleCosign(w.Key, a, b, proof)
		})
		return s.find(s.checks.w3, fmt.Sprintf("witness %s cosigned two trees: %v and %v", w.Name, h, other), e, err)
	}
	return nil
}

// counterpart returns the head that, with h, convicts a witness, and the verdict on
// the two: one of the same size, or of the sizes next to it.
func (s *Set) counterpart(ctx context.Context, h *seen, mine []*seen) (*seen, verdict) {
	var smaller, larger *seen
	for _, o := range mine {
		switch {
		case !o.verdict.same || o.Size == 0:
		case o.Size == h.Size:
			return o, verdict{root: o.Root}
		case o.Size > h.Size && (larger == nil || o.Size < larger.Size):
			larger = o
		case o.Size < h.Size && (smaller == nil || o.Size > smaller.Size):
			smaller = o
		}
	}
	if larger != nil {
		if v := s.proveFrom(ctx, h, larger, s.c.Log, larger.log); v.err == nil && !v.same {
			return larger, v
		}
	}
	if smaller != nil {
		if v := s.proveFrom(ctx, smaller, h, h.log, s.c.Log); v.err == nil && !v.same {
			return smaller, v
		}
	}
	return nil, verdict{}
}
