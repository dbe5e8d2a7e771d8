// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package mirror_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.org/sumlog/log"
	"example.org/sumlog/mirror"
	"example.org/sumlog/mirror/admit"
	"example.org/sumlog/mirror/internal/mirrortest"
	"example.org/sumlog/mirror/store"
	"example.org/sumlog/mirror/upstream"
)

// world is a mirror and all it talks to.
type world struct {
	t               testing.TB
	dir             string
	log             *mirrortest.Log
	public, private *mirrortest.Upstream
	db              *mirrortest.Database
	store           *store.Store
	svc             *admit.Service
	logged          bytes.Buffer // lines of the error writer
	h               http.Handler
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), log: new(mirrortest.Log), public: new(mirrortest.Upstream), private: new(mirrortest.Upstream), db: new(mirrortest.Database)}
	var err error
	if w.store, err = store.Open(store.Config{Dir: w.dir}); err != nil {
		t.Fatal(err)
	}
	w.svc, err = admit.New(admit.Config{Log: w.log, Names: w.log, Store: w.store, Database: w.db,
		Router: &mirrortest.Router{Public: w.public, Private: w.private}})
	if err != nil {
		t.Fatal(err)
	}
	w.h, err = mirror.New(mirror.Config{Log: w.log, Names: w.log, Store: w.store, Admission: w.svc,
		Error: mirror.ErrorWriter(slog.New(slog.NewTextHandler(&w.logged, nil)))})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) close() {
	w.svc.Close()
	w.store.Close()
}

// offer has the upstream and the database offer m.
func (w *world) offer(m mirrortest.Module) mirrortest.Module {
	w.t.Helper()
	if strings.HasPrefix(m.Path, "private.example") {
		w.private.Add(m)
		return m
	}
	w.public.Add(m)
	w.db.Add(m.Record(w.t))
	return m
}

func (w *world) simple(path, version string) mirrortest.Module {
	w.t.Helper()
	return w.offer(mirrortest.Simple(w.t, path, version))
}

// admitted offers m and has it admitted, zip and all.
func (w *world) admitted(path, version string) mirrortest.Module {
	w.t.Helper()
	m := w.simple(path, version)
	if err := w.svc.Bytes(w.t.Context(), m.Version, store.Zip); err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *world) do(method, path string, header ...string) *http.Response {
	w.t.Helper()
	r := httptest.NewRequest(method, "/", nil)
	r.URL.Path = path
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, r)
	return rec.Result()
}

// get returns the body and the response.
func (w *world) get(path string, header ...string) (string, *http.Response) {
	w.t.Helper()
	resp := w.do("GET", path, header...)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	checkError(w.t, path, resp, string(body))
	return string(body), resp
}

// checkError checks what holds for every answer that is no success.
func checkError(t testing.TB, path string, resp *http.Response, body string) {
	t.Helper()
	if resp.StatusCode < 400 {
		return
	}
	h := resp.Header
	cache := "no-store"
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		cache = "" // net/http's own, and of no interest to caches
	}
	if h.Get("Content-Type") != "text/plain; charset=utf-8" || h.Get("Cache-Control") != cache || h.Get("ETag") != "" {
		t.Errorf("%s: %d with headers %v", path, resp.StatusCode, h)
	}
	if body == "" || len(body) > 601 || strings.Count(body, "\n") > 8 || strings.Contains(body, "\n\n") || !strings.HasSuffix(body, "\n") {
		t.Errorf("%s: %d with body %q", path, resp.StatusCode, body)
	}
	if strings.Contains(body, os.TempDir()) || strings.Contains(body, "mem/") || strings.Contains(body, "does not exist") {
		t.Errorf("%s: %d tells too much: %q", path, resp.StatusCode, body)
	}
}

// want gets path and checks status and body; an empty body is not compared.
func (w *world) want(path string, status int, body string, header ...string) {
	w.t.Helper()
	got, resp := w.get(path, header...)
	if resp.StatusCode != status || body != "" && got != body {
		w.t.Errorf("GET %s = %d %.200q, want %d %.200q", path, resp.StatusCode, got, status, body)
	}
}

