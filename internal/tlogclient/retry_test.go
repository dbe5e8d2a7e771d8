// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient

import (
	"testing"
	"time"
)

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func TestRetryAfter(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-7": 0, "+7": 0, "7.5": 0, "soon": 0,
		"86401": 24 * time.Hour, "99999999999999999999": 24 * time.Hour,
		"Wed, 01 Jul 2026 12:01:00 GMT": time.Minute,
		"Wed, 01 Jul 2026 11:59:00 GMT": 0,
		"Wed, 01 Jul 2099 12:00:00 GMT": 24 * time.Hour,
	} {
		if got := parseRetryAfter(s, noon); got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "7", "99999999999999999999", "Wed, 01 Jul 2026 12:01:00 GMT", "Wed, 01 Jul 0001 12:01:00 GMT"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := parseRetryAfter(s, noon); d < 0 || d > 24*time.Hour {
			t.Errorf("%q: %v", s, d)
		}
	})
}
