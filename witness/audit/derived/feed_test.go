// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"bytes"
	"net/url"
	"sync/atomic"
	"testing"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/testauthority"
	"example.org/sumlog/witness/audit/report"
)

func TestFeedLoops(t *testing.T) {
	r := newRig(t, testauthority.Config{Sizes: []int64{2100}})
	var asked atomic.Int64
	var first []byte
	r.change("/index", func(q url.Values, body []byte) []byte {
		asked.Add(1)
		if q.Get("limit") != "2000" {
			return body
		}
		if first == nil {
			first = body
		}
		return first
	})
	res := r.audit(func(c *Config) { c.Sample = 0 })
	res.only(t, map[string]report.Result{"V3": report.Misbehaviour})
	if n := asked.Load(); n > 100 {
		t.Errorf("asked %d times", n)
	}
}

func TestFeedWrong(t *testing.T) {
	r := newRig(t, testauthority.Config{Sizes: []int64{600}})
	r.change("/index", func(_ url.Values, body []byte) []byte {
		return bytes.ReplaceAll(body, []byte(`"Path":"example.com`), []byte(`"Path":"example.net`))
	})
	res := r.audit(func(c *Config) { c.Sample = 0 })
	res.only(t, map[string]report.Result{"V3": report.Misbehaviour})
	if len(res.files) == 0 || len(res.files) > report.MaxFindings {
		t.Errorf("%d files", len(res.files))
	}
	if d := res.checks["V3"]; d.Skipped == "" {
		t.Errorf("%+v", d)
	}
}

func TestFeedLimit(t *testing.T) {
	r := newRig(t, testauthority.Config{Sizes: []int64{600}})
	r.change("/index", func(q url.Values, body []byte) []byte {
		if q.Get("limit") == "3" && q.Get("after") != "" {
			// Any page is followed by a line too many.
			body = append(bytes.Clone(body), `{"Path":"example.com/x","Version":"v1.0.0","Timestamp":"2026-01-02T15:04:05Z"}`+"\n"...)
		}
		return body
	})
	r.audit(func(c *Config) { c.Sample = 0 }).only(t, map[string]report.Result{"V3": report.Misbehaviour})
}

func TestArchiveShort(t *testing.T) {
	r := newRig(t, testauthority.Config{})
	r.change("/checkpoints", func(_ url.Values, body []byte) []byte {
		lines := bytes.SplitAfter(body, []byte("\n"))
		if len(lines) < 3 {
			return nil
		}
		return bytes.Join(lines[:len(lines)-2], nil)
	})
	res := r.audit(func(c *Config) { c.Sample = 0 })
	res.only(t, map[string]report.Result{"A4": report.Failed})
}

func TestArchiveMalformed(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"form":      func(b []byte) []byte { return bytes.Replace(b, []byte(`"Size":256`), []byte(`"Size": 256`), 1) },
		"size":      func(b []byte) []byte { return bytes.Replace(b, []byte(`"Size":256`), []byte(`"Size":257`), 1) },
		"order":     func(b []byte) []byte { return bytes.Replace(b, []byte(`"Size":256`), []byte(`"Size":3`), 1) },
		"signature": func(b []byte) []byte { return bytes.Replace(b, []byte(`\n256\n`), []byte(`\n255\n`), 1) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, testauthority.Config{})
			r.change("/checkpoints", func(_ url.Values, body []byte) []byte { return change(bytes.Clone(body)) })
			res := r.audit(func(c *Config) { c.Sample = 0 })
			if d := res.checks["A4"]; d.Result != report.Misbehaviour {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestWalk(t *testing.T) {
	for fault, want := range map[testauthority.Fault]int{
		testauthority.FeedGap:   1,
		testauthority.FeedTwice: 1,
		testauthority.FeedExtra: 1,
		testauthority.FeedTime:  1,
		testauthority.FeedShort: 1,
		testauthority.FeedOrder: 2,
		testauthority.FeedEarly: report.MaxFindings,
		testauthority.CRLF:      0,
	} {
		t.Run(string(fault), func(t *testing.T) {
			r := newRig(t, testauthority.Config{})
			r.a.Break(fault)
			s := r.site()
			head, err := s.Log().Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			a, err := newAuditor(Config{
				Site: s, Head: head, Report: new(report.Report), Entries: r.entries,
				Keep: func(*evidence.Evidence) (string, error) { return "evidence", nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			w := &walk{a: a, ctx: t.Context(), archive: a.openArchive(t.Context(), 0)}
			defer w.archive.stop()
			if err := w.run(0); err != nil || w.wrong != want {
				t.Errorf("%d, want %d, %v: %+v", w.wrong, want, err, a.v3.Data().Findings)
			}
		})
	}
}

func TestTimesAlone(t *testing.T) {
	r := newRig(t, testauthority.Config{})
	r.a.Break(testauthority.FeedTime)
	r.hide(func(p string) bool { return p == "/checkpoints" })
	r.audit(func(c *Config) { c.Sample = 0 }).only(t, map[string]report.Result{"V3": report.Misbehaviour})
}

func TestFeedBack(t *testing.T) {
	r := newRig(t, testauthority.Config{Sizes: []int64{2100}})
	var first []byte
	r.change("/index", func(q url.Values, body []byte) []byte {
		if first == nil {
			first = body[:bytes.IndexByte(body, '\n')+1]
		}
		if q.Get("since") != "" && q.Get("limit") == "2000" {
			body = append(bytes.Clone(first), body...)
		}
		return body
	})
	res := r.audit(func(c *Config) { c.Sample = 0 })
	res.only(t, map[string]report.Result{"V3": report.Misbehaviour})
	if len(res.files) != 1 || res.files[0].Kind() != evidence.Contradicted {
		t.Errorf("%v", res.files)
	}
}