func TestServe(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	for _, m := range []mirrortest.Module{w.simple("example.com/Upper", "v1.0.0"), w.simple("private.example/a", "v0.0.0-20240102030405-abcdefabcdef"),
		w.simple("example.com/b", "v2.0.0+incompatible")} {
		base := "/" + mirrortest.Name(m.Version, "")
		w.want(base+"info", 200, string(m.Info))
		if _, found, _ := w.log.Find(m.Version); found {
			t.Error("asking for .info admitted a version")
		}
		w.want(base+"mod", 200, string(m.Mod))
		if _, found, _ := w.log.Find(m.Version); !found {
			t.Error("a .mod was served that is not logged")
		}
		w.want(base+"zip", 200, string(m.Zip))
		w.want(base+"info", 200, string(m.Info))
	}
	// Again with upstream gone.
	gone := &upstream.Error{URL: "mem", Err: errors.New("connection refused")}
	w.public.Fail("", gone)
	w.want("/example.com/!upper/@v/v1.0.0.info", 200, "")
	w.want("/example.com/!upper/@v/v1.0.0.mod", 200, "")
	w.want("/example.com/!upper/@v/v1.0.0.zip", 200, "")
	w.want("/example.com/!upper/@v/list", 200, "v1.0.0\n")
	w.want("/example.com/!upper/@latest", 200, `{"Version":"v1.0.0","Time":"2024-05-06T07:08:09Z"}`)
}

func TestHeaders(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	m := w.admitted("example.com/a", "v1.0.0")
	for ext, want := range map[string]struct {
		data []byte
		ct   string
	}{"info": {m.Info, "application/json"}, "mod": {m.Mod, "text/plain; charset=utf-8"}, "zip": {m.Zip, "application/zip"}} {
		path := "/" + mirrortest.Name(m.Version, ext)
		etag := fmt.Sprintf(`"%x"`, sha256.Sum256(want.data))
		for _, method := range []string{"GET", "HEAD"} {
			resp := w.do(method, path)
			h := resp.Header
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != 200 || h.Get("ETag") != etag || h.Get("Content-Type") != want.ct ||
				h.Get("Cache-Control") != "public, max-age=31536000, immutable" || h.Get("Content-Length") != fmt.Sprint(len(want.data)) {
				t.Errorf("%s %s: %d %v", method, path, resp.StatusCode, h)
			}
			if wantBody := want.data; method == "GET" && !bytes.Equal(body, wantBody) || method == "HEAD" && len(body) > 0 {
				t.Errorf("%s %s: body %q", method, path, body)
			}
		}
		w.want(path, 304, "", "If-None-Match", etag)
		w.want(path, 200, "", "If-None-Match", `"x"`)
		w.want(path, 206, string(want.data[2:6]), "Range", "bytes=2-5")
		w.want(path, 200, string(want.data), "Range", "bytes=2-5", "If-Range", `"x"`)
		if _, resp := w.get(path, "Range", "bytes=9999999-"); resp.StatusCode != 416 || resp.Header.Get("ETag") != "" {
			t.Errorf("%s beyond its end: %d %v", path, resp.StatusCode, resp.Header)
		}
	}
	for _, path := range []string{"/example.com/a/@v/list", "/example.com/a/@v/main.info"} {
		w.public.Set("example.com/a/@v/main.info", m.Info)
		_, resp := w.get(path)
		if h := resp.Header; resp.StatusCode != 200 || h.Get("Cache-Control") != "public, max-age=60" || len(h.Get("ETag")) != 66 {
			t.Errorf("%s: %d %v", path, resp.StatusCode, h)
		}
		w.want(path, 304, "", "If-None-Match", resp.Header.Get("ETag"))
	}
	resp := w.do("POST", "/example.com/a/@v/list")
	if resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %v", resp.StatusCode, resp.Header)
	}
}

// TestUnion shows that list and latest are made of what upstream says and what
// is logged.
func TestUnion(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	w.admitted("example.com/a", "v1.2.0")
	w.admitted("example.com/a", "v0.0.0-20240102030405-abcdefabcdef")
	w.public.Set("example.com/a/@v/list", []byte("v1.10.0\nv1.3.0-rc.1\nv0.0.0-20250102030405-abcdefabcdef\n"))
	w.public.Set("example.com/a/@latest", []byte(`{"Version":"v1.10.0"}`))
	w.want("/example.com/a/@v/list", 200, "v1.2.0\nv1.3.0-rc.1\nv1.10.0\n")
	w.want("/example.com/a/@latest", 200, `{"Version":"v1.10.0"}`)
	w.want("/cached-only/example.com/a/@v/list", 200, "v1.2.0\n")
	w.want("/cached-only/example.com/a/@latest", 200, `{"Version":"v1.2.0","Time":"2024-05-06T07:08:09Z"}`)
}

