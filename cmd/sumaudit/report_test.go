// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/witness/audit/report"
)

func testSummary() *report.Summary {
	n := int64(7)
	return &report.Summary{
		Log: "log.example+1+2", URL: "https://log.example", Head: report.Head{Origin: "log.example", Size: 700, Root: "AAAA"},
		From: 600, Result: report.Misbehaviour,
		Checks: []report.Data{
			{ID: "B1", What: "root", Result: report.OK, Checked: 100, Unit: "entries"},
			{
				ID: "C4", What: "one record", Result: report.Misbehaviour, Checked: 100, Unit: "records",
				Counts: map[report.Result]int64{report.Misbehaviour: 3, report.Warning: 1},
				Findings: []report.Finding{
					{Result: report.Misbehaviour, Index: &n, Text: "twice\x1b[2J\u202e\r", Evidence: "evidence/E4-1.txt"},
					{Result: report.Warning, Text: "odd"},
				},
			},
			{ID: "V1", What: "lists", Result: report.OK, Checked: 3, Unit: "lists", Skipped: "only a sample"},
			{ID: "V3", What: "feed", Result: report.Skipped, Skipped: "there is none"},
			{ID: "W1", What: "policy", Result: report.Skipped},
		},
	}
}

const wantText = `log     log.example+1+2
url     https://log.example
tree    size 700, root AAAA
replay  from entry 600 on; what is before was replayed by earlier runs

B1  ok            100 entries  root
C4  misbehaviour  100 records  one record
V1  ok            3 lists      lists
V3  skipped       -            feed
W1  skipped       -            policy

findings
  C4 misbehaviour, entry 7: twice?[2J??
     evidence: evidence/E4-1.txt
  C4 warning: odd
  C4 and 2 more

skipped
  V1 in part: only a sample
  V3: there is none
  W1: there was nothing to check

not finished: enough

result  misbehaviour
`

func TestText(t *testing.T) {
	var b bytes.Buffer
	if err := writeText(&b, testSummary(), errors.New("enough")); err != nil || b.String() != wantText {
		t.Errorf("%v, %s", err, b.String())
	}
	b.Reset()
	if err := writeText(&b, &report.Summary{Result: report.Failed}, nil); err != nil || !strings.HasSuffix(b.String(), "\nresult  not all could be checked\n") {
		t.Errorf("%v, %s", err, b.String())
	}
}

// TestTextEmpty has sound logs of no entries say so, and none that was not read.
func TestTextEmpty(t *testing.T) {
	for _, test := range []struct {
		head   report.Head
		result report.Result
		want   string
	}{
		{report.Head{Root: "AAAA"}, report.OK, "sound (the log is empty)"},
		{report.Head{Root: "AAAA"}, report.Warning, "sound, with warnings (the log is empty)"},
		{report.Head{Root: "AAAA", Size: 1}, report.OK, "sound"},
		{report.Head{Root: "AAAA"}, report.Stale, "stale, or cosigned by too few"},
		{report.Head{}, report.Failed, "not all could be checked"},
	} {
		var b bytes.Buffer
		err := writeText(&b, &report.Summary{Head: test.head, Result: test.result}, nil)
		if err != nil || !strings.HasSuffix(b.String(), "\nresult  "+test.want+"\n") {
			t.Errorf("%v, %s; want %s", err, b.String(), test.want)
		}
	}
}

func TestAuditError(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		result report.Result
		err    error
		want   int
	}{
		{report.OK, nil, 0},
		{report.Warning, nil, 0},
		{report.Failed, nil, 1},
		{report.Failed, broken, 1},
		{report.Stale, nil, 5},
		{report.Stale, broken, 5},
		{report.Misbehaviour, nil, 4},
		{report.Misbehaviour, broken, 4},
	} {
		err := auditError(&report.Summary{Result: test.result}, test.err)
		code := 0
		if err != nil {
			code = program.ExitCode(err)
		}
		if code != test.want {
			t.Errorf("%s, %v: exit code %d, want %d", test.result, test.err, code, test.want)
		}
	}
	if got := program.ExitCode(withCode(exitMismatch, broken)); got != 3 {
		t.Errorf("exit code %d, want 3", got)
	}
	if got := program.ExitCode(cli.Usagef("no")); got != 2 {
		t.Errorf("exit code %d, want 2", got)
	}
}

// TestGist tells what is worth a report from what is not.
func TestGist(t *testing.T) {
	base := gist(testSummary(), nil)
	for name, change := range map[string]func(*report.Summary){
		"size":     func(s *report.Summary) { s.Head.Size++; s.From++; s.Checks[0].Checked++ },
		"skipped":  func(s *report.Summary) { s.Checks[3].Result = report.OK },
		"evidence": func(s *report.Summary) { s.Checks[1].Findings[0].Evidence = "other" },
	} {
		s := testSummary()
		if change(s); gist(s, nil) != base {
			t.Errorf("%s: is news", name)
		}
	}
	for name, change := range map[string]func(*report.Summary){
		"result": func(s *report.Summary) { s.Result = report.Stale },
		"check":  func(s *report.Summary) { s.Checks[0].Result = report.Failed },
		"text":   func(s *report.Summary) { s.Checks[1].Findings[0].Text = "other" },
	} {
		s := testSummary()
		if change(s); gist(s, nil) == base {
			t.Errorf("%s: is no news", name)
		}
	}
	if gist(testSummary(), errors.New("broken")) == base {
		t.Error("an error is no news")
	}
}
