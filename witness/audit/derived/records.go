// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"bytes"
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/site"
)

// records checks all that is asked of single records of the sample.
func (a *auditor) records(ctx context.Context) error {
	if a.site.Database == nil {
		a.b5.Skip("the log is not published as a checksum database")
	}
	total := int64(0)
	for _, s := range a.window {
		total += s.len()
	}
	done := int64(0)
	var g errgroup.Group
	g.SetLimit(a.c.Parallel)
	err := a.entries(ctx, func(e entry) {
		g.Go(func() error {
			a.record(ctx, e)
			if a.c.Progress != nil {
				a.mu.Lock()
				defer a.mu.Unlock()
				done++
				a.c.Progress(done, total)
			}
			return ctx.Err()
		})
	})
	if e := g.Wait(); err == nil {
		err = e
	}
	if err == nil {
		*a.c.Next = after(a.window, *a.c.Next)
	}
	return err
}

// entries calls f for the entries of the sample that the go command could ask for.
func (a *auditor) entries(ctx context.Context, f func(entry)) error {
	for _, s := range a.window {
		for e, err := range a.c.Entries(ctx, s.from, s.to) {
			if err != nil {
				return fmt.Errorf("entries %d to %d: %w", s.from, s.to-1, err)
			}
			e.Text = bytes.Clone(e.Text) // its buffer is that of a bundle
			if e, ok := parseEntry(e); ok {
				f(e)
			}
		}
	}
	return nil
}

func (a *auditor) record(ctx context.Context, e entry) {
	if a.site.Database != nil {
		a.lookup(ctx, e, a.site.Place, a.lookups)
	}
	if a.site.Carried != nil {
		// Most go commands ask here, and are shown a head with each answer.
		a.lookup(ctx, e, site.CarriedAt(a.site.Key), a.lookups2)
	}
	a.files(ctx, e)
	if a.c.Public != nil && !a.private(e) {
		a.public(ctx, e)
	}
}

// maxLookup bounds an answer to a lookup: a number, a record, and a note.
const maxLookup = 256 << 10

// lookup asks for the record of e (B5) at a place below the site.
func (a *auditor) lookup(ctx context.Context, e entry, place string, s *surface) {
	path, version := escape(e.path, e.version)
	an, err := a.get(ctx, place+"lookup/"+path+"@"+version, maxLookup)
	switch {
	case err != nil:
		a.failed(ctx, a.b5, e.Index, "%s: %v", e, err)
		return
	case an.absent():
		s.absent(func() {
			a.accuse(ctx, a.b5, e, a.observed(an, evidence.Lookup), "%s is logged, and its lookup says %d", e, an.status)
		})
		return
	}
	s.here()
	a.b5.Add(1)
	wrong := func(format string, args ...any) {
		a.accuse(ctx, a.b5, e, a.observed(an, evidence.Lookup), "lookup of %s: "+format, append([]any{e}, args...)...)
	}
	l, err := tlogclient.ParseAnswer(an.body)
	if err != nil {
		wrong("%v", err)
		return
	}
	if l.Index != e.Index || !bytes.Equal(l.Text, e.Text) {
		twice, err := a.twice(ctx, e, l)
		if err != nil {
			a.failed(ctx, a.b5, e.Index, "%s: entry %d could not be read: %v", e, l.Index, err)
			return
		}
		if !twice {
			wrong("it answers with entry %d and other text", l.Index)
		}
	}
	h, err := tlogclient.ParseHead(l.Note, tlogclient.DatabaseOrigin, a.site.Key)
	switch {
	case err != nil:
		wrong("%v", err)
	case h.Size <= l.Index:
		wrong("its tree head of size %d does not cover entry %d", h.Size, l.Index)
	default:
		a.consistent(ctx, a.b5, "lookup of "+e.String(), h)
	}
}

// twice reports whether l is another entry of the log for e's version. That there
// is one is the fault of the log, and found elsewhere; the lookup has to answer
// with one of them.
func (a *auditor) twice(ctx context.Context, e entry, l tlogclient.Answer) (bool, error) {
	if l.Index == e.Index || l.Index >= a.tree.N {
		return false, nil
	}
	for other, err := range a.c.Entries(ctx, l.Index, l.Index+1) {
		if err != nil {
			return false, err
		}
		o, ok := parseEntry(other)
		return ok && bytes.Equal(other.Text, l.Text) && o.path == e.path && o.version == e.version, nil
	}
	return false, ctx.Err()
}

// public compares the record of e with that of the public database (D9).
func (a *auditor) public(ctx context.Context, e entry) {
	if a.c.Public.Database == nil {
		a.d9.Skip("%s is no checksum database", a.c.Public.URL)
		return
	}
	theirs, err := a.c.Public.Database.Lookup(ctx, e.path, e.version)
	if err != nil && tlogclient.Refused(err) {
		return // unknown there
	}
	if err != nil {
		a.failed(ctx, a.d9, e.Index, "%s: %v", e, err)
		return
	}
	a.d9.Add(1)
	if bytes.Equal(theirs.Text, e.Text) {
		return
	}
	// What differs has to be proven of them before anything is said.
	their, err := a.provePublic(ctx, theirs)
	if err != nil {
		a.failed(ctx, a.d9, e.Index, "%s: the public database has another record that it does not prove: %v", e, err)
		return
	}
	a.find(ctx, a.d9, e, fmt.Sprintf("%s: the public database has another record, entry %d", e, theirs.Index), func() (*evidence.Evidence, error) {
		our, err := a.prove(ctx, e)
		if err != nil {
			return nil, err
		}
		return evidence.Disagree(our, their)
	})
}

func (a *auditor) provePublic(ctx context.Context, l tlogclient.Answer) (evidence.Proven, error) {
	p := a.c.Public
	h, err := tlogclient.ParseHead(l.Note, tlogclient.DatabaseOrigin, p.Key)
	if err != nil {
		return evidence.Proven{}, err
	}
	n, err := checkpoint.ParseNote(l.Note)
	if err != nil {
		return evidence.Proven{}, err
	}
	return prove(ctx, p.Key, p.Database, n, h.Tree(), l.Index, l.Text)
}