// TestLatestBesideList shows that upstream's answer gives way to a later version of the
// list beside it, and to no other, and that it stands byte for byte where it stands.
func TestLatestBesideList(t *testing.T) {
	const pseudo = "v1.2.1-0.20240102030405-abcdefabcdef"
	for _, tt := range []struct {
		name     string
		said     string
		versions []string // with what stands in the go.mod; "-": none
		without  string   // suffix of what upstream fails to give
		want     string   // "": what upstream said
	}{
		{"newer", "v1.0.0", []string{"v1.0.0", "", "v1.5.0", ""}, "", "v1.5.0"},
		{"same", "v1.5.0", []string{"v1.0.0", "", "v1.5.0", ""}, "", ""},
		{"incompatible", "v20.10.0+incompatible", []string{"v20.10.0+incompatible", "-", "v28.5.2+incompatible", "-"}, "", "v28.5.2+incompatible"},
		{"beside a go.mod", "v1.0.0", []string{"v1.0.0", "", "v2.0.0+incompatible", "-"}, "", ""},
		{"prerelease", "v1.0.0", []string{"v1.0.0", "", "v1.1.0-rc.1", ""}, "", ""},
		{"unlisted", "v1.0.0", []string{"v1.1.0-rc.1", ""}, "", ""},
		{"lower release", "v1.1.0-rc.1", []string{"v1.0.0", "", "v1.1.0-rc.2", ""}, "", ""},
		{"retracted", "v1.0.0", []string{"v1.0.0", "", "v1.1.0", "retract v1.1.0"}, "", ""},
		{"retracted, but one", "v1.0.0", []string{"v1.0.0", "", "v1.1.0", "", "v1.2.0", "retract v1.2.0"}, "", "v1.1.0"},
		{"all retracted", "v1.0.0", []string{"v1.0.0", "", "v1.1.0", "retract [v1.0.0, v1.1.0]"}, "", ""},
		{"all retracted, but a pseudo-version", "v1.0.0", []string{"v1.0.0", "", "v1.1.0", "retract [v1.0.0, v1.1.0]", pseudo, ""}, "", ""},
		{"pseudo", pseudo, []string{"v1.0.0", "", "v1.3.0", ""}, "", ""},
		{"no list", "v1.0.0", []string{"v1.5.0", ""}, "@v/list", ""},
		{"no go.mod", "v1.0.0", []string{"v1.5.0", ""}, "v1.5.0.mod", ""},
		{"no .info", "v1.0.0", []string{"v1.5.0", ""}, "v1.5.0.info", ""},
	} {
		w := newWorld(t)
		for i := 0; i < len(tt.versions); i += 2 {
			files := []string{"x.go", "package x\n"}
			if mod := tt.versions[i+1]; mod != "-" {
				files = append(files, "go.mod", "module example.com/a\n\ngo 1.20\n\n"+mod+"\n")
			}
			w.offer(mirrortest.New(t, "example.com/a", tt.versions[i], files...))
		}
		if tt.without != "" {
			w.public.Fail(tt.without, &upstream.Error{URL: "mem", Status: 500})
		}
		said := fmt.Sprintf(`{ "Version": %q, "Origin": {} }`, tt.said)
		w.public.Set("example.com/a/@latest", []byte(said))
		want := said
		if tt.want != "" {
			want = fmt.Sprintf(`{"Version":%q,"Time":"2024-05-06T07:08:09Z"}`, tt.want)
		}
		if got, _ := w.get("/example.com/a/@latest"); got != want {
			t.Errorf("%s: %s, want %s", tt.name, got, want)
		}
		w.close()
	}
}

