// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.org/sumlog/internal/record"
)

// feedShows says how a page of the feed of entries contradicts the record. Lines
// are JSON objects of Path, Version and Timestamp.
//
// A page that was asked for with neither since nor prefix has the entries beyond
// after=INDEX (default -1), in their order, one a line, and ends before
// its limit=N (default and most 2000) only with the newest. So each such page that
// should have the record has it on one line known before; a gap, a doubled page
// and a short one all show there. Any page is wrong that has the record twice, or
// with a time before since, or not after that of the line before.
func (e *Evidence) feedShows(r record.Record, u *url.URL) (string, error) {
	q, err := parseFeedQuery(u)
	if err != nil {
		return "", err
	}
	place := int64(-1)
	if q.positional && e.entries[0].index-q.after <= q.limit {
		place = e.entries[0].index - q.after - 1
	}
	var count, seen int64
	var last time.Time
	for line := range bytes.Lines(e.answer.Body) {
		f, err := parseFeedLine(line)
		if err != nil {
			return fmt.Sprintf("what is no line of a feed, %s: %v%s", quote(string(line)), err, onLine(count+1)), nil
		}
		same := f.path == string(r.Path) && f.version == string(r.Version)
		if same {
			seen++
		}
		switch {
		case count == place && !same:
			return fmt.Sprintf("where the record belongs, %s%s", quote(string(line)), onLine(count+1)), nil
		case seen > 1:
			return fmt.Sprintf("the record's line again%s", onLine(count+1)), nil
		case same && f.time.Before(q.since):
			return fmt.Sprintf("a time before the one asked for: %s%s", quote(string(line)), onLine(count+1)), nil
		case same && count > 0 && !f.time.After(last):
			return fmt.Sprintf("a time that is not after that of the line before: %s%s", quote(string(line)), onLine(count+1)), nil
		}
		count, last = count+1, f.time
	}
	if count <= place {
		return fmt.Sprintf("a page that ends before the record%s", onLine(count)), nil
	}
	return "", nil
}

// onLine says where on a page something is. The same is on another line of a page
// that was asked for otherwise, so that Identity cuts it off.
func onLine(n int64) string { return fmt.Sprintf("%s%d)", onLineMark, n) }

const onLineMark = " (line "

// A feedQuery is what a page was asked for with.
type feedQuery struct {
	positional   bool // the entries beyond after, and no others, fill the page
	after, limit int64
	since        time.Time
}

func parseFeedQuery(u *url.URL) (q feedQuery, err error) {
	bad := notProven("URL %.200q is none of a page of the feed", u)
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return q, bad
	}
	q = feedQuery{positional: true, after: -1, limit: feedSize}
	for name, v := range values {
		// What is said twice, or unknown, has no one meaning.
		if len(v) != 1 || v[0] == "" || !slices.Contains([]string{"after", "limit", "since", "prefix", "include"}, name) {
			return q, bad
		}
	}
	ok, ok2 := true, true
	if s := values.Get("after"); s != "" {
		q.after, ok = number(s, -1)
	}
	if s := values.Get("limit"); s != "" {
		q.limit, ok2 = number(s, 1)
		q.limit = min(q.limit, feedSize)
	}
	if s := values.Get("since"); s != "" {
		q.positional = false
		q.since, err = time.Parse(time.RFC3339, s)
	}
	if values.Has("prefix") {
		q.positional = false
	}
	if !ok || !ok2 || err != nil {
		return q, bad
	}
	return q, nil
}

// A feedLine is a line of the feed.
type feedLine struct {
	path, version string
	time          time.Time
}

func parseFeedLine(line []byte) (f feedLine, err error) {
	o, err := parseObject(line)
	if err != nil {
		return f, err
	}
	f.path, f.version = o.text("Path"), o.text("Version")
	f.time, err = time.Parse(time.RFC3339, o.text("Timestamp"))
	return f, err
}

// An object is a JSON object whose values were not looked into.
type object map[string]json.RawMessage

var errObject = errors.New("not a JSON object, or one with a key twice")

// parseObject parses a JSON object, without keys that differ only in case: some
// readers take the first of them and some the last.
func parseObject(data []byte) (object, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errObject
	}
	o, lower := make(object), make(map[string]bool)
	for d.More() {
		t, err := d.Token()
		key, ok := t.(string)
		folded := strings.ToLower(strings.ToUpper(key)) // both, for there are other s and k
		if err != nil || !ok || lower[folded] {
			return nil, errObject
		}
		lower[folded] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errObject
		}
		o[key] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, errObject
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errObject
	}
	return o, nil
}

// text returns the string at key, "" if there is none.
func (o object) text(key string) string {
	var s string
	if json.Unmarshal(o[key], &s) != nil {
		return ""
	}
	return s
}
