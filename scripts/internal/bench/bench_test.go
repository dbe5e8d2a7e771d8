// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"bufio"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/module"
)

func TestReadAnswer(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 3\r\n\r\nabc"
	for _, c := range []struct {
		text string
		good bool
		left int
	}{
		{ok, true, 0},
		{ok + ok, true, len(ok)},
		{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, 0},
		{strings.Replace(ok, "200 OK", "404 Not Found", 1), false, 0},
		{ok[:len(ok)-1], false, 0},
		{"HTTP/1.1 200 OK\r\n\r\nabc", false, 0},
		{"", false, 0},
	} {
		r := bufio.NewReaderSize(strings.NewReader(c.text), 4096)
		err := readAnswer(r)
		if (err == nil) != c.good {
			t.Errorf("%q: %v", c.text, err)
		}
		if err == nil && r.Buffered() != c.left {
			t.Errorf("%q: %d bytes are left, want %d", c.text, r.Buffered(), c.left)
		}
	}
}

// TestLoad counts what is answered, and fails when something is not.
func TestLoad(t *testing.T) {
	spec := floorSpec{Records: 20, Every: 2, Head: []byte("head\n")}
	srv := httptest.NewServer(spec.handler())
	defer srv.Close()
	addr := srv.Listener.Addr().String()
	l := newLoad(4, smallBuffer, lookups(20, 2))
	if n, err := l.run(t.Context(), addr, 50*time.Millisecond); n == 0 || err != nil {
		t.Errorf("%d answers, %v", n, err)
	}
	l.path = lookups(20, 1)
	if _, err := l.run(t.Context(), addr, 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("with paths that are not there: %v", err)
	}
}

func TestRecords(t *testing.T) {
	seen := map[module.Version]bool{}
	for i := range int64(1000) {
		r := record(i)
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
		if seen[r.Module] {
			t.Fatalf("record %d is of %v again", i, r.Module)
		}
		seen[r.Module] = true
	}
}

func TestTable(t *testing.T) {
	var tab table
	tab.add(atLeast("more", "9", "10", 0.9, 0.9))
	tab.add(atMost("less", "12", "10", 1.2, 1.1))
	tab.note("a note")
	tab.note("a note")
	var b strings.Builder
	if err := tab.print(&b, true); err != nil {
		t.Fatal(err)
	}
	const want = `| what | sumlog | floor | ratio | goal |  |
| --- | ---: | ---: | ---: | --- | --- |
| more | 9 | 10 | 0.90 | ≥ 0.90 | met |
| less | 12 | 10 | 1.20 | ≤ 1.10 | missed |

a note.
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// TestTableSecond prints what was measured twice in one row.
func TestTableSecond(t *testing.T) {
	var tab table
	tab.add(atLeast("more", "9", "10", 0.9, 0.9))
	tab.add(atMost("less", "12", "10", 1.2, 1.1))
	tab.second = "20 records"
	tab.add(atLeast("more", "8", "10", 0.8, 0.9))
	tab.add(row{what: "other", verdict: "failed: x"})
	var b strings.Builder
	if err := tab.print(&b, true); err != nil {
		t.Fatal(err)
	}
	const want = `| what | sumlog | floor | ratio | goal |  | 20 records | floor | ratio |  |
| --- | ---: | ---: | ---: | --- | --- | ---: | ---: | ---: | --- |
| more | 9 | 10 | 0.90 | ≥ 0.90 | met | 8 | 10 | 0.80 | missed |
| less | 12 | 10 | 1.20 | ≤ 1.10 | missed | – | – | – |  |
| other | – | – | – | – |  | – | – | – | failed: x |
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		xs       []float64
		med, p99 float64
	}{{nil, 0, 0}, {[]float64{3}, 3, 3}, {[]float64{4, 1, 3, 2}, 2.5, 4}, {[]float64{5, 1, 9}, 5, 9}} {
		if m, q := median(c.xs), quantile(c.xs, 0.99); m != c.med || q != c.p99 {
			t.Errorf("%v: median %v, p99 %v, want %v, %v", c.xs, m, q, c.med, c.p99)
		}
	}
}
