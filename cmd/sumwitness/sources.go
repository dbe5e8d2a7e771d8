// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness"
	"example.org/sumlog/witness/feed"
	"example.org/sumlog/witness/loglist"
	"example.org/sumlog/witness/state"
)

// A feedSpec is a value of -feed.
type feedSpec struct {
	key *checkpoint.Key
	url string
}

// parseFeeds parses the values of -feed, which have the form of GOSUMDB: a vkey,
// and a URL if that is not https://NAME.
func parseFeeds(list []string) (specs []feedSpec, err error) {
	for _, text := range list {
		fields := strings.Fields(text)
		if len(fields) < 1 || len(fields) > 2 {
			return nil, cli.Usagef("-feed %q: not 'VKEY URL'", text)
		}
		f := feedSpec{}
		if f.key, err = checkpoint.ParseKey(fields[0]); err != nil {
			return nil, cli.Usagef("-feed: %v", err)
		}
		f.url = "https://" + f.key.Name()
		if len(fields) == 2 {
			f.url = fields[1]
		}
		for _, other := range specs {
			if other.key.String() == f.key.String() || other.url == f.url {
				return nil, cli.Usagef("-feed %q: the key or the URL is given twice", text)
			}
		}
		specs = append(specs, f)
	}
	return specs, nil
}

// Sources are where logs, and their checkpoints, come from by themselves.
type sources struct {
	witness *witness.Witness
	own     []string // names of the witness's keys
	logger  *slog.Logger
	pollers []*loglist.Poller
	feeders []*feed.Feeder
	again   []chan struct{} // one of each poller and feeder: begin anew
}

func (s *server) newSources() (*sources, error) {
	src := &sources{witness: s.witness, own: []string{s.name()}, logger: s.logger}
	client := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
	for i, source := range s.c.opts.logs {
		if slices.Contains(s.c.opts.logs[:i], source) {
			return nil, cli.Usagef("-logs: %s is given twice", source)
		}
		p, err := loglist.NewPoller(loglist.Config{
			Source: source, HTTP: client, Logger: s.logger,
			Apply: func(_ context.Context, list []loglist.Entry) error { return src.take(source, list) },
		})
		if err != nil {
			return nil, cli.Usagef("-logs: %v", err)
		}
		src.pollers = append(src.pollers, p)
	}
	for _, spec := range s.feeds {
		f, err := feed.New(feed.Config{
			Key: spec.key, URL: spec.url, Target: s.witness, HTTP: client, Logger: s.logger,
			Found: func(origin string) error { return src.found(origin, spec.key) },
		})
		if err != nil {
			return nil, cli.Usagef("-feed: %v", err)
		}
		src.feeders = append(src.feeders, f)
	}
	for range len(src.pollers) + len(src.feeders) {
		src.again = append(src.again, make(chan struct{}, 1))
	}
	return src, nil
}

// found adds the log that a feeder has found.
func (s *sources) found(origin string, key *checkpoint.Key) error {
	err := s.witness.AddLog(state.Log{Origin: origin, Keys: []*checkpoint.Key{key}, Source: "-feed"})
	if errors.Is(err, state.ErrKeys) && origin == tlogclient.DatabaseOrigin {
		return fmt.Errorf("all checksum databases have the origin %q, and this witness has another one already: one witness can have only one of them: %w", origin, err)
	}
	return err
}

// take takes from a list what lists may bring.
func (s *sources) take(source string, list []loglist.Entry) error {
	var have []loglist.Known
	for _, l := range s.witness.Logs() {
		have = append(have, loglist.Known{Origin: l.Origin, Keys: l.Keys})
	}
	add, alarms := loglist.Plan(have, list, s.own)
	for _, text := range alarms {
		s.logger.Error("log list: "+text, "source", source)
	}
	logs := make([]state.Log, 0, len(add))
	for _, e := range add {
		logs = append(logs, state.Log{Origin: e.Origin, Keys: []*checkpoint.Key{e.Key}, QPD: e.QPD, Contact: e.Contact, Source: source})
	}
	added, errs := s.witness.AddLogs(logs)
	refused := 0
	for i, err := range errs {
		if err != nil {
			refused++
			s.logger.Error("log of a list refused", "source", source, "origin", logs[i].Origin, "err", err)
		}
	}
	if added > 0 {
		s.logger.Info("logs added from list", "source", source, "added", added)
	}
	if refused > 0 {
		return fmt.Errorf("%d of %d logs refused", refused, len(list))
	}
	return nil
}

// begin reads the lists that are files, so that their logs are known from the
// first request on. Of the others nobody knows how long they take.
func (s *sources) begin(ctx context.Context) {
	for _, p := range s.pollers {
		if source := p.Status().Source; !strings.Contains(source, "://") {
			if err := p.Poll(ctx); err != nil {
				s.logger.Error("log list not taken", "source", source, "err", err)
			}
		}
	}
}

// run reads lists and feeds logs until ctx ends.
func (s *sources) run(ctx context.Context, wg *sync.WaitGroup) {
	for i, p := range s.pollers {
		wg.Go(func() { rerun(ctx, p.Run, s.again[i]) })
	}
	for i, f := range s.feeders {
		wg.Go(func() { rerun(ctx, f.Run, s.again[len(s.pollers)+i]) })
	}
}

// rerun runs run, which does its work at once and then from time to time, from
// its beginning whenever again says so.
func rerun(ctx context.Context, run func(context.Context), again <-chan struct{}) {
	for ctx.Err() == nil {
		once, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			run(once)
		}()
		select {
		case <-again:
		case <-ctx.Done():
		}
		cancel()
		<-done
	}
}

// reload reads all lists and logs now.
func (s *sources) reload() {
	for _, again := range s.again {
		select {
		case again <- struct{}{}:
		default: // it is about to
		}
	}
}

// lists says how the lists are, for the status page.
func (s *sources) lists() (rows []pageSource) {
	for _, p := range s.pollers {
		st := p.Status()
		row := pageSource{Name: st.Source, Good: st.Success, ErrorTime: st.ErrTime}
		if st.Err != nil {
			row.Error = st.Err.Error()
		}
		row.Name, row.Error = public(st.Source, row.Error)
		rows = append(rows, row)
	}
	return rows
}

// feeds says how the feeders are, for the status page.
func (s *sources) feeds() (rows []pageSource) {
	for _, f := range s.feeders {
		st := f.Status()
		row := pageSource{Name: st.Origin, Good: st.Success, ErrorTime: st.ErrTime}
		if st.Err != nil {
			row.Error = st.Err.Error()
		}
		row.Address, row.Error = public(st.URL, row.Error)
		rows = append(rows, row)
	}
	return rows
}

// public returns a source, and an error about it, as everybody may see them:
// where this machine has its files is nobody's business.
func public(source, text string) (string, string) {
	rest, isFile := strings.CutPrefix(source, "file://")
	if !isFile && strings.Contains(source, "://") {
		return source, text
	}
	base := filepath.Base(rest)
	return base, strings.ReplaceAll(text, rest, base)
}
