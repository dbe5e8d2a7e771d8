// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// An event is a line of "go test -json" (go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string // "": the package's
	Elapsed float64
	Output  string
}

// A report is what is known of a run.
type report struct {
	out      io.Writer
	packages map[string]*pkg // under way

	tested, empty           int // packages
	passed, skipped, failed int // tests, subtests included
	broken                  int // packages that failed
}

// A pkg is a package whose tests are under way.
type pkg struct {
	output  map[string][]string // of tests that have not passed, and "" of none
	passed  int
	skipped []skip
	failed  int
	cached  bool
}

type skip struct{ test, reason string }

func newReport(out io.Writer) *report {
	return &report{out: out, packages: map[string]*pkg{}}
}

// read reads all events.
func (r *report) read(events io.Reader) error {
	b := bufio.NewReader(events)
	for {
		line, err := b.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &e) != nil:
			r.out.Write(line) // the go command's own words
		default:
			r.add(e)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) add(e event) {
	if e.Package == "" { // of a build
		io.WriteString(r.out, e.Output)
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &pkg{output: map[string][]string{}}
		r.packages[e.Package] = p
	}
	switch {
	case e.Action == "output":
		p.print(e.Test, e.Output)
	case e.Test != "":
		p.end(e.Action, e.Test)
	case e.Action == "pass", e.Action == "fail", e.Action == "skip":
		delete(r.packages, e.Package)
		r.end(e, p)
	}
}

// verdicts are the lines that say what the report says in its own.
var verdicts = regexp.MustCompile(`^(=== .*|PASS|FAIL|ok  \t.*|FAIL\t[^\[]*)\n$`)

// print takes a line of output.
func (p *pkg) print(test, line string) {
	p.cached = p.cached || test == "" && strings.Contains(line, "(cached)")
	if verdicts.MatchString(line) {
		return
	}
	p.output[test] = append(p.output[test], line)
}

// end takes the end of a test.
func (p *pkg) end(action, test string) {
	switch action {
	case "pass":
		p.passed++
		delete(p.output, test)
	case "skip":
		p.skipped = append(p.skipped, skip{test, reason(p.output[test])})
		delete(p.output, test)
	case "fail":
		p.failed++
	}
}

// end reports on a package that ended.
func (r *report) end(e event, p *pkg) {
	if e.Action == "skip" {
		r.empty++
		fmt.Fprintf(r.out, "none  %s\n", e.Package)
		return
	}
	for i, s := range p.skipped {
		if s.reason == "" {
			p.skipped[i].reason = "WITHOUT A REASON, which counts as a failure"
			p.failed++
			e.Action = "fail"
		}
	}
	r.tested++
	r.passed += p.passed
	r.skipped += len(p.skipped)
	r.failed += p.failed
	verdict := "ok  "
	if e.Action == "fail" {
		r.broken++
		verdict = "FAIL"
		p.show(r.out)
	}
	took := fmt.Sprintf("%.1fs", e.Elapsed)
	if p.cached {
		took = "cached"
	}
	fmt.Fprintf(r.out, "%s  %s  %s, %d passed, %d skipped, %d failed\n", verdict, e.Package, took, p.passed, len(p.skipped), p.failed)
	for _, s := range p.skipped {
		fmt.Fprintf(r.out, "skip    %s: %s\n", s.test, s.reason)
	}
}

// show prints what is left of the output: that of tests that failed, of those that
// did not end, and the package's, with a panic in it maybe.
func (p *pkg) show(out io.Writer) {
	var tests []string
	for test := range p.output {
		tests = append(tests, test)
	}
	slices.SortFunc(tests, func(a, b string) int {
		if a == "" || b == "" {
			return -cmp.Compare(a, b) // the package's comes last
		}
		return cmp.Compare(a, b)
	})
	for _, test := range tests {
		for _, line := range p.output[test] {
			io.WriteString(out, line)
		}
	}
}

// logged is the first line of what a test logs.
var logged = regexp.MustCompile(`^ +[^ ]+\.go:[0-9]+: `)

// maxReason is the length of a reason that still can be read at a glance.
const maxReason = 300

// reason returns why a test was skipped: what it logged last, however many lines
// that has.
func reason(output []string) string {
	from := -1
	for i, line := range output {
		if logged.MatchString(line) {
			from = i
		}
	}
	if from < 0 {
		return ""
	}
	var words []string
	for i, line := range output[from:] {
		if i == 0 {
			line = line[len(logged.FindString(line)):]
		}
		if strings.HasPrefix(strings.TrimSpace(line), "--- SKIP") {
			break
		}
		words = append(words, strings.Fields(line)...)
	}
	text := []rune(strings.Join(words, " "))
	if len(text) > maxReason {
		return string(text[:maxReason]) + "…"
	}
	return string(text)
}

// total prints the closing lines.
func (r *report) total(took time.Duration) {
	for name, p := range r.packages {
		r.broken++
		p.show(r.out)
		fmt.Fprintf(r.out, "FAIL  %s  did not end\n", name)
	}
	fmt.Fprintf(r.out, "total: %d packages (%d more have no tests), %d tests passed, %d skipped, %d failed, %v\n",
		r.tested, r.empty, r.passed, r.skipped, r.failed, took.Round(time.Second))
}

// err is nil if all is well.
func (r *report) err() error {
	switch {
	case r.broken > 0:
		return fmt.Errorf("%d packages failed", r.broken)
	case r.tested == 0:
		return errors.New("nothing was tested")
	}
	return nil
}
