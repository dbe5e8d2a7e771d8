// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"context"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/testauthority"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/replay"
	"example.org/sumlog/witness/audit/report"
	"example.org/sumlog/witness/audit/site"
)

// A rig is an authority at a URL.
type rig struct {
	t *testing.T
	a *testauthority.Authority
	s *httptest.Server
}

func newRig(t *testing.T, c testauthority.Config) *rig {
	a := testauthority.New(c)
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	return &rig{t, a, s}
}

func (r *rig) site() *site.Site {
	r.t.Helper()
	h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
	r.t.Cleanup(h.Close)
	s, err := site.Open(r.t.Context(), site.Config{HTTP: h, URL: r.s.URL, Key: r.a.Key(), Tries: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// A result is what came of a run.
type result struct {
	checks map[string]report.Data
	files  []*evidence.Evidence
}

// audit runs the checks; change, if not nil, changes their configuration.
func (r *rig) audit(change func(*Config)) result {
	r.t.Helper()
	s := r.site()
	head, err := s.Log().Head(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return r.auditAt(s, head, change)
}

// entries are those that the log has signed, whatever it serves.
func (r *rig) entries(_ context.Context, from, to int64) iter.Seq2[replay.Entry, error] {
	return func(yield func(replay.Entry, error) bool) {
		var buf []byte // one for all
		for i := from; i < to; i++ {
			buf = append(buf[:0], r.a.Entry(i)...)
			if !yield(replay.Entry{Index: i, Text: buf}, nil) {
				return
			}
		}
	}
}

func (r *rig) auditAt(s *site.Site, head tlogclient.Head, change func(*Config)) result {
	r.t.Helper()
	rep := new(report.Report)
	kept := make(chan *evidence.Evidence, 1000)
	c := Config{
		Site: s, Head: head, Sample: -1, Report: rep,
		Entries: r.entries,
		Keep: func(e *evidence.Evidence) (string, error) {
			kept <- e
			return "evidence", nil
		},
	}
	if change != nil {
		change(&c)
	}
	if err := Run(r.t.Context(), c); err != nil {
		r.t.Fatal(err)
	}
	close(kept)
	var res result
	for e := range kept {
		if _, err := evidence.Parse(e.Bytes()); err != nil {
			r.t.Errorf("evidence does not verify: %v\n%s", err, e.Bytes())
		}
		res.files = append(res.files, e)
	}
	res.checks = make(map[string]report.Data)
	for _, d := range rep.Checks() {
		res.checks[d.ID] = d
	}
	return res
}

// only checks that the checks named with a result have it, and that all others are
// ok or skipped.
func (res result) only(t *testing.T, want map[string]report.Result) {
	t.Helper()
	for id, d := range res.checks {
		w, ok := want[id]
		if ok && d.Result == w || !ok && (d.Result == report.OK || d.Result == report.Skipped) {
			continue
		}
		t.Errorf("%s: got %s, want %q: %+v", id, d.Result, w, d.Findings)
	}
}

func TestSound(t *testing.T) {
	r := newRig(t, testauthority.Config{})
	res := r.audit(nil)
	res.only(t, nil)
	for id, n := range map[string]int64{"A4": 4, "B3": 600, "B5": 2 * 600, "D1": 2 * 600, "D2": 600, "D3": 2 * 600, "D4": 2 * 600, "D5": 600, "D7": 600, "V3": 600} {
		if res.checks[id].Checked != n || res.checks[id].Result != report.OK {
			t.Errorf("%s: %+v, want %d", id, res.checks[id], n)
		}
	}
	for _, id := range []string{"V1", "V2"} {
		if res.checks[id].Result != report.OK || res.checks[id].Checked == 0 {
			t.Errorf("%s: %+v", id, res.checks[id])
		}
	}
	for _, id := range []string{"D6", "D9"} {
		if res.checks[id].Result != report.Skipped || res.checks[id].Skipped == "" {
			t.Errorf("%s: %+v", id, res.checks[id])
		}
	}
}

func TestFaults(t *testing.T) {
	mis, warn := report.Misbehaviour, report.Warning
	for fault, test := range map[testauthority.Fault]struct {
		want map[string]report.Result
		kind evidence.Kind // of the file, if there is one
	}{
		testauthority.TreeHeadOther: {map[string]report.Result{"A4": mis, "B5": mis}, evidence.Discord},
		testauthority.TreeHeadFork:  {map[string]report.Result{"A4": mis, "B5": mis}, evidence.Discord},
		testauthority.ArchiveTime:   {map[string]report.Result{"A4": mis}, ""},
		testauthority.WrongData:     {map[string]report.Result{"B3": mis}, evidence.Contradicted},
		testauthority.LookupOther:   {map[string]report.Result{"B5": mis}, evidence.Contradicted},
		testauthority.LookupIndex:   {map[string]report.Result{"B5": mis}, evidence.Contradicted},
		testauthority.LookupGone:    {map[string]report.Result{"B5": mis}, evidence.Contradicted},
		testauthority.ListShort:     {map[string]report.Result{"V1": mis}, evidence.Contradicted},
		testauthority.ListExtra:     {map[string]report.Result{"V1": mis}, ""},
		testauthority.LatestOther:   {map[string]report.Result{"V2": mis}, evidence.Contradicted},
		testauthority.FeedGap:       {map[string]report.Result{"V3": mis}, evidence.Contradicted},
		testauthority.FeedShort:     {map[string]report.Result{"V3": mis}, evidence.Contradicted},
		testauthority.FeedTwice:     {map[string]report.Result{"V3": mis}, evidence.Contradicted},
		testauthority.FeedTime:      {map[string]report.Result{"V3": mis}, evidence.Contradicted},
		testauthority.FeedOrder:     {map[string]report.Result{"V3": mis}, evidence.Contradicted},
		testauthority.FeedExtra:     {map[string]report.Result{"V3": mis}, evidence.Contradicted},
		testauthority.FeedEarly:     {map[string]report.Result{"V3": mis}, ""},
		testauthority.ZipOther:      {map[string]report.Result{"D1": mis}, evidence.Contradicted},
		testauthority.ZipGone:       {map[string]report.Result{"D7": warn}, ""},
		testauthority.ModOther:      {map[string]report.Result{"D3": mis}, evidence.Contradicted},
		testauthority.InfoOther:     {map[string]report.Result{"D4": mis}, evidence.Contradicted},
		testauthority.ModUnlikeZip:  {map[string]report.Result{"D2": warn}, ""},
		testauthority.CRLF:          {nil, ""},
		testauthority.Empty:         {nil, ""},
		testauthority.MissingLine:   {nil, ""},
		testauthority.OddVersion:    {nil, ""},
		testauthority.Duplicate:     {nil, ""},
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testauthority.Config{})
			r.a.Break(fault)
			// The victim is in the sample, and the last entries, where the bad ones are.
			next := r.a.Size() - 12
			res := r.audit(func(c *Config) { c.Sample, c.Next = 12+testauthority.Victim+2, &next })
			res.only(t, test.want)
			if test.kind == "" && len(res.files) > 0 {
				t.Errorf("evidence: %v", res.files[0])
			}
			if test.kind != "" && !slices.ContainsFunc(res.files, func(e *evidence.Evidence) bool { return e.Kind() == test.kind }) {
				t.Errorf("evidence: %v", res.files)
			}
		})
	}
}

// A page that begins too early, where there is more than one.
func TestFeedPage(t *testing.T) {
	r := newRig(t, testauthority.Config{Sizes: []int64{2100}})
	r.a.Break(testauthority.FeedPage)
	res := r.audit(func(c *Config) { c.Sample = 0 })
	if d := res.checks["V3"]; d.Result != report.Misbehaviour || d.Findings[0].Evidence == "" {
		t.Errorf("%+v", d)
	}
}

// hide makes the authority lack what is at paths that f is true for.
func (r *rig) hide(f func(path string) bool) {
	r.a.Tamper(func(path string, _ url.Values, status int, body []byte) (int, []byte) {
		if f(path) {
			return http.StatusNotFound, []byte("not found\n")
		}
		return status, body
	})
}

// What a site lacks is skipped, and no fault.
func TestLacks(t *testing.T) {
	isModule := func(p string) bool { return strings.Contains(p, "/@") }
	for name, test := range map[string]struct {
		hide func(string) bool
		skip []string
	}{
		"archive":     {func(p string) bool { return p == "/checkpoints" }, []string{"A4"}},
		"feed":        {func(p string) bool { return p == "/index" }, []string{"V3"}},
		"lookups":     {func(p string) bool { return strings.Contains(p, "lookup/") }, []string{"B5"}},
		"mirror":      {isModule, []string{"D1", "D2", "D3", "D4", "D5", "D6", "D7", "V1", "V2"}},
		"cached-only": {func(p string) bool { return strings.HasPrefix(p, "/cached-only/") }, []string{"V2"}},
		"tiles": {func(p string) bool {
			return p == "/checkpoint" || strings.HasPrefix(p, "/tile/") && !strings.HasPrefix(p, "/tile/8/")
		}, []string{"B3"}},
		"database": {func(p string) bool {
			return p == "/latest" || strings.HasPrefix(p, "/lookup/") || strings.HasPrefix(p, "/tile/8/") || strings.HasPrefix(p, "/sumdb/")
		}, []string{"B3", "B5"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testauthority.Config{})
			r.hide(test.hide)
			res := r.audit(func(c *Config) { c.Sample = 20 })
			res.only(t, nil)
			for _, id := range append(test.skip, "D6", "D9") {
				if d := res.checks[id]; d.Result != report.Skipped || d.Skipped == "" {
					t.Errorf("%s: %+v", id, d)
				}
			}
		})
	}
}

