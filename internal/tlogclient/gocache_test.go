// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient_test

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/tlogclient"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// TestGoCache reads what the go command has left on this machine after it has
// downloaded modules and verified them with a checksum database.
func TestGoCache(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	gopath, modcache := filepath.Join(dir, "gopath"), filepath.Join(dir, "modcache")
	key, records := download(t, goTool, gopath, modcache)
	src, err := tlogclient.GoCache(modcache, gopath, "sum.example/team")
	if err != nil {
		t.Fatal(err)
	}
	c, err := tlogclient.New(tlogclient.Config{Source: src, Layout: tlogclient.Database, Keys: []*checkpoint.Key{key}})
	if err != nil {
		t.Fatal(err)
	}
	head, err := c.Head(t.Context())
	if err != nil || head.Size != 2 {
		t.Fatalf("head %+v, %v", head, err)
	}
	for m, want := range records {
		a, err := c.Lookup(t.Context(), m.Path, m.Version)
		if err != nil || string(a.Text) != want {
			t.Fatalf("%v: %+v, %v", m, a, err)
		}
		p, err := c.ProveEntry(t.Context(), a.Index, head.Tree())
		if err == nil {
			err = tlog.CheckRecord(p, head.Size, head.Root, a.Index, tlog.RecordHash(a.Text))
		}
		if err != nil {
			t.Errorf("%v: %v", m, err)
		}
	}
	for _, path := range []string{"lookup/example.com/three@v1.0.0", "tile/8/1/000", "checkpoint", "supported", "../latest"} {
		if _, err := src.Read(t.Context(), path, 1000); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: error %v", path, err)
		}
	}
	if _, err := src.Read(t.Context(), "latest", 10); !errors.Is(err, tlogclient.ErrTooLarge) {
		t.Errorf("over the limit: error %v", err)
	}
	none, err := tlogclient.GoCache(filepath.Join(dir, "none"), filepath.Join(dir, "none"), "sum.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"latest", "tile/8/0/000"} {
		if _, err := none.Read(t.Context(), path, 1000); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("never used, %s: error %v", path, err)
		}
	}
	checkLocked(t, src, filepath.Join(gopath, "pkg", "sumdb", "sum.example", "team", "latest"))
}

// download has the go command download modules and verify them with a checksum
// database, whose key and records it returns.
func download(t *testing.T, goTool, gopath, modcache string) (key *checkpoint.Key, records map[module.Version]string) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, "sum.example/team")
	if err != nil {
		t.Fatal(err)
	}
	key, err = checkpoint.ParseKey(vkey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	proxy := filepath.Join(dir, "proxy")
	records = make(map[module.Version]string)
	args := []string{"mod", "download", "-modcacherw"}
	for _, m := range []module.Version{{Path: "example.com/One", Version: "v1.0.0"}, {Path: "example.com/two", Version: "v1.2.0"}} {
		records[m] = makeModule(t, proxy, m)
		args = append(args, m.String())
	}
	srv := httptest.NewServer(sumdb.NewServer(sumdb.NewTestServer(skey, func(path, version string) ([]byte, error) {
		return []byte(records[module.Version{Path: path, Version: version}]), nil
	})))
	defer srv.Close()
	cmd := exec.Command(goTool, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOPATH="+gopath, "GOMODCACHE="+modcache, "GOPROXY=file://"+proxy, "GOSUMDB="+vkey+" "+srv.URL,
		"GONOSUMDB=none", "GOPRIVATE=none", "GONOPROXY=none", "GOFLAGS=", "GOTOOLCHAIN=local", "GOWORK=off", "GO111MODULE=on")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return key, records
}

// checkLocked reads latest while it is being written.
func checkLocked(t *testing.T, src tlogclient.Source, latest string) {
	t.Helper()
	f, err := os.OpenFile(latest, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("a half-written head"), 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if data, err := src.Read(ctx, "latest", 1000); !errors.Is(err, context.Canceled) {
		t.Errorf("read while it is locked: %q, %v", data, err)
	}
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := src.Read(t.Context(), "latest", 1000); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty: error %v", err)
	}
}

// makeModule adds a module to the file tree of a proxy and returns its record.
func makeModule(t *testing.T, proxy string, m module.Version) (record string) {
	t.Helper()
	escaped, err := module.EscapePath(m.Path)
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(proxy, filepath.FromSlash(escaped), "@v", m.Version)
	if err := os.MkdirAll(filepath.Dir(base), 0o777); err != nil {
		t.Fatal(err)
	}
	gomod := fmt.Sprintf("module %s\n", m.Path)
	for ext, data := range map[string]string{".mod": gomod, ".info": fmt.Sprintf(`{"Version":%q}`, m.Version)} {
		if err := os.WriteFile(base+ext, []byte(data), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(base + ".zip")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	w, err := z.Create(m.String() + "/go.mod")
	if err == nil {
		_, err = io.WriteString(w, gomod)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	h1, err := dirhash.HashZip(f.Name(), dirhash.Hash1)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(gomod)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %s %s\n%s %s/go.mod %s\n", m.Path, m.Version, h1, m.Path, m.Version, mod)
}

func TestGoCacheName(t *testing.T) {
	for _, name := range []string{"", ".", "..", "/etc", "a/../../b", "../a"} {
		if src, err := tlogclient.GoCache("/cache", "/path", name); err == nil {
			t.Errorf("%q: %v", name, src)
		}
	}
}
