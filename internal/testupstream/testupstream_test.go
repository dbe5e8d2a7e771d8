// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package testupstream

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/mod/module"
)

func tree(files ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i+1 < len(files); i += 2 {
		fsys[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return fsys
}

func start(t *testing.T, files ...string) *Server {
	t.Helper()
	s, err := New("db.test/x", tree(files...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func get(t *testing.T, s *Server, p string) (int, string) {
	t.Helper()
	resp, err := http.Get(s.URL + p)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return -1, err.Error()
	}
	return resp.StatusCode, string(body)
}

func TestServe(t *testing.T) {
	s := start(t,
		"example.com/A@v1.0.0/go.mod", "module example.com/A\n",
		"example.com/A@v1.0.0/a.go", "package a\n",
		"example.com/A@v1.1.0-pre/a.go", "package a\n",
		"example.com/A@v0.0.0-20260102030405-0123456789ab/.query", "main\n",
		"example.com/A@v0.0.0-20260102030405-0123456789ab/a.go", "package a\n",
		"example.com/A@v0.9.0/a.go", "package a\n",
		"example.com/A@v0.9.0/.unlogged", "",
		"example.com/other@v1.0.0/.mod", "module other\n",
		"example.com/other@v1.0.0/go.mod", "module example.com/other\n",
	)
	for _, test := range []struct {
		path string
		code int
		text string
	}{
		{"/example.com/!a/@v/list", 200, "v0.9.0\nv1.0.0\nv1.1.0-pre\n"},
		{"/example.com/A/@v/list", 404, "invalid escaped"},
		{"/example.com/b/@v/list", 404, "not found"},
		{"/example.com/!a/@v/v1.0.0.mod", 200, "module example.com/A\n"},
		{"/example.com/!a/@v/main.info", 200, `"Version":"v0.0.0-20260102030405-0123456789ab"`},
		{"/example.com/!a/@v/main.mod", 404, ""},
		{"/example.com/!a/@latest", 200, `"Version":"v1.0.0"`},
		{"/example.com/other/@v/v1.0.0.mod", 200, "module other\n"},
		{"/sumdb/db.test/x/supported", 200, ""},
		{"/sumdb/other/supported", 404, ""},
		{"/sumdb/db.test/x/lookup/example.com/!a@v1.0.0", 200, "example.com/A v1.0.0 h1:"},
		{"/sumdb/db.test/x/lookup/example.com/!a@v0.9.0", 404, ""},
	} {
		code, body := get(t, s, test.path)
		if code != test.code || !strings.Contains(body, test.text) {
			t.Errorf("GET %s = %d %q, want %d with %q", test.path, code, body, test.code, test.text)
		}
	}
	if got := len(s.Requests("/example.com/*")); got != 8 {
		t.Errorf("%d requests for modules, want 8: %q", got, s.Requests("*"))
	}
}

func TestChangedMind(t *testing.T) {
	s := start(t, "example.com/a@v1.0.0/a.go", "package a\n")
	_, before := get(t, s, "/sumdb/db.test/x/lookup/example.com/a@v1.0.0")
	_, zip := get(t, s, "/example.com/a/@v/v1.0.0.zip")
	if err := s.Add(tree("example.com/a@v1.0.0/a.go", "package b\n")); err != nil {
		t.Fatal(err)
	}
	_, after := get(t, s, "/sumdb/db.test/x/lookup/example.com/a@v1.0.0")
	if before != after {
		t.Errorf("the record changed:\n%s\n%s", before, after)
	}
	if _, other := get(t, s, "/example.com/a/@v/v1.0.0.zip"); other == zip {
		t.Error("the zip did not change")
	}
	s.Remove(module.Version{Path: "example.com/a", Version: "v1.0.0"})
	if code, _ := get(t, s, "/example.com/a/@v/v1.0.0.zip"); code != 404 {
		t.Errorf("zip of a removed version: %d", code)
	}
}

func TestFaults(t *testing.T) {
	s := start(t, "example.com/a@v1.0.0/a.go", "package a\n")
	const zip = "/example.com/a/@v/v1.0.0.zip"
	_, whole := get(t, s, zip)
	for name, test := range map[string]struct {
		fault Fault
		ok    func(code int, body string) bool
	}{
		"status":   {Status(429, "Retry-After", "7"), func(c int, b string) bool { return c == 429 }},
		"truncate": {Truncate, func(c int, b string) bool { return c == -1 }},
		"short":    {Short, func(c int, b string) bool { return c == 200 && len(b) == len(whole)/2 }},
		"garbage":  {Garbage, func(c int, b string) bool { return c == 200 && strings.Contains(b, "<!doctype") }},
		"loop":     {Loop, func(c int, b string) bool { return c == 0 && strings.Contains(b, "redirects") }},
		"corrupt": {Corrupt, func(c int, b string) bool {
			return c == 200 && b != whole && bytes.HasPrefix([]byte(b), []byte("PK"))
		}},
	} {
		s.Fault("/example.com/*.zip", 0, test.fault)
		if code, body := get(t, s, zip); !test.ok(code, body) {
			t.Errorf("%s: %d, %d bytes", name, code, len(body))
		}
		s.Heal()
	}
	s.Fault("*", 1, Status(500))
	first, _ := get(t, s, zip)
	second, _ := get(t, s, zip)
	if got := []int{first, second}; !slices.Equal(got, []int{500, 200}) {
		t.Errorf("fault for one request: %v", got)
	}
}

func TestHangAndStop(t *testing.T) {
	s := start(t, "example.com/a@v1.0.0/a.go", "package a\n")
	s.Fault("*", 0, Hang)
	done := make(chan int)
	go func() {
		code, _ := get(t, s, "/example.com/a/@v/list")
		done <- code
	}()
	if err := s.Await(t.Context(), "*/@v/list"); err != nil {
		t.Fatal(err)
	}
	s.Heal()
	if code := <-done; code != 0 {
		t.Errorf("a request that hung got %d", code)
	}
	s.Stop()
	if code, _ := get(t, s, "/example.com/a/@v/list"); code != 0 {
		t.Errorf("a stopped server answered %d", code)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if code, _ := get(t, s, "/example.com/a/@v/list"); code != 200 {
		t.Errorf("a server started again answered %d", code)
	}
}

// TestListLines shows the lines of a list as a tree says, over HTTP and in an
// exported tree.
func TestListLines(t *testing.T) {
	const pseudo = "v0.0.0-20260102030405-0123456789ab"
	s := start(t,
		"example.com/A@v1.0.0/a.go", "package a\n",
		"example.com/A@v1.0.0/.list", "# a comment\nv1.0.0 2026-01-02T03:04:05Z\n",
		"example.com/A@"+pseudo+"/a.go", "package a\n",
		"example.com/A@"+pseudo+"/.list", pseudo+"\n",
	)
	const want = pseudo + "\n# a comment\nv1.0.0 2026-01-02T03:04:05Z\n"
	if code, body := get(t, s, "/example.com/!a/@v/list"); code != 200 || body != want {
		t.Errorf("list = %d %q, want %q", code, body, want)
	}
	dir := t.TempDir()
	if err := s.Export(dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"list": want, "v1.0.0.mod": "module example.com/A\n", pseudo + ".info": `"Version":"` + pseudo} {
		data, err := os.ReadFile(filepath.Join(dir, "example.com/!a/@v", name))
		if err != nil || !strings.Contains(string(data), want) {
			t.Errorf("exported %s = %q, %v", name, data, err)
		}
	}
}

func TestTrickle(t *testing.T) {
	s := start(t, "example.com/a@v1.0.0/a.go", "package a\n")
	const zip = "/example.com/a/@v/v1.0.0.zip"
	_, whole := get(t, s, zip)
	s.Fault("*.zip", 1, Trickle(len(whole)/3, time.Millisecond))
	if code, body := get(t, s, zip); code != 200 || body != whole {
		t.Errorf("in thirds: %d, %d bytes", code, len(body))
	}
	// What comes a byte an hour comes when the faults end, and not before.
	s.Fault("*.zip", 0, Trickle(1, time.Hour))
	resp, err := http.Get(s.URL + zip)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, len(whole))
	if n, err := resp.Body.Read(first); n != 1 || err != nil {
		t.Errorf("first came %d bytes, %v", n, err)
	}
	s.Heal()
	if rest, err := io.ReadAll(resp.Body); err != nil || string(first[:1])+string(rest) != whole {
		t.Errorf("then %d of %d bytes, %v", len(rest), len(whole)-1, err)
	}
	s.Fault("*.zip", 0, Text("hello"))
	if code, body := get(t, s, zip); code != 200 || body != "hello" {
		t.Errorf("a text: %d %q", code, body)
	}
}