// TestLatestBesideLog shows that upstream's answer gives way to a later version of the
// log, which upstream no longer has.
func TestLatestBesideLog(t *testing.T) {
	const pseudo = "v1.9.1-0.20240102030405-abcdefabcdef"
	for _, tt := range []struct {
		name, said, logged, mod, want string
	}{
		{"newer", "v1.1.0", "v1.2.0", "", "v1.2.0"},
		{"older", "v1.1.0", "v1.0.0", "", ""},
		{"tag before pseudo", pseudo, "v1.2.0", "", "v1.2.0"},
		{"pseudo", "v1.1.0", pseudo, "", ""},
		{"retracted", pseudo, "v1.2.0", "retract v1.2.0", ""},
	} {
		w := newWorld(t)
		m := w.offer(mirrortest.New(t, "example.com/a", tt.logged, "go.mod", "module example.com/a\n\n"+tt.mod+"\n"))
		if err := w.svc.Bytes(t.Context(), m.Version, store.Zip); err != nil {
			t.Fatal(err)
		}
		for _, ext := range []string{"info", "mod", "zip"} {
			w.public.Set(mirrortest.Name(m.Version, ext), nil)
		}
		w.public.Set("example.com/a/@v/list", []byte("v1.1.0\n"))
		if tt.said == pseudo {
			w.public.Set("example.com/a/@v/list", []byte{})
		}
		said := fmt.Sprintf(`{ "Version": %q, "Origin": {} }`, tt.said)
		w.public.Set("example.com/a/@latest", []byte(said))
		want := said
		if tt.want != "" {
			want = fmt.Sprintf(`{"Version":%q,"Time":"2024-05-06T07:08:09Z"}`, tt.want)
		}
		if got, _ := w.get("/example.com/a/@latest"); got != want {
			t.Errorf("%s: %s, want %s", tt.name, got, want)
		}
		w.close()
	}
}

// TestWithoutInfo shows that beside a list of upstream's a logged version counts only
// if its .info is stored, and that without such a list it counts.
func TestWithoutInfo(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	w.admitted("example.com/a", "v1.0.0")
	m := w.admitted("example.com/a", "v1.2.0")
	os.Remove(filepath.Join(w.dir, mirrortest.Name(m.Version, "info")))
	w.public.Set("example.com/a/@v/list", []byte("v1.0.0\nv1.1.0\n"))
	said := `{"Version":"v1.1.0"}`
	w.public.Set("example.com/a/@latest", []byte(said))
	w.want("/example.com/a/@v/list", 200, "v1.0.0\nv1.1.0\n")
	w.want("/example.com/a/@latest", 200, said)

	w = newWorld(t)
	defer w.close()
	w.admitted("example.com/a", "v1.0.0")
	m = w.admitted("example.com/a", "v1.2.0")
	os.Remove(filepath.Join(w.dir, mirrortest.Name(m.Version, "info")))
	w.public.Fail("", &upstream.Error{URL: "mem", Status: 500})
	w.want("/example.com/a/@v/list", 200, "v1.0.0\nv1.2.0\n")
	w.want("/example.com/a/@latest", 200, `{"Version":"v1.2.0","Time":"2025-01-02T03:04:05.000001Z"}`)
}

func TestLoggedLatest(t *testing.T) {
	for _, tt := range []struct {
		want     string
		versions []string
	}{
		{"v1.10.0", []string{"v1.9.0", "v1.10.0", "v1.11.0-rc.1"}},
		{"v1.11.0-rc.2", []string{"v1.11.0-rc.1", "v1.11.0-rc.2", "v0.0.0-20990102030405-abcdefabcdef"}},
		{"v0.0.0-20250102030405-abcdefabcdef", []string{"v1.0.1-0.20240102030405-abcdefabcdef", "v0.0.0-20250102030405-abcdefabcdef"}},
		{"v1.0.0", []string{"v1.0.0", "v2.0.0+incompatible"}},
		{"v3.0.0+incompatible", []string{"v2.0.0+incompatible", "v3.0.0+incompatible", "v1.0.0-rc.1"}},
	} {
		w := newWorld(t)
		for _, v := range tt.versions {
			w.admitted("example.com/a", v)
		}
		w.want("/cached-only/example.com/a/@latest", 200, fmt.Sprintf(`{"Version":%q,"Time":"2024-05-06T07:08:09Z"}`, tt.want))
		w.close()
	}
	// Without the .info: the time of the pseudo-version, or that of the entry.
	for v, when := range map[string]string{"v0.0.0-20240102030405-abcdefabcdef": "2024-01-02T03:04:05Z", "v1.0.0": "2025-01-02T03:04:05Z"} {
		w := newWorld(t)
		m := w.admitted("example.com/a", v)
		os.Remove(filepath.Join(w.dir, mirrortest.Name(m.Version, "info")))
		w.want("/cached-only/example.com/a/@latest", 200, fmt.Sprintf(`{"Version":%q,"Time":%q}`, v, when))
		w.close()
	}
}

