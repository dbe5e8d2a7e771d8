// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics returns all samples, one a line.
func (r *rig) metrics() (lines []string) {
	r.t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(r.w.Collector()); err != nil {
		r.t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			lines = append(lines, fmt.Sprintf("%s{%s} %v", strings.TrimPrefix(f.GetName(), "sumwitness_"), strings.Join(labels, ","), m.GetGauge().GetValue()+m.GetCounter().GetValue()))
		}
	}
	return lines
}

func TestMetrics(t *testing.T) {
	a, b, c, stranger := newTestLog("a.example"), newTestLog("b.example"), newTestLog("c.example"), newTestLog("stranger.example")
	r := newRig(t, a, b, c)
	r.mustAdd(a, 0, 0, 11)
	r.clock.Add(1)
	r.mustAdd(a, 0, 11, 11)
	r.add(a.request(3, 11, 20))
	r.add(a.request(0, 5, 20))
	r.add(stranger.request(0, 0, 20))
	post(r.w, "/add-checkpoint", "x")
	if err := r.w.SetDisabled(c.origin, true); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"log_cosigned_timestamp_seconds{origin=a.example} 1.700000001e+09",
		"log_cosigned_total{origin=a.example} 2",
		"log_inconsistent_total{origin=a.example} 1",
		"log_refused_total{origin=a.example,reason=inconsistent} 1",
		"log_refused_total{origin=a.example,reason=stale} 1",
		"log_size{origin=a.example} 11",
		"logs{state=disabled} 1",
		"logs{state=enabled} 2",
		"refused_total{reason=malformed} 1",
		"refused_total{reason=unknown} 1",
		"safe{} 1",
	}
	if got := r.metrics(); !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	st := r.w.Logs()[0]
	if st.Origin != a.origin || st.LastError == "" || st.LastErrorTime.Unix() != startTime+1 {
		t.Errorf("%+v", st)
	}
	r.w.Close()
	if got := r.metrics(); !slices.Contains(got, "safe{} 0") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}
