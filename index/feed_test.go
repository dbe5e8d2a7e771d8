// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/sumlog/log"
)

// feedEntry is a line of the feed as a client reads it.
type feedEntry struct {
	Path, Version string
	Timestamp     time.Time
}

func parseFeed(t testing.TB, text string) (es []feedEntry) {
	t.Helper()
	for line := range strings.Lines(text) {
		var e feedEntry
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&e); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		es = append(es, e)
	}
	return es
}

func TestLine(t *testing.T) {
	at := time.Date(2026, 2, 3, 4, 5, 6, 120_000_000, time.UTC)
	got := string(appendLine(nil, "example.com/A", "v1.0.0+incompatible", at.UnixMicro()))
	want := `{"Path":"example.com/A","Version":"v1.0.0+incompatible","Timestamp":"2026-02-03T04:05:06.12Z"}` + "\n"
	if got != want {
		t.Errorf("line is %s, want %s", got, want)
	}
	for _, s := range []string{`a"b`, `a\b`, "a\x01b", "a\x7fb", "aéb", "a\xffb", "a\u2028b", "", `",`} {
		line := appendLine(nil, s, s, at.UnixMicro())
		e := parseFeed(t, string(line))
		want := strings.ToValidUTF8(s, "\ufffd")
		if len(e) != 1 || e[0].Path != want || e[0].Version != want {
			t.Errorf("line of %q reads as %q", s, e)
		}
		if got, err := lineTime(line); err != nil || got != at.UnixMicro() {
			t.Errorf("lineTime(%q) = %d, %v", line, got, err)
		}
	}
	for _, bad := range []string{"", "\n", "{}\n", `{"Path":"a","Version":"b","Timestamp":"yesterday"}` + "\n", `{"Timestamp":"2026-02-03T04:05:06Z"}`} {
		if _, err := lineTime([]byte(bad)); err == nil {
			t.Errorf("lineTime(%q) succeeded", bad)
		}
	}
}

func TestPaging(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	// Publications so close that entries' times run ahead of them.
	for _, step := range []int{1, 300, 2, 128, 129, 77} {
		grow(t, m, 400, step, 5*time.Microsecond)
	}
	grow(t, m, 400, 3, time.Second)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), m)
	whole := wantDump(t, m).Feed
	if got := serve(x.Feed(), "/index").Body.String(); got != strings.Join(strings.SplitAfter(whole, "\n")[:maxPage], "") {
		t.Error("the default page is not the first 2000 lines")
	}
	for _, limit := range []int{1, 7, 128, 1000, 2000} {
		var byAfter, bySince string
		after, since := int64(-1), time.Time{}
		for {
			page := serve(x.Feed(), fmt.Sprintf("/index?limit=%d&after=%d", limit, after)).Body.String()
			byAfter += page
			after += int64(strings.Count(page, "\n"))
			if page == "" {
				break
			}
		}
		for {
			page := serve(x.Feed(), fmt.Sprintf("/index?include=all&limit=%d&since=%s", limit, url.QueryEscape(since.Format(time.RFC3339Nano)))).Body.String()
			bySince += page
			es := parseFeed(t, page)
			if len(es) == 0 {
				break
			}
			since = es[len(es)-1].Timestamp.Add(time.Microsecond)
		}
		if byAfter != whole {
			t.Errorf("limit %d: paging by after loses or repeats", limit)
		}
		if bySince != whole {
			t.Errorf("limit %d: paging by since loses or repeats", limit)
		}
	}
	es := parseFeed(t, whole)
	for i := 1; i < len(es); i++ {
		if !es[i].Timestamp.After(es[i-1].Timestamp) {
			t.Fatalf("times of entries %d and %d are %v and %v", i-1, i, es[i-1].Timestamp, es[i].Timestamp)
		}
	}
}

