// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"example.org/sumlog/internal/testupstream"
)

// TestLookupTable goes through what an upstream can say when a lookup, the
// log's own or a relayed one, needs it: of the public database, and of the
// module. (Lists and files have tables of their own in package mirror.) Whatever
// it says, nothing is logged, and no cache may keep the answer.
func TestLookupTable(t *testing.T) {
	rows := []struct {
		name   string
		fault  testupstream.Fault
		status []int
		retry  string
	}{
		{"404", testupstream.Status(404), []int{404}, ""},
		{"410", testupstream.Status(410), []int{404}, ""},
		{"401", testupstream.Status(401), []int{403, 502}, ""},
		{"403", testupstream.Status(403), []int{403, 502}, ""},
		{"429", testupstream.Status(429, "Retry-After", "17"), []int{429, 503}, "17"},
		{"500", testupstream.Status(500), []int{502, 503}, ""},
		{"503", testupstream.Status(503, "Retry-After", "90"), []int{502, 503}, "90"},
		{"garbage", testupstream.Garbage, []int{502, 503}, ""},
		{"truncated", testupstream.Truncate, []int{502, 503}, ""},
		{"short", testupstream.Short, []int{502, 503}, ""},
		{"redirect loop", testupstream.Loop, []int{502, 503}, ""},
	}
	k := newKill(t, "")
	p, urls := k.start()
	defer func() {
		p.cmd.Process.Kill()
		<-p.exited
	}()
	url, ok := <-urls
	if !ok {
		t.Fatalf("server ended: %s", p.text())
	}
	relay := "/sumdb/" + k.up.Name
	for i, row := range rows {
		// Modules of its own for each row: absence is believed for a while.
		lookup, other := "/lookup/"+killPath(int64(i)), killPath(int64(100+i))
		for pattern, path := range map[string]string{
			"/sumdb/*" + lookup: lookup,         // the database, for an admission
			"*" + lookup:        relay + lookup, // the database, relayed
			"/" + strings.Replace(other, "@", "/@v/", 1) + ".*": "/lookup/" + other, // the module
		} {
			status := row.status
			if status[0] == 404 && strings.HasPrefix(pattern, "/sumdb/") {
				status = []int{503} // upstream has it
			}
			k.up.Fault(pattern, 0, row.fault)
			resp, err := killClient.Get(url + path)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if !slices.Contains(status, resp.StatusCode) || resp.Header.Get("Retry-After") != row.retry && row.retry != "" {
				t.Errorf("%s of %s: %s = %d %q, Retry-After %q, want %v", row.name, pattern, path, resp.StatusCode, body, resp.Header.Get("Retry-After"), status)
			}
			if c := resp.Header.Get("Cache-Control"); c != "no-store" {
				t.Errorf("%s: %s: Cache-Control %q", row.name, path, c)
			}
			k.up.Heal()
		}
	}
	if feed, err := fetchOK(url + "/index"); err != nil || feed != "" {
		t.Errorf("logged: %q, %v", feed, err)
	}
	if _, err := fetchOK(url + "/lookup/" + killPath(500)); err != nil {
		t.Errorf("after all of that: %v", err)
	}
	if n := len(k.up.Requests(fmt.Sprintf("/sumdb/*/lookup/%s", killPath(500)))); n != 1 {
		t.Errorf("%d lookups of a healthy module, want 1", n)
	}
}
