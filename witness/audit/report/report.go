// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package report is what an audit says in the end: a list of checks, each with an
// id that never changes its meaning, what came of it, on how many things it was
// made, what was found, and why it was not made where it was not.
//
// A check that was not made is in the list too: what is not there was not thought
// of.
package report

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// A Result is what came of a check, or what a finding means.
type Result string

const (
	OK           Result = "ok"
	Skipped      Result = "skipped"      // not made, with the reason
	Warning      Result = "warning"      // odd, and nobody's misbehaviour
	Failed       Result = "failed"       // it could not be made: network, disk, time
	Stale        Result = "stale"        // too old, or cosigned by too few
	Misbehaviour Result = "misbehaviour" // of the log, a witness, or a service of the log
)

// order is the order of the results, from the harmless to the grave.
var order = []Result{Skipped, OK, Warning, Failed, Stale, Misbehaviour}

func worse(a, b Result) bool { return slices.Index(order, a) > slices.Index(order, b) }

// Worst returns the graver of two results.
func Worst(a, b Result) Result {
	if worse(b, a) {
		return b
	}
	return a
}

// MaxFindings is the number of findings that a check keeps; more are counted.
const MaxFindings = 20

// A Finding is one thing that a check found.
type Finding struct {
	Result   Result `json:"result"`
	Index    *int64 `json:"index,omitempty"` // of the entry that it is about
	Text     string `json:"text"`
	Evidence string `json:"evidence,omitempty"` // path of the file
}

// A Check is one line of a report. It is safe for concurrent use.
type Check struct {
	mu   sync.Mutex
	data Data
}

// Data is the state of a check.
type Data struct {
	ID       string           `json:"id"`
	What     string           `json:"what"`
	Result   Result           `json:"result"`
	Checked  int64            `json:"checked"`
	Unit     string           `json:"unit,omitempty"`    // of Checked: "records", "tiles", …
	Skipped  string           `json:"skipped,omitempty"` // why it was not made, or what was left out
	Counts   map[Result]int64 `json:"counts,omitempty"`  // of findings
	Findings []Finding        `json:"findings,omitempty"`
}

// Add says that the check was made on n more things.
func (c *Check) Add(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.data.Checked += n
	if c.data.Result == Skipped {
		c.data.Result = OK
	}
}

// Skip says why the check is not made, or what of it.
func (c *Check) Skip(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.data.Skipped = fmt.Sprintf(format, args...)
}

// Find adds a finding.
func (c *Check) Find(f Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.data.Counts == nil {
		c.data.Counts = make(map[Result]int64)
	}
	c.data.Counts[f.Result]++
	if worse(f.Result, c.data.Result) {
		c.data.Result = f.Result
	}
	if len(c.data.Findings) < MaxFindings {
		c.data.Findings = append(c.data.Findings, f)
		return
	}
	// A grave one must not be lost behind many that are harmless.
	for i, old := range c.data.Findings {
		if worse(f.Result, old.Result) {
			c.data.Findings[i] = f
			return
		}
	}
}

// Findf adds a finding that is not about one entry.
func (c *Check) Findf(r Result, format string, args ...any) {
	c.Find(Finding{Result: r, Text: fmt.Sprintf(format, args...)})
}

// Data returns the state of the check.
func (c *Check) Data() Data {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.data
	d.Findings = slices.Clone(d.Findings)
	return d
}

// A Report is a list of checks. It is safe for concurrent use.
type Report struct {
	mu     sync.Mutex
	checks []*Check
}

// Check returns the check called id, and adds it, as not made yet, if there is
// none. The first call decides about what and unit.
func (r *Report) Check(id, what, unit string) *Check {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.checks {
		if c.data.ID == id {
			return c
		}
	}
	c := &Check{data: Data{ID: id, What: what, Unit: unit, Result: Skipped}}
	r.checks = append(r.checks, c)
	return c
}

// Checks returns the state of all checks, in the order of their ids.
func (r *Report) Checks() []Data {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Data
	for _, c := range r.checks {
		all = append(all, c.Data())
	}
	slices.SortStableFunc(all, Compare)
	return all
}

// Compare orders checks by their ids.
func Compare(a, b Data) int { return compareIDs(a.ID, b.ID) }

// compareIDs puts B2 before B10.
func compareIDs(a, b string) int {
	if a[:1] == b[:1] && len(a) != len(b) {
		return len(a) - len(b)
	}
	if a < b {
		return -1
	}
	if a > b {
		return 1
	}
	return 0
}

// Result returns the gravest result of all checks; OK if nothing was found.
func (r *Report) Result() Result {
	worst := OK
	for _, c := range r.Checks() {
		if worse(c.Result, worst) {
			worst = c.Result
		}
	}
	return worst
}

// A Head is the tree that was audited.
type Head struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"`
}

// A Summary is a whole report, as -json prints it.
type Summary struct {
	Tool   string    `json:"tool"`
	Time   time.Time `json:"time"`
	Log    string    `json:"log"` // vkey
	URL    string    `json:"url"`
	Head   Head      `json:"head"`
	From   int64     `json:"from"` // the entry that the replay began with
	Result Result    `json:"result"`
	Checks []Data    `json:"checks"`
}
