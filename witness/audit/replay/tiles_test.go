// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay_test

import (
	"bytes"
	"context"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"
	"example.org/sumlog/witness/audit/report"
)

// TestWrongTile flips a byte of each tile, in turn: it is found, and nothing else.
func TestWrongTile(t *testing.T) {
	for _, layout := range layouts {
		const size = 66000
		l := newLog(t, layout, size)
		for _, tile := range []tlog.Tile{{L: 0, N: 0, W: 256}, {L: 0, N: 3, W: 256}, {L: 0, N: 257, W: 208}, {L: 1, N: 0, W: 256}, {L: 1, N: 1, W: 1}, {L: 2, N: 0, W: 1}} {
			tile.H = 8
			at := tile.W * 2 / 3
			path := tilePath(layout, tile)
			l.Fault(func(p string, data []byte) ([]byte, error) {
				if p == path {
					data[at*32+5] ^= 1
				}
				return data, nil
			})
			a := newAudit(t, l)
			a.config.RootOnly = true
			r := a.mustRun(size)
			if !r.Sound {
				t.Errorf("%s: %+v", path, r)
			}
			a.mustFind(map[string]report.Result{"B2": report.Misbehaviour})
			a.mustKeep(evidence.Contradicted)
			want := (tile.N<<8 + int64(at)) << (8 * tile.L)
			if f := a.check("B2").Findings[0]; *f.Index != want || f.Evidence == "" {
				t.Errorf("%s: found %+v, want index %d", path, f, want)
			}
		}
		l.Fault(nil)
	}
}

// TestWrongTileLater makes evidence about tiles of which an earlier replay has
// read a part of the entries, or the entries below them.
func TestWrongTileLater(t *testing.T) {
	const first, size = 66000, 140000
	l := newLog(t, tlogclient.Tiles, size)
	a := newAudit(t, l)
	a.config.RootOnly = true
	l.Show(first)
	a.config.From = a.mustRun(first).Snapshot
	l.Show(size)
	for _, path := range []string{"tile/0/257", "tile/0/546.p/224", "tile/1/001", "tile/1/002.p/34", "tile/2/000.p/2"} {
		for _, at := range []int{0, 31, -1} {
			l.Fault(func(p string, data []byte) ([]byte, error) {
				if p == path {
					data[(at*32+len(data))%len(data)] ^= 1
				}
				return data, nil
			})
			a.mustRun(size)
			a.mustFind(map[string]report.Result{"B2": report.Misbehaviour})
			a.mustKeep(evidence.Contradicted)
		}
	}

	// An old tile that is wrong too leaves only the evidence out.
	l.Fault(func(p string, data []byte) ([]byte, error) {
		if p == "tile/2/000.p/2" || p == "tile/1/000" {
			data[40*32%len(data)] ^= 1
		}
		return data, nil
	})
	a.mustRun(size)
	a.mustFind(map[string]report.Result{"B2": report.Misbehaviour})
	a.mustKeep()
	if f := a.check("B2").Findings[0]; !strings.Contains(f.Text, "no evidence: "+tlogclient.ErrUnproven.Error()) {
		t.Errorf("found %+v", f)
	}
}

// TestMissingTile checks that a tile that is not there accuses nobody.
func TestMissingTile(t *testing.T) {
	const size = 1000
	missing := func(path string) error { return &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist} }
	l := newLog(t, tlogclient.Tiles, size)
	for path, want := range map[string]map[string]report.Result{
		"tile/0/001":       {"B2": report.Failed},
		"tile/0/003.p/232": {"B2": report.Failed},
		"tile/1/000.p/3":   {"B2": report.Failed},
	} {
		l.Fault(func(p string, data []byte) ([]byte, error) {
			if p == path {
				return nil, missing(p)
			}
			return data, nil
		})
		a := newAudit(t, l)
		if r := a.mustRun(size); !r.Sound {
			t.Errorf("%s: %+v", path, r)
		}
		a.mustFind(want)
		a.mustKeep()
	}
	l.Fault(nil)

	// The log has grown since its head was read: full tiles take the place of
	// partial ones.
	a := newAudit(t, l)
	a.config.Tree = l.Tree(900)
	l.Show(1000)
	grow(l, 1000, 66000)
	if r := a.mustRun(900); !r.Sound {
		t.Errorf("%+v", r)
	}
	a.mustFind(nil)
	if got := a.check("B2").Checked; got != 5 {
		t.Errorf("%d tiles compared", got)
	}
}

