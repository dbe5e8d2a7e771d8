// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package testrace tells tests whether they run with the race detector, with which
// what is computed takes ten times as long.
package testrace

// Flags returns the flags to build another program as this one was built: a second
// build of SQLite would take longer than all that the program is needed for.
func Flags() []string {
	if Enabled {
		return []string{"-race"}
	}
	return nil
}
