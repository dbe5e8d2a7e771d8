// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/record"
	"example.org/sumlog/witness/audit/report"
)

// clockSkew is how far in the future a pseudo-version's time may be.
const clockSkew = 48 * time.Hour

// A bad is an entry that breaks a rule.
type bad struct {
	index int64
	rule  record.Rule
	text  string
}

// pseudoTime is the rule that only this package knows.
const pseudoTime record.Rule = "C6"

// A badList is of the entries that break one rule.
type badList struct {
	first []bad // report.MaxFindings at most
	count int64
}

// records checks the entries of a bundle that no earlier replay has checked.
func (r *run) records(h *hasher, j *job, entries [][]byte) {
	begin := j.n * bundleWidth
	for i := max(0, int(r.first-begin)); i < j.width; i++ {
		rec, err := record.Parse(entries[i])
		if err != nil {
			j.bad = append(j.bad, newBad(begin+int64(i), err))
			j.names[i] = 0
			continue
		}
		j.names[i] = h.fingerprint(rec)
		if err := record.Check(rec); err != nil {
			j.bad = append(j.bad, newBad(begin+int64(i), err))
		} else if t := pseudoVersionTime(rec.Version); bytes.Compare(t, r.future[:]) > 0 {
			j.bad = append(j.bad, bad{begin + int64(i), pseudoTime, fmt.Sprintf("%.200s@%.200s is of the future", rec.Path, rec.Version)})
		}
	}
}

func newBad(index int64, err error) bad {
	e, ok := errors.AsType[*record.Error](err)
	if !ok {
		return bad{index, record.Form, err.Error()}
	}
	return bad{index, e.Rule, e.Reason}
}

// pseudoVersionTime returns the time in a pseudo-version, and nil of another
// version.
func pseudoVersionTime(v []byte) []byte {
	const timeLen, revLen = 14, 12
	v, _, _ = bytes.Cut(v, []byte("+"))
	if len(v) < len("v0.0.0-")+timeLen+1+revLen {
		return nil
	}
	rev := v[len(v)-revLen-1:]
	t := v[len(v)-revLen-1-timeLen : len(v)-revLen-1]
	if sep := v[len(v)-revLen-2-timeLen]; rev[0] != '-' || sep != '-' && sep != '.' {
		return nil
	}
	for _, c := range t {
		if c < '0' || c > '9' {
			return nil
		}
	}
	return t
}

// addBad counts what workers found.
func (r *run) addBad(list []bad) {
	for _, b := range list {
		l := r.bad[b.rule]
		if l == nil {
			l = new(badList)
			r.bad[b.rule] = l
		}
		l.count++
		if len(l.first) < report.MaxFindings {
			b.text = fmt.Sprintf("%.500s", b.text)
			l.first = append(l.first, b)
		}
	}
}

// reportRecords reports what was found in the records, now that they are known to
// be those of the tree, looks for duplicates, and adds up what was found in s.
func (r *run) reportRecords(ctx context.Context, s *Snapshot) error {
	c := &r.checks
	for _, check := range []*report.Check{c.c1, c.c2, c.c3, c.c4, c.c6} {
		check.Add(r.Tree.N - r.first)
	}
	if r.From != nil {
		s.Bad, s.Repeated = r.From.Bad, r.From.Repeated
		if s.Bad > 0 {
			c.c1.Findf(report.Misbehaviour, "%d malformed entries below %d were found before", s.Bad, r.first)
		}
		if s.Repeated > 0 {
			c.c4.Findf(report.Misbehaviour, "%d entries below %d that repeat another were found before", s.Repeated, r.first)
		}
	}
	s.Bad += r.reportBad(ctx, record.Form, c.c1, report.Misbehaviour)
	s.Bad += r.reportBad(ctx, record.Hash, c.c3, report.Misbehaviour)
	r.reportBad(ctx, record.Module, c.c2, report.Warning)
	r.reportBad(ctx, pseudoTime, c.c6, report.Warning)
	n, err := r.reportRepeated(ctx)
	s.Repeated += n
	return err
}

