// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package audit

import (
	"slices"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/report"
)

// evidence keeps evidence. Heads that it shows to exclude each other are kept among
// those seen: what was signed stays signed, also where it is shown no more.
func (r *run) evidence(e *evidence.Evidence) (string, error) {
	for _, note := range e.Forked() {
		h, err := tlogclient.ParseHead(note, "", r.c.Key)
		if err != nil {
			continue // another key's
		}
		r.mu.Lock()
		r.forked = true
		r.mu.Unlock()
		if err := r.state.Saw(h); err != nil {
			return "", err
		}
	}
	path, already, err := r.state.Evidence(e)
	if already {
		r.c.Logger.Info("evidence of this is already kept", "file", path)
	}
	return path, err
}

// keep remembers how far this audit came. A tree that contradicts a head, or could
// not be compared with one, is no place to go on from. Neither is one of which a
// service was wrong, or a check not made that the next audit would not make again:
// it begins where this one did, and finds what was not repaired.
func (r *run) keep(next int64) error {
	again, all := false, r.begin.All
	if r.c.Sample < 0 {
		all = r.tree.Size
	}
	for _, d := range r.report.Checks() {
		if d.Result == report.Failed {
			all = r.begin.All // what could not be had is asked for again
		}
		switch d.ID {
		case "A2", "A3", "A4", "B1":
			if d.Result != report.OK && d.Result != report.Skipped {
				return nil
			}
		case "B2", "B4", "V3":
			again = again || d.Result == report.Failed
		}
		again = again || d.Result == report.Misbehaviour && d.ID[0] != 'C'
	}
	if r.forked {
		return nil
	}
	if err := r.state.KeepHead(r.tree); err != nil {
		return err
	}
	if !again {
		found := entryFindings(merge(r.begin.Found, r.report.Checks()))
		offers := slices.Concat(r.begin.Offers, r.offered)
		slices.Sort(offers)
		err := r.state.SetProgress(progress{Snapshot: r.replayed.Snapshot, Next: next, All: all, Offers: slices.Compact(offers), Found: found})
		if err != nil {
			return err
		}
	}
	return r.state.Forget(r.tree.Size)
}
