// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package conform tests, from outside, whether a witness keeps the rules of
// https://c2sp.org/tlog-witness@v1.0.0 and of what that builds on: signed-note,
// tlog-checkpoint and tlog-cosignature. Each rule is a named case.
//
// It needs a log of its own: a key that the witness was told to accept, and that
// never signs for anything else, because the suite signs forks with it. The log
// is synthetic: its entries follow from their indexes, so that the root and the
// proofs of any size are computed without keeping anything. A run learns from the
// witness which size it has and goes on from there; so it can be repeated with
// the same key against the same witness for ever. What only a witness that has
// never cosigned for the log can show is skipped in all runs but the first.
//
// Nothing that the witness says is trusted. Answers are read with limits of size
// and time, redirects are not followed, and a witness that breaks a rule in a way
// that changes its state is followed to where it went, so that the cases after it
// still mean something. Where the specification only recommends, or leaves the
// status open, a failure says so: Result.Should.
//
// A run that is cut off leaves nothing behind but the witness's own state.
package conform

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.org/sumlog/internal/checkpoint"
)

// Config says what is tested. URL and LogKey are needed.
type Config struct {
	URL     string // submission prefix
	Monitor string // monitoring prefix; empty: URL
	LogKey  *LogKey

	// Witness are all verifier keys of the witness. Without them, cases that
	// verify cosignatures are skipped.
	Witness []*checkpoint.Key

	// Restart ends the witness, best by SIGKILL, and starts it again on its
	// state. It may return before the witness answers again. Without it, the
	// cases of crashes are skipped.
	Restart func(ctx context.Context) error

	// MonitorDelay is how long the monitoring prefix may be behind. The
	// specification allows an hour: 0 stands for that, and a delay that cannot
	// be told from a fault is then skipped.
	MonitorDelay time.Duration

	Timeout time.Duration // of one request; 0: 10 s
	Wait    time.Duration // longest wait for a restart or for Retry-After; 0: 30 s
	Skew    time.Duration // between the clocks; 0: 1 min
	Client  *http.Client  // nil: one of its own
}

// A Status is the outcome of a case.
type Status string

const (
	Pass Status = "pass"
	Fail Status = "fail"
	Skip Status = "skip"
)

// A Result is the outcome of a case, in words.
type Result struct {
	Name     string        `json:"name"`
	Rule     string        `json:"rule"`
	Status   Status        `json:"status"`
	Should   bool          `json:"should,omitempty"` // failed, but at most a recommendation is broken
	Detail   string        `json:"detail,omitempty"`
	Duration time.Duration `json:"duration_ns"`
}

// A Summary is the total of a run.
type Summary struct {
	Passed  int            `json:"passed"`
	Failed  int            `json:"failed"`
	Should  int            `json:"should"` // of those that failed
	Skipped int            `json:"skipped"`
	Skips   map[string]int `json:"skips,omitempty"` // reasons
}

func (s *Summary) add(r Result) {
	switch r.Status {
	case Pass:
		s.Passed++
	case Fail:
		s.Failed++
		if r.Should {
			s.Should++
		}
	case Skip:
		s.Skipped++
		if s.Skips == nil {
			s.Skips = make(map[string]int)
		}
		s.Skips[r.Detail]++
	}
}

// String returns the total as a line, with the reasons of what was skipped.
func (s Summary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d passed, %d failed", s.Passed, s.Failed)
	if s.Should > 0 {
		fmt.Fprintf(&b, " (%d of them only a recommendation)", s.Should)
	}
	fmt.Fprintf(&b, ", %d skipped", s.Skipped)
	sep := ": "
	for _, why := range slices.Sorted(maps.Keys(s.Skips)) {
		fmt.Fprintf(&b, "%s%d %s", sep, s.Skips[why], why)
		sep = "; "
	}
	return b.String()
}

// A Case is a rule and its test.
type Case struct {
	Name string
	Rule string // where it is specified, and what it says

	run func(context.Context, *run) error
}

// Cases returns all cases in the order in which they run.
func Cases() []Case {
	return slices.Concat(firstCases(), signatureCases(), formCases(), noteCases(), conflictCases(), proofCases(),
		acceptCases(), answerCases(), httpCases(), monitorCases(), subtreeCases(), subtreeFormCases(), raceCases(), restartCases())
}

// skipped says why a case could not be tried.
type skipped string

func (s skipped) Error() string { return string(s) }

// Reasons to skip that more than one case has.
const (
	needsKeys    = skipped("without the witness's verifier keys")
	needsFresh   = skipped("on a witness that has cosigned for this log before")
	needsRestart = skipped("without a way to restart the witness")
	needsMLDSA   = skipped("without an ML-DSA-44 key of the witness")
	needsEd25519 = skipped("without an Ed25519 key of the witness")
	notOffered   = skipped("optional, not offered")
)

// A soft failure breaks a recommendation, or a rule that is not spelt out.
type soft struct{ error }

func softly(format string, args ...any) error { return soft{fmt.Errorf(format, args...)} }

// Run tests a witness and calls report with the result of each case. It fails if
// the run cannot begin, or cannot go on: the results until then stand.
func Run(ctx context.Context, cfg Config, report func(Result)) (Summary, error) {
	var sum Summary
	r, err := newRun(cfg)
	if err != nil {
		return sum, err
	}
	defer r.client.close()
	if err := r.begin(ctx); err != nil {
		return sum, err
	}
	for _, c := range Cases() {
		res := r.try(ctx, c)
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		sum.add(res)
		report(res)
		if res.Status != Fail {
			continue
		}
		if err := r.locate(ctx); err != nil {
			return sum, fmt.Errorf("after %s: %w", c.Name, err)
		}
	}
	return sum, nil
}

// caseTime bounds a case, in requests that time out.
const caseTime = 8

// try runs a case.
func (r *run) try(ctx context.Context, c Case) Result {
	start := time.Now()
	r.tried = nil
	ctx, cancel := context.WithTimeout(ctx, caseTime*(r.cfg.Timeout+r.cfg.Wait))
	defer cancel()
	err := c.run(ctx, r)
	res := Result{Name: c.Name, Rule: c.Rule, Status: Pass, Duration: time.Since(start)}
	if err == nil {
		return res
	}
	res.Status, res.Detail = Fail, oneLine(err.Error())
	var why skipped
	if errors.As(err, &why) {
		res.Status, res.Detail = Skip, string(why)
	}
	res.Should = res.Status == Fail && errors.As(err, new(soft))
	return res
}

// oneLine makes text from outside fit to be printed.
func oneLine(s string) string {
	const most = 600
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
