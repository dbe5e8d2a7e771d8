// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"pgregory.net/rapid"

	"example.org/sumlog/internal/testupstream"
)

// TestResolution asks the go command what it resolves, once with an upstream as its
// proxy and once through sumlog in front of that upstream: the answers must be the
// same. The modules are of all kinds that are known to be difficult, and of kinds
// made up at random; the upstream is a proxy that has @latest for some modules only,
// and then a file tree, which has none.
func TestResolution(t *testing.T) {
	t.Parallel()
	made, long := 24, os.Getenv("CI") == "true"
	if long {
		made = 100
	}
	seed := rand.IntN(1 << 30)
	t.Logf("seed %d", seed)
	mods := difficult(long)
	for i := range made {
		mods = append(mods, anyModule(i).Example(seed+i))
	}
	proxied, filed := fstest.MapFS{}, fstest.MapFS{}
	for _, m := range mods {
		if m.filed {
			m.write(filed)
		} else {
			m.write(proxied)
		}
	}
	up, err := testupstream.New("sum.example.net", proxied)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Stop)
	for _, m := range mods {
		escaped, err := module.EscapePath(m.path)
		if err != nil {
			t.Fatal(err)
		}
		if !m.latest {
			up.Fault("/"+escaped+"/@latest", 0, testupstream.Status(404))
		}
	}
	dir := t.TempDir()
	files, err := testupstream.New("sum.example.net", filed)
	if err != nil {
		t.Fatal(err)
	}
	files.Stop()
	if err := files.Export(dir); err != nil {
		t.Fatal(err)
	}
	upstream := up.URL + ",file://" + dir
	j := newJudge(t, upstream, serveNew(t, "-upstream", upstream, "-sumdb", "off"))
	for _, m := range mods {
		j.add(m.path, m.current)
	}
	j.lists()
	j.tidy(j.paths)
}

// A madeModule is a module as an upstream has it.
type madeModule struct {
	path     string
	current  string // required by who asks; "": none
	latest   bool   // the upstream has an @latest
	filed    bool   // in the file tree
	versions []madeVersion
}

type madeVersion struct {
	version string
	gomod   string // of the zip; "": it has none
	lines   string // in the list; "": not listed
	time    time.Time
}

// write adds m to the tree of an upstream.
func (m madeModule) write(tree fstest.MapFS) {
	for _, v := range m.versions {
		dir := m.path + "@" + v.version
		file := func(name, text string) { tree[dir+"/"+name] = &fstest.MapFile{Data: []byte(text)} }
		file("m.go", "package m\n")
		if v.gomod != "" {
			file("go.mod", v.gomod)
		}
		if v.lines != "" {
			file(".list", v.lines)
		} else {
			file(".unlisted", "")
		}
		if !v.time.IsZero() {
			file(".info", fmt.Sprintf(`{"Version":%q,"Time":%q,"Origin":{"VCS":"git","URL":"https://%s","Hash":"%040x"}}`,
				v.version, v.time.Format(time.RFC3339), m.path, v.time.Unix()))
		}
	}
}

// Pseudo-versions in the order of their times, which is not that of semver.
const (
	pseudoA = "v0.0.0-20200101000000-aaaaaaaaaaaa"
	pseudoB = "v0.0.0-20240101000000-bbbbbbbbbbbb"
	pseudoC = "v1.2.1-0.20180101000000-cccccccccccc"
	pseudoD = "v1.2.0-rc.1.0.20250101000000-dddddddddddd"
)

