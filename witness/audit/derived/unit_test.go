// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	modzip "golang.org/x/mod/zip"
	"pgregory.net/rapid"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/record"
)

// A sample has its size, each entry once, the newest ones, and begins where the
// last one ended.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 50).Draw(t, "n")
		from := rapid.Int64Range(0, n).Draw(t, "from")
		sample := rapid.IntRange(-1, 60).Draw(t, "sample")
		next := rapid.Int64Range(-1, 60).Draw(t, "next")
		spans := window(n, from, sample, next)
		want := min(int64(sample), n)
		if sample < 0 {
			want = n
		}
		seen := make(map[int64]bool)
		for _, s := range spans {
			for i := s.from; i < s.to; i++ {
				if seen[i] || i < 0 || i >= n {
					t.Fatalf("%v: %d", spans, i)
				}
				seen[i] = true
			}
		}
		if int64(len(seen)) != want {
			t.Fatalf("%v: %d entries, want %d", spans, len(seen), want)
		}
		if want > 1 && from < n && !seen[n-1] && from > 0 {
			t.Fatalf("%v: the newest is not there", spans)
		}
	})
}

// From run to run all of a log has its turn.
func TestRolling(t *testing.T) {
	const n = 103
	seen, next := make(map[int64]bool), int64(0)
	for range n/10 + 1 {
		spans := window(n, n, 10, next)
		for _, s := range spans {
			for i := s.from; i < s.to; i++ {
				seen[i] = true
			}
		}
		next = after(spans, next)
	}
	if len(seen) != n {
		t.Errorf("%d of %d", len(seen), n)
	}
	if got := after(nil, 7); got != 7 {
		t.Errorf("no sample moves on to %d", got)
	}
}

func TestLatestOf(t *testing.T) {
	for _, test := range []struct {
		want   string
		logged []string
	}{
		{"v1.2.0", []string{"v1.0.0", "v1.2.0", "v1.10.0-rc.1", "v0.0.0-20230102030405-000000000001"}},
		{"v1.10.0", []string{"v1.9.0", "v1.10.0"}},
		{"v1.0.0", []string{"v2.0.0+incompatible", "v1.0.0"}},
		{"v2.0.0+incompatible", []string{"v2.0.0+incompatible", "v1.0.0-rc.1"}},
		{"v1.0.0-rc.2", []string{"v1.0.0-rc.2", "v1.0.0-rc.1", "v1.0.1-0.20230102030405-000000000001"}},
		{"v0.0.0-20240102030405-000000000001", []string{"v0.0.0-20240102030405-000000000001", "v0.9.1-0.20230102030405-000000000002"}},
	} {
		for range 5 {
			rand.Shuffle(len(test.logged), func(i, j int) { test.logged[i], test.logged[j] = test.logged[j], test.logged[i] })
			if got := latestOf(test.logged); got != test.want {
				t.Errorf("%v: got %s, want %s", test.logged, got, test.want)
			}
		}
	}
}

// What is found here, evidence must be made of.
func TestLatestAgrees(t *testing.T) {
	versions := []string{"v1.0.0", "v1.2.0", "v1.10.0-rc.1", "v0.0.0-20230102030405-000000000001", "v0.9.1-0.20220102030405-000000000002",
		"v2.0.0+incompatible", "v2.0.0-rc.1+incompatible", "v2.0.1-0.20230102030405-000000000001+incompatible", "v1.10.0"}
	for _, v := range versions {
		for _, w := range versions {
			if got, want := compareLatest(v, w) < 0, evidence.LatestBefore(v, w); got != want {
				t.Errorf("%s before %s: %v, evidence says %v", v, w, got, want)
			}
		}
	}
}

