// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
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
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func tempFile(t *testing.T) *os.File {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestRequest(t *testing.T) {
	var got string
	s := newSource(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Method + " " + r.URL.Path + " " + r.UserAgent() + r.Header.Get("Authorization")
	})
	if _, err := s.Get(t.Context(), "github.com/!burnt!sushi/toml/@v/v1.0.0?#.info", 1); err != nil {
		t.Fatal(err)
	}
	if want := "GET /base/github.com/!burnt!sushi/toml/@v/v1.0.0?#.info " + UserAgent; got != want {
		t.Errorf("upstream was asked %q, want %q", got, want)
	}
	for _, path := range []string{"", ".", "/m/@latest", "m/../x", "m//x", "m/", "../x", "m/./x"} {
		got = ""
		if _, err := s.Get(t.Context(), path, 1); !errors.Is(err, fs.ErrInvalid) || got != "" {
			t.Errorf("Get(%q): %v, and upstream was asked %q", path, err, got)
		}
	}
}

func TestUser(t *testing.T) {
	var user, password string
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ = r.BasicAuth()
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(srv.Close)
	l := mustList(t, strings.Replace(srv.URL, "//", "//me:s%2Fecret@", 1))
	_, _, err := trusting(t, srv).Chain(l).Get(t.Context(), "m/@v/list", 1)
	if user != "me" || password != "s/ecret" {
		t.Errorf("upstream got user %q, password %q", user, password)
	}
	if asError(t, err).Status != 403 || strings.Contains(err.Error(), "ecret") || strings.Contains(err.Error(), "me:") {
		t.Errorf("error %v", err)
	}
}

func TestDownloadRetries(t *testing.T) {
	var n atomic.Int64
	s := newSource(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			raw("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nlong but truncated")(w, r)
			return
		}
		io.WriteString(w, "whole")
	})
	f := tempFile(t)
	if err := s.Download(t.Context(), "m/@v/v1.0.0.zip", f, 100); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(f.Name()); err != nil || string(b) != "whole" {
		t.Errorf("file holds %q, %v after a second try", b, err)
	}
}

func TestGetRetries(t *testing.T) {
	var n atomic.Int64
	s := newSource(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			raw("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\ntruncated")(w, r)
			return
		}
		io.WriteString(w, "whole")
	})
	if b, err := s.Get(t.Context(), "m/@v/list", 100); err != nil || string(b) != "whole" {
		t.Errorf("Get = %q, %v after a second try", b, err)
	}
}

// TestDownloadOwnError shows that a full disk is no upstream's fault, and that
// the next upstream is not asked because of it.
func TestDownloadOwnError(t *testing.T) {
	var n atomic.Int64
	h := func(w http.ResponseWriter, r *http.Request) { n.Add(1); io.WriteString(w, "bytes") }
	chain := newClient(t).Chain(mustList(t, serve(t, h).URL+"|"+serve(t, h).URL))
	_, err := chain.Download(t.Context(), "m/@v/v1.0.0.zip", fullDisk{tempFile(t)}, 100)
	if _, theirs := errors.AsType[*Error](err); theirs || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Download to a full disk: %v (%T)", err, err)
	}
	if n.Load() != 1 {
		t.Errorf("%d requests, want 1", n.Load())
	}
}

type fullDisk struct{ *os.File }

func (fullDisk) Write(p []byte) (int, error)         { return 0, syscall.ENOSPC }
func (fullDisk) ReadFrom(r io.Reader) (int64, error) { return 0, syscall.ENOSPC }

// TestDrip shows that bytes that keep coming, slowly, are not silence, and
// that a Get ends all the same.
func TestDrip(t *testing.T) {
	t.Parallel()
	c := NewClient(Config{Stall: 2 * time.Second, Total: 3 * time.Second})
	t.Cleanup(c.Close)
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	start := time.Now()
	_, err := c.Source(mustList(t, srv.URL).Entries[0].URL).Get(t.Context(), "m/@v/list", 1<<20)
	if !asError(t, err).Timeout() || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) < 3*time.Second {
		t.Errorf("Get of a drip: %v after %v, want the deadline of 3s", err, time.Since(start))
	}
}

