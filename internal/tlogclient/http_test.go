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
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"
)

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

// endless writes chunks until the client is gone.
func endless(w http.ResponseWriter, r *http.Request, chunk []byte) (n int) {
	for r.Context().Err() == nil {
		m, err := w.Write(chunk)
		if n += m; err != nil {
			break
		}
		w.(http.Flusher).Flush()
	}
	return n
}

func TestHTTP(t *testing.T) {
	const limit = 100
	full := strings.Repeat("x", limit)
	hang := make(chan struct{})
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("%s was asked, where nothing should have led", r.URL)
	}))
	defer elsewhere.Close()

	mux := http.NewServeMux()
	handle := func(path string, f func(w http.ResponseWriter, r *http.Request)) {
		mux.HandleFunc("/prefix/"+path, f)
	}
	handle("full", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, full) })
	handle("over", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, full+"x") })
	handle("agent", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.UserAgent()) })
	handle("gzip", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(gzipped([]byte(full)))
	})
	handle("bomb", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(gzipped(make([]byte, 8<<20)))
	})
	handle("gzipcut", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		data := gzipped([]byte(full))
		w.Write(data[:len(data)-9])
	})
	handle("gzipgarbage", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, full)
	})
	handle("br", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "br")
		io.WriteString(w, full)
	})
	handle("truncated", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "90")
		io.WriteString(w, full[:50])
	})
	handle("endless", func(w http.ResponseWriter, r *http.Request) { endless(w, r, []byte(full)) })
	handle("gzipendless", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		// Members that hold nothing: they give no byte, however many come.
		if n := endless(w, r, gzipped(nil)); n > 64<<20 {
			t.Errorf("%d bytes of nothing were read", n)
		}
	})
	handle("slow", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	handle("silent", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	handle("here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/prefix/full", http.StatusFound) })
	handle("loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/prefix/loop", http.StatusFound) })
	handle("away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+"/full", http.StatusFound)
	})
	handle("partial", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(206); io.WriteString(w, full) })
	handle("nothing", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	for _, status := range []int{403, 404, 410, 429, 500, 503} {
		handle(fmt.Sprint(status), func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
		})
	}
	srv := httptest.NewServer(mux)
	defer srv.Close()
	defer close(hang)

	read := func(timeout time.Duration, path string) (string, error) {
		h := tlogclient.NewHTTP(tlogclient.HTTPConfig{Timeout: timeout, UserAgent: "tester"})
		defer h.Close()
		src, err := h.Source(srv.URL + "/prefix")
		if err != nil {
			t.Fatal(err)
		}
		data, err := src.Read(t.Context(), path, limit)
		return string(data), err
	}
	for path, want := range map[string]string{"full": full, "gzip": full, "here": full, "agent": "tester"} {
		if got, err := read(0, path); got != want || err != nil {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	for path, want := range map[string]error{
		"over": tlogclient.ErrTooLarge, "bomb": tlogclient.ErrTooLarge, "endless": tlogclient.ErrTooLarge,
		"gzipendless": io.ErrUnexpectedEOF, "gzipcut": io.ErrUnexpectedEOF, "truncated": io.ErrUnexpectedEOF,
		"gzipgarbage": gzip.ErrHeader, "404": fs.ErrNotExist, "410": fs.ErrNotExist, "../full": fs.ErrInvalid,
	} {
		if _, err := read(0, path); !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", path, err, want)
		}
	}
	for path, want := range map[string]string{
		"br": "content encoding", "loop": "redirects", "away": "another host", "partial": "206", "nothing": "204",
	} {
		if _, err := read(0, path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
	}
	for _, path := range []string{"slow", "silent"} {
		if _, err := read(50*time.Millisecond, path); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: error %v", path, err)
		}
	}
	for _, status := range []int{403, 429, 500, 503} {
		_, err := read(0, fmt.Sprint(status))
		e, ok := errors.AsType[*tlogclient.StatusError](err)
		if !ok || e.Status != status || e.RetryAfter != 7*time.Second || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d: error %v", status, err)
		}
	}
}

// TestSecrets checks that a password in a URL reaches the log and no error, and
// that no error has the URL of a redirect.
func TestSecrets(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "user" || password != "secret" {
			t.Errorf("authorization by %q, %q", user, password)
		}
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "http://127.0.0.1:1/?signature=secret", http.StatusFound)
		}
		w.WriteHeader(http.StatusTeapot)
	}))
	defer srv.Close()
	h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
	defer h.Close()
	where := strings.Replace(srv.URL, "http://", "http://user:secret@", 1)
	src, err := h.Source(where)
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := src.Read(t.Context(), "checkpoint", 10)
	_, err2 := src.Read(t.Context(), "../x", 10)
	_, err3 := h.Source(where + "?q")
	_, err4 := src.Read(t.Context(), "away", 10)
	srv.Close()
	_, err5 := src.Read(t.Context(), "checkpoint", 10)
	for i, err := range []error{err1, err2, err3, err4, err5, errors.New(src.String())} {
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %d is %v", i+1, err)
		}
	}
}

