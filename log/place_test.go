// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/tessera/api/layout"
)

// Each entry is found at its place, in full bundles and partial ones, short or
// longer than what is read at once.
func TestEntryAt(t *testing.T) {
	dir := newDir(t)
	l, _ := start(t, dir)
	defer closeLog(t, l)
	fill(t, l, 0, 260)
	long := record(260)
	long.Module.Version = "v1.0.0-" + strings.Repeat("x", 3000)
	if _, err := l.Append(context.Background(), long); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 261, 270)
	var places []PlacedEntry
	for e, err := range l.Placed(0, 270) {
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, e)
	}
	var entries []Entry
	for e, err := range l.Entries(0, 270) {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	check := func() {
		t.Helper()
		for i, p := range places {
			e, err := l.EntryAt(int64(i), p.Place)
			if err != nil || e != entries[i] || p.Entry != entries[i] {
				t.Fatalf("EntryAt(%d) = %v, %v, want %v, as Placed has %v", i, e, err, entries[i], p.Entry)
			}
		}
	}
	check()
	for _, from := range []int64{1, 255, 256, 269} { // in the middle of a bundle
		for e, err := range l.Placed(from, 270) {
			if err != nil || e != places[from] {
				t.Fatalf("Placed(%d) begins with %v, %v, want %v", from, e, err, places[from])
			}
			break
		}
	}
	fill(t, l, 270, 520) // the partial bundle becomes a full one, and another follows
	check()
	for _, bad := range []struct {
		i int64
		p Place
	}{
		{-1, places[5].Place}, {520, places[5].Place}, {1 << 40, places[5].Place}, {5, Place{}},
		{5, Place{At: 1 << 23, Leaf: places[5].Leaf}}, {5, Place{At: places[5].At + 1, Leaf: places[5].Leaf}},
		{5, Place{At: places[5].At, Leaf: places[4].Leaf}}, {300, places[5].Place},
	} {
		if e, err := l.EntryAt(bad.i, bad.p); err == nil {
			t.Errorf("EntryAt(%d, %v) = %v", bad.i, bad.p, e)
		}
	}
	name := filepath.Join(dir, treeDir, layout.EntriesPath(0, 0))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	p := places[5].Place
	for bit := 8 * (p.At - 2); bit < 8*places[6].Place.At-16; bit++ {
		bad := bytes.Clone(whole)
		bad[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(name, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if e, err := l.EntryAt(5, p); !errors.Is(err, ErrUnsafe) {
			t.Fatalf("bit %d flipped: got %v, %v", bit, e, err)
		}
	}
	for _, size := range []int{0, p.At - 2, p.At - 1, p.At, p.At + 20} {
		if err := os.WriteFile(name, whole[:size], 0o644); err != nil {
			t.Fatal(err)
		}
		if e, err := l.EntryAt(5, p); !errors.Is(err, ErrUnsafe) {
			t.Errorf("cut at byte %d: got %v, %v", size, e, err)
		}
	}
}
