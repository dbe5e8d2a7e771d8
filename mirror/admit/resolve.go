// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package admit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"example.org/sumlog/log"
	"example.org/sumlog/mirror/store"
)

const (
	fresh      = time.Minute     // how long an answer is used without asking again
	patience   = 2 * time.Second // how long one with another answer waits for a new one
	maxAsking  = time.Minute     // of one question
	maxAnswers = 16 << 20        // bytes of kept answers
	maxList    = 4 << 20         // bytes of a list
)

// A question is a path of the GOPROXY protocol that a module has.
type question struct {
	path string // of the module
	rest string // escaped: @latest, @v/list, @v/QUERY.info
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
	done  chan struct{}
	began time.Time
	ans   *answer
	err   error
}

// List returns the versions that an upstream lists for the module path, those
// that it could never serve and pseudo-versions left out, sorted.
//
// With hurry, which says that the caller has an answer of its own, it waits no
// longer than two seconds; the same holds for Latest and Info.
func (s *Service) List(ctx context.Context, path string, hurry bool) ([]string, error) {
	data, err := s.resolve(ctx, question{path, list}, hurry)
	return strings.Fields(string(data)), err
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

func (s *Service) resolve(ctx context.Context, q question, hurry bool) ([]byte, error) {
	wait := s.c.Wait
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
	kept, ok := s.answers.Get(q)
	if ok && time.Since(kept.at) < fresh {
		return kept, kept.none
	}
	// That something was absent a minute ago is no answer any more.
	ok = ok && kept.none == nil
	fl, err := s.question(q)
	if err != nil {
		if ok {
			return kept, nil
		}
		return nil, err
	}
	if ok {
		wait = min(wait, patience)
	}
	if wait <= patience {
		wait -= time.Since(fl.began)
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	select {
	case <-fl.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timeout.C:
		err = fmt.Errorf("%s/%s: %w", q.path, q.rest, ErrTimeout)
	}
	select {
	case <-fl.done: // also if the timer had run out by the time of the call
		err = fl.err
	default:
	}
	switch {
	case err == nil:
		return fl.ans, fl.ans.none
	case ok:
		return kept, nil
	}
	return nil, err
}

// question returns the flight of q, starting one if there is none.
func (s *Service) question(q question) (*asking, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fl := s.asking[q]; fl != nil {
		return fl, nil
	}
	if s.closed {
		return nil, log.ErrClosed
	}
	if len(s.asking) >= maxPending {
		return nil, ErrBusy
	}
	fl := &asking{done: make(chan struct{}), began: time.Now()}
	s.asking[q] = fl
	s.busy++
	s.wg.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, maxAsking)
		defer cancel()
		fl.ans, fl.err = s.answer(ctx, q)
		if fl.err == nil {
			s.answers.Put(q, fl.ans)
		} else if s.ctx.Err() != nil {
			fl.err = log.ErrClosed
		}
		s.mu.Lock()
		delete(s.asking, q)
		s.idle()
		s.mu.Unlock()
		close(fl.done)
	})
	return fl, nil
}

// answer asks the upstreams.
func (s *Service) answer(ctx context.Context, q question) (*answer, error) {
	chain, private, err := s.c.Router.For(q.path)
	if err != nil {
		return nil, err
	}
	escaped, err := module.EscapePath(q.path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	release, err := s.slot(ctx, s.asks[place(private)])
	if err != nil {
		return nil, err
	}
	defer release()
	limit := int64(store.MaxInfo)
	if q.rest == list {
		limit = maxList
	}
	data, src, err := chain.Get(ctx, escaped+"/"+q.rest, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return &answer{none: err, at: time.Now()}, nil
	}
	if err != nil {
		return nil, err
	}
	if q.rest == list {
		if data, err = parseList(q.path, data); err != nil {
			return nil, &GarbageError{err}
		}
	} else if err := checkInfo(q, data); err != nil {
		return nil, &GarbageError{err}
	}
	return &answer{data: data, src: src, at: time.Now()}, nil
}

// parseList returns the versions of a @v/list that could be served, sorted,
// one a line. What stands after a version in its line, and what is no version,
// is ignored, as the go command does. Lines of which none is a version are no
// list, but the page of a login, say: it must not pass for an empty one.
func parseList(path string, data []byte) ([]byte, error) {
	var versions []string
	lines, valid := 0, 0
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		lines++
		if !semver.IsValid(f[0]) {
			continue
		}
		valid++
		if module.IsPseudoVersion(f[0]) {
			continue
		}
		if _, err := store.Name(module.Version{Path: path, Version: f[0]}, store.Info); err == nil {
			versions = append(versions, f[0])
		}
	}
	if lines > 0 && valid == 0 {
		return nil, fmt.Errorf("%s/%s: names no version", path, list)
	}
	semver.Sort(versions)
	return []byte(strings.Join(slices.Compact(versions), "\n")), nil
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
func (s *Service) outdate(m module.Version) {
	for _, q := range []question{{m.Path, list}, {m.Path, latest}, infoOf(m)} {
		a, ok := s.answers.Get(q)
		switch {
		case !ok:
		case a.none != nil:
			s.answers.Delete(q)
		case !strings.HasSuffix(q.rest, ".info"):
			s.answers.Put(q, &answer{data: a.data, src: a.src})
		}
	}
}
