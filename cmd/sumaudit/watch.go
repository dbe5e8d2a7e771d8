// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/sumlog/internal/metrics"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit"
	"example.org/sumlog/witness/audit/report"
	"example.org/sumlog/witness/audit/state"
)

// maxPause bounds the time between two looks at a log that cannot be audited, if
// -interval is not longer.
const maxPause = 15 * time.Minute

// watchLog audits for ever. It prints a report when something has changed that is
// worth a look: not when the log has grown.
func (c *call) watchLog(ctx context.Context, cfg audit.Config) error {
	w := &watcher{}
	stop, err := metrics.Serve(c.log.metrics, cfg.Logger, w)
	if err != nil {
		return err
	}
	defer stop()
	meters := &meters{c: c, logger: cfg.Logger}
	cfg.Progress = meters.set
	cfg.OnlyNew = true
	if cfg.State == "" {
		memory, err := state.Open("", cfg.Key)
		if err != nil {
			return err
		}
		defer memory.Close()
		cfg.Memory = memory
	}
	cfg.HTTP = tlogclient.NewHTTP(httpConfig)
	defer cfg.HTTP.Close()
	last, failures := "", 0
	for {
		cfg.HTTP.Forgive()
		res, err := audit.Run(ctx, cfg)
		meters.end()
		if ctx.Err() != nil {
			return nil
		}
		w.set(res.Summary, err)
		cfg.Logger.Info("audited", "size", res.Head.Size, "from", res.From, "result", string(res.Result))
		if now := gist(res.Summary, err); now != last {
			if err := c.printReport(res.Summary, err); err != nil {
				return err
			}
			last = now
		}
		failures++
		if err == nil && res.Result != report.Failed {
			failures = 0
		}
		pause := c.log.interval
		if failures > 0 {
			pause = tlogclient.Pause(failures, c.log.interval, max(c.log.interval, maxPause), err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// gist is what two reports of the same state of things have in common: what is wrong.
// Neither sizes nor times are in it, nor where evidence is, which has its time in it;
// and what is skipped depends on what is new. (A service that vanishes shows where
// its checks are required.)
func gist(s *report.Summary, err error) string {
	var b strings.Builder
	fmt.Fprintln(&b, s.Result, err)
	for _, c := range s.Checks {
		if c.Result == report.OK || c.Result == report.Skipped {
			continue
		}
		fmt.Fprintln(&b, c.ID, c.Result)
		for _, f := range c.Findings {
			if f.Result == report.Misbehaviour {
				fmt.Fprintf(&b, "%q\n", f.Text)
			}
		}
	}
	return b.String()
}

// A watcher is what the metrics are about.
type watcher struct {
	mu     sync.Mutex
	s      *report.Summary // of the newest audit; nil before the first
	runs   map[report.Result]int
	ended  time.Time // of the newest audit
	sound  time.Time // of the newest one that found nothing
	broken bool      // the newest one did not come to an end
}

func (w *watcher) set(s *report.Summary, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.runs == nil {
		w.runs = make(map[report.Result]int)
	}
	w.runs[s.Result]++
	w.s, w.ended, w.broken = s, time.Now(), err != nil
	if err == nil && resultCode(s.Result) == 0 {
		w.sound = w.ended
	}
}

// The labels are ids of checks and results, of which there are few.
var (
	metricSize = prometheus.NewDesc("sumaudit_tree_size",
		"Size of the newest tree that was audited.", nil, nil)
	metricEnded = prometheus.NewDesc("sumaudit_last_audit_timestamp_seconds",
		"When the newest audit ended, 0 if none has.", nil, nil)
	metricSound = prometheus.NewDesc("sumaudit_last_sound_timestamp_seconds",
		"When the newest audit ended that could check all and found nothing, 0 if none has.", nil, nil)
	metricRuns = prometheus.NewDesc("sumaudit_audits_total",
		"Audits by what they came to.", []string{"result"}, nil)
	metricCheck = prometheus.NewDesc("sumaudit_check_state",
		"1 for what the check came to in the newest audit.", []string{"check", "result"}, nil)
	metricFindings = prometheus.NewDesc("sumaudit_check_findings",
		"Findings of the check in the newest audit.", []string{"check", "result"}, nil)
)

// Describe implements prometheus.Collector.
func (w *watcher) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{metricSize, metricEnded, metricSound, metricRuns, metricCheck, metricFindings} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (w *watcher) Collect(ch chan<- prometheus.Metric) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	stamp := func(t time.Time) float64 {
		if t.IsZero() {
			return 0
		}
		return float64(t.Unix())
	}
	gauge(metricEnded, stamp(w.ended))
	gauge(metricSound, stamp(w.sound))
	for _, r := range []report.Result{report.OK, report.Warning, report.Failed, report.Stale, report.Misbehaviour} {
		ch <- prometheus.MustNewConstMetric(metricRuns, prometheus.CounterValue, float64(w.runs[r]), string(r))
	}
	if w.s == nil {
		return
	}
	gauge(metricSize, float64(w.s.Head.Size))
	for _, c := range w.s.Checks {
		gauge(metricCheck, 1, c.ID, string(c.Result))
		for r, n := range c.Counts {
			gauge(metricFindings, float64(n), c.ID, string(r))
		}
	}
}
