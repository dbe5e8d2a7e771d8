// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package cosign

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/tlogclient"
)

// A fakeLog takes cosignatures as a log does, or answers what it was told to.
type fakeLog struct {
	t      *testing.T
	log    *testLog
	tree   tlog.Tree
	asked  int
	answer func(w http.ResponseWriter, r *http.Request) bool
}

func (f *fakeLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.asked++
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != "POST" || r.URL.Path != "/x/audited/add-checkpoint" {
		f.t.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
	if f.answer != nil && f.answer(w, r) {
		return
	}
	req, err := checkpoint.ParseAddRequest(body)
	if err != nil {
		f.t.Errorf("%v:\n%s", err, body)
		return
	}
	if req.Old != f.tree.N {
		w.Header().Set("Content-Type", "text/x.tlog.size")
		w.WriteHeader(http.StatusConflict)
		fmt.Fprintln(w, f.tree.N)
		return
	}
	n, err := checkpoint.ParseNote(req.Note)
	if err != nil {
		f.t.Error(err)
		return
	}
	c, err := checkpoint.Parse(n.Text)
	if err != nil {
		f.t.Error(err)
		return
	}
	if f.tree.N > 0 && f.tree.N < c.Size {
		if err := tlog.CheckTree(req.Proof, c.Size, c.Root, f.tree.N, f.tree.Hash); err != nil {
			f.t.Error(err)
		}
	} else if len(req.Proof) > 0 {
		f.t.Errorf("a proof from size %d to %d", f.tree.N, c.Size)
	}
	f.tree = c.Tree()
}

func newFakeLog(t *testing.T) (*fakeLog, *Submitter) {
	f := &fakeLog{t: t, log: newTestLog(40, 20)}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	s, err := NewSubmitter(srv.URL+"/x/", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return f, s
}

// anew returns a submitter to the log of s.
func anew(t *testing.T, s *Submitter) *Submitter {
	again, err := NewSubmitter(strings.TrimSuffix(s.url.String(), submitPath), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Close)
	return again
}

func (f *fakeLog) prove(_ context.Context, old int64, tree tlog.Tree) ([]tlog.Hash, error) {
	return f.log.proof(0, old, tree.N), nil
}

func TestSubmit(t *testing.T) {
	f, s := newFakeLog(t)
	for _, c := range []struct {
		size  int64
		asked int
	}{{0, 1}, {7, 1}, {7, 1}, {20, 1}} {
		f.asked = 0
		if err := s.Submit(t.Context(), f.log.note(0, c.size), f.prove); err != nil || f.tree.N != c.size || f.asked != c.asked {
			t.Errorf("size %d: %v after %d requests; the log has %d", c.size, err, f.asked, f.tree.N)
		}
	}
	// A new process does not know what the log has.
	again := anew(t, s)
	f.asked = 0
	if err := again.Submit(t.Context(), f.log.note(0, 30), f.prove); err != nil || f.tree.N != 30 || f.asked != 2 {
		t.Errorf("%v after %d requests; the log has %d", err, f.asked, f.tree.N)
	}
	// The log has lost it.
	f.tree = tlog.Tree{}
	if err := again.Submit(t.Context(), f.log.note(0, 35), f.prove); err != nil || f.tree.N != 35 {
		t.Errorf("%v; the log has %d", err, f.tree.N)
	}
	// The log has more than this process has made.
	if err := again.Submit(t.Context(), f.log.note(0, 34), f.prove); !errors.Is(err, ErrBehind) || f.tree.N != 35 {
		t.Errorf("%v; the log has %d", err, f.tree.N)
	}
	gone := errors.New("gone")
	f.tree = f.log.tree(0, 3)
	fresh := anew(t, s)
	if err := fresh.Submit(t.Context(), f.log.note(0, 34), func(context.Context, int64, tlog.Tree) ([]tlog.Hash, error) { return nil, gone }); !errors.Is(err, gone) {
		t.Errorf("without a proof: %v", err)
	}
	if err := fresh.Submit(t.Context(), []byte("garbage"), f.prove); err == nil {
		t.Error("garbage was handed in")
	}
}

// TestAnswers has the log answer what it should not.
func TestAnswers(t *testing.T) {
	conflict := func(text string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(http.StatusConflict)
			for io.WriteString(w, text); text == "endless" && r.Context().Err() == nil; {
				w.Write(make([]byte, 1<<16))
			}
			return true
		}
	}
	status := func(code int, text string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Retry-After", "7")
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			w.WriteHeader(code)
			io.WriteString(w, text)
			return true
		}
	}
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request) bool
		want   string
		asked  int
	}{
		"no size":        {conflict("<html>"), "is no size", 1},
		"no newline":     {conflict("5"), "is no size", 1},
		"not canonical":  {conflict("05\n"), "is no size", 1},
		"negative":       {conflict("-5\n"), "is no size", 1},
		"overflow":       {conflict("9223372036854775808\n"), "is no size", 1},
		"too large":      {conflict("9223372036854775807\n"), "older than a cosignature", 1},
		"same again":     {conflict("5\n"), "conflicts with itself", 2},
		"its own old":    {conflict("0\n"), "conflicts with itself", 2},
		"endless":        {conflict("endless"), "is no size", 1},
		"refused":        {status(422, "no\nway"), `422 Unprocessable Entity, retry after 7s: "no"`, 1},
		"escape":         {status(422, "\x1b[2J"), `"\x1b[2J"`, 1},
		"not there":      {status(404, ""), "404", 1},
		"unknown key":    {status(403, "who"), `403 Forbidden, retry after 7s: "who"`, 1},
		"malformed":      {status(400, ""), "400", 1},
		"too many":       {status(429, ""), "429", 1},
		"busy":           {status(503, ""), "503", 1},
		"redirect":       {status(307, ""), "307", 1},
		"moved":          {status(302, ""), "302", 1},
		"another 200":    {status(204, ""), "204", 1},
		"endless refuse": {status(500, strings.Repeat("x", 1<<20)), "500", 1},
	} {
		t.Run(name, func(t *testing.T) {
			f, s := newFakeLog(t)
			f.answer = c.answer
			err := s.Submit(t.Context(), f.log.note(0, 7), f.prove)
			if err == nil || !strings.Contains(err.Error(), c.want) || f.asked != c.asked || len(err.Error()) > 500 {
				t.Errorf("%v after %d requests", err, f.asked)
			}
			lasts := map[string]bool{"not there": true, "unknown key": true, "malformed": true, "redirect": true, "moved": true}[name]
			if r, ok := errors.AsType[*Refusal](err); ok != lasts || ok != errors.Is(err, ErrUnwelcome) || ok && r.Help == "" {
				t.Errorf("for good: %v, want %v: %+v", ok, lasts, r)
			}
			if strings.Contains(name, "busy") {
				e, ok := errors.AsType[*tlogclient.StatusError](err)
				if !ok || e.RetryAfter != 7*time.Second {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}

// TestHangs has the log never answer.
func TestHangs(t *testing.T) {
	f, s := newFakeLog(t)
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusConflict)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	}
	s.client.Timeout = 50 * time.Millisecond
	if err := s.Submit(t.Context(), f.log.note(0, 7), f.prove); err == nil {
		t.Error("a log that does not answer has taken it")
	}
}

func TestSubmitterURL(t *testing.T) {
	for _, bad := range []string{"", "sum.example.org", "file:///tmp", "http://x/?q", "ftp://x"} {
		if s, err := NewSubmitter(bad, nil); err == nil {
			t.Errorf("%q: %v", bad, s.url)
		}
	}
	// A password is for the log and not for errors.
	s, err := NewSubmitter("http://u:secret@127.0.0.1:1/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Submit(t.Context(), newTestLog(5, 5).note(0, 5), nil)
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"0\n", "5", "05\n", "-1\n", "9223372036854775807\n", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseSize(s); err == nil && (n < 0 || fmt.Sprintln(n) != s) {
			t.Errorf("%q is %d", s, n)
		}
	})
}

func FuzzState(f *testing.F) {
	r := newRig(f, f.TempDir(), false)
	f.Cleanup(func() { r.Close() })
	f.Add(r.log.note(0, 3))
	out, err := r.Cosign(r.log.note(0, 3), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(out)
	f.Fuzz(func(t *testing.T, note []byte) {
		c, err := r.parse(note)
		if err == nil && (c.time <= 0 || !bytes.Contains(note, []byte("audit.example")) || c.Tree() != r.log.tree(0, 3)) {
			t.Errorf("%+v", c)
		}
		r.Signer.dead = nil
		if err := r.Recall(note); errors.Is(err, ErrBehind) {
			t.Errorf("%v: %s", err, note)
		}
	})
}
