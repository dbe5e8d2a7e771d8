// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/sumlog/witness/audit/state"

	"pgregory.net/rapid"
)

// A snapshot is what a replay may keep.
type snapshot struct {
	Size int64
	Text string
}

// TestProgress has runs that append names and end, or do not, with and without the
// process ending too. A run sees what the last one left that ended.
func TestProgress(t *testing.T) {
	l := newLog(t, 1)
	base := t.TempDir()
	dirs := 0
	rapid.Check(t, func(rt *rapid.T) {
		dir := ""
		if rapid.Bool().Draw(rt, "directory") {
			dirs++
			dir = filepath.Join(base, fmt.Sprint(dirs))
		}
		s, err := state.Open(dir, l.Key)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { s.Close() }()
		var names, run []uint64
		done := false
		var want snapshot
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				n := rapid.SliceOfN(rapid.Uint64(), 0, 9).Draw(rt, "names")
				if rapid.IntRange(0, 9).Draw(rt, "many") == 0 {
					n = slices.Repeat([]uint64{7, 8, 9}, 5000)
				}
				if err := s.Names().Append(n); err != nil {
					rt.Fatal(err)
				}
				run = append(run, n...)
			},
			"end": func(rt *rapid.T) {
				names, done = slices.Clone(run), true
				want = snapshot{int64(len(names)), rapid.String().Draw(rt, "text")}
				if err := s.SetProgress(want); err != nil {
					rt.Fatal(err)
				}
			},
			"begin": func(rt *rapid.T) {
				var got snapshot
				if err := s.Progress(&got); done != (err == nil) || !done && !errors.Is(err, fs.ErrNotExist) || got != want {
					rt.Fatalf("progress %+v, %v, want %+v", got, err, want)
				}
				run = slices.Clone(names)
			},
			"load": func(rt *rapid.T) {
				if got, err := s.Names().Load(); err != nil || !slices.Equal(got, names) {
					rt.Fatalf("%d names, %v, want %d", len(got), err, len(names))
				}
				run = slices.Clone(names)
			},
			"reset": func(rt *rapid.T) {
				if err := s.Reset(); err != nil {
					rt.Fatal(err)
				}
				names, run, done, want = nil, nil, false, snapshot{}
			},
			"crash": func(rt *rapid.T) {
				if dir == "" {
					return
				}
				if err := s.Close(); err != nil {
					rt.Fatal(err)
				}
				if s, err = state.Open(dir, l.Key); err != nil {
					rt.Fatal(err)
				}
				run = slices.Clone(names)
			},
		})
	})
}

// TestDamagedProgress checks that a flipped bit is found, and that a reset mends
// it.
func TestDamagedProgress(t *testing.T) {
	l := newLog(t, 1)
	for name, damage := range map[string]func(dir string) error{
		"a flipped bit": func(dir string) error {
			return edit(dir, "names", func(b []byte) []byte { b[77] ^= 1; return b })
		},
		"cut":         func(dir string) error { return edit(dir, "names", func(b []byte) []byte { return b[:len(b)-1] }) },
		"gone":        func(dir string) error { return os.Remove(filepath.Join(dir, "names")) },
		"no progress": func(dir string) error { return edit(dir, "progress.json", func([]byte) []byte { return nil }) },
		"large": func(dir string) error {
			return edit(dir, "progress.json", func([]byte) []byte { return make([]byte, 2<<20) })
		},
		"negative":      func(dir string) error { return set(dir, "Names", -1) },
		"too many":      func(dir string) error { return set(dir, "Names", int64(1)<<60) },
		"many":          func(dir string) error { return set(dir, "Names", 41) },
		"fewer":         func(dir string) error { return set(dir, "Names", 39) },
		"another thing": func(dir string) error { return set(dir, "Replay", []int{1}) },
		"more in it":    func(dir string) error { return set(dir, "Replay", map[string]int{"Size": 40, "More": 1}) },
	} {
		dir := t.TempDir()
		s := openState(t, dir, l.Key)
		names := slices.Repeat([]uint64{1, 2, 3, 4}, 10)
		if err := s.Names().Append(names); err != nil {
			t.Fatal(err)
		}
		if err := s.SetProgress(snapshot{Size: 40}); err != nil {
			t.Fatal(err)
		}
		closeState(t, s)
		if err := damage(logDir(dir, l.Key)); err != nil {
			t.Fatal(err)
		}
		s = openState(t, dir, l.Key)
		var got snapshot
		err := s.Progress(&got)
		if err == nil {
			_, err = s.Names().Load()
		}
		if !errors.Is(err, state.ErrDamaged) {
			t.Errorf("%s: error %v", name, err)
		}
		if err := s.Reset(); err != nil {
			t.Fatal(err)
		}
		if err := s.Progress(&got); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: after a reset: %v", name, err)
		}
		if err := s.Names().Append(names[:3]); err != nil {
			t.Fatal(err)
		}
		if err := s.SetProgress(snapshot{Size: 3}); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Names().Load(); err != nil || !slices.Equal(got, names[:3]) {
			t.Errorf("%s: after a reset: %d names, %v", name, len(got), err)
		}
	}
}

func edit(dir, name string, f func([]byte) []byte) error {
	name = filepath.Join(dir, name)
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return os.WriteFile(name, f(data), 0o666)
}

func set(dir, key string, value any) error {
	var err error
	err1 := edit(dir, "progress.json", func(data []byte) []byte {
		m := make(map[string]any)
		if err = json.Unmarshal(data, &m); err != nil {
			return data
		}
		m[key] = value
		data, err = json.Marshal(m)
		return data
	})
	return errors.Join(err, err1)
}

// TestTooManyNames has a number of names whose bytes cannot be counted.
func TestTooManyNames(t *testing.T) {
	l := newLog(t, 1)
	for _, n := range []int64{1 << 61, 1 << 60, -1, -1 << 63, -1 << 61} {
		dir := t.TempDir()
		s := openState(t, dir, l.Key)
		if err := s.SetProgress(snapshot{}); err != nil {
			t.Fatal(err)
		}
		closeState(t, s)
		if err := set(logDir(dir, l.Key), "Names", n); err != nil {
			t.Fatal(err)
		}
		if names, err := openState(t, dir, l.Key).Names().Load(); !errors.Is(err, state.ErrDamaged) {
			t.Errorf("%d: %d names, %v", n, len(names), err)
		}
	}
}

// TestProgressText checks the file that people look into.
func TestProgressText(t *testing.T) {
	l := newLog(t, 1)
	dir := t.TempDir()
	s := openState(t, dir, l.Key)
	if err := s.SetProgress(snapshot{3, "x"}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(logDir(dir, l.Key), "progress.json"))
	if err != nil || !strings.Contains(string(data), `"Replay":{"Size":3,"Text":"x"}}`+"\n") {
		t.Errorf("%q, %v", data, err)
	}
}
