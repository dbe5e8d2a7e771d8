// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package admit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"example.org/sumlog/internal/lanes"
	"example.org/sumlog/log"
	"example.org/sumlog/mirror/store"
)

const (
	fresh      = time.Minute     // how long an answer is used without asking again
	patience   = 2 * time.Second // how long one with another answer waits for a new one
	maxAsking  = time.Minute     // of one question
	maxAnswers = 16 << 20        // bytes of kept answers
	maxList    = 4 << 20         // bytes of a list
	maxAsked   = 1 << 20         // bytes of a .mod that is asked for what it retracts
)

// A question is a path of the GOPROXY protocol that a module has.
type question struct {
	path string // of the module
	rest string // escaped: @latest, @v/list, @v/QUERY.info, @v/VERSION.mod
}

const (
	latest = "@latest"
	list   = "@v/list"
)

// infoOf is the question for the .info of m, whose name is valid.
func infoOf(m module.Version) question {
	v, _ := module.EscapeVersion(m.Version)
	return question{m.Path, "@v/" + v + ".info"}
}

// An answer is what an upstream said: data, or that there is nothing.
type answer struct {
	data []byte
	src  Source
	none error // fs.ErrNotExist
	at   time.Time
}

func (q question) cost(a *answer) int { return len(a.data) + len(q.path) + len(q.rest) + 256 }

// asking is a question under way. ans and err are set before done is closed.
type asking struct {
	question
	done   chan struct{}
	began  time.Time
	place  *lanes.Place // nil: it has that of the flight that asks
	cancel context.CancelFunc
	ans    *answer
	err    error

	// Guarded by Service.mu.
	waiters int
	refresh bool // goes on without waiters: the next ones will be answered by it
}

// Listed is a version of a list.
type Listed struct {
	Version string

	// Time is what the list says; of a pseudo-version of which it says nothing,
	// its own. It is zero for another version without a time, and for one of which
	// the list says what is no time.
	Time time.Time
}

// List returns the versions that an upstream lists for the module path, those
// that it could never serve left out, sorted. Pseudo-versions, which do not belong
// there, are among them: where nothing else says what is the latest, they do.
//
// With hurry, which says that the caller has an answer of its own, it waits no
// longer than two seconds; the same holds for Latest, Info and Mod.
func (s *Service) List(ctx context.Context, path string, hurry bool) ([]Listed, error) {
	data, err := s.resolve(ctx, question{path, list}, hurry)
	if err != nil {
		return nil, err
	}
	var versions []Listed
	for line := range strings.Lines(string(data)) {
		versions = append(versions, parseListed(line))
	}
	return versions, nil
}

// parseListed parses a line of a list as the go command does.
func parseListed(line string) (l Listed) {
	f := strings.Fields(line)
	if len(f) > 0 {
		l.Version = f[0]
	}
	if len(f) > 1 {
		l.Time, _ = time.Parse(time.RFC3339, f[1])
	} else if module.IsPseudoVersion(l.Version) {
		l.Time, _ = module.PseudoVersionTime(l.Version)
	}
	return l
}

// Latest returns the .info of the version that an upstream calls the latest.
func (s *Service) Latest(ctx context.Context, path string, hurry bool) ([]byte, error) {
	return s.resolve(ctx, question{path, latest}, hurry)
}

// Info returns the .info that an upstream gives for query: a version, a branch,
// a commit. It names a canonical version, and that of the query if that is one.
func (s *Service) Info(ctx context.Context, path, query string, hurry bool) ([]byte, error) {
	v, err := module.EscapeVersion(query)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	return s.resolve(ctx, question{path, "@v/" + v + ".info"}, hurry)
}

// Mod returns the .mod that an upstream gives for m, which no record binds: it is
// good for what a retraction in it says, and never to be served. One of more than a
// mebibyte is an error: it could not be kept, and be fetched for every request.
func (s *Service) Mod(ctx context.Context, m module.Version, hurry bool) ([]byte, error) {
	v, err := module.EscapeVersion(m.Version)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	return s.resolve(ctx, question{m.Path, "@v/" + v + ".mod"}, hurry)
}

func (s *Service) resolve(ctx context.Context, q question, hurry bool) ([]byte, error) {
	wait := s.c.Brief
	if hurry {
		wait = min(wait, patience)
	}
	a, err := s.ask(ctx, q, wait)
	if err != nil {
		return nil, err
	}
	return a.data, nil
}

