// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package feed brings to a witness what a log signs, for logs that do not come
// themselves: any tiled log, and the checksum databases of the go command, the Go
// team's among them.
//
// A [Feeder] reads the newest head, proves with the log's tiles that it extends
// what the witness has cosigned, and hands both to the witness as a request of
// add-checkpoint (https://c2sp.org/tlog-witness), within the process. The witness
// checks it as anyone's. So nothing of what a feeder does is trusted: it can only
// fail to be of use. An idle log is handed in again from time to time, so that
// its cosignature does not age.
//
// A head that is proven to be of another history is handed in too, for the
// witness to refuse and to keep as evidence; the feeder says so at level ERROR,
// once for each such head, with the note.
//
// The layout is found out: tlog-tiles if there is a checkpoint, else a database.
// So is the origin, within limits: it is the key's name or that of all checksum
// databases, or what the operator said it is. A log must not take the name of
// another before that one comes.
//
// A feeder keeps nothing. After a crash it begins with what the witness has.
package feed

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/tlogclient"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	refresh  = 10 * time.Minute // age of a cosignature of an idle log
	maxPause = 15 * time.Minute // after failures
	maxTries = 3                // when others submit at the same time
)

// A Target is a witness.
type Target interface {
	// Head returns the largest tree of origin that was cosigned.
	Head(origin string) (tlog.Tree, bool)

	// Add is add-checkpoint.
	Add(ctx context.Context, body []byte) (lines []byte, err error)
}

// A Config configures a [Feeder].
type Config struct {
	Key *checkpoint.Key // the log's; required

	// URL is the prefix of the log: https://, http://, file://, or the path
	// of a directory. Required.
	URL string

	// Origin is the log's, if it is neither the key's name nor that of all
	// checksum databases.
	Origin string

	// Found is called with the origin, once it is known and before anything
	// is handed in: the place to tell the witness of the log. After an error
	// it is called again, with the next reading. Default: nothing.
	Found func(origin string) error

	Target   Target           // required
	HTTP     *tlogclient.HTTP // default: its own
	Interval time.Duration    // between two readings; default 1 min
	Logger   *slog.Logger     // default: none
}

// A Feeder feeds one log to a witness.
type Feeder struct {
	key      *checkpoint.Key
	source   tlogclient.Source
	target   Target
	found    func(string) error
	interval time.Duration
	logger   *slog.Logger

	// These are of the goroutine that runs.
	origin string          // as configured or found
	told   bool            // found took it
	log    *tlogclient.Log // nil until the layout is known
	added  time.Time       // when the witness last took a head
	forked [32]byte        // digest of the last note of a fork

	mu     sync.Mutex
	status Status
}

// A Status says how feeding goes.
type Status struct {
	URL     string
	Origin  string    // empty until it is known
	Size    int64     // of the last head that was read
	Success time.Time // when the witness had the log's newest head
	Err     error     // of the last reading, if it went wrong
	ErrTime time.Time
}

// New returns a feeder. It asks nobody.
func New(c Config) (*Feeder, error) {
	if c.Key == nil || c.URL == "" || c.Target == nil {
		return nil, errors.New("feed: key, URL and target are required")
	}
	if c.HTTP == nil {
		c.HTTP = tlogclient.NewHTTP(tlogclient.HTTPConfig{})
	}
	source, err := tlogclient.Open(c.HTTP, c.URL)
	if err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	f := &Feeder{
		key: c.Key, source: source, target: c.Target, found: c.Found, origin: c.Origin,
		interval: cmp.Or(c.Interval, time.Minute), logger: c.Logger,
	}
	if f.found == nil {
		f.found = func(string) error { return nil }
	}
	if f.logger == nil {
		f.logger = slog.New(slog.DiscardHandler)
	}
	f.status = Status{URL: source.String(), Origin: f.origin}
	return f, nil
}

