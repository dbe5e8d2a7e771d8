// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// source is a module whose packages end in each way that there is.
var source = map[string]string{
	"go.mod": "module m.example\n\ngo 1.21\n",
	"none/a.go": `package none
`,
	"good/a_test.go": `package good
import ("os"; "testing")
func TestOne(t *testing.T) { t.Run("sub", func(*testing.T) {}); t.Log("not shown") }
func TestLines(t *testing.T) { t.Log("not the reason"); t.Skip("no disk:\nmount: refused\n\tdmesg(1) may have more information") }
func TestApart(t *testing.T) { t.Run("a", wait); t.Run("b", wait) }
func wait(t *testing.T) { t.Parallel(); os.Stdout.WriteString("noise\n"); t.Skipf("reason of %s", t.Name()) }
`,
	"silent/a_test.go": `package silent
import "testing"
func TestSilent(t *testing.T) { t.SkipNow() }
`,
	"bad/a_test.go": `package bad
import "testing"
func TestGood(t *testing.T) { t.Log("of the good one") }
func TestBad(t *testing.T) { t.Log("first line"); t.Run("sub", func(t *testing.T) { t.Error("second line\nthird line") }) }
`,
	"dead/a_test.go": `package dead
import "testing"
func TestDead(t *testing.T) { t.Log("last words"); panic("of death") }
`,
	"unbuilt/a_test.go": `package unbuilt
var x int = "no number"
`,
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	for name, text := range source {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOWORK", "off")
	t.Setenv("GOFLAGS", "")
	for _, test := range []struct {
		pkgs       string
		ok         bool
		want, lack []string
	}{
		{"./good ./none", true, []string{
			`(?m)^ok    m\.example/good  .*, 3 passed, 3 skipped, 0 failed$`,
			`(?m)^skip    TestLines: no disk: mount: refused dmesg\(1\) may have more information$`,
			`(?m)^skip    TestApart/a: reason of TestApart/a$`,
			`(?m)^skip    TestApart/b: reason of TestApart/b$`,
			`(?m)^none  m\.example/none$`,
			`(?m)^total: 1 packages \(1 more have no tests\), 3 tests passed, 3 skipped, 0 failed, \d+s$`,
		}, []string{"not shown", "not the reason", "noise"}},
		{"./none", false, []string{`(?m)^total: 0 packages `}, nil},
		{"./... ./missing", false, []string{
			`(?m)^FAIL  \./missing `,
			`(?m)^ok    m\.example/good `,
			`(?m)^FAIL  m\.example/silent  .*, 0 passed, 1 skipped, 1 failed$`,
			`(?m)^skip    TestSilent: WITHOUT A REASON`,
			`(?m)^FAIL  m\.example/bad  .*, 1 passed, 0 skipped, 2 failed$`,
			`first line\n(.*\n)*.*second line\n +third line\n`,
			`(?m)^FAIL  m\.example/dead `,
			`last words\n(.*\n)*panic: of death`,
			`(?m)^FAIL  m\.example/unbuilt `,
			`cannot use "no number"`,
			`(?m)^total: 6 packages \(1 more have no tests\), 4 tests passed, 4 skipped, 4 failed, \d+s$`,
		}, []string{"of the good one", "PASS", "\nFAIL\n"}},
	} {
		t.Run(test.pkgs, func(t *testing.T) {
			var out strings.Builder
			if err := run(strings.Fields(test.pkgs), &out); (err == nil) != test.ok {
				t.Errorf("error %v", err)
			}
			for _, want := range test.want {
				if !regexp.MustCompile(want).MatchString(out.String()) {
					t.Errorf("no %s", want)
				}
			}
			for _, lack := range test.lack {
				if strings.Contains(out.String(), lack) {
					t.Errorf("it says %q", lack)
				}
			}
			if t.Failed() {
				t.Logf("it says:\n%s", out.String())
			}
		})
	}
}

// TestCutOff has a go command that ends before the tests do.
func TestCutOff(t *testing.T) {
	var out strings.Builder
	r := newReport(&out)
	events := `{"Action":"start","Package":"a"}
{"Action":"run","Package":"a","Test":"TestA"}
{"Action":"output","Package":"a","Test":"TestA","Output":"last words\n"}
neither an event
`
	if err := r.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	r.total(0)
	if r.err() == nil {
		t.Error("passed")
	}
	for _, want := range []string{"neither an event\n", "last words\nFAIL  a  did not end\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	}
}