// Every since, at and beside every entry's time, against a scan.
func TestSince(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	grow(t, m, 50, 20, 3*time.Microsecond)
	grow(t, m, 350, 13, time.Second)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), m)
	times := wantTimes(m)
	for i, at := range times {
		for _, d := range []time.Duration{-time.Microsecond, -1, 0, 1, time.Microsecond} {
			since := at.Add(d).In(time.FixedZone("", 5400))
			want := 0
			for want < len(times) && times[want].Before(since) {
				want++
			}
			after := i%3*100 - 1
			q := url.Values{"since": {since.Format(time.RFC3339Nano)}, "after": {fmt.Sprint(after)}, "limit": {"1"}}
			es := parseFeed(t, serve(x.Feed(), "/index?"+q.Encode()).Body.String())
			want = max(want, after+1)
			if want == len(times) {
				if len(es) != 0 {
					t.Errorf("since %v: %v, want nothing", since, es)
				}
			} else if len(es) != 1 || !es[0].Timestamp.Equal(times[want]) {
				t.Errorf("since %v after %d: %v, want entry %d of %v", since, after, es, want, times[want])
			}
		}
	}
}

func TestFeedQuery(t *testing.T) {
	zero := feedQuery{since: noTime, limit: 2000}
	limit := func(n int) feedQuery { q := zero; q.limit = n; return q }
	first := func(n int64) feedQuery { q := zero; q.first = n; return q }
	prefix := func(s string) feedQuery { q := zero; q.prefix = s; return q }
	since := func(us int64) feedQuery { q := zero; q.since = us; return q }
	for raw, want := range map[string]feedQuery{
		"":                                     zero,
		"since=&limit=&after=&prefix=":         zero,
		"prefix=/":                             zero,
		"include=all&unknown=%41":              zero,
		"limit=1":                              limit(1),
		"limit=2000":                           limit(2000),
		"limit=2001":                           limit(2000),
		"limit=99999999999999999999":           limit(2000),
		"after=-1":                             first(0),
		"after=0":                              first(1),
		"after=9223372036854775806":            first(math.MaxInt64),
		"prefix=example.com/a":                 prefix("example.com/a"),
		"prefix=example.com/a/":                prefix("example.com/a"),
		"prefix=gopkg.in/yaml":                 prefix("gopkg.in/yaml"),
		"since=1970-01-01T00:00:00Z":           since(0),
		"since=1970-01-01T01:00:00%2B01:00":    since(0),
		"since=1970-01-01T00:00:00.000000001Z": since(1),
		"since=1970-01-01T00:00:00.000001Z":    since(1),
		"since=1969-12-31T23:59:59.9999999Z":   since(0),
		"since=0001-01-01T00:00:00Z":           since(time.Time{}.UnixMicro()),
		"since=9999-12-31T23:59:59.999999999Z": since(253402300800_000_000),
	} {
		if got, err := parseFeedQuery(raw); err != nil || got != want {
			t.Errorf("parseFeedQuery(%q) = %+v, %v, want %+v", raw, got, err, want)
		}
	}
	for _, raw := range []string{
		"limit=0", "limit=-1", "limit=+1", "limit=1e3", "limit=x", "limit=1%00", "limit=-99999999999999999999",
		"after=-2", "after=x", "after=9223372036854775807", "after=99999999999999999999", "after=1.0",
		"since=yesterday", "since=2026-01-02", "since=1767323045", "since=1970-01-01T01:00:00+01:00", "since=2026-13-01T00:00:00Z",
		"prefix=../x", "prefix=a//b", "prefix=%00", "prefix=a%20b", "prefix=é", "prefix=/a", "prefix=a%2F%2F",
		"a=%zz", "limit=1;after=2",
	} {
		_, err := parseFeedQuery(raw)
		if _, ok := err.(queryError); !ok {
			t.Errorf("parseFeedQuery(%q): %v, want a queryError", raw, err)
		}
	}
}