// The next audit is about what was logged since, and a stretch of the rest.
func TestIncremental(t *testing.T) {
	r := newRig(t, testauthority.Config{})
	next := int64(590)
	first := func(c *Config) { c.Sample, c.Next = 30, &next }
	res := r.audit(first)
	res.only(t, nil)
	if next != 20 || res.checks["B5"].Checked != 2*30 || res.checks["V3"].Checked != 600 || res.checks["V2"].Checked == 0 {
		t.Errorf("next %d, %+v", next, res.checks)
	}
	r.a.Grow(100)
	r.a.Publish()
	res = r.audit(func(c *Config) { first(c); c.From = 600 })
	res.only(t, nil)
	if d := res.checks["V3"]; d.Checked != 101 {
		t.Errorf("%+v", d)
	}
	if d := res.checks["V2"]; d.Result != report.Skipped {
		t.Errorf("%+v", d)
	}
	if next != 35 || res.checks["B5"].Checked != 2*30 {
		t.Errorf("next %d, %+v", next, res.checks["B5"])
	}
	r.a.Break(testauthority.FeedShort)
	res = r.audit(func(c *Config) { first(c); c.From = 600 })
	if d := res.checks["V3"]; d.Result != report.Misbehaviour || d.Findings[0].Evidence == "" {
		t.Errorf("%+v", d)
	}
}

