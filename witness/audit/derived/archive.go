// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/report"
	"example.org/sumlog/witness/audit/site"
)

// An archive is the archive of the site as it is read, line by line, each checked
// on the way (A4).
type archive struct {
	a    *auditor
	ctx  context.Context
	next func() (site.Published, error, bool)
	stop func()

	line site.Published // the last that was read
	some bool           // one was read
	done bool           // there are no more
}

// openArchive opens the archive from the line that first covers entry from. Its
// user stops it.
func (a *auditor) openArchive(ctx context.Context, from int64) *archive {
	r := &archive{a: a, ctx: ctx}
	r.next, r.stop = iter.Pull2(a.site.Archive(ctx, max(from, 0)-1))
	return r
}

// advance reads a line.
func (r *archive) advance() bool {
	if r.done {
		return false
	}
	p, err, ok := r.next()
	if !ok || err != nil {
		r.done = true
		r.end(err)
		return false
	}
	r.check(p)
	r.line, r.some = p, true
	return true
}

// end notes why the archive cannot be read on.
func (r *archive) end(err error) {
	c := r.a.a4
	switch {
	case err == nil:
		if r.line.Size < r.a.tree.N {
			c.Findf(report.Failed, "the archive ends at size %d, and size %d is published", r.line.Size, r.a.tree.N)
		}
	case !r.some && errors.Is(err, fs.ErrNotExist):
		c.Skip("the site has no archive")
	case errors.Is(err, site.ErrArchive):
		r.a.misbehaves(r.ctx, c, report.Finding{Result: report.Misbehaviour, Text: err.Error()}, nil)
	case r.ctx.Err() == nil:
		c.Findf(report.Failed, "%v", err)
	}
}

// check checks a line.
func (r *archive) check(p site.Published) {
	a := r.a
	a.a4.Add(1)
	if r.some && !p.Time.After(r.line.Time) {
		a.misbehaves(r.ctx, a.a4, report.Finding{Result: report.Misbehaviour, Text: "the archive has size " + at(p) + " after size " + at(r.line)}, nil)
	}
	c, t, err := p.Heads(a.site.Key)
	if err == nil && c.Tree() == t.Tree() {
		return
	}
	// If both are signed they may exclude each other, which is for the log to prove
	// where they are not of one size.
	older, newer := c, t
	if older.Size > newer.Size {
		older, newer = newer, older
	}
	_, e := a.log.Extend(r.ctx, older, newer)
	if fork, ok := errors.AsType[*tlogclient.ForkError](e); ok {
		a.forked(r.ctx, a.a4, "archive", fork)
		return
	}
	if err != nil {
		a.misbehaves(r.ctx, a.a4, report.Finding{Result: report.Misbehaviour, Text: err.Error()}, nil)
	}
}

func at(p site.Published) string {
	return fmt.Sprintf("%d at %s", p.Size, stamp(p.Time))
}

// covering returns the time of the first line that covers entry i. Entries are
// asked for in order.
func (r *archive) covering(i int64) (time.Time, bool) {
	for !r.some || r.line.Size <= i {
		if !r.advance() {
			return time.Time{}, false
		}
	}
	return r.line.Time, true
}

// drain reads what is left.
func (r *archive) drain() {
	for r.ctx.Err() == nil && r.advance() {
	}
}
