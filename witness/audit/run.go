// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package audit

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/outbound"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/derived"
	"example.org/sumlog/witness/audit/heads"
	"example.org/sumlog/witness/audit/replay"
	"example.org/sumlog/witness/audit/report"
	"example.org/sumlog/witness/audit/site"
	"example.org/sumlog/witness/audit/state"
)

// A run is one audit.
type run struct {
	c      Config
	report report.Report
	state  *state.State
	site   *site.Site
	set    *heads.Set
	begin  progress // where the last audit ended
	names  names

	tree     tlogclient.Head
	sizes    []int64 // of old publications whose partial tiles are compared
	replayed *replay.Result

	places   []place  // where the log shows its heads
	carried  bool     // one of them is where go commands ask the site as a proxy
	archived bool     // there is an archive
	offered  []string // see offers; nil before that is known

	mu     sync.Mutex
	forked bool // the log was found to have signed heads that exclude each other
}

// progress is what the next audit begins with.
type progress struct {
	Snapshot *replay.Snapshot
	Next     int64 // the record that the next sample begins with

	// All is the size up to which an audit of all records found nothing wrong.
	All int64 `json:",omitempty"`

	// Offers are the checks of services that the site had, at whatever audit.
	Offers []string `json:",omitempty"`

	// Found is what was wrong with entries, by check.
	Found []report.Data `json:",omitempty"`
}

func (r *run) all(ctx context.Context) (err error) {
	if r.state = r.c.Memory; r.state == nil {
		if r.state, err = state.Open(r.c.State, r.c.Key); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.state.Close()) }()
	}
	if err := r.remember(); err != nil {
		return err
	}
	r.site, err = site.Open(ctx, site.Config{HTTP: r.c.HTTP, URL: r.c.URL, Key: r.c.Key, Cache: r.state.Cache()})
	if err != nil {
		return err
	}
	r.set, err = heads.New(heads.Config{
		Key: r.c.Key, Policy: r.c.Policy, MaxAge: r.c.MaxAge, Now: r.c.Now,
		Log: r.site.Log(), Report: &r.report, Keep: r.evidence,
	})
	if err != nil {
		return err
	}
	if err := r.collect(ctx); err != nil {
		return err
	}
	replayErr := r.replay(ctx)
	if ctx.Err() != nil {
		return replayErr
	}
	var roots map[int64]tlog.Hash
	if r.replayed != nil {
		roots = r.replayed.Roots
	}
	// Also where the replay failed: two heads that exclude each other do so
	// whatever the entries are.
	if err := r.set.Check(ctx, roots); err != nil || replayErr != nil {
		return errors.Join(replayErr, err)
	}
	if r.replayed == nil && r.report.Check("A3", "", "").Data().Result != report.Stale {
		// The heads that would show it are lost; the snapshot knows all the same.
		r.report.Check("A3", "", "").Findf(report.Stale, "the log shows size %d, and %d entries were replayed before", r.tree.Size, r.from())
	}
	if r.replayed == nil || !r.replayed.Sound {
		return nil // it is in the report, and nothing is proven that could be compared
	}
	next := r.begin.Next
	if err := r.derived(ctx, &next); err != nil {
		return err
	}
	r.offered = r.offers()
	return r.keep(next)
}

// remember reads where the last audit ended. A damaged state costs a whole replay,
// and nothing else: its heads are signed.
func (r *run) remember() error {
	r.names.Names = r.state.Names()
	err := r.state.Progress(&r.begin)
	if err == nil {
		err = r.checkProgress()
	}
	if err == nil {
		return nil
	}
	r.begin, r.names.list = progress{}, nil
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if !errors.Is(err, state.ErrDamaged) {
		return err
	}
	r.c.Logger.Warn("everything is replayed again", "err", err)
	return r.state.Reset()
}

func (r *run) checkProgress() (err error) {
	s := r.begin.Snapshot
	if s == nil || r.begin.Next < 0 || r.begin.All < 0 || r.begin.All > s.Size {
		return fmt.Errorf("%w: no snapshot", state.ErrDamaged)
	}
	if err := s.Check(); err != nil {
		return fmt.Errorf("%w: %v", state.ErrDamaged, err)
	}
	if r.names.list, err = r.names.Names.Load(); err != nil {
		return err
	}
	if n := int64(len(r.names.list)); n != s.Size {
		return fmt.Errorf("%w: %d names of %d entries", state.ErrDamaged, n, s.Size)
	}
	// What was found is in Found too, with its evidence.
	s.Bad, s.Repeated = 0, 0
	return nil
}

