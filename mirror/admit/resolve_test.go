// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package admit_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/mirror/admit"
	"example.org/sumlog/mirror/upstream"
)

// list returns what List does, a string a version.
func (w *world) list(path string, hurry bool) (lines []string, err error) {
	listed, err := w.svc.List(w.t.Context(), path, hurry)
	for _, l := range listed {
		line := l.Version
		if !l.Time.IsZero() {
			line += " " + l.Time.Format(time.RFC3339)
		}
		lines = append(lines, line)
	}
	return lines, err
}

func TestList(t *testing.T) {
	w := newWorld(t, true)
	defer w.close()
	w.public.Set("example.com/a/@v/list", []byte("v1.10.0\nv1.9.0 2024-01-02T03:04:05Z\n\nv1.9.0\nbad\nv1.2\nv2.0.0\nv2.0.0+incompatible\n"+
		"v0.0.0-20240102030405-abcdefabcdef\nv1.0.0-rc.1\r\nv1.0.0+meta\n../v1.0.0"))
	got, err := w.list("example.com/a", false)
	want := []string{"v0.0.0-20240102030405-abcdefabcdef 2024-01-02T03:04:05Z", "v1.0.0-rc.1", "v1.9.0 2024-01-02T03:04:05Z", "v1.10.0", "v2.0.0+incompatible"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("List = %q, %v, want %q", got, err, want)
	}
	w.public.Set("example.com/none/@v/list", []byte{})
	if got, err := w.list("example.com/none", false); err != nil || len(got) != 0 {
		t.Errorf("List of a module without versions = %q, %v", got, err)
	}
	if _, err := w.list("example.com/b", false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List of no module: %v", err)
	}
	w.wantLogged()
}

func TestInfo(t *testing.T) {
	w := newWorld(t, true)
	defer w.close()
	for query, tt := range map[string]struct {
		body string
		ok   bool
	}{
		"v1.0.0":      {`{"Version":"v1.0.0"}`, true},
		"v1.0.1":      {`{"Version":"v1.0.0"}`, false},
		"v1.0.2":      {`<html>`, false},
		"v1.0.3":      {`{"Version":"v1.0.3"}` + strings.Repeat(" ", 65<<10), false},
		"main":        {`{"Version":"v0.0.0-20240102030405-abcdefabcdef","Origin":{"Ref":"refs/heads/main"}}`, true},
		"other":       {`{"Version":"main"}`, false},
		"major":       {`{"Version":"v2.0.0"}`, false},
		"v2.0.0":      {`{"Version":"v2.0.0+incompatible"}`, true},
		"empty":       {``, false},
		"v1":          {`{"Version":"v1.0.0"}`, true},
		"Upper":       {`{"Version":"v1.0.0"}`, true},
		"nothing":     {`{}`, false},
		"traversal":   {`{"Version":"../../v1.0.0"}`, false},
		"v1.0.0-RC.1": {`{"Version":"v1.0.0-RC.1"}`, true},
	} {
		escaped, _ := module.EscapeVersion(query)
		w.public.Set("example.com/a/@v/"+escaped+".info", []byte(tt.body))
		got, err := w.svc.Info(t.Context(), "example.com/a", query, false)
		if (err == nil) != tt.ok || err == nil && string(got) != tt.body {
			t.Errorf("Info(%q) = %.60q, %v", query, got, err)
		}
	}
	w.public.Set("example.com/a/@latest", []byte(`{"Version":"v3.0.0"}`))
	var garbage *admit.GarbageError
	if got, err := w.svc.Latest(t.Context(), "example.com/a", false); !errors.As(err, &garbage) {
		t.Errorf("Latest = %q, %v, want garbage", got, err)
	}
	w.wantLogged()
}

