// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package derived audits what a checksum authority derives from its log: the feed,
// the lookups, the lists and the bytes that it serves, each compared with the
// entries that [replay] has proven to be in the tree of a signed head.
//
// # What is checked
//
// The ids are those of the report.
//
//	A4  each line of the archive (/checkpoints) has a checkpoint and a tree head of
//	    its size with one root, both signed; times increase, sizes do not decrease
//	B3  the files of entries of both layouts hold the same entries, and so do those
//	    below /sumdb/NAME/ where the site carries the log there too
//	B5  a lookup answers with the index and the text of the entry, and with a tree
//	    head that covers it and is consistent with the tree that is audited; at the
//	    log, and below /sumdb/NAME/ where the site carries it there too
//	D1  the zip has the hash of the record, and is one that the go command unpacks
//	D2  the .mod is the zip's go.mod, or the one that is made up where it has none
//	D3  the .mod has the hash of the record
//	D4  the .info names the version, and a time that is not to come
//	D5  the module line of the .mod is the path of the module
//	D6  the tag that the .info names is still at the commit that it names
//	D7  what is logged can be had
//	    (D1, D3 and D4 are made under /cached-only/ too, on what is stored)
//	D9  the record is that of the public database, where that knows the version
//	V1  @v/list has what is logged but pseudo-versions: under /cached-only/ that and
//	    nothing else, elsewhere that at least, but for versions without a .info there
//	V2  @latest under /cached-only/ is the latest of what is logged
//	V3  the feed (/index) has each entry once, in the order of the log, at strictly
//	    increasing times, which are those of the archive: the time of an entry is
//	    that of the first line that covers it, or a microsecond after the entry
//	    before, whichever is later; and its queries (since, after, limit,
//	    include=all) neither lose nor repeat any
//
// A service that the site does not have is a check that was not made, with that
// reason; a 404 is the lack of a service as long as the service has answered
// nothing else. A site that has the log only below /sumdb/NAME is a proxy that
// carries it, whose lists are its own: V1 and V2 are not made there.
//
// What a service answers wrongly is misbehaviour, and an observation (E11) is made
// of it where a record contradicts it: that something is named which is not logged,
// or at another time, contradicts none. Where an answer excludes what the log's key
// signed, it is proof (E1 to E3, E6). What the authors of modules do, a tag that
// moves or a module line of another path, is a warning.
//
// # How much
//
// A4 and V3 are made on all that was logged since the last audit. For the others
// there is a sample of records: the newest ones and, from run to run, one stretch of
// the log after another; or all of them, or of all those that no audit has asked for
// before ([Config.Done]). Exact lists need all versions of a module, so that V1 and
// V2 read the log once more, in an audit from its first entry or of all records;
// in others the lists are only searched for the records of the sample. What that
// pass remembers of modules is put into temporary files by the hash of the path,
// and a file is small enough for the memory.
//
// # What is trusted
//
// The entries, which are verified, and the keys. All answers have limits in bytes
// and in time. A zip is read by internal/modzip, at most 64 MB of memory for each, and
// held to the limits of x/mod/zip before anything is inflated; one that would cost
// more, and may be a module's for all that is known, is a check that was not made. The URL of a repository is the mirror's word: git is asked with
// arguments that cannot be taken for options, for one reference, over https or ssh
// (or what GIT_ALLOW_PROTOCOL allows), not at an address of the local network that
// is written as such, without a prompt, and for a limited time.
//
// Nothing is written but temporary files, and evidence through [Config.Keep]. A
// crash leaves temporary files behind.
package derived

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/record"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/replay"
	"example.org/sumlog/witness/audit/report"
	"example.org/sumlog/witness/audit/site"
)

// A Config says what is audited. Site, Head, Entries, Report and Keep are required.
type Config struct {
	Site *site.Site
	Head tlogclient.Head // of the log: signed, and replayed
	From int64           // entries below it were audited before

	// Entries yields the verified entries from (inclusive) to (exclusive) of Head's
	// tree.
	Entries func(ctx context.Context, from, to int64) iter.Seq2[replay.Entry, error]

	Sample int    // records whose lookup, lists and bytes are asked for: 0 none, -1 all
	Done   int64  // of all records, those below it are not asked for again
	Next   *int64 // the record that the sample begins with; Run moves it on. Nil: 0

	Public  *site.Site // another database, to compare with; nil: none
	Private string     // globs, as GOPRIVATE, of module paths that Public is not asked about
	Tags    bool       // ask the repositories about tags

	Parallel int // records or modules at a time; default 8

	Report   *report.Report
	Keep     func(*evidence.Evidence) (path string, err error)
	Progress func(done, total int64) // records of the sample; one call at a time
	Now      func() time.Time        // default time.Now
}

