// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package admit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"example.org/sumlog/log"
	"example.org/sumlog/mirror/admit"
	"example.org/sumlog/mirror/internal/mirrortest"
	"example.org/sumlog/mirror/store"
)

// TestBackfillWaits shows that zips nobody asked for are fetched one at a time,
// and not while somebody waits for something else.
func TestBackfillWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		a, b := w.simple("example.com/a", "v1.0.0"), w.simple("example.com/b", "v1.0.0")
		releaseZip := w.public.Hang(".zip")
		for _, m := range []mirrortest.Module{a, b} {
			if err := w.svc.Admit(t.Context(), m.Version); err != nil {
				t.Fatal(err)
			}
		}
		c := w.simple("example.com/c", "v1.0.0")
		releaseMod := w.public.Hang("c/@v/v1.0.0.mod")
		result := make(chan error, 1)
		go func() { result <- w.bytes(c.Version, store.Mod) }()
		time.Sleep(10 * time.Second)
		w.wantCounts(w.public, a.Version, 1, 1, 0)
		releaseMod()
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		w.wantCounts(w.public, a.Version, 1, 1, 1)
		w.wantCounts(w.public, b.Version, 1, 1, 0)
		releaseZip()
		time.Sleep(5 * time.Second)
		w.wantCounts(w.public, b.Version, 1, 1, 1)
	})
}

func TestRebuild(t *testing.T) {
	w := newWorld(t, true)
	defer w.close()
	var ms []mirrortest.Module
	for i := range 5 {
		m := w.simple("example.com/a", fmt.Sprintf("v1.%d.0", i))
		if err := w.bytes(m.Version, store.Zip); err != nil {
			t.Fatal(err)
		}
		ms = append(ms, m)
	}
	path := func(i int, ext string) string { return filepath.Join(w.dir, mirrortest.Name(ms[i].Version, ext)) }
	os.Remove(path(1, "zip"))
	os.WriteFile(path(2, "mod"), []byte("module other\n"), 0o644)
	os.Remove(path(3, "zip"))
	w.public.Set(mirrortest.Name(ms[3].Version, "zip"), nil)
	os.WriteFile(path(4, "zip"), ms[0].Zip, 0o644)
	w.public.Set(mirrortest.Name(ms[4].Version, "zip"), ms[1].Zip)
	os.Remove(filepath.Join(w.dir, "example.com/a/@v/list"))

	seq := func(yield func(log.Entry, error) bool) {
		for _, e := range w.log.Entries() {
			if !yield(e, nil) {
				return
			}
		}
	}
	var last admit.Progress
	calls := 0
	p, err := w.svc.Rebuild(t.Context(), seq, func(p admit.Progress) { last = p; calls++ })
	if err != nil || calls != 5 || p.Sound != 1 || p.Fetched != 2 || p.Missing != 2 || p != last {
		t.Errorf("Rebuild = %+v, %v after %d calls, the last with %+v", p, err, calls, last)
	}
	for i, m := range ms {
		if got := w.have(m, store.Zip) && w.have(m, store.Mod); got != (i < 3) {
			t.Errorf("%s: whole %v", m, got)
		}
	}
	if aside, _ := filepath.Glob(filepath.Join(w.dir, ".bad/*")); len(aside) != 2 {
		t.Errorf("set aside: %q, want the two damaged files", aside)
	}
	if list, _ := os.ReadFile(filepath.Join(w.dir, "example.com/a/@v/list")); string(list) != "v1.0.0\nv1.1.0\nv1.2.0\n" {
		t.Errorf("list = %q", list)
	}
	w.wantLogged(ms...)
}
