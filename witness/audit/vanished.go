// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package audit

import (
	"slices"

	"example.org/sumlog/witness/audit/report"
)

// services are the checks of what a site may lack, with what that is, and whether a
// sample of records is needed to see it.
var services = []struct {
	id, what string
	sampled  bool
}{
	{"A4", "an archive", false},
	{"B3", "two layouts", true},
	{"B5", "lookups", true},
	{"D1", "a mirror", true},
	{"V1", "lists of versions", true},
	{"V3", "a feed", false},
}

// offers returns the checks of services that were made.
func (r *run) offers() []string {
	ids := []string{}
	for _, d := range r.report.Checks() {
		made := d.Result != report.Skipped
		if d.ID == "A4" {
			made = r.archived
		}
		if made {
			ids = append(ids, d.ID)
		}
	}
	return slices.DeleteFunc(ids, func(id string) bool {
		for _, s := range services {
			if s.id == id {
				return false
			}
		}
		return true
	})
}

// vanished warns of what an earlier audit found at the site and this one did not: a
// log could withdraw what is wrong, and have its check skipped. It returns the ids of
// these checks.
func (r *run) vanished() (ids []string) {
	for _, s := range services {
		if !slices.Contains(r.begin.Offers, s.id) || slices.Contains(r.offered, s.id) || s.sampled && (r.c.Sample == 0 || r.done() == r.tree.Size) {
			continue
		}
		r.report.Check(s.id, "", "").Findf(report.Warning, "the site had %s at an earlier audit, and has not now", s.what)
		ids = append(ids, s.id)
	}
	return ids
}

// serviceOf returns the id by which services have what a check is made on.
func serviceOf(id string) string {
	switch id[0] {
	case 'D':
		return "D1"
	case 'V':
		if id == "V2" {
			return "V1"
		}
	}
	return id
}
