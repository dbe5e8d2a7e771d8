// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package heads

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/report"
)

// maxTries bounds the proofs that are asked for. Nothing of the kind is needed for a
// log that is sound: one with many heads that have no proof, or each another one, is
// not to keep its auditor busy for ever, nor to fill his disk with evidence.
const maxTries = 64

var errEnough = fmt.Errorf("%d other heads needed a proof, and no more are asked for", maxTries)

// A verdict says how a tree is related to that of the newest head.
type verdict struct {
	same  bool        // it is it, or a part of it, or holds it
	root  tlog.Hash   // if not: of the smaller size in the larger tree
	proof []tlog.Hash // of root
	err   error       // why neither is known
}

// Check compares all heads with the newest, and reports. Roots are those of the
// newest tree at some of Sizes, as a replay has computed them; it may be nil. The
// error is that of ctx, or of evidence that could not be kept.
func (s *Set) Check(ctx context.Context, roots map[int64]tlog.Hash) error {
	base := s.newest()
	if base == nil {
		s.checks.a2.Skip("the log shows no head")
		return ctx.Err()
	}
	if root, ok := roots[base.Size]; ok && root != base.Root {
		roots = nil // of another tree
	}
	if err := s.judge(ctx, base, roots); err != nil {
		return err
	}
	for _, h := range s.seen {
		if err := s.compare(h, base); err != nil {
			return err
		}
	}
	s.reportSources(base)
	s.checkFresh(base)
	return s.checkWitnesses(ctx)
}

// judge gives each head its verdict, each tree being looked at once.
func (s *Set) judge(ctx context.Context, base *seen, roots map[int64]tlog.Hash) error {
	s.tries = maxTries
	log := s.c.Log
	if base.log != nil {
		log = base.log
	}
	reader := log.Hashes(ctx, base.Tree())
	known := map[tlog.Tree]verdict{base.Tree(): {same: true}}
	for _, h := range s.seen {
		v, ok := known[h.Tree()]
		if !ok || v.err != nil && h.log != nil {
			v = s.verdict(ctx, h, base, roots, reader)
			if err := ctx.Err(); err != nil {
				return err
			}
			known[h.Tree()] = v
		}
		h.verdict = v
	}
	for _, h := range s.seen { // some have got better since
		h.verdict = known[h.Tree()]
	}
	return nil
}

func (s *Set) verdict(ctx context.Context, h, base *seen, roots map[int64]tlog.Hash, reader tlog.HashReader) verdict {
	switch {
	case h.Size == base.Size:
		return verdict{root: base.Root} // not the same tree, or it would be known
	case h.Size > base.Size:
		return s.proveFrom(ctx, base, h, h.log, s.c.Log, base.log)
	}
	if roots[h.Size] == h.Root {
		return verdict{same: true}
	}
	if s.tries > 0 {
		if root, err := tlog.TreeHash(h.Size, reader); err == nil && root == h.Root {
			return verdict{same: true}
		}
	}
	return s.proveFrom(ctx, h, base, base.log, s.c.Log, h.log)
}

// proveFrom looks for the root of older's size in the tree of newer, in the logs
// that may have it.
func (s *Set) proveFrom(ctx context.Context, older, newer *seen, logs ...*tlogclient.Log) verdict {
	if s.tries == 0 {
		return verdict{err: errEnough}
	}
	s.tries--
	var errs []error
	for _, l := range logs {
		if l == nil {
			continue
		}
		root, proof, err := l.Prove(ctx, older.Size, newer.Tree())
		if err == nil {
			return verdict{same: root == older.Root, root: root, proof: proof}
		}
		errs = append(errs, err)
	}
	return verdict{err: errors.Join(errs...)}
}

// compare reports what became of h.
func (s *Set) compare(h, base *seen) error {
	check := s.checks.a2
	switch {
	case h.place == Elsewhere:
		check = s.checks.a5
	case h.Origin != base.Origin:
		check = s.checks.a4
	}
	check.Add(1)
	v := h.verdict
	switch {
	case v.err != nil && h.Size > base.Size:
		s.smaller(h, base, "the log does not serve what would show whether it holds this one: "+oneLine(v.err))
	case v.err != nil:
		check.Findf(report.Failed, "%v could not be compared with %v: %s", h, base, oneLine(v.err))
	case !v.same:
		return s.accuse(check, h, s.like(base, h))
	case h.Size > base.Size:
		s.smaller(h, base, "it holds this one")
	}
	return nil
}

