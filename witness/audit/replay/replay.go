// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package replay recomputes a log from its entries: it reads every one, hashes
// them to the root that the log signed (RFC 6962, section 2.1), compares the tiles
// that the log publishes (https://c2sp.org/tlog-tiles) with those that its entries
// make, and checks the records.
//
// # Checks
//
//	B1  the entries hash to the signed root, and those replayed before are still
//	    what they were
//	B2  every full tile, and the partial tiles of the tree, are what is recomputed, in
//	    each layout and at each place
//	B4  so are the partial tiles of earlier sizes, as far as they are still there
//	C1  C3  the grammar of the records (package record): misbehaviour
//	C2  paths and versions that the go command would not ask for: warnings
//	C4  one record for a version: misbehaviour, whether a second one says the same
//	    or another thing
//	C6  pseudo-versions of the future: warnings
//
// C5, C7 and C8 are reported as skipped, with the reason.
//
// # What is believed
//
// The head, which the caller has verified, and the snapshot and fingerprints of an
// earlier replay, which are the auditor's own. Of the log nothing: whatever it
// serves is limited in size by tlogclient, a bundle has 256 entries at most, and
// what is kept of each entry are 8 bytes. So memory grows with what was served and
// not with the size that a head claims.
//
// Nothing that was found means anything before the root is right: of a log whose
// entries do not hash to its head, no record is reported, and no tile accused. It
// is then said which entries are not those that the log committed to, where its
// tiles can tell. The log did not sign what it serves, so that this proves nothing
// to others.
//
// # Duplicates
//
// Of the name of each record ("PATH@VERSION") the first 8 bytes of its SHA-256 are
// kept. Those that occur twice are looked for in the end, and their entries read
// again and compared. To make two names with equal fingerprints is possible, and
// pointless: it costs the auditor two requests. Of more than a quarter of a million
// such entries the rest is not compared, and said to be so.
//
// # What a crash leaves
//
// Fingerprints are appended to the [NameStore] in the end, before the caller has
// the [Snapshot] and can keep it. So a store can hold more than the snapshot says,
// never less, and forgets it when it is loaded.
package replay

import (
	"context"
	"errors"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/report"
)

// A NameStore keeps the fingerprints of the names of all records, in the order of
// their indexes, from one replay to the next. The fingerprint 0 stands for an entry
// that is no record.
type NameStore interface {
	// Load returns, for the caller to keep, the fingerprints of the n records of
	// the snapshot, and forgets what was appended after them.
	Load(n int64) ([]uint64, error)

	// Append appends. It need not be durable before the snapshot is kept.
	Append(names []uint64) error
}

// A Config says what to replay.
type Config struct {
	Log  *tlogclient.Log // required
	Tree tlog.Tree       // required: what a head that the log signed says

	// Copies are the same log once more, of which only the hash tiles are read, to be
	// compared too.
	Copies []Copy

	From         *Snapshot // where an earlier replay ended; nil: from entry 0
	Sizes        []int64   // whose roots to return, as far as they are not below From
	PartialSizes []int64   // whose partial tiles to compare too
	Compare      bool      // compare the published tiles
	RootOnly     bool      // look at no record: C1 to C8 are not made
	Parallel     int       // requests under way at the same time; default 8

	Cache tlogclient.Cache // keeps the tiles that were proven; default none
	Names NameStore        // required with From, unless RootOnly; default none

	// Evidence is made of what is found if Key, Head and Keep are there. Place is
	// where the log is below the site, and Address is the URL of what is there.
	Key     *checkpoint.Key
	Head    tlogclient.Head // signed by Key, of Tree
	Place   string
	Address func(path string) string
	Keep    func(*evidence.Evidence) (path string, err error)

	Report *report.Report   // default: one that nobody sees
	Now    func() time.Time // default: time.Now

	// Progress is told, from one goroutine, how many entries are done.
	Progress func(done, total int64)
}

// A Copy is the log in another layout, or at another place below the site: empty, or
// a path that ends in a slash.
type Copy struct {
	Log   *tlogclient.Log
	Place string
}

// A Result is what came of a replay.
type Result struct {
	// Sound says that the entries hash to the tree. If they do not, there are
	// neither Roots nor a Snapshot: nothing that was read is proven.
	Sound bool

	Roots    map[int64]tlog.Hash // at Config.Sizes
	Snapshot *Snapshot

	Bad      int64 // entries that break C1 or C3, those of earlier replays included
	Repeated int64 // entries that repeat or contradict an earlier one, likewise
}

// ErrConfig is wrapped by errors about a Config, which no log can cause.
var ErrConfig = errors.New("replay: bad configuration")

// Run replays. What is wrong with the log is in the report. The error is one that
// kept the replay from being made to its end.
func Run(ctx context.Context, c Config) (*Result, error) {
	r, err := newRun(c)
	if err != nil {
		return nil, err
	}
	if err := r.replay(ctx); err != nil {
		r.checks.b1.Findf(report.Failed, "entries could not be read: %v", err)
		return nil, err
	}
	root := r.tree.rootWith(r.last)
	if root != c.Tree.Hash || r.changed {
		return &Result{}, r.localise(ctx, root)
	}
	return r.conclude(ctx)
}
