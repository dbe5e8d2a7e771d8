// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package admit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/log"
	"example.org/sumlog/mirror/store"
)

const (
	maxQueue   = 4096                   // zips that wait for a quiet moment
	lull       = 2 * time.Second        // without requests before a moment is quiet
	maxLull    = time.Minute            // after this the moment is taken as it is
	lullChecks = 250 * time.Millisecond // between looks
)

// later queues the zip of m. What does not fit is left to whoever asks for it,
// or to a rebuild.
func (s *Service) later(m module.Version) {
	select {
	case s.queue <- m:
	default:
		s.log.Warn("too many zips wait to be fetched, one is left for later", "module", m.String())
	}
}

// backfill fetches queued zips, one at a time, while nobody waits for anything.
func (s *Service) backfill() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case m := <-s.queue:
			if !s.waitLull() {
				return
			}
			err := s.fill(m)
			if errors.Is(err, fs.ErrNotExist) {
				// As of a module cache that has only the .mod of it.
				s.log.Info("zip of a logged version is nowhere", "module", m.String())
			} else if err != nil && s.ctx.Err() == nil {
				s.log.Warn("zip of a logged version not fetched", "module", m.String(), "err", err)
			}
		}
	}
}

// waitLull returns when no request waited for a public upstream for a while: all
// zips that are left for later are public. It reports whether the service still
// runs.
func (s *Service) waitLull() bool {
	tick := time.NewTicker(lullChecks)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < maxLull; {
		s.mu.Lock()
		quiet := s.public.busy == 0 && time.Since(s.public.quiet) >= lull
		s.mu.Unlock()
		if quiet {
			break
		}
		select {
		case <-s.ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// fill gets the zip of the logged version m if the store lacks it.
func (s *Service) fill(m module.Version) error {
	e, found, err := s.find(m)
	if err != nil || !found {
		return err
	}
	to, err := s.route(m.Path)
	if err != nil {
		return err
	}
	for {
		if ok, err := s.have(s.ctx, e.Record, store.Zip); ok || err != nil {
			return err
		}
		fl, _, err := s.join(task{m, true}, to, "", false)
		if err != nil {
			return err
		}
		<-fl.done
		if fl.err != nil || fl.zip {
			return fl.err
		}
	}
}

// Progress is how far a rebuild has come. Entries are counted once, in Sound,
// Fetched or Missing.
type Progress struct {
	Sound   int64 // all three files were there
	Fetched int64 // files were missing or damaged, and were fetched again
	Missing int64 // files are missing and no upstream gives them, or not those
	Err     error // why the entry counted last is missing
}

// Rebuild makes the store whole: for each logged entry whose bytes are missing
// or damaged it fetches them again and checks them against the record. A
// damaged file is moved aside, and never lost for want of a better one. That
// bytes cannot be had is no error, it is counted; progress is called after each
// entry.
func (s *Service) Rebuild(ctx context.Context, entries iter.Seq2[log.Entry, error], progress func(Progress)) (Progress, error) {
	var p Progress
	for e, err := range entries {
		if err != nil {
			return p, err
		}
		if err := ctx.Err(); err != nil {
			return p, err
		}
		p.Err = nil
		sound, err := s.haveAll(ctx, e.Record, store.Info, store.Mod, store.Zip)
		if err == nil && !sound {
			err = s.again(ctx, e)
		}
		switch {
		case err == nil && sound:
			p.Sound++
		case err == nil:
			p.Fetched++
		case ctx.Err() != nil:
			return p, ctx.Err()
		default:
			p.Missing++
			p.Err = fmt.Errorf("%s: %w", e.Record.Module, err)
			s.log.Warn("bytes of a logged version not fetched", "module", e.Record.Module.String(), "err", err)
		}
		if err == nil {
			if err := s.c.Store.Publish(e.Record.Module); err != nil {
				return p, err
			}
		}
		progress(p)
	}
	return p, nil
}

// again fetches what the store lacks of e.
func (s *Service) again(ctx context.Context, e log.Entry) error {
	to, err := s.route(e.Record.Module.Path)
	if err != nil {
		return err
	}
	// The index knows when the entry was logged, for the text of a mismatch.
	if found, ok, err := s.find(e.Record.Module); err == nil && ok && found.Record == e.Record {
		e = found
	}
	o := s.refill(ctx, to.chain, e, true)
	if err = errors.Join(o.err, o.noInfo); errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("no upstream has it any more: %w", err)
	}
	return err
}
