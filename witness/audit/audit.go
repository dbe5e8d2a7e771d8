// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package audit is the auditor of a checksum authority: it reads all that one
// publishes, checks it against what the authority's key signed, and reports what
// was checked, what was found, and what was not checked and why.
//
// # What is done
//
// [Run] makes one audit, in this order, each step by a package below this one:
//
//	site     finds the log, in one layout or both, and what is beside it
//	heads    collects the heads: those shown, those of the archive of publications,
//	         those that earlier audits saw;
//	         and has every place that shows a head show as much as the others: one
//	         that stands still, or goes back, is stale (A3; A5 below /sumdb/NAME/)
//	replay   reads all entries, or those since the last audit, and recomputes from
//	         them the tree, its root at every size that a head has, and its tiles;
//	         reads each record, and finds module versions that have two
//	heads    compares all heads with that tree, and with what the policy wants
//	derived  holds against the entries what is derived from them: lookups, feed,
//	         version lists, module bytes
//	state    remembers
//
// A check has an id, which never changes its meaning, and is in the report also
// where it was not made. A thing that is wrong is classified, counted, and where it
// can be shown to others made into evidence (internal/evidence); the audit goes on.
// It only ends early where nothing further would mean anything: no head, or entries
// that do not hash to the head.
//
// # What is trusted
//
// The key, and the state directory as package state says. Of what the authority
// says only that counts which hashes to what the key signed; the rest is held
// against it. All answers have limits in bytes and in time, and so has waiting for
// all of them together: a server that drips each of many answers is given up after a
// while, and the checks that are left could not be made.
//
// # Again
//
// With a state directory, the next audit begins where this one ended. What it found
// wrong with entries is kept with it and reported again: they are signed, and stay.
// So are heads that exclude each other. What services answered wrongly is not: they
// may have been repaired. But after such an audit, and one that could not compare all
// tiles or the feed, the next begins where that one began, to find what was not. So does
// one of all records that asks only for those that are new ([Config].OnlyNew): those of
// which nothing was wrong, and all could be had, are not asked for again. What changes
// at a service behind that is for other audits to find.
//
// # What a crash leaves
//
// What package state says: the last audit that came to its end counts.
package audit

import (
	"context"
	"log/slog"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/report"
	"example.org/sumlog/witness/audit/state"
)

// A Config says what is audited, and how. URL and Key are required.
type Config struct {
	HTTP *tlogclient.HTTP // default: one of its own
	URL  string           // http://, https:// or file:// URL, or a directory
	Key  *checkpoint.Key

	// State is the directory that remembers. Without one nothing is remembered,
	// and evidence goes to the working directory.
	State string

	// Memory is an open state without a directory, to remember in from one audit of
	// this process to the next. Run does not close it. Only without State.
	Memory *state.State

	Policy *policy.Policy // nil: no cosignature is asked for
	MaxAge time.Duration  // of the cosignatures; 0: any

	// Require has the ids of checks that must be made, or All: one that is not
	// made counts as failed.
	Require []string

	// Sample is the number of records whose lookups and bytes are asked for: 0
	// none, -1 all. The next audit goes on behind them.
	Sample int

	// OnlyNew has an audit of all records (Sample -1) ask for those alone that no
	// audit of all has found sound before.
	OnlyNew bool

	Public    *checkpoint.Key // another database, to compare records with; nil: none
	PublicURL string
	Private   string // globs, as GOPRIVATE: paths that are never asked of Public
	Tags      bool   // ask repositories whether tags moved

	Parallel int              // requests at the same time; default 8
	Tool     string           // who audits, for the summary
	Logger   *slog.Logger     // default: none
	Now      func() time.Time // default: time.Now

	// Progress is called now and then with what is being done, and how far it is:
	// by one goroutine at a time.
	Progress func(what string, done, total int64)
}

// A Result is what an audit came to.
type Result struct {
	*report.Summary

	// Tree is the head that was audited, with the note that it was signed in: a
	// checkpoint, unless the log has none as large. If the audit did not come so
	// far, its Note is nil.
	Tree tlogclient.Head

	// Vanished are the checks that an earlier audit made and this one could not,
	// because the site has no longer what they are made on. In the summary they
	// are warnings.
	Vanished []string
}

// Patience is for how long, in all, a host may keep an audit waiting for nothing: it
// has many requests under way at once, each of which is tried several times.
const Patience = 30 * time.Minute

// Run audits a log. The error says why an audit did not come to its end; what was
// found until then is in the result, which is never nil.
func Run(ctx context.Context, c Config) (*Result, error) {
	if c.HTTP == nil {
		c.HTTP = tlogclient.NewHTTP(tlogclient.HTTPConfig{UserAgent: "sumaudit/1", Patience: Patience})
		defer c.HTTP.Close()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Parallel <= 0 {
		c.Parallel = 8
	}
	if c.Progress == nil {
		c.Progress = func(string, int64, int64) {}
	}
	r := &run{c: c}
	err := r.all(ctx)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return r.result(err), err
}
