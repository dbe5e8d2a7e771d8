// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"

	"golang.org/x/mod/sumdb/tlog"
)

// pipes is a listener in memory, so that a server can be slow in no time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case p.conns <- b:
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestSlow reads from servers that give a little at a time.
func TestSlow(t *testing.T) {
	const limit = 10 << 20
	for _, tt := range []struct {
		name  string
		chunk int // bytes a second
		total int // 0: for ever
		get   time.Duration
		copy  time.Duration
		err   bool // of Copy; Get fails always
	}{
		{"silent", 0, 0, 30 * time.Second, 30 * time.Second, true},
		{"drips", 1, 0, 30 * time.Second, 30 * time.Second, true},
		{"half of the rate", tlogclient.MinRate / 2, limit, 30 * time.Second, 30 * time.Second, true},
		{"twice the rate", tlogclient.MinRate * 2, limit, 30 * time.Second, 79 * time.Second, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				chunk := make([]byte, tt.chunk)
				for sent := 0; r.Context().Err() == nil && (tt.total == 0 || sent < tt.total); sent += len(chunk) {
					if sent > 0 || tt.chunk == 0 {
						select {
						case <-time.After(time.Second):
						case <-r.Context().Done():
							return
						}
					}
					if tt.chunk == 0 {
						continue // not even a header
					}
					if _, err := w.Write(chunk); err != nil {
						return
					}
					w.(http.Flusher).Flush()
				}
			})}
			served := make(chan error)
			go func() { served <- srv.Serve(l) }()
			h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
			h.SetDial(l.dial)
			u := &url.URL{Scheme: "http", Host: "log.example", Path: "/zip"}

			start := time.Now()
			_, err := h.Get(t.Context(), u, limit)
			if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != tt.get {
				t.Errorf("%s: after %v: %v", tt.name, took, err)
			}
			start = time.Now()
			n, err := h.Copy(t.Context(), u, limit, io.Discard)
			took := time.Since(start)
			if tt.err != errors.Is(err, context.DeadlineExceeded) || tt.err == (err == nil) || took < tt.copy-2*time.Second || took > tt.copy+2*time.Second {
				t.Errorf("%s: copied %d bytes in %v: %v", tt.name, n, took, err)
			}
			if !tt.err && n != int64(tt.total) {
				t.Errorf("%s: %d bytes", tt.name, n)
			}
			h.Close()
			srv.Close()
			<-served
		})
	}
}

// TestRedirect has a log with a public name send its reader to where only he can
// go.
func TestRedirect(t *testing.T) {
	for _, to := range []string{
		"http://127.0.0.1:8080/latest", "http://localhost/latest", "http://[::1]/latest", "http://169.254.1.1/latest",
		"http://sum.example:8080/latest", "http://sum.example.org./latest", "https://sum.example/latest",
		"//127.0.0.1/latest", "http://user@127.0.0.1/latest", "http://sum.example@127.0.0.1/latest", "file:///etc/passwd",
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}))
		var dialed []string
		h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
		h.SetDial(func(ctx context.Context, network, addr string) (net.Conn, error) {
			dialed = append(dialed, addr)
			if addr != "sum.example:80" {
				return nil, errors.New("dialed")
			}
			return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(srv.URL, "http://"))
		})
		src, err := h.Source("http://sum.example")
		if err != nil {
			t.Fatal(err)
		}
		_, err = src.Read(t.Context(), "latest", 1000)
		if err == nil || !strings.Contains(err.Error(), "another host") || !slices.Equal(dialed, []string{"sum.example:80"}) {
			t.Errorf("to %s: dialed %q, error %v", to, dialed, err)
		}
		h.Close()
		srv.Close()
	}
}

// TestSameHost has a log send its reader to itself, written another way. Nobody
// is told where from.
func TestSameHost(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/there" {
			w.Header().Set("Location", "http://SUM.example.:080/there")
			w.WriteHeader(http.StatusFound)
			return
		}
		fmt.Fprint(w, r.Referer())
	}))
	defer srv.Close()
	h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
	defer h.Close()
	h.SetDial(func(ctx context.Context, network, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
	})
	data, err := h.Get(t.Context(), &url.URL{Scheme: "http", Host: "sum.example", Path: "/latest"}, 1000)
	if err != nil || len(data) > 0 {
		t.Errorf("Get = %q, %v", data, err)
	}
}

