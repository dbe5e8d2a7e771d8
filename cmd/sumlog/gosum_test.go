// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"

	"example.org/sumlog/internal/sumfile"
	"example.org/sumlog/log"
)

const (
	hashA = "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	hashB = "h1:DmRZvz1i3dBjrCgsUU6pElBc6meYjZ7osAfa7EfXgpA="
)

func TestParseGoSum(t *testing.T) {
	data := "example.com/A v1.0.0 " + hashA + "\n" +
		"example.com/A v1.0.0/go.mod " + hashB + "\n" +
		"\n" +
		"example.com/A v1.0.0 h2:something\n" +
		"example.com/A v1.0.0/go.mod h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY=\n" +
		"example.com/b v2.0.0+incompatible/go.mod " + hashA // no newline at the end
	s, err := parseGoSum("go.sum", []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	claims := s.claims
	if s.other != 1 || len(s.bad) > 0 {
		t.Errorf("%d lines with other hashes, want 1, and %q malformed", s.other, s.bad)
	}
	a, b := module.Version{Path: "example.com/A", Version: "v1.0.0"}, module.Version{Path: "example.com/b", Version: "v2.0.0+incompatible"}
	want := []claim{
		{"go.sum:1", a, false, hashA},
		{"go.sum:2", a, true, hashB},
		{"go.sum:6", b, true, hashA},
	}
	if fmt.Sprint(claims) != fmt.Sprint(want) {
		t.Errorf("claims %v, want %v", claims, want)
	}
	list := wishes(claims)
	if len(list) != 2 || list[0].mod != a || !list[0].zip || len(list[0].claims) != 2 || list[1].mod != b || list[1].zip {
		t.Errorf("wishes %v", list)
	}
	if err := list[0].mismatches(log.Record{Module: a, Zip: hashA, Mod: hashB}, "the log"); err != nil {
		t.Errorf("a file that agrees with the log: %v", err)
	}
	err = list[0].mismatches(log.Record{Module: a, Zip: hashB, Mod: hashA}, "the log")
	if err == nil || strings.Count(err.Error(), "MISMATCH") != 2 || !strings.Contains(err.Error(), "go.sum:2: example.com/A@v1.0.0/go.mod") {
		t.Errorf("a file that does not: %v", err)
	}
}

func TestParseGoSumRefuses(t *testing.T) {
	for _, line := range []string{
		"example.com/a v1.0.0",
		"example.com/a v1.0.0 " + hashA + " more",
		"example.com/a v1.0.0 h1:short",
		"example.com/a v1.0.0 nohash",
		"example.com/a v1.0 " + hashA,
		"example.com/a main " + hashA,
		"example.com/a v1.0.0/go.sum " + hashA,
		"../a v1.0.0 " + hashA,
		"localhost v1.0.0 " + hashA,
		"example.com/a v2.0.0 " + hashA,
		"example.com/" + strings.Repeat("a", sumfile.MaxLine) + " v1.0.0 " + hashA,
	} {
		good := "example.com/good v1.0.0 " + hashA + "\n"
		s, err := parseGoSum("go.sum", []byte("\n"+line+"\n"+good))
		if err != nil || len(s.bad) != 1 || len(s.claims) != 1 || s.claims[0].where != "go.sum:3" {
			t.Errorf("parseGoSum(%.80q) = %v, %v", line, s, err)
		} else if !strings.HasPrefix(s.bad[0].Error(), "go.sum:2: ") {
			t.Errorf("parseGoSum(%.80q): %v, which does not say where", line, s.bad[0])
		}
	}
	// What a malformed line would have said of the hash could have kept this out.
	s, err := parseGoSum("go.sum", []byte("example.com/a v1.0.0/go.mod "+hashA+"\nexample.com/a v1.0.0 h1:short\n"))
	if err != nil || len(s.claims) != 0 || len(s.bad) != 1 {
		t.Errorf("a version that a malformed line names: %v, %v", s, err)
	}
}

// FuzzParseGoSum checks that what is accepted could be in a log.
func FuzzParseGoSum(f *testing.F) {
	f.Add([]byte("example.com/a v1.0.0 " + hashA + "\nexample.com/a v1.0.0/go.mod " + hashB + "\n"))
	f.Add([]byte("example.com/a v1.0.0 h2:x\n\n \t\n"))
	f.Add([]byte("example.com/A v0.0.0-20260102030405-0123456789ab " + hashA))
	f.Add([]byte("\x00 \xff h1:"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseGoSum("go.sum", data)
		if err != nil {
			return
		}
		for _, w := range wishes(s.claims) {
			rec := log.Record{Module: w.mod, Zip: hashA, Mod: hashA}
			for _, c := range w.claims {
				rec.Zip, rec.Mod = c.hash, c.hash
				if c.of(rec) != c.hash {
					t.Errorf("%v is not of its own record", c)
				}
			}
			if _, err := log.ParseRecord(rec.Text()); err != nil {
				t.Errorf("accepted %v: %v", w.mod, err)
			}
		}
	})
}

func TestReadCache(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"example.com/!a/@v/v1.0.0.mod":                    "module example.com/A\n",
		"example.com/!a/@v/v1.0.0.ziphash":                hashA,
		"example.com/!a/@v/v1.0.0.zip":                    "not read",
		"example.com/!a/@v/v1.1.0.info":                   "{}",
		"example.com/!a/@v/main.mod":                      "module example.com/A\n",
		"example.com/!a/@v/v1.2.0.ziphash":                "", // cut short
		"example.com/!a/@v/v1.3.0.mod-tmp-1":              "module",
		"example.com/!a/@v/list":                          "v1.0.0\n",
		"sumdb/sum.test/lookup/example.com/!a@v1.0.0":     "x",
		"sumdb/sum.test/lookup/example.com/@v/v1.0.0.mod": "x",
		"vcs/0123/@v/x.mod":                               "x",
	} {
		file := filepath.Join(dir, "cache", "download", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, arg := range []string{dir, filepath.Join(dir, "cache", "download")} {
		s, err := readClaims(arg)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range s.claims {
			got = append(got, fmt.Sprintln(c.mod, c.isMod, c.hash))
		}
		want := []string{
			fmt.Sprintln("example.com/A@v1.0.0", true, "h1:XzaavtGRsZ4RqEhubkNxMeZjT5sGPgbcJQvZsEPiKnA="),
			fmt.Sprintln("example.com/A@v1.0.0", false, hashA),
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("claims of %s:\n%s\nwant\n%s", arg, strings.Join(got, ""), strings.Join(want, ""))
		}
	}
}
