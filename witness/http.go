// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.org/sumlog/internal/checkpoint"
)

// Limits of bodies. A small one, which every request of a log with Ed25519 keys
// is, costs the same buffer however many clients there are; a larger one waits
// for one of a few slots, so that clients that begin large requests and do not
// end them cannot fill the memory.
const (
	maxSmall = 8 << 10
	maxLarge = 32 // large ones at once
	maxRead  = 10 * time.Second
)

var smallBodies = sync.Pool{New: func() any { return new([maxSmall + 1]byte) }}

func (w *Witness) routes() {
	w.mux = http.NewServeMux()
	w.mux.HandleFunc("POST /add-checkpoint", w.submit(w.Add))
	if w.coversSubtrees() {
		w.mux.HandleFunc("POST /sign-subtree", w.submit(w.SignSubtree))
	}
	w.mux.HandleFunc("GET /{origin}/checkpoint", w.serveCheckpoint)
}

func (w *Witness) coversSubtrees() bool {
	for _, k := range w.keys {
		if k.Algorithm() == checkpoint.CosignatureMLDSA44 {
			return true
		}
	}
	return false
}

// ServeHTTP serves submission and monitoring.
func (w *Witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) { w.mux.ServeHTTP(rw, r) }

// submit serves a submission.
func (w *Witness) submit(do func(ctx context.Context, body []byte) ([]byte, error)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		lines, err := w.withBody(rw, r, do)
		if err != nil {
			writeRefusal(rw, err)
			return
		}
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		rw.Write(lines)
	}
}

// withBody calls do with the body of r, which is do's only until it returns.
func (w *Witness) withBody(rw http.ResponseWriter, r *http.Request, do func(context.Context, []byte) ([]byte, error)) ([]byte, error) {
	tooLarge := refuse(http.StatusRequestEntityTooLarge, "more than %d bytes", checkpoint.MaxRequest)
	if r.ContentLength > checkpoint.MaxRequest {
		w.count(nil, tooLarge)
		return nil, tooLarge
	}
	// Not every server can; those that cannot have limits of their own.
	control := http.NewResponseController(rw)
	control.SetReadDeadline(time.Now().Add(maxRead))
	small := smallBodies.Get().(*[maxSmall + 1]byte)
	defer smallBodies.Put(small)
	in := http.MaxBytesReader(rw, r.Body, checkpoint.MaxRequest)
	n, err := readFull(in, small[:])
	body := small[:n]
	if err == nil { // there is more
		select {
		case w.large <- struct{}{}:
			defer func() { <-w.large }()
		case <-time.After(maxRead):
			return nil, later(http.StatusServiceUnavailable, retryAfter, "too many large requests")
		case <-r.Context().Done():
			return nil, later(http.StatusServiceUnavailable, retryAfter, "%v", r.Context().Err())
		}
		var b bytes.Buffer
		b.Write(body)
		_, err = b.ReadFrom(in)
		body = b.Bytes()
	}
	if tooMany := (*http.MaxBytesError)(nil); errors.As(err, &tooMany) {
		w.count(nil, tooLarge)
		return nil, tooLarge
	}
	if err != nil && err != io.EOF {
		refusal := refuse(http.StatusBadRequest, "the body could not be read")
		w.count(nil, refusal)
		return nil, refusal
	}
	// Left where it is, its end would cancel the request.
	control.SetReadDeadline(time.Time{})
	return do(r.Context(), body)
}

// readFull reads until b is full, or to the error that comes before, io.EOF being
// the end. io.ReadFull would say the same of an end as of a body that was cut off.
func readFull(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}

// writeRefusal answers with what err, a *Refusal, says.
func writeRefusal(rw http.ResponseWriter, err error) {
	r := refuse(http.StatusInternalServerError, "internal error")
	errors.As(err, &r)
	if r.RetryAfter > 0 {
		rw.Header().Set("Retry-After", strconv.FormatInt(int64((r.RetryAfter+time.Second-1)/time.Second), 10))
	}
	text, kind := r.Text, "text/plain; charset=utf-8"
	if r.Status == http.StatusConflict {
		text, kind = strconv.FormatInt(r.Size, 10), "text/x.tlog.size"
	}
	rw.Header().Set("Content-Type", kind)
	rw.Header().Set("X-Content-Type-Options", "nosniff")
	rw.WriteHeader(r.Status)
	io.WriteString(rw, strings.ReplaceAll(text, "\n", " ")+"\n")
}

// serveCheckpoint serves the newest cosigned checkpoint of a log, disabled ones
// too: what was said stays said.
func (w *Witness) serveCheckpoint(rw http.ResponseWriter, r *http.Request) {
	name := r.PathValue("origin")
	hash, err := hex.DecodeString(name)
	if err != nil || len(hash) != 32 || hex.EncodeToString(hash) != name {
		writeRefusal(rw, refuse(http.StatusNotFound, "no hash of an origin"))
		return
	}
	w.mu.RLock()
	o := w.byHash[[32]byte(hash)]
	w.mu.RUnlock()
	if o == nil {
		writeRefusal(rw, refuse(http.StatusNotFound, "unknown origin"))
		return
	}
	note, err := w.config.Store.Note(o.name)
	if err != nil {
		w.config.Logger.Error("note could not be read", "origin", o.name, "err", err)
		writeRefusal(rw, later(http.StatusServiceUnavailable, retryAfter, "state cannot be read at the moment"))
		return
	}
	if note == nil {
		writeRefusal(rw, refuse(http.StatusNotFound, "no checkpoint of this origin was cosigned"))
		return
	}
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rw.Write(note)
}
