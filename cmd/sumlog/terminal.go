// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
	"k8s.io/klog/v2"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// logger returns the logger of the process: text for people, JSON for machines.
// Warnings of Tessera, which go through klog, come out of it too; what it says
// beyond that is about its own checkpoints, which nobody sees.
func (c *call) logger() *slog.Logger {
	handler := func(level slog.Level) slog.Handler {
		o := &slog.HandlerOptions{Level: level}
		if terminal(c.stderr) {
			return slog.NewTextHandler(c.stderr, o)
		}
		return slog.NewJSONHandler(c.stderr, o)
	}
	klog.SetSlogLogger(slog.New(handler(slog.LevelWarn)).With("from", "tessera"))
	return slog.New(handler(slog.LevelInfo))
}

// A meter shows how far a long work has come: on a terminal as a line that is
// written over, elsewhere as a log line every 30 seconds.
type meter struct {
	what   string
	w      io.Writer // nil if not a terminal
	logger *slog.Logger

	mu     sync.Mutex
	began  time.Time
	shown  time.Time
	done   int64
	total  int64
	length int // of the line that is shown
}

const (
	meterLine = 100 * time.Millisecond // between lines on a terminal
	meterLog  = 30 * time.Second       // between log lines
)

func (c *call) meter(what string, logger *slog.Logger) *meter {
	m := &meter{what: what, logger: logger, began: time.Now(), shown: time.Now()}
	if terminal(c.stderr) {
		m.w = c.stderr
	}
	return m
}

// set says how much of the total is done.
func (m *meter) set(done, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done, m.total = done, total
	pause := meterLog
	if m.w != nil {
		pause = meterLine
	}
	if time.Since(m.shown) < pause {
		return
	}
	m.shown = time.Now()
	rate, left := m.estimate()
	if m.w == nil {
		m.logger.Info(m.what, "done", done, "total", total, "per_second", int64(rate), "left", left.String())
		return
	}
	m.print(fmt.Sprintf("%s: %d of %d, %.0f/s, %v left", m.what, done, total, rate, left))
}

// estimate returns the units per second so far and the time that the rest
// takes at that rate.
func (m *meter) estimate() (rate float64, left time.Duration) {
	spent := time.Since(m.began).Seconds()
	if spent <= 0 || m.done <= 0 {
		return 0, 0
	}
	rate = float64(m.done) / spent
	return rate, time.Duration(float64(m.total-m.done) / rate * float64(time.Second)).Round(time.Second)
}

// print replaces the line that is shown.
func (m *meter) print(line string) {
	fmt.Fprintf(m.w, "\r%s%s", line, strings.Repeat(" ", max(0, m.length-len(line))))
	m.length = len(line)
}

// end takes the line away.
func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.length > 0 {
		m.print("")
		fmt.Fprint(m.w, "\r")
		m.length = 0
	}
}
