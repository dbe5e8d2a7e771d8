// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package store

import (
	"strings"
	"testing"

	"golang.org/x/mod/module"
)

func TestKeyed(t *testing.T) {
	var k keyed
	inside := 0
	done := make(chan bool)
	for range 20 {
		go func() {
			unlock := k.lock("a")
			inside++
			if inside != 1 {
				t.Errorf("%d hold the same lock", inside)
			}
			inside--
			unlock()
			done <- true
		}()
	}
	for range 20 {
		<-done
	}
	if len(k.locks) != 0 {
		t.Errorf("%d locks left", len(k.locks))
	}
}

// TestInfoQuoted has a .info that is wrong: its error has nothing of it.
func TestInfoQuoted(t *testing.T) {
	for _, info := range []string{`{"Version":"secret"}`, `{"Version":"v1.0.0","Time":"secret"}`} {
		_, err := ParseInfo([]byte(info), module.Version{Path: "example.com/a", Version: "v1.0.0"})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", info, err)
		}
	}
}

func FuzzInfo(f *testing.F) {
	m := module.Version{Path: "example.com/a", Version: "v1.0.0"}
	for _, s := range []string{
		`{"Version":"v1.0.0","Time":"2024-05-06T07:08:09Z"}`,
		`{"Version":"v1.0.0","Time":"2024-05-06T07:08:09Z","Origin":{"VCS":"git","URL":"https://example.com/a","Hash":"00","Ref":"refs/tags/v1.0.0"}}`,
		`{"version":"v1.0.0"}`, `{"Version":"v1.0.0","version":"v1.0.1"}`, `null`, `{}`, `[]`, `{"Version":1}`, "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := ParseInfo(data, m)
		if err == nil && (i.Version != m.Version || len(data) > MaxInfo) {
			t.Errorf("ParseInfo(%q) = %v", data, i)
		}
	})
}
