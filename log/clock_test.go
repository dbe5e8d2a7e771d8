// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/module"
)

// TestClockAhead has a witness that says it is earlier: by less than a minute, which
// is nothing, and by more, which is refused until the clocks agree.
func TestClockAhead(t *testing.T) {
	a := newWitness(t, "a")
	behind := func(d time.Duration) {
		a.set(func() { a.clock = func() time.Time { return time.Now().Add(-d) } })
	}
	behind(50 * time.Second)
	l := mustStartWitnessed(t, newDir(t), 1, a)
	defer closeLog(t, l)
	if _, err := l.Append(t.Context(), record(0)); err != nil {
		t.Error(err)
	}
	behind(2 * time.Hour)
	_, err := l.Append(t.Context(), record(1))
	e, ok := errors.AsType[*RefusedError](err)
	if !ok || !strings.Contains(e.Reason, "clock is 2h0m") {
		t.Errorf("append: %v", err)
	}
	if err := l.Admits(); !errors.Is(err, ErrBusy) {
		t.Errorf("admits: %v", err)
	}
	if n := l.archive.last.Load().Size; n != 1 || l.Published().Size != 1 {
		t.Errorf("archived size %d, published %d", n, l.Published().Size)
	}
	behind(0)
	eventually(t, "the log admits", func() bool { return l.Admits() == nil })
	if i, err := l.Append(t.Context(), record(1)); err != nil || i != 1 {
		t.Errorf("append: index %d, %v", i, err)
	}
}

// TestTimeAhead opens a log whose newest publication has a time of tomorrow, from a
// clock that was wrong. That is said, and is no end: with witnesses and without.
func TestTimeAhead(t *testing.T) {
	for name, ws := range map[string][]*witness{"alone": nil, "witnessed": {newWitness(t, "a")}} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			tomorrow := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Microsecond)
			postdate(t, dir, tomorrow)
			var said bytes.Buffer
			c := Config{Dir: dir}
			if len(ws) > 0 {
				c = witnessedConfig(t, dir, 1, ws...)
			}
			c.Logger = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn}))
			l, err := Open(c)
			if err != nil {
				t.Fatal(err)
			}
			names := &memNames{l: l, m: make(map[module.Version]Entry)}
			if err := errors.Join(names.Publish(l.Published()), l.Start(names)); err != nil {
				t.Fatal(err)
			}
			for i := range 2 {
				if _, err := l.Append(t.Context(), record(i)); err != nil {
					t.Errorf("append: %v", err)
				}
			}
			if got, want := l.Published().Time, tomorrow.Add(2*time.Microsecond); !got.Equal(want) {
				t.Errorf("time %v, want %v", got, want)
			}
			if d := l.TimeAhead(); d < 23*time.Hour {
				t.Errorf("ahead by %v", d)
			}
			if all := l.Concerns(); len(all) != 1 || !strings.Contains(all[0], "ahead of the clock") {
				t.Errorf("concerns: %q", all)
			}
			closeLog(t, l)
			if !strings.Contains(said.String(), "ahead of the clock") {
				t.Errorf("said at start: %s", &said)
			}
		})
	}
}

// postdate changes the time of the one publication in dir.
func postdate(t *testing.T, dir string, to time.Time) {
	t.Helper()
	file := filepath.Join(dir, archiveFile)
	line, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := parseLine(line)
	if err != nil {
		t.Fatal(err)
	}
	p.Time = to
	if line, err = p.line(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, line, 0o644); err != nil {
		t.Fatal(err)
	}
}
