// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package sumfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	modzip "golang.org/x/mod/zip"
)

func TestParse(t *testing.T) {
	file := strings.Join([]string{
		"m.example/a v1.0.0 h1:A=",
		"  m.example/a\tv1.0.0/go.mod   h1:B=\r",
		"",
		"m.example/b v1.0.0-rc.1+incompatible h2:C",
		"m.example/c v1.0.0/go.mod " + emptyGoMod,
		"m.example/c v1.0.0 " + emptyGoMod,
		"none none " + emptyGoMod,
		"m.example/\xff v1.0.0 " + emptyGoMod,
		"m.example/c v1.0.0",
		"m.example/c 1.0.0 h1:D=",
		"m.example/c v1.0 h1:D=",
		"nodot v1.0.0 h1:D=",
		"m.example/c v1.0.0 D=",
		"m.example/c v1.0.0/../.. h1:D=",
		"m.example/c v1.0.0 :D=",
		"m.example/\xff v1.0.0 h1:D=",
		"m.example/d v1.0.0 h1:" + strings.Repeat("x", MaxLine),
		strings.Repeat(" ", MaxLine+1),
		"m.example/e v1.0.0 h1:E=",
	}, "\n")
	lines, err := Parse([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range lines {
		if l.Err != nil {
			got = append(got, fmt.Sprintf("%d: %v", l.Number, l.Err))
			continue
		}
		got = append(got, fmt.Sprintf("%d: %s %s %v %s", l.Number, l.Path, l.Version, l.Mod, l.Hash))
	}
	want := []string{
		"1: m.example/a v1.0.0 false h1:A=", "2: m.example/a v1.0.0 true h1:B=", "4: m.example/b v1.0.0-rc.1+incompatible false h2:C",
		"9: 2 fields, where a line has module, version and hash", `10: "1.0.0" is no version`, `11: "v1.0" is no version`,
		`12: "nodot" is no module path`, `13: "D=" is no hash`, `14: "v1.0.0/../.." is no version`, `15: ":D=" is no hash`, "16: not UTF-8",
		"17: more than 65536 bytes", "19: m.example/e v1.0.0 false h1:E=",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := Parse(make([]byte, MaxFile+1)); err == nil {
		t.Error("a file without end is parsed")
	}
	if _, err := Parse([]byte(strings.Repeat("x\n", MaxLines+1))); err == nil {
		t.Error("lines without end are parsed")
	}
}

// reference is what the go command does (cmd/go/internal/modfetch, readGoSum). It
// returns the number of the line where it stops, 0 if it does not.
func reference(data []byte) (hashes map[module.Version][]string, stop int) {
	hashes = make(map[module.Version][]string)
	for i, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case len(f) != 3:
			return hashes, i + 1
		case f[2] != "h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY=":
			m := module.Version{Path: f[0], Version: f[1]}
			hashes[m] = append(hashes[m], f[2])
		}
	}
	return hashes, 0
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("m.example/a v1.0.0 h1:A=\nm.example/a v1.0.0/go.mod h1:B=\n"))
	f.Add([]byte("m.example/a v1.0.0/go.mod h9\n\x00 \xff x\n\u00a0a\u2003b\u0085c\r\n"))
	f.Add([]byte("m.example/a v1.0.0 " + emptyGoMod + "\n\n \t\n<<<<<<<\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > MaxLine {
			return
		}
		lines, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		want, stop := reference(data)
		got := make(map[module.Version][]string)
		for _, l := range lines {
			if errors.Is(l.Err, ErrFields) {
				if l.Number != stop {
					t.Fatalf("stops at %d, and a go command at %d", l.Number, stop)
				}
				return
			}
			m := module.Version{Path: l.Path, Version: l.Version}
			if l.Mod {
				m.Version += "/go.mod"
			}
			if l.Err == nil {
				got[m] = append(got[m], l.Hash)
			} else {
				delete(want, m) // nothing that a go command asks for
			}
		}
		if stop != 0 {
			t.Fatalf("a go command stops at %d", stop)
		}
		for m, hashes := range got {
			if !slices.Equal(hashes, want[m]) && want[m] != nil {
				t.Fatalf("%v: %q, and of a go command %q", m, hashes, want[m])
			}
		}
		for m, hashes := range want {
			if got[m] == nil && utf8.Valid(data) && module.Check(m.Path, strings.TrimSuffix(m.Version, "/go.mod")) == nil && strings.HasPrefix(hashes[0], "h1:") {
				t.Fatalf("%v is missing", m)
			}
		}
	})
}

