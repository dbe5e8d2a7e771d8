// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestFront checks what is answered before, while and after the witness can.
func TestFront(t *testing.T) {
	var agent error
	check := &keyCheck{
		ping:  func(context.Context, string) error { return agent },
		specs: []string{"agent:SHA256:x"}, logger: slog.New(slog.DiscardHandler),
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFront(check)
		named := func(name string) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name) })
		}
		expect := func(when, method, path string, status int, text string) {
			t.Helper()
			rec := httptest.NewRecorder()
			f.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
			if rec.Code != status || strings.TrimSpace(rec.Body.String()) != text {
				t.Errorf("%s: %s %s = %d %q, want %d %q", when, method, path, rec.Code, rec.Body, status, text)
			}
			if status == http.StatusServiceUnavailable && rec.Header().Get("Retry-After") == "" {
				t.Errorf("%s: %s %s: no Retry-After", when, method, path)
			}
		}
		expect("starting", "GET", "/healthz", 200, "ok")
		expect("starting", "GET", "/readyz", 503, "not ready: starting")
		expect("starting", "POST", "/add-checkpoint", 503, "not ready: starting")
		expect("starting", "GET", "/", 503, "not ready: starting")
		f.start(named("witness"), named("page"))
		expect("serving", "GET", "/readyz", 200, "ok")
		expect("serving", "HEAD", "/readyz", 200, "ok")
		expect("serving", "POST", "/readyz", 200, "witness")
		expect("serving", "GET", "/", 200, "page")
		expect("serving", "POST", "/", 200, "witness")
		expect("serving", "POST", "/add-checkpoint", 200, "witness")
		expect("serving", "GET", "/else", 200, "witness")
		agent = errors.New("gone, with a secret")
		expect("agent just seen", "GET", "/readyz", 200, "ok")
		time.Sleep(keyCheckEvery)
		expect("agent gone", "GET", "/readyz", 503, "not ready: a signing key cannot be used")
		expect("agent gone", "GET", "/healthz", 200, "ok")
		agent = nil
		time.Sleep(keyCheckEvery)
		expect("agent back", "GET", "/readyz", 200, "ok")
		f.not("shutting down")
		expect("ending", "GET", "/readyz", 503, "not ready: shutting down")
		expect("ending", "POST", "/add-checkpoint", 200, "witness")
	})
}

// TestKeyCheck checks that an agent is not asked as often as anybody likes.
func TestKeyCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		asked := 0
		k := &keyCheck{
			ping: func(ctx context.Context, spec string) error {
				asked++
				return errors.New("no " + spec)
			},
			specs: []string{"a", "b"}, logger: slog.New(slog.NewTextHandler(&log, nil)),
		}
		for range 100 {
			if err := k.err(t.Context()); err == nil || err.Error() != "no a\nno b" {
				t.Fatalf("error %v", err)
			}
		}
		if asked != 2 {
			t.Errorf("asked %d times, want once for each of two keys", asked)
		}
		time.Sleep(keyCheckEvery)
		k.err(t.Context())
		if asked != 4 || strings.Count(log.String(), "\n") != 1 {
			t.Errorf("asked %d times, want 4; log %s", asked, log.String())
		}
	})
}

// TestPanic checks that a handler that panics ends its connection and no other,
// and that the operator learns of it.
func TestPanic(t *testing.T) {
	var log bytes.Buffer
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			io.WriteString(w, "half")
			panic("out of luck")
		}
		io.WriteString(w, "whole")
	})
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = newHTTPServer(h, slog.New(slog.NewTextHandler(&log, nil)))
	srv.Start()
	defer srv.Close()
	if resp, err := http.Get(srv.URL + "/panic"); err == nil {
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("a handler that panicked answered %q", body)
		}
	}
	resp, err := http.Get(srv.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "whole" {
		t.Errorf("after it: %q", body)
	}
	srv.Close() // waits for the handlers
	if !strings.Contains(log.String(), "handler panicked") || !strings.Contains(log.String(), "out of luck") {
		t.Errorf("log: %s", log.String())
	}
}

// FuzzFeeds checks that what is taken for a feeder is one.
func FuzzFeeds(f *testing.F) {
	f.Add("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8 https://127.0.0.1/sumdb/x")
	f.Add("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")
	f.Add("a b c")
	f.Fuzz(func(t *testing.T, text string) {
		specs, err := parseFeeds([]string{text})
		if err != nil {
			return
		}
		if len(specs) != 1 || specs[0].key == nil || specs[0].url == "" {
			t.Fatalf("parseFeeds(%q) = %v", text, specs)
		}
		again, err := parseFeeds([]string{specs[0].key.String() + " " + specs[0].url})
		if err != nil || again[0].key.String() != specs[0].key.String() || again[0].url != specs[0].url {
			t.Fatalf("parseFeeds(%q): again %v, %v", text, again, err)
		}
	})
}
