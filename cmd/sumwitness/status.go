// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"example.org/sumlog/witness"
)

// What the status page shows at most, however many logs there are: the newest
// come first.
const (
	maxShown  = 200
	maxSource = 50
)

// pageAge is how old the page may be. Anybody may ask for it as often as he
// likes, and to make it goes through all logs.
const pageAge = 2 * time.Second

// A page is what the status page shows.
type page struct {
	Name, Version  string
	VKeys          []string
	URLs           []string
	Contact        string
	Started, Made  time.Time
	Known, Enabled int
	Cosigned       int // logs
	Shown          []pageLog
	Lists, Feeds   []pageSource
	MoreLists      int
	MoreFeeds      int
	Style          template.CSS
}

// A pageLog is a log on the page.
type pageLog struct {
	Origin, Contact, Source string
	Disabled                bool
	Size                    int64
	Cosigned                time.Time // zero: never
	Error                   string
	ErrorTime               time.Time
}

// A pageSource is a list of logs, or a feeder.
type pageSource struct {
	Name, Address string
	Good          time.Time // when it last went well; zero: never
	Error         string
	ErrorTime     time.Time
}

// newPage returns the page with what does not change.
func newPage(name string, vkeys, urls []string, contact, version string) page {
	return page{Name: name, Version: version, VKeys: vkeys, URLs: urls, Contact: contact, Started: time.Now(), Style: template.CSS(pageStyle)}
}

// fill sets what changes.
func (p *page) fill(logs []witness.Status, lists, feeds []pageSource, now time.Time) {
	p.Made, p.Known = now, len(logs)
	for _, l := range logs {
		if !l.Disabled {
			p.Enabled++
		}
		if l.Time > 0 {
			p.Cosigned++
		}
	}
	// What happened last, be it good or bad, is first.
	last := func(l witness.Status) int64 { return max(l.Time, l.LastErrorTime.Unix()) }
	slices.SortFunc(logs, func(a, b witness.Status) int {
		return cmp.Or(cmp.Compare(last(b), last(a)), cmp.Compare(a.Origin, b.Origin))
	})
	for _, l := range logs[:min(len(logs), maxShown)] {
		row := pageLog{
			Origin: l.Origin, Contact: l.Contact, Source: l.Source, Disabled: l.Disabled,
			Size: l.Tree.N, Error: l.LastError, ErrorTime: l.LastErrorTime,
		}
		if l.Time > 0 {
			row.Cosigned = time.Unix(l.Time, 0)
		}
		p.Shown = append(p.Shown, row)
	}
	p.Lists, p.MoreLists = lists[:min(len(lists), maxSource)], max(0, len(lists)-maxSource)
	p.Feeds, p.MoreFeeds = feeds[:min(len(feeds), maxSource)], max(0, len(feeds)-maxSource)
}

var (
	//go:embed status.html
	pageHTML string
	//go:embed status.css
	pageStyle string

	pageTemplate = template.Must(template.New("status").Funcs(template.FuncMap{
		"age": age,
	}).Parse(pageHTML))
)

// age says how long before now t was, in one unit.
func age(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := max(0, now.Sub(t))
	switch {
	case d < 2*time.Minute:
		return d.Truncate(time.Second).String() + " ago"
	case d < 2*time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s") + " ago"
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Hour).String(), "0m0s") + " ago"
	}
	return fmt.Sprintf("%d days ago", d/(24*time.Hour))
}

// A statusPage serves the page.
type statusPage struct {
	make func() page

	mu   sync.Mutex
	text []byte
	when time.Time
}

// render returns the page, made anew if it is too old.
func (s *statusPage) render() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text != nil && time.Since(s.when) < pageAge {
		return s.text, nil
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, s.make()); err != nil {
		return nil, err
	}
	s.text, s.when = b.Bytes(), time.Now()
	return s.text, nil
}

// pagePolicy lets the page do nothing but look as its one style says: whatever a
// log or a list made appear on it cannot be more than text.
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

func (s *statusPage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := s.render()
	if err != nil {
		plain(w, http.StatusInternalServerError, "internal error")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.Write(text)
}
