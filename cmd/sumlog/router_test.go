// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.org/sumlog/log"
)

// part is a handler that says what it is and what it was asked for.
type part string

func (p part) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, string(p)+" "+r.URL.Path)
}

func testRouter() *router {
	return &router{
		name: "sum.test/a/b", log: part("log"), lookup: part("lookup"), feed: part("feed"),
		mirror: part("mirror"), other: "sum.golang.org", relay: part("relay"),
	}
}

func TestRouter(t *testing.T) {
	for path, want := range map[string]string{
		"/checkpoint":                            "log /checkpoint",
		"/checkpoints":                           "log /checkpoints",
		"/checkpoint/audited":                    "log /checkpoint/audited",
		"/checkpoint/other":                      "mirror /checkpoint/other",
		"/audited/add-checkpoint":                "log /audited/add-checkpoint",
		"/audited/":                              "mirror /audited/",
		"/latest":                                "log /latest",
		"/tile/8/0/000":                          "log /tile/8/0/000",
		"/tile/entries/000":                      "log /tile/entries/000",
		"/lookup/example.com/a@v1.0.0":           "lookup /lookup/example.com/a@v1.0.0",
		"/index":                                 "feed /index",
		"/index/x":                               "mirror /index/x",
		"/":                                      "mirror /",
		"//latest":                               "mirror //latest",
		"/example.com/a/@latest":                 "mirror /example.com/a/@latest",
		"/example.com/a/../../latest":            "mirror /example.com/a/../../latest",
		"/cached-only/example.com/a/@latest":     "mirror /cached-only/example.com/a/@latest",
		"/sumdb/sum.test/a/b/supported":          "",
		"/sumdb/sum.test/a/b/latest":             "log /latest",
		"/sumdb/sum.test/a/b/checkpoint/audited": "log /checkpoint/audited",
		"/sumdb/sum.test/a/b/audited/add-checkpoint": "404",
		"/cached-only/audited/add-checkpoint":        "mirror /cached-only/audited/add-checkpoint",
		"/sumdb/sum.test/a/b/tile/8/0/000":           "log /tile/8/0/000",
		"/sumdb/sum.test/a/b/lookup/x@y":             "lookup /lookup/x@y",
		"/sumdb/sum.test/a/b/nothing":                "404",
		"/sumdb/sum.test/a/b/sumdb/x/latest":         "404",
		"/sumdb/sum.test/a/latest":                   "404",
		"/sumdb/sum.golang.org/latest":               "relay /latest",
		"/sumdb/sum.golang.org/lookup/x@y":           "relay /lookup/x@y",
		"/sumdb/sum.golang.org":                      "404",
		"/sumdb/sum.golang.orgx/latest":              "404",
		"/sumdb/other.test/supported":                "404",
		"/sumdb/":                                    "404",
	} {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "http://x/", nil)
		r.URL.Path = path
		testRouter().ServeHTTP(rec, r)
		got := rec.Body.String()
		if rec.Code != http.StatusOK {
			got = "404"
		}
		if got != want {
			t.Errorf("%s: %d %q, want %q", path, rec.Code, rec.Body, want)
		}
	}
	rt := testRouter()
	rt.other, rt.relay = "", nil
	if rec := serveTest(rt, "GET", "/sumdb//latest", nil); rec.Code != http.StatusNotFound {
		t.Errorf("without a public database: %d %s", rec.Code, rec.Body)
	}
}

func serveTest(h http.Handler, method, path string, body io.Reader) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(method, path, body))
	return rec
}