// like returns, for what somebody else was shown, the head that the log shows of the
// same kind, if it is one of base's tree: two notes of one kind need no explanation.
func (s *Set) like(base, h *seen) *seen {
	for _, o := range s.seen {
		if h.place == Elsewhere && o.place == Shown && o.Tree() == base.Tree() && o.Origin == h.Origin {
			return o
		}
	}
	return base
}

// smaller reports that the log shows less than what it signed. For what is in its
// archive that is so between two readings.
func (s *Set) smaller(h, base *seen, how string) {
	switch h.place {
	case Known:
		s.checks.a3.Findf(report.Stale, "the log shows size %d, and showed %v before; %s", base.Size, h, how)
	case Elsewhere:
		s.checks.a5.Findf(report.Stale, "the log shows size %d, and there is %v; %s", base.Size, h, how)
	}
}

// accuse reports, with the evidence, that the log signed two trees.
func (s *Set) accuse(check *report.Check, h, base *seen) error {
	text := fmt.Sprintf("the log signed two trees: %v and %v", h, base)
	e, err := fork(h, base, h.verdict, func(a, b checkpoint.Note, proof []tlog.Hash) (*evidence.Evidence, error) {
		return evidence.New(s.c.Key, a, b, proof)
	})
	return s.find(check, text, e, err)
}

// find reports a misbehaviour with its evidence, made with err.
func (s *Set) find(check *report.Check, text string, e *evidence.Evidence, err error) error {
	f := report.Finding{Result: report.Misbehaviour, Text: text}
	if err != nil {
		// It is what was found all the same, and the proof was verified.
		f.Text += "; no evidence could be made: " + oneLine(err)
		check.Find(f)
		return nil
	}
	if s.c.Keep != nil {
		f.Evidence, err = s.c.Keep(e)
	}
	check.Find(f)
	return err
}

// fork makes the evidence that two notes exclude each other, by v.
func fork(a, b *seen, v verdict, make func(a, b checkpoint.Note, proof []tlog.Hash) (*evidence.Evidence, error)) (*evidence.Evidence, error) {
	return make(a.note, b.note, append([]tlog.Hash{v.root}, v.proof...))
}

// reportSources says what was compared with what, where that was little.
func (s *Set) reportSources(base *seen) {
	var known, elsewhere, other int
	for _, h := range s.seen {
		switch {
		case h.place == Known:
			known++
		case h.place == Elsewhere:
			elsewhere++
		}
		if h.place != Elsewhere && h.Origin != base.Origin {
			other++
		}
	}
	if known > 0 {
		s.checks.a3.Add(int64(known))
	} else {
		s.checks.a3.Skip("nothing is remembered of an earlier run")
	}
	if elsewhere == 0 {
		s.checks.a5.Skip("nobody else was asked")
	}
	if other == 0 {
		s.checks.a4.Skip("all heads are of one kind, with the first line %q", base.Origin)
	}
	if left := s.archived - int64(len(s.places)); left > 0 {
		s.checks.a2.Skip("%d of %d archived heads were compared, chosen at random", len(s.places), s.archived)
	}
	if len(s.unknown) > 0 {
		s.checks.a7.Skip("signatures that were not verified: %s", s.listUnknown())
	}
}

func (s *Set) listUnknown() string {
	names := make([]string, 0, len(s.unknown))
	for name := range s.unknown {
		names = append(names, name)
	}
	slices.Sort(names)
	return fmt.Sprintf("%q", names)
}

// oneLine is the text of an error without the newlines that joined ones have.
func oneLine(err error) string {
	if err == nil {
		return ""
	}
	out := []rune(err.Error())
	for i, r := range out {
		if r < ' ' {
			out[i] = ' '
		}
	}
	return string(out)
}
