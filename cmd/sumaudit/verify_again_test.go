// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"strings"
	"testing"

	"example.org/sumlog/internal/testauthority"
)

// Whom the reader of a report trusts is not whom its maker did: the report holds all
// the same, and by the reader's policy it counts or does not.
func TestAgainPolicy(t *testing.T) {
	d := newDesk(t)
	d.write("go.sum", d.sum(0, 1))
	d.write("strict", d.Policy(3, ""))
	d.want(0, d.online("verify", "-report", "plain.json")...)
	d.want(0, d.online("verify", "-policy", "policy", "-report", "policy.json")...)
	d.Break(testauthority.TooFew)
	d.want(0, d.online("verify", "-report", "few.json")...)
	d.want(5, d.online("verify", "-policy", "policy", "-report", "fewer.json")...)

	again := func(code int, report string, more ...string) {
		t.Helper()
		d.want(code, append([]string{"verify", "-vkey", d.VKey(), "-again", report}, more...)...)
	}
	again(0, "plain.json")
	again(0, "plain.json", "-policy", "policy")
	d.says("cosigned by 3 known witnesses")
	again(0, "policy.json")
	d.says("the policy is the report's own")
	again(0, "policy.json", "-policy", "strict")
	again(0, "few.json")
	again(5, "few.json", "-policy", "policy")
	again(5, "fewer.json")
	again(5, "fewer.json", "-policy", "strict")
	d.write("lax", "log "+d.VKey()+"\nquorum none\n")
	again(0, "fewer.json", "-policy", "lax")
	d.want(0, d.online("verify", "-private", "example.com", "-report", "private.json")...)
	again(0, "private.json")
	d.says("private by the report: example.com\n")
	// Forged: an input that nobody compares; the maker's verdict of his own checkpoint.
	d.write("forged.json", strings.Replace(d.read("fewer.json"), "\"untrusted\": \"", "\"untrusted\": \"x", 1))
	again(1, "forged.json")
	d.write("forged.json", strings.Replace(d.read("plain.json"), "\"kind\": \"go.sum\"", "\"kind\": \"sum\"", 1))
	again(1, "forged.json")
}