func TestPrefix(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	for i := range 500 {
		for _, path := range []string{
			"example.com/a", "example.com/ab", "example.com/a/b", "example.com/a-b", "example.com/a.b", "example.com/a0",
			"example.com/a/b/c", "example.com", "example.org/a", "example.com/A/b",
		}[i%3 : i%3+3+i%5] {
			m.append(t, testRecord(path, fmt.Sprintf("v0.%d.0", 499-i)))
		}
		if i%7 == 0 {
			m.archive(m.publication(t, m.Published().Time.Add(time.Second)))
		}
	}
	m.archive(m.publication(t, m.Published().Time.Add(time.Second)))
	x := open(t, filepath.Join(t.TempDir(), "index.db"), m)
	times := wantTimes(m)
	scanner := <-x.scanner
	defer func() { x.scanner <- scanner }()
	for _, prefix := range []string{"example.com", "example.com/a", "example.com/a/b", "example.com/a/b/c/d", "example.com/A", "example.co", "x"} {
		for _, q := range []feedQuery{
			{since: noTime, limit: 2000},
			{since: noTime, limit: 10, first: 900},
			{since: times[700].UnixMicro(), limit: 100},
			{since: times[100].UnixMicro(), limit: 1, first: 400},
			{since: noTime, limit: 10, first: math.MaxInt64},
		} {
			q.prefix = prefix
			var want bytes.Buffer
			n := 0
			for i, e := range m.entries {
				p := e.Record.Module.Path
				if n < q.limit && (p == prefix || strings.HasPrefix(p, prefix+"/")) && int64(i) >= q.first && times[i].UnixMicro() >= q.since {
					want.Write(appendLine(nil, p, e.Record.Module.Version, times[i].UnixMicro()))
					n++
				}
			}
			size := m.Published().Size
			sorted, err := scanner.sortUnder(q, size)
			if err != nil || !bytes.Equal(sorted, want.Bytes()) {
				t.Errorf("sortUnder(%+v): %v, %d lines, want %d", q, err, countLines(sorted), n)
			}
			scanned, err := x.file.scanUnder(context.Background(), scanner, q, size, new(span))
			if err != nil || !bytes.Equal(scanned, want.Bytes()) {
				t.Errorf("scanUnder(%+v): %v, %d lines, want %d", q, err, countLines(scanned), n)
			}
			if sorted, err := scanner.sortUnder(q, 200); err != nil || q.first >= 200 && len(sorted) > 0 {
				t.Errorf("sortUnder(%+v) beyond size 200: %v, %d lines", q, err, countLines(sorted))
			}
		}
	}
}

// A dense prefix goes the other way; over HTTP there is no difference.
func TestDensePrefix(t *testing.T) {
	src := newSynthetic(maxUnder + 1000)
	x, err := Open(Config{Path: filepath.Join(t.TempDir(), "index.db"), Source: src})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	all := serve(x.Feed(), "/index?after=20000").Body.String()
	under := serve(x.Feed(), "/index?after=20000&prefix=github.com/").Body.String()
	if under != all || strings.Count(all, "\n") != 999 {
		t.Errorf("page under github.com has %d lines, page of all %d", strings.Count(under, "\n"), strings.Count(all, "\n"))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	scanner := <-x.scanner
	q := feedQuery{since: noTime, limit: 1, prefix: "github.com"}
	if _, err := x.page(ctx, q, new(span)); err == nil {
		t.Error("a request waited after its client had gone")
	}
	if _, err := x.file.scanUnder(ctx, scanner, q, 1000, new(span)); err == nil {
		t.Error("a scan went on after its client had gone")
	}
	x.scanner <- scanner
	one := syntheticModule(20_500)
	if got := parseFeed(t, serve(x.Feed(), "/index?prefix="+one.Path).Body.String()); len(got) != 1 || got[0].Version != one.Version {
		t.Errorf("page under %s = %v", one.Path, got)
	}
}

func TestFeedHTTP(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	grow(t, m, 200, 50, time.Second)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), m)
	for _, c := range []struct {
		method, target string
		status         int
		text           string
	}{
		{"GET", "/index", 200, ""},
		{"HEAD", "/index", 200, ""},
		{"GET", "/index?after=199", 200, ""},
		{"GET", "/index?after=9223372036854775806", 200, ""},
		{"GET", "/index?since=2999-01-01T00:00:00Z", 200, ""},
		{"GET", "/index?limit=0", 400, "limit must be"},
		{"GET", "/index?since=now", 400, "since must be"},
		{"GET", "/index/x", 404, "not found"},
		{"POST", "/index", 405, "not allowed"},
		{"OPTIONS", "/index", 405, "not allowed"},
	} {
		w := httptest.NewRecorder()
		x.Feed().ServeHTTP(w, httptest.NewRequest(c.method, c.target, nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.text) {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.target, w.Code, w.Body, c.status, c.text)
		}
		checkHeader(t, c.method+" "+c.target, w, "no-cache", "application/json")
	}
}

