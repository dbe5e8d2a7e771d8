// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"example.org/sumlog/log"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/mod/module"
)

// Admit gets a module version into the log. When it returns nil the entry is
// published.
type Admit func(ctx context.Context, m module.Version) error

// An ErrorHandler answers a request that err stands in the way of.
type ErrorHandler func(w http.ResponseWriter, r *http.Request, err error)

// Lookup returns the handler of /lookup/M@V, the go command's question for the
// record of a module version: the index of its entry, the record, a blank line,
// and the newest published tree head.
//
// A module version that is not in the log is given to admit, and looked for
// again; onError answers if admit fails. If admit is nil the answer is 404.
//
// The answer may be kept for a minute: the entry never changes, and an older
// tree head stays true, as long as it covers the entry.
func (x *Index) Lookup(admit Admit, onError ErrorHandler) http.Handler {
	answers := newAnswers(answerBytes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !allowed(w, r) {
			return
		}
		// The path names the module version in one spelling only, so it is the
		// key; it is in the map only if it has been through parseLookup.
		answer, ok := answers.get(r.URL.Path)
		if !ok {
			m, err := parseLookup(r.URL.Path)
			if err != nil {
				fail(w, http.StatusBadRequest, err.Error())
				return
			}
			e, ok, err := x.published(m)
			if err == nil && !ok && admit != nil {
				if err := admit(r.Context(), m); err != nil {
					onError(w, r, err)
					return
				}
				if e, ok, err = x.published(m); err == nil && !ok {
					err = fmt.Errorf("%s was admitted but is not published", m)
				}
			}
			if err != nil {
				x.internal(w, r, err)
				return
			}
			if !ok {
				fail(w, http.StatusNotFound, fmt.Sprintf("not found: %s is not in this log", m))
				return
			}
			answer = appendAnswer(make([]byte, 0, answerSize), e)
			answers.add(r.URL.Path, answer)
		}
		// Taken after the entry was seen to be published, so it covers it.
		head := x.source.Published().TreeHead
		h := w.Header()
		h["Content-Type"] = textType
		h["Cache-Control"] = minute
		h["X-Content-Type-Options"] = noSniff
		h["Content-Length"] = []string{strconv.Itoa(len(answer) + len(head))}
		w.Write(answer)
		w.Write(head)
	})
}

var minute = []string{"max-age=60"}

// published returns the entry of m if it is published.
func (x *Index) published(m module.Version) (log.Entry, bool, error) {
	e, ok, err := x.Find(m)
	return e, ok && e.Index < x.source.Published().Size, err
}

// appendAnswer appends what an answer says before the tree head.
func appendAnswer(b []byte, e log.Entry) []byte {
	b = strconv.AppendInt(b, e.Index, 10)
	b = append(b, '\n')
	b = e.Record.AppendText(b)
	return append(b, '\n')
}

// parseLookup parses the path of a lookup, /lookup/ and the escaped path and
// version with an @ between them. It accepts exactly what could be in a log, so
// that nothing else costs more than its parsing.
func parseLookup(path string) (m module.Version, err error) {
	name, ok := strings.CutPrefix(path, "/lookup/")
	if !ok || len(name) > log.MaxRecord {
		return m, errors.New("this is no lookup")
	}
	i := strings.LastIndexByte(name, '@')
	if i < 0 {
		return m, errors.New("a lookup is /lookup/MODULE@VERSION")
	}
	if m.Path, err = module.UnescapePath(name[:i]); err != nil {
		return m, errors.New("the module path is not valid, or upper case is not escaped")
	}
	if m.Version, err = module.UnescapeVersion(name[i+1:]); err != nil {
		return m, errors.New("the version is not valid, or upper case is not escaped")
	}
	// Unescaping has checked the path, which is most of what module.Check does.
	_, major, _ := module.SplitPathVersion(m.Path)
	if m.Version == "" || module.CanonicalVersion(m.Version) != m.Version || module.CheckPathMajor(m.Version, major) != nil {
		return m, errors.New("the version is not a canonical one of that module path")
	}
	return m, nil
}

// answerBytes bounds what is kept of finished answers.
const answerBytes = 16 << 20

// answerSize is what most answers fit into.
const answerSize = 320

// answerCost is what an answer costs beside its bytes: an element of the list
// and of the map.
const answerCost = 160

// answers keeps the finished answers used last, by path of the request. Only
// published entries are in it, which never change.
type answers struct {
	mu    sync.Mutex
	lru   *simplelru.LRU[string, []byte]
	bytes int // of what is in lru
	max   int
}

func newAnswers(maxBytes int) *answers {
	a := &answers{max: maxBytes}
	// The bound in elements is the one that max implies.
	a.lru, _ = simplelru.NewLRU(maxBytes/answerCost+1, func(path string, answer []byte) {
		a.bytes -= len(path) + len(answer) + answerCost
	})
	return a
}

func (a *answers) get(path string) ([]byte, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lru.Get(path)
}

func (a *answers) add(path string, answer []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lru.Contains(path) {
		return
	}
	// The request's memory, of which path is a part, must not be held.
	a.lru.Add(strings.Clone(path), answer)
	a.bytes += len(path) + len(answer) + answerCost
	for a.bytes > a.max {
		a.lru.RemoveOldest()
	}
}
