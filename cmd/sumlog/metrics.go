// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/sumlog/internal/metrics"
	"example.org/sumlog/log"
)

// serveMetrics serves what an operator watches until stop is called.
func (c *call) serveMetrics(l *log.Log, logger *slog.Logger) (stop func(), err error) {
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sumlog_" + name, Help: help}, f)
	}
	cs := []prometheus.Collector{
		gauge("size", "Entries published.", func() float64 { return float64(l.Published().Size) }),
		gauge("published_seconds", "Time since the newest publication.", func() float64 {
			return time.Since(l.Published().Time).Seconds()
		}),
		gauge("ready", "Whether the log is ready: 1, or 0 without a current quorum of witnesses.", func() float64 {
			if l.Ready() != nil {
				return 0
			}
			return 1
		}),
	}
	if c.witnesses != nil {
		cs = append(cs, c.witnesses.Collector())
	}
	return metrics.Serve(c.opts.metrics, logger, cs...)
}
