// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// newClient returns a client that pauses little between tries.
func newClient(t testing.TB) *Client {
	c := NewClient(Config{})
	c.pause = time.Millisecond
	t.Cleanup(c.Close)
	return c
}

// impatient returns a client for those that will hang.
func impatient(t testing.TB) *Client {
	c := NewClient(Config{Header: 300 * time.Millisecond, Stall: 300 * time.Millisecond})
	t.Cleanup(c.Close)
	return c
}

func mustList(t testing.TB, list string) List {
	t.Helper()
	l, err := ParseList(list)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func serve(t testing.TB, h http.HandlerFunc) *httptest.Server {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

func newSource(t testing.TB, h http.HandlerFunc) *Source { return sourceOf(t, newClient(t), h) }

func sourceOf(t testing.TB, c *Client, h http.HandlerFunc) *Source {
	return c.Source(mustList(t, serve(t, h).URL+"/base").Entries[0].URL)
}

// asError returns err as what it should be.
func asError(t *testing.T, err error) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("error %v (%T) is not an *Error", err, err)
	}
	return e
}

// raw answers with the bytes of a whole HTTP message and closes.
func raw(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(c, answer)
		c.Close()
	}
}

// hang waits until the client has gone.
func hang(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) }
}

func gzipped(n int) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(make([]byte, n))
	z.Close()
	return b.Bytes()
}

// TestAnswers shows what each thing that an upstream can say becomes, by Get
// and by Download, and how often it is asked.
func TestAnswers(t *testing.T) {
	const limit = 1000
	type want struct {
		status  int
		absent  bool
		timeout bool
		large   bool
		tries   int64
	}
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    want
	}{
		{"404", status(404), want{status: 404, absent: true, tries: 1}},
		{"410", status(410), want{status: 410, absent: true, tries: 1}},
		{"401", status(401), want{status: 401, tries: 1}},
		{"403", status(403), want{status: 403, tries: 1}},
		{"429", status(429), want{status: 429, tries: 3}},
		{"500", status(500), want{status: 500, tries: 1}},
		{"501", status(501), want{status: 501, tries: 1}},
		{"502", status(502), want{status: 502, tries: 3}},
		{"503", status(503), want{status: 503, tries: 3}},
		{"504", status(504), want{status: 504, tries: 3}},
		{"204", status(204), want{status: 204, tries: 1}},
		{"304", status(304), want{status: 304, tries: 1}},
		{"206", raw("HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\r\nok"), want{status: 206, tries: 1}},
		{"300 without location", status(300), want{status: 300, tries: 1}},
		{"not HTTP", raw("hello\r\n\r\n"), want{tries: 3}},
		{"closed", raw(""), want{tries: 3}},
		{"truncated", raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"), want{tries: 3}},
		{"truncated chunks", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"), want{tries: 3}},
		{"bad chunk", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), want{tries: 3}},
		{"two lengths", raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok"), want{tries: 3}},
		{"header too large", raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"), want{tries: 3}},
		{"no gzip", raw("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok"), want{tries: 3}},
		{"hangs", hang, want{timeout: true, tries: 1}},
		{"hangs in body", func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte("begin"))
			w.(http.Flusher).Flush()
			hang(w, r)
		}, want{timeout: true, tries: 1}},
		{"redirect loop", func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "info") {
				http.Redirect(w, r, "/base/m/@v/v1.0.0.info", http.StatusFound)
			}
		}, want{tries: maxRedirects}},
		{"redirect to a file", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, want{tries: 1}},
		{"announced too large", raw("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"), want{large: true, tries: 1}},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.Write(make([]byte, 1<<10))
			}
		}, want{large: true, tries: 1}},
		{"gzip bomb", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(gzipped(limit + 1))
		}, want{large: true, tries: 1}},
	}
	ways := map[string]func(*testing.T, *Source) error{
		"get": func(t *testing.T, s *Source) error {
			_, err := s.Get(t.Context(), "m/@v/v1.0.0.info", limit)
			return err
		},
		"download": func(t *testing.T, s *Source) error {
			return s.Download(t.Context(), "m/@v/v1.0.0.info", tempFile(t), limit)
		},
	}
	for _, tt := range tests {
		for way, ask := range ways {
			t.Run(tt.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				var n atomic.Int64
				c := newClient(t)
				if tt.want.timeout {
					c = impatient(t)
				}
				err := ask(t, sourceOf(t, c, func(w http.ResponseWriter, r *http.Request) {
					n.Add(1)
					tt.handler(w, r)
				}))
				e := asError(t, err)
				got := want{e.Status, errors.Is(err, fs.ErrNotExist), e.Timeout(), errors.Is(err, ErrTooLarge), n.Load()}
				if got != tt.want {
					t.Errorf("%v:\n got %+v\nwant %+v", err, got, tt.want)
				}
				if !strings.Contains(err.Error(), "/base/m/@v/v1.0.0.info") {
					t.Errorf("error %q does not say what was read", err)
				}
			})
		}
	}
}

func TestGet(t *testing.T) {
	const limit = 1000
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    int
	}{
		{"empty", status(200), 0},
		{"at the limit", func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, limit)) }, limit},
		{"gzip at the limit", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(gzipped(limit))
		}, limit},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/else" {
				http.Redirect(w, r, "/else", http.StatusTemporaryRedirect)
			}
		}, 0},
	}
	for _, tt := range tests {
		b, err := newSource(t, tt.handler).Get(t.Context(), "m/@latest", limit)
		if err != nil || len(b) != tt.want {
			t.Errorf("%s: %d bytes, %v, want %d", tt.name, len(b), err, tt.want)
		}
	}
}

