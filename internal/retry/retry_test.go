// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package retry

import (
	"testing"
	"time"
)

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func TestAfter(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-7": 0, "+7": 0, "7.5": 0, "soon": 0,
		"86400": Most, "86401": Most, "9223372036854775807": Most, "99999999999999999999": Most,
		"Wed, 01 Jul 2026 12:01:00 GMT":     time.Minute,
		"Wednesday, 01-Jul-26 12:01:00 GMT": time.Minute,
		"Wed, 01 Jul 2026 11:59:00 GMT":     0,
		"Wed, 01 Jul 2099 12:00:00 GMT":     Most,
	} {
		if got := After(s, noon); got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
}

func FuzzAfter(f *testing.F) {
	for _, s := range []string{"", "7", "-1", "99999999999999999999", "Wed, 01 Jul 2026 12:01:00 GMT", "Wed, 01 Jul 0001 12:01:00 GMT"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := After(s, noon); d < 0 || d > Most {
			t.Errorf("%q: %v", s, d)
		}
	})
}