// Run makes the checks. Its error is that of an audit that could not go on, because
// the log's own entries could not be read or ctx ended; all else is in the report.
func Run(ctx context.Context, c Config) error {
	a, err := newAuditor(c)
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{a.feed, a.layouts, a.records, a.lists} {
		if err := step(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	a.finish()
	return nil
}

// An auditor is one run.
type auditor struct {
	c    Config
	site *site.Site
	log  *tlogclient.Log
	tree tlog.Tree
	note checkpoint.Note // of Head

	window []span // the sample

	a4, b3, b5                     *report.Check
	d1, d2, d3, d4, d5, d6, d7, d9 *report.Check
	v1, v2, v3                     *report.Check

	lookups, lookups2               *surface // of the log itself and where a proxy carries it
	entries2                        *surface // files of entries there
	mirror, lists1, lists2, latest2 *surface // lists elsewhere and under /cached-only/
	store                           *surface // bytes under /cached-only/

	mu      sync.Mutex
	accused map[*report.Check]int
	heads   map[tlog.Tree]*sync.Once

	now func() time.Time
}

func newAuditor(c Config) (*auditor, error) {
	if c.Site == nil || c.Entries == nil || c.Report == nil || c.Keep == nil || len(c.Head.Note) == 0 {
		return nil, errors.New("derived: site, head, entries, report and a place for evidence are required")
	}
	if c.From < 0 || c.From > c.Head.Size {
		return nil, fmt.Errorf("derived: from entry %d of %d", c.From, c.Head.Size)
	}
	if c.Parallel <= 0 {
		c.Parallel = 8
	}
	if c.Next == nil {
		c.Next = new(int64)
	}
	a := &auditor{
		c: c, site: c.Site, log: c.Site.Log(), tree: c.Head.Tree(), now: c.Now,
		accused: make(map[*report.Check]int), heads: make(map[tlog.Tree]*sync.Once),
	}
	if a.now == nil {
		a.now = time.Now
	}
	var err error
	if a.note, err = checkpoint.ParseNote(c.Head.Note); err != nil {
		return nil, err
	}
	switch {
	case c.Sample >= 0 || c.Done == 0:
		a.window = window(c.Head.Size, c.From, c.Sample, *c.Next)
	case c.Done < c.Head.Size:
		a.window = []span{{c.Done, c.Head.Size}}
	}
	a.open(c.Report)
	return a, nil
}

// open puts all checks into the report, so that one that is not made is there too.
func (a *auditor) open(r *report.Report) {
	a.a4 = r.Check("A4", "archived checkpoints and tree heads agree, and increase", "lines")
	a.b3 = r.Check("B3", "both layouts hold the same entries", "entries")
	a.b5 = r.Check("B5", "lookups give the entry, and a consistent tree head", "lookups")
	a.d1 = r.Check("D1", "zips have the hash of their record", "zips")
	a.d2 = r.Check("D2", ".mod files are those of the zips", "files")
	a.d3 = r.Check("D3", ".mod files have the hash of their record", "files")
	a.d4 = r.Check("D4", ".info files name their version and a sane time", "files")
	a.d5 = r.Check("D5", "go.mod files name their module", "files")
	a.d6 = r.Check("D6", "tags are at the commits that the mirror names", "tags")
	a.d7 = r.Check("D7", "what is logged can be had", "versions")
	a.d9 = r.Check("D9", "records are those of the public database", "records")
	a.v1 = r.Check("V1", "@v/list has what is logged", "lists")
	a.v2 = r.Check("V2", "@latest is the latest of what is logged", "modules")
	a.v3 = r.Check("V3", "the feed has each entry once, in order, at its time", "entries")
	a.lookups, a.lookups2, a.entries2, a.mirror = new(surface), new(surface), new(surface), new(surface)
	a.lists1, a.lists2, a.latest2, a.store = new(surface), new(surface), new(surface), new(surface)
}

// finish says of the checks of services that the site does not have why they were
// not made.
func (a *auditor) finish() {
	// The bytes of a mirror that is seen elsewhere are not absent for want of a
	// mirror.
	if a.lists1.seen || a.lists2.seen {
		a.mirror.here()
	}
	if a.lists2.seen || a.latest2.seen {
		a.store.here()
	}
	if a.c.Sample == 0 {
		for _, c := range []*report.Check{a.b3, a.b5, a.d1, a.d2, a.d3, a.d4, a.d5, a.d6, a.d7, a.d9, a.v1, a.v2} {
			c.Skip("no sample of records was asked for")
		}
		return
	}
	if a.c.Sample < 0 && a.c.Done == a.tree.N && a.tree.N > 0 {
		for _, c := range []*report.Check{a.b3, a.b5, a.d1, a.d2, a.d3, a.d4, a.d5, a.d7, a.v1, a.v2} {
			c.Skip(WasMade)
		}
	}
	if a.lookups.lacks() && !a.lookups2.seen {
		a.b5.Skip("the site has no lookups")
	}
	if a.mirror.lacks() {
		for _, c := range []*report.Check{a.d1, a.d2, a.d3, a.d4, a.d5, a.d7} {
			c.Skip("the site has no mirror")
		}
	}
	a.skipLists()
	switch {
	case !a.c.Tags:
		a.d6.Skip("repositories are not asked about tags (-tags)")
	case a.mirror.lacks():
		a.d6.Skip("the site has no mirror")
	}
	if a.c.Public == nil {
		a.d9.Skip("no public database to compare with (-public)")
	}
}

// WasMade is why a check is skipped that an earlier audit has made on all that there
// is.
const WasMade = "made on all records by an earlier audit, and not again"

// skipLists says what of V1 and V2 was not made.
func (a *auditor) skipLists() {
	if a.carried() {
		a.v1.Skip("the log is carried by a proxy here, whose lists are its own")
		a.v2.Skip("the log is carried by a proxy here, whose lists are its own")
		return
	}
	switch {
	case a.lists1.lacks() && a.lists2.lacks():
		a.v1.Skip("the site has no mirror")
	case a.lists2.lacks():
		a.v1.Skip("there is nothing under /cached-only/: lists may have more than is logged")
	case a.c.Sample < 0 && a.c.Done == a.tree.N: // see finish
	case !a.exact():
		a.v1.Skip("lists are exact only in an audit from entry 0, or of all records: here, versions of the sample are looked for")
	}
	switch {
	case a.c.Done > 0 && a.c.Sample < 0:
		a.v2.Skip(WasMade)
	case a.latest2.lacks():
		a.v2.Skip("there is nothing under /cached-only/")
	case !a.exact():
		a.v2.Skip("needs all versions of a module: made in an audit from entry 0, or of all records")
	}
}

// carried reports whether the site is a proxy that carries the log of another.
func (a *auditor) carried() bool { return a.site.Place != "" }

// exact reports whether the log is read once more for all versions of modules.
func (a *auditor) exact() bool {
	return a.c.Sample != 0 && (a.c.From == 0 || a.c.Sample < 0) && a.c.Done == 0
}

// An entry is a record that the go command could ask for, and its place.
type entry struct {
	replay.Entry
	path, version string
	rec           record.Record
}

// parseEntry returns e as one that services can be asked about, if it is one. The
// others are the business of those who check records.
func parseEntry(e replay.Entry) (entry, bool) {
	rec, err := record.Parse(e.Text)
	if err != nil || record.Check(rec) != nil {
		return entry{Entry: e}, false
	}
	return entry{e, string(rec.Path), string(rec.Version), rec}, true
}

func (e entry) String() string { return e.path + "@" + e.version }

// file returns the path of a file of the version, below a mirror.
func (e entry) file(ext string) string {
	path, version := escape(e.path, e.version)
	return path + "/@v/" + version + ext
}

// escape escapes what has passed module.Check.
func escape(path, version string) (string, string) {
	p, _ := module.EscapePath(path)
	v, _ := module.EscapeVersion(version)
	return p, v
}

// private reports whether the public database must not be asked about e.
func (a *auditor) private(e entry) bool {
	return a.c.Private != "" && module.MatchPrefixPatterns(strings.TrimSpace(a.c.Private), e.path)
}