// Run feeds until ctx ends.
func (f *Feeder) Run(ctx context.Context) {
	failures := 0
	for {
		wait := f.interval - f.interval/10 + rand.N(f.interval/5+1)
		if err := f.Feed(ctx); err != nil && ctx.Err() == nil {
			failures++
			wait = tlogclient.Pause(failures, f.interval, max(f.interval, maxPause), err)
			f.logger.Warn("log not fed", "url", f.source.String(), "origin", f.origin, "err", err, "retry_in", wait)
		} else {
			failures = 0
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// Status returns how it goes.
func (f *Feeder) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// Feed reads the newest head and hands it in, if it is news or the last is old.
// It is not to be called beside Run.
func (f *Feeder) Feed(ctx context.Context) error {
	head, err := f.head(ctx)
	if err == nil {
		err = f.submit(ctx, head)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if head.Note != nil {
		f.status.Origin, f.status.Size = head.Origin, head.Size
	}
	if err != nil {
		f.status.Err, f.status.ErrTime = err, time.Now()
		return err
	}
	f.status.Err, f.status.ErrTime = nil, time.Time{}
	f.status.Success = time.Now()
	return nil
}

// head reads the newest head, and finds out where it is if need be.
func (f *Feeder) head(ctx context.Context) (tlogclient.Head, error) {
	if f.log != nil {
		head, err := f.log.Head(ctx)
		if errors.Is(err, fs.ErrNotExist) {
			f.log = nil // the log may have changed its layout
		}
		return head, err
	}
	layout, head, err := tlogclient.Discover(ctx, f.source, f.key)
	if err != nil {
		return tlogclient.Head{}, err
	}
	if err := f.admit(head.Origin); err != nil {
		return tlogclient.Head{}, err
	}
	f.log, err = tlogclient.New(tlogclient.Config{
		Source: f.source, Layout: layout, Keys: []*checkpoint.Key{f.key}, Origin: f.origin,
	})
	return head, err
}

// admit decides whether origin is that of the log.
func (f *Feeder) admit(origin string) error {
	switch {
	case f.origin != "" && origin != f.origin:
		return fmt.Errorf("origin is %.255q, not %q", origin, f.origin)
	case f.origin == "" && origin != f.key.Name() && origin != tlogclient.DatabaseOrigin:
		return fmt.Errorf("origin is %.255q, which must be configured since it is not the key's name", origin)
	}
	if !f.told {
		if err := f.found(origin); err != nil {
			return err
		}
	}
	f.origin, f.told = origin, true
	return nil
}

// submit hands in head, with the proof that it extends what the witness has. If
// that has changed meanwhile, because the log or another feeder came first, it
// begins again.
func (f *Feeder) submit(ctx context.Context, head tlogclient.Head) error {
	for try := 1; ; try++ {
		tree, _ := f.target.Head(head.Origin)
		if tree == head.Tree() && time.Since(f.added) < refresh {
			return nil
		}
		known := checkpoint.Checkpoint{Origin: head.Origin, Size: tree.N, Root: tree.Hash}
		proof, err := f.log.Extend(ctx, tlogclient.Head{Checkpoint: known}, head)
		if fork, ok := errors.AsType[*tlogclient.ForkError](err); ok {
			return f.alarm(ctx, fork, head)
		}
		if err != nil {
			return err
		}
		_, err = f.target.Add(ctx, checkpoint.AddRequest{Old: tree.N, Proof: proof, Note: head.Note}.Bytes())
		if err != nil {
			err = f.follow(ctx, head, tree.N, err)
		}
		if err == nil {
			f.added = time.Now()
			f.logger.Debug("log fed", "origin", head.Origin, "size", head.Size, "old", tree.N)
			return nil
		}
		if now, _ := f.target.Head(head.Origin); now == tree || try == maxTries {
			return err
		}
	}
}

// follow hands in head once more if the witness, which was given a proof from its
// own size, wants one from another too: from what its peers have seen.
func (f *Feeder) follow(ctx context.Context, head tlogclient.Head, own int64, err error) error {
	c, ok := errors.AsType[interface {
		error
		Conflict() (size int64, ok bool)
	}](err)
	if !ok {
		return err
	}
	size, ok := c.Conflict()
	if !ok || size <= own || size > head.Size {
		return err
	}
	_, proof, err2 := f.log.Prove(ctx, size, head.Tree())
	if err2 != nil {
		return err2
	}
	_, err = f.target.Add(ctx, checkpoint.AddRequest{Old: size, Proof: proof, Note: head.Note}.Bytes())
	return err
}

// alarm makes a fork known, once for each head. The witness judges by itself and
// keeps the evidence; of a head that is smaller than what it has, which
// add-checkpoint has no form for, the log line is what remains.
func (f *Feeder) alarm(ctx context.Context, fork *tlogclient.ForkError, head tlogclient.Head) error {
	digest := sha256.Sum256(head.Note)
	if digest == f.forked {
		return fork
	}
	said := "not asked"
	if fork.Newer.Note != nil { // of what the witness has, there is only the tree
		req := checkpoint.AddRequest{Old: fork.Older.Size, Proof: fork.Proof, Note: head.Note}
		_, err := f.target.Add(ctx, req.Bytes())
		said = fmt.Sprint(err)
	}
	if ctx.Err() == nil {
		f.forked = digest
	}
	f.logger.Error("log signed two histories", "url", f.source.String(), "err", fork, "note", string(head.Note), "witness", said)
	return fork
}
