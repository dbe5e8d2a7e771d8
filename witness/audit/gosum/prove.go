// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package gosum

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/internal/record"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/bundle"
	"example.org/sumlog/witness/audit/site"
)

// Limits of a [Prove].
const (
	lookupsAtOnce = 8
	maxFailures   = 10 // lookups that fail in a row, after which no more are made
)

// A Config configures [Prove]. Site and Trust are required.
type Config struct {
	Site  *site.Site
	Trust Trust

	// Known is the newest head of an earlier run, to which everything must be
	// consistent; its zero value is none.
	Known tlogclient.Head

	// Saw is called with each head seen, before it is compared with others, so
	// that a head which turns out to be of another history is not forgotten.
	Saw func(tlogclient.Head) error

	// Progress is called, from one goroutine at a time, with how much is done.
	Progress func(done, total int64)
}

// A Set is a set of records that are proven under one head.
type Set struct {
	Key          *checkpoint.Key
	Head         tlogclient.Head
	Cosignatures []policy.Cosignature

	// Untrusted says why Head does not count by policy, although the key has
	// signed it; nil if it does.
	Untrusted error

	// Newest is the largest head seen; Head and all others are consistent with it.
	Newest tlogclient.Head

	// Heads are all heads seen.
	Heads []tlogclient.Head

	// Evidence is what was found on the way of records and lookups that a log
	// must not have.
	Evidence []*evidence.Evidence

	known   tlogclient.Head
	answers map[module.Version]answer
	byName  map[module.Version]bundle.Entry
	hashes  tlog.HashReader // of Newest
}

// An answer is what came of a lookup; head is that in its note.
type answer struct {
	tlogclient.Answer
	time time.Time
	head tlogclient.Head
	err  error // also why it is not proven
}

// Prove looks mods up and proves their records. What cannot be proven of one module
// is said by [Set.Find]. An error is about all of them; it is a
// *[tlogclient.ForkError] or *[tlogclient.StaleError], if that is what was seen.
func Prove(ctx context.Context, c Config, mods []module.Version) (*Set, error) {
	if c.Site.Database == nil {
		return nil, fmt.Errorf("%s: the log has no lookups", c.Site.URL)
	}
	s := &Set{Key: c.Site.Key, known: c.Known, answers: make(map[module.Version]answer), byName: make(map[module.Version]bundle.Entry)}
	var err error
	// Before any lookup, so that a log which is not there costs one request.
	if s.Head, err = c.Site.Log().Head(ctx); err != nil {
		return nil, err
	}
	if err := s.lookup(ctx, c, mods); err != nil {
		return nil, err
	}
	if err := s.choose(ctx, c); err != nil {
		return nil, err
	}
	if err := s.compare(ctx, c.Site.Log()); err != nil {
		return nil, err
	}
	if err := s.include(ctx, c.Site); err != nil {
		return nil, err
	}
	n, err := checkpoint.ParseNote(s.Head.Note)
	if err != nil {
		return nil, err
	}
	s.Cosignatures, s.Untrusted = c.Trust.Check(s.Key, n)
	return s, nil
}

// lookup asks for all modules, several at once.
func (s *Set) lookup(ctx context.Context, c Config, mods []module.Version) error {
	var mu sync.Mutex
	heads := make(map[string]tlogclient.Head) // by note
	failures := 0                             // in a row
	var g errgroup.Group
	g.SetLimit(lookupsAtOnce)
	for _, m := range mods {
		g.Go(func() error {
			mu.Lock()
			giveUp := failures >= maxFailures
			mu.Unlock()
			a := answer{err: errors.New("not asked for: too many lookups have failed before")}
			if !giveUp {
				a.Answer, a.err = c.Site.Database.Lookup(ctx, m.Path, m.Version)
				a.time = time.Now().UTC().Truncate(time.Second)
			}
			mu.Lock()
			defer mu.Unlock()
			failures++
			if a.err == nil || errors.Is(a.err, fs.ErrNotExist) {
				failures = 0
			}
			if a.err == nil {
				var ok bool
				if a.head, ok = heads[string(a.Note)]; !ok {
					a.head, a.err = tlogclient.ParseHead(a.Note, tlogclient.DatabaseOrigin, s.Key)
					heads[string(a.Note)] = a.head
				} else if a.head.Note == nil {
					a.err = fmt.Errorf("%w: its note", tlogclient.ErrHead)
				}
			}
			s.answers[m] = a
			if c.Progress != nil {
				c.Progress(int64(len(s.answers)), int64(len(mods)))
			}
			return nil
		})
	}
	g.Wait()
	return ctx.Err()
}

