// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package quorum

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of all witnesses, labelled with their names in the policy.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	success  *prometheus.GaugeVec
	size     *prometheus.GaugeVec
	up       *prometheus.GaugeVec
}

func newMetrics() *metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"witness"})
	}
	return &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sumlog_witness_requests_total",
			Help: "Requests for a cosignature, by what became of them.",
		}, []string{"witness", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sumlog_witness_request_seconds",
			Help:    "Time that requests for a cosignature took, failed ones too.",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}, []string{"witness"}),
		success: gauge("sumlog_witness_last_success_time_seconds", "When the witness last cosigned, in seconds since 1970; 0 if it did not yet."),
		size:    gauge("sumlog_witness_size", "Size of the log that the witness is thought to have seen; -1 if not known."),
		up:      gauge("sumlog_witness_up", "1 if the witness cosigned when it was last asked."),
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.seconds, m.success, m.size, m.up}
}

// Collector returns the metrics of the witnesses.
func (q *Quorum) Collector() prometheus.Collector { return q.metrics }

func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

// series are the metrics of one witness. They can be used also when they are
// forgotten.
type series struct {
	requests map[outcome]prometheus.Counter
	seconds  prometheus.Observer
	success  prometheus.Gauge
	size     prometheus.Gauge
	up       prometheus.Gauge
}

func (m *metrics) of(witness string) *series {
	s := &series{
		requests: make(map[outcome]prometheus.Counter),
		seconds:  m.seconds.WithLabelValues(label(witness)),
		success:  m.success.WithLabelValues(label(witness)),
		size:     m.size.WithLabelValues(label(witness)),
		up:       m.up.WithLabelValues(label(witness)),
	}
	for _, o := range outcomes {
		s.requests[o] = m.requests.WithLabelValues(label(witness), string(o))
	}
	return s
}

func (m *metrics) forget(witness string) {
	match := prometheus.Labels{"witness": label(witness)}
	m.requests.DeletePartialMatch(match)
	m.seconds.DeletePartialMatch(match)
	m.success.DeletePartialMatch(match)
	m.size.DeletePartialMatch(match)
	m.up.DeletePartialMatch(match)
}

// label makes a label, which must be UTF-8, of a name, which need not be.
func label(name string) string { return strings.ToValidUTF8(name, "\ufffd") }