// names are the names of the state, read before the replay wants them, so that
// damage is known before it begins.
type names struct {
	*state.Names
	list []uint64
}

// Load implements replay.NameStore. They are as many as the snapshot wants.
func (n *names) Load(int64) ([]uint64, error) {
	list := n.list
	n.list = nil // the replay's now: there may be half a gigabyte of them
	return list, nil
}

// tries is how often the heads are read until the checkpoint is not behind the
// tree head, or the archive: between two readings a log publishes. Answers may be
// kept by a cache for a few seconds, which are worth a pause.
const tries = 3

// pause is that pause. Tests change it.
var pause = 2 * time.Second

// collect collects the heads, and decides which tree is audited.
func (r *run) collect(ctx context.Context) error {
	known, err := r.state.Heads()
	if err != nil {
		return err
	}
	for _, h := range known {
		r.set.Add(heads.Known, "state", h.Note, nil)
	}
	r.readCarried(ctx)
	for range tries {
		seen, err := r.site.Heads(ctx)
		if err != nil && !errors.Is(err, tlogclient.ErrHead) && !errors.Is(err, tlogclient.ErrLoose) {
			return err
		}
		if err != nil {
			r.report.Check("A1", "", "").Findf(report.Failed, "%v", err)
		}
		for _, s := range seen {
			r.set.Add(heads.Shown, s.Source, s.Head.Note, nil)
			r.shows(place{s.Source, s.Log, "A3", s.Head.Size})
			if err := r.state.Saw(s.Head); err != nil {
				return err
			}
		}
		newest, ok := r.set.Newest()
		if !ok {
			return errors.New("the log shows no head that its key signed")
		}
		r.tree = newest
		if err != nil || r.site.Tiles == nil || newest.Origin != tlogclient.DatabaseOrigin {
			break
		}
	}
	if err := r.level(ctx); err != nil {
		return err
	}
	return r.archive(ctx)
}

// readCarried collects the head that go commands are shown through the site as a
// module proxy. It is read before that of the log, which cannot be behind it then.
func (r *run) readCarried(ctx context.Context) {
	l := r.site.Carried
	if l == nil {
		return
	}
	source := r.site.URL + "/" + site.CarriedAt(r.c.Key) + "latest"
	h, err := l.Head(ctx)
	if len(h.Note) > 0 {
		r.set.Add(heads.Elsewhere, source, h.Note, l)
		r.shows(place{source, l, "A5", h.Size})
	}
	if tlogclient.Refused(err) || errors.Is(err, tlogclient.ErrHead) {
		// What is no head and not ErrLoose, no go command believes. Whether there is
		// a database, they ask in another way.
		_, err = r.site.Get(ctx, site.CarriedAt(r.c.Key)+"supported", maxSupported)
		r.carried = err == nil
		return
	}
	r.carried = true
	if err == nil || ctx.Err() != nil {
		return
	}
	r.report.Check("A5", "", "").Findf(report.Failed, "%s: %v", source, err)
}

// maxSupported bounds an answer that is empty, where it is not the page of a web site.
const maxSupported = 64

// A place is one where the log shows a head, and the largest size seen there.
type place struct {
	source string
	log    *tlogclient.Log
	check  string // that a head which stays behind breaks
	size   int64
}

// shows notes what a place shows.
func (r *run) shows(p place) {
	for i, old := range r.places {
		if old.source == p.source {
			r.places[i].size = max(old.size, p.size)
			return
		}
	}
	r.places = append(r.places, p)
}

// level makes sure that every place shows as much as any: where one stands still, or
// goes back, those who read there alone do not see what all others can.
func (r *run) level(ctx context.Context) error {
	for _, p := range r.places {
		for n := 0; p.size < r.tree.Size; n++ {
			if n == tries {
				r.report.Check(p.check, "", "").Findf(report.Stale, "%s shows size %d, and the log has shown size %d elsewhere", p.source, p.size, r.tree.Size)
				break
			}
			if n > 0 {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(pause):
				}
			}
			h, err := p.log.Head(ctx)
			if err != nil && len(h.Note) == 0 {
				r.report.Check(p.check, "", "").Findf(report.Failed, "%s: %v", p.source, err)
				break
			}
			// The next audit compares it.
			if err := r.state.Saw(h); err != nil {
				return err
			}
			p.size = max(p.size, h.Size)
		}
	}
	return ctx.Err()
}

