// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.org/sumlog/internal/descriptors"
	"example.org/sumlog/internal/sqlite"
	"golang.org/x/mod/module"
)

// maxPage is the largest page of the feed, and the default.
const maxPage = 2000

// maxUnder is up to how many entries under a path are sorted for a page of
// them. Where there are more, they are dense enough to be found by going through
// the feed.
const maxUnder = 20_000

// A feedQuery says which page of the feed is asked for.
type feedQuery struct {
	since  int64  // least time
	first  int64  // least index
	limit  int    // 1 to maxPage
	prefix string // path that modules have or are below; "" for all
}

// A queryError is a mistake in a request, in a sentence.
type queryError string

func (e queryError) Error() string { return string(e) }

// parseFeedQuery parses the query of a request for the feed. A parameter that
// is empty counts as absent, one that is unknown is ignored.
func parseFeedQuery(raw string) (feedQuery, error) {
	q := feedQuery{since: noTime, limit: maxPage}
	v, err := url.ParseQuery(raw)
	if err != nil {
		return q, queryError("the query is not well-formed")
	}
	if s := v.Get("since"); s != "" {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return q, queryError("since must be a time as in RFC 3339, such as 2026-01-02T15:04:05.999999Z (in a query, + is written %2B)")
		}
		// Entries have whole microseconds, of which the first not before t counts.
		q.since = t.Add(time.Microsecond - time.Nanosecond).UnixMicro()
	}
	if s := v.Get("limit"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if (err != nil && !errors.Is(err, strconv.ErrRange)) || n == 0 {
			return q, queryError("limit must be a number from 1 to 2000")
		}
		q.limit = int(min(n, maxPage))
	}
	if s := v.Get("after"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < -1 || n+1 < 0 {
			return q, queryError("after must be the index of an entry, or -1")
		}
		q.first = n + 1
	}
	if s := strings.TrimSuffix(v.Get("prefix"), "/"); s != "" {
		if module.CheckImportPath(s) != nil {
			return q, queryError("prefix must be a module path or the first elements of one")
		}
		q.prefix = s
	}
	return q, nil
}

// Feed returns the handler of /index: the published entries in the order in
// which they were logged, a line of JSON each, as the Go team's index has them.
//
//	since=TIME    entries first published at TIME or later
//	limit=N       at most N entries, by default and at most 2000; more counts as 2000
//	include=all   no difference, since nothing is left out
//	after=INDEX   entries beyond INDEX
//	prefix=PATH   modules whose path is PATH or begins with "PATH/"
//
// A page with fewer entries than its limit ends with the newest. Times are
// strictly increasing, so that a client who asks for those since the last one it
// has, plus a microsecond, misses nothing and gets nothing twice.
func (x *Index) Feed() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !allowed(w, r) {
			return
		}
		if r.URL.Path != "/index" {
			fail(w, http.StatusNotFound, "not found")
			return
		}
		q, err := parseFeedQuery(r.URL.RawQuery)
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		s := x.pages.Get().(*span)
		defer x.pages.Put(s)
		x.using.RLock()
		page, err := x.page(r.Context(), q, s)
		// Before another database is there, for whose damage it would be taken.
		err = x.noticed(err)
		x.using.RUnlock()
		if err != nil {
			x.internal(w, r, err)
			return
		}
		h := w.Header()
		h["Content-Type"] = jsonType
		h["Cache-Control"] = noCache
		h["X-Content-Type-Options"] = noSniff
		h["Content-Length"] = []string{strconv.Itoa(len(page))}
		w.Write(page)
	})
}

// page returns the text of a page. It may be in s.
func (x *Index) page(ctx context.Context, q feedQuery, s *span) ([]byte, error) {
	size := x.source.Published().Size
	s.reset(0)
	if q.prefix != "" {
		return x.pageUnder(ctx, q, size, s)
	}
	r, err := x.reader()
	if err != nil {
		return nil, err
	}
	defer x.readers.put(r)
	from, err := x.file.firstOf(r, q, size, s)
	if err != nil || from >= size {
		return nil, err
	}
	return x.file.lines(r, from, from+min(int64(q.limit), size-from), s)
}

// pageUnder returns a page of the entries under q.prefix. Few are found by name
// and sorted by index; many are found by going through the feed. Either may read
// much, so only one request at a time does it.
func (x *Index) pageUnder(ctx context.Context, q feedQuery, size int64, s *span) ([]byte, error) {
	if x.readers == nil {
		return nil, ErrDamaged
	}
	var r *reader
	select {
	case r = <-x.scanner:
		defer func() { x.scanner <- r }()
	case <-x.readers.done:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	page, err := r.sortUnder(q, size)
	if err == errMany {
		page, err = x.file.scanUnder(ctx, r, q, size, s)
	}
	return page, err
}

// scanStep is how many entries are looked at between two looks at whether the
// client is still there.
const scanStep = 128 * chunkLines

// scanUnder goes through the feed for entries under q.prefix.
func (f *lineFile) scanUnder(ctx context.Context, r *reader, q feedQuery, size int64, s *span) (page []byte, err error) {
	from, err := f.firstOf(r, q, size, s)
	if err != nil {
		return nil, err
	}
	left := q.limit
	head := []byte(linePath + q.prefix)
	for ; from < size; from += scanStep {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		text, err := f.lines(r, from, min(from+scanStep, size), s)
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(text) {
			if bytes.HasPrefix(line, head) && (line[len(head)] == '/' || line[len(head)] == '"') {
				page = append(page, line...)
				if left--; left == 0 {
					return page, nil
				}
			}
		}
	}
	return page, nil
}

// Header values that all answers share.
var (
	jsonType = []string{"application/json"}
	textType = []string{"text/plain; charset=utf-8"}
	noCache  = []string{"no-cache"}
	noStore  = []string{"no-store"}
	noSniff  = []string{"nosniff"}
)

// allowed reports whether r's method is one that this package serves, and
// answers if not.
func allowed(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	fail(w, http.StatusMethodNotAllowed, fmt.Sprintf("method %.20q is not allowed here", r.Method))
	return false
}

// fail answers with a status and one sentence. Errors must not be kept by
// caches: what is not there now may be in a second.
func fail(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h["Content-Type"] = textType
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// internal logs err and answers 500, 503 if it passes, or nothing to a client that
// has gone.
func (x *Index) internal(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return
	}
	x.logger.Error("index request failed", "path", r.URL.Path, "err", err)
	if errors.Is(err, ErrDamaged) {
		w.Header().Set("Retry-After", "60")
		fail(w, http.StatusServiceUnavailable, "the server's index is damaged and is being made again from the log, try again in some minutes")
		return
	}
	if descriptors.Short(sqlite.Shortage(err)) {
		w.Header().Set("Retry-After", "5")
		fail(w, http.StatusServiceUnavailable, "the server is short of files or memory, try again in a moment")
		return
	}
	fail(w, http.StatusInternalServerError, "internal error; the server's log has the cause")
}