// files serves what a log served at several sizes, as one that removes nothing.
type files struct {
	*tlogtest.Log
	data map[string][]byte
}

func (f *files) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	if data, ok := f.data[path]; ok {
		return data, nil
	}
	return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
}

// TestPartialTiles compares the partial tiles of sizes that are past.
func TestPartialTiles(t *testing.T) {
	l := newLog(t, tlogclient.Tiles, 70000)
	f := &files{l, make(map[string][]byte)}
	sizes := []int64{1, 255, 256, 300, 600, 601, 65535, 65536, 66000, 69999}
	for _, size := range append(sizes, 70000) {
		l.Show(size)
		for _, tile := range tlog.NewTiles(8, 0, size) {
			path := tilePath(l.Layout, tile)
			data, err := l.Read(t.Context(), path, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			f.data[path] = data
		}
	}
	for n := range int64(274) {
		path := strings.Replace(tilePath(l.Layout, tlog.Tile{H: 8, L: 0, N: n, W: int(min(256, 70000-n*256))}), "tile/0/", "tile/entries/", 1)
		data, err := l.Read(t.Context(), path, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		f.data[path] = data
	}
	a := newAudit(t, l)
	c, err := tlogclient.New(tlogclient.Config{Source: f, Layout: l.Layout, Keys: keys(l)})
	if err != nil {
		t.Fatal(err)
	}
	a.config.Log, a.config.PartialSizes, a.config.RootOnly = c, append(sizes, 70000, 80000, -1), true
	a.mustRun(70000)
	a.mustFind(nil)
	partial := 0
	for path := range f.data {
		if strings.Contains(path, ".p/") && !strings.Contains(path, "entries") {
			partial++
		}
	}
	older := int(a.check("B4").Checked)
	if now := 3; older != partial-now || a.check("B4").Skipped != "" {
		t.Errorf("%d older partial tiles compared, of %d: %+v", older, partial, a.check("B4"))
	}
	for path, data := range f.data {
		if !strings.Contains(path, ".p/") || strings.Contains(path, "entries") {
			continue
		}
		data[len(data)-1] ^= 1
		a.mustRun(70000)
		data[len(data)-1] ^= 1
		want := "B4"
		if slices.Contains([]string{"tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"}, path) {
			want = "B2"
		}
		a.mustFind(map[string]report.Result{want: report.Misbehaviour})
		a.mustKeep(evidence.Contradicted)
	}
	delete(f.data, "tile/0/001.p/44")
	a.mustRun(70000)
	a.mustFind(nil)
	if got := a.check("B4"); int(got.Checked) != older-1 || got.Skipped == "" {
		t.Errorf("%+v", got)
	}
}

// TestKeepWhole checks that no tile over wrong entries is kept.
func TestKeepWhole(t *testing.T) {
	const size = 66000
	l := newLog(t, tlogclient.Tiles, size)
	l.Fault(func(p string, data []byte) ([]byte, error) {
		if p == "tile/entries/005" {
			return change(data, 5*256+9), nil
		}
		return data, nil
	})
	kept := &cache{tiles: make(map[tlog.Tile][]byte)}
	a := newAudit(t, l)
	a.config.RootOnly, a.config.Cache = true, kept
	if r := a.mustRun(size); r.Sound {
		t.Errorf("%+v", r)
	}
	for tile, data := range kept.tiles {
		if want, err := l.Read(t.Context(), tilePath(l.Layout, tile), 1<<20); err != nil || !bytes.Equal(data, want) {
			t.Errorf("kept another %s: %v", tile.Path(), err)
		}
	}
	if len(kept.tiles) != 256 {
		t.Errorf("kept %d tiles", len(kept.tiles))
	}
}
