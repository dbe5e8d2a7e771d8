// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"
	"unicode"
)

// logLevel is the setting that every command has. Those that name no level log what
// matters to whoever called them.
const logLevel = "log-level"

// levels are its values, and what stands in a line.
var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn, "error": slog.LevelError,
}

func bindLevel[C Caller](f *flag.FlagSet, c C, name string) {
	f.Func(name, "", func(text string) error {
		level, ok := levels[text]
		if !ok {
			return errors.New("neither debug, info, warning nor error")
		}
		c.Base().level = &level
		return nil
	})
}

// Level is the level that was asked for, else usual.
func (c *Call) Level(usual slog.Level) slog.Level {
	if c.level == nil {
		return usual
	}
	return *c.level
}

// LogHandler returns a handler for the log of the process, of lines of that level
// and above.
func (c *Call) LogHandler(level slog.Level) slog.Handler {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: readable}
	return &logHandler{c.stream, slog.NewTextHandler(&c.stream.line, o)}
}

// Logger returns the log of the process, of lines of the level usual and above,
// unless -log-level says otherwise.
func (c *Call) Logger(usual slog.Level) *slog.Logger {
	return slog.New(c.LogHandler(c.Level(usual)))
}

// A logStream writes lines, one at a time.
type logStream struct {
	program string
	w       io.Writer

	mu   sync.Mutex
	line bytes.Buffer // that is being made
}

// A logHandler writes "program: time level: message key=value …". What comes from
// outside is quoted where it could end a line, begin another, or speak to a terminal.
type logHandler struct {
	stream *logStream
	pairs  slog.Handler // writes " key=value…\n" into the line
}

func (h *logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.pairs.Enabled(ctx, level)
}

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	s := h.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line.Reset()
	fmt.Fprintf(&s.line, "%s: %s %s: %s ", s.program, r.Time.UTC().Format(time.RFC3339), levelName(r.Level), oneLine(r.Message))
	if err := h.pairs.Handle(ctx, r); err != nil {
		return err
	}
	line := bytes.TrimRight(s.line.Bytes(), " \n")
	_, err := s.w.Write(append(line, '\n'))
	return err
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.stream, h.pairs.WithAttrs(attrs)}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{h.stream, h.pairs.WithGroup(name)}
}

func levelName(l slog.Level) string {
	for name, level := range levels {
		if level == l {
			return name
		}
	}
	return l.String()
}

// oneLine returns text as it is, or quoted if it is not one line of what can be
// printed. A server's own log may have the words of a client in it.
func oneLine(text string) string {
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return strconv.Quote(text)
		}
	}
	return text
}

// readable leaves out what the head of the line says, and shortens durations to
// three digits: nobody reads nanoseconds.
func readable(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.DurationValue(threeDigits(a.Value.Duration()))
	}
	return a
}

func threeDigits(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d.Abs()/unit >= 1000 {
		unit *= 10
	}
	return d.Round(min(unit, time.Second))
}
