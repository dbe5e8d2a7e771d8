// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"time"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/witness/audit/replay"
	"example.org/sumlog/witness/audit/report"
)

const (
	feedPage = 2000 // lines that are asked for
	maxFeed  = 32 << 20
)

// A feedLine is a line of the feed.
type feedLine struct {
	Path, Version string
	Timestamp     time.Time
}

func (l feedLine) names(e entry) bool { return l.Path == e.path && l.Version == e.version }

var errFeed = errors.New("malformed feed")

// parseFeed parses a page of the feed: JSON objects, one a line.
func parseFeed(body []byte) ([]feedLine, error) {
	lines := make([]feedLine, 0, min(bytes.Count(body, []byte("\n")), feedPage))
	for len(body) > 0 {
		text, rest, ok := bytes.Cut(body, []byte("\n"))
		if !ok {
			return nil, fmt.Errorf("%w: line %d has no end", errFeed, len(lines)+1)
		}
		var l feedLine
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&l); err != nil {
			return nil, fmt.Errorf("%w: line %d: %v", errFeed, len(lines)+1, err)
		}
		if _, err := dec.Token(); err != io.EOF || l.Path == "" || l.Version == "" || l.Timestamp.IsZero() {
			return nil, fmt.Errorf("%w: line %d: %.200q", errFeed, len(lines)+1, text)
		}
		lines = append(lines, l)
		body = rest
	}
	return lines, nil
}

// A page is a page of the feed.
type page struct {
	answer
	lines []feedLine
}

// page asks for a page of the feed.
func (a *auditor) page(ctx context.Context, query string) (page, error) {
	an, err := a.get(ctx, "index?"+query, maxFeed)
	p := page{answer: an}
	if err == nil && !an.absent() {
		p.lines, err = parseFeed(an.body)
	}
	return p, err
}

// feed compares the feed with the log and the archive (V3), and with that reads the
// archive (A4).
func (a *auditor) feed(ctx context.Context) error {
	// The entry before is looked at again for its time.
	start := max(a.c.From-1, 0)
	r := a.openArchive(ctx, start)
	defer r.stop()
	w := &walk{a: a, ctx: ctx, archive: r}
	err := w.run(start)
	if err == nil && w.there {
		err = a.queries(ctx)
	}
	if err == nil && len(w.rest.lines) > 0 {
		err = a.since(ctx, w.rest, w.odd)
	}
	r.drain()
	return err
}

// A walk goes through the feed and the log side by side.
type walk struct {
	a       *auditor
	ctx     context.Context
	archive *archive
	pull    func() (replay.Entry, error, bool)

	cur   entry     // the one that is next in the feed
	isMod bool      // cur is one that the feed must have
	more  bool      // there is cur
	last  time.Time // of the line before
	past  []entry   // those before cur, some thousands
	there bool      // there is a feed
	wrong int       // findings
	back  bool      // the line before was one that had been there
	odd   int       // lines that there may be before cur, of entries that are no records
	loose bool      // the time before cur is not known for certain
	rest  page      // what the feed has after the last entry
}

// run walks from entry start on. Its error is that of the log's entries.
func (w *walk) run(start int64) error {
	a := w.a
	if start >= a.tree.N {
		a.v3.Skip("nothing was logged")
		return nil
	}
	query := fmt.Sprintf("limit=%d", feedPage)
	if start > 0 {
		query = fmt.Sprintf("after=%d&limit=%d", start-1, feedPage)
	}
	pull, stop := iter.Pull2(a.c.Entries(w.ctx, start, a.tree.N))
	defer stop()
	w.pull = pull
	if err := w.step(); err != nil {
		return err
	}
	for first := true; w.more; first = false {
		p, err := a.page(w.ctx, query)
		switch {
		case err != nil:
			a.failed(w.ctx, a.v3, w.cur.Index, "feed: %v", err)
			return nil
		case p.absent() && first:
			a.v3.Skip("the site has no feed")
			return nil
		case p.absent():
			a.failed(w.ctx, a.v3, w.cur.Index, "feed: %s is not there (%d)", p.path, p.status)
			return nil
		}
		w.there = true
		before := w.cur.Index
		if err := w.page(p); err != nil {
			return err
		}
		if w.more && w.cur.Index == before {
			return w.end(p)
		}
		query = fmt.Sprintf("since=%s&limit=%d", stamp(w.last.Add(time.Microsecond)), feedPage)
	}
	if w.there && len(w.rest.lines) == 0 && w.wrong == 0 {
		p, err := a.page(w.ctx, query)
		if err != nil || p.absent() {
			a.failed(w.ctx, a.v3, a.tree.N, "feed: %s: %d %v", p.path, p.status, err)
			return nil
		}
		w.rest = p
	}
	return nil
}

