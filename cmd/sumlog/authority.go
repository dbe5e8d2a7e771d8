// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/index"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/log"
	"example.org/sumlog/mirror"
	"example.org/sumlog/mirror/admit"
	"example.org/sumlog/mirror/store"
	"example.org/sumlog/mirror/upstream"
)

// An authority is all parts of a server, wired together.
type authority struct {
	logger *slog.Logger
	root   *os.Root    // the data directory
	log    *log.Log    // nil: read-only
	reader *log.Reader // the log's, or a view's
	index  *index.Index
	store  *store.Store
	client *upstream.Client
	hidden *upstream.Client // of private modules
	router *upstream.Router
	db     *upstream.Database // nil: records are computed
	dbRoot *os.Root
	admit  *admit.Service // nil: read-only
	closed bool

	failed   <-chan error      // why it cannot go on
	stopped  func(error) error // makes of it what is said
	unfollow func()            // nil, or ends what brings a read-only one up to date
}

// An authorityConfig says what to open.
type authorityConfig struct {
	dir       string
	upstreams upstreams
	wait      time.Duration          // for a file
	brief     time.Duration          // for all else; 0: as long as a request
	flights   int                    // quick admissions at a time, 0: as many as usual
	expect    func(log.Record) error // nil, or says which records not to log
	logger    *slog.Logger
	progress  func(done, total int64) // of the index
}

// openAuthority makes a running authority of an open log, which it closes when
// it fails.
func openAuthority(c authorityConfig, l *log.Log) (a *authority, err error) {
	a = &authority{logger: c.logger, log: l, reader: &l.Reader, failed: l.Failed(), stopped: signingStopped}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if a.root, err = os.OpenRoot(c.dir); err != nil {
		return nil, err
	}
	if a.index, err = openIndex(c.dir, false, l, c.logger, c.progress); err != nil {
		return nil, err
	}
	// The log asks the index about names from its first append on, so the
	// index has caught up before.
	if err := l.Start(a.index); err != nil {
		return nil, err
	}
	if err := closeToOthers(a.root); err != nil {
		c.logger.Warn("evidence may be readable by others", "err", err)
	}
	evidence := keepEvidence(c.dir, c.logger)
	if err := a.openUpstreams(c.upstreams, c.flights, evidence); err != nil {
		return nil, err
	}
	if a.store, err = store.Open(store.Config{
		Dir: filepath.Join(c.dir, mirrorDir), Private: a.router.IsPrivate, PrivateBelow: a.router.PrivateBelow, Logger: c.logger,
	}); err != nil {
		return nil, err
	}
	ac := admit.Config{
		Log: l, Names: a.index, Store: a.store, Router: admit.Route(a.router),
		Evidence: evidence, Logger: c.logger, Wait: c.wait, Brief: c.brief, Flights: c.flights, Expect: c.expect,
	}
	if a.db != nil { // a nil pointer in the interface would not be nil
		ac.Database = a.db
	}
	a.admit, err = admit.New(ac)
	return a, err
}

// openIndex opens the index of l, or makes it again.
func openIndex(dir string, rebuild bool, l index.Source, logger *slog.Logger, progress func(done, total int64)) (*index.Index, error) {
	return index.Open(index.Config{
		Path: filepath.Join(dir, indexFile), Source: l, Rebuild: rebuild, Logger: logger, Progress: progress,
	})
}

// openUpstreams makes the outside world reachable, by the connections of that many
// flights for public and for private modules each.
func (a *authority) openUpstreams(u upstreams, flights int, evidence func(string, []byte)) (err error) {
	maxConns := flights * connsPerFlight
	a.client = upstream.NewClient(upstream.Config{MaxConns: maxConns, Credentials: u.credentials, Logger: a.logger})
	public := a.client.Chain(u.public)
	a.hidden = upstream.NewClient(upstream.Config{Shun: u.publicHosts(), MaxConns: maxConns, Credentials: u.credentials, Logger: a.logger})
	if a.router, err = upstream.NewRouter(public, a.hidden.Chain(u.private), u.globs); err != nil {
		return cli.UsageError(err.Error())
	}
	if u.spec.Off || public.Off() {
		// Without an upstream nothing public can be admitted, and "only what is
		// stored" must not reach for the database either.
		return nil
	}
	if err := durable.MkdirAll(a.root, upstreamDir); err != nil {
		return err
	}
	if err := closeToOthers(a.root); err != nil {
		return err
	}
	if a.dbRoot, err = a.root.OpenRoot(upstreamDir); err != nil {
		return err
	}
	a.db, err = upstream.OpenDatabase(upstream.DatabaseConfig{
		Spec: u.spec, Client: a.client, Public: public, Root: a.dbRoot,
		Relayed: relayed(flights), Evidence: evidence, Logger: a.logger,
	})
	return err
}

// handler returns the handler of everything that the authority serves.
func (a *authority) handler() (http.Handler, error) {
	onError := mirror.ErrorWriter(a.logger)
	var shown http.Handler = a.reader
	var admission admission = readOnly{}
	if a.log != nil {
		shown, admission = a.log, a.admit
	}
	m, err := mirror.New(mirror.Config{Log: a.reader, Names: a.index, Store: a.store, Admission: admission, Error: onError})
	if err != nil {
		return nil, err
	}
	r := &router{
		name:   a.reader.Name(),
		log:    shown,
		lookup: a.index.Lookup(admission.Admit, onError),
		logged: a.index.Lookup(nil, onError),
		feed:   a.index.Feed(),
		mirror: m,
	}
	if a.db != nil {
		r.other = a.db.Name()
		r.relay = &upstream.Relay{Database: a.db, Router: a.router, Error: onError}
	}
	return r, nil
}

// An admission is what is served of an *admit.Service.
type admission interface {
	mirror.Admission
	Admit(ctx context.Context, m module.Version) error
}

// close ends all work, the newest first, and closes everything. What was
// acknowledged is durable whether it gets to its end or not.
func (a *authority) close() error {
	if a.closed {
		return nil
	}
	a.closed = true
	var errs []error
	if a.unfollow != nil {
		a.unfollow()
	}
	if a.admit != nil {
		errs = append(errs, a.admit.Close())
	}
	if a.log != nil {
		errs = append(errs, a.log.Close())
	}
	if a.index != nil {
		errs = append(errs, a.index.Close())
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	for _, c := range []*upstream.Client{a.client, a.hidden} {
		if c != nil {
			c.Close()
		}
	}
	for _, r := range []*os.Root{a.dbRoot, a.root} {
		if r != nil {
			errs = append(errs, r.Close())
		}
	}
	return errors.Join(errs...)
}
