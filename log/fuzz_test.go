// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"k8s.io/klog/v2"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	if config := os.Getenv(childEnv); config != "" {
		os.Exit(childMain(config))
	}
	os.Exit(m.Run())
}

func FuzzParseRecord(f *testing.F) {
	f.Add(record(0).Text())
	f.Add([]byte("rsc.io/quote v1.5.2 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=\nrsc.io/quote v1.5.2/go.mod h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=\n"))
	f.Add([]byte("github.com/A/b v2.0.0+incompatible h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=\ngithub.com/A/b v2.0.0+incompatible/go.mod h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=\n"))
	f.Add([]byte("a.b/c v1.2 h1:=\na.b/c v1.2/go.mod h1:=\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ParseRecord(text)
		if err != nil {
			return
		}
		if got := r.Text(); !bytes.Equal(got, text) {
			t.Errorf("Text() = %q, parsed from %q", got, text)
		}
		// What parses can be served by the go command's protocol.
		if _, err := tlog.FormatRecord(0, text); err != nil {
			t.Errorf("%q cannot be served: %v", text, err)
		}
		if len(text) != r.size() {
			t.Errorf("size %d, want %d", r.size(), len(text))
		}
	})
}

func TestParseRecordRefuses(t *testing.T) {
	good := string(record(4).Text())
	for _, edit := range [][2]string{
		{"\n", "\r\n"}, {" ", "  "}, {"v1.1.0", "v1.1"}, {"v1.1.0", "v1.1.0+meta"}, {"/go.mod", "/go.sum"},
		{"h1:", "h2:"}, {"=\n", "\n"}, {"example.com", "example"}, {"example.com", "../com"}, {"mod1 v", "mod2 v"},
	} {
		bad := strings.Replace(good, edit[0], edit[1], 1)
		if _, err := ParseRecord([]byte(bad)); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
	for _, bad := range []string{"", "\n", good + good, good + "\n", strings.TrimSuffix(good, "\n"), "\n" + good} {
		if _, err := ParseRecord([]byte(bad)); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
	// Base64 whose last digit has bits that decode to nothing.
	i := strings.Index(good, "=\n")
	for _, c := range "BCDEFGHIJKLMNOPQRSTUVWXYZ" {
		bad := good[:i-1] + string(c) + good[i:]
		if r, err := ParseRecord([]byte(bad)); err == nil && string(r.Text()) != bad {
			t.Errorf("accepted %q", bad)
		}
	}
}

func FuzzParseGuard(f *testing.F) {
	r := rangeFactory.NewEmptyRange(0)
	for i := range 5 {
		g, err := newGuard("sum.example.org", int64(i), r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(g.text())
		r.Append(hasher.HashLeaf(record(i).Text()), nil)
	}
	f.Add([]byte(guardHeader + "\nx\n9223372036854775807\n0\n" + tlog.Hash{}.String() + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		g, err := parseGuard(text)
		if err == nil && !bytes.Equal(g.text(), text) {
			t.Errorf("%q became %q", text, g.text())
		}
	})
}

func FuzzParseLine(f *testing.F) {
	p := &Publication{Size: 0, Checkpoint: []byte("x"), TreeHead: tlog.FormatTree(tlog.Tree{})}
	line, err := p.line()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add([]byte(`{"Time":"2026-01-01T00:00:00.000001Z","Size":-1,"Checkpoint":"","TreeHead":"go.sum database tree\n1\nAAAA\n"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		p, err := parseLine(line)
		if err != nil {
			return
		}
		if _, err := p.line(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzTilePath holds the parser against x/mod's where both know the path, and
// never gets a 5xx or a tile beyond the published size.
func FuzzTilePath(f *testing.F) {
	l, _ := start(f, newDir(f))
	f.Cleanup(func() { l.Close() })
	fill(f, l, 0, 300)
	for _, s := range []string{"/tile/8/0/001.p/44", "/tile/8/data/000", "/tile/0/x001/000", "/tile/entries/000.p/3", "/tile/8/000", "/tile/8/63/x999/999", "/checkpoint", "/tile/8/8/000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		id, err := parseTilePath(path)
		if got, xerr := tlog.ParseTilePath(strings.TrimPrefix(path, "/")); xerr == nil && path[0] == '/' && got.H == 8 && got.L < 64 && len(path) < 60 {
			want := tileID{kindHash, got.L, got.N, got.W}
			if got.L < 0 {
				want.kind, want.level = kindData, 0
			}
			if err != nil || id != want {
				t.Errorf("parseTilePath(%q) = %v, %v, want %v", path, id, err, want)
			}
		}
		w := httptest.NewRecorder()
		l.ServeHTTP(w, &http.Request{Method: "GET", URL: &url.URL{Path: path}})
		if w.Code >= 500 {
			t.Errorf("GET %q = %d", path, w.Code)
		}
		if w.Code == 200 && err == nil && id.w > width(id.level, id.n, 300) {
			t.Errorf("GET %q served width %d", path, id.w)
		}
	})
}

// TestTreeAgainstTlog compares roots, ranges and widths with x/mod's for random
// sizes.
func TestTreeAgainstTlog(t *testing.T) {
	dir := grown(t, 1000)
	tr := tree{dir: dir + "/" + treeDir}
	var hashes []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range indexes {
			out = append(out, hashes[i])
		}
		return out, nil
	})
	n := int64(0)
	for e, err := range tr.records(0, 1000, 1000) {
		if err != nil {
			t.Fatal(err)
		}
		more, err := tlog.StoredHashes(n, e.Record.Text(), read)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, more...)
		n++
	}
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(0, 1000).Draw(t, "size")
		want, err := tlog.TreeHash(size, read)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tr.root(size, 1000)
		if err != nil || got != want {
			t.Fatalf("root(%d) = %v, %v, want %v", size, got, err, want)
		}
		from := rapid.Int64Range(0, size).Draw(t, "from")
		r, err := tr.compactRange(from, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.extend(r, size, 1000); err != nil {
			t.Fatal(err)
		}
		if got, err := rangeRoot(r); err != nil || got != want {
			t.Fatalf("range %d extended to %d: root %v, %v, want %v", from, size, got, err, want)
		}
	})
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"sum.example.org": true, "sum.example.org/log": true, "localhost/0a1b2c3d": true, "sum.example.org:8070": true,
		"": false, "a b": false, "a+b": false, "https://a.b": false, "a.b/": false, "a.b//c": false, "a.b/../c": false,
		"a.b?x": false, "a.b#x": false, "u@a.b": false, "/a": false, "a%2fb": false, "a\nb": false,
		strings.Repeat("a", 256): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
}

// TestSignerIsTyped shows that checkpoints and tree heads of one publication
// cannot be swapped or mixed.
func TestSignerIsTyped(t *testing.T) {
	skey, err := generateKey("sum.example.org")
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	a, b := tlog.Tree{N: 1, Hash: tlog.Hash{1}}, tlog.Tree{N: 1, Hash: tlog.Hash{2}}
	notes := func(t tlog.Tree) [2][]byte {
		cp, err1 := s.signCheckpoint(t)
		head, err2 := s.signTreeHead(t)
		if err1 != nil || err2 != nil {
			panic(fmt.Sprint(err1, err2))
		}
		return [2][]byte{cp, head}
	}
	na, nb := notes(a), notes(b)
	if got, err := s.openNotes(na[0], na[1]); err != nil || got != a {
		t.Errorf("openNotes = %v, %v", got, err)
	}
	for _, bad := range [][2][]byte{{na[0], nb[1]}, {na[1], na[0]}, {na[1], na[1]}, {na[0], na[0]}, {na[0], append(na[1], 'x')}} {
		if _, err := s.openNotes(bad[0], bad[1]); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}