// ask returns the answer to q: one not older than a minute, or what comes
// within wait, or else an older one. Time spent on the question before the
// call counts, so that an upstream that hangs delays one request and not each.
// (Only a wait of more than two seconds is counted from the call.)
func (s *Service) ask(ctx context.Context, q question, wait time.Duration) (*answer, error) {
	to, err := s.route(q.path)
	if err != nil {
		return nil, err
	}
	kept, ok := to.answers.Get(q)
	if ok && time.Since(kept.at) < fresh {
		return kept, kept.none
	}
	// That something was absent a minute ago is no answer any more.
	ok = ok && kept.none == nil
	if ok {
		wait = min(wait, patience)
	}
	var ans *answer
	for end := time.Now().Add(wait); ; {
		a, mine, qerr := s.question(ctx, to, q)
		if qerr != nil {
			return nil, qerr
		}
		hurry := wait <= patience
		wait := time.Until(end)
		if hurry {
			wait -= time.Since(a.began)
		}
		if ans, err = s.await(ctx, a, wait, hurry); err == nil || mine || ctx.Err() != nil || !another(err) {
			break
		}
	}
	if err != nil && ok && ctx.Err() == nil {
		return kept, nil
	}
	if err != nil {
		return nil, err
	}
	return ans, ans.none
}

// another reports whether err is the lot of somebody else's question: it ended with
// his flight, or with his share of the places.
func another(err error) bool {
	return err == ErrBusy || errors.Is(err, context.Canceled)
}

// await waits for the answer to a. With hurry, a goes on without who waits.
func (s *Service) await(ctx context.Context, a *asking, wait time.Duration, hurry bool) (*answer, error) {
	defer s.leave(a)
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	select {
	case <-a.done:
		return a.ans, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timeout.C:
	}
	select {
	case <-a.done: // also if the timer had run out by the time of the call
		return a.ans, a.err
	default:
	}
	if hurry {
		s.mu.Lock()
		a.refresh = true
		s.mu.Unlock()
	}
	return nil, fmt.Errorf("%s/%s: %w", a.path, a.rest, ErrTimeout)
}

// leave is the end of a waiter. What nobody waits for any more is dropped.
func (s *Service) leave(a *asking) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.waiters--; a.waiters > 0 || a.refresh {
		return
	}
	if s.asking[a.question] == a {
		delete(s.asking, a.question)
	}
	a.cancel()
}

// question returns the asking of q, starting one if there is none: then it is mine.
// Who gets it waits for it.
func (s *Service) question(ctx context.Context, to route, q question) (a *asking, mine bool, err error) {
	s.mu.Lock()
	a = s.asking[q]
	if a != nil {
		a.waiters++
	}
	place := lanes.PlaceOf(ctx)
	if a == nil && !s.closed {
		a, mine = s.start(ctx, to, q, place != nil), true
	}
	s.mu.Unlock()
	switch {
	case a == nil:
		return nil, false, log.ErrClosed
	case !mine && a.place != nil:
		a.place.Offer(lanes.ClientOf(ctx))
	}
	return a, mine, nil
}

// start is question's with s.mu held. What is asked for a flight is asked in the
// place that the flight has, and ends with that: without one it would take a
// connection that is nobody's part.
func (s *Service) start(ctx context.Context, to route, q question, placed bool) *asking {
	of := s.ctx
	if placed {
		of = ctx
	}
	work, cancel := context.WithTimeout(of, maxAsking)
	a := &asking{question: q, done: make(chan struct{}), began: time.Now(), cancel: cancel, waiters: 1}
	s.asking[q] = a
	to.busy++
	if !placed {
		a.place = to.asks.New(lanes.Work{
			Client: lanes.ClientOf(ctx), Host: hostOf(q.path), Subject: q.path, Wanted: func() bool { return s.wanted(a) },
		})
	}
	s.wg.Go(func() {
		defer cancel()
		a.ans, a.err = s.answer(work, to, a)
		if a.err == nil {
			to.answers.Put(q, a.ans)
		} else if s.ctx.Err() != nil {
			a.err = log.ErrClosed
		}
		s.mu.Lock()
		if s.asking[q] == a {
			delete(s.asking, q)
		}
		to.idle()
		s.mu.Unlock()
		close(a.done)
	})
	return a
}

// wanted reports whether anybody waits for a.
func (s *Service) wanted(a *asking) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return a.waiters > 0
}

