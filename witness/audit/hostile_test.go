// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package audit

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/sumlog/internal/testauthority"
	"example.org/sumlog/witness/audit/report"
)

// TestHostile audits logs that want to keep their auditor busy, or to use up his
// memory. Each audit ends, with an error or a finding, and never as sound.
func TestHostile(t *testing.T) {
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	for range 64 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	bomb := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(packed.Bytes())
	}
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer inside.Close()
	signed := func(size int64) func(a *testauthority.Authority) http.HandlerFunc {
		return func(a *testauthority.Authority) http.HandlerFunc {
			text := fmt.Sprintf("%s\n%d\n%s\n", a.Name(), size, strings.Repeat("A", 43)+"=")
			return func(w http.ResponseWriter, r *http.Request) { w.Write(a.Sign(text).Bytes()) }
		}
	}
	is := func(h http.HandlerFunc) func(*testauthority.Authority) http.HandlerFunc {
		return func(*testauthority.Authority) http.HandlerFunc { return h }
	}
	for name, test := range map[string]struct {
		path   string // of which the answers are replaced
		answer func(a *testauthority.Authority) http.HandlerFunc
	}{
		"endless checkpoint": {"/checkpoint", is(endless)},
		"endless bundles":    {"/tile/entries/", is(endless)},
		"endless tiles":      {"/tile/0/", is(endless)},
		"endless archive":    {"/checkpoints", is(endless)},
		"endless feed":       {"/index", is(endless)},
		"bomb as checkpoint": {"/checkpoint", is(bomb)},
		"bomb as bundles":    {"/tile/entries/", is(bomb)},
		"bomb as feed":       {"/index", is(bomb)},
		"redirects inside":   {"/tile/", is(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inside.URL, http.StatusFound) })},
		"empty bundles":      {"/tile/entries/", is(func(http.ResponseWriter, *http.Request) {})},
		"size 2^50":          {"/checkpoint", signed(1 << 50)},
		"size 2^62":          {"/checkpoint", signed(1 << 62)},
		"a million signatures": {"/checkpoint", func(a *testauthority.Authority) http.HandlerFunc {
			note := append(a.Checkpoint(600).Bytes(), bytes.Repeat([]byte("— a AAAAAAA=\n"), 1_000_000)...)
			return func(w http.ResponseWriter, r *http.Request) { w.Write(note) }
		}},
		"archive of one line for ever": {"/checkpoints", func(a *testauthority.Authority) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				rec := httptest.NewRecorder()
				a.ServeHTTP(rec, httptest.NewRequest("GET", "/checkpoints?after=-1&limit=1", nil))
				for range 1000 {
					if _, err := w.Write(rec.Body.Bytes()); err != nil {
						return
					}
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a := testauthority.New(testauthority.Config{})
			bad := test.answer(a)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(strings.TrimPrefix(r.URL.Path, "/cached-only"), test.path) {
					bad(w, r)
					return
				}
				a.ServeHTTP(w, r)
			}))
			defer srv.Close()
			c := Config{URL: srv.URL, Key: a.Key(), State: t.TempDir(), Sample: 3}
			peak := watchMemory()
			res, err := Run(t.Context(), c)
			if err == nil && (res.Result == report.OK || res.Result == report.Warning) {
				t.Errorf("result %s", res.Result)
			}
			t.Logf("%s, %v", res.Result, err)
			for _, c := range res.Checks {
				for _, f := range c.Findings {
					t.Logf("%s %s: %.300s", c.ID, f.Result, f.Text)
				}
			}
			if n := peak(); n > 256<<20 {
				t.Errorf("%d MiB of memory", n>>20)
			}
		})
	}
}

// watchMemory returns a function that returns the largest heap since.
func watchMemory() (peak func() uint64) {
	debug.FreeOSMemory()
	var largest atomic.Uint64
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			largest.Store(max(largest.Load(), m.HeapInuse))
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return func() uint64 {
		close(done)
		<-stopped
		return largest.Load()
	}
}
