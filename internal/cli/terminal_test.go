// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package cli

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var term, lines bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&lines, nil))
		shown := &Meter{what: "working", w: &term, began: time.Now(), shown: time.Now()}
		logged := &Meter{what: "working", logger: logger, began: time.Now(), shown: time.Now()}
		for i := range int64(60) {
			time.Sleep(time.Second)
			shown.Set(i+1, 100)
			logged.Set(i+1, 100)
		}
		shown.End()
		logged.End()
		if !strings.Contains(term.String(), "\rworking: 25 of 100, 1/s, 1m15s left") {
			t.Errorf("on a terminal: %q", term.String())
		}
		if !strings.HasSuffix(term.String(), " \r") {
			t.Errorf("the line was not taken away: %q", term.String())
		}
		if n := strings.Count(lines.String(), "msg=working"); n != 2 || !strings.Contains(lines.String(), "done=30 total=100 per_second=1 left=1m10s") {
			t.Errorf("%d log lines in a minute, want 2: %s", n, lines.String())
		}
	})
}
