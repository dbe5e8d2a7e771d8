// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/testauthority"
	"example.org/sumlog/witness/audit/report"
)

func TestPublic(t *testing.T) {
	ours := newRig(t, testauthority.Config{Sizes: []int64{16}})
	same := newRig(t, testauthority.Config{Name: "sum.example.net", Sizes: []int64{10}})
	other := newRig(t, testauthority.Config{Name: "sum.example.net", Sizes: []int64{10}, Salt: "other"})

	// It knows ten of sixteen, and the same of them.
	res := ours.audit(func(c *Config) { c.Public = same.site() })
	res.only(t, nil)
	if d := res.checks["D9"]; d.Result != report.OK || d.Checked != 10 {
		t.Errorf("%+v", d)
	}

	res = ours.audit(func(c *Config) { c.Public = other.site() })
	res.only(t, map[string]report.Result{"D9": report.Misbehaviour})
	if d := res.checks["D9"]; d.Checked != 10 || d.Counts[report.Misbehaviour] != 10 {
		t.Errorf("%+v", d)
	}
	if len(res.files) != 10 || res.files[0].Kind() != evidence.Differs {
		t.Errorf("%v", res.files)
	}
}

// What is private is not told to the public database.
func TestPrivate(t *testing.T) {
	ours := newRig(t, testauthority.Config{Sizes: []int64{16}})
	public := newRig(t, testauthority.Config{Name: "sum.example.net", Sizes: []int64{16}})
	var told atomic.Int64
	public.a.Tamper(func(path string, _ url.Values, status int, body []byte) (int, []byte) {
		if strings.Contains(path, "!tools") {
			told.Add(1)
		}
		return status, body
	})
	res := ours.audit(func(c *Config) { c.Public, c.Private = public.site(), "example.com/Tools" })
	if d := res.checks["D9"]; d.Result != report.OK || d.Checked != 2 || told.Load() != 0 {
		t.Errorf("%+v, %d told", d, told.Load())
	}
}

// A public database that cannot prove what it says accuses nobody.
func TestPublicUnproven(t *testing.T) {
	ours := newRig(t, testauthority.Config{Sizes: []int64{16}})
	public := newRig(t, testauthority.Config{Name: "sum.example.net", Sizes: []int64{16}})
	text := string(public.a.Entry(3))
	public.a.Tamper(func(path string, _ url.Values, status int, body []byte) (int, []byte) {
		if strings.Contains(path, "/lookup/") {
			lie := strings.Replace(text, "h1:", "h1:AAAA", 1)
			body = []byte(strings.Replace(string(body), text, lie[:len(lie)-1]+"\n", 1))
		}
		return status, body
	})
	res := ours.audit(func(c *Config) { c.Public = public.site() })
	res.only(t, map[string]report.Result{"D9": report.Failed})
	if len(res.files) > 0 {
		t.Errorf("%v", res.files)
	}
}