// choose chooses the head that all is proven under: the log's newest, if that has
// all records, and else that of a lookup. A lookup may have admitted the record
// that it answers with, and a head may come out of some cache.
func (s *Set) choose(ctx context.Context, c Config) (err error) {
	var last int64 = -1 // index
	var largest tlogclient.Head
	for _, a := range s.answers {
		if a.err != nil {
			continue
		}
		last = max(last, a.Index)
		if a.head.Size > largest.Size {
			largest = a.head
		}
	}
	if last >= s.Head.Size {
		s.Heads = append(s.Heads, s.Head)
		if s.Head, err = c.Site.Log().Head(ctx); err != nil {
			return err
		}
	}
	if last >= s.Head.Size && largest.Size > s.Head.Size {
		s.Heads = append(s.Heads, s.Head)
		s.Head = largest
	}
	s.Heads = append(s.Heads, s.Head)
	for _, a := range s.answers {
		if a.err == nil {
			s.Heads = append(s.Heads, a.head)
		}
	}
	// The newest last, and of one tree each only once.
	slices.SortStableFunc(s.Heads, func(a, b tlogclient.Head) int { return int(min(max(a.Size-b.Size, -1), 1)) })
	s.Heads = slices.CompactFunc(s.Heads, func(a, b tlogclient.Head) bool { return a.Tree() == b.Tree() && a.Origin == b.Origin })
	s.Newest = s.Heads[len(s.Heads)-1]
	for _, h := range s.Heads {
		if c.Saw == nil {
			break
		}
		if err := c.Saw(h); err != nil {
			return err
		}
	}
	return nil
}

// compare proves that all heads seen are of one history, the one known included.
func (s *Set) compare(ctx context.Context, log *tlogclient.Log) error {
	s.hashes = log.Hashes(ctx, s.Newest.Tree())
	for _, h := range s.Heads {
		root := h.Root
		var err error
		switch h.Size {
		case 0: // ParseHead has checked its root
		case s.Newest.Size:
			root = s.Newest.Root
		default:
			root, err = tlog.TreeHash(h.Size, s.hashes)
		}
		if err != nil {
			return err
		}
		if root != h.Root {
			_, err := log.Extend(ctx, h, s.Newest)
			return err
		}
	}
	if s.known.Size == 0 || s.known.Tree() == s.Newest.Tree() {
		return nil
	}
	_, err := log.Extend(ctx, s.known, s.Newest)
	return err
}

// include proves that the answers are the entries at their indexes.
func (s *Set) include(ctx context.Context, st *site.Site) error {
	var mods []module.Version
	var stored []int64
	for m, a := range s.answers {
		switch {
		case a.err != nil:
		case a.Index >= s.Head.Size:
			a.err = fmt.Errorf("at %d, which no head has that the log shows", a.Index)
			s.answers[m] = a
			s.accuse(ctx, st, m, a, tlog.Hash{})
		default:
			mods = append(mods, m)
		}
	}
	slices.SortFunc(mods, func(a, b module.Version) int { return int(s.answers[a].Index - s.answers[b].Index) })
	for _, m := range mods {
		stored = append(stored, tlog.StoredHashIndex(0, s.answers[m].Index))
	}
	leaves, err := s.hashes.ReadHashes(stored)
	if err != nil {
		return err
	}
	for i, m := range mods {
		a := s.answers[m]
		e, err := s.entry(m, a, leaves[i])
		if err == nil {
			s.byName[m] = e
			continue
		}
		a.err = err
		s.answers[m] = a
		s.accuse(ctx, st, m, a, leaves[i])
	}
	return nil
}

func (s *Set) entry(m module.Version, a answer, leaf tlog.Hash) (bundle.Entry, error) {
	if tlog.RecordHash(a.Text) != leaf {
		return bundle.Entry{}, fmt.Errorf("the lookup's record is not the one at %d", a.Index)
	}
	r, err := record.Parse(a.Text)
	if err != nil {
		return bundle.Entry{}, fmt.Errorf("the record at %d is malformed: %v", a.Index, err)
	}
	if string(r.Path) != m.Path || string(r.Version) != m.Version {
		return bundle.Entry{}, fmt.Errorf("the lookup's record at %d is that of %s@%s", a.Index, r.Path, r.Version)
	}
	return bundle.Entry{Index: a.Index, Record: r}, nil
}