// since looks for the lines after the last entry in what the log has grown by: its
// newest head, which is read after them, covers whatever could be in the feed. So many
// lines as odd may be of entries that are no records.
func (a *auditor) since(ctx context.Context, p page, odd int) error {
	h, err := a.log.Head(ctx)
	if err == nil {
		_, err = a.log.Extend(ctx, a.c.Head, h)
	}
	if err != nil {
		a.failed(ctx, a.v3, a.tree.N, "feed: what was logged since could not be compared: %v", err)
		return ctx.Err()
	}
	lines := p.lines
	for e, err := range replay.Entries(ctx, a.log, h.Tree(), a.tree.N, h.Size) {
		if err != nil {
			a.failed(ctx, a.v3, a.tree.N, "feed: what was logged since could not be compared: %v", err)
			return ctx.Err()
		}
		cur, ok := parseEntry(e)
		if !ok {
			odd++ // see skip
			continue
		}
		for odd > 0 && len(lines) > 0 && !lines[0].names(cur) {
			lines, odd = lines[1:], odd-1
		}
		if len(lines) == 0 || !lines[0].names(cur) {
			break
		}
		lines, odd = lines[1:], 0
	}
	if len(lines) > odd {
		l := lines[0]
		a.misbehaves(ctx, a.v3, report.Finding{Result: report.Misbehaviour,
			Text: fmt.Sprintf("feed: after entry %d it has %.200q %.100q, which is not what was logged next (%s)", a.tree.N-1, l.Path, l.Version, p.path)}, nil)
	}
	return ctx.Err()
}

// step goes to the next entry.
func (w *walk) step() error {
	e, err, ok := w.pull()
	if err != nil {
		return fmt.Errorf("entries: %w", err)
	}
	if w.more {
		w.past = append(w.past, w.cur)
	}
	if len(w.past) > 2*feedPage {
		w.past = slices.Delete(w.past, 0, feedPage)
	}
	if w.more = ok; ok {
		e.Text = bytes.Clone(e.Text)
		w.cur, w.isMod = parseEntry(e)
	}
	return nil
}

// page compares a page.
func (w *walk) page(p page) error {
	for i, l := range p.lines {
		known := i+1 < len(p.lines)
		for {
			if err := w.skip(); err != nil {
				return err
			}
			if !w.more {
				w.rest = page{p.answer, p.lines[i:]} // the log may have grown since
				return nil
			}
			if w.wrong >= report.MaxFindings {
				return nil // it is enough
			}
			if l.names(w.cur) {
				w.loose = !w.time(p, l)
				w.back, w.odd = false, 0
				if err := w.step(); err != nil {
					return err
				}
				break
			}
			if !w.last.IsZero() && !l.Timestamp.After(w.last) {
				w.again(p, l)
				break
			}
			if w.odd > 0 {
				w.odd--
				break
			}
			if known && p.lines[i+1].names(w.cur) {
				w.accuse(p, nil, "feed: before %s it has %.200q %.100q", w.cur, l.Path, l.Version)
				w.loose = true
				break
			}
			w.accuse(p, nil, "feed: it lacks %s", w.cur)
			w.loose = true
			if err := w.step(); err != nil {
				return err
			}
		}
	}
	return nil
}

// skip goes to the next entry that is a record. The others may be in the feed or
// not, under whatever name.
func (w *walk) skip() error {
	for w.more && !w.isMod {
		w.odd++
		w.loose = true
		if err := w.step(); err != nil {
			return err
		}
	}
	return nil
}

// again notes a line that goes back in time; of several one after another only the
// first.
func (w *walk) again(p page, l feedLine) {
	if w.back {
		return
	}
	w.back = true
	var old *entry
	for i := range w.past {
		if l.names(w.past[i]) {
			old = &w.past[i]
		}
	}
	w.accuse(p, old, "feed: where %s is due, it goes back to %.200q %.100q", w.cur, l.Path, l.Version)
}

