// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// TestGrowth checks what made-up logs submit as a witness would.
func TestGrowth(t *testing.T) {
	c := newTestCourse(t, 3)
	trees := map[string]tlog.Tree{}
	list, err := c.next(30)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		r, err := checkpoint.ParseAddRequest(x.body)
		if err != nil {
			t.Fatal(err)
		}
		n, err := checkpoint.ParseNote(r.Note)
		if err != nil {
			t.Fatal(err)
		}
		cp, err := checkpoint.Parse(n.Text)
		if err != nil {
			t.Fatal(err)
		}
		old := trees[cp.Origin]
		if r.Old != old.N {
			t.Errorf("%s: old %d, want %d", cp.Origin, r.Old, old.N)
		}
		if old.N > 0 {
			if err := tlog.CheckTree(r.Proof, cp.Size, cp.Root, old.N, old.Hash); err != nil {
				t.Errorf("%s: %d to %d: %v", cp.Origin, old.N, cp.Size, err)
			}
		}
		trees[cp.Origin] = cp.Tree()
	}
	if len(trees) != 3 {
		t.Errorf("%d origins", len(trees))
	}
}

func newTestCourse(t *testing.T, n int) *course {
	t.Helper()
	g, err := newGrowth()
	if err != nil {
		t.Fatal(err)
	}
	logs, err := newMadeLogs(n)
	if err != nil {
		t.Fatal(err)
	}
	return newCourse(g, logs)
}

// TestSubmission submits to the floor, which accepts and refuses as a witness.
func TestSubmission(t *testing.T) {
	c := newTestCourse(t, 8)
	spec := commitSpec{DB: filepath.Join(t.TempDir(), "witness.db")}
	for _, l := range c.logs {
		spec.Logs = append(spec.Logs, l.key.String())
	}
	h, err := newCommitFloor(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer h.db.Close()
	var sync int
	if err := h.db.QueryRow("PRAGMA synchronous").Scan(&sync); err != nil || sync != 2 {
		t.Errorf("synchronous = %d, %v, want 2, which is FULL", sync, err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	s := &serving{addr: srv.Listener.Addr().String(), tail: &lastLines{}}
	list, err := c.next(40)
	if err != nil {
		t.Fatal(err)
	}
	out, err := submission{list, 4, 200}.run(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.ms) != len(list) || out.rate <= 0 {
		t.Errorf("%d answers, %v /s", len(out.ms), out.rate)
	}
	if _, err := (submission{list[:1], 1, 200}).run(t.Context(), s); err == nil || !strings.Contains(err.Error(), "409") {
		t.Errorf("the same again: %v", err)
	}
	all, err := c.wrongs()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range all {
		if _, err := (submission{w.list, 4, w.status}).run(t.Context(), s); err != nil {
			t.Errorf("%s: %v", w.what, err)
		}
	}
}
