// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// A row is one figure beside its floor.
type row struct {
	what    string
	got     string
	floor   string
	ratio   float64 // 0: none
	goal    string
	verdict string // "met", or what it is instead
}

// cells are the figures of a row.
func (r row) cells() []string { return []string{dash(r.got), dash(r.floor), ratioText(r.ratio)} }

// A table is what a run prints.
type table struct {
	rows  []row
	notes []string

	second string         // what the second columns are about, "" without any
	beside map[string]row // their rows, by what they are about
}

// add adds a row, to the second columns once there are any.
func (t *table) add(r row) {
	if t.second == "" {
		t.rows = append(t.rows, r)
	} else {
		if t.beside == nil {
			t.beside = map[string]row{}
		}
		if !slices.ContainsFunc(t.rows, func(first row) bool { return first.what == r.what }) {
			t.rows = append(t.rows, row{what: r.what, goal: r.goal})
		}
		t.beside[r.what] = r
	}
	progress("%s: %s, floor %s, ratio %s, goal %s: %s", r.what, dash(r.got), dash(r.floor), ratioText(r.ratio), dash(r.goal), r.verdict)
}

func (t *table) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(t.notes, n) {
		t.notes = append(t.notes, n)
	}
}

// lead adds a note before the others.
func (t *table) lead(format string, args ...any) {
	t.notes = slices.Insert(t.notes, 0, fmt.Sprintf(format, args...))
}

// print writes the table, and its notes below it.
func (t *table) print(w io.Writer, markdown bool) error {
	head := []string{"what", "sumlog", "floor", "ratio", "goal", ""}
	rule := []string{"---", "---:", "---:", "---:", "---", "---"}
	if t.second != "" {
		head = append(head, t.second, "floor", "ratio", "")
		rule = append(rule, "---:", "---:", "---:", "---")
	}
	lines := [][]string{head}
	if markdown {
		lines = append(lines, rule)
	}
	for _, r := range t.rows {
		cells := append(append([]string{r.what}, r.cells()...), dash(r.goal), r.verdict)
		if t.second != "" {
			other := t.beside[r.what]
			cells = append(append(cells, other.cells()...), other.verdict)
		}
		lines = append(lines, cells)
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, cells := range lines {
		if markdown {
			fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
		} else {
			fmt.Fprintln(out, strings.Join(cells, "\t"))
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, n := range t.notes {
		if _, err := fmt.Fprintf(w, "\n%s.\n", n); err != nil {
			return err
		}
	}
	return nil
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

func ratioText(r float64) string {
	if r == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", r)
}

// verdict says whether a goal was met.
func verdict(met bool) string {
	if met {
		return "met"
	}
	return "missed"
}

// atLeast is the row of a figure of which more is better.
func atLeast(what, got, floor string, ratio, goal float64) row {
	return row{what, got, floor, ratio, fmt.Sprintf("≥ %.2f", goal), verdict(ratio >= goal)}
}

// atMost is the row of a figure of which less is better.
func atMost(what, got, floor string, ratio, goal float64) row {
	return row{what, got, floor, ratio, fmt.Sprintf("≤ %.2f", goal), verdict(ratio <= goal)}
}

// quantile returns the q-quantile of xs, 0 if there are none.
func quantile(xs []float64, q float64) float64 {
	if len(xs) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(xs))
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

// median of an even number of figures is the mean of the middle two.
func median(xs []float64) float64 {
	if len(xs) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(xs))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// ratios divides figures of the same round.
func ratios(a, b []float64) []float64 {
	rs := make([]float64, len(a))
	for i := range a {
		rs[i] = a[i] / b[i]
	}
	return rs
}