// difficult are the modules of the kinds that some proxy once got wrong: with @latest,
// without, and in the file tree. Not all of them need be there three times.
func difficult(all bool) []madeModule {
	type vs = []madeVersion
	plain := func(versions ...string) (list vs) {
		for _, v := range versions {
			list = append(list, madeVersion{version: v, gomod: "-", lines: v + "\n"})
		}
		return list
	}
	with := func(list vs, i int, change func(v *madeVersion)) vs {
		change(&list[i])
		return list
	}
	retract := func(what string) func(v *madeVersion) {
		return func(v *madeVersion) { v.gomod = "-\n\nretract " + what + "\n" }
	}
	bare := func(list vs) vs {
		for i := range list {
			list[i].gomod = ""
		}
		return list
	}
	lines := func(text string) func(v *madeVersion) { return func(v *madeVersion) { v.lines = text } }
	kinds := []struct {
		path, current string
		versions      vs
	}{
		{"example.com/onlypseudo", "", plain(pseudoA, pseudoB)},
		{"example.com/onlypseudoold", pseudoA, plain(pseudoA, pseudoB)},
		{"example.com/onlypseudonew", pseudoB, plain(pseudoA, pseudoB)},
		{"example.com/pseudotimes", pseudoC, plain(pseudoA, pseudoB, pseudoC)},
		{"example.com/pseudorc", pseudoB, plain(pseudoA, pseudoB, pseudoC, pseudoD)},
		{"example.com/pseudoincompatible", "", bare(plain("v2.0.1-0.20200101000000-aaaaaaaaaaaa+incompatible"))},
		{"example.com/pseudotimed", "", with(plain(pseudoA, pseudoB), 0, lines(pseudoA+" 2025-01-01T00:00:00Z\n"))},
		{"example.com/pseudobadtime", "", with(plain(pseudoA, pseudoB), 1, lines(pseudoB+" yesterday\n"))},
		{"example.com/plain", "v1.0.0", plain("v0.9.0", "v1.0.0", "v1.1.0-rc.1")},
		{"example.com/timed", "v1.0.0", with(plain("v1.0.0", "v1.1.0"), 0, lines("v1.0.0 2020-01-01T00:00:00Z\n"))},
		{"example.com/tagsandpseudo", pseudoB, plain("v0.1.0", pseudoA, pseudoB)},
		{"example.com/pseudobeforetag", pseudoA, plain("v0.1.0", pseudoA, pseudoB)},
		{"example.com/prerelease", "", plain("v1.0.0-alpha", "v1.0.0-rc.1", "v1.0.0-rc.2")},
		{"example.com/prereleasecur", "v1.0.0-rc.2", plain("v0.9.0", "v1.0.0-rc.1", "v1.0.0-rc.2")},
		{"example.com/unlisted", "", with(plain(pseudoA), 0, lines(""))},
		{"example.com/unlistedcur", pseudoA, with(plain(pseudoA), 0, lines(""))},
		{"example.com/junk", "", with(plain("v1.0.0", "v1.1.0"), 0, lines("# versions\n\nmaster\r\nv1\x00\nv1.0.0\r\n1.2.3\nv1.x\n"))},
		{"example.com/onlyjunk", "", with(plain(pseudoA), 0, lines("master\nmain\n"))},
		{"example.com/incompatible", "", bare(plain("v1.0.0", "v2.0.0+incompatible", "v3.0.0+incompatible"))},
		{"example.com/incompatibleonly", "", bare(plain("v20.10.0+incompatible", "v28.5.2+incompatible"))},
		{"example.com/incompatiblerc", "", bare(plain("v20.10.0+incompatible", "v28.5.2-rc.1+incompatible"))},
		{"example.com/besidegomod", "", append(plain("v1.0.0"), bare(plain("v2.0.0+incompatible"))...)},
		{"example.com/incompatiblecur", "v2.0.0+incompatible", append(plain("v1.0.0"), bare(plain("v2.0.0+incompatible", "v2.1.0+incompatible"))...)},
		{"example.com/retractednewest", "v1.0.0", with(plain("v1.0.0", "v1.1.0"), 1, retract("v1.1.0 // by accident"))},
		{"example.com/retractedall", "", with(plain("v1.0.0", "v1.0.1"), 1, retract("[v0.0.0, v1.0.1]"))},
		{"example.com/retractedtopseudo", "", with(plain("v1.0.0", "v1.0.1", pseudoA, pseudoB), 1, retract("[v0.1.0, v1.0.1]"))},
		{"example.com/retractedtotimed", "", with(with(plain("v1.0.0", "v1.0.1", pseudoA), 1, retract("[v1.0.1, v1.0.1]")), 0, lines("v1.0.0 2025-01-01T00:00:00Z\n"))},
		{"example.com/retractedrc", "", with(plain("v1.0.0-rc.1", "v1.0.0"), 1, retract("v1.0.0"))},
		{"example.com/nest", "v1.0.0", plain("v1.0.0", "v1.1.0")},
		{"example.com/nest/sub", "", plain("v0.1.0", "v0.2.0")},
		{"example.com/nest/sub/v2", "v2.0.0", plain("v2.0.0", "v2.1.0")},
		{"example.com/nest/deep/only/pseudo", pseudoA, plain(pseudoA, pseudoB)},
		{"example.com/major", "v1.0.0", plain("v1.0.0")},
		{"example.com/major/v2", "", plain("v2.0.0", "v2.0.1-0.20250101000000-abcdefabcdef")},
		{"example.com/major/v3", "", plain("v3.0.0-20240101000000-abcdefabcdef", "v3.0.0-20250101000000-abcdefabcdef")},
		{"gopkg.in/only.v1", "", bare(plain("v1.0.0-20140101000000-abcdefabcdef", "v1.0.0-20161208181325-20d25e280405"))},
		{"gopkg.in/tags.v2", "v2.0.0", bare(plain("v2.0.0", "v2.4.0"))},
		{"github.com/Upper/CASE", "", plain("v1.0.0-RC.1", "v1.0.0")},
	}
	var mods []madeModule
	for i, k := range kinds {
		for n, m := range []madeModule{{}, {filed: true}, {latest: true}} {
			if !all && (n == 2 && i%3 != 0 || n < 2 && i%2 != n) {
				continue
			}
			suffix := []string{"no", "file", ""}[n]
			host, rest, _ := strings.Cut(k.path, "/")
			m.path, m.current = host+"/"+suffix+rest, k.current
			for _, v := range k.versions {
				if !m.latest && v.version == m.current && v.lines == "" {
					m.current = "" // see anyModule
				}
				if v.gomod != "" {
					v.gomod = "module " + m.path + v.gomod[1:] + "\n"
				}
				m.versions = append(m.versions, v)
			}
			mods = append(mods, m)
		}
	}
	return mods
}

