// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/witness"
	"example.org/sumlog/witness/state"
)

// pageOf renders the page of these logs.
func pageOf(t *testing.T, logs []witness.Status, lists, feeds []pageSource) (h http.Header, body string) {
	t.Helper()
	s := &statusPage{make: func() page {
		p := newPage("w.test", []string{"w.test+00000000+AAAA"}, []string{"https://w.test"}, "ops@w.test", "v1")
		p.fill(logs, lists, feeds, time.Unix(1e9, 0))
		return p
	}}
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	return rec.Header(), rec.Body.String()
}

func TestPage(t *testing.T) {
	// What logs and lists bring is text, whatever it looks like.
	const evil = `<script>alert(1)</script>"'`
	logs := []witness.Status{
		{Entry: state.Entry{Log: state.Log{Origin: "old.test"}, Tree: tlog.Tree{N: 5}, Time: 1e9 - 90}},
		{Entry: state.Entry{Log: state.Log{Origin: "never.test", Disabled: true}}},
		{Entry: state.Entry{Log: state.Log{Origin: evil}, Tree: tlog.Tree{N: 7}, Time: 1e9 - 7300}, LastError: evil, LastErrorTime: time.Unix(1e9-30, 0)},
	}
	h, body := pageOf(t, logs, []pageSource{{Name: evil, Error: evil}}, []pageSource{{Name: "db.test", Address: evil, Good: time.Unix(1e9-3*24*3600, 0)}})
	for _, want := range []string{
		"3 known, 2 enabled, 2 cosigned at least once.",
		`<td>old.test</td><td class="n">5</td><td>1m30s ago</td><td>enabled</td><td></td>`,
		`<td>never.test</td><td class="n">0</td><td>never</td><td>disabled</td><td></td>`,
		`<td class="n">7</td><td>2h ago</td><td>enabled</td><td><span class="bad">`,
		", 30s ago</td>",
		"<td>3 days ago</td>",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(body, "<script") {
		t.Errorf("markup of others is on the page")
	}
	if i, j := strings.Index(body, "alert(1)"), strings.Index(body, "old.test"); i > j {
		t.Errorf("what happened last is not first")
	}
	// The one style that the policy allows is the one on the page.
	_, style, _ := strings.Cut(body, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	if policy := h.Get("Content-Security-Policy"); !strings.Contains(policy, "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") || !strings.HasPrefix(policy, "default-src 'none';") {
		t.Errorf("Content-Security-Policy %q", policy)
	}
}

// TestPageIsBounded checks that the page does not grow with the number of logs.
func TestPageIsBounded(t *testing.T) {
	var logs []witness.Status
	for i := range 40_000 {
		logs = append(logs, witness.Status{Entry: state.Entry{Log: state.Log{Origin: fmt.Sprintf("log%d.test", i)}, Time: int64(i)}})
	}
	sources := make([]pageSource, 1000)
	_, body := pageOf(t, logs, sources, sources)
	if n := strings.Count(body, "<td>log"); n != maxShown {
		t.Errorf("%d logs are on the page, want %d", n, maxShown)
	}
	if !strings.Contains(body, "<td>log39999.test</td>") || !strings.Contains(body, "40000 known") || strings.Count(body, "and 950 more.") != 2 {
		t.Errorf("the newest log or the totals are not on the page")
	}
	if len(body) > 200<<10 {
		t.Errorf("the page has %d bytes", len(body))
	}
}

// TestPageIsKept checks that many requests make the page once.
func TestPageIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		s := &statusPage{make: func() page {
			made++
			return page{}
		}}
		get := func() {
			s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}
		get()
		get()
		time.Sleep(pageAge - 1)
		get()
		if made != 1 {
			t.Errorf("made %d times, want once", made)
		}
		time.Sleep(time.Nanosecond)
		get()
		if made != 2 {
			t.Errorf("made %d times, want twice", made)
		}
	})
}