// maxPartial is the number of old publications whose partial tiles are compared, of
// each of which there is one on every level.
const maxPartial = 64

// maxArchive is the number of lines of the archive that are read: of twenty years of
// one a minute. A log that makes up more keeps nobody busy for ever. Tests change it.
var maxArchive = 10_000_000

// archive adds the heads of the archive, those that the last audit has not seen.
// Those of the empty tree say nothing. Whether it is an archive at all is for package
// derived to say, which looks at the lines.
func (r *run) archive(ctx context.Context) error {
	after, lines := int64(0), 0
	if r.begin.Snapshot != nil {
		after = max(0, r.begin.Snapshot.Size-1)
	}
	r.archived = true
	for p, err := range r.site.Archive(ctx, after) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			r.archived = false
		}
		// What was published since is left for the next audit: each such head
		// would need a proof, of which heads makes a limited number.
		if err == nil && p.Size > r.tree.Size {
			return r.published(ctx, p.Size)
		}
		if err != nil {
			break
		}
		if lines++; lines > maxArchive {
			r.report.Check("A2", "", "").Skip("of the archive only %d lines are read", maxArchive)
			break
		}
		r.set.Add(heads.Archived, "archive", p.Checkpoint, nil)
		r.set.Add(heads.Archived, "archive", p.TreeHead, nil)
		r.sizes = append(r.sizes, p.Size)
	}
	return nil
}

// published makes sure that the log shows what its archive has: or it could keep the
// one small, and have what nobody compares in the other.
func (r *run) published(ctx context.Context, size int64) error {
	largest := int64(0)
	for i := range tries {
		if i > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(pause):
			}
		}
		seen, err := r.site.Heads(ctx)
		if err != nil && !errors.Is(err, tlogclient.ErrHead) {
			return err
		}
		for _, s := range seen {
			largest = max(largest, s.Head.Size)
			// The next audit is to be shown no less.
			if err := r.state.Saw(s.Head); err != nil {
				return err
			}
		}
		if largest >= size {
			return nil
		}
	}
	r.report.Check("A3", "", "").Findf(report.Stale, "the log shows size %d, and its archive has size %d", largest, size)
	return nil
}

// partialSizes returns the old publications whose partial tiles are compared: a
// choice that the log cannot foresee, and with it the oldest and the newest.
func (r *run) partialSizes() []int64 {
	r.sizes = slices.Compact(r.sizes)
	return pick(r.sizes, maxPartial)
}

// pick returns at most n of list, in order, its ends among them.
func pick(list []int64, n int) []int64 {
	if len(list) <= n {
		return slices.Clone(list)
	}
	some := []int64{list[0], list[len(list)-1]}
	for _, i := range rand.Perm(len(list) - 2)[:n-2] {
		some = append(some, list[1+i])
	}
	slices.Sort(some)
	return some
}

// replay replays what is new. It does not if the log shows less than was replayed
// before: heads says what that means.
func (r *run) replay(ctx context.Context) error {
	from := r.begin.Snapshot
	if from != nil && from.Size > r.tree.Size {
		r.skipReplay(fmt.Sprintf("the log shows size %d, and showed %d before", r.tree.Size, from.Size))
		return nil
	}
	res, err := replay.Run(ctx, replay.Config{
		Log: r.site.Log(), Place: r.site.Place, Copies: r.copies(), Tree: r.tree.Tree(),
		From: from, Sizes: r.set.Sizes(), PartialSizes: append(r.partialSizes(), r.tree.Size), Compare: true,
		Parallel: r.c.Parallel, Cache: r.state.Cache(), Names: &r.names,
		Key: r.c.Key, Head: r.tree, Address: r.site.Address, Report: &r.report, Keep: r.evidence, Now: r.c.Now,
		Progress: func(done, total int64) { r.c.Progress("replaying the log", done, total) },
	})
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	r.replayed = res
	if n := len(r.sizes); n > maxPartial {
		b4 := r.report.Check("B4", "", "")
		why := fmt.Sprintf("%d of %d earlier sizes were compared, chosen at random", maxPartial, n)
		if gone := b4.Data().Skipped; gone != "" {
			why += "; " + gone
		}
		b4.Skip("%s", why)
	}
	return nil
}

