// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package admit_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"example.org/sumlog/mirror/admit"
	"example.org/sumlog/mirror/internal/mirrortest"
	"example.org/sumlog/mirror/store"
	"example.org/sumlog/mirror/upstream"
)

// TestRoute admits through the real chains: a private module from a directory,
// with nobody for public ones.
func TestRoute(t *testing.T) {
	dir := t.TempDir()
	m := mirrortest.Simple(t, "corp.example/Mod", "v1.0.0")
	for ext, data := range map[string][]byte{"info": m.Info, "mod": m.Mod, "zip": m.Zip} {
		name := filepath.Join(dir, mirrortest.Name(m.Version, ext))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	list, err := upstream.ParseList("file://" + filepath.ToSlash(dir))
	if err != nil {
		t.Fatal(err)
	}
	client := upstream.NewClient(upstream.Config{})
	defer client.Close()
	router, err := upstream.NewRouter(nil, client.Chain(list), "corp.example/*")
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	l := new(mirrortest.Log)
	svc, err := admit.New(admit.Config{Log: l, Names: l, Store: st, Router: admit.Route(router)})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close()
	if err := svc.Bytes(t.Context(), m.Version, store.Zip); err != nil {
		t.Fatal(err)
	}
	if e, ok, _ := l.Find(m.Version); !ok || e.Record != m.Record(t) {
		t.Errorf("logged %v, %v", e, ok)
	}
	// Again, with the zip lost: from the chain, not from a source.
	rec := m.Record(t)
	if err := os.Remove(filepath.Join(dir, mirrortest.Name(m.Version, "info"))); err != nil {
		t.Fatal(err)
	}
	if f, _, err := st.Open(t.Context(), rec, store.Zip); err != nil {
		t.Fatal(err)
	} else {
		os.Remove(f.Name())
		f.Close()
	}
	if err := svc.Bytes(t.Context(), m.Version, store.Zip); err != nil {
		t.Error(err)
	}
	if _, err := svc.List(t.Context(), "example.com/a", false); !errors.Is(err, upstream.ErrOff) {
		t.Errorf("List of a public module = %v, want ErrOff", err)
	}
}