// anyModule makes modules at random, the n'th of a run. What sumlog does otherwise
// on purpose is left out: a version that the upstream does not list, and that was
// logged, is known from then on. So those that a go command could come by are
// listed, or are the upstream's latest.
func anyModule(n int) *rapid.Generator[madeModule] {
	return rapid.Custom(func(t *rapid.T) madeModule {
		path := fmt.Sprintf(rapid.SampledFrom([]string{
			"example.com/g%d", "example.com/g%d/sub", "example.com/g%d/v2", "example.com/g%d/sub/v3",
			"gopkg.in/g%d.v1", "gopkg.in/g%d.v2", "github.com/Upper/G%d",
		}).Draw(t, "path"), n)
		m := madeModule{path: path, latest: rapid.Bool().Draw(t, "latest"), filed: rapid.IntRange(0, 3).Draw(t, "filed") == 0}
		m.latest = m.latest && !m.filed
		for i := range rapid.IntRange(1, 7).Draw(t, "versions") {
			v := anyVersion(t, path, i)
			if !slices.ContainsFunc(m.versions, func(o madeVersion) bool { return o.version == v.version }) {
				m.versions = append(m.versions, v)
			}
		}
		newest := slices.MaxFunc(m.versions, func(a, b madeVersion) int { return semver.Compare(a.version, b.version) })
		for i := range m.versions {
			v := &m.versions[i]
			if v.version == newest.version && v.gomod != "" {
				v.gomod += rapid.SampledFrom([]string{"", "", "\nretract " + v.version + "\n", "\nretract [v0.0.0-0, " + v.version + "]\n"}).Draw(t, "retract")
			}
			if rapid.IntRange(0, 3).Draw(t, "deprecated") == 0 && v.gomod != "" {
				v.gomod = "// Deprecated: use another.\n" + v.gomod
			}
		}
		var listed []string
		for _, v := range m.versions {
			if v.lines != "" {
				listed = append(listed, v.version)
			}
		}
		if len(listed) > 0 && rapid.Bool().Draw(t, "required") {
			m.current = rapid.SampledFrom(listed).Draw(t, "current")
		}
		return m
	})
}

