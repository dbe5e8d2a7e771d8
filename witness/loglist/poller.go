// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package loglist

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.org/sumlog/internal/outbound"
	"example.org/sumlog/internal/tlogclient"
)

// A Config configures a [Poller].
type Config struct {
	// Source is the path of a file, or an http:// or https:// URL.
	Source string

	// Interval is the time between two readings. Default: an hour for a URL,
	// with jitter, so that the witnesses of a network do not all come at
	// once; a minute for a file.
	Interval time.Duration

	// HTTP reads a URL. Default: its own.
	HTTP *tlogclient.HTTP

	// Apply gets each list that differs from the one before it. After an
	// error it gets it again.
	Apply func(context.Context, []Entry) error

	// Logger gets failures. Default: none.
	Logger *slog.Logger
}

// A Poller reads a list again and again.
type Poller struct {
	source   string
	interval time.Duration
	read     func(context.Context) ([]byte, error)
	apply    func(context.Context, []Entry) error
	logger   *slog.Logger

	applied [sha256.Size]byte // digest of the list that Apply took; Run's

	mu     sync.Mutex
	status Status
}

// A Status says how reading a list goes.
type Status struct {
	Source  string
	Success time.Time // of the last reading that went well
	Logs    int       // in the list then
	Err     error     // of the last reading, if it did not
	ErrTime time.Time
}

// NewPoller returns a poller. It reads nothing.
func NewPoller(c Config) (*Poller, error) {
	if c.Source == "" || c.Apply == nil {
		return nil, errors.New("log list: source and apply are required")
	}
	p := &Poller{source: c.Source, interval: c.Interval, apply: c.Apply, logger: c.Logger}
	if p.logger == nil {
		p.logger = slog.New(slog.DiscardHandler)
	}
	usual := time.Minute
	p.read = func(context.Context) ([]byte, error) { return readFile(c.Source) }
	if strings.Contains(c.Source, "://") {
		u, err := tlogclient.ParseURL(c.Source)
		if err != nil {
			return nil, fmt.Errorf("log list: %w", err)
		}
		if c.HTTP == nil {
			c.HTTP = tlogclient.NewHTTP(tlogclient.HTTPConfig{})
		}
		usual = time.Hour
		p.source = outbound.Redact(u)
		p.read = func(ctx context.Context) ([]byte, error) { return c.HTTP.Get(ctx, u, MaxList) }
	}
	p.interval = cmp.Or(p.interval, usual)
	p.status.Source = p.source
	return p, nil
}

// readFile reads a list. O_NONBLOCK: opening a pipe must not wait for its
// writer.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	return io.ReadAll(io.LimitReader(f, MaxList+1)) // Parse refuses what is longer
}

// Run reads the list at once and then at each interval, until ctx ends. After a
// failure it comes back sooner.
func (p *Poller) Run(ctx context.Context) {
	failures := 0
	for {
		wait := p.interval - p.interval/10 + rand.N(p.interval/5+1)
		if err := p.Poll(ctx); err != nil && ctx.Err() == nil {
			failures++
			wait = tlogclient.Pause(failures, min(30*time.Second, p.interval), p.interval, err)
			p.logger.Warn("log list not taken", "source", p.source, "err", err, "retry_in", wait)
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

// Poll reads the list once. It is not to be called beside Run.
func (p *Poller) Poll(ctx context.Context) error {
	n, err := p.poll(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.status.Err, p.status.ErrTime = err, time.Now()
		return err
	}
	p.status.Err, p.status.ErrTime = nil, time.Time{}
	p.status.Success, p.status.Logs = time.Now(), n
	return nil
}

func (p *Poller) poll(ctx context.Context) (logs int, err error) {
	text, err := p.read(ctx)
	if err != nil {
		return 0, err
	}
	digest := sha256.Sum256(text)
	if digest == p.applied {
		return p.Status().Logs, nil
	}
	list, err := Parse(text)
	if err != nil {
		return 0, err
	}
	if err := p.apply(ctx, list); err != nil {
		return 0, err
	}
	p.applied = digest
	return len(list), nil
}

// Status returns how it goes.
func (p *Poller) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}
