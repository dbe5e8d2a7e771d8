// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/descriptors"
)

const (
	maxReadHeader = 5 * time.Second
	maxRead       = 15 * time.Second // a request has at most 128 KiB and a bit
	maxWrite      = 60 * time.Second // of a checkpoint; includes the wait for its turn
	maxIdle       = 2 * time.Minute
	maxHeader     = 8 << 10

	// Requests at a time on one connection of HTTP/2. A log has one or two under
	// way; each may hold a body.
	maxStreams = 32

	// SIGTERM ends the process within 10 s.
	maxDrain = 4 * time.Second // for requests under way
	maxClose = 5 * time.Second // for the state, and the rest
)

// newHTTPServer returns a server for requests from anybody.
func newHTTPServer(h http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           recovered(h, logger),
		ReadHeaderTimeout: maxReadHeader,
		ReadTimeout:       maxRead,
		WriteTimeout:      maxWrite,
		IdleTimeout:       maxIdle,
		MaxHeaderBytes:    maxHeader,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		// Failed handshakes and the like: anybody can make as many as he likes.
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

// A front answers from the moment the process listens, before the witness can.
type front struct {
	witness atomic.Pointer[http.Handler] // nil before it serves
	status  atomic.Pointer[http.Handler]
	state   atomic.Pointer[string] // why it is not ready; "" if it is
	check   *keyCheck
}

func newFront(check *keyCheck) *front {
	f := &front{check: check}
	f.not("starting")
	return f
}

// not says why the witness is not ready, or with "" that it is.
func (f *front) not(reason string) { f.state.Store(&reason) }

func (f *front) start(witness, status http.Handler) {
	f.status.Store(&status)
	f.witness.Store(&witness)
	f.not("")
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	witness := f.witness.Load()
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case r.URL.Path == "/healthz" && read:
		plain(w, http.StatusOK, "ok")
	case r.URL.Path == "/readyz" && read:
		f.ready(w, r)
	case witness == nil:
		unready(w, *f.state.Load())
	case r.URL.Path == "/" && read:
		(*f.status.Load()).ServeHTTP(w, r)
	default:
		(*witness).ServeHTTP(w, r)
	}
}

// ready says whether the witness can cosign.
func (f *front) ready(w http.ResponseWriter, r *http.Request) {
	reason := *f.state.Load()
	if reason == "" {
		if err := f.check.err(r.Context()); err != nil {
			// The agent's answer is for the operator, not for everybody.
			reason = "a signing key cannot be used"
		}
	}
	if reason != "" {
		unready(w, reason)
		return
	}
	plain(w, http.StatusOK, "ok")
}

func unready(w http.ResponseWriter, reason string) {
	w.Header().Set("Retry-After", "5")
	plain(w, http.StatusServiceUnavailable, "not ready: "+reason)
}

// plain answers with one line.
func plain(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	io.WriteString(w, text+"\n")
}

// A keyCheck asks whether keys that other processes hold can still be used, at
// most every few seconds, however often it is asked itself.
type keyCheck struct {
	ping   func(ctx context.Context, spec string) error
	specs  []string
	logger *slog.Logger

	mu   sync.Mutex
	last error
	when time.Time
}

const keyCheckEvery = 10 * time.Second

func (k *keyCheck) err(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.when.IsZero() && time.Since(k.when) < keyCheckEvery {
		return k.last
	}
	// Whoever asks may go away; the answer is for the others too.
	ctx = context.WithoutCancel(ctx)
	was := k.last
	k.last = nil
	for _, spec := range k.specs {
		k.last = errors.Join(k.last, k.ping(ctx, spec))
	}
	k.when = time.Now()
	if k.last != nil && was == nil {
		k.logger.Error("signing key cannot be used", "err", k.last)
	}
	return k.last
}

// maxConns is how many connections there are at a time. With TLS this many take
// some 100 MB; fewer would let others wait longer.
const maxConns = 2048

// connLimit is maxConns, or half of what the process may open if that is less. The
// other half is for the state, peers, lists and logs.
func connLimit() (int, error) {
	const least = 64
	files := descriptors.Limit()
	if files < least {
		return 0, cli.TooFewFiles(files, least)
	}
	return min(maxConns, files/2), nil
}

// recovered wraps a handler so that a panic is told to the operator and ends
// the connection: nobody takes half an answer for a whole one.
func recovered(next http.Handler, logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p != http.ErrAbortHandler {
				logger.Error("handler panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			}
			panic(http.ErrAbortHandler)
		}()
		next.ServeHTTP(w, r)
	})
}

// shutdown lets requests under way finish, for a while.
func shutdown(s *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), maxDrain)
	defer cancel()
	if s.Shutdown(ctx) != nil {
		s.Close()
	}
}
