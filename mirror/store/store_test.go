// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package store_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/log"
	"example.org/sumlog/mirror/internal/mirrortest"
	"example.org/sumlog/mirror/store"
)

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func zipFile(t *testing.T, s *store.Store, m module.Version, data []byte) *store.ZipFile {
	t.Helper()
	z, err := s.NewZip(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(z.Abort)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	return z
}

// put stores all of m and returns its record.
func put(t *testing.T, s *store.Store, m mirrortest.Module) log.Record {
	t.Helper()
	rec, err := s.Compute(t.Context(), zipFile(t, s, m.Version, m.Zip), m.Mod)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutZip(t.Context(), rec, zipFile(t, s, m.Version, m.Zip)); err != nil {
		t.Fatal(err)
	}
	if err := s.PutMod(rec, m.Info, m.Mod); err != nil {
		t.Fatal(err)
	}
	if err := s.Publish(m.Version); err != nil {
		t.Fatal(err)
	}
	return rec
}

func read(t *testing.T, s *store.Store, rec log.Record, k store.Kind) ([]byte, store.Meta) {
	t.Helper()
	f, meta, err := s.Open(t.Context(), rec, k)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return data, meta
}

func TestStore(t *testing.T) {
	dir := t.TempDir()
	m := mirrortest.Simple(t, "example.com/Upper/Case", "v1.2.3-Beta")
	rec := put(t, open(t, dir), m)
	if want := m.Record(t); rec != want {
		t.Fatalf("Compute = %v, want %v", rec, want)
	}
	// The same for the process that stored them and for the next.
	for _, s := range []*store.Store{open(t, dir), open(t, dir)} {
		for k, want := range map[store.Kind][]byte{store.Info: m.Info, store.Mod: m.Mod, store.Zip: m.Zip} {
			for range 2 {
				data, meta := read(t, s, rec, k)
				if !bytes.Equal(data, want) {
					t.Errorf("%s: read %q, want %q", k, data, want)
				}
				if etag := fmt.Sprintf(`"%x"`, sha256.Sum256(want)); meta.ETag != etag || meta.Size != int64(len(want)) {
					t.Errorf("%s: meta = %+v, want %s and %d", k, meta, etag, len(want))
				}
			}
		}
		i, err := s.ReadInfo(t.Context(), rec)
		if err != nil || i.Version != m.Version.Version || i.Time.Year() != 2024 {
			t.Errorf("ReadInfo = %v, %v", i, err)
		}
	}
	name := filepath.Join(dir, "example.com/!upper/!case/@v/v1.2.3-!beta.zip")
	if _, err := os.Stat(name); err != nil {
		t.Error(err)
	}
}

func TestAbsent(t *testing.T) {
	s := open(t, t.TempDir())
	rec := mirrortest.Simple(t, "example.com/a", "v1.0.0").Record(t)
	if _, _, err := s.Open(t.Context(), rec, store.Mod); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrDamaged) {
		t.Errorf("Open of nothing: %v", err)
	}
}

// TestWrongBytes shows that nothing gets a name that is not the record's.
func TestWrongBytes(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	a, b := mirrortest.Simple(t, "example.com/a", "v1.0.0"), mirrortest.Simple(t, "example.com/a", "v1.0.1")
	c := mirrortest.New(t, "example.com/a", "v1.0.0", "go.mod", "module example.com/c\n")
	rec := a.Record(t)

	var mismatch *store.MismatchError
	if err := s.PutMod(rec, a.Info, c.Mod); !errors.As(err, &mismatch) || mismatch.Want != rec.Mod || mismatch.Got != c.Record(t).Mod {
		t.Errorf("PutMod of another .mod: %v", err)
	}
	if err := s.PutZip(t.Context(), rec, zipFile(t, s, a.Version, c.Zip)); !errors.As(err, &mismatch) || mismatch.Kind != store.Zip || mismatch.Got != c.Record(t).Zip {
		t.Errorf("PutZip of another zip: %v", err)
	}
	var bad *store.BadZipError
	for name, data := range map[string][]byte{"other version": b.Zip, "no zip": []byte("<html>"), "empty": nil, "cut": a.Zip[:len(a.Zip)-10]} {
		err := s.PutZip(t.Context(), rec, zipFile(t, s, a.Version, data))
		if !errors.As(err, &bad) || bad.Whole != (name == "other version") {
			t.Errorf("PutZip, %s: %v", name, err)
		}
	}
	if err := s.PutZip(t.Context(), rec, zipFile(t, s, b.Version, a.Zip)); err == nil {
		t.Error("PutZip took the zip of another version")
	}
	for _, info := range []string{"", "{}", `{"Version":"v1.0.1"}`, `{"Version":"v1.0.0"} x`, `["v1.0.0"]`,
		`{"Version":"v1.0.0","Time":"yesterday"}`, `{"Version":"v1.0.0"` + strings.Repeat(" ", store.MaxInfo) + "}"} {
		if err := s.PutMod(rec, []byte(info), a.Mod); err == nil {
			t.Errorf("PutMod took .info %.40q", info)
		}
	}
	var names []string
	filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
}