// trusting returns a client that knows srv's certificate.
func trusting(t *testing.T, srv *httptest.Server) *Client {
	c := newClient(t)
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	c.transport.TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	c.transport.TLSClientConfig.RootCAs = pool
	return c
}

func TestUnknownCertificate(t *testing.T) {
	var n atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	srv.Config.ErrorLog = nil
	srv.Config.ConnState = func(c net.Conn, s http.ConnState) {
		if s == http.StateNew {
			n.Add(1)
		}
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	_, _, err := newClient(t).Chain(mustList(t, srv.URL)).Get(t.Context(), "m/@v/list", 1)
	if asError(t, err).Status != 0 || n.Load() != 1 {
		t.Errorf("%v after %d connections, want 1", err, n.Load())
	}
}

func TestRedirectToInsecure(t *testing.T) {
	asked := false
	plain := serve(t, func(w http.ResponseWriter, r *http.Request) { asked = true })
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+"/x?signature=secret", http.StatusFound)
	}))
	t.Cleanup(srv.Close)
	_, _, err := trusting(t, srv).Chain(mustList(t, srv.URL)).Get(t.Context(), "m/@v/list", 1)
	if !errors.Is(asError(t, err), ErrRedirect) || asked {
		t.Errorf("redirect from https to http: %v, followed: %v", err, asked)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("error shows the redirect's query: %v", err)
	}
}

func TestRedirectErrorHidesURL(t *testing.T) {
	s := newSource(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/x?signature=secret", http.StatusFound)
	})
	_, err := s.Get(t.Context(), "m/@v/v1.0.0.zip", 1)
	if asError(t, err); strings.Contains(err.Error(), "secret") {
		t.Errorf("error shows the redirect's query: %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	for _, code := range []int{429, 503} {
		var n atomic.Int64
		s := newSource(t, func(w http.ResponseWriter, r *http.Request) {
			n.Add(1)
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(code)
		})
		_, err := s.Get(t.Context(), "m/@v/list", 1)
		if e := asError(t, err); e.RetryAfter != 2*time.Minute || e.Status != code || n.Load() != 1 {
			t.Errorf("%d: %+v after %d tries, want RetryAfter 2m after 1", code, e, n.Load())
		}
	}
	// A short one is waited for.
	var n atomic.Int64
	start := time.Now()
	s := newSource(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(503)
		}
	})
	if _, err := s.Get(t.Context(), "m/@v/list", 1); err != nil || time.Since(start) < time.Second {
		t.Errorf("Get after Retry-After 1: %v after %v", err, time.Since(start))
	}
}

func TestErrorText(t *testing.T) {
	const plain = "text/plain; charset=UTF-8"
	tests := []struct{ kind, body, want string }{
		{plain, "not found: m@v1.0.0: unknown revision\n", "not found: m@v1.0.0: unknown revision"},
		{"text/plain", "two\r\nlines\n\nand more", "two\nlines"},
		{"text/html", "<p>no</p>", ""},
		{"", "Go module host not permitted", "Go module host not permitted"},
		{"", "<html><p>no</p>", ""},
		{"", "\x89PNG\r\n\x1a\n", ""},
		{"application/json", "no", ""},
		{"text/plain; charset=utf-16", "no", ""},
		{plain, "bad \xff UTF-8", ""},
		{plain, "escape \x1b[31m", ""},
		{plain, "override \u202e", ""},
		{plain, "back\rwards", ""},
		{plain, strings.Repeat("l\n", 20), strings.TrimSpace(strings.Repeat("l\n", 8))},
		{plain, strings.Repeat("€", 1000), strings.Repeat("€", 648/3) + "…"},
	}
	for _, tt := range tests {
		if got := errorText(tt.kind, strings.NewReader(tt.body)); got != tt.want {
			t.Errorf("errorText(%q, %.40q) = %q, want %q", tt.kind, tt.body, got, tt.want)
		}
	}
	s := newSource(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "we have none", 404) })
	if _, err := s.Get(t.Context(), "m/@v/list", 1); asError(t, err).Text != "we have none" {
		t.Errorf("Text of %v", err)
	}
}

func FuzzErrorText(f *testing.F) {
	f.Add("text/plain", "a\nb\n\nc")
	f.Add("text/plain; charset=utf-8", strings.Repeat("€", 700))
	f.Add("text/plain; charset=us-ascii", "\x1b[2J")
	f.Fuzz(func(t *testing.T, kind, body string) {
		s := errorText(kind, strings.NewReader(body))
		if len(s) > maxTextBytes+maxTextLines+len("…") || strings.Count(s, "\n") >= maxTextLines || !printable(strings.ReplaceAll(s, "\n", "")) {
			t.Errorf("errorText(%q, %q) = %q", kind, body, s)
		}
	})
}

// TestCause shows that what somebody else said, for which a request was called off,
// is not taken for what its upstream said.
func TestCause(t *testing.T) {
	s := newSource(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(&Error{URL: "another", Status: 404}) })
	_, err := s.Get(ctx, "file", 100)
	if err == nil || errors.Is(err, fs.ErrNotExist) || !errors.Is(err, context.Canceled) {
		t.Errorf("Get = %v", err)
	}
}
