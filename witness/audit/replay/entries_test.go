// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/replay"
	"example.org/sumlog/witness/audit/report"
)

// change changes the path of a record in a bundle to another, as long.
func change(bundle []byte, index int64) []byte {
	text := madeRecord(index)
	return bytes.Replace(bundle, text, bytes.ReplaceAll(text, []byte("example.com"), []byte("example.org")), 1)
}

// TestWrongEntries flips a byte of entries that are served.
func TestWrongEntries(t *testing.T) {
	for _, layout := range layouts {
		const size = 1000
		l := newLog(t, layout, size)
		prefix := "tile/entries/"
		if layout == tlogclient.Database {
			prefix = "tile/8/data/"
		}
		for name, first := range map[string]int64{"000": 0, "002": 512, "003.p/232": 768} {
			times := 0
			flip := func(passes bool) {
				times = 0
				l.Fault(func(p string, data []byte) ([]byte, error) {
					if p != prefix+name {
						return data, nil
					}
					if times++; times > 1 && passes {
						return data, nil
					}
					return change(data, first+5), nil
				})
			}
			check := func(a *audit, result report.Result) {
				t.Helper()
				r := a.mustRun(size)
				if r.Sound || r.Roots != nil || r.Snapshot != nil {
					t.Errorf("%s: %+v", name, r)
				}
				a.mustFind(map[string]report.Result{"B1": result})
				a.mustKeep()
				if kept := a.config.Cache.(*cache); kept.tiles[tlog.Tile{H: 8, L: 0, N: first / 256, W: 256}] != nil {
					t.Errorf("%s: a tile of wrong entries was kept", name)
				}
			}
			a := newAudit(t, l)
			a.config.Cache, a.config.Sizes = &cache{tiles: make(map[tlog.Tile][]byte)}, []int64{1, size}
			flip(false)
			check(a, report.Misbehaviour)
			if f := a.check("B1").Findings; len(f) != 1 || f[0].Index == nil || *f[0].Index != first+5 {
				t.Errorf("%s: found %+v, want entry %d", name, f, first+5)
			}
			flip(true)
			check(a, report.Failed)

			// The log's tiles are those of what it serves, and not of its head.
			a.config.Cache = &cache{tiles: make(map[tlog.Tile][]byte)}
			flip(false)
			l.Fault(func(p string, data []byte) ([]byte, error) {
				if strings.HasPrefix(p, prefix) && strings.HasSuffix(p, name) {
					return change(data, first+5), nil
				}
				if !strings.Contains(p, "entries") && !strings.Contains(p, "data") {
					data[0] ^= 1
				}
				return data, nil
			})
			check(a, report.Misbehaviour)
			l.Fault(nil)
		}
	}
}

// TestManyWrongEntries checks that a log that is wrong everywhere is told so a few
// times.
func TestManyWrongEntries(t *testing.T) {
	const size = 256 * 40
	l := newLog(t, tlogclient.Tiles, size)
	l.Fault(func(p string, data []byte) ([]byte, error) {
		if strings.HasPrefix(p, "tile/entries/") {
			data[10] ^= 1
		}
		return data, nil
	})
	a := newAudit(t, l)
	a.mustRun(size)
	a.mustFind(map[string]report.Result{"B1": report.Misbehaviour})
	if got := a.check("B1").Counts[report.Misbehaviour]; got != report.MaxFindings+1 {
		t.Errorf("%d findings", got)
	}
}

// TestChanged replays a log whose entries below the snapshot have become others.
func TestChanged(t *testing.T) {
	l := newLog(t, tlogclient.Tiles, 900)
	a := newAudit(t, l)
	a.config.Names = new(names)
	a.config.From = a.mustRun(900).Snapshot
	for _, at := range []int64{890, 300} { // in the bundle that is read again, and below
		fork := l.Fork(at)
		grow(fork, at+50000, 51800)
		b := newAudit(t, fork)
		b.config.From, b.config.Names = a.config.From, &names{slices.Clone(a.config.Names.(*names).all)}
		r := b.mustRun(1800)
		if r.Sound || r.Snapshot != nil {
			t.Errorf("%+v", r)
		}
		b.mustFind(map[string]report.Result{"B1": report.Misbehaviour})
	}
}

// TestChangedBelow replays a log with one other entry, of a bundle that is not read
// again.
func TestChangedBelow(t *testing.T) {
	l := newLog(t, tlogclient.Tiles, 900)
	a := newAudit(t, l)
	a.config.RootOnly = true
	a.config.From = a.mustRun(900).Snapshot
	fork := l.Fork(300)
	fork.Append(madeRecord(4711))
	grow(fork, 301, 1000)
	b := newAudit(t, fork)
	b.config.RootOnly, b.config.From = true, a.config.From
	if r := b.mustRun(1000); r.Sound || r.Snapshot != nil {
		t.Errorf("%+v", r)
	}
	b.mustFind(map[string]report.Result{"B1": report.Misbehaviour})
}

func TestEntries(t *testing.T) {
	for _, layout := range layouts {
		const size = 1000
		l := newLog(t, layout, size)
		c := newAudit(t, l).config.Log
		for _, r := range [][2]int64{{0, size}, {0, 1}, {999, 1000}, {255, 257}, {256, 512}, {300, 301}, {5, 5}, {700, 20}, {0, 0}} {
			next := r[0]
			for e, err := range replay.Entries(t.Context(), c, l.Tree(size), r[0], r[1]) {
				if err != nil {
					t.Fatal(err)
				}
				if e.Index != next || !bytes.Equal(e.Text, madeRecord(next)) {
					t.Fatalf("%v: entry %d, want %d", r, e.Index, next)
				}
				next++
			}
			if next != max(r[0], r[1]) {
				t.Errorf("%v: ended before %d", r, next)
			}
		}
		for e, err := range replay.Entries(t.Context(), c, l.Tree(size), 0, size) {
			if err != nil || e.Index > 3 {
				t.Fatalf("%d, %v", e.Index, err)
			}
			if e.Index == 3 {
				break
			}
		}
		for _, r := range [][2]int64{{-1, 5}, {0, size + 1}} {
			for _, err := range replay.Entries(t.Context(), c, l.Tree(size), r[0], r[1]) {
				if err == nil {
					t.Errorf("%v: no error", r)
				}
			}
		}
	}
}

// TestEntriesWrong flips a byte in each bundle and tile.
func TestEntriesWrong(t *testing.T) {
	const size = 1000
	l := newLog(t, tlogclient.Tiles, size)
	c := newAudit(t, l).config.Log
	for path, before := range map[string]int64{"tile/entries/000": 0, "tile/entries/002": 512, "tile/entries/003.p/232": 768,
		"tile/1/000.p/3": 0, "tile/0/003.p/232": 0} {
		l.Fault(func(p string, data []byte) ([]byte, error) {
			if p == path {
				data[77] ^= 1
			}
			return data, nil
		})
		n, failed := int64(0), error(nil)
		for e, err := range replay.Entries(t.Context(), c, l.Tree(size), 0, size) {
			if failed != nil {
				t.Errorf("%s: entry %d, %v after %v", path, e.Index, err, failed)
			}
			if failed = err; err == nil {
				n++
			}
		}
		if !errors.Is(failed, tlogclient.ErrUnproven) || n > before {
			t.Errorf("%s: %d entries, %v", path, n, failed)
		}
	}
}
