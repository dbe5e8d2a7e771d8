// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"example.org/sumlog/internal/testupstream"
)

// TestLookupTable goes through what an upstream can say when a lookup, the
// log's own or a relayed one, needs it: of the public database, and of the
// module. (Lists and files have tables of their own in package mirror.) Whatever
// it says, nothing is logged, and no cache may keep the answer.
func TestLookupTable(t *testing.T) {
	rows := []struct {
		name   string
		fault  testupstream.Fault
		status []int
		retry  string
	}{
		{"404", testupstream.Status(404), []int{404}, ""},
		{"410", testupstream.Status(410), []int{404}, ""},
		{"401", testupstream.Status(401), []int{403, 502}, ""},
		{"403", testupstream.Status(403), []int{403, 502}, ""},
		{"429", testupstream.Status(429, "Retry-After", "17"), []int{429, 503}, "17"},
		{"500", testupstream.Status(500), []int{502, 503}, ""},
		{"503", testupstream.Status(503, "Retry-After", "90"), []int{502, 503}, "90"},
		{"garbage", testupstream.Garbage, []int{502, 503}, ""},
		{"truncated", testupstream.Truncate, []int{502, 503}, ""},
		{"short", testupstream.Short, []int{502, 503}, ""},
		{"redirect loop", testupstream.Loop, []int{502, 503}, ""},
	}
	k := newKill(t, "")
	p, urls := k.start()
	defer func() {
		p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("the server said:\n%s", p.text())
		}
	}()
	url, ok := <-urls
	if !ok {
		t.Fatalf("server ended: %s", p.text())
	}
	relay := "/sumdb/" + k.up.Name
	for i, row := range rows {
		// Modules of its own for each row: absence is believed for a while.
		lookup, other := "/lookup/"+killPath(int64(i)), killPath(int64(100+i))
		for pattern, path := range map[string]string{
			"/sumdb/*" + lookup: lookup,         // the database, for an admission
			"*" + lookup:        relay + lookup, // the database, relayed
			"/" + strings.Replace(other, "@", "/@v/", 1) + ".*": "/lookup/" + other, // the module
		} {
			k.up.Fault(pattern, 0, row.fault)
			want := row.status
			if pattern == "/sumdb/*"+lookup && slices.Equal(want, []int{404}) {
				want = []int{503} // the module is there
			}
			resp, err := killClient.Get(url + path)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if !slices.Contains(want, resp.StatusCode) || resp.Header.Get("Retry-After") != row.retry && row.retry != "" {
				t.Errorf("%s of %s: %s = %d %q, Retry-After %q, want %v", row.name, pattern, path, resp.StatusCode, body, resp.Header.Get("Retry-After"), want)
			}
			if c := resp.Header.Get("Cache-Control"); c != "no-store" {
				t.Errorf("%s: %s: Cache-Control %q", row.name, path, c)
			}
			k.up.Heal()
		}
	}
	if feed, err := fetchOK(url + "/index"); err != nil || feed != "" {
		t.Errorf("logged: %q, %v", feed, err)
	}
	if _, err := fetchOK(url + "/lookup/" + killPath(500)); err != nil {
		t.Errorf("after all of that: %v", err)
	}
	if n := len(k.up.Requests(fmt.Sprintf("/sumdb/*/lookup/%s", killPath(500)))); n != 1 {
		t.Errorf("%d lookups of a healthy module, want 1", n)
	}
}

