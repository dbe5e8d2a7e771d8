// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package store

import "bytes"

// sameMeaning
func sameMeaning(a, b []byte) bool { return bytes.Equal(a, b) }
