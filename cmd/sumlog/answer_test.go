// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestErrorsAreNotKept shows that an error that net/http answers by itself does
// not keep the headers of the file, with which caches would keep it for a year.
func TestErrorsAreNotKept(t *testing.T) {
	const immutable = "public, max-age=31536000, immutable"
	h := guarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", immutable)
		w.Header().Set("ETag", `"h1"`)
		http.ServeContent(w, r, "v1.0.0.zip", time.Time{}, strings.NewReader("zip"))
	}), slog.New(slog.DiscardHandler))
	for _, tt := range []struct {
		name, value string
		status      int
	}{
		{"If-Match", `"other"`, http.StatusPreconditionFailed},
		{"Range", "bytes=100-", http.StatusRequestedRangeNotSatisfiable},
		{"If-Match", `"h1"`, http.StatusOK},
		{"If-None-Match", `"h1"`, http.StatusNotModified},
		{"Range", "bytes=1-", http.StatusPartialContent},
	} {
		r := httptest.NewRequest("GET", "/example.com/a/@v/v1.0.0.zip", nil)
		r.Header.Set(tt.name, tt.value)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		cache, tag := immutable, `"h1"`
		if tt.status >= 400 {
			cache, tag = "no-store", ""
		}
		if got := rec.Result(); got.StatusCode != tt.status || got.Header.Get("Cache-Control") != cache || got.Header.Get("ETag") != tag {
			t.Errorf("%s %s: %d %v", tt.name, tt.value, got.StatusCode, got.Header)
		}
	}
}
