// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package loglist

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.org/sumlog/internal/tlogclient"
)

func TestPollerTimes(t *testing.T) {
	list := format([]Entry{{key(t, "a.example", 1), "a.example", 1, "c"}})
	longer := append(list, format([]Entry{{key(t, "b.example", 1), "b.example", 1, "c"}})[len("logs/v0\n"):]...)
	broken := errors.New("broken")
	// What is read and answered in turn, and when it may come after the last.
	steps := []struct {
		text     []byte
		err      error // of reading
		applyErr error
		applied  int // logs; 0 is not called
		min, max time.Duration
	}{
		{text: list, applied: 1},
		{text: list, min: 54 * time.Minute, max: 66 * time.Minute},
		{text: longer, applied: 2, applyErr: broken, min: 54 * time.Minute, max: 66 * time.Minute},
		{text: longer, applied: 2, min: 15 * time.Second, max: 30 * time.Second},
		{err: broken, min: 54 * time.Minute, max: 66 * time.Minute},
		{text: list[:20], min: 15 * time.Second, max: 30 * time.Second},
		{err: &tlogclient.StatusError{Status: 503, RetryAfter: 30 * time.Minute}, min: 30 * time.Second, max: time.Minute},
		{text: longer, min: 30 * time.Minute, max: 30 * time.Minute},
		{text: longer, min: 54 * time.Minute, max: 66 * time.Minute},
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		n, applied := 0, 0
		last := time.Now()
		p, err := NewPoller(Config{Source: "http://127.0.0.1/list", HTTP: tlogclient.NewHTTP(tlogclient.HTTPConfig{}),
			Apply: func(_ context.Context, l []Entry) error {
				applied = len(l)
				return steps[n-1].applyErr
			}})
		if err != nil {
			t.Fatal(err)
		}
		var st Status
		p.read = func(context.Context) ([]byte, error) {
			if n > 0 {
				if want := steps[n-1].applied; applied != want {
					t.Errorf("step %d: %d logs applied, want %d", n-1, applied, want)
				}
				st = p.Status()
				bad := steps[n-1].err != nil || steps[n-1].applyErr != nil || n-1 == 5
				if bad != (st.Err != nil) || st.Success.IsZero() {
					t.Errorf("step %d: status %+v", n-1, st)
				}
			}
			if n == len(steps) {
				cancel()
				return nil, ctx.Err()
			}
			s := steps[n]
			if d := time.Since(last); d < s.min || d > s.max {
				t.Errorf("step %d: after %v", n, d)
			}
			last = time.Now()
			n++
			applied = 0
			return s.text, s.err
		}
		p.Run(ctx)
		if n != len(steps) || st.Logs != 2 {
			t.Errorf("%d steps, status %+v", n, st)
		}
	})
}

func TestPollerSources(t *testing.T) {
	list := format([]Entry{{key(t, "a.example", 1), "a.example", 1, "c"}})
	h := tlogclient.NewHTTP(tlogclient.HTTPConfig{Timeout: 200 * time.Millisecond})
	defer h.Close()
	var mu sync.Mutex
	applied := 0
	poll := func(source string) error {
		t.Helper()
		p, err := NewPoller(Config{Source: source, HTTP: h, Apply: func(_ context.Context, l []Entry) error {
			mu.Lock()
			defer mu.Unlock()
			applied += len(l)
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		return p.Poll(t.Context())
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/list":
			w.Write(list)
		case "/endless":
			io.WriteString(w, "logs/v0\n")
			line := []byte(strings.Repeat("# "+strings.Repeat("x", 1022)+"\n", 1024))
			for r.Context().Err() == nil {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		case "/hang":
			<-r.Context().Done()
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "list")
	if err := os.WriteFile(file, list, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{file, srv.URL + "/list"} {
		applied = 0
		if err := poll(source); err != nil || applied != 1 {
			t.Errorf("%s: %d logs, %v", source, applied, err)
		}
	}
	applied = 0
	for _, source := range []string{dir, filepath.Join(dir, "pipe"), filepath.Join(dir, "none"),
		srv.URL + "/endless", srv.URL + "/hang", srv.URL + "/none"} {
		if err := poll(source); err == nil || applied != 0 {
			t.Errorf("%s: %d logs, no error", source, applied)
		}
	}
	for _, source := range []string{"", "ftp://list.example/", "https://list.example/?a", "https://"} {
		if _, err := NewPoller(Config{Source: source, HTTP: h, Apply: func(context.Context, []Entry) error { return nil }}); err == nil {
			t.Errorf("%q: no error", source)
		}
	}
}
