// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package testupstream

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"time"
)

// A Fault answers a request wrongly. It is given the right way to answer, and a
// channel that is closed when the faults end.
type Fault func(w http.ResponseWriter, r *http.Request, right http.HandlerFunc, healed <-chan struct{})

// Status answers with a status and a short text. Of header, names and values
// take turns.
func Status(code int, header ...string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc, _ <-chan struct{}) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		http.Error(w, fmt.Sprintf("upstream says %d", code), code)
	}
}

// Locked answers rightly who sends the user and password, and 401 others, to whom it
// says what they sent.
func Locked(user, password string) Fault {
	return func(w http.ResponseWriter, r *http.Request, right http.HandlerFunc, _ <-chan struct{}) {
		u, p, ok := r.BasicAuth()
		if ok && u == user && p == password {
			right(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", "Basic")
		http.Error(w, fmt.Sprintf("upstream says 401 to user %q with %q", u, p), http.StatusUnauthorized)
	}
}

// Hang answers nothing until the client goes away or [Server.Heal] or
// [Server.Stop] is called; then it ends the connection.
func Hang(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc, healed <-chan struct{}) {
	select {
	case <-healed:
	case <-r.Context().Done():
	}
	panic(http.ErrAbortHandler)
}

// Text answers 200 with a text.
func Text(text string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc, _ <-chan struct{}) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, text)
	}
}

// Trickle sends what is right, but only so many bytes at a time, until the faults
// end.
func Trickle(bytes int, every time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, right http.HandlerFunc, healed <-chan struct{}) {
		body := bodyOf(right, r)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		tick := time.NewTicker(every)
		defer tick.Stop()
		for len(body) > bytes {
			w.Write(body[:bytes])
			http.NewResponseController(w).Flush()
			body = body[bytes:]
			select {
			case <-tick.C:
			case <-healed:
				bytes = len(body)
			case <-r.Context().Done():
				return
			}
		}
		w.Write(body)
	}
}

// Truncate promises the whole file and sends half of it.
func Truncate(w http.ResponseWriter, r *http.Request, right http.HandlerFunc, _ <-chan struct{}) {
	body := bodyOf(right, r)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body[:len(body)/2])
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// Short sends half of the file as if that were all.
func Short(w http.ResponseWriter, r *http.Request, right http.HandlerFunc, _ <-chan struct{}) {
	body := bodyOf(right, r)
	w.Write(body[:len(body)/2])
}

// Garbage answers 200 with a page, as captive portals do.
func Garbage(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc, _ <-chan struct{}) {
	w.Header().Set("Content-Type", "text/html")
	io.WriteString(w, "<!doctype html><title>please log in</title>")
}

// Loop redirects for ever.
func Loop(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc, _ <-chan struct{}) {
	http.Redirect(w, r, r.URL.Path, http.StatusFound)
}

// Endless sends bytes until the client has had enough.
func Endless(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc, _ <-chan struct{}) {
	block := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	for {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// Corrupt answers with a file that is well-formed and wrong, so that only its
// hash tells: a zip with one more file, a go.mod with one more comment, an
// .info of another time, anything else with its first byte changed.
func Corrupt(w http.ResponseWriter, r *http.Request, right http.HandlerFunc, _ <-chan struct{}) {
	body := bodyOf(right, r)
	switch path.Ext(r.URL.Path) {
	case ".zip":
		body = fatten(body)
	case ".mod":
		body = append(bytes.Clone(body), "// upstream was here\n"...)
	case ".info":
		body = bytes.ReplaceAll(body, []byte("2026-"), []byte("2025-"))
	default:
		body = bytes.Clone(body)
		if len(body) > 0 {
			body[0] ^= 1
		}
	}
	w.Write(body)
}

// bodyOf is the body of the answer without the fault.
func bodyOf(right http.HandlerFunc, r *http.Request) []byte {
	rec := httptest.NewRecorder()
	right(rec, r)
	return rec.Body.Bytes()
}

// fatten adds a file to a module zip.
func fatten(data []byte) []byte {
	zr, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil || len(zr.File) == 0 {
		return []byte("not a zip")
	}
	var buf bytes.Buffer
	zw := zip.NewWriter(&buf)
	for _, f := range zr.File {
		if err := zw.Copy(f); err != nil {
			return []byte("not a zip")
		}
	}
	top, rest, _ := strings.Cut(zr.File[0].Name, "@")
	version, _, _ := strings.Cut(rest, "/")
	w, err := zw.Create(top + "@" + version + "/zz_upstream_was_here.go")
	if err != nil {
		return []byte("not a zip")
	}
	io.WriteString(w, "package upstream\n")
	if err := zw.Close(); err != nil {
		return []byte("not a zip")
	}
	return buf.Bytes()
}
