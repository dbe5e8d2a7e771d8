// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package testauthority_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/sumdb/tlog"
	modzip "golang.org/x/mod/zip"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/internal/record"
	"example.org/sumlog/internal/testauthority"
	"example.org/sumlog/internal/tlogclient"
)

func clock() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func get(t *testing.T, h http.Handler, path string) (int, []byte) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, w.Body.Bytes()
}

func want(t *testing.T, h http.Handler, path string) []byte {
	t.Helper()
	status, body := get(t, h, path)
	if status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, status, body)
	}
	return body
}

// TestHonest reads an authority that does not lie as a client of each layout.
func TestHonest(t *testing.T) {
	a := testauthority.New(testauthority.Config{})
	s := httptest.NewServer(a)
	defer s.Close()
	h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
	defer h.Close()
	for _, c := range []struct {
		prefix string
		layout tlogclient.Layout
	}{
		{s.URL, tlogclient.Tiles},
		{s.URL, tlogclient.Database},
		{s.URL + "/sumdb/" + a.Name(), tlogclient.Database},
	} {
		source, err := h.Source(c.prefix)
		if err != nil {
			t.Fatal(err)
		}
		l, err := tlogclient.New(tlogclient.Config{Source: source, Layout: c.layout, Keys: []*checkpoint.Key{a.Key()}})
		if err != nil {
			t.Fatal(err)
		}
		head, err := l.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if head.Tree() != a.Tree(600) {
			t.Errorf("%v: head %v, want %v", c.layout, head.Tree(), a.Tree(600))
		}
		for _, size := range []int64{5, 256, 300} {
			older, err := tlogclient.ParseHead(headOf(a, c.layout, size), l.Origin(), a.Key())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Extend(t.Context(), older, head); err != nil {
				t.Errorf("%v: from %d: %v", c.layout, size, err)
			}
		}
	}
}

func headOf(a *testauthority.Authority, l tlogclient.Layout, size int64) []byte {
	if l == tlogclient.Database {
		return a.TreeHead(size).Bytes()
	}
	return a.Checkpoint(size).Bytes()
}

// TestModules checks everything that is served for each module against its record.
func TestModules(t *testing.T) {
	a := testauthority.New(testauthority.Config{Sizes: []int64{40}})
	dir := t.TempDir()
	for i := range a.Size() {
		m := a.Module(i)
		r, err := record.Parse(a.Entry(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := record.Check(r); err != nil {
			t.Error(err)
		}
		path, _ := module.EscapePath(m.Path)
		version, _ := module.EscapeVersion(m.V)
		for _, prefix := range []string{"/", "/cached-only/"} {
			at := prefix + path + "/@v/" + version
			file := filepath.Join(dir, "zip")
			if err := os.WriteFile(file, want(t, a, at+".zip"), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := modzip.CheckZip(m.Version(), file); err != nil {
				t.Errorf("%v: %v", m, err)
			}
			if h, err := dirhash.HashZip(file, dirhash.Hash1); err != nil || h != record.H1(r.Zip) {
				t.Errorf("%v: zip %s, %v, want %s", m, h, err, record.H1(r.Zip))
			}
			mod := want(t, a, at+".mod")
			h, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(mod)), nil })
			if err != nil || h != record.H1(r.Mod) {
				t.Errorf("%v: mod %s, %v, want %s", m, h, err, record.H1(r.Mod))
			}
			if inZip := goModOf(t, file, m); inZip != nil && !bytes.Equal(inZip, mod) {
				t.Errorf("%v: .mod is not that of the zip", m)
			}
			var info struct{ Version string }
			if err := json.Unmarshal(want(t, a, at+".info"), &info); err != nil || info.Version != m.V {
				t.Errorf("%v: info %v, %v", m, info, err)
			}
			list := string(want(t, a, prefix+path+"/@v/list"))
			if strings.Contains(list, m.V+"\n") == module.IsPseudoVersion(m.V) {
				t.Errorf("%v: list %q", m, list)
			}
			want(t, a, prefix+path+"/@latest")
		}
	}
	for path, latest := range map[string]string{
		"/example.com/!tools/g1/@latest":    "v1.1.0",
		"/example.com/!tools/g1/v2/@latest": "v2.0.0",
		"/example.com/only1/@latest":        a.Module(15).V,
	} {
		if got := want(t, a, path); !bytes.Contains(got, []byte(`"`+latest+`"`)) {
			t.Errorf("%s: %s, want %s", path, got, latest)
		}
	}
}