// bomb is a stream of gzip that gives 64 MiB, four times what anything may have.
func bomb(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 64 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// hostile returns servers that answer everything in the worst way. body is a head.
func hostile(t *testing.T, body string) map[string]http.HandlerFunc {
	t.Helper()
	sigs := bytes.Repeat([]byte("— sum.example AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"), 1e6)
	line := []byte(strings.Repeat("x", 4095) + "\n")
	zeros, lines := bomb(t), bytes.Repeat([]byte("\n"), 40<<20)
	send := func(w http.ResponseWriter, parts ...[]byte) {
		for _, p := range parts {
			if _, err := w.Write(p); err != nil {
				return
			}
		}
	}
	return map[string]http.HandlerFunc{
		"endless": func(w http.ResponseWriter, r *http.Request) { endless(w, r, line) },
		"bomb": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			send(w, zeros)
		},
		"signatures":         func(w http.ResponseWriter, r *http.Request) { send(w, []byte(body), sigs) },
		"answer, signatures": func(w http.ResponseWriter, r *http.Request) { send(w, []byte("0\na 0\n\n"+body), sigs) },
		"lines":              func(w http.ResponseWriter, r *http.Request) { send(w, lines) },
		"claims a length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(int64(1)<<40))
			send(w, []byte(body))
		},
		"cuts": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			send(w, []byte(body[:len(body)-1]))
		},
		"headers": func(w http.ResponseWriter, r *http.Request) {
			for i := range 20000 {
				w.Header().Add("X-A", fmt.Sprint(i, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"))
			}
		},
	}
}

// TestHostile asks them for everything that can be asked. It counts all that is
// allocated, the servers' part too.
func TestHostile(t *testing.T) {
	l := tlogtest.New(t, "sum.example", tlogclient.Database)
	l.Grow("a", 300)
	for name, serve := range hostile(t, string(l.Sign(l.Tree(300)))) {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(serve)
			defer srv.Close()
			h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
			defer h.Close()
			for _, layout := range layouts {
				src, err := h.Source(srv.URL)
				if err != nil {
					t.Fatal(err)
				}
				c, err := tlogclient.New(tlogclient.Config{Source: src, Layout: layout, Keys: []*checkpoint.Key{l.Key}})
				if err != nil {
					t.Fatal(err)
				}
				for op, f := range map[string]func() error{
					"head":   func() error { _, err := c.Head(t.Context()); return err },
					"bundle": func() error { _, err := c.Bundle(t.Context(), 0, 256); return err },
					"tile":   func() error { _, err := c.RawTile(t.Context(), tlog.Tile{H: 8, W: 256}); return err },
					"prove":  func() error { _, err := c.ProveEntry(t.Context(), 7, l.Tree(300)); return err },
					"lookup": func() error { _, err := c.Lookup(t.Context(), "example.com/a", "v1.0.0"); return err },
					"copy":   func() error { _, err := h.Copy(t.Context(), mustURL(t, srv.URL), 1<<20, io.Discard); return err },
				} {
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					err := f()
					runtime.ReadMemStats(&after)
					if err == nil {
						t.Errorf("%v, %s: no error", layout, op)
					} else if len(err.Error()) > 500 {
						t.Errorf("%v, %s: error of %d bytes", layout, op, len(err.Error()))
					}
					want := tlogclient.ErrHead
					if layout == tlogclient.Database {
						want = tlogclient.ErrLoose
					}
					if long := name == "endless" || name == "bomb" || name == "signatures"; long && op == "head" && !errors.Is(err, want) {
						t.Errorf("%v, %s: error %v", layout, op, err)
					}
					// A bundle can have 16 MiB, and growing to that
					// copies it, and its entries' slices.
					most := uint64(8 << 20)
					if op == "bundle" {
						most = 128 << 20
					}
					if name == "headers" {
						most += 64 << 20 // what the server makes
					}
					if n := after.TotalAlloc - before.TotalAlloc; n > most {
						t.Errorf("%v, %s: %d bytes allocated", layout, op, n)
					}
				}
			}
		})
	}
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := tlogclient.ParseURL(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
