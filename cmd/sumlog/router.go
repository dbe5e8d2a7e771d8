// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// A router sends each request under the one origin to its part. A module path's
// first element has a dot, so none of the other paths can be a module's.
type router struct {
	name   string       // of the log; may hold slashes
	log    http.Handler // /checkpoint, /checkpoint/audited, /checkpoints, /latest, /tile/
	lookup http.Handler
	logged http.Handler // lookups that admit nothing
	feed   http.Handler
	mirror http.Handler
	other  string       // name of the public database; "" without one
	relay  http.Handler // its relay
}

func (rt *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rt.route(r.URL.Path, true).ServeHTTP(w, r)
}

// route finds the handler of a path.
func (rt *router) route(p string, top bool) http.Handler {
	switch {
	case p == "/checkpoint", p == "/checkpoint/audited", p == "/checkpoints", p == "/latest", strings.HasPrefix(p, "/tile/"):
		return rt.log
	case top && p == submission:
		return rt.log
	case strings.HasPrefix(p, "/lookup/"):
		return rt.lookup
	case p == "/index":
		return rt.feed
	case !top:
		return http.HandlerFunc(notFound)
	case strings.HasPrefix(p, "/sumdb/"):
		return rt.sumdb(p)
	case strings.HasPrefix(p, cachedOnly+"/sumdb/"):
		// A go command whose GOPROXY ends in /cached-only asks here for the
		// database too. Nothing is admitted, and nobody is asked.
		cold := *rt
		cold.lookup, cold.relay = rt.logged, nil
		return http.StripPrefix(cachedOnly, cold.sumdb(strings.TrimPrefix(p, cachedOnly)))
	}
	return rt.mirror
}

const cachedOnly = "/cached-only"

// submission is the one path that takes something in, with a method and limits of
// its own: from auditors, see package log.
const submission = "/audited/add-checkpoint"

// sumdb finds the handler of a path below /sumdb/: the log's own database, the
// public one, or no other.
func (rt *router) sumdb(p string) http.Handler {
	own := "/sumdb/" + rt.name
	if rest, ok := strings.CutPrefix(p, own+"/"); ok {
		if rest == "supported" {
			return http.HandlerFunc(supported)
		}
		return http.StripPrefix(own, rt.route("/"+rest, false))
	}
	if other := "/sumdb/" + rt.other; rt.relay != nil && strings.HasPrefix(p, other+"/") {
		return http.StripPrefix(other, rt.relay)
	}
	return http.HandlerFunc(notFound)
}

// supported tells the go command that the database is carried here.
func supported(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

func notFound(w http.ResponseWriter, r *http.Request) {
	plain(w, http.StatusNotFound, "not found")
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

// maxSkip is how long a body may take that nobody asked for.
const maxSkip = 2 * time.Second

// guarded wraps the handler of a server with what holds for all requests. Who asks
// is [listen.ClientOf] of the request's context.
func guarded(next http.Handler, logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		takes := r.URL.Path == submission && r.Method == http.MethodPost
		if !takes && r.ContentLength != 0 {
			// Nobody reads it, and to skip it, as net/http does even where the
			// connection then ends, could take as long as the client likes. This
			// fails only where there is no connection, as in tests.
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(maxSkip))
		}
		if !takes && r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			plain(w, http.StatusMethodNotAllowed, "only GET and HEAD are served here")
			return
		}
		if !takes && r.ContentLength != 0 {
			w.Header().Set("Connection", "close")
			plain(w, http.StatusBadRequest, "a request has no body here")
			return
		}
		out := &answer{ResponseWriter: w}
		defer recovered(out, r, logger)
		next.ServeHTTP(out, forwarded(r))
	})
}

// recovered answers for a handler that panicked: 500 if nothing was sent yet,
// otherwise by ending the connection, so that nobody takes half an answer for a
// whole one.
func recovered(w *answer, r *http.Request, logger *slog.Logger) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	logger.Error("handler panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	if w.begun {
		panic(http.ErrAbortHandler)
	}
	clear(w.Header())
	plain(w, http.StatusInternalServerError, "internal error")
}

// An answer remembers whether it was begun.
type answer struct {
	http.ResponseWriter
	begun bool
}

func (a *answer) WriteHeader(status int) {
	a.begun = true
	if status >= 400 {
		// What net/http answers by itself, as to a failed If-Match, keeps the
		// headers of the file: a cache would serve that error for a year.
		a.Header().Set("Cache-Control", "no-store")
		a.Header().Del("ETag")
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(b)
}

// ReadFrom lets the kernel send a file, which the embedded writer can do.
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	a.begun = true
	return io.Copy(a.ResponseWriter, r)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