func TestOpen(t *testing.T) {
	h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
	for where, want := range map[string]string{
		"https://log.example":     "https://log.example",
		"https://log.example/a/":  "https://log.example/a",
		"http://127.0.0.1:80/a/b": "http://127.0.0.1:80/a/b",
		"file:///srv/log":         "/srv/log",
		"srv/log":                 "srv/log",
	} {
		if src, err := tlogclient.Open(h, where); err != nil || src.String() != want {
			t.Errorf("%s: %v, %v", where, src, err)
		}
	}
	for _, where := range []string{"ftp://log.example", "https://", "file://host/srv", "file://srv", "https://log.example/?a=b", "https://log.example/#a", "https://%zz", "file:///a?b"} {
		if src, err := tlogclient.Open(h, where); err == nil {
			t.Errorf("%s: %v", where, src)
		}
	}
}

func TestDir(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write := func(path, data string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "tile/0/000"), "tile")
	write(filepath.Join(outside, "checkpoint"), "outside")
	if err := os.Symlink(filepath.Join(outside, "checkpoint"), filepath.Join(dir, "checkpoint")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o666); err != nil {
		t.Fatal(err)
	}
	src := tlogclient.Dir(dir)
	if data, err := src.Read(t.Context(), "tile/0/000", 4); string(data) != "tile" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := src.Read(t.Context(), "tile/0/000", 3); !errors.Is(err, tlogclient.ErrTooLarge) {
		t.Errorf("over the limit: error %v", err)
	}
	for _, path := range []string{"latest", "tile/0/001", "tile/0/000/p"} {
		if _, err := src.Read(t.Context(), path, 10); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: error %v", path, err)
		}
	}
	for _, path := range []string{"checkpoint", "pipe", "tile", "../" + filepath.Base(outside) + "/checkpoint"} {
		if data, err := src.Read(t.Context(), path, 10); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, error %v", path, data, err)
		}
	}
	if _, err := tlogclient.Dir(filepath.Join(dir, "none")).Read(t.Context(), "checkpoint", 10); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no tree: error %v", err)
	}
}

// TestDirReplaced reads a file tree, and one directory of it, that is replaced
// between two readings.
func TestDirReplaced(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "log")
	write := func(tree, data string) {
		t.Helper()
		name := filepath.Join(tree, "tile", "0", "000")
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(data), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	src := tlogclient.Dir(dir)
	check := func(want string) {
		t.Helper()
		for range 2 {
			if data, err := src.Read(t.Context(), "tile/0/000", 10); string(data) != want || err != nil {
				t.Errorf("%q, %v, want %q", data, err, want)
			}
		}
	}
	write(dir, "old")
	check("old")
	rename(dir, filepath.Join(base, "gone"))
	write(dir, "new")
	check("new")
	// Of a directory, what is gone is seen; its files never change.
	if err := os.RemoveAll(filepath.Join(dir, "tile", "0")); err != nil {
		t.Fatal(err)
	}
	if _, err := src.Read(t.Context(), "tile/0/000", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: error %v", err)
	}
	write(dir, "back")
	check("back")
	var g sync.WaitGroup
	for i := range 4 {
		other := fmt.Sprintf("tile/%d/000", i)
		if err := os.CopyFS(filepath.Join(dir, "tile", fmt.Sprint(i)), os.DirFS(filepath.Join(dir, "tile", "0"))); err != nil && i > 0 {
			t.Fatal(err)
		}
		g.Go(func() {
			for range 200 {
				if data, err := src.Read(t.Context(), other, 10); string(data) != "back" || err != nil {
					t.Errorf("%s: %q, %v", other, data, err)
				}
			}
		})
	}
	g.Wait()
}

// TestOverHTTP reads a log with everything in its place.
func TestOverHTTP(t *testing.T) {
	for _, layout := range layouts {
		l := tlogtest.New(t, "log.example", layout)
		l.Grow("a", 700)
		srv := httptest.NewServer(http.StripPrefix("/a/b", l))
		defer srv.Close()
		h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
		defer h.Close()
		src, err := h.Source(srv.URL + "/a/b/")
		if err != nil {
			t.Fatal(err)
		}
		got, head, err := tlogclient.Discover(t.Context(), src, l.Key)
		if err != nil || got != layout {
			t.Fatalf("layout %v, %v", got, err)
		}
		if _, err := open(t, l, src, nil).Extend(t.Context(), l.Head(300), head); err != nil {
			t.Error(err)
		}
	}
}

func TestPause(t *testing.T) {
	ask := func(d time.Duration) error {
		return fmt.Errorf("wrapped: %w", &tlogclient.StatusError{Status: 503, RetryAfter: d})
	}
	for _, tt := range []struct {
		n        int
		err      error
		min, max time.Duration
	}{
		{1, nil, 500 * time.Millisecond, time.Second},
		{3, nil, 2 * time.Second, 4 * time.Second},
		{1 << 30, nil, 30 * time.Second, time.Minute},
		{1, ask(20 * time.Second), 20 * time.Second, 20 * time.Second},
		{1, ask(24 * time.Hour), time.Hour, time.Hour},
		{1 << 30, ask(time.Second), 30 * time.Second, time.Minute},
	} {
		for range 100 {
			if d := tlogclient.Pause(tt.n, time.Second, time.Minute, tt.err); d < tt.min || d > tt.max {
				t.Errorf("after %d failures, %v: %v", tt.n, tt.err, d)
			}
		}
	}
}
