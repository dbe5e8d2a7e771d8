// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/sumlog/index"
	"example.org/sumlog/log"
	"example.org/sumlog/mirror"
	"example.org/sumlog/mirror/internal/mirrortest"
	"example.org/sumlog/mirror/upstream"
)

// TestErrorText shows what becomes of an upstream's text.
func TestErrorText(t *testing.T) {
	write := mirror.ErrorWriter(nil)
	for in, want := range map[string]string{
		"not found: example.com/a@v1: unknown revision": "not found: example.com/a@v1: unknown revision\n",
		"gone for good":                      "not found: gone for good\n",
		"":                                   "not found\n",
		"a\n\n\n b\x00\x1b[31m\u202e\tc\r\n": "not found: a\n b[31m c\n",
		"\xff\xfe":                           "not found: \uFFFD\n",
		strings.Repeat("line\n", 20):         "not found: " + strings.TrimSuffix(strings.Repeat("line\n", 8), "\n") + "\n",
		strings.Repeat("é", 1000):            "not found: " + strings.Repeat("é", 294) + "\n",
	} {
		rec := httptest.NewRecorder()
		rec.Header().Set("ETag", `"of the answer that failed"`)
		write(rec, httptest.NewRequest("GET", "/", nil), &upstream.Error{URL: "mem", Status: 404, Text: in})
		if got := rec.Body.String(); got != want {
			t.Errorf("text %.40q became %q, want %q", in, got, want)
		}
		checkError(t, "/", rec.Result(), rec.Body.String())
	}
}

func TestMismatchText(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	m := w.admitted("private.example/a", "v1.0.0")
	other := mirrortest.New(t, m.Path, "v1.0.0", "go.mod", "module private.example/a // changed\n")
	w.private.Add(other)
	os.Remove(filepath.Join(w.dir, mirrortest.Name(m.Version, "zip")))
	w.want("/private.example/a/@v/v1.0.0.zip", 502, fmt.Sprintf(
		"verifying private.example/a@v1.0.0: checksum mismatch: logged %s on 2025-01-02, upstream now has %s; the first hash stands\n", m.Record(t).Zip, other.Record(t).Zip))
}

func TestBusy(t *testing.T) {
	for err, status := range map[error]int{log.ErrBusy: 503, index.ErrDamaged: 503, log.ErrClosed: 503, &log.ConflictError{}: 502, errors.New("x"): 500, os.ErrNotExist: 500} {
		w := newWorld(t)
		w.simple("example.com/a", "v1.0.0")
		w.log.Fail(fmt.Errorf("append: %w", err))
		w.want("/example.com/a/@v/v1.0.0.mod", status, "")
		w.close()
	}
}

// TestRefusedText: who asks for what cannot be logged now reads why.
func TestRefusedText(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	w.simple("example.com/a", "v1.0.0")
	w.log.Fail(fmt.Errorf("append: %w", &log.RefusedError{Reason: "no quorum of witnesses (bob: unreachable)"}))
	w.want("/example.com/a/@v/v1.0.0.mod", 503, "a version that is not logged yet cannot be published at the moment: "+
		"no quorum of witnesses (bob: unreachable); what is logged is served; try again later\n")
}

// TestTable goes through what an upstream can say, for each kind of request.
func TestTable(t *testing.T) {
	up := func(status int, retry time.Duration, err error) error {
		return &upstream.Error{URL: "http://secret.internal/x", Status: status, RetryAfter: retry, Err: err, Text: "said upstream"}
	}
	rows := []struct {
		name   string
		cause  error
		status int
		retry  string
	}{
		{"not found", up(404, 0, nil), 404, ""},
		{"gone", up(410, 0, nil), 404, ""},
		{"unauthorized", up(401, 0, nil), 403, ""},
		{"forbidden", up(403, 0, nil), 403, ""},
		{"too many", up(429, 17*time.Second, nil), 429, "17"},
		{"too many, no time", up(429, 0, nil), 429, "1"},
		{"unavailable", up(503, 90*time.Second, nil), 503, "90"},
		{"server error", up(500, 0, nil), 502, ""},
		{"teapot", up(418, 0, nil), 502, ""},
		{"cut", up(0, 0, io.ErrUnexpectedEOF), 502, ""},
		{"too large", up(0, 0, upstream.ErrTooLarge), 502, ""},
		{"redirects", up(0, 0, fmt.Errorf("%w: to secret.internal", upstream.ErrRedirect)), 502, ""},
		{"hang", up(0, 0, context.DeadlineExceeded), 504, ""},
		{"short", up(0, 0, os.NewSyscallError("socket", syscall.EMFILE)), 503, "5"},
		{"full", &os.PathError{Op: "write", Path: "/secret/file", Err: syscall.ENOSPC}, 503, "30"},
		{"off", upstream.ErrOff, 404, ""},
		{"inside", fmt.Errorf("%q: %w", "secret.internal", upstream.ErrInside), 404, ""},
		{"ours", errors.New("/secret/path is broken"), 500, ""},
	}
	files := []string{"@v/list", "@latest", "@v/v1.0.0.info", "@v/main.info", "@v/v1.0.0.mod", "@v/v1.0.0.zip"}
	for _, row := range rows {
		for _, path := range []string{"example.com/a", "private.example/a"} {
			for _, file := range files {
				w := newWorld(t)
				w.simple(path, "v1.0.0")
				suffixes := []string{file[strings.LastIndexAny("/"+file, "./@"):]}
				if file == "@latest" {
					suffixes = append(suffixes, "list") // which says it instead
				}
				for _, suffix := range suffixes {
					w.public.Fail(suffix, row.cause)
					w.private.Fail(suffix, row.cause)
				}
				url := "/" + path + "/" + file
				body, resp := w.get(url)
				if resp.StatusCode != row.status || resp.Header.Get("Retry-After") != row.retry {
					t.Errorf("%s: %s = %d, Retry-After %q, want %d, %q", row.name, url, resp.StatusCode, resp.Header.Get("Retry-After"), row.status, row.retry)
				}
				if strings.Contains(body, "secret") {
					t.Errorf("%s: %s tells too much: %q", row.name, url, body)
				}
				if row.status == 500 && !strings.Contains(w.logged.String(), strings.Fields(body)[2]) {
					t.Errorf("%s: answer %q, log %q", row.name, body, w.logged.String())
				}
				if n := len(w.log.Entries()); n > 0 {
					t.Errorf("%s: %s: %d entries logged", row.name, url, n)
				}
				w.close()
			}
		}
	}
}
