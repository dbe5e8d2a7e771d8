// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay

// SetMaxHits sets maxHits, and returns what sets it back.
func SetMaxHits(n int) (restore func()) {
	old := maxHits
	maxHits = n
	return func() { maxHits = old }
}