// TestGoCommand has the real go command read files, and compares what comes of it with
// what this package says is in them.
func TestGoCommand(t *testing.T) {
	dir := t.TempDir()
	zip, mod := writeModule(t, filepath.Join(dir, "proxy"))
	const other = "h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	const a, aMod = "m.example/a v1.0.0 ", "m.example/a v1.0.0/go.mod "
	good := a + zip + "\n" + aMod + mod + "\n"
	for i, file := range []string{
		good,
		strings.ReplaceAll(good, "\n", "\r\n"),
		"\n \t\n" + strings.ReplaceAll(good, " ", "\t \u00a0") + "\n\v\n",
		strings.TrimSuffix(good, "\n"),
		a + other + "\n" + aMod + mod + "\n",
		a + zip + "\n" + aMod + other + "\n",
		a + other + "\n" + good,
		good + a + other + "\n",
		a + emptyGoMod + "\n" + aMod + mod + "\n",
		a + zip + "\n" + aMod + emptyGoMod + "\n",
		good + aMod + emptyGoMod + "\n" + a + emptyGoMod + "\n",
		a + "h2:other\n" + good,
		a + "h2:other\n" + aMod + mod + "\n",
		a + zip + "\n" + aMod + "nohash\n",
		good + "not/a/path v1.0.0 " + other + "\n" + a[:len(a)-3] + other + "\n",
		"m.example/\xff v1.0.0 " + emptyGoMod + "\n" + good + "m.example/\xff v1.0.0 " + other + "\n",
		good + a + "\n",
		"<<<<<<< HEAD\n" + good,
		good + a + zip + " more\n",
		emptyGoMod + "\n" + good,
		"",
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			lines, err := Parse([]byte(file))
			if err != nil {
				t.Fatal(err)
			}
			want := outcome(lines, zip, mod)
			out := goList(t, filepath.Join(dir, "proxy"), file)
			if !strings.Contains(out, want) {
				t.Errorf("%q\nthe go command says %s, want %q", file, out, want)
			}
		})
	}
}

// outcome is what a go command that needs m.example/a says, if lines are what it reads.
func outcome(lines []Line, zip, mod string) string {
	for _, l := range lines {
		if errors.Is(l.Err, ErrFields) {
			return fmt.Sprintf("go.sum:%d: wrong number of fields", l.Number)
		}
	}
	first := func(mod bool) string { // which decides
		for _, l := range lines {
			if l.Err == nil && l.Path == "m.example/a" && l.Version == "v1.0.0" && l.Mod == mod && l.H1() {
				return l.Hash
			}
		}
		return ""
	}
	switch {
	case first(false) == "" || first(true) == "":
		return "missing go.sum entry"
	case first(false) != zip || first(true) != mod:
		return "checksum mismatch"
	}
	return "m.example/a\n"
}

// goList has the go command load a package that needs both hashes.
func goList(t *testing.T, proxy, sum string) string {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module m.example/user\n\ngo 1.21\n\nrequire m.example/a v1.0.0\n",
		"m.go":   "package m\n\nimport _ \"m.example/a\"\n",
		"go.sum": sum,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly -modcacherw", "GOPROXY=file://"+filepath.ToSlash(proxy), "GOSUMDB=off", "GOENV=off",
		"GONOPROXY=none", "GOPRIVATE=", "GOWORK=off", "GOTOOLCHAIN=local", "GOMODCACHE="+filepath.Join(dir, "cache"), "PWD="+dir)
	out, _ := cmd.CombinedOutput() // its failure is what is compared
	return string(out)
}

// writeModule writes m.example/a as a module proxy has it, and returns its hashes.
func writeModule(t *testing.T, proxy string) (zip, mod string) {
	dir := filepath.Join(proxy, "m.example", "a", "@v")
	src := t.TempDir()
	text := []byte("module m.example/a\n")
	write := func(name string, data []byte) {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(src, "go.mod"), text)
	write(filepath.Join(src, "a.go"), []byte("package a\n"))
	var b bytes.Buffer
	if err := modzip.CreateFromDir(&b, module.Version{Path: "m.example/a", Version: "v1.0.0"}, src); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "v1.0.0.zip")
	write(file, b.Bytes())
	write(filepath.Join(dir, "v1.0.0.mod"), text)
	write(filepath.Join(dir, "v1.0.0.info"), []byte(`{"Version":"v1.0.0"}`))
	zip, err := dirhash.HashZip(file, dirhash.Hash1)
	if err != nil {
		t.Fatal(err)
	}
	mod, err = dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(text)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return zip, mod
}