// TestAbsenceTable goes through what public and private upstreams can say of a
// version, beside what the database says: 404 means absent, and only that.
func TestAbsenceTable(t *testing.T) {
	t.Parallel()
	tree := func(files ...string) fstest.MapFS {
		fsys := fstest.MapFS{}
		for i := 0; i < len(files); i += 2 {
			fsys[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
		}
		return fsys
	}
	const notLogged = "example.com/notlogged@v1.0.0/"
	up, err := testupstream.New("sum.example.net", tree(
		notLogged+"go.mod", "module example.com/notlogged\n", notLogged+".unlogged", "",
		"example.com/brokeninfo@v1.0.0/go.mod", "module example.com/brokeninfo\n", "example.com/brokeninfo@v1.0.0/.unlogged", "",
		"example.com/onlymod@v1.0.0/go.mod", "module example.com/onlymod\n",
		"example.com/onlyzip@v1.0.0/go.mod", "module example.com/onlyzip\n",
		"example.com/noinfo@v1.0.0/go.mod", "module example.com/noinfo\n",
		"example.com/changedmod@v1.0.0/go.mod", "module example.com/changedmod\n",
		"example.com/changedzip@v1.0.0/go.mod", "module example.com/changedzip\n",
	))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Stop)
	private, err := testupstream.New("none.example.net", tree(
		"corp.example/meaning@v1.0.0/go.mod", "module corp.example/meaning\n\nrequire corp.example/other v1.0.0\n",
		"corp.example/meaning@v1.0.0/.mod", "module corp.example/meaning\n",
		"corp.example/lineends@v1.0.0/go.mod", "module corp.example/lineends\r\n",
		"corp.example/lineends@v1.0.0/.mod", "module corp.example/lineends\n",
		"corp.example/mark@v1.0.0/go.mod", "\ufeffmodule corp.example/mark\n",
		"corp.example/mark@v1.0.0/.mod", "module corp.example/mark\n",
		"corp.example/name@v1.0.0/go.mod", "module corp.example/name\n",
		"corp.example/prefix@v1.0.0/go.mod", "module corp.example/prefix\n",
		"corp.example/twice@v1.0.0/go.mod", "module corp.example/twice\n",
		"corp.example/cut@v1.0.0/go.mod", "module corp.example/cut\n",
		"corp.example/page@v1.0.0/go.mod", "module corp.example/page\n",
		"corp.example/list@v1.0.0/go.mod", "module corp.example/list\n",
	))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(private.Stop)
	zipOf := func(names ...string) testupstream.Fault {
		var b bytes.Buffer
		zw := zip.NewWriter(&b)
		for _, name := range names {
			w, err := zw.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(w, "module corp.example/name\n")
		}
		if err := zw.Close(); err != nil {
			t.Fatal(err)
		}
		return testupstream.Text(b.String())
	}
	for pattern, f := range map[string]testupstream.Fault{
		"/example.com/brokeninfo/*.info": testupstream.Status(500),
		"/example.com/onlymod/*.info":    testupstream.Status(404),
		"/example.com/onlymod/*.zip":     testupstream.Status(404),
		"/example.com/onlyzip/*.info":    testupstream.Status(404),
		"/example.com/onlyzip/*.mod":     testupstream.Status(404),
		"/example.com/noinfo/*.info":     testupstream.Status(410),
		"/example.com/changedmod/*.mod":  testupstream.Corrupt,
		"/example.com/changedzip/*.zip":  testupstream.Corrupt,
		"/example.com/junk/@v/list":      testupstream.Text("v1.0.0\nmain\n# comment\nv1.0.x\n\nv1.1.0 2026-01-02T03:04:05Z\r\n"),
		"/example.com/onlyjunk/@v/list":  testupstream.Text("main\nmaster\n"),
		"/example.com/login/@v/list":     testupstream.Text("<!doctype html>\n<title>please log in</title>\n"),
		"/example.com/loginline/@v/list": testupstream.Text("<html><body>v1.0.0\nv1.1.0\n</body></html>\n"),
		"/example.com/emptylist/@v/list": testupstream.Text(""),
		"/example.com/nothing/@v/list":   testupstream.Status(404),
	} {
		up.Fault(pattern, 0, f)
	}
	for pattern, f := range map[string]testupstream.Fault{
		"/corp.example/name/*.zip":   zipOf("corp.example/name@v1.0.0/go.mod", "corp.example/name@v1.0.0/a?b.go"),
		"/corp.example/prefix/*.zip": zipOf("corp.example/other@v1.0.0/go.mod"),
		"/corp.example/twice/*.zip":  zipOf("corp.example/twice@v1.0.0/a.go", "corp.example/twice@v1.0.0/A.go"),
		"/corp.example/cut/*.zip":    testupstream.Truncate,
		"/corp.example/page/*.zip":   testupstream.Garbage,
	} {
		private.Fault(pattern, 0, f)
	}
	dir := filepath.Join(t.TempDir(), "d")
	url := serveNew(t, "-dir", dir, "-upstream", up.URL, "-sumdb", up.VKey, "-private", "corp.example", "-private-upstream", private.URL)
	bad := []int{502, 503}
	for _, row := range []struct {
		path   string
		status []int
		text   string // part of the answer
	}{
		// Unknown to the database, and the upstream has it: perhaps private,
		// perhaps not yet known. What it is may be asked.
		{"/lookup/example.com/notlogged@v1.0.0", []int{503}, "-private"},
		{"/example.com/notlogged/@v/v1.0.0.mod", []int{503}, "-private"},
		{"/example.com/notlogged/@v/v1.0.0.zip", []int{503}, "-private"},
		{"/example.com/notlogged/@v/v1.0.0.info", []int{200}, "v1.0.0"},
		{"/cached-only/example.com/notlogged/@v/v1.0.0.mod", []int{404}, ""},
		// The relay says what the database says.
		{"/sumdb/sum.example.net/lookup/example.com/notlogged@v1.0.0", []int{404}, ""},
		// Unknown to both.
		{"/lookup/example.com/neither@v1.0.0", []int{404}, "not found"},
		{"/example.com/neither/@v/v1.0.0.mod", []int{404}, "not found"},
		{"/example.com/neither/@v/v1.0.0.zip", []int{404}, "not found"},
		{"/example.com/neither/@v/v1.0.0.info", []int{404}, "not found"},
		{"/lookup/example.com/notlogged@v1.9.0", []int{404}, "not found"},
		// Unknown to the database, and the upstream cannot say.
		{"/lookup/example.com/brokeninfo@v1.0.0", bad, ""},
		{"/example.com/brokeninfo/@v/v1.0.0.mod", bad, ""},
		{"/example.com/brokeninfo/@v/v1.0.0.zip", bad, ""},
		// Proven, and the upstream has a part.
		{"/example.com/onlymod/@v/v1.0.0.mod", []int{200}, "module example.com/onlymod"},
		{"/example.com/onlymod/@v/v1.0.0.info", []int{404}, ""},
		{"/example.com/onlymod/@v/v1.0.0.zip", []int{404}, ""},
		{"/lookup/example.com/onlymod@v1.0.0", []int{200}, "example.com/onlymod v1.0.0 h1:"},
		{"/example.com/onlyzip/@v/v1.0.0.mod", []int{404}, ""},
		{"/example.com/noinfo/@v/v1.0.0.zip", []int{200}, "PK"},
		{"/example.com/noinfo/@v/v1.0.0.info", []int{404}, ""},
		// Proven, and the upstream has other bytes.
		{"/example.com/changedmod/@v/v1.0.0.mod", []int{502}, "checksum mismatch"},
		{"/example.com/changedzip/@v/v1.0.0.zip", []int{502}, "checksum mismatch"},
		// Whole, well-formed, and never a module.
		{"/corp.example/meaning/@v/v1.0.0.mod", []int{404}, "go.mod"},
		{"/corp.example/meaning/@v/v1.0.0.zip", []int{404}, "go.mod"},
		{"/lookup/corp.example/meaning@v1.0.0", []int{404}, "go.mod"},
		{"/corp.example/name/@v/v1.0.0.zip", []int{404}, "a?b.go"},
		{"/lookup/corp.example/name@v1.0.0", []int{404}, "a?b.go"},
		{"/corp.example/prefix/@v/v1.0.0.zip", []int{404}, "corp.example/"},
		{"/corp.example/twice/@v/v1.0.0.zip", []int{404}, "A.go"},
		// The same meaning.
		{"/corp.example/lineends/@v/v1.0.0.mod", []int{200}, "module corp.example/lineends\n"},
		{"/corp.example/mark/@v/v1.0.0.mod", []int{200}, "module corp.example/mark\n"},
		// Not whole, or not what was asked for.
		{"/corp.example/cut/@v/v1.0.0.zip", bad, ""},
		{"/corp.example/page/@v/v1.0.0.zip", bad, ""},
		{"/lookup/corp.example/page@v1.0.0", bad, ""},
		// Lists.
		{"/example.com/junk/@v/list", []int{200}, "v1.0.0\nv1.1.0\n"},
		{"/example.com/onlyjunk/@v/list", []int{200}, ""},
		{"/example.com/emptylist/@v/list", []int{200}, ""},
		{"/example.com/nothing/@v/list", []int{404}, "not found"},
		{"/example.com/login/@v/list", []int{502}, ""},
		{"/example.com/loginline/@v/list", []int{502}, ""},
		{"/example.com/neither/@latest", []int{404}, "not found"},
		{"/corp.example/list/@v/list", []int{200}, "v1.0.0\n"},
	} {
		resp, err := killClient.Get(url + row.path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !slices.Contains(row.status, resp.StatusCode) || !strings.Contains(string(body), row.text) {
			t.Errorf("%s = %d %q, %v, want %v with %q", row.path, resp.StatusCode, body, err, row.status, row.text)
		}
		if resp.StatusCode == http.StatusOK {
			continue
		}
		if c := resp.Header.Get("Cache-Control"); c != "no-store" {
			t.Errorf("%s: Cache-Control %q", row.path, c)
		}
		if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); resp.StatusCode == 503 && (err != nil || n < 1) {
			t.Errorf("%s: %d with Retry-After %q", row.path, resp.StatusCode, resp.Header.Get("Retry-After"))
		}
		if strings.Contains(string(body), dir) || strings.Contains(string(body), "127.0.0.1") {
			t.Errorf("%s names what is nobody's business: %s", row.path, body)
		}
	}
	// What was refused was not logged. Only other bytes than a record's are evidence.
	feed, err := fetchOK(url + "/index")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"notlogged", "neither", "brokeninfo", "changed", "meaning", "name", "prefix", "twice", "cut", "page"} {
		if strings.Contains(feed, "/"+name) {
			t.Errorf("%s was logged:\n%s", name, feed)
		}
	}
	evidence, err := os.ReadDir(filepath.Join(dir, "evidence"))
	if err != nil || len(evidence) != 2 {
		t.Errorf("evidence %v, %v, want two pieces", evidence, err)
	}
	// When the database has come to know it, it is there: that it failed is not
	// remembered.
	if err := up.Add(tree(notLogged+"go.mod", "module example.com/notlogged\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := fetchOK(url + "/example.com/notlogged/@v/v1.0.0.zip"); err != nil {
		t.Errorf("what the database has come to know: %v", err)
	}
}

