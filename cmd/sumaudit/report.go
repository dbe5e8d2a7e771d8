// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"example.org/sumlog/witness/audit/report"
)

// printReport prints what an audit came to; err is why it did not come to an end.
func (c *call) printReport(s *report.Summary, err error) error {
	if !c.opts.json {
		return writeText(c.Stdout, s, err)
	}
	e := json.NewEncoder(c.Stdout)
	e.SetEscapeHTML(false)
	return e.Encode(s)
}

// resultText says in words what an audit came to.
func resultText(r report.Result) string {
	switch r {
	case report.Misbehaviour:
		return "misbehaviour"
	case report.Stale:
		return "stale, or cosigned by too few"
	case report.Failed:
		return "not all could be checked"
	case report.Warning:
		return "sound, with warnings"
	}
	return "sound"
}

// writeText writes a report for people. What stands in it may be the log's own
// words, which must not move the cursor of a terminal: %q is used for such in all
// findings, and clean is the second wall.
func writeText(w io.Writer, s *report.Summary, err error) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "log     %s\nurl     %s\n", s.Log, s.URL)
	if s.Head.Root != "" {
		fmt.Fprintf(&b, "tree    size %d, root %s\n", s.Head.Size, s.Head.Root)
		if s.From > 0 {
			fmt.Fprintf(&b, "replay  from entry %d on; what is before was replayed by earlier runs\n", s.From)
		}
	}
	if len(s.Checks) > 0 {
		b.WriteByte('\n')
		writeChecks(&b, s.Checks)
		writeFindings(&b, s.Checks)
		writeSkipped(&b, s.Checks)
	}
	if err != nil {
		fmt.Fprintf(&b, "\nnot finished: %v\n", err)
	}
	result := resultText(s.Result)
	if s.Head.Root != "" && s.Head.Size == 0 && auditError(s, err) == nil {
		result += " (the log is empty)" // or it would pass for a log that was read
	}
	fmt.Fprintf(&b, "\nresult  %s\n", result)
	_, err = w.Write(clean(b.Bytes()))
	return err
}

func writeChecks(b *bytes.Buffer, checks []report.Data) {
	tw := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	for _, c := range checks {
		count := "-"
		if c.Result != report.Skipped {
			count = strings.TrimSpace(fmt.Sprint(c.Checked, " ", c.Unit))
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", c.ID, c.Result, count, c.What)
	}
	tw.Flush()
}

func writeFindings(b *bytes.Buffer, checks []report.Data) {
	heading := "\nfindings\n"
	for _, c := range checks {
		var total int64
		for _, n := range c.Counts {
			total += n
		}
		for _, f := range c.Findings {
			b.WriteString(heading)
			heading = ""
			fmt.Fprintf(b, "  %s %s", c.ID, f.Result)
			if f.Index != nil {
				fmt.Fprintf(b, ", entry %d", *f.Index)
			}
			fmt.Fprintf(b, ": %s\n", f.Text)
			if f.Evidence != "" {
				fmt.Fprintf(b, "     evidence: %s\n", f.Evidence)
			}
		}
		if more := total - int64(len(c.Findings)); more > 0 {
			fmt.Fprintf(b, "  %s and %d more\n", c.ID, more)
		}
	}
}

func writeSkipped(b *bytes.Buffer, checks []report.Data) {
	heading := "\nskipped\n"
	for _, c := range checks {
		why := c.Skipped
		if why == "" && c.Result == report.Skipped {
			why = "there was nothing to check"
		}
		if why == "" {
			continue
		}
		b.WriteString(heading)
		heading = ""
		part := ""
		if c.Result != report.Skipped {
			part = " in part"
		}
		fmt.Fprintf(b, "  %s%s: %s\n", c.ID, part, why)
	}
}

// clean replaces what is no print, such as the codes that move a cursor or turn
// the direction of writing.
func clean(text []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