// TestKept follows what is kept of a list through an upstream's good and bad
// times.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		const name = "example.com/a/@v/list"
		list := func(hurry bool, wait time.Duration, want ...string) {
			t.Helper()
			began := time.Now()
			got, err := w.list("example.com/a", hurry)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("List = %q, %v, want %q", got, err, want)
			}
			if d := time.Since(began); d != wait {
				t.Errorf("List took %v, want %v", d, wait)
			}
		}
		w.public.Set(name, []byte("v1.0.0\n"))
		list(false, 0, "v1.0.0")
		w.public.Set(name, []byte("v1.0.0\nv1.1.0\n"))
		time.Sleep(59 * time.Second)
		list(false, 0, "v1.0.0")
		if n := w.public.Counts()[name]; n != 1 {
			t.Errorf("asked %d times within a minute", n)
		}
		time.Sleep(2 * time.Second)
		list(false, 0, "v1.0.0", "v1.1.0")

		// Hanging: one request waits, and not for long.
		time.Sleep(2 * time.Minute)
		release := w.public.Hang(name)
		list(false, 2*time.Second, "v1.0.0", "v1.1.0")
		list(false, 0, "v1.0.0", "v1.1.0")
		w.public.Set(name, []byte("v1.2.0\n"))
		release()
		synctest.Wait()
		list(false, 0, "v1.2.0")

		// Broken: the older answer, and asked again each time.
		time.Sleep(2 * time.Minute)
		w.public.Fail(name, &upstream.Error{URL: "mem", Status: 503})
		list(false, 0, "v1.2.0")
		w.public.Fail(name, nil)
		w.public.Set(name, []byte("v1.3.0\n"))
		list(false, 0, "v1.3.0")

		// Gone: that is an answer.
		time.Sleep(2 * time.Minute)
		w.public.Set(name, nil)
		if _, err := w.list("example.com/a", false); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("List of a module that is gone: %v", err)
		}
	})
}

// TestUnknownHangs shows how long one waits who has nothing, and one who has
// an answer of another kind.
func TestUnknownHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		defer w.public.Hang("list")()
		for _, tt := range []struct {
			hurry     bool
			least, at time.Duration
		}{{true, 2 * time.Second, 2 * time.Second}, {true, 0, 0}, {false, 20 * time.Second, 30 * time.Second}} {
			began := time.Now()
			_, err := w.list("example.com/a", tt.hurry)
			if d := time.Since(began); !errors.Is(err, admit.ErrTimeout) || d < tt.least || d > tt.at {
				t.Errorf("List with hurry %v took %v: %v", tt.hurry, d, err)
			}
		}
	})
}

// TestForgottenAbsence shows that an absence of long ago is no answer when
// upstream hangs.
func TestForgottenAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true)
		defer w.close()
		if _, err := w.list("example.com/a", false); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		defer w.public.Hang("list")()
		if _, err := w.list("example.com/a", false); !errors.Is(err, admit.ErrTimeout) {
			t.Errorf("List = %v", err)
		}
	})
}

// TestOutdated shows that an admission ends what was believed about a module.
func TestOutdated(t *testing.T) {
	w := newWorld(t, true)
	defer w.close()
	if _, err := w.list("example.com/a", false); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	w.public.Set("example.com/a/@latest", []byte(`{"Version":"v0.9.0"}`))
	if _, err := w.svc.Latest(t.Context(), "example.com/a", false); err != nil {
		t.Fatal(err)
	}
	m := w.simple("example.com/a", "v1.0.0")
	w.public.Set("example.com/a/@latest", []byte(`{"Version":"v1.0.0"}`))
	if err := w.svc.Admit(t.Context(), m.Version); err != nil {
		t.Fatal(err)
	}
	if got, err := w.list("example.com/a", false); err != nil || !slices.Equal(got, []string{"v1.0.0"}) {
		t.Errorf("List after the admission = %q, %v", got, err)
	}
	if got, err := w.svc.Latest(t.Context(), "example.com/a", false); err != nil || !strings.Contains(string(got), "v1.0.0") {
		t.Errorf("Latest after the admission = %q, %v", got, err)
	}
}

func TestHugeList(t *testing.T) {
	w := newWorld(t, true)
	defer w.close()
	w.public.Set("example.com/huge/@v/list", []byte(strings.Repeat("v1.0.0\n", 1<<20)))
	if _, err := w.list("example.com/huge", false); !errors.Is(err, upstream.ErrTooLarge) {
		t.Errorf("a list of 7 MiB: %v", err)
	}
}

func TestHugeMod(t *testing.T) {
	w := newWorld(t, true)
	defer w.close()
	m := module.Version{Path: "example.com/huge", Version: "v1.0.0"}
	w.public.Set("example.com/huge/@v/v1.0.0.mod", []byte("module example.com/huge\n"+strings.Repeat("// \n", 1<<18)))
	if _, err := w.svc.Mod(t.Context(), m, true); !errors.Is(err, upstream.ErrTooLarge) {
		t.Errorf("a go.mod of a mebibyte and more: %v", err)
	}
}
