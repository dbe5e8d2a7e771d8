// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/sumlog/internal/metrics"
	"example.org/sumlog/log"
)

// serveMetrics serves what an operator watches until stop is called.
func (c *call) serveMetrics(l *log.Log, s *server, logger *slog.Logger) (stop func(), err error) {
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sumlog_" + name, Help: help}, f)
	}
	cs := []prometheus.Collector{
		gauge("size", "Entries published.", func() float64 { return float64(l.Published().Size) }),
		gauge("published_seconds", "Time since the newest publication.", func() float64 {
			return time.Since(l.Published().Time).Seconds()
		}),
		gauge("ready", "Whether what is published is served, as /readyz says: 1 or 0.", func() float64 { return truth(*s.state.Load() == "") }),
		gauge("admits", "Whether new versions can be published, as /readyz?admit says: 1 or 0.", func() float64 {
			return truth(*s.state.Load() == "" && l.Admits() == nil)
		}),
		gauge("time_ahead_seconds", "How far the time of the newest publication is ahead of the clock, 0 if it is not.", func() float64 {
			return l.TimeAhead().Seconds()
		}),
	}
	if c.witnesses != nil {
		cs = append(cs, c.witnesses.Collector(),
			gauge("cosignature_age_seconds", "Age of the oldest cosignature that the newest checkpoint needs for its quorum, +Inf without a quorum.", func() float64 {
				if age, ok := l.CosignatureAge(); ok {
					return age.Seconds()
				}
				return math.Inf(1)
			}))
	}
	return metrics.Serve(c.opts.metrics, logger, cs...)
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