func (r *run) reportBad(ctx context.Context, rule record.Rule, check *report.Check, result report.Result) int64 {
	l := r.bad[rule]
	if l == nil {
		return 0
	}
	for _, b := range l.first {
		f := report.Finding{Result: result, Index: &b.index, Text: b.text}
		if result == report.Misbehaviour {
			f = r.withEvidence(f, func() (*evidence.Evidence, error) {
				p, err := r.proven(ctx, b.index)
				if err != nil {
					return nil, err
				}
				return evidence.Malformed(p)
			})
		}
		check.Find(f)
	}
	for range l.count - int64(len(l.first)) {
		check.Find(report.Finding{Result: result})
	}
	return l.count
}

// reportRepeated reports records of one name, and returns how many are not the
// first of it.
func (r *run) reportRepeated(ctx context.Context) (count int64, err error) {
	hits, more := r.names.hits(r.first)
	if err := r.readHits(ctx, hits); err != nil {
		return 0, fmt.Errorf("entries that may be repeated: %w", err)
	}
	if more > 0 {
		r.checks.c4.Findf(report.Failed, "%d more entries may be repeated: they were not compared", more)
	}
	slices.SortFunc(hits, compareHits)
	var found [][2]hit
	for i := 0; i < len(hits); {
		end := i + 1
		for ; end < len(hits) && hits[end].name == hits[i].name; end++ {
			if hits[end].index >= r.first {
				found = append(found, [2]hit{hits[i], hits[end]})
			}
		}
		i = end
	}
	slices.SortFunc(found, func(a, b [2]hit) int { return cmp.Compare(a[1].index, b[1].index) })
	for i, pair := range found {
		if i >= report.MaxFindings {
			r.checks.c4.Find(report.Finding{Result: report.Misbehaviour})
			continue
		}
		f, err := r.repeatedFinding(ctx, pair[0], pair[1])
		if err != nil {
			return 0, err
		}
		r.checks.c4.Find(f)
	}
	return int64(len(found)), nil
}

func (r *run) repeatedFinding(ctx context.Context, a, b hit) (report.Finding, error) {
	text, err := r.entry(ctx, b.index)
	if err != nil {
		return report.Finding{}, err
	}
	rec, err := record.Parse(text)
	if err != nil {
		return report.Finding{}, fmt.Errorf("entry %d: %w", b.index, err)
	}
	says, accuse := "says again what entry %d says", evidence.Repeat
	if a.hashes != b.hashes {
		says, accuse = "contradicts entry %d", evidence.Conflict
	}
	f := report.Finding{Result: report.Misbehaviour, Index: &b.index,
		Text: fmt.Sprintf("%.200s@%.200s "+says, rec.Path, rec.Version, a.index)}
	return r.withEvidence(f, func() (*evidence.Evidence, error) {
		p, err := r.proven(ctx, a.index)
		if err != nil {
			return nil, err
		}
		q, err := r.proven(ctx, b.index)
		if err != nil {
			return nil, err
		}
		return accuse(p, q)
	}), nil
}

// readHits reads entries, which are in order, and what they say.
func (r *run) readHits(ctx context.Context, hits []hit) error {
	all := hits
	items := func(yield func(item) bool) {
		last := int64(-1)
		for i := range all { // not a copy of it, of which another goroutine writes the rest
			if n := all[i].index / bundleWidth; n != last {
				last = n
				if !yield(r.item(n)) {
					return
				}
			}
		}
	}
	return pipe(ctx, r.Parallel, iter.Seq[item](items), r.readAgain, func(j *job) error {
		for ; len(hits) > 0 && hits[0].index/bundleWidth == j.n; hits = hits[1:] {
			rec, err := record.Parse(j.entries[hits[0].index%bundleWidth])
			if err != nil {
				return fmt.Errorf("entry %d: %w", hits[0].index, err)
			}
			hits[0].name = sha256.Sum256(fmt.Appendf(nil, "%s@%s", rec.Path, rec.Version))
			hits[0].hashes = sha256.Sum256(append(rec.Zip[:], rec.Mod[:]...))
		}
		j.entries = nil
		return nil
	})
}