// time checks the time of the line of the current entry.
func (w *walk) time(p page, l feedLine) (ok bool) {
	a, t := w.a, l.Timestamp
	a.v3.Add(1)
	covered, known := w.archive.covering(w.cur.Index)
	want := covered
	if next := w.last.Add(time.Microsecond); !w.last.IsZero() && next.After(want) {
		want = next
	}
	exact := !w.loose && (w.cur.Index == 0 || !w.last.IsZero())
	last := w.last
	w.last = t
	switch {
	case !last.IsZero() && !t.After(last):
		w.accuse(p, nil, "feed: the time of %s, %s, is not after that of the entry before", w.cur, stamp(t))
	case known && (t.Before(covered) || exact && !t.Equal(want)):
		w.accuse(p, nil, "feed: the time of %s is %s, by the archive %s", w.cur, stamp(t), stamp(want))
	default:
		return true
	}
	return false
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// end notes that the feed cannot be walked on.
func (w *walk) end(p page) error {
	if err := w.skip(); err != nil {
		return err
	}
	switch {
	case !w.more:
	case w.wrong >= report.MaxFindings:
		w.a.v3.Skip("the feed was left at entry %d, after %d findings", w.cur.Index, w.wrong)
	default:
		w.accuse(p, nil, "feed: it ends before %s", w.cur)
	}
	return nil
}

// accuse notes what is wrong with a page, to which the due entry bears witness, or
// old, if that is not nil.
func (w *walk) accuse(p page, old *entry, format string, args ...any) {
	w.wrong++
	es := []entry{w.cur}
	if old != nil {
		es = append(es, *old)
	}
	w.a.accuseFeed(w.ctx, p, es, fmt.Sprintf(format, args...))
}

// accuseFeed is accuse for a page of the feed, with entries of which the first is
// due. Of a page that was asked for by time an observation can hardly be made,
// since the record says nothing of times. So pages are asked for that are to have
// that entry in a known place. If they are right, only the way that leads through
// time is wrong.
func (a *auditor) accuseFeed(ctx context.Context, p page, es []entry, text string) {
	due := es[0]
	a.find(ctx, a.v3, due, fmt.Sprintf("%s (%s)", text, p.path), func() (ev *evidence.Evidence, err error) {
		for _, query := range []string{
			fmt.Sprintf("after=%d&limit=1", due.Index-1),
			fmt.Sprintf("after=%d&limit=10", max(due.Index-4, -1)),
		} {
			again, e := a.page(ctx, query)
			if e != nil && !errors.Is(e, errFeed) {
				return nil, e
			}
			if ev, err = a.observe(ctx, due, a.observed(again.answer, evidence.Feed)); err == nil {
				return ev, nil
			}
		}
		for _, e := range es {
			if ev, err = a.observe(ctx, e, a.observed(p.answer, evidence.Feed)); err == nil {
				return ev, nil
			}
		}
		return nil, err
	})
}

// Of how many places of the feed its queries are tried, and how many lines they ask
// for: such that a page begins and ends within.
const (
	queryPlaces = 8
	queryLines  = 3
)

// queries asks for short pages of the feed in every way: the first and the last
// entry, and some that the site cannot know before.
func (a *auditor) queries(ctx context.Context) error {
	places := []int64{0, a.tree.N - 1}
	for range queryPlaces - len(places) {
		places = append(places, rand.Int64N(a.tree.N))
	}
	for _, i := range places {
		var es []entry
		for e, err := range a.c.Entries(ctx, i, min(i+queryLines, a.tree.N)) {
			if err != nil {
				return fmt.Errorf("entries: %w", err)
			}
			e.Text = bytes.Clone(e.Text)
			if e, ok := parseEntry(e); ok {
				es = append(es, e)
			}
		}
		if int64(len(es)) == min(queryLines, a.tree.N-i) {
			a.query(ctx, es)
		}
	}
	return ctx.Err()
}

// query asks for the lines of es.
func (a *auditor) query(ctx context.Context, es []entry) {
	byIndex := fmt.Sprintf("after=%d&limit=%d", es[0].Index-1, queryLines)
	p, ok := a.shows(ctx, byIndex, es)
	if !ok {
		return
	}
	t := p.lines[0].Timestamp
	a.shows(ctx, byIndex+"&include=all", es)
	a.shows(ctx, fmt.Sprintf("since=%s&limit=%d", stamp(t), queryLines), es)
	if len(es) > 1 {
		a.shows(ctx, fmt.Sprintf("since=%s&limit=%d", stamp(t.Add(time.Microsecond)), queryLines-1), es[1:])
	}
}

// shows reports whether a page has the lines of es and, beside what was logged
// since, no others.
func (a *auditor) shows(ctx context.Context, query string, es []entry) (page, bool) {
	p, err := a.page(ctx, query)
	if err != nil || p.absent() {
		a.failed(ctx, a.v3, es[0].Index, "feed: %s: %d %v", p.path, p.status, err)
		return p, false
	}
	for i, e := range es {
		if i >= len(p.lines) || !p.lines[i].names(e) {
			a.accuseFeed(ctx, p, []entry{e}, fmt.Sprintf("feed: %s is not where it belongs", e))
			return p, false
		}
	}
	if len(p.lines) > len(es) && es[len(es)-1].Index != a.tree.N-1 {
		a.accuseFeed(ctx, p, es[len(es)-1:], fmt.Sprintf("feed: %d lines, and %d were asked for", len(p.lines), len(es)))
		return p, false
	}
	return p, true
}
