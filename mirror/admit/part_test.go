// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package admit_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.org/sumlog/mirror/admit"
	"example.org/sumlog/mirror/internal/mirrortest"
	"example.org/sumlog/mirror/store"
	"example.org/sumlog/mirror/upstream"
)

// tree is a directory that is an upstream, as a module cache can be.
type tree string

func (d tree) put(t *testing.T, m mirrortest.Module, exts ...string) {
	t.Helper()
	for _, ext := range exts {
		name := filepath.Join(string(d), mirrortest.Name(m.Version, ext))
		data := map[string][]byte{"info": m.Info, "mod": m.Mod, "zip": m.Zip}[ext]
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// newTrees returns a world whose upstreams, public and private, are trees, one
// behind the other.
func newTrees(t *testing.T, n int, sep string) (w *world, trees []tree) {
	t.Helper()
	var urls []string
	for range n {
		d := t.TempDir()
		trees = append(trees, tree(d))
		urls = append(urls, "file://"+filepath.ToSlash(d))
	}
	list, err := upstream.ParseList(strings.Join(urls, sep))
	if err != nil {
		t.Fatal(err)
	}
	client := upstream.NewClient(upstream.Config{})
	t.Cleanup(client.Close)
	router, err := upstream.NewRouter(client.Chain(list), client.Chain(list), "corp.example")
	if err != nil {
		t.Fatal(err)
	}
	w = &world{t: t, dir: t.TempDir(), log: new(mirrortest.Log), db: new(mirrortest.Database)}
	if w.store, err = store.Open(store.Config{Dir: w.dir}); err != nil {
		t.Fatal(err)
	}
	w.svc, err = admit.New(admit.Config{Log: w.log, Names: w.log, Store: w.store, Database: w.db, Router: admit.Route(router)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return w, trees
}

func (w *world) read(m mirrortest.Module, k store.Kind) []byte {
	w.t.Helper()
	f, _, err := w.store.Open(w.t.Context(), m.Record(w.t), k)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		w.t.Fatal(err)
	}
	return data
}

// TestPart has sources that have a part of a version before one that has it
// all. What is computed is computed from that one's copy alone.
func TestPart(t *testing.T) {
	for _, path := range []string{"example.com/a", "corp.example/a"} {
		for _, parts := range [][]string{{"info"}, {"info mod"}, {"info", "info mod"}, {"info mod", "info"}, {"info mod", "info mod"}} {
			t.Run(strings.ReplaceAll(path+" "+strings.Join(parts, "; "), " ", "_"), func(t *testing.T) { testPart(t, path, parts) })
		}
	}
}

func testPart(t *testing.T, path string, parts []string) {
	w, trees := newTrees(t, len(parts)+1, ",")
	m := mirrortest.Simple(t, path, "v1.0.0")
	w.db.Add(m.Record(t))
	older := m
	older.Info = bytes.ReplaceAll(m.Info, []byte("2024"), []byte("2023"))
	if path == "corp.example/a" {
		older.Mod = append(bytes.Clone(m.Mod), "// older\n"...)
	}
	for i, exts := range parts {
		trees[i].put(t, older, strings.Fields(exts)...)
	}
	trees[len(parts)].put(t, m, "info", "mod", "zip")
	if err := w.bytes(m.Version, store.Zip); err != nil {
		t.Fatal(err)
	}
	w.wantLogged(m)
	if !bytes.Equal(w.read(m, store.Zip), m.Zip) || !bytes.Equal(w.read(m, store.Mod), m.Mod) {
		t.Error("stored are other files")
	}
	if got := w.read(m, store.Info); path == "corp.example/a" && !bytes.Equal(got, m.Info) {
		t.Errorf("the .info is that of another copy: %s", got)
	}
	// All is lost here, and what was once logged is fetched again.
	for i, exts := range parts {
		trees[i].put(t, m, strings.Fields(exts)...)
	}
	for _, ext := range []string{"info", "mod", "zip"} {
		if err := os.Remove(filepath.Join(w.dir, mirrortest.Name(m.Version, ext))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.bytes(m.Version, store.Zip); err != nil {
		t.Errorf("again: %v", err)
	}
}

// TestNowhereWhole shows that a version that no source has all of, or any of, is
// absent.
func TestNowhereWhole(t *testing.T) {
	for _, path := range []string{"example.com/a", "corp.example/a"} {
		for _, parts := range [][]string{{"", ""}, {"info", ""}, {"info mod", ""}, {"info mod", "info"}, {"info", "info mod"}, {"info mod", "info mod"}} {
			w, trees := newTrees(t, len(parts), ",")
			m := mirrortest.Simple(t, path, "v1.0.0")
			w.db.Add(m.Record(t))
			for i, exts := range parts {
				trees[i].put(t, m, strings.Fields(exts)...)
			}
			if err := w.bytes(m.Version, store.Zip); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s of %q: %v", path, parts, err)
			}
			w.wantLogged()
		}
	}
}

// TestBehindBroken shows that a version of which one source has a part is not
// absent when the next one cannot say.
func TestBehindBroken(t *testing.T) {
	for _, path := range []string{"example.com/a", "corp.example/a"} {
		for _, exts := range []string{"info", "info mod"} {
			w, trees := newTrees(t, 2, ",")
			m := mirrortest.Simple(t, path, "v1.0.0")
			w.db.Add(m.Record(t))
			trees[0].put(t, m, strings.Fields(exts)...)
			if err := os.Remove(string(trees[1])); err != nil {
				t.Fatal(err)
			}
			if err := w.bytes(m.Version, store.Zip); err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s, of which there is %s: %v", path, exts, err)
			}
			w.wantLogged()
		}
	}
}

// TestAbsenceOnce shows that a version's absence, learnt from a question about
// it, is not believed for another minute by who asks for its files.
func TestAbsenceOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		m := mirrortest.Simple(t, "example.com/a", "v1.0.0")
		w.db.Add(m.Record(t))
		if _, err := w.svc.Info(t.Context(), m.Path, m.Version.Version, false); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("Info = %v", err)
		}
		time.Sleep(50 * time.Second)
		if err := w.bytes(m.Version, store.Zip); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("Bytes = %v", err)
		}
		w.wantCounts(w.public, m.Version, 1, 1, 0)
		w.public.Add(m)
		time.Sleep(11 * time.Second)
		if err := w.bytes(m.Version, store.Zip); err != nil {
			t.Errorf("a minute after it was absent: %v", err)
		}
	})
}