func TestCompute(t *testing.T) {
	s := open(t, t.TempDir())
	const path, version = "example.com/a", "v1.0.0"
	for _, tt := range []struct {
		name  string
		files []string
		mod   string
		ok    bool
	}{
		{"own go.mod", []string{"go.mod", "module example.com/a\n"}, "module example.com/a\n", true},
		{"other .mod", []string{"go.mod", "module example.com/a\n"}, "module example.com/a\n\ngo 1.20\n", false},
		{"other line ends", []string{"go.mod", "module example.com/a\r\n"}, "module example.com/a\n", true},
		{"other comment", []string{"go.mod", "module example.com/a // x\n"}, "module example.com/a\n", true},
		{"made up for one that is there", []string{"go.mod", "module example.com/a\n\nrequire example.com/b v1.0.0\n"}, "module example.com/a\n", false},
		{"made up for an empty one", []string{"go.mod", ""}, "module example.com/a\n", false},
		{"fork", []string{"go.mod", "module example.com/original\n"}, "module example.com/original\n", true},
		{"made up", []string{"a.go", "package a\n"}, "module example.com/a\n", true},
		{"not the made up one", []string{"a.go", "package a\n"}, "module example.com/a\n\ngo 1.20\n", false},
		{"go.mod below", []string{"sub/a.go", "package a\n"}, "", false},
	} {
		m := mirrortest.New(t, path, version, tt.files...)
		rec, err := s.Compute(t.Context(), zipFile(t, s, m.Version, m.Zip), []byte(tt.mod))
		if ok := err == nil; ok != tt.ok {
			t.Errorf("%s: error %v", tt.name, err)
			continue
		}
		m.Mod = []byte(tt.mod)
		if err == nil && rec != m.Record(t) {
			t.Errorf("%s: %v, want %v", tt.name, rec, m.Record(t))
		}
		var bad *store.BadZipError
		if err != nil && (!errors.As(err, &bad) || bad.Whole != (tt.mod != "")) {
			t.Errorf("%s: %v is no *BadZipError, or whole without a go.mod", tt.name, err)
		}
	}
}

// TestDamage shows that a file is never handed out once it is not the one that
// was checked, in this process or the next, and that it is kept aside.
func TestDamage(t *testing.T) {
	for _, k := range []store.Kind{store.Info, store.Mod, store.Zip} {
		for _, again := range []bool{false, true} {
			dir := t.TempDir()
			s := open(t, dir)
			m := mirrortest.Simple(t, "example.com/a", "v1.0.0")
			rec := put(t, s, m)
			name := filepath.Join(dir, mirrortest.Name(m.Version, string(k)))
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			// No hash covers a .info, nor the times in a zip.
			for i := range len(data) / 2 {
				data[i] ^= 0x80
			}
			if again { // the next process, and the times do not tell
				fi, _ := os.Stat(name)
				os.WriteFile(name, data, 0o644)
				os.Chtimes(name, fi.ModTime(), fi.ModTime())
				s = open(t, dir)
			} else {
				os.WriteFile(name, data, 0o644)
				os.Chtimes(name, time.Time{}, time.Now().Add(time.Second))
			}
			if _, _, err := s.Open(t.Context(), rec, k); !errors.Is(err, store.ErrDamaged) || !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("%s: Open of a damaged file: %v", k, err)
			}
			if _, _, err := s.Open(t.Context(), rec, k); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrDamaged) {
				t.Errorf("%s: second Open: %v", k, err)
			}
			aside, err := filepath.Glob(filepath.Join(dir, ".bad/*"))
			if err != nil || len(aside) != 1 {
				t.Fatalf("%s: set aside %q, %v", k, aside, err)
			}
			if got, _ := os.ReadFile(aside[0]); !bytes.Equal(got, data) {
				t.Errorf("%s: %s is not the damaged file", k, aside[0])
			}
			put(t, s, m)
			read(t, s, rec, k)
		}
	}
}

// TestOtherRecord shows that a file checked for one record is not handed out
// for another.
func TestOtherRecord(t *testing.T) {
	s := open(t, t.TempDir())
	m := mirrortest.Simple(t, "example.com/a", "v1.0.0")
	rec := put(t, s, m)
	rec.Zip = mirrortest.Simple(t, "example.com/a", "v1.0.1").Record(t).Zip
	if _, _, err := s.Open(t.Context(), rec, store.Zip); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Open with another record: %v", err)
	}
}