// TestCachedOnly shows that answers under /cached-only/, or with the header,
// never reach an upstream.
func TestCachedOnly(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	m := w.admitted("example.com/a", "v1.0.0")
	n := w.public.Total()
	w.simple("example.com/a", "v1.1.0")
	w.simple("example.com/b", "v1.0.0")
	for _, off := range []struct {
		prefix string
		header []string
	}{{"/cached-only", nil}, {"", []string{"Disable-Module-Fetch", "true"}}} {
		for _, ext := range []string{"info", "mod", "zip"} {
			w.want(off.prefix+"/"+mirrortest.Name(m.Version, ext), 200, "", off.header...)
			w.want(off.prefix+"/example.com/a/@v/v1.1.0."+ext, 404, "not found: example.com/a@v1.1.0 is not in this mirror: temporarily unavailable\n", off.header...)
		}
		w.want(off.prefix+"/example.com/a/@v/list", 200, "v1.0.0\n", off.header...)
		w.want(off.prefix+"/example.com/a/@v/main.info", 404, "", off.header...)
		w.want(off.prefix+"/example.com/b/@v/list", 404, "", off.header...)
		w.want(off.prefix+"/example.com/b/@latest", 404, "", off.header...)
	}
	if got := w.public.Total(); got != n {
		t.Errorf("upstream was asked %d times", got-n)
	}
}

// unpublished is a log that has not published what its index has.
type unpublished struct{ *mirrortest.Log }

func (unpublished) Published() *log.Publication { return new(log.Publication) }

// TestUnpublished shows that bytes of an entry that is not published yet are
// not served, though they are here and the index has the entry.
func TestUnpublished(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	m := w.admitted("example.com/a", "v1.0.0")
	h, err := mirror.New(mirror.Config{Log: unpublished{w.log}, Names: w.log, Store: w.store, Admission: w.svc, Error: mirror.ErrorWriter(nil)})
	if err != nil {
		t.Fatal(err)
	}
	w.h = h
	for _, file := range []string{mirrortest.Name(m.Version, "mod"), mirrortest.Name(m.Version, "zip"), "example.com/a/@v/list", "example.com/a/@latest"} {
		w.want("/cached-only/"+file, 404, "")
	}
}

// TestDamaged shows that a stored file that rotted is fetched again and never
// served, and that it is not reported as absent when upstream is gone.
func TestDamaged(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	m := w.admitted("example.com/a", "v1.0.0")
	name := filepath.Join(w.dir, mirrortest.Name(m.Version, "zip"))
	for _, up := range []bool{true, false} {
		os.WriteFile(name, []byte("rot"), 0o644)
		if !up {
			w.public.Fail("zip", &upstream.Error{URL: "mem", Status: 502})
			w.want("/"+mirrortest.Name(m.Version, "zip"), 502, "")
			continue
		}
		w.want("/"+mirrortest.Name(m.Version, "zip"), 200, string(m.Zip))
	}
}

// TestInfoComesBack shows that a .info that was lost is stored again.
func TestInfoComesBack(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	m := w.admitted("example.com/a", "v1.0.0")
	os.Remove(filepath.Join(w.dir, mirrortest.Name(m.Version, "info")))
	w.want("/example.com/a/@v/v1.0.0.info", 200, string(m.Info))
	w.want("/cached-only/example.com/a/@v/v1.0.0.info", 200, string(m.Info))
}