// checkHeader checks what all answers have in common.
func checkHeader(t *testing.T, name string, w *httptest.ResponseRecorder, cache, contentType string) {
	t.Helper()
	if w.Code != 200 {
		cache, contentType = "no-store", "text/plain; charset=utf-8"
		if n := strings.Count(w.Body.String(), "\n"); n != 1 {
			t.Errorf("%s: error of %d lines", name, n)
		}
	} else if got := w.Header().Get("Content-Length"); got == "" || w.Body.Len() > 0 && got != fmt.Sprint(w.Body.Len()) {
		t.Errorf("%s: Content-Length %q of %d", name, got, w.Body.Len())
	}
	for key, want := range map[string]string{"Cache-Control": cache, "Content-Type": contentType, "X-Content-Type-Options": "nosniff"} {
		if got := w.Header().Get(key); got != want {
			t.Errorf("%s: %s is %q, want %q", name, key, got, want)
		}
	}
	if got := w.Header().Get("Allow"); (w.Code == 405) != (got == "GET, HEAD") {
		t.Errorf("%s: %d with Allow %q", name, w.Code, got)
	}
}

// What is applied but not yet published is found by the log and by nobody else.
func TestUnpublishedIsNotServed(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	grow(t, m, 200, 50, time.Second)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), m)
	r := testRecord("example.com/new", "v1.0.0")
	m.append(t, r)
	p := m.publication(t, epoch.Add(time.Hour))
	if err := x.Publish(p); err != nil {
		t.Fatal(err)
	}
	if e, ok, err := x.Find(r.Module); !ok || err != nil || e.Index != 200 {
		t.Errorf("Find = %v, %v, %v, want entry 200", e, ok, err)
	}
	lookup := x.Lookup(nil, nil)
	check := func(status, lines int) {
		t.Helper()
		if w := serve(lookup, lookupPath(r.Module)); w.Code != status {
			t.Errorf("lookup: %d, want %d", w.Code, status)
		}
		if n := strings.Count(serve(x.Feed(), "/index").Body.String(), "\n"); n != 200+lines {
			t.Errorf("feed has %d lines, want %d", n, 200+lines)
		}
		if n := strings.Count(serve(x.Feed(), "/index?prefix=example.com/new").Body.String(), "\n"); n != lines {
			t.Errorf("feed under prefix has %d lines, want %d", n, lines)
		}
		if vs, err := x.Versions(r.Module.Path, m.Published().Size); err != nil || len(vs) != lines {
			t.Errorf("Versions = %v, %v, want %d", vs, err, lines)
		}
	}
	check(404, 0)
	m.archive(p)
	check(200, 1)
}

func FuzzIndexQuery(f *testing.F) {
	m := newMemory(f, "sum.example.com")
	grow(f, m, 300, 7, 2*time.Microsecond)
	x := open(f, filepath.Join(f.TempDir(), "index.db"), m)
	lines := strings.SplitAfter(wantDump(f, m).Feed, "\n")
	known := map[string]int{}
	for i, l := range lines[:300] {
		known[l] = i
	}
	for _, s := range []string{
		"", "since=2026-01-02T03:04:05.000010Z&limit=5", "after=100&limit=2", "prefix=example.com/a", "limit=0", "since=x",
		"after=-1&limit=2001&include=all", "prefix=%00", "since=2026-01-02T03%3A04%3A05%2B00%3A00", "limit=1;x", "after=9223372036854775807",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r := httptest.NewRequest("GET", "/index", nil)
		r.URL.RawQuery = raw
		w := httptest.NewRecorder()
		x.Feed().ServeHTTP(w, r)
		switch w.Code {
		case 400:
		case 200:
			last := -1
			for line := range strings.Lines(w.Body.String()) {
				i, ok := known[line]
				if !ok || i <= last {
					t.Fatalf("%q: line %q after entry %d", raw, line, last)
				}
				last = i
			}
		default:
			t.Fatalf("%q: status %d", raw, w.Code)
		}
	})
}

var _ Source = (*memory)(nil)
var _ log.Names = (*Index)(nil)