// TestForeign has something that is no file where a file was.
func TestForeign(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, plant := range map[string]func(name string) error{
		"link":      func(name string) error { return os.Symlink(outside, name) },
		"directory": func(name string) error { return os.Mkdir(name, 0o755) },
		"pipe":      func(name string) error { return syscall.Mkfifo(name, 0o644) },
	} {
		dir := t.TempDir()
		m := mirrortest.Simple(t, "example.com/a", "v1.0.0")
		rec := put(t, open(t, dir), m)
		s := open(t, dir)
		file := filepath.Join(dir, mirrortest.Name(m.Version, "zip"))
		if err := errors.Join(os.Remove(file), plant(file)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Open(t.Context(), rec, store.Zip); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("%s: Open = %v", name, err)
		}
		put(t, s, m)
		read(t, s, rec, store.Zip)
	}
}

// TestBegunAnew has a download that fails and begins anew, as an upstream.File is
// used, and one that is not written from the beginning on.
func TestBegunAnew(t *testing.T) {
	s := open(t, t.TempDir())
	m := mirrortest.Simple(t, "example.com/a", "v1.0.0")
	z := zipFile(t, s, m.Version, append([]byte("half of another"), m.Zip...))
	if _, err := z.Seek(1, io.SeekStart); err == nil {
		t.Error("seeked into the file")
	}
	if err := z.Truncate(0); err == nil {
		t.Error("truncated a file that is at its end")
	}
	if _, err := z.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if err := z.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(z, bytes.NewReader(m.Zip)); err != nil {
		t.Fatal(err)
	}
	if err := s.PutZip(t.Context(), m.Record(t), z); err != nil {
		t.Fatal(err)
	}
	if _, meta := read(t, s, m.Record(t), store.Zip); meta.ETag != fmt.Sprintf(`"%x"`, sha256.Sum256(m.Zip)) {
		t.Errorf("ETag %s", meta.ETag)
	}
	// What was written over is not what was hashed.
	z = zipFile(t, s, m.Version, append(bytes.Clone(m.Zip), "x"...))
	z.Seek(0, io.SeekStart)
	z.Write(m.Zip)
	if err := s.PutZip(t.Context(), m.Record(t), z); err == nil || errors.As(err, new(*store.BadZipError)) {
		t.Errorf("PutZip of a longer file than was written: %v", err)
	}
}

func TestTempSwept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	z := zipFile(t, s, module.Version{Path: "example.com/a", Version: "v1.0.0"}, []byte("x"))
	if _, err := os.Stat(z.Name()); err != nil {
		t.Fatal(err)
	}
	open(t, dir) // as after a crash
	if left, _ := os.ReadDir(filepath.Join(dir, ".tmp")); len(left) > 0 {
		t.Errorf("left in .tmp: %v", left)
	}
}