// What the lists and the feed have beyond the tree is right if it was logged since.
func TestGrown(t *testing.T) {
	r := newRig(t, testauthority.Config{})
	s := r.site()
	head, err := s.Log().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(5) {
		m := r.a.Module(i)
		m.V = "v1.99.0"
		r.a.Add(m)
	}
	r.a.Publish()
	sample := func(c *Config) { c.Sample = 20 }
	r.auditAt(s, head, sample).only(t, nil)
	r.a.Break(testauthority.ListExtra)
	r.auditAt(s, head, sample).only(t, map[string]report.Result{"V1": report.Misbehaviour})
}

// The temporary files are gone in the end.
func TestTemporary(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	newRig(t, testauthority.Config{}).audit(func(c *Config) { c.Sample = 20 })
	files, err := os.ReadDir(dir)
	if err != nil || len(files) > 0 {
		t.Errorf("%v %v", files, err)
	}
}

// A list may leave out what has no .info there, and only that: below /cached-only/
// it may not.
func TestLeftOut(t *testing.T) {
	for _, tt := range []struct {
		cached, info bool
		want         report.Result
	}{
		{false, false, report.Warning},
		{false, true, report.Misbehaviour},
		{true, false, report.Misbehaviour},
	} {
		r := newRig(t, testauthority.Config{})
		r.a.Tamper(func(path string, _ url.Values, status int, body []byte) (int, []byte) {
			path = strings.TrimPrefix(path, "/")
			cached := strings.HasPrefix(path, cachedOnly)
			switch {
			case strings.HasSuffix(path, "/@v/list") && cached == tt.cached:
				_, rest, _ := strings.Cut(string(body), "\n")
				return status, []byte(rest)
			case strings.HasSuffix(path, ".info") && !cached && !tt.info:
				return http.StatusNotFound, []byte("not found\n")
			}
			return status, body
		})
		if d := r.audit(func(c *Config) { c.Sample = -1 }).checks["V1"]; d.Result != tt.want {
			t.Errorf("%+v: %+v", tt, d)
		}
	}
}