// TestTableLogged is TestTable for a module that is logged and stored: its
// files, its list and its latest are had whatever upstream says.
func TestTableLogged(t *testing.T) {
	for _, status := range []int{404, 410, 401, 403, 429, 500, 503, 0} {
		w := newWorld(t)
		m := w.admitted("example.com/a", "v1.0.0")
		w.public.Fail("", &upstream.Error{URL: "mem", Status: status, Err: io.ErrUnexpectedEOF})
		for _, ext := range []string{"info", "mod", "zip"} {
			w.want("/"+mirrortest.Name(m.Version, ext), 200, "")
		}
		w.want("/example.com/a/@v/list", 200, "v1.0.0\n")
		w.want("/example.com/a/@latest", 200, `{"Version":"v1.0.0","Time":"2024-05-06T07:08:09Z"}`)
		w.close()
	}
}

// TestHang shows how long a request is held by an upstream that hangs.
func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.admitted("example.com/logged", "v1.0.0")
		w.simple("example.com/a", "v1.0.0")
		defer w.public.Hang("")()
		for _, file := range []string{"a/@v/list", "a/@latest", "a/@v/v1.0.0.info", "a/@v/v1.0.0.mod", "a/@v/v1.0.0.zip", "a/@v/main.info"} {
			began := time.Now()
			// Later requests join fetches that are about to be given up.
			_, resp := w.get("/example.com/" + file)
			most := 30 * time.Second
			if strings.HasSuffix(file, ".mod") || strings.HasSuffix(file, ".zip") {
				most = 5 * time.Minute
			}
			if d := time.Since(began); d > most || resp.StatusCode != 503 && resp.StatusCode != 504 {
				t.Errorf("%s: %d after %v", file, resp.StatusCode, d)
			}
		}
		for _, file := range []string{"@v/list", "@latest", "@v/v1.0.0.info", "@v/v1.0.0.mod", "@v/v1.0.0.zip"} {
			began := time.Now()
			w.want("/example.com/logged/"+file, 200, "")
			if d := time.Since(began); d > 2*time.Second {
				t.Errorf("%s of a logged version took %v", file, d)
			}
		}
	})
}

// TestSlowLatest shows that all that the latest is made of comes within the time of one
// request, though each part would.
func TestSlowLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.simple("example.com/a", "v1.0.0")
		time.AfterFunc(15*time.Second, w.public.Hang("@latest"))
		time.AfterFunc(37*time.Second, w.public.Hang("@v/list"))
		began := time.Now()
		w.want("/example.com/a/@latest", 503, "example.com/a/@latest: "+admit.ErrTimeout.Error()+"\n")
		if d := time.Since(began); d > 29*time.Second {
			t.Errorf("the latest took %v", d)
		}
		time.Sleep(10 * time.Second)
		w.want("/example.com/a/@latest", 200, `{"Version":"v1.0.0","Time":"2024-05-06T07:08:09Z"}`)
	})
}

// TestStampede has fifty clients want a cold version.
func TestStampede(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		m := w.simple("example.com/a", "v1.0.0")
		release := w.public.Hang(".info")
		var wg sync.WaitGroup
		for range 50 {
			for _, ext := range []string{"info", "mod", "zip"} {
				wg.Go(func() { w.want("/"+mirrortest.Name(m.Version, ext), 200, "") })
			}
		}
		synctest.Wait()
		release()
		wg.Wait()
		for _, ext := range []string{"info", "mod", "zip"} {
			if n := w.public.Counts()[mirrortest.Name(m.Version, ext)]; n != 1 {
				t.Errorf("upstream was asked %d times for the .%s", n, ext)
			}
		}
	})
}

// TestHugeRetractions shows that a go.mod too large to be parsed for every request
// retracts nothing.
func TestHugeRetractions(t *testing.T) {
	for pad, want := range map[int]string{1: "v1.0.0", 1 << 18: "v1.1.0"} {
		w := newWorld(t)
		w.admitted("example.com/a", "v1.0.0")
		m := w.offer(mirrortest.New(t, "example.com/a", "v1.1.0", "x.go", "package x\n",
			"go.mod", "module example.com/a\n\nretract v1.1.0\n"+strings.Repeat("// \n", pad)))
		if err := w.svc.Bytes(t.Context(), m.Version, store.Zip); err != nil {
			t.Fatal(err)
		}
		w.want("/example.com/a/@latest", 200, fmt.Sprintf(`{"Version":%q,"Time":"2024-05-06T07:08:09Z"}`, want))
		w.close()
	}
}
