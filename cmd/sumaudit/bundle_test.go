// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.org/sumlog/internal/testauthority"
	"example.org/sumlog/witness/audit/gosum"
)

func TestBundle(t *testing.T) {
	d := newDesk(t)
	d.write("go.sum", d.sum(0, 1, 3, 255, 256, 299))
	d.want(0, d.online("bundle", "-o", "old.bundle")...)
	d.says("6 records")
	offline := []string{"verify", "-vkey", d.VKey(), "-policy", "policy"}
	d.want(0, append(offline, "-bundle", "old.bundle")...)
	d.says("sound: 12 ok; proven at size 600")
	d.want(0, d.online("bundle", "-reanchor", "old.bundle", "-o", "new.bundle")...)
	if !strings.Contains(d.err, "still at size 600") || d.read("new.bundle") != d.read("old.bundle") {
		t.Errorf("of a log that has not grown, a bundle is made anew: %s", d.err)
	}

	d.Grow(100)
	d.Publish()
	d.want(0, d.online("bundle", "-reanchor", "old.bundle", "-o", "new.bundle")...)
	d.want(0, append(offline, "-bundle", "new.bundle")...)
	d.says("sound: 12 ok; proven at size 700")
	d.want(0, d.online("bundle", "-reanchor", "new.bundle", "-o", "same.bundle")...)
	if !strings.Contains(d.err, "still at size 700") || d.read("same.bundle") != d.read("new.bundle") {
		t.Errorf("of a log that has not grown again, a bundle is made anew: %s", d.err)
	}
	d.Grow(1)
	d.Publish()
	d.want(0, d.online("bundle", "-reanchor", "new.bundle", "-o", "newer.bundle")...)
	d.want(0, append(offline, "-bundle", "newer.bundle")...)
	d.says("proven at size 701")

	other := testauthority.New(testauthority.Config{Name: "other.example"})
	d.want(1, "verify", "-vkey", other.VKey(), "-bundle", "new.bundle")
	d.says("not the key that is trusted")
	d.want(1, "bundle", "-vkey", other.VKey(), d.url, "-reanchor", "new.bundle", "-o", "x.bundle")
	d.says("not the key that is trusted")
	d.want(2, "verify", "-vkey", d.VKey(), d.url, "-bundle", "new.bundle")
	d.want(0, "verify", "-policy", "policy", "-bundle", "new.bundle") // it lists the log

	d.write("go.sum", d.sum(0, 2))
	d.want(1, append(offline, "-bundle", "new.bundle")...)
	d.says("go.sum:3: unchecked: ", "not in the bundle")

	d.write("go.sum", d.sum(0)+"example.com/none v1.0.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
	d.want(1, d.online("bundle", "-o", "part.bundle")...)
	d.says("1 of 2 module versions are not in the bundle")

	d.Break(testauthority.Fork)
	d.want(4, d.online("bundle", "-reanchor", "newer.bundle", "-o", "x.bundle")...)
	_, path, _ := strings.Cut(strings.TrimSpace(d.out), "evidence: ")
	d.want(4, "evidence", path)
}

// A log that has not grown, and an old checkpoint that does not count by the policy:
// to write the bundle unchanged would say that it does.
func TestReanchorUntrusted(t *testing.T) {
	d := newDesk(t)
	d.write("go.sum", d.sum(0))
	few := func(size int64) {
		note := d.Cosigned(size, time.Now(), 0).Bytes()
		d.Tamper(func(path string, _ url.Values, status int, body []byte) (int, []byte) {
			if strings.HasSuffix(path, "/checkpoint") {
				body = note
			}
			return status, body
		})
	}
	few(600)
	d.want(0, d.online("bundle", "-o", "old.bundle")...)
	d.Mend()
	d.want(5, d.online("bundle", "-policy", "policy", "-reanchor", "old.bundle", "-o", "new.bundle")...)
	d.says("still at size 600")

	d.Grow(1)
	d.Publish()
	few(601)
	d.want(0, d.online("bundle", "-reanchor", "old.bundle", "-o", "few.bundle")...)
	d.want(5, "verify", "-policy", "policy", "-bundle", "few.bundle")
	d.Mend()
	d.want(0, d.online("bundle", "-policy", "policy", "-reanchor", "few.bundle", "-o", "new.bundle")...)
	d.want(0, "verify", "-policy", "policy", "-bundle", "new.bundle")
}

func TestReport(t *testing.T) {
	d := newDesk(t)
	d.write("go.sum", d.sum(0, 1)+other(d.sum(2))+"example.com/none v1.0.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"+
		"private.example/x v1.0.0 h1:AAAA\n<<<<\n")
	args := d.online("verify", "-policy", "policy", "-private", "private.example", "-report", "report.json")
	d.want(3, args...)
	summary := d.out
	again := []string{"verify", "-vkey", d.VKey(), "-again", "report.json"}
	d.want(3, again...)
	if d.out != summary {
		t.Errorf("again:\n%s\nat first:\n%s", d.out, summary)
	}
	d.want(3, append(again, "-policy", "policy")...)
	report := d.read("report.json")
	for name, c := range map[string][2]string{
		"verdict":   {`"verdict": "mismatch"`, `"verdict": "ok"`},
		"outcome":   {`"outcome": "different"`, `"outcome": "sound"`},
		"hash":      {`"hash": "h1:`, `"hash": "h1:A`},
		"space":     {`"outcome": "different"`, `"outcome":  "different"`},
		"field":     {`"outcome": "different"`, `"outcome": "different", "more": 1`},
		"bundle":    {`records 3`, `records 2`},
		"size":      {`"size": 600`, `"size": 601`},
		"exception": {`"exceptions": 4`, `"exceptions": 0`},
		"given":     {`"given": "malformed"`, `"given": "ok"`},
	} {
		bad := strings.Replace(report, c[0], c[1], 1)
		if bad == report {
			t.Errorf("%s: no %q in the report", name, c[0])
		}
		d.write("bad.json", bad)
		if code := d.run("verify", "-vkey", d.VKey(), "-again", "bad.json"); code != 1 {
			t.Errorf("%s: exit code %d: %s", name, code, d.err)
		}
	}
	// Lines left out: not those of the file with that digest.
	var r gosum.Report
	if err := json.Unmarshal([]byte(report), &r); err != nil {
		t.Fatal(err)
	}
	var few []gosum.Item
	for _, i := range r.Lines {
		if i.Verdict == gosum.OK {
			few = append(few, i)
		}
	}
	r.Fill(few)
	data, err := r.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	d.write("bad.json", string(data))
	d.want(1, "verify", "-vkey", d.VKey(), "-again", "bad.json")
	d.says("its lines are not those of go.sum")

	d.write("go.sum", d.sum(0))
	d.want(3, again...)
	d.says("go.sum: changed since the report")

	d.write("bundle.sum", d.sum(0, 1))
	d.want(0, d.online("bundle", "-o", "b", "bundle.sum")...)
	d.want(0, "verify", "-vkey", d.VKey(), "-bundle", "b", "-report", "report.json", "bundle.sum")
	d.want(0, again...)
}

func TestProve(t *testing.T) {
	d := newDesk(t)
	name := d.Module(10).Version().String()
	d.want(0, d.online("prove", name, "-o", "p.tlog-proof")...)
	check := []string{"prove", "-vkey", d.VKey(), "-check", "p.tlog-proof"}
	d.want(0, append(check, name)...)
	if d.out != d.sum(10) {
		t.Errorf("it prints %q", d.out)
	}
	d.says("entry 10 at size 600 of " + d.Authority.Name() + "\n")
	d.want(0, "prove", "-policy", "policy", "-check", "p.tlog-proof", name)
	d.says("entry 10 at size 600 of " + d.Authority.Name() + "\n")
	d.write("head.tlog-proof", strings.Split(d.read("p.tlog-proof"), "\n\n")[0]+"\n\n"+string(d.TreeHead(600).Bytes()))
	d.want(0, "prove", "-vkey", d.VKey(), "-check", "head.tlog-proof", name)
	d.says("entry 10 at size 600 of " + d.Authority.Name() + "\n")
	d.write("go.sum", d.sum(9, 10, 11))
	d.want(0, append(check, "go.sum")...)
	d.want(0, append(check, "go.sum", name, "-policy", "policy")...)
	d.want(0, "prove", "-check", "p.tlog-proof", "-policy", "policy", "go.sum")
	d.write("other.sum", other(d.sum(10)))
	d.want(3, append(check, "other.sum")...)
	d.write("half.sum", strings.SplitAfter(d.sum(10), "\n")[0])
	d.want(1, append(check, "half.sum")...)
	d.write("empty.sum", "")
	d.want(1, append(check, "empty.sum", name)...)
	d.want(1, append(check, d.Module(9).Version().String())...)
	d.want(1, append(check, "go.sum", d.Module(9).Version().String())...)
	d.want(2, check...)
	d.want(1, "prove", "-vkey", testauthority.New(testauthority.Config{Name: "other.example"}).VKey(), "-check", "p.tlog-proof", name)
	d.want(1, d.online("prove", "example.com/none@v1.0.0")...)
	d.want(2, d.online("prove", "example.com/none")...)
	d.want(2, d.online("prove")...)
}