// TestOneCopy has a version made anew upstream, before it was logged, when its
// .info was already known: that is not served with the new files.
func TestOneCopy(t *testing.T) {
	for wait, asked := range map[time.Duration]int{time.Second: 1, 3 * time.Second: 2} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, true)
			defer w.close()
			m := mirrortest.Simple(t, "private.example/a", "v1.0.0")
			older := m
			older.Info = bytes.ReplaceAll(m.Info, []byte("2024"), []byte("2023"))
			w.private.Add(older)
			if _, err := w.svc.Info(t.Context(), m.Path, "v1.0.0", false); err != nil {
				t.Fatal(err)
			}
			if asked > 1 {
				w.private.Add(m)
			} else {
				m = older
			}
			time.Sleep(wait)
			if err := w.bytes(m.Version, store.Zip); err != nil {
				t.Fatal(err)
			}
			w.wantLogged(m)
			w.wantCounts(w.private, m.Version, asked, 1, 1)
			if got := w.read(m, store.Info); !bytes.Equal(got, m.Info) {
				t.Errorf("after %v, the .info is that of another copy: %s", wait, got)
			}
		})
	}
}

// TestPageForList has a page of a login where a list should be.
func TestPageForList(t *testing.T) {
	w := newWorld(t, true)
	defer w.close()
	const name = "example.com/a/@v/list"
	for _, page := range []string{"<!doctype html><title>please log in</title>", "<html>\n<p>v1.0.0 is here\n</html>\n", "\ufeff \n<html>", `{"error":"log in"}`} {
		w.public.Set(name, []byte(page))
		var garbage *admit.GarbageError
		if got, err := w.list("example.com/a", false); !errors.As(err, &garbage) {
			t.Errorf("List of %q = %q, %v, want garbage", page, got, err)
		}
	}
	// It was not kept.
	for i, empty := range []string{"", "\n\n", "not found", "v1\nmain\n"} {
		path := "example.com/a" + strings.Repeat("x", i)
		w.public.Set(path+"/@v/list", []byte(empty))
		if got, err := w.list(path, false); err != nil || len(got) != 0 {
			t.Errorf("List of %q = %q, %v, want none", empty, got, err)
		}
	}
}

// TestBeforeBroken is TestBehindBroken for a source before the one that has a part,
// which is asked because the first is broken.
func TestBeforeBroken(t *testing.T) {
	for _, path := range []string{"example.com/a", "corp.example/a"} {
		for _, exts := range []string{"info", "info mod"} {
			w, trees := newTrees(t, 2, "|")
			m := mirrortest.Simple(t, path, "v1.0.0")
			w.db.Add(m.Record(t))
			trees[1].put(t, m, strings.Fields(exts)...)
			if err := os.Remove(string(trees[0])); err != nil {
				t.Fatal(err)
			}
			if err := w.bytes(m.Version, store.Zip); err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s, of which there is %s: %v", path, exts, err)
			}
			w.wantLogged()
		}
	}
}

// TestModAlone has an upstream with the .mod alone of what the database does not know.
func TestModAlone(t *testing.T) {
	w, trees := newTrees(t, 1, ",")
	m := mirrortest.Simple(t, "example.com/a", "v1.0.0")
	trees[0].put(t, m, "mod")
	if err := w.svc.Admit(t.Context(), m.Version); !errors.As(err, new(*admit.UnvouchedError)) {
		t.Errorf("Admit = %v", err)
	}
}

// TestApart has one source with the .info of a proven version, and another with its
// .mod: no copy is whole, and the record binds what there is.
func TestApart(t *testing.T) {
	w, trees := newTrees(t, 2, ",")
	m := mirrortest.Simple(t, "example.com/a", "v1.0.0")
	w.db.Add(m.Record(t))
	trees[0].put(t, m, "info")
	trees[1].put(t, m, "mod")
	if err := w.bytes(m.Version, store.Mod); err != nil {
		t.Error(err)
	}
	w.wantLogged(m)
}