// anyVersion makes the i'th version of the module path. No two have the same time:
// which of them is the latest would be a matter of the order of lines.
func anyVersion(t *rapid.T, path string, i int) madeVersion {
	_, major, _ := module.SplitPathVersion(path)
	n := 0
	fmt.Sscanf(strings.TrimLeft(major, "/."), "v%d", &n)
	compatible := []int{0, 1}
	if n > 0 {
		compatible = []int{n}
	}
	number := func(of string) int { return rapid.IntRange(0, 2).Draw(t, of) }
	v := madeVersion{time: time.Date(rapid.IntRange(2015, 2025).Draw(t, "year"), 1, 1, 0, 0, i, 0, time.UTC)}
	base := fmt.Sprintf("v%d.%d.%d", rapid.SampledFrom(compatible).Draw(t, "major"), number("minor"), number("patch"))
	if n == 0 && rapid.IntRange(0, 4).Draw(t, "incompatible") == 0 {
		base = fmt.Sprintf("v%d.%d.%d", 2+number("major"), number("minor"), number("patch"))
	} else if rapid.IntRange(0, 3).Draw(t, "go.mod") > 0 || strings.HasPrefix(major, "/") {
		v.gomod = "module " + path + "\n"
	}
	at := v.time.Format("20060102150405") + fmt.Sprintf("-%012x", i+0xabc)
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0, 1:
		v.version = base
	case 2:
		v.version = base + rapid.SampledFrom([]string{"-alpha", "-rc.1", "-rc.2"}).Draw(t, "pre")
	case 3:
		v.version = semver.Major(base) + ".0.0-" + at
	case 4:
		v.version = base + "-rc.1.0." + at
	case 5:
		v.version = semver.MajorMinor(base) + fmt.Sprintf(".%d-0.", 1+number("patch")) + at
	}
	if semver.Major(base) != "v0" && semver.Major(base) != "v1" && n == 0 {
		v.version += "+incompatible"
	}
	if rapid.IntRange(0, 4).Draw(t, "unlisted") == 0 && module.IsPseudoVersion(v.version) {
		return v
	}
	v.lines = v.version
	switch rapid.IntRange(0, 5).Draw(t, "time") {
	case 0:
		v.lines += " " + v.time.Format(time.RFC3339)
	case 1: // not that of a pseudo-version
		v.lines += v.time.Add(time.Hour*24*900 + time.Minute).Format(" " + time.RFC3339)
	}
	v.lines += rapid.SampledFrom([]string{"\n", "\n", "\n", "\r\n", "\n\n", "\nmaster\n", "\n# comment\n"}).Draw(t, "end")
	if rapid.IntRange(0, 9).Draw(t, "junk") == 0 {
		v.lines = "latest " + v.version + "\n" + v.lines
	}
	return v
}

// A judge asks two go commands the same.
type judge struct {
	t        *testing.T
	sides    [2]side // directly, and through sumlog
	paths    []string
	requires []string // lines of a go.mod
}

// A side is a go command with a proxy and a cache of its own.
type side struct {
	name, dir, proxy string
}

func newJudge(t *testing.T, upstream, sumlog string) *judge {
	dir := t.TempDir()
	return &judge{t: t, sides: [2]side{
		{"directly", filepath.Join(dir, "direct"), upstream},
		{"through sumlog", filepath.Join(dir, "sumlog"), sumlog},
	}}
}

// add has the judge ask for a module, of which current is required, if any.
func (j *judge) add(path, current string) {
	j.paths = append(j.paths, path)
	if current != "" {
		j.requires = append(j.requires, "\t"+path+" "+current+"\n")
	}
}

// lists compares what the sides say of the modules.
func (j *judge) lists() {
	var queries []string
	for _, p := range j.paths {
		queries = append(queries, p+"@latest", p+"@upgrade")
	}
	gomod := "module example.net/main\n\ngo 1.26\n\nrequire (\n" + strings.Join(j.requires, "") + ")\n"
	for _, args := range [][]string{
		append([]string{"list", "-m", "-e", "-json"}, queries...),
		append([]string{"list", "-m", "-e", "-u", "-versions", "-json"}, j.paths...),
		append([]string{"list", "-m", "-e", "-retracted", "-versions", "-json"}, j.paths...),
	} {
		var answers [2][]map[string]any
		for i, s := range j.sides {
			answers[i] = modules(j.t, s.run(j.t, "list", gomod, "", args...))
		}
		j.compare("go "+strings.Join(args[:slices.Index(args, "-json")], " "), answers)
	}
}