// answer asks the upstreams, when there is a place.
func (s *Service) answer(ctx context.Context, to route, a *asking) (ans *answer, err error) {
	if a.place == nil {
		return s.get(ctx, to, a.question)
	}
	err = a.place.Do(ctx, func(ctx context.Context) (err error) {
		ans, err = s.get(ctx, to, a.question)
		return err
	})
	return ans, busy(err)
}

// get asks the upstreams.
func (s *Service) get(ctx context.Context, to route, q question) (*answer, error) {
	escaped, err := module.EscapePath(q.path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	data, src, err := to.chain.Get(ctx, escaped+"/"+q.rest, q.limit())
	if errors.Is(err, fs.ErrNotExist) {
		return &answer{none: err, at: time.Now()}, nil
	}
	if err != nil {
		return nil, err
	}
	switch {
	case q.rest == list:
		data, err = parseList(q.path, data)
	case !strings.HasSuffix(q.rest, ".mod"):
		err = checkInfo(q, data)
	}
	if err != nil {
		return nil, &GarbageError{err}
	}
	return &answer{data: data, src: src, at: time.Now()}, nil
}

// limit is how many bytes an answer may have.
func (q question) limit() int64 {
	switch {
	case q.rest == list:
		return maxList
	case strings.HasSuffix(q.rest, ".mod"):
		return maxAsked
	}
	return store.MaxInfo
}

// parseList returns the versions of a @v/list that could be served, sorted, one a
// line, with its time if the line has one. What else stands in a line, and lines
// that have no such version, are passed over, as the go command does. Markup is no
// list, but the page of a login, say: it must not pass for an empty one.
func parseList(path string, data []byte) ([]byte, error) {
	if isMarkup(data) {
		return nil, fmt.Errorf("%s/%s: a page, not a list of versions", path, list)
	}
	times := make(map[string]time.Time)
	for line := range strings.Lines(string(data)) {
		l := parseListed(line)
		if _, err := store.Name(module.Version{Path: path, Version: l.Version}, store.Info); err != nil {
			continue
		}
		if at, ok := times[l.Version]; !ok || at.Before(l.Time) {
			times[l.Version] = l.Time
		}
	}
	versions := slices.Collect(maps.Keys(times))
	semver.Sort(versions)
	for i, v := range versions {
		if at := times[v]; !at.IsZero() || module.IsPseudoVersion(v) {
			versions[i] += at.Format(" " + time.RFC3339)
		}
	}
	return []byte(strings.Join(versions, "\n")), nil
}

// isMarkup reports whether data is HTML, XML or JSON, none of which begins as a
// version does.
func isMarkup(data []byte) bool {
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\ufeff")))
	return len(data) > 0 && strings.IndexByte("<{[", data[0]) >= 0
}

// checkInfo checks an answer of JSON: it names a version that can be of this
// module, and just the one asked for if that is such a version.
func checkInfo(q question, data []byte) error {
	var i store.VersionInfo
	if err := json.Unmarshal(data, &i); err != nil {
		return fmt.Errorf("%s/%s: malformed JSON", q.path, q.rest)
	}
	m := module.Version{Path: q.path, Version: i.Version}
	if _, err := store.Name(m, store.Info); err != nil {
		return fmt.Errorf("%s/%s: names version %q: %w", q.path, q.rest, i.Version, err)
	}
	if q.rest == latest || q == infoOf(m) {
		return nil
	}
	v, err := module.UnescapeVersion(strings.TrimSuffix(strings.TrimPrefix(q.rest, "@v/"), ".info"))
	if err != nil {
		return err
	}
	if _, err := store.Name(module.Version{Path: q.path, Version: v}, store.Info); err == nil {
		return fmt.Errorf("%s/%s: names version %q", q.path, q.rest, i.Version)
	}
	return nil
}

// outdate makes what is kept about m's module be asked again, because m was
// just admitted: absence is forgotten, lists are no longer new.
func (d *side) outdate(m module.Version) {
	for _, q := range []question{{m.Path, list}, {m.Path, latest}, infoOf(m)} {
		a, ok := d.answers.Get(q)
		switch {
		case !ok:
		case a.none != nil:
			d.answers.Delete(q)
		case !strings.HasSuffix(q.rest, ".info"):
			d.answers.Put(q, &answer{data: a.data, src: a.src})
		}
	}
}