// accuse makes evidence of an answer with a record that is malformed, or that is not
// the one at its index, if the log gives what it takes. Where the record really is
// is not known: against a false index stands the record that is there, and against
// one behind the end of the log its last record.
func (s *Set) accuse(ctx context.Context, st *site.Site, m module.Version, a answer, leaf tlog.Hash) {
	n, err := checkpoint.ParseNote(s.Head.Note)
	if err != nil || s.Head.Size == 0 {
		return
	}
	text, index := a.Text, min(a.Index, s.Head.Size-1)
	honest := tlog.RecordHash(text) == leaf
	if !honest {
		width := int(min(256, s.Head.Size-index&^255))
		entries, err := st.Log().Bundle(ctx, index>>8, width)
		if err != nil {
			return
		}
		text = entries[index&255] // Observe verifies the proof of it
	}
	proof, err := tlog.ProveRecord(s.Head.Size, index, s.hashes)
	if err != nil {
		return
	}
	p := evidence.Proven{Key: s.Key, Note: n, Index: index, Record: text, Proof: proof}
	var e *evidence.Evidence
	if honest {
		e, err = evidence.Malformed(p)
	} else {
		e, err = evidence.Observe(p, evidence.Answer{Service: evidence.Lookup, URL: lookupURL(st, m), Time: a.time, Status: 200, Body: a.Body})
	}
	if err == nil {
		s.Evidence = append(s.Evidence, e)
	}
}

// lookupURL returns where the lookup of m was made.
func lookupURL(st *site.Site, m module.Version) string {
	path, _ := module.EscapePath(m.Path)
	version, _ := module.EscapeVersion(m.Version)
	return st.Address(st.Place + "lookup/" + path + "@" + version)
}

// Find implements [Finder].
func (s *Set) Find(path, version string) (bundle.Entry, Verdict, string) {
	m := module.Version{Path: path, Version: version}
	if e, ok := s.byName[m]; ok {
		return e, OK, ""
	}
	a, ok := s.answers[m]
	switch {
	case !ok:
		return bundle.Entry{}, Unchecked, "not asked for"
	case errors.Is(a.err, fs.ErrNotExist):
		return bundle.Entry{}, NotLogged, "the log says that it has no such version"
	}
	return bundle.Entry{}, Unchecked, a.err.Error()
}

// Bundle returns the bundle of all records.
func (s *Set) Bundle() (*bundle.Bundle, error) {
	n, err := checkpoint.ParseNote(s.Head.Note)
	if err != nil {
		return nil, err
	}
	var records []bundle.Record
	for _, e := range s.byName {
		records = append(records, bundle.Record{Index: e.Index, Text: e.Text()})
	}
	records, proof, err := bundle.Prove(s.Head.Size, records, s.hashes)
	if err != nil {
		return nil, err
	}
	return bundle.New(s.Key, n, records, proof)
}

// Proven returns the record of a module version as evidence has it.
func (s *Set) Proven(path, version string) (evidence.Proven, error) {
	index, _, proof, err := s.Inclusion(path, version)
	if err != nil {
		return evidence.Proven{}, err
	}
	n, err := checkpoint.ParseNote(s.Head.Note)
	if err != nil {
		return evidence.Proven{}, err
	}
	e := s.byName[module.Version{Path: path, Version: version}]
	return evidence.Proven{Key: s.Key, Note: n, Index: index, Record: e.Text(), Proof: proof}, nil
}

// Inclusion returns the inclusion proof of the record of a module version under Head.
func (s *Set) Inclusion(path, version string) (index int64, leaf tlog.Hash, proof []tlog.Hash, err error) {
	e, ok := s.byName[module.Version{Path: path, Version: version}]
	if !ok {
		return 0, leaf, nil, fmt.Errorf("%s@%s is not proven", path, version)
	}
	proof, err = tlog.ProveRecord(s.Head.Size, e.Index, s.hashes)
	return e.Index, tlog.RecordHash(e.Text()), proof, err
}
