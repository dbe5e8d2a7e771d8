// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package audit

import (
	"maps"
	"slices"

	"example.org/sumlog/witness/audit/report"
)

// entryFindings returns of a report what is about entries: the checks C, as far as
// something was found. It stays true for ever.
func entryFindings(checks []report.Data) []report.Data {
	var found []report.Data
	for _, d := range checks {
		if d.ID[0] == 'C' && len(d.Counts) > 0 {
			found = append(found, d)
		}
	}
	return found
}

// merge adds to the checks of this audit what earlier ones found.
func merge(earlier, checks []report.Data) []report.Data {
	all := slices.Clone(checks)
	for _, old := range earlier {
		i := slices.IndexFunc(all, func(d report.Data) bool { return d.ID == old.ID })
		if i < 0 {
			old.Checked = 0
			all = append(all, old)
			continue
		}
		d := &all[i]
		d.Result = report.Worst(d.Result, old.Result)
		counts := maps.Clone(old.Counts)
		for r, n := range d.Counts {
			counts[r] += n
		}
		d.Counts = counts
		d.Findings = slices.Concat(old.Findings, d.Findings)
		d.Findings = d.Findings[:min(len(d.Findings), report.MaxFindings)]
	}
	slices.SortStableFunc(all, report.Compare)
	return all
}
