// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package cli

import (
	"bytes"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestLog(t *testing.T) {
	var out bytes.Buffer
	c := &Call{stream: &logStream{program: "my-prog", w: &out}}
	l := c.Logger(slog.LevelInfo)
	for _, test := range []struct {
		log  func()
		want string // after program and time
	}{
		{func() { l.Info("shutting down") }, "info: shutting down"},
		{func() { l.Warn("witness fails", "witness", "bob", "err", errors.New("it is down")) }, `warning: witness fails witness=bob err="it is down"`},
		{func() { l.Debug("x") }, ""},
		{func() { l.Log(t.Context(), slog.LevelError+1, "x") }, "ERROR+1: x"},
		{func() { l.With("from", "a b").WithGroup("g").Error("x", "time", 1) }, `error: x from="a b" g.time=1`},
		{func() { l.Info("x", "file", "a\nmy-prog: hint: rm -rf /\x1b[2J") }, `info: x file="a\nmy-prog: hint: rm -rf /\x1b[2J"`},
		{func() { l.Info("http: panic\nmy-prog: hint: \x1b[2J") }, `info: "http: panic\nmy-prog: hint: \x1b[2J"`},
		{func() { l.Info("x", "d", 1234567891*time.Nanosecond) }, "info: x d=1.23s"},
		{func() { l.Info("x", "d", 123456*time.Nanosecond) }, "info: x d=123µs"},
		{func() { l.Info("x", "d", -1234567*time.Nanosecond) }, "info: x d=-1.23ms"},
		{func() { l.Info("x", "d", 83*time.Minute+25*time.Second+678*time.Millisecond) }, "info: x d=1h23m26s"},
		{func() { l.Info("x", "d", time.Duration(0)) }, "info: x d=0s"},
	} {
		out.Reset()
		test.log()
		want := ""
		if test.want != "" {
			want = `my-prog: 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ ` + regexp.QuoteMeta(test.want) + `\n`
		}
		if !regexp.MustCompile(`\A` + want + `\z`).MatchString(out.String()) {
			t.Errorf("%q, want %q", out.String(), test.want)
		}
	}
}

// TestLogLevel has a command whose level is chosen: for once, and for good.
func TestLogLevel(t *testing.T) {
	for _, test := range []struct{ args, env, file, want string }{
		{want: "info"},
		{args: "-log-level debug", env: "error", file: "error", want: "debug"},
		{args: "-log-level=warning", want: "warning"},
		{env: "error", file: "debug", want: "error"},
		{file: "debug", want: "debug"},
	} {
		t.Setenv("MY_PROG_LOG_LEVEL", test.env)
		var files []File
		if test.file != "" {
			files = []File{{"f", []byte("log-level=" + test.file)}}
		}
		p := prog(new(string), nil, files...)
		c, err := p.Parse(p.Commands[0], append(strings.Fields(test.args), "-dir", "d"), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := levelName(c.Level(slog.LevelInfo)); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
	t.Setenv("MY_PROG_LOG_LEVEL", "")
	var stderr bytes.Buffer
	if code := prog(new(string), nil).Run(t.Context(), []string{"cook", "-dir", "d", "-log-level", "loud"}, nil, &stderr); code != Usage || !strings.Contains(stderr.String(), "neither debug, info, warning nor error") {
		t.Errorf("exit code %d, %s", code, stderr.String())
	}
}