func TestCancel(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{"hangs": hang, "503": status(503)} {
		ctx, cancel := context.WithCancel(t.Context())
		c := NewClient(Config{})
		c.pause = time.Hour
		t.Cleanup(c.Close)
		var n atomic.Int64
		srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
			n.Add(1)
			if name == "503" {
				time.AfterFunc(50*time.Millisecond, cancel)
			} else {
				cancel()
			}
			h(w, r)
		})
		chain := c.Chain(mustList(t, srv.URL+"|"+srv.URL))
		_, _, err := chain.Get(ctx, "m/@v/list", 1)
		if asError(t, err); !errors.Is(err, context.Canceled) || n.Load() != 1 {
			t.Errorf("%s: %v after %d requests, want context.Canceled after 1", name, err, n.Load())
		}
	}
}

func TestChain(t *testing.T) {
	up := []string{"file", "file://" + t.TempDir()}
	asked, ok := "", ""
	for _, code := range []int{404, 410, 403, 500, 200} {
		ok = serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked += fmt.Sprint(code, " ")
			w.WriteHeader(code)
		}).URL
		up = append(up, fmt.Sprint(code), ok)
	}
	// In lists below, numbers stand for upstreams that answer so.
	tests := []struct{ list, asked, want string }{
		{"200", "200", "200"},
		{"404,200", "404 200", "200"},
		{"410,200", "410 200", "200"},
		{"file,200", "200", "200"},
		{"500,200", "500", "500"},
		{"500|200", "500 200", "200"},
		{"403,200", "403", "403"},
		{"404,410", "404 410", "410"},
		{"500|404", "500 404", "500"},
		{"404,500", "404 500", "500"},
		{"500|403|404", "500 403 404", "403"},
		{"404,off", "404", "404"},
		{"500|off,200", "500", "500"},
		{"404,direct,200", "404", "404"},
		{"off", "", "off"},
		{"direct", "", "off"},
	}
	for _, tt := range tests {
		list := strings.NewReplacer(up...).Replace(tt.list)
		asked = ""
		_, from, err := newClient(t).Chain(mustList(t, list)).Get(t.Context(), "m/@v/list", 10)
		got := "200"
		if err != nil {
			got = "off"
			if !errors.Is(err, ErrOff) {
				got = fmt.Sprint(asError(t, err).Status)
			}
		} else if from.String() != ok {
			t.Errorf("%s: answer from %s, want %s", tt.list, from, ok)
		}
		if got != tt.want || strings.TrimSpace(asked) != tt.asked {
			t.Errorf("%s: got %s (%v), asked %s, want %s, asked %s", tt.list, got, err, asked, tt.want, tt.asked)
		}
	}
}

func TestFile(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "go")
	write := func(name, data string) {
		name = filepath.Join(top, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(data), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("secret", "secret")
	write("go/example.com/!m/@v/list", "v1.0.0\n")
	write("go/example.com/!m/@v/big", "12345678901")
	if err := errors.Join(
		os.Symlink("../../../../secret", filepath.Join(dir, "example.com/!m/@v/escape")),
		os.Symlink("list", filepath.Join(dir, "example.com/!m/@v/link")),
		syscall.Mkfifo(filepath.Join(dir, "example.com/!m/@v/pipe"), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	c := newClient(t)
	s := c.Source(mustList(t, "file://"+dir).Entries[0].URL)
	for _, name := range []string{"list", "link"} {
		if b, err := s.Get(t.Context(), "example.com/!m/@v/"+name, 10); string(b) != "v1.0.0\n" || err != nil {
			t.Errorf("Get(%s) = %q, %v", name, b, err)
		}
	}
	f := tempFile(t)
	f.WriteString("something longer that was there before")
	if err := s.Download(t.Context(), "example.com/!m/@v/list", f, 10); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(f.Name()); string(b) != "v1.0.0\n" {
		t.Errorf("Download made %q", b)
	}
	for path, absent := range map[string]bool{
		"example.com/!m/@v/v1.0.0.info":           true,
		"example.com/!m/@v/list/more":             true,
		"example.com/" + strings.Repeat("x", 300): true,
		"example.com/!m/@v":                       false,
		"example.com/!m/@v/big":                   false,
		"example.com/!m/@v/escape":                false,
		"example.com/!m/@v/pipe":                  false,
	} {
		b, err := s.Get(t.Context(), path, 10)
		if asError(t, err); errors.Is(err, fs.ErrNotExist) != absent {
			t.Errorf("Get(%.40s) = %q, %v, want absent: %v", path, b, err, absent)
		}
	}
	missing := c.Source(mustList(t, "file://"+top+"/none").Entries[0].URL)
	if _, err := missing.Get(t.Context(), "example.com/!m/@v/list", 10); errors.Is(asError(t, err), fs.ErrNotExist) {
		t.Errorf("a missing tree makes its files absent: %v", err)
	}
}
