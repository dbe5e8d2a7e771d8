// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build race

package main

// raceFlags build other programs as this test was built: a second build of
// SQLite would take longer than all that they are needed for.
var raceFlags = []string{"-race"}
