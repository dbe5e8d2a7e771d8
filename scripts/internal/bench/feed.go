// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// page is the largest page of the feed.
const page = 2000

// measureIndex measures what a page of the feed costs before HTTP: the handler
// is called without a server. Its floor is the same page read from a flat file
// of finished lines, at offsets from another file.
func measureIndex(b *bench) error {
	b.closeBig()
	dir, err := b.bigDir()
	if err != nil {
		return err
	}
	l, x, err := openLog(dir)
	if err != nil {
		return err
	}
	err = b.feedPages(x.Feed())
	return errors.Join(err, l.Close(), x.Close())
}

func (b *bench) feedPages(feed http.Handler) error {
	flat, err := b.newFlat(feed)
	if err != nil {
		return err
	}
	defer flat.close()
	begins := make([]int64, 100)
	var since, after []*http.Request
	for i := range begins {
		begins[i] = int64(i) * (b.records() - page) / int64(len(begins))
		at, err := flat.time(begins[i])
		if err != nil {
			return err
		}
		since = append(since, httptest.NewRequest("GET", "/index?since="+at, nil))
		after = append(after, httptest.NewRequest("GET", fmt.Sprintf("/index?after=%d", begins[i]-1), nil))
	}
	for _, q := range []struct {
		name string
		reqs []*http.Request
	}{{"since", since}, {"after", after}} {
		var mine, floors []float64
		for range b.rounds() * turns {
			x, err := b.cpuPerPage(func(i int) error { return serve(feed, q.reqs[i%len(begins)]) })
			if err != nil {
				return err
			}
			y, err := b.cpuPerPage(func(i int) error { return flat.read(begins[i%len(begins)], page) })
			if err != nil {
				return err
			}
			mine, floors = append(mine, x), append(floors, y)
		}
		b.table.add(atMost(fmt.Sprintf("`/index?%s=`, page of %d, before HTTP; floor: flat file", q.name, page),
			fmt.Sprintf("%.3f ms CPU", median(mine)), fmt.Sprintf("%.3f ms CPU", median(floors)), median(ratios(mine, floors)), 2))
	}
	return nil
}

// cpuPerPage returns the CPU milliseconds that f takes.
func (b *bench) cpuPerPage(f func(i int) error) (float64, error) {
	begin, cpu := time.Now(), cpuTime()
	pages := 0
	for time.Since(begin) < b.span()/turns {
		if err := f(pages); err != nil {
			return 0, err
		}
		pages++
	}
	return float64((cpuTime() - cpu).Microseconds()) / 1000 / float64(pages), nil
}

// discard is a ResponseWriter that costs nothing.
type discard struct {
	header http.Header
	status int
	n      int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { d.n += len(b); return len(b), nil }

func serve(h http.Handler, r *http.Request) error {
	w := &discard{http.Header{}, http.StatusOK, 0}
	h.ServeHTTP(w, r)
	if w.status != http.StatusOK || w.n == 0 {
		return fmt.Errorf("%s: status %d, %d bytes", r.URL, w.status, w.n)
	}
	return nil
}

// A flat is the feed in a file, and where its lines begin in another.
type flat struct {
	lines, offsets *os.File
	page           []byte // what was read last
}

// newFlat copies the feed.
func (b *bench) newFlat(feed http.Handler) (f *flat, err error) {
	dir, err := b.newDir("flat")
	if err != nil {
		return nil, err
	}
	f = &flat{}
	if f.lines, err = os.Create(filepath.Join(dir, "lines")); err != nil {
		return nil, err
	}
	if f.offsets, err = os.Create(filepath.Join(dir, "offsets")); err != nil {
		return nil, err
	}
	at := uint64(0)
	for first := int64(0); first < b.records(); first += page {
		w := httptest.NewRecorder()
		feed.ServeHTTP(w, httptest.NewRequest("GET", fmt.Sprintf("/index?after=%d", first-1), nil))
		text := w.Body.Bytes()
		var offsets []byte
		for line := range bytes.Lines(text) {
			offsets = binary.BigEndian.AppendUint64(offsets, at)
			at += uint64(len(line))
		}
		if _, err := f.lines.Write(text); err != nil {
			return nil, err
		}
		if _, err := f.offsets.Write(offsets); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *flat) close() { f.lines.Close(); f.offsets.Close() }

// read reads n lines, of which the first is that of entry first.
func (f *flat) read(first, n int64) error {
	var at [2]int64
	var word [8]byte
	for i, entry := range []int64{first, first + n} {
		if _, err := f.offsets.ReadAt(word[:], 8*entry); err != nil {
			return err
		}
		at[i] = int64(binary.BigEndian.Uint64(word[:]))
	}
	f.page = slices.Grow(f.page[:0], int(at[1]-at[0]))[:at[1]-at[0]]
	_, err := f.lines.ReadAt(f.page, at[0])
	return err
}

// time returns the time of an entry, as its line has it.
func (f *flat) time(entry int64) (string, error) {
	if err := f.read(entry, 1); err != nil {
		return "", err
	}
	var line struct{ Timestamp string }
	err := json.Unmarshal(f.page, &line)
	return line.Timestamp, err
}
