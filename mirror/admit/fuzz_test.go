// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package admit

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

func FuzzList(f *testing.F) {
	for _, s := range []string{"", "v1.0.0\n", "v1.10.0\nv1.9.0 2024-01-02T03:04:05Z\nv1.0.0-rc.1\r\n", "v2.0.0\nv2.0.0+incompatible",
		"v0.0.0-20240102030405-abcdefabcdef\n", "v1\nv1.2\n<html>", "v1.0.0\x00\n\xff", "../v1.0.0"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseList("example.com/a", data)
		if err != nil && len(list) > 0 {
			t.Errorf("%q and %v", list, err)
		}
		var got []string
		for line := range strings.Lines(string(list)) {
			got = append(got, parseListed(line).Version)
		}
		if !slices.IsSortedFunc(got, semver.Compare) {
			t.Errorf("not sorted: %q", got)
		}
		for i, v := range got {
			if module.CanonicalVersion(v) != v || module.Check("example.com/a", v) != nil {
				t.Errorf("listed %q", v)
			}
			if i > 0 && got[i-1] == v {
				t.Errorf("twice %q", v)
			}
			if !strings.Contains(string(data), v) {
				t.Errorf("made up %q", v)
			}
		}
	})
}

func FuzzQueryInfo(f *testing.F) {
	f.Add("@latest", []byte(`{"Version":"v1.0.0","Time":"2024-05-06T07:08:09Z"}`))
	f.Add("@v/main.info", []byte(`{"Version":"v0.0.0-20240102030405-abcdefabcdef"}`))
	f.Add("@v/v1.0.0.info", []byte(`{"Version":"v1.0.1"}`))
	f.Add("@v/v2.0.0.info", []byte(`{"Version":"v2.0.0+incompatible","version":"x"}`))
	f.Add("@v/x.info", []byte(`null`))
	f.Fuzz(func(t *testing.T, rest string, data []byte) {
		if checkInfo(question{"example.com/a", rest}, data) != nil {
			return
		}
		// What passes names one version to every reader, and a possible one.
		var i struct{ Version string }
		if err := json.Unmarshal(data, &i); err != nil {
			t.Fatal(err)
		}
		if module.Check("example.com/a", i.Version) != nil || module.CanonicalVersion(i.Version) != i.Version {
			t.Errorf("%s: passed version %q", rest, i.Version)
		}
		if v, err := module.UnescapeVersion(strings.TrimSuffix(strings.TrimPrefix(rest, "@v/"), ".info")); err == nil && rest != latest &&
			module.Check("example.com/a", v) == nil && module.CanonicalVersion(v) == v && v != i.Version {
			t.Errorf("%s: passed version %q", rest, i.Version)
		}
	})
}