func TestGuarded(t *testing.T) {
	var buf bytes.Buffer
	h := guarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/panic":
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			panic("out of order")
		case "/late":
			io.WriteString(w, strings.Repeat("x", 1<<20))
			panic("too late")
		}
		io.WriteString(w, "fine")
	}), slog.New(slog.NewTextHandler(&buf, nil)))
	if rec := serveTest(h, "GET", "/", nil); rec.Code != 200 || rec.Body.String() != "fine" {
		t.Errorf("GET: %d %s", rec.Code, rec.Body)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "BREW"} {
		rec := serveTest(h, method, "/", nil)
		if rec.Code != http.StatusMethodNotAllowed || rec.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d %v", method, rec.Code, rec.Header())
		}
	}
	// One path takes something in, by one method. Its limits are its own.
	for method, code := range map[string]int{"POST": 200, "GET": 400, "PUT": 405, "DELETE": 405} {
		if rec := serveTest(h, method, "/audited/add-checkpoint", strings.NewReader("body")); rec.Code != code {
			t.Errorf("%s: %d, want %d", method, rec.Code, code)
		}
	}
	for _, path := range []string{"/audited/add-checkpoint/", "/x/audited/add-checkpoint", "//audited/add-checkpoint", "/audited/", "/checkpoint/audited"} {
		if rec := serveTest(h, "POST", path, strings.NewReader("body")); rec.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, rec.Code)
		}
	}
	if rec := serveTest(h, "GET", "/", strings.NewReader("body")); rec.Code != http.StatusBadRequest {
		t.Errorf("a body: %d", rec.Code)
	}
	rec := serveTest(h, "GET", "/panic", nil)
	if rec.Code != http.StatusInternalServerError || rec.Header().Get("Cache-Control") != "no-store" || strings.Contains(rec.Body.String(), "order") {
		t.Errorf("a panic: %d %v %s", rec.Code, rec.Header(), rec.Body)
	}
	if !strings.Contains(buf.String(), "out of order") || !strings.Contains(buf.String(), "router_test.go") {
		t.Errorf("the log of a panic: %s", buf.String())
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/late")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("an answer cut short by a panic looks whole")
	}
}

// TestSendfile checks that the wrapped writer still takes a file as a whole,
// which is how the kernel gets to send it.
func TestSendfile(t *testing.T) {
	got := false
	inner := &readerFrom{ResponseRecorder: httptest.NewRecorder(), called: &got}
	guarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Not a strings.Reader: it would write itself.
		io.Copy(w, io.LimitReader(strings.NewReader("text"), 4))
	}), slog.New(slog.DiscardHandler)).ServeHTTP(inner, httptest.NewRequest("GET", "/", nil))
	if !got || inner.Body.String() != "text" {
		t.Errorf("ReadFrom called: %v, body %q", got, inner.Body)
	}
}

type readerFrom struct {
	*httptest.ResponseRecorder
	called *bool
}

func (w *readerFrom) ReadFrom(r io.Reader) (int64, error) {
	*w.called = true
	return io.Copy(w.ResponseRecorder, r)
}

// A fakeHealth is that of no log.
type fakeHealth struct {
	admits   error
	concerns []string
}

func (h *fakeHealth) Admits() error      { return h.admits }
func (h *fakeHealth) Concerns() []string { return h.concerns }

func TestReadiness(t *testing.T) {
	l := new(fakeHealth)
	s := newServer(l, slog.New(slog.DiscardHandler))
	h := s.http.Handler
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/readyz?admit": 503, "/latest": 503} {
		if rec := serveTest(h, "GET", path, nil); rec.Code != want {
			t.Errorf("starting: %s: %d, want %d", path, rec.Code, want)
		}
	}
	var main http.Handler = part("main")
	s.main.Store(&main)
	s.not("")
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/readyz?admit": 200, "/latest": 200} {
		if rec := serveTest(h, "GET", path, nil); rec.Code != want {
			t.Errorf("ready: %s: %d, want %d", path, rec.Code, want)
		}
	}
	l.concerns = []string{"old", "late"}
	for err, want := range map[error]string{
		&log.RefusedError{Reason: "bob is away"}: "bob is away",
		log.ErrClosed:                            "shutting down",
		fmt.Errorf("%w: /secret", log.ErrUnsafe): "signing has stopped",
	} {
		l.admits = err
		if rec := serveTest(h, "GET", "/readyz", nil); rec.Code != 200 || rec.Body.String() != "ok\nold\nlate\n" {
			t.Errorf("admits nothing: /readyz: %d %q", rec.Code, rec.Body)
		}
		rec := serveTest(h, "GET", "/readyz?admit", nil)
		if rec.Code != 503 || rec.Header().Get("Retry-After") == "" || rec.Body.String() != "not ready: "+want+"\n" {
			t.Errorf("admits nothing: /readyz?admit: %d %v %q", rec.Code, rec.Header(), rec.Body)
		}
	}
	s.not("shutting down")
	rec := serveTest(h, "GET", "/readyz", nil)
	if rec.Code != 503 || !strings.Contains(rec.Body.String(), "shutting down") {
		t.Errorf("ending: %d %s", rec.Code, rec.Body)
	}
	if rec := serveTest(h, "GET", "/latest", nil); rec.Code != 200 {
		t.Errorf("ending: /latest: %d", rec.Code)
	}
}
