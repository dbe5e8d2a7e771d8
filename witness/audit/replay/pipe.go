// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay

import (
	"context"
	"errors"
	"iter"

	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"example.org/sumlog/internal/tlogclient"
)

// An item is a bundle to read.
type item struct {
	n     int64
	width int      // number of its entries
	names []uint64 // where their fingerprints go
}

// A job is a bundle on its way. Jobs are used again, so that a replay of any
// length makes a few of them.
type job struct {
	item
	entries [][]byte // for Entries
	leaves  [bundleWidth]tlog.Hash
	root    tlog.Hash // of a full bundle
	proven  bool      // to be in the tree, before all of it is
	bad     []bad
	ready   chan struct{}
}

// A worker is the memory that one goroutine works with.
type worker struct {
	*hasher
	buf tlogclient.Buffer
}

func newWorker() *worker { return &worker{hasher: newHasher()} }

// errEnded is why pipe ends when it was told to by its context, and errStopped when
// the caller wants no more.
var (
	errEnded   = errors.New("ended")
	errStopped = errors.New("stopped")
)

// pipe calls work for each of the bundles, in parallel, and then done for each, in
// their order and from the caller's goroutine. It ends with the first error of
// either; no goroutine is left behind.
func pipe(ctx context.Context, workers int, items iter.Seq[item],
	work func(context.Context, *worker, *job) error, done func(*job) error) (err error) {
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	defer func() {
		cancel()
		if werr := g.Wait(); err == errEnded {
			// Whoever ended it knows why: a worker, or the caller.
			if err = werr; outer.Err() != nil {
				err = context.Cause(outer)
			}
		}
	}()

	window := 4 * workers
	free := make(chan *job, window)
	order, todo := make(chan *job, window), make(chan *job, window)
	for range window {
		free <- &job{ready: make(chan struct{}, 1)}
	}
	g.Go(func() error {
		defer close(todo)
		defer close(order)
		for it := range items {
			select {
			case j := <-free:
				j.item, j.entries, j.bad, j.proven = it, nil, j.bad[:0], false
				order <- j // neither blocks: there are no more jobs
				todo <- j
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range workers {
		g.Go(func() error {
			w := newWorker()
			for j := range todo {
				if err := work(ctx, w, j); err != nil {
					return err
				}
				j.ready <- struct{}{}
			}
			return nil
		})
	}
	for j := range order {
		select {
		case <-j.ready:
		case <-ctx.Done():
			return errEnded
		}
		if err := done(j); err != nil {
			return err
		}
		free <- j
	}
	if ctx.Err() != nil {
		return errEnded
	}
	return nil
}
