// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/log"
	"example.org/sumlog/mirror/store"
)

var cmdImport = &command{
	Name:  "import",
	Args:  "FILE...",
	Short: "admit what go.sum files or a module cache name",
	Long: `
Import admits every module version that the FILEs name. A FILE is a go.sum, or
the directory of a module cache (what go env GOMODCACHE says). Versions whose
zip is named are stored whole, those of which only the go.mod is named without
their zip.

What is logged is what the upstreams and the checksum database say. The hashes
in FILE are expectations: where one differs from the log, the line is reported,
the exit code is 1, and the log is as it was. Malformed lines, and the versions
that they name, are left out and listed at the end; then too the exit code is 1.

No server may be running on DIR. Import can be repeated.

	sumlog import -dir DIR go.sum
	sumlog import -dir DIR "$(go env GOMODCACHE)"
`,
	Flags: append([]string{"dir", "guard", "witness-policy", "config"}, upstreamFlags...),
	NArgs: func(n int) bool { return n > 0 },
	Run:   runImport,
}

const (
	importWorkers = 16
	importWait    = 10 * time.Minute // for one version; a zip may come slowly

	// Between publications that need witnesses. All workers wait for each.
	importInterval = 100 * time.Millisecond
)

// openForWork opens an authority for a command other than serve, and a meter
// for what the command will do.
func (c *call) openForWork(ctx context.Context, what string, expect func(log.Record) error) (*authority, *cli.Meter, error) {
	files, err := limits()
	if err != nil {
		return nil, nil, err
	}
	if err := c.inherit(ctx); err != nil {
		return nil, nil, err
	}
	ups, err := c.upstreams()
	if err != nil {
		return nil, nil, err
	}
	c.warn(&ups, false)
	logger := c.logger()
	l, err := c.openSigning(importInterval, logger)
	if err != nil {
		return nil, nil, err
	}
	m := c.Meter("reading log into index", logger)
	a, err := openAuthority(authorityConfig{
		dir: c.opts.dir, upstreams: ups, wait: importWait, brief: importWait, flights: files.flights, expect: expect, logger: logger, progress: m.Set,
	}, l)
	m.End()
	if err != nil {
		return nil, nil, hintAhead(err)
	}
	return a, c.Meter(what, logger), nil
}

func runImport(ctx context.Context, c *call) error {
	var claims []claim
	var bad []error
	for _, name := range c.Args {
		s, err := readClaims(name)
		if err != nil {
			return err
		}
		if s.other > 0 {
			fmt.Fprintf(c.Stderr, "sumlog: warning: %s: %d lines with hashes other than h1 left out\n", name, s.other)
		}
		claims, bad = append(claims, s.claims...), append(bad, s.bad...)
	}
	list := wishes(claims)
	a, m, err := c.openForWork(ctx, "importing", expectation(list))
	if err != nil {
		return err
	}
	defer a.close()
	i := importer{c: c, a: a, meter: m, wishes: list}
	i.total = int64(len(i.wishes))
	i.run(ctx)
	m.End()
	fmt.Fprintf(c.Stdout, "imported: %d versions, %d new, %d already logged, %d mismatched, %d failed\n",
		i.done, i.admitted, i.logged, i.mismatched, i.failed)
	for _, err := range bad {
		fmt.Fprintf(c.Stderr, "sumlog: malformed: %v\n", err)
	}
	switch {
	case i.stopped():
		return signingStopped(i.fatal)
	case ctx.Err() != nil:
		return cli.Hint(errors.New("interrupted"), "the same command goes on where this one stopped")
	case i.mismatched > 0:
		return cli.Hint(fmt.Errorf("%d versions have other hashes in the log, or upstream, than in the files", i.mismatched),
			"either the files or what upstream gave are not what their authors published")
	case i.failed > 0:
		return cli.Hint(fmt.Errorf("%d versions could not be admitted", i.failed), "the same command tries them again")
	case len(bad) > 0:
		return cli.Hint(fmt.Errorf("%d lines are malformed and were left out, with the versions that they name", len(bad)),
			"mend them, or have go mod tidy write the file anew")
	}
	return nil
}

// An importer admits module versions.
type importer struct {
	c      *call
	a      *authority
	meter  *cli.Meter
	wishes []wish
	total  int64
	fatal  error // why the log signs nothing any more

	mu                                         sync.Mutex
	done, admitted, logged, mismatched, failed int64
}

// run goes through all wishes. One that fails stops none of the others.
func (i *importer) run(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(importWorkers)
	for _, w := range i.wishes {
		if ctx.Err() != nil || i.stopped() {
			break
		}
		g.Go(func() error {
			was, err := i.one(ctx, w)
			i.count(was, err)
			return nil
		})
	}
	g.Wait()
}

// stopped reports whether the log signs nothing any more, which lets all that
// is left fail too.
func (i *importer) stopped() bool {
	select {
	case i.fatal = <-i.a.log.Failed():
	default:
	}
	return i.fatal != nil
}

// one admits one version and compares.
func (i *importer) one(ctx context.Context, w wish) (was bool, err error) {
	if _, was, err = i.a.index.Find(w.mod); err != nil {
		return false, err
	}
	kind := store.Mod
	if w.zip {
		kind = store.Zip
	}
	admitted := i.a.admit.Bytes(ctx, w.mod, kind)
	e, found, err := i.a.index.Find(w.mod)
	if err != nil {
		return was, err
	}
	if !found {
		return was, admitted
	}
	// The log's word counts even if the bytes could not be had.
	if err := w.mismatches(e.Record, "the log"); err != nil {
		return was, err
	}
	return was, admitted
}

// count counts a version and reports what went wrong with it.
func (i *importer) count(was bool, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.done++
	_, mismatched := errors.AsType[mismatchError](err)
	switch {
	case mismatched:
		i.mismatched++
	case err != nil:
		i.failed++
	case was:
		i.logged++
	default:
		i.admitted++
	}
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, log.ErrClosed) {
		i.meter.End()
		fmt.Fprintf(i.c.Stderr, "sumlog: %v\n", err)
	}
	i.meter.Set(i.done, i.total)
}