// copies returns where else the hash tiles are that are replayed: in the layout of
// the go command, and where go commands read it through the site as a proxy.
func (r *run) copies() []replay.Copy {
	var copies []replay.Copy
	if r.site.Tiles != nil && r.site.Database != nil {
		copies = append(copies, replay.Copy{Log: r.site.Database, Place: r.site.Place})
	}
	if r.carried {
		copies = append(copies, replay.Copy{Log: r.site.Carried, Place: site.CarriedAt(r.c.Key)})
	}
	return copies
}

func (r *run) skipReplay(why string) {
	r.report.Check("B1", "entries hash to the signed root", "entries").Skip("%s", why)
}

// derived holds what is derived from the log against its entries.
func (r *run) derived(ctx context.Context, next *int64) error {
	return derived.Run(ctx, derived.Config{
		Site: r.site, Head: r.tree, From: r.from(),
		Entries: func(ctx context.Context, from, to int64) iter.Seq2[replay.Entry, error] {
			return replay.Entries(ctx, r.site.Log(), r.tree.Tree(), from, to)
		},
		Sample: r.c.Sample, Done: r.done(), Next: next, Tags: r.c.Tags,
		Public: r.public(ctx), Private: r.c.Private,
		Parallel: r.c.Parallel, Report: &r.report, Keep: r.evidence, Now: r.c.Now,
		Progress: func(done, total int64) { r.c.Progress("checking what is derived from it", done, total) },
	})
}

// done is the size up to which nothing is asked for again.
func (r *run) done() int64 {
	if !r.c.OnlyNew || r.c.Sample >= 0 {
		return 0
	}
	return r.begin.All
}

// public finds the database to compare with.
func (r *run) public(ctx context.Context) *site.Site {
	if r.c.Public == nil {
		return nil
	}
	s, err := site.Open(ctx, site.Config{HTTP: r.c.HTTP, URL: r.c.PublicURL, Key: r.c.Public})
	if err != nil {
		r.report.Check("D9", "records are those of the public database", "records").Findf(report.Failed, "%v", err)
		return nil
	}
	return s
}

// from is the entry that the replay began with.
func (r *run) from() int64 {
	if r.begin.Snapshot == nil {
		return 0
	}
	return r.begin.Snapshot.Size
}

// result makes the summary.
func (r *run) result(err error) *Result {
	r.require(err)
	var vanished []string
	if err == nil && r.offered != nil {
		vanished = r.vanished()
	}
	s := &report.Summary{
		Tool: r.c.Tool, Time: r.c.Now().UTC(), Log: r.c.Key.String(), URL: withoutPassword(r.c.URL),
		Result: report.OK,
		Checks: merge(r.begin.Found, r.report.Checks()),
	}
	if r.tree.Note != nil {
		root := r.tree.Root
		s.Head = report.Head{Origin: r.c.Key.Name(), Size: r.tree.Size, Root: base64.StdEncoding.EncodeToString(root[:])}
		s.From = r.from()
	}
	for _, d := range s.Checks {
		s.Result = report.Worst(s.Result, d.Result)
	}
	if err != nil {
		s.Result = report.Worst(s.Result, report.Failed)
	}
	return &Result{s, r.tree, vanished}
}

func withoutPassword(where string) string {
	u, err := url.Parse(where)
	if err != nil || u.User == nil {
		return where
	}
	return outbound.Redact(u)
}

// require finds the checks that had to be made and were not. After an error that
// is no news.
func (r *run) require(err error) {
	if err != nil {
		return
	}
	made := make(map[string]bool)
	for _, d := range r.report.Checks() {
		made[d.ID] = d.Result != report.Skipped ||
			d.Skipped == derived.WasMade && slices.Contains(r.begin.Offers, serviceOf(d.ID))
	}
	for _, id := range ids {
		all := slices.Contains(r.c.Require, All) && !slices.Contains(never, id) &&
			(id != "A3" || r.begin.Snapshot != nil) // which needs an audit before
		if made[id] || !all && !slices.Contains(r.c.Require, id) {
			continue
		}
		r.report.Check(id, "", "").Findf(report.Failed, "required, and not made")
	}
}