func goModOf(t *testing.T, file string, m testauthority.Module) []byte {
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	f, err := z.Open(m.Path + "@" + m.V + "/go.mod")
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestFeed pages through the feed in both ways, in small pages.
func TestFeed(t *testing.T) {
	a := testauthority.New(testauthority.Config{})
	type line struct {
		Path, Version string
		Timestamp     time.Time
	}
	read := func(next func(n int, last line) string) (all []line) {
		var last line
		for {
			body := want(t, a, "/index?limit=7&"+next(len(all), last))
			lines := strings.SplitAfter(string(body), "\n")
			for _, text := range lines[:len(lines)-1] {
				var l line
				if err := json.Unmarshal([]byte(text), &l); err != nil {
					t.Fatal(err)
				}
				if !l.Timestamp.After(last.Timestamp) {
					t.Fatalf("%v after %v", l, last)
				}
				all, last = append(all, l), l
			}
			if len(lines) < 8 {
				return all
			}
		}
	}
	for name, next := range map[string]func(int, line) string{
		"after": func(n int, _ line) string { return fmt.Sprint("after=", n-1) },
		"since": func(_ int, l line) string {
			return "since=" + l.Timestamp.Add(time.Microsecond).Format(time.RFC3339Nano)
		},
	} {
		all := read(next)
		if len(all) != 600 {
			t.Fatalf("%s: %d lines", name, len(all))
		}
		for i, l := range all {
			if m := a.Module(int64(i)); m.Path != l.Path || m.V != l.Version {
				t.Errorf("%s: line %d: %v, want %v", name, i, l, m)
			}
		}
	}
}

func note(t *testing.T, msg []byte) checkpoint.Note {
	n, err := checkpoint.ParseNote(msg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPolicy(t *testing.T) {
	a := testauthority.New(testauthority.Config{Now: clock})
	p, err := policy.Parse([]byte(a.Policy(2, "")))
	if err != nil {
		t.Fatal(err)
	}
	for _, pub := range a.Archive() {
		if _, err := p.Check(note(t, pub.Checkpoint)); err != nil {
			t.Errorf("size %d: %v", pub.Size, err)
		}
	}
	a.Break(testauthority.TooFew)
	if _, err := p.Check(note(t, a.Published().Checkpoint)); !errors.Is(err, policy.ErrQuorum) {
		t.Error("one witness meets a quorum of two")
	}
}

// TestClient has the go command's client find a fork, and nothing before it.
func TestClient(t *testing.T) {
	a := testauthority.New(testauthority.Config{})
	ops := testauthority.NewClient(a.VKey(), func(path string) ([]byte, error) {
		status, body := get(t, a, path)
		if status != http.StatusOK {
			return nil, fmt.Errorf("%s: status %d", path, status)
		}
		return body, nil
	})
	look := func(i int64) error {
		m := a.Module(i)
		lines, err := sumdb.NewClient(ops).Lookup(m.Path, m.V)
		if err == nil && !bytes.HasPrefix(a.Entry(i), []byte(lines[0]+"\n")) {
			t.Errorf("lookup of %v: %q", m, lines)
		}
		return err
	}
	for i := range int64(16) {
		if err := look(i); err != nil {
			t.Fatal(err)
		}
	}
	a.Grow(3)
	a.Publish()
	if err := look(601); err != nil {
		t.Fatal(err)
	}
	a.Break(testauthority.Fork)
	if err := look(20); err == nil || ops.Said() == "" {
		t.Errorf("a fork: %v, %q", err, ops.Said())
	}
}

// crawl returns all answers that there are.
func crawl(t *testing.T, a *testauthority.Authority) map[string]string {
	paths := []string{"/sumdb/" + a.Name() + "/latest", "/checkpoint", "/latest", "/checkpoints", "/index", "/index?limit=50&after=99"}
	for i := range 3 {
		sum := sha256.Sum256([]byte(a.Name()))
		paths = append(paths, fmt.Sprintf("/witness/%d/%x/checkpoint", i, sum))
	}
	sizes := []int64{}
	for _, p := range a.Archive() {
		sizes = append(sizes, p.Size)
	}
	for i, size := range sizes {
		old := int64(0)
		if i > 0 {
			old = min(sizes[i-1], size)
		}
		for _, tile := range tlog.NewTiles(8, old, size) {
			paths = append(paths, "/"+tile.Path(), strings.Replace("/"+tile.Path(), "/tile/8/", "/tile/", 1))
			if tile.L == 0 {
				tile.L = -1
				paths = append(paths, "/"+tile.Path(), strings.Replace("/"+tile.Path(), "/tile/8/data/", "/tile/entries/", 1))
			}
		}
	}
	for i := range a.Published().Size {
		m := a.Module(i)
		if i > 20 && !strings.Contains(m.Path, "/bad/") {
			continue
		}
		path, _ := module.EscapePath(m.Path)
		version, _ := module.EscapeVersion(m.V)
		paths = append(paths, "/lookup/"+path+"@"+version)
		for _, prefix := range []string{"/", "/cached-only/"} {
			for _, file := range []string{"@latest", "@v/list", "@v/" + version + ".info", "@v/" + version + ".mod", "@v/" + version + ".zip"} {
				paths = append(paths, prefix+path+"/"+file)
			}
		}
	}
	for _, p := range slices.Clone(paths) {
		if strings.HasPrefix(p, "/lookup/") || strings.HasPrefix(p, "/tile/8/") {
			paths = append(paths, "/sumdb/"+a.Name()+p)
		}
	}
	all := map[string]string{}
	for _, p := range paths {
		status, body := get(t, a, p)
		all[p] = fmt.Sprint(status, " ", string(body))
	}
	return all
}

// TestFaults checks of each fault what it changes: that it changes anything, and, of
// those that are about one answer, no other.
func TestFaults(t *testing.T) {
	clean := crawl(t, testauthority.New(testauthority.Config{Now: clock}))
	if again := crawl(t, testauthority.New(testauthority.Config{Now: clock})); !maps.Equal(clean, again) {
		t.Fatal("the same configuration made two authorities")
	}
	g1 := "example.com/!tools/g1/"
	both := func(p string) []string { return []string{"/" + p, "/cached-only/" + p} }
	feed := []string{"/index"}
	only := map[testauthority.Fault][]string{
		testauthority.TreeHeadOther:     {"/checkpoints", "/latest", "/lookup/", "/sumdb/"},
		testauthority.TreeHeadFork:      {"/checkpoints", "/latest", "/lookup/", "/sumdb/"},
		testauthority.ArchiveFork:       {"/checkpoints"},
		testauthority.ArchiveTime:       {"/checkpoints", "/index"},
		testauthority.WitnessRollback:   {"/checkpoints"},
		testauthority.StaleCosignatures: {"/checkpoints", "/checkpoint"},
		testauthority.FutureCosignature: {"/checkpoints", "/checkpoint"},
		testauthority.BadCosignature:    {"/checkpoints", "/checkpoint"},
		testauthority.TooFew:            {"/checkpoints", "/checkpoint"},
		testauthority.Monitor:           {"/witness/0/"},
		testauthority.WrongTile:         {"/tile/0/000", "/tile/8/0/000"},
		testauthority.WrongUpper:        {"/tile/1/000.p/2", "/tile/8/1/000.p/2", "/tile/1/000.p/1", "/tile/8/1/000.p/1"},
		testauthority.WrongPartial:      {"/tile/0/001.p/44", "/tile/8/0/001.p/44"},
		testauthority.WrongEdge:         {"/tile/0/002.p/88", "/tile/8/0/002.p/88"},
		testauthority.WrongBundle:       {"/tile/entries/000", "/tile/8/data/000"},
		testauthority.WrongData:         {"/tile/8/data/000"},
		testauthority.BundleGone:        {"/tile/entries/000", "/tile/8/data/000"},
		testauthority.LookupOther:       {"/lookup/example.com/!tools/g1@v1.0.1"},
		testauthority.LookupIndex:       {"/lookup/example.com/!tools/g1@v1.0.1"},
		testauthority.LookupAhead:       {"/lookup/example.com/!tools/g1@v1.0.1"},
		testauthority.ProxyFrozen:       {"/sumdb/sum.example.com/test/latest"},
		testauthority.ProxyTile:         {"/sumdb/sum.example.com/test/tile/8/0/000"},
		testauthority.ProxyData:         {"/sumdb/sum.example.com/test/tile/8/data/000"},
		testauthority.ProxyLookup:       {"/sumdb/sum.example.com/test/lookup/example.com/!tools/g1@v1.0.1"},
		testauthority.ProxyIndex:        {"/sumdb/sum.example.com/test/lookup/example.com/!tools/g1@v1.0.1"},
		testauthority.ProxyGone:         {"/sumdb/sum.example.com/test/lookup/example.com/!tools/g1@v1.0.1"},
		testauthority.LookupGone:        {"/lookup/example.com/!tools/g1@v1.0.1"},
		testauthority.ListShort:         both(g1 + "@v/list"),
		testauthority.ListExtra:         {"/cached-only/" + g1 + "@v/list"},
		testauthority.LatestOther:       both(g1 + "@latest"),
		testauthority.FeedGap:           feed,
		testauthority.FeedTwice:         feed,
		testauthority.FeedPage:          {"/index?limit=50&after=99"},
		testauthority.FeedTime:          feed,
		testauthority.FeedOrder:         feed,
		testauthority.FeedExtra:         feed,
		testauthority.FeedShort:         feed,
		testauthority.FeedEarly:         feed,
		testauthority.ArchiveTreeHead:   {"/checkpoints"},
		testauthority.ProxyFork:         {"/sumdb/"},
		testauthority.LookupFork:        {"/lookup/example.com/!tools/g1@v1.0.1"},
		testauthority.WrongDatabase:     {"/tile/8/0/000"},
		testauthority.ListPlain:         {"/" + g1 + "@v/list"},
		testauthority.ZipOther:          both(g1 + "@v/v1.0.1.zip"),
		testauthority.ZipGone:           both(g1 + "@v/v1.0.1.zip"),
		testauthority.ModOther:          both(g1 + "@v/v1.0.1.mod"),
		testauthority.InfoOther:         both(g1 + "@v/v1.0.1.info"),
		testauthority.InfoCache:         {"/cached-only/" + g1 + "@v/v1.0.1.info"},
	}
	for _, f := range testauthority.Faults() {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			a := testauthority.New(testauthority.Config{Now: clock})
			a.Break(f)
			broken := crawl(t, a)
			touched := map[string]bool{}
			for path, body := range broken {
				if body == clean[path] {
					continue
				}
				touched[path] = true
				plain := strings.TrimPrefix(path, "/sumdb/"+a.Name())
				if prefixes, ok := only[f]; ok && !slices.ContainsFunc(prefixes, func(p string) bool {
					return strings.HasPrefix(path, p) || strings.HasPrefix(plain, p)
				}) {
					t.Errorf("%s is another answer", path)
				}
			}
			for _, p := range only[f] {
				if !slices.ContainsFunc(slices.Collect(maps.Keys(touched)), func(path string) bool { return strings.HasPrefix(path, p) }) {
					t.Errorf("%s is still the same", p)
				}
			}
			if len(touched) == 0 {
				t.Error("it changes nothing")
			}
			a.Mend()
			if _, err := tlogclient.ParseHead(want(t, a, "/checkpoint"), a.Name(), a.Key()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFork forks at every size.
func TestFork(t *testing.T) {
	a := testauthority.New(testauthority.Config{Sizes: []int64{5, 20}})
	for at := range int64(20) {
		b := a.Fork(at, 1)
		if a.Tree(at) != b.Tree(at) {
			t.Errorf("fork at %d: the first entries differ", at)
		}
		if a.Tree(at+1) == b.Tree(at+1) || a.Tree(20) == b.Tree(20) {
			t.Errorf("fork at %d: entry %d is the same", at, at)
		}
		if err := tlog.CheckTree(b.Consistency(at+1, 20), 20, b.Tree(20).Hash, at+1, b.Tree(at+1).Hash); err != nil {
			t.Errorf("fork at %d: %v", at, err)
		}
		if len(b.Archive()) != 2 {
			t.Errorf("fork at %d: %d publications", at, len(b.Archive()))
		}
	}
}

// TestAsk asks for what there is not.
func TestAsk(t *testing.T) {
	a := testauthority.New(testauthority.Config{})
	for path, status := range map[string]int{
		"/": 404, "/x": 404, "/sumdb/other.example.com/latest": 404, "/sumdb/" + a.Name() + "/supported": 200,
		"/tile/0/002": 404, "/tile/0/002.p/89": 404, "/tile/0/002.p/1": 200, "/tile/0/x": 400, "/tile/1/000.p/3": 404,
		"/tile/entries/002.p/88": 200, "/tile/entries/003": 404, "/tile/8/data/003": 404, "/tile/7/000.p/1": 404, "/tile/0/999999": 400,
		"/lookup/example.com/x@v1.0.0": 404, "/lookup/x": 404, "/example.com/x/@v/list": 404, "/example.com/!tools/g1/@v/v9.0.0.zip": 404,
		"/witness/9/x/checkpoint": 404, "/witness/0/x/checkpoint": 404, "/index?limit=0": 400, "/index?since=x": 400, "/index?after=-2": 400,
	} {
		if got, _ := get(t, a, path); got != status {
			t.Errorf("%s: %d, want %d", path, got, status)
		}
	}
}