func TestDiffLists(t *testing.T) {
	d := diffLists([]string{"v1.0.0", "v1.1.0"}, []string{"v1.1.0", "v1.2.0", "v1.1.0", "v0.1.0"})
	want := listDiff{[]string{"v1.0.0"}, []string{"v0.1.0", "v1.2.0"}, []string{"v1.1.0"}}
	if diff := cmp.Diff(want, d, cmp.AllowUnexported(listDiff{})); diff != "" {
		t.Error(diff)
	}
	got := listed([]string{"v1.10.0", "v1.9.0", "v0.0.0-20230102030405-000000000001", "v1.9.0", "v1.9.1-rc.1"})
	if diff := cmp.Diff([]string{"v1.9.0", "v1.9.1-rc.1", "v1.10.0"}, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseList(f *testing.F) {
	f.Add([]byte("v1.0.0\nv1.0.1 2023-01-02T03:04:05Z\n\n"))
	f.Add([]byte("<html>\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		list, ok := parseList(body)
		if !ok && list != nil {
			t.Error("a list and none")
		}
		for _, v := range list {
			if !bytes.Contains(body, []byte(v)) || strings.ContainsAny(v, " \n") {
				t.Errorf("%q", v)
			}
		}
	})
}

func FuzzParseFeed(f *testing.F) {
	f.Add([]byte(`{"Path":"example.com/a","Version":"v1.0.0","Timestamp":"2026-01-02T15:04:05.999999Z"}` + "\n"))
	for _, bad := range []string{
		`{"Path":"a","Version":"v1.0.0"}` + "\n", "{}\n", "\n", "null\n", `{"Path":"a","Version":"v","Timestamp":"2026-01-02T15:04:05Z"}`,
		`{"Path":"a","Version":"v","Timestamp":"2026-01-02T15:04:05Z"} {}` + "\n", `{"Path":"a","Version":"v","Timestamp":"2026-01-02T15:04:05Z","X":1}` + "\n",
	} {
		if l, err := parseFeed([]byte(bad)); err == nil {
			f.Errorf("%q: %v", bad, l)
		}
		f.Add([]byte(bad))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		lines, err := parseFeed(body)
		if err == nil && len(lines) != bytes.Count(body, []byte("\n")) {
			t.Errorf("%d lines", len(lines))
		}
		for _, l := range lines {
			if l.Path == "" || l.Version == "" || l.Timestamp.IsZero() {
				t.Errorf("%+v", l)
			}
		}
	})
}

func FuzzParseInfo(f *testing.F) {
	e := entry{path: "example.com/a", version: "v1.0.0"}
	f.Add([]byte(`{"Version":"v1.0.0","Time":"2023-01-02T03:04:05Z","Origin":{"VCS":"git","URL":"https://example.com/a","Hash":"00","Ref":"refs/tags/v1.0.0"}}`))
	f.Add([]byte(`{"Version":"v1.0.1"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if i, err := parseInfo(body, e); err == nil && i.Version != e.version {
			t.Errorf("%+v", i)
		}
	})
}

// Every version comes back, in order, with its module, whatever the part.
func TestSpill(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, err := newSpill(perPart * rapid.Int64Range(0, 5).Draw(t, "parts"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		want := make(map[string][]version)
		for i := range rapid.IntRange(0, 50).Draw(t, "n") {
			path := rapid.StringMatching(`[a-c]{0,3}`).Draw(t, "path")
			v := version{fmt.Sprintf("v1.%d.0", i), rapid.Int64Range(0, 1<<52).Draw(t, "index")}
			want[path] = append(want[path], v)
			if err := s.add(path, v.name, v.index); err != nil {
				t.Fatal(err)
			}
		}
		got := make(map[string][]version)
		err = s.parts(func(modules map[string][]version) error {
			for path, vs := range modules {
				if got[path] != nil {
					t.Errorf("%q is in two parts", path)
				}
				got[path] = vs
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(version{})); diff != "" {
			t.Error(diff)
		}
	})
}

type zipEntry struct{ name, content string }

func makeZip(t testing.TB, files ...zipEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		e, err := w.Create(f.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(e, f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var zipModule = module.Version{Path: "example.com/a", Version: "v1.0.0"}

const zipRoot = "example.com/a@v1.0.0/"

func TestScanZip(t *testing.T) {
	for name, test := range map[string]struct {
		files  []zipEntry
		goMod  string
		rule   bool
		broken bool
	}{
		"plain":     {files: []zipEntry{{zipRoot + "go.mod", "module example.com/a\n"}, {zipRoot + "a.go", "package a\n"}}, goMod: "module example.com/a\n"},
		"unordered": {files: []zipEntry{{zipRoot + "z", "z"}, {zipRoot + "a", "a"}, {zipRoot + "sub/a", "a"}}},
		"nested":    {files: []zipEntry{{zipRoot + "a", "a"}, {zipRoot + "sub/go.mod", "module x\n"}}, rule: true},
		"empty":     {},
		"elsewhere": {files: []zipEntry{{"b@v1.0.0/a", "a"}}, rule: true},
		"up":        {files: []zipEntry{{zipRoot + "../a", "a"}}, rule: true},
		"twice":     {files: []zipEntry{{zipRoot + "a", "a"}, {zipRoot + "a", "b"}}, broken: true},
		"newline":   {files: []zipEntry{{zipRoot + "a\nb", "a"}}, broken: true},
		"large mod": {files: []zipEntry{{zipRoot + "go.mod", strings.Repeat("/", modzip.MaxGoMod+1)}}, rule: true},
	} {
		t.Run(name, func(t *testing.T) {
			data := makeZip(t, test.files...)
			z, err := scanZip(t.Context(), bytes.NewReader(data), int64(len(data)), zipModule)
			if test.broken {
				if err == nil {
					t.Error("a hash")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "a.zip")
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			want, err := dirhash.HashZip(file, dirhash.Hash1)
			if err != nil {
				t.Fatal(err)
			}
			if got := record.H1(z.h1); got != want || string(z.goMod) != test.goMod || (z.rule != nil) != test.rule {
				t.Errorf("%s, want %s; %q, %v", got, want, z.goMod, z.rule)
			}
		})
	}
}

// A zip that says that it is small, or that is large, is not inflated.
func TestZipBombs(t *testing.T) {
	bomb := makeZip(t, zipEntry{zipRoot + "a", strings.Repeat("\x00", 10<<20)})
	// The sizes in the directory, behind which archive/zip does not read on.
	dir := bytes.LastIndex(bomb, []byte("PK\x01\x02"))
	liar := slices.Clone(bomb)
	copy(liar[dir+24:], []byte{1, 0, 0, 0})
	giant := slices.Clone(bomb)
	copy(giant[dir+24:], []byte{0xff, 0xff, 0xff, 0x7f})
	for want, data := range map[string][]byte{"not a valid zip": liar, "bytes of files": giant} {
		if _, err := scanZip(t.Context(), bytes.NewReader(data), int64(len(data)), zipModule); err == nil || want == "bytes of files" && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := scanZip(t.Context(), bytes.NewReader(bomb), modzip.MaxZipFile+1, zipModule); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("a zip beyond all limits: %v", err)
	}
	var names []zipEntry
	for i := range 600 {
		names = append(names, zipEntry{fmt.Sprintf("%s%d%s", zipRoot, i, strings.Repeat("x", 60_000)), ""})
	}
	data := makeZip(t, names...)
	if _, err := scanZip(t.Context(), bytes.NewReader(data), int64(len(data)), zipModule); err == nil || !strings.Contains(err.Error(), "directory of more than") {
		t.Errorf("a directory of %d bytes: %v", len(data), err)
	}
}

func FuzzScanZip(f *testing.F) {
	f.Add(makeZip(f, zipEntry{zipRoot + "go.mod", "module example.com/a\n"}, zipEntry{zipRoot + "a", "a"}))
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, data []byte) {
		z, err := scanZip(t.Context(), bytes.NewReader(data), int64(len(data)), zipModule)
		if err != nil {
			return
		}
		file := filepath.Join(t.TempDir(), "a.zip")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if want, err := dirhash.HashZip(file, dirhash.Hash1); err != nil || record.H1(z.h1) != want {
			t.Errorf("%s, want %s %v", record.H1(z.h1), want, err)
		}
	})
}

// TestLongList takes no list for one that is longer than any can be: it would take
// memory without need.
func TestLongList(t *testing.T) {
	list := strings.Repeat("v1.0.0\n", maxVersions)
	if got, ok := parseList([]byte(list)); !ok || len(got) != maxVersions {
		t.Errorf("%d versions, %v", len(got), ok)
	}
	if _, ok := parseList([]byte(list + "v1.0.0\n")); ok {
		t.Error("one more is a list too")
	}
}
