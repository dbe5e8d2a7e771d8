// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/sumlog/internal/testauthority"
)

// drip answers one byte at a time, more slowly than anybody waits for the whole.
func drip(w http.ResponseWriter, r *http.Request, body []byte) {
	for _, b := range body {
		if _, err := w.Write([]byte{b}); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-time.After(httpConfig.Timeout / 10):
		}
	}
}

// TestDrip has a server give its answers byte by byte: all of them, or only those of
// one service. Each command ends with exit code 1, after few requests.
func TestDrip(t *testing.T) {
	old := httpConfig
	defer func() { httpConfig = old }()
	httpConfig.Timeout, httpConfig.Patience = 250*time.Millisecond, time.Second
	a := testauthority.New(testauthority.Config{Sizes: []int64{5, 20, 40, 60}})
	var lines []byte
	for i := range int64(60) {
		lines = append(lines, a.Entry(i)...)
	}
	sums := filepath.Join(t.TempDir(), "go.sum")
	if err := os.WriteFile(sums, lines, 0o644); err != nil {
		t.Fatal(err)
	}
	log := []string{"log", "-sample", "all"}
	verify := []string{"verify", "-private", "none.invalid"}
	for _, c := range []struct {
		path string // of which the answers drip
		args []string
	}{
		{"/", log}, {"/lookup/", log}, {".zip", log}, {"/lookup/", verify},
		{".info", log}, {"/index", log}, {"/tile/", log}, {"/latest", verify},
	} {
		if c.path != "/" && c.path != "/lookup/" && os.Getenv("CI") != "true" {
			continue
		}
		var dripped atomic.Int64
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.URL.Path, c.path) {
				a.ServeHTTP(w, r)
				return
			}
			dripped.Add(1)
			rec := httptest.NewRecorder()
			a.ServeHTTP(rec, r)
			drip(w, r, rec.Body.Bytes())
		}))
		args := append(c.args[:len(c.args):len(c.args)], "-vkey", a.VKey(), s.URL)
		if c.args[0] == "verify" {
			args = append(args, sums)
		}
		code, out := sumaudit(t, args...)
		// Each costs three quarters of a second, of one in all; and eight are under
		// way at once.
		if n := dripped.Load(); code != 1 || n == 0 || n > 20 {
			t.Errorf("%s drips: %s: exit code %d, %d requests\n%s", c.path, args[0], code, n, out)
		}
		s.Close()
	}
}
