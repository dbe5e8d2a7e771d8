// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package retry reads the header field Retry-After (RFC 9110, section 10.2.3),
// by which a server says how long it wants to be left alone. The field is not
// trusted: what cannot be read is no wish, and nobody is sent away for longer
// than [Most]. Users that cannot stay away so long take less.
package retry

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Most is the longest wait that is taken from a header.
const Most = 24 * time.Hour

// After returns how long to wait from now on, from 0 to [Most], when a server
// sent the field s: a number of seconds, or a date.
func After(s string, now time.Time) time.Duration {
	if s != "" && strings.Trim(s, "0123456789") == "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n > int64(Most/time.Second) {
			return Most
		}
		return time.Duration(n) * time.Second
	}
	t, err := http.ParseTime(s)
	if err != nil {
		return 0
	}
	return min(max(t.Sub(now), 0), Most)
}
