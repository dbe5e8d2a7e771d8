// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/tlog"
)

// Reasons of refusals, as metrics name them.
var reasons = [...]string{"malformed", "unsigned", "unknown", "stale", "inconsistent", "rate", "unavailable"}

// reason returns the index of the reason that status stands for.
func reason(status int) int {
	switch status {
	case http.StatusForbidden:
		return 1
	case http.StatusNotFound:
		return 2
	case http.StatusConflict:
		return 3
	case http.StatusUnprocessableEntity:
		return 4
	case http.StatusTooManyRequests:
		return 5
	case http.StatusServiceUnavailable:
		return 6
	}
	return 0
}

type refusals [len(reasons)]atomic.Int64

// stats are of one log since the start.
type stats struct {
	cosigned     atomic.Int64
	inconsistent atomic.Int64 // validly signed checkpoints that cannot be cosigned
	refused      refusals

	mu        sync.Mutex
	lastError string
	lastTime  time.Time
	accused   tlog.Tree
}

func (s *stats) last() (text string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastError, s.lastTime
}

// count counts a refusal; o is nil where no known origin was named.
func (w *Witness) count(o *origin, r *Refusal) {
	if o == nil {
		w.nobody[reason(r.Status)].Add(1)
		return
	}
	o.refused[reason(r.Status)].Add(1)
	o.stats.mu.Lock()
	defer o.stats.mu.Unlock()
	o.lastError, o.lastTime = r.Text, w.config.Now()
}

var (
	descSize    = prometheus.NewDesc("sumwitness_log_size", "Size of the newest cosigned tree.", []string{"origin"}, nil)
	descTime    = prometheus.NewDesc("sumwitness_log_cosigned_timestamp_seconds", "Time of the last cosignature.", []string{"origin"}, nil)
	descSigned  = prometheus.NewDesc("sumwitness_log_cosigned_total", "Checkpoints cosigned, refreshes included.", []string{"origin"}, nil)
	descFraud   = prometheus.NewDesc("sumwitness_log_inconsistent_total", "Checkpoints with a valid signature of the log that are inconsistent with what was cosigned or carry a bad proof.", []string{"origin"}, nil)
	descRefused = prometheus.NewDesc("sumwitness_log_refused_total", "Requests refused.", []string{"origin", "reason"}, nil)
	descNobody  = prometheus.NewDesc("sumwitness_refused_total", "Requests refused that named no known origin.", []string{"reason"}, nil)
	descLogs    = prometheus.NewDesc("sumwitness_logs", "Known logs.", []string{"state"}, nil)
	descSafe    = prometheus.NewDesc("sumwitness_safe", "1 while the state is safe to cosign with.", nil, nil)
)

// Collector returns the metrics. Labels name known origins only: a client cannot
// make new series.
func (w *Witness) Collector() prometheus.Collector { return collector{w} }

type collector struct{ w *Witness }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descSize, descTime, descSigned, descFraud, descRefused, descNobody, descLogs, descSafe} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	w := c.w
	enabled, disabled := 0, 0
	for _, e := range w.config.Store.Logs() {
		if e.Disabled {
			disabled++
		} else {
			enabled++
		}
		w.mu.RLock()
		o := w.logs[e.Origin]
		w.mu.RUnlock()
		if o == nil {
			continue
		}
		if e.Time != 0 {
			ch <- prometheus.MustNewConstMetric(descSize, prometheus.GaugeValue, float64(e.Tree.N), o.name)
			ch <- prometheus.MustNewConstMetric(descTime, prometheus.GaugeValue, float64(e.Time), o.name)
			ch <- prometheus.MustNewConstMetric(descSigned, prometheus.CounterValue, float64(o.cosigned.Load()), o.name)
			ch <- prometheus.MustNewConstMetric(descFraud, prometheus.CounterValue, float64(o.inconsistent.Load()), o.name)
		}
		o.refused.collect(ch, descRefused, o.name)
	}
	w.nobody.collect(ch, descNobody)
	safe := 1.0
	if w.dead.Load() != nil {
		safe = 0
	}
	ch <- prometheus.MustNewConstMetric(descSafe, prometheus.GaugeValue, safe)
	ch <- prometheus.MustNewConstMetric(descLogs, prometheus.GaugeValue, float64(enabled), "enabled")
	ch <- prometheus.MustNewConstMetric(descLogs, prometheus.GaugeValue, float64(disabled), "disabled")
}

// collect leaves out reasons that have not occurred: with many logs they would
// be most of all series.
func (r *refusals) collect(ch chan<- prometheus.Metric, d *prometheus.Desc, labels ...string) {
	for i := range r {
		if n := r[i].Load(); n > 0 {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), append(labels[:len(labels):len(labels)], reasons[i])...)
		}
	}
}
