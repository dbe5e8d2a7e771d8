// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package mirror_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/mod/module"
)

// hostile are paths that no go command sends.
var hostile = []string{
	"", "/", "//", "/@", "/@v", "/@v/list", "/@latest", "/example.com", "/example.com/", "/example.com/a/@v/", "/example.com/a/@v",
	"/example.com/a/@v/.info", "/example.com/a/@v/.", "/example.com/a/@v/v1.0.0", "/example.com/a/@v/v1.0.0.exe", "/example.com/a/@v/v1.0.0.ziphash",
	"/example.com/a/@v/list/", "/example.com/a/@latest/", "/example.com/a/@v/../@v/list", "/example.com/../a/@v/list", "/../../etc/passwd",
	"/example.com/a/../@v/list", "/example.com//a/@v/list", "//example.com/a/@v/list", "/./example.com/@v/list", "/example.com/a/@v/a/b.info",
	"/example.com/A/@v/list", "/example.com/!/@v/list", "/example.com/!A/@v/list", "/example.com/!!a/@v/list", "/example.com/!1/@v/list",
	"/example.com/a/@v/V1.0.0.info", "/example.com/a/@v/!v!.info", "/example.com/a\x00/@v/list", "/example.com/a/@v/v1.0.0\x00.info", "/\xff\xfe/@v/list",
	"/example.com/a/@v/\xff.info", "/example.com/é/@v/list", "/example.com/a b/@v/list", "/example.com/a/@v/v1.0.0 .mod", "/example.com/a\\b/@v/list",
	"/nodot/@v/list", "/localhost/@v/list", "/a/b/@latest", "/.example.com/a/@v/list", "/example.com/.a/@v/../list", "/example.com/con/@v/list",
	"/example.com/a/@v/v1.mod", "/example.com/a/@v/main.zip", "/example.com/a/@v/v2.0.0.mod", "/example.com/a/@v/v1.0.0+meta.zip",
	"/example.com/a/v1/@v/list", "/10.0.0.1/a/@v/list", "/10.0.0.1/a/@latest", "/10.0.0.1/a/@v/v1.0.0.mod",
	"/cached-only", "/cached-only/", "/cached-only/@v/list", "/cached-only/cached-only/example.com/a/@v/list", "/cached-only/../example.com/a/@v/list",
	"/" + strings.Repeat("a/", 2000) + "@v/list", "/example.com/" + strings.Repeat("a", 100000) + "/@v/list",
	"/example.com/a/@v/v1.0.0-" + strings.Repeat("a", 1000) + ".mod", "/example.com/a/@v/" + strings.Repeat("a", 1000) + ".info",
	"/example.com/" + strings.Repeat("a", 300) + "/@v/v1.0.0.mod", "/example.com/a@v1.0.0/@v/list", "/example.com/a/@v/v1.0.0.mod?x=1",
}

func TestHostile(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	for _, path := range hostile {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "BREW"} {
			resp := w.do(method, path)
			want := 404
			if method != "GET" && method != "HEAD" {
				want = 405
			}
			if resp.StatusCode != want {
				t.Errorf("%s %.60q = %d, want %d", method, path, resp.StatusCode, want)
			}
		}
	}
	if n := w.public.Total() + w.private.Total() + w.db.Asked; n > 0 {
		t.Errorf("upstream was asked: %v", w.public.Counts())
	}
}

// TestEscapes sends paths as they are on the wire.
func TestEscapes(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	m := w.admitted("example.com/Upper", "v2.0.0+incompatible")
	n := w.public.Total()
	srv := httptest.NewServer(w.h)
	defer srv.Close()
	for path, want := range map[string]int{
		"/example.com/!upper/@v/v2.0.0+incompatible.mod":     200,
		"/example.com/%21upper/@v/v2.0.0+incompatible.mod":   200, // as the go command sends it
		"/example.com/%21upper/@v/v2.0.0%2bincompatible.mod": 200,
		"/example.com%2f%21upper/@v/v2.0.0+incompatible.mod": 404,
		"/example.com/%21upper/@v%2Fv2.0.0+incompatible.mod": 404,
		"/example.com/%2e%2e/%21upper/@v/list":               404,
		"/example.com/%00/@v/list":                           404,
		"/example.com/%ff/@v/list":                           404,
		"/example.com/Upper/@v/v2.0.0+incompatible.mod":      404,
		"/example.com/%2521upper/@v/v2.0.0+incompatible.mod": 404,
		"/cached-only/example.com/%21upper/@v/list":          200,
		"/cached-only%2fexample.com/%21upper/@v/list":        404,
		"/cached-only/example.com/!upper/@v/list?go-get=1#x": 200,
	} {
		resp, err := http.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s = %d, want %d", path, resp.StatusCode, want)
		}
	}
	if got := w.public.Total(); got != n {
		t.Errorf("upstream was asked: %v", w.public.Counts())
	}
	_ = m
}

// FuzzPath shows that no path makes a 5xx, and that upstream hears only of
// module paths, and of files they could have.
func FuzzPath(f *testing.F) {
	for _, p := range hostile {
		f.Add(p)
	}
	for _, p := range []string{"/example.com/a/@v/list", "/example.com/a/@latest", "/example.com/a/@v/v1.0.0.info", "/example.com/a/@v/main.info",
		"/example.com/!a/@v/v1.0.0.mod", "/cached-only/example.com/a/@v/v1.0.0.zip", "/gopkg.in/yaml.v2/@v/v2.0.0.zip"} {
		f.Add(p)
	}
	w := newWorld(f)
	f.Cleanup(w.close)
	w.admitted("example.com/a", "v1.0.0")
	known := w.public.Counts()
	f.Fuzz(func(t *testing.T, path string) {
		r := &http.Request{Method: "GET", URL: &url.URL{Path: path}, Header: http.Header{}}
		rec := httptest.NewRecorder()
		w.h.ServeHTTP(rec, r.WithContext(t.Context()))
		if rec.Code >= 500 {
			t.Errorf("GET %q = %d %q", path, rec.Code, rec.Body)
		}
		checkError(t, path, rec.Result(), rec.Body.String())
		for name := range w.public.Counts() {
			if known[name] > 0 {
				continue
			}
			escaped, file, _ := strings.Cut(name, "/@")
			_, err := module.UnescapePath(escaped)
			base, ok := strings.CutPrefix(file, "v/")
			if err != nil || file != "latest" && (!ok || strings.Contains(base, "/")) || len(name) > 2048 {
				t.Errorf("GET %q: upstream was asked for %q", path, name)
			}
			known[name]++
		}
	})
}
