// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/report"
)

// An answer is what the site said to one request: it has status 200, or says that
// there is no such thing.
type answer struct {
	path   string // below the site, with the query
	time   time.Time
	status int
	body   []byte
}

func (an answer) absent() bool { return an.status != http.StatusOK }

// get asks the site. Its error is that of a request that has got no answer, or one
// that is neither.
func (a *auditor) get(ctx context.Context, path string, limit int64) (answer, error) {
	an := answer{path: path, time: a.now(), status: http.StatusOK}
	var err error
	an.body, err = a.site.Get(ctx, path, limit)
	return an.or(err)
}

// or makes an answer of an error that says that there is no such thing.
func (an answer) or(err error) (answer, error) {
	if err == nil {
		return an, nil
	}
	if !tlogclient.Refused(err) {
		return an, err
	}
	an.status = http.StatusNotFound
	if e, ok := errors.AsType[*tlogclient.StatusError](err); ok {
		an.status = e.Status
	}
	return an, nil
}

// observed returns an as evidence has it.
func (a *auditor) observed(an answer, s evidence.Service) evidence.Answer {
	return evidence.Answer{Service: s, URL: a.site.Address(an.path), Time: an.time, Status: an.status, Body: an.body}
}

// A surface is a service that a site may lack. That it does not know a thing that
// is logged is a wrong answer, but only once it has given another: else the site
// lacks it.
type surface struct {
	mu      sync.Mutex
	seen    bool
	unknown int      // answers that something is absent
	late    []func() // what is to be said of them
}

// here says that the service has answered.
func (s *surface) here() {
	s.mu.Lock()
	late := s.late
	s.seen, s.late = true, nil
	s.mu.Unlock()
	for _, f := range late {
		f()
	}
}

// absent calls f, which says that something is absent, now or when the service is
// known to be there.
func (s *surface) absent(f func()) {
	s.mu.Lock()
	s.unknown++
	if !s.seen {
		if len(s.late) <= report.MaxFindings {
			s.late = append(s.late, f)
		}
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	f()
}

// lacks reports whether the site was asked and lacks the service.
func (s *surface) lacks() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.seen && s.unknown > 0
}

// failed notes that a check could not be made on something. A context that has
// ended is no finding: it ends the audit.
func (a *auditor) failed(ctx context.Context, c *report.Check, index int64, format string, args ...any) {
	if ctx.Err() == nil {
		c.Find(report.Finding{Result: report.Failed, Index: &index, Text: fmt.Sprintf(format, args...)})
	}
}

func warn(c *report.Check, e entry, format string, args ...any) {
	c.Find(report.Finding{Result: report.Warning, Index: &e.Index, Text: fmt.Sprintf(format, args...)})
}

// full reports whether enough is kept of what a check has found: more is only
// counted, or a log that is wrong everywhere would fill the disk with evidence.
func (a *auditor) full(c *report.Check) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.accused[c]++
	return a.accused[c] > report.MaxFindings
}

// accuse notes that an answer contradicts the record of e, and makes the
// observation, if that can be made of it.
func (a *auditor) accuse(ctx context.Context, c *report.Check, e entry, an evidence.Answer, format string, args ...any) {
	a.find(ctx, c, e, fmt.Sprintf(format, args...), func() (*evidence.Evidence, error) {
		return a.observe(ctx, e, an)
	})
}

func (a *auditor) observe(ctx context.Context, e entry, an evidence.Answer) (*evidence.Evidence, error) {
	p, err := a.prove(ctx, e)
	if err != nil {
		return nil, err
	}
	return evidence.Observe(p, an)
}

// find notes misbehaviour about an entry, with the evidence that make makes.
func (a *auditor) find(ctx context.Context, c *report.Check, e entry, text string, make func() (*evidence.Evidence, error)) {
	a.misbehaves(ctx, c, report.Finding{Result: report.Misbehaviour, Index: &e.Index, Text: text}, make)
}

func (a *auditor) misbehaves(ctx context.Context, c *report.Check, f report.Finding, make func() (*evidence.Evidence, error)) {
	if ctx.Err() != nil {
		return
	}
	if !a.full(c) && make != nil {
		ev, err := make()
		if err == nil {
			f.Evidence, err = a.c.Keep(ev)
		}
		if err != nil {
			f.Text += fmt.Sprintf(" (no evidence was made: %v)", err)
		}
	}
	c.Find(f)
}

// prove returns the record of e under the head that is audited.
func (a *auditor) prove(ctx context.Context, e entry) (evidence.Proven, error) {
	return prove(ctx, a.site.Key, a.log, a.note, a.tree, e.Index, e.Text)
}

func prove(ctx context.Context, key *checkpoint.Key, l *tlogclient.Log, n checkpoint.Note, tree tlog.Tree, i int64, text []byte) (evidence.Proven, error) {
	proof, err := l.ProveEntry(ctx, i, tree)
	if err == nil {
		err = tlog.CheckRecord(proof, tree.N, tree.Hash, i, tlog.RecordHash(text))
	}
	if err != nil {
		return evidence.Proven{}, fmt.Errorf("entry %d: %w", i, err)
	}
	return evidence.Proven{Key: key, Note: n, Index: i, Record: text, Proof: proof}, nil
}

// consistent checks a head of the log, each only once, against the tree that is
// audited. What comes of it is noted for c.
func (a *auditor) consistent(ctx context.Context, c *report.Check, where string, h tlogclient.Head) {
	a.mu.Lock()
	once := a.heads[h.Tree()]
	if once == nil {
		once = new(sync.Once)
		a.heads[h.Tree()] = once
	}
	a.mu.Unlock()
	once.Do(func() {
		older, newer := h, a.c.Head
		if older.Size > newer.Size {
			older, newer = newer, older
		}
		_, err := a.log.Extend(ctx, older, newer)
		if fork, ok := errors.AsType[*tlogclient.ForkError](err); ok {
			a.forked(ctx, c, where, fork)
		} else if err != nil && ctx.Err() == nil {
			c.Findf(report.Failed, "%s: head of size %d could not be compared: %v", where, h.Size, err)
		}
	})
}

// forked notes two heads that exclude each other.
func (a *auditor) forked(ctx context.Context, c *report.Check, where string, fork *tlogclient.ForkError) {
	f := report.Finding{Result: report.Misbehaviour, Text: fmt.Sprintf("%s: %v", where, fork)}
	a.misbehaves(ctx, c, f, func() (*evidence.Evidence, error) { return fork.Evidence(a.site.Key) })
}