// compare compares two lists of modules.
func (j *judge) compare(what string, answers [2][]map[string]any) {
	if len(answers[0]) != len(answers[1]) || len(answers[0]) < len(j.paths) {
		j.t.Errorf("%s: %d modules directly, %d through sumlog", what, len(answers[0]), len(answers[1]))
		return
	}
	for i, want := range answers[0] {
		got := answers[1][i]
		// A proxy need not know a time or an origin, and errors name who was asked.
		for _, k := range []string{"Time", "Origin"} {
			if want[k] == nil || got[k] == nil {
				delete(want, k)
				delete(got, k)
			}
		}
		wantErr, gotErr := want["Error"], got["Error"]
		delete(want, "Error")
		delete(got, "Error")
		if !reflect.DeepEqual(want, got) || (wantErr == nil) != (gotErr == nil) {
			j.t.Errorf("%s: directly\n%v, error %v\nthrough sumlog\n%v, error %v", what, want, wantErr, got, gotErr)
		}
	}
}

// tidy compares what go mod tidy makes of a program that imports packages.
func (j *judge) tidy(pkgs []string) {
	var prog strings.Builder
	prog.WriteString("package main\n\nimport (\n")
	for _, p := range pkgs {
		fmt.Fprintf(&prog, "\t_ %q\n", p)
	}
	prog.WriteString(")\n\nfunc main() {}\n")
	var got [2]string
	for i, s := range j.sides {
		s.run(j.t, "tidy", "module example.net/main\n\ngo 1.26\n", prog.String(), "mod", "tidy", "-e")
		for _, name := range []string{"go.mod", "go.sum"} {
			data, err := os.ReadFile(filepath.Join(s.dir, "tidy", name))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				j.t.Fatal(err)
			}
			got[i] += string(data)
		}
	}
	if !strings.Contains(got[0], " h1:") {
		j.t.Errorf("go mod tidy, directly, found nothing:\n%s", got[0])
	}
	if got[0] != got[1] {
		j.t.Errorf("go mod tidy: - directly, + through sumlog\n%s", lineDiff(got[0], got[1]))
	}
}

// run runs the go command in the directory name, with a go.mod and perhaps a
// program there.
func (s side) run(t *testing.T, name, gomod, prog string, args ...string) []byte {
	t.Helper()
	dir := filepath.Join(s.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"go.mod": gomod, "main.go": prog} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOENV=off", "GOFLAGS=-modcacherw -mod=mod", "GOTOOLCHAIN=local", "GOWORK=off",
		"GOPROXY="+s.proxy, "GONOPROXY=none", "GOPRIVATE=", "GOSUMDB=off", "PWD="+dir, "GOPATH="+filepath.Join(s.dir, "gopath"),
		"GOMODCACHE="+filepath.Join(s.dir, "cache"), "GOTELEMETRY=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	// With -e it exits with 0 unless it could not even begin.
	if err != nil {
		t.Errorf("go %.60s, %s: %v\n%s", args, s.name, err, stderr.Bytes())
	}
	return out
}

// modules decodes what go list -json printed, without the paths of this machine.
func modules(t *testing.T, out []byte) (list []map[string]any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var m map[string]any
		err := dec.Decode(&m)
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		delete(m, "GoMod")
		delete(m, "Dir")
		list = append(list, m)
	}
}

// lineDiff lists the lines of which a and b have not the same.
func lineDiff(a, b string) string {
	var out strings.Builder
	for _, d := range []struct{ sign, in, other string }{{"-", a, b}, {"+", b, a}} {
		for line := range strings.Lines(d.in) {
			if !strings.Contains("\n"+d.other, "\n"+line) {
				out.WriteString(d.sign + line)
			}
		}
	}
	return out.String()
}
