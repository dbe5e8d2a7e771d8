// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"log/slog"

	"k8s.io/klog/v2"
)

// logger returns the logger of the process. Warnings of Tessera, which go
// through klog, come out of it too; what it says beyond that is about its own
// checkpoints, which nobody sees.
func (c *call) logger() *slog.Logger {
	klog.SetSlogLogger(slog.New(c.LogHandler(max(slog.LevelWarn, c.Level(slog.LevelWarn)))).With("from", "tessera"))
	return c.Logger(slog.LevelInfo)
}