// TestDatabasePlace shows that what an upstream says of a module is not taken for
// what it says of the database: here, that it does not carry it, after which the
// database would be looked for at its own host for ever.
func TestDatabasePlace(t *testing.T) {
	t.Parallel()
	up, err := testupstream.New("sum.example.net", fstest.MapFS{
		"example.com/there@v1.0.0/go.mod": {Data: []byte("module example.com/there\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Stop)
	// The absence of the module is known first.
	up.Fault("/sumdb/*/supported", 1, func(w http.ResponseWriter, r *http.Request, right http.HandlerFunc, _ <-chan struct{}) {
		select {
		case <-time.After(300 * time.Millisecond):
			right(w, r)
		case <-r.Context().Done():
		}
	})
	url := serveNew(t, "-upstream", up.URL, "-sumdb", up.VKey)
	if status, err := statusOf(url + "/lookup/example.com/missing@v1.0.0"); err != nil || status != 404 {
		t.Errorf("a missing module: %d, %v", status, err)
	}
	if _, err := fetchOK(url + "/lookup/example.com/there@v1.0.0"); err != nil {
		t.Errorf("after that: %v", err)
	}
	if n := len(up.Requests("/sumdb/*/lookup/example.com/there*")); n != 1 {
		t.Errorf("the database was asked %d times through the upstream", n)
	}
}
