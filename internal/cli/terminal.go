// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// A Meter shows how far a long work has come: on a terminal as a line that is
// written over, elsewhere as a log line every 30 seconds.
type Meter struct {
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

// Meter returns a meter of the work named what.
func (c *Call) Meter(what string, logger *slog.Logger) *Meter {
	m := &Meter{what: what, logger: logger, began: time.Now(), shown: time.Now()}
	if terminal(c.Stderr) {
		m.w = c.Stderr
	}
	return m
}

// Set says how much of the total is done.
func (m *Meter) Set(done, total int64) {
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
func (m *Meter) estimate() (rate float64, left time.Duration) {
	spent := time.Since(m.began).Seconds()
	if spent <= 0 || m.done <= 0 {
		return 0, 0
	}
	rate = float64(m.done) / spent
	return rate, time.Duration(float64(m.total-m.done) / rate * float64(time.Second)).Round(time.Second)
}

// print replaces the line that is shown.
func (m *Meter) print(line string) {
	fmt.Fprintf(m.w, "\r%s%s", line, strings.Repeat(" ", max(0, m.length-len(line))))
	m.length = len(line)
}

// End takes the line away.
func (m *Meter) End() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.length > 0 {
		m.print("")
		fmt.Fprint(m.w, "\r")
		m.length = 0
	}
}
