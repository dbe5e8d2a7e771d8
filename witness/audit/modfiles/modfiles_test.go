// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package modfiles

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"go/build/constraint"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"

	"example.org/sumlog/witness/audit/gosum"
)

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// writeZip makes the zip of a module and returns its hash.
func writeZip(t testing.TB, name string, m module.Version, files map[string]string) string {
	t.Helper()
	write(t, name, "")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for file, text := range files {
		w, err := z.Create(m.Path + "@" + m.Version + "/" + file)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, text)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	h, err := dirhash.HashZip(name, dirhash.Hash1)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestCache(t *testing.T) {
	dir := t.TempDir()
	m := module.Version{Path: "m.example/Big", Version: "v1.0.0"}
	files := map[string]string{"go.mod": "module m.example/Big\n", "a/a.go": "package a\n"}
	download := filepath.Join(dir, "cache", "download", "m.example", "!big", "@v")
	h1 := writeZip(t, filepath.Join(download, "v1.0.0.zip"), m, files)
	write(t, filepath.Join(download, "v1.0.0.mod"), files["go.mod"])
	write(t, filepath.Join(download, "v1.0.0.ziphash"), "h1:not to be believed")
	write(t, filepath.Join(download, "v1.0.1.zip"), "no zip")
	write(t, filepath.Join(download, "main.mod"), "of no version")
	write(t, filepath.Join(dir, "cache", "download", "sumdb", "m.example", "@v", "v1.0.0.mod"), "not a module's")
	for name, text := range files {
		write(t, filepath.Join(dir, "m.example", "!big@v1.0.0", filepath.FromSlash(name)), text)
	}
	write(t, filepath.Join(dir, "m.example", "!big@v1.0.0", "x@v1.0.0", "a.go"), "changed")

	claims, err := Cache(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range claims {
		rel, _ := filepath.Rel(dir, c.File)
		is := map[bool]string{true: "logged", false: "other"}[c.Hash == h1]
		if c.Given != "" {
			is = string(c.Given)
		}
		got = append(got, fmt.Sprintf("%s %s %s", rel, c.Name(), is))
	}
	want := []string{
		"cache/download/m.example/!big/@v/v1.0.0.mod m.example/Big@v1.0.0/go.mod other",
		"cache/download/m.example/!big/@v/v1.0.0.zip m.example/Big@v1.0.0 logged",
		"cache/download/m.example/!big/@v/v1.0.1.zip m.example/Big@v1.0.1 malformed",
		"m.example/!big@v1.0.0 m.example/Big@v1.0.0 other",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if h, err := hashMod(filepath.Join(download, "v1.0.0.mod"), m); err != nil || claims[0].Hash != h {
		t.Error(h, err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "m.example", "!big@v1.0.0", "x@v1.0.0")); err != nil {
		t.Fatal(err)
	}
	if claims, err = Cache(t.Context(), dir, nil); err != nil || claims[3].Hash != h1 {
		t.Errorf("an extracted directory: %+v, %v", claims[3], err)
	}
	if _, err := Cache(t.Context(), t.TempDir(), nil); err == nil {
		t.Error("an empty directory is a sound cache")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Cache(ctx, dir, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// What a go command would follow, and a walk does not, is said: behind a link there
// may be any other code. A pipe or a device is not read.
func TestCacheIrregular(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "cache/download/m.example/a/@v/v1.0.0.mod"), "module m.example/a\n")
	write(t, filepath.Join(dir, "m.example/pipe@v1.0.0/a.go"), "package a\n")
	write(t, filepath.Join(other, "a.go"), "package evil\n")
	if err := syscall.Mkfifo(filepath.Join(dir, "m.example/pipe@v1.0.0/b.go"), 0o600); err != nil {
		t.Skip(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "cache/download/m.example/a/@v/v1.0.1.mod"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"m.example/a@v1.0.0", "github.com", "cache/download/b.example"} {
		if err := os.Symlink(other, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("v1.0.0.mod", filepath.Join(dir, "cache/download/m.example/a/@v/v1.0.2.mod")); err != nil {
		t.Fatal(err)
	}
	claims, err := Cache(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range claims {
		rel, _ := filepath.Rel(dir, c.File)
		got = append(got, fmt.Sprintf("%s %s", rel, c.Given))
	}
	want := []string{
		"cache/download/b.example unchecked",
		"cache/download/m.example/a/@v/v1.0.0.mod ",
		"cache/download/m.example/a/@v/v1.0.1.mod unchecked",
		"cache/download/m.example/a/@v/v1.0.2.mod ",
		"github.com unchecked",
		"m.example/a@v1.0.0 unchecked",
		"m.example/pipe@v1.0.0 malformed",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// A go command that has run a toolchain has copied its files _go.mod to go.mod.
func TestCacheToolchain(t *testing.T) {
	dir := t.TempDir()
	m := module.Version{Path: "golang.org/toolchain", Version: "v0.0.1-go1.21.0.linux-amd64"}
	root := filepath.Join(dir, m.String())
	files := map[string]string{"src/_go.mod": "module std\n", "src/a.go": "package a\n"}
	h1 := writeZip(t, filepath.Join(dir, "a.zip"), m, files)
	for name, text := range files {
		write(t, filepath.Join(root, name), text)
	}
	check := func(when string, want bool) {
		t.Helper()
		h, err := hashDir(root, m)
		if err != nil || (h == h1) != want {
			t.Errorf("%s: logged %v, want %v; %v", when, h == h1, want, err)
		}
	}
	check("extracted", true)
	other := module.Version{Path: "m.example/a", Version: m.Version}
	plain, err := hashDir(root, other)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "src/go.mod"), files["src/_go.mod"])
	check("run", true)
	if h, err := hashDir(root, other); err != nil || h == plain {
		t.Errorf("of another module: a go.mod that was added is left out; %v", err)
	}
	write(t, filepath.Join(root, "src/go.mod"), "module evil\n")
	check("another go.mod", false)
	write(t, filepath.Join(root, "src/go.mod"), files["src/_go.mod"])
	write(t, filepath.Join(root, "go.mod"), "module evil\n")
	check("a go.mod of nothing", false)
}

// A file that inflates to more than go commands extract is not inflated.
func TestZipBomb(t *testing.T) {
	m := module.Version{Path: "m.example/a", Version: "v1.0.0"}
	name := filepath.Join(t.TempDir(), "a.zip")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	w, err := z.CreateRaw(&zip.FileHeader{Name: m.String() + "/a", Method: zip.Deflate, UncompressedSize64: 1 << 40, CompressedSize64: 4})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "abcd")
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if h, err := HashZip(name, m); err == nil || !strings.Contains(err.Error(), "large") {
		t.Errorf("hash %s, %v", h, err)
	}
}

const modulesTxt = `# m.example/a v1.0.0
## explicit; go 1.20
m.example/a
m.example/a/b
# m.example/a/nested v1.2.0 => m.example/fork v1.3.0
## explicit
m.example/a/nested/p
# m.example/local v0.0.0 => ../local
## explicit
m.example/local
# m.example/unused v1.0.0 => m.example/other v1.0.0
`

// A vendorRig is a vendor directory, and the zips that it was made from.
type vendorRig struct {
	testing.TB
	dir, zips string
	hashes    map[module.Version]string
}

func newVendorRig(t testing.TB) *vendorRig {
	dir, zips := t.TempDir(), t.TempDir()
	a := module.Version{Path: "m.example/a", Version: "v1.0.0"}
	fork := module.Version{Path: "m.example/fork", Version: "v1.3.0"}
	hashes := map[module.Version]string{
		a: writeZip(t, filepath.Join(zips, "a"), a, map[string]string{
			"go.mod": "module m.example/a\n", "LICENSE": "mine\n", "a.go": "package a\n", "a_test.go": "package a\n", "asm.s": "NOP\n",
			"gen.go": "//go:build ignore\n\npackage main\n", "linux.go": "//go:build linux && !ignore\n\npackage a\n",
			"b/b.go": "package b\n", "b/data/x.txt": "x\n", "c/c.go": "package c\n",
		}),
		fork: writeZip(t, filepath.Join(zips, "fork"), fork, map[string]string{"p/p.go": "package p\n", "LICENSE": "theirs\n"}),
	}
	files := map[string]string{
		"modules.txt": modulesTxt, "m.example/a/LICENSE": "mine\n", "m.example/a/a.go": "package a\n", "m.example/a/asm.s": "NOP\n",
		"m.example/a/linux.go": "//go:build linux && !ignore\n\npackage a\n", "m.example/a/b/b.go": "package b\n", "m.example/a/b/data/x.txt": "x\n",
		"m.example/a/nested/LICENSE": "theirs\n", "m.example/a/nested/p/p.go": "package p\n", "m.example/local/l.go": "package l\n",
	}
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	return &vendorRig{t, dir, zips, hashes}
}

func (r *vendorRig) find(_ context.Context, m module.Version, _ string) (string, string, error) {
	name := filepath.Join(r.zips, filepath.Base(m.Path))
	h, err := HashZip(name, m)
	return name, h, err
}

func (r *vendorRig) want(m module.Version) (string, gosum.Verdict, string) {
	return r.hashes[m], gosum.OK, ""
}

// check compares the claims that do not hold with lines.
func (r *vendorRig) check(lines ...string) {
	r.Helper()
	v, err := OpenVendor(r.dir)
	if err != nil {
		r.Fatal(err)
	}
	claims, err := v.Claims(r.Context(), r.want, r.find)
	if err != nil {
		r.Fatal(err)
	}
	var got []string
	for _, c := range claims {
		rel, _ := filepath.Rel(r.dir, c.File)
		if c.Line > 0 {
			rel = fmt.Sprintf("%s:%d", rel, c.Line)
		}
		switch {
		case c.Given != "":
			got = append(got, fmt.Sprintf("%s %s %s", rel, c.Given, c.Why))
		case c.Hash != r.hashes[module.Version{Path: c.Path, Version: c.Version}]:
			got = append(got, rel+" hash")
		}
	}
	lines = append(lines, `modules.txt:8 note replaced by the directory "../local"`)
	slices.Sort(got)
	slices.Sort(lines)
	if d := cmp.Diff(lines, got); d != "" {
		r.Error(d)
	}
}

func TestVendor(t *testing.T) {
	r := newVendorRig(t)
	dir, check := r.dir, r.check
	check()
	write(t, filepath.Join(dir, "m.example/a/a.go"), "package b\n")
	check("m.example/a/a.go mismatch not the file of the logged zip")
	if err := os.Remove(filepath.Join(dir, "m.example/a/a.go")); err != nil {
		t.Fatal(err)
	}
	check("m.example/a/a.go mismatch missing, and in the logged zip")
	if err := os.Symlink("/dev/null", filepath.Join(dir, "m.example/a/a.go")); err != nil {
		t.Fatal(err)
	}
	check("m.example/a/a.go mismatch missing, and in the logged zip", "m.example/a/a.go mismatch not a regular file")
	os.Remove(filepath.Join(dir, "m.example/a/a.go"))
	write(t, filepath.Join(dir, "m.example/a/a.go"), "package a\n")
	write(t, filepath.Join(dir, "m.example/a/c/c.go"), "package c\n") // of the zip, and not listed
	write(t, filepath.Join(dir, "m.example/stray/s.go"), "package s\n")
	check("m.example/stray/s.go mismatch of none of the modules in modules.txt")
	os.RemoveAll(filepath.Join(dir, "m.example/stray"))
	for m := range r.hashes {
		if m.Path == "m.example/fork" {
			r.hashes[m] = "h1:other"
		}
	}
	write(t, filepath.Join(dir, "m.example/a/nested/p/p.go"), "package q\n")
	check("modules.txt:5 hash") // its files were compared with nothing, then
}

func TestModulesTxt(t *testing.T) {
	for _, text := range []string{
		"m.example/a\n", "# a b c d\n", "# m.example/a v1\nm.example/b\n", "# m.example/a v1\n../x\n", "# m.example/a v1\nm.example/a\nm.example/a\n",
		"# m.example/a v1\nm.example/ab\n", "# \n",
		"# m.example/a v1.0.0\nm.example/a\n# m.example/a v1.1.0\nm.example/a/b\n",
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "modules.txt"), text)
		if _, err := OpenVendor(dir); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func FuzzModulesTxt(f *testing.F) {
	f.Add([]byte(modulesTxt))
	f.Add([]byte("# a => b\na\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		write(t, filepath.Join(dir, "modules.txt"), string(data))
		v, err := OpenVendor(dir)
		if err != nil {
			return
		}
		for _, m := range v.modules {
			for _, p := range m.packages {
				if !within(p, m.path) {
					t.Fatalf("%q of %q", p, m.path)
				}
			}
		}
	})
}

// What the go command decides with all tags both on and off, but for ignore.
func TestPossible(t *testing.T) {
	for line, want := range map[string]bool{
		"//go:build ignore": false, "//go:build !ignore": true, "//go:build linux": true, "//go:build linux && !linux": true,
		"//go:build ignore && linux": false, "//go:build ignore || linux": true, "//go:build !(ignore || linux)": true,
		"// +build ignore": false, "//go:build !(!ignore)": false,
	} {
		x, err := constraint.Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		if got := possible(x, true); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

func TestDependency(t *testing.T) {
	sum := "h1:" + strings.Repeat("A", 43) + "="
	for _, c := range []struct {
		m    debug.Module
		want string
	}{
		{debug.Module{Path: "m.example/a", Version: "v1.0.0", Sum: sum}, " m.example/a@v1.0.0"},
		{debug.Module{Path: "m.example/a", Version: "v1.0.0", Sum: "h2:x"}, "malformed m.example/a@v1.0.0"},
		{debug.Module{Path: "m.example/a", Version: "v1.0.0"}, "unchecked m.example/a@v1.0.0"},
		{debug.Module{Path: "m.example/a", Version: "v1.0.0", Replace: &debug.Module{Path: "m.example/b", Version: "v1.1.0", Sum: sum}}, " m.example/b@v1.1.0"},
		{debug.Module{Path: "m.example/a", Version: "v1.0.0", Sum: sum, Replace: &debug.Module{Path: "../b"}}, "note m.example/a@v1.0.0"},
		{debug.Module{Path: "m.example/a", Version: "v1.0.0", Replace: &debug.Module{Path: "../b", Version: "(devel)"}}, "note m.example/a@v1.0.0"},
		{debug.Module{Path: "m.example/a", Version: "v1.0.0", Replace: &debug.Module{Path: "../b", Version: "(devel)", Sum: sum}}, "unchecked ../b@(devel)"},
		{debug.Module{Path: "m.example/a", Version: "(devel)"}, "note m.example/a@(devel)"},
		{debug.Module{Path: "m.example/a", Version: "(devel)", Sum: sum}, "unchecked m.example/a@(devel)"},
		{debug.Module{Path: "m.example/a", Version: "v1.0.0+dirty", Sum: sum}, "unchecked m.example/a@v1.0.0+dirty"},
		{debug.Module{Path: "m.example/a", Version: "", Sum: sum}, "unchecked m.example/a"},
		{debug.Module{Path: "../a", Version: "v1.0.0", Sum: sum}, "unchecked ../a@v1.0.0"},
	} {
		got := dependency(c.m)
		if s := fmt.Sprintf("%s %s", got.Given, got.Name()); s != c.want {
			t.Errorf("%+v: %q, want %q", c.m, s, c.want)
		}
	}
	for version, want := range map[string]gosum.Verdict{
		"(devel)": gosum.Note, "": gosum.Note, "v1.0.0": gosum.Note, "v1.0.0+dirty": gosum.Note, "v0.0.0-20260102030405-0123456789ab+dirty": gosum.Note,
	} {
		if c := mainModule(debug.Module{Path: "m.example/a", Version: version}); c.Given != want {
			t.Errorf("main module of version %s: %s", version, c.Given)
		}
	}
	if c := mainModule(debug.Module{Path: "m.example/a", Version: "v1.0.0", Sum: sum}); c.Given != "" {
		t.Errorf("an installed main module: %+v", c)
	}
	if c := mainModule(debug.Module{Path: "m.example/a", Version: "v1.0.0", Sum: "h2:x"}); c.Given != gosum.Malformed {
		t.Errorf("a main module with another hash: %+v", c)
	}
}

func TestBinary(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	claims, err := Binary(exe)
	if err != nil || len(claims) == 0 || claims[0].Path != "go" || claims[0].Given != gosum.Toolchain {
		t.Errorf("%v, %v", claims, err)
	}
	write(t, filepath.Join(t.TempDir(), "x"), "no binary")
	if _, err := Binary(filepath.Join(t.TempDir(), "x")); err == nil {
		t.Error("a text is a binary")
	}
}