func TestName(t *testing.T) {
	long := strings.Repeat("a", 250)
	for _, tt := range []struct {
		path, version string
		ok            bool
	}{
		{"example.com/a", "v1.0.0", true},
		{"example.com/a/v2", "v2.0.0", true},
		{"example.com/a", "v2.0.0+incompatible", true},
		{"example.com/a", "v2.0.0", false},
		{"example.com/a", "v1.0", false},
		{"example.com/a", "v1.0.0+meta", false},
		{"example.com/a", "master", false},
		{"example.com/a", "../v1.0.0", false},
		{"example.com/../a", "v1.0.0", false},
		{"a", "v1.0.0", false},
		{".example.com/a", "v1.0.0", false},
		{"example.com/a\x00", "v1.0.0", false},
		{"example.com/" + long + long, "v1.0.0", false},
		{"example.com/a", "v1.0.0-" + long, false},
		{"example.com/a", "v1.0.0-" + strings.ToUpper(long[:130]), false}, // twice as long when escaped
		{"example.com" + strings.Repeat("/"+long, 20), "v1.0.0", false},
	} {
		_, err := store.Name(module.Version{Path: tt.path, Version: tt.version}, store.Zip)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, store.ErrName) {
			t.Errorf("Name(%.30q, %.30q): %v", tt.path, tt.version, err)
		}
	}
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var wg sync.WaitGroup
	for _, v := range []string{"v1.10.0", "v1.9.0", "v1.2.0-rc.1", "v0.0.0-20240102030405-abcdefabcdef", "v1.9.0", "v2.0.0+incompatible"} {
		wg.Go(func() {
			if err := s.Publish(module.Version{Path: "example.com/a", Version: v}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	data, err := os.ReadFile(filepath.Join(dir, "example.com/a/@v/list"))
	if want := "v0.0.0-20240102030405-abcdefabcdef\nv1.2.0-rc.1\nv1.9.0\nv1.10.0\nv2.0.0+incompatible\n"; err != nil || string(data) != want {
		t.Errorf("list = %q, %v, want %q", data, err, want)
	}
}

func TestInfos(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, mirrortest.Simple(t, "example.com/a", "v1.0.0"))
	// A disk that does not tell.
	if err := os.Mkdir(filepath.Join(dir, "example.com/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "example.com/b/@v"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path, version string
		want          bool
	}{
		{"example.com/a", "v1.0.0", true},
		{"example.com/a", "v1.0.1", false},
		{"example.com/absent", "v1.0.0", false},
		{"example.com/b", "v1.0.0", true},
	} {
		if got := s.Infos(tt.path)(tt.version); got != tt.want {
			t.Errorf("%s@%s: %v", tt.path, tt.version, got)
		}
	}
}

// TestFileProxy has the go command use the tree without a server: what it finds
// there is what it would find at a server with the same versions.
func TestFileProxy(t *testing.T) {
	const (
		older = "v0.0.0-20200101000000-bbbbbbbbbbbb"
		newer = "v0.0.0-20240101000000-aaaaaaaaaaaa"
	)
	dir := t.TempDir()
	s := open(t, dir)
	retracting := mirrortest.New(t, "example.com/retracted", "v1.3.0", "go.mod", "module example.com/retracted\n\nretract v1.3.0\n")
	modules := []mirrortest.Module{retracting}
	var latest, versions []string
	for _, tt := range []struct {
		path     string
		versions []string // as they are published
		latest   string
		list     string
	}{
		{"example.com/Mixed", []string{"v1.1.0", newer, "v1.2.0", "v1.3.0-rc.1"}, "v1.2.0", " v1.1.0 v1.2.0 v1.3.0-rc.1"},
		{"example.com/pseudo", []string{newer, older}, newer, ""},
		{"example.com/pre", []string{"v1.0.0-rc.2", newer, "v1.0.0-rc.1"}, "v1.0.0-rc.2", " v1.0.0-rc.1 v1.0.0-rc.2"},
		{"example.com/incompatible", []string{"v2.0.0+incompatible", "v3.0.0+incompatible", older}, "v3.0.0+incompatible", " v2.0.0+incompatible v3.0.0+incompatible"},
		{"example.com/compatible", []string{"v1.0.0", "v2.0.0+incompatible"}, "v1.0.0", " v1.0.0 v2.0.0+incompatible"},
		{"example.com/retracted", []string{"v1.2.0"}, "v1.2.0", " v1.2.0"},
		{"example.com/major/v2", []string{"v2.0.1-0.20240101000000-aaaaaaaaaaaa"}, "v2.0.1-0.20240101000000-aaaaaaaaaaaa", ""},
	} {
		for _, v := range tt.versions {
			if strings.HasSuffix(v, "+incompatible") {
				modules = append(modules, mirrortest.New(t, tt.path, v, "x.go", "package x\n"))
			} else {
				modules = append(modules, mirrortest.Simple(t, tt.path, v))
			}
		}
		latest = append(latest, tt.path+" "+tt.latest)
		versions = append(versions, tt.path+tt.list)
	}
	for _, m := range modules {
		put(t, s, m)
	}
	work := t.TempDir()
	env := append(os.Environ(), "GOPROXY=file://"+filepath.ToSlash(dir), "GONOSUMDB=*", "GONOPROXY=none", "GOPRIVATE=",
		"GOFLAGS=-mod=mod -modcacherw", "GOMODCACHE="+t.TempDir(), "GOWORK=off", "GOTOOLCHAIN=local")
	goRun := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = work, env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	os.WriteFile(filepath.Join(work, "go.mod"), []byte("module x\n\ngo 1.20\n"), 0o600)
	os.WriteFile(filepath.Join(work, "x.go"), []byte("package x\n\nimport _ \"example.com/Mixed\"\n"), 0o600)
	for query, want := range map[string][]string{"@latest": latest, "@upgrade": latest, "": versions} {
		args := []string{"list", "-m"}
		if query == "" {
			args = append(args, "-versions")
		}
		for _, l := range latest {
			path, _, _ := strings.Cut(l, " ")
			args = append(args, path+query)
		}
		if got, want := goRun(args...), strings.Join(want, "\n")+"\n"; got != want {
			t.Errorf("go %v:\n%swant\n%s", args, got, want)
		}
	}
	goRun("get", "example.com/Mixed@latest", "example.com/pseudo@latest")
	goRun("build", ".")
}
