// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"log/slog"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(childEnv); config != "" {
		os.Exit(childMain(config))
	}
	os.Exit(m.Run())
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// thorough reports whether the tests have minutes, not seconds.
func thorough() bool {
	return os.Getenv("SUMLOG_LONG") != "" || os.Getenv("CI") == "true"
}
