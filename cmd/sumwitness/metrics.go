// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of lists and feeders. Their addresses and origins are the operator's
// own, so that nobody else can make the labels many.
var (
	listSuccess = prometheus.NewDesc("sumwitness_list_last_success_timestamp_seconds",
		"When a list of logs was last read and taken, 0 if never.", []string{"source"}, nil)
	feedSuccess = prometheus.NewDesc("sumwitness_feed_last_success_timestamp_seconds",
		"When a feeder last found the witness to have the newest checkpoint of its log, 0 if never.", []string{"url"}, nil)
)

// Describe implements prometheus.Collector.
func (s *sources) Describe(ch chan<- *prometheus.Desc) {
	ch <- listSuccess
	ch <- feedSuccess
}

// Collect implements prometheus.Collector.
func (s *sources) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, t time.Time, label string) {
		v := 0.0
		if !t.IsZero() {
			v = float64(t.Unix())
		}
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, label)
	}
	for _, p := range s.pollers {
		st := p.Status()
		send(listSuccess, st.Success, st.Source)
	}
	for _, f := range s.feeders {
		st := f.Status()
		send(feedSuccess, st.Success, st.URL)
	}
}
