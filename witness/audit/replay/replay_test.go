// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/replay"
	"example.org/sumlog/witness/audit/report"
)

func TestSound(t *testing.T) {
	for _, layout := range layouts {
		for _, size := range []int64{0, 1, 2, 255, 256, 257, 511, 512, 700, 66000} {
			l := newLog(t, layout, size)
			a := newAudit(t, l)
			kept := &cache{tiles: make(map[tlog.Tile][]byte)}
			a.config.Cache, a.config.Names = kept, new(names)
			a.config.Sizes = []int64{size, 0, size / 2, size / 3, size / 2, size - size%256, size + 1, -1}
			last := int64(-1)
			a.config.Progress = func(done, total int64) {
				if done <= last || total != size {
					t.Errorf("progress %d of %d after %d", done, total, last)
				}
				last = done
			}
			r := a.mustRun(size)
			a.mustFind(nil)
			if !r.Sound || r.Bad+r.Repeated != 0 || r.Snapshot.Tree() != l.Tree(size) || size > 0 && last != size {
				t.Errorf("%v, size %d: %+v, progress to %d", layout, size, r, last)
			}
			for _, n := range a.config.Sizes[:6] {
				if r.Roots[n] != l.Tree(n).Hash {
					t.Errorf("%v, size %d: root at %d is %v", layout, size, n, r.Roots[n])
				}
			}
			if len(r.Roots) > 6 || int64(len(a.config.Names.(*names).all)) != size {
				t.Errorf("%v, size %d: %d roots", layout, size, len(r.Roots))
			}
			kept.mustHave(t, l, size)
			for id, want := range map[string]int64{"B1": size, "B2": int64(len(tlog.NewTiles(8, 0, size))), "C1": size, "C4": size} {
				if got := a.check(id); got.Checked != want || got.Result != report.OK {
					t.Errorf("%v, size %d: %+v, want %d", layout, size, got, want)
				}
			}
		}
	}
}

// TestSteps replays in steps, and compares with one replay.
func TestSteps(t *testing.T) {
	const size = 1100
	l := newLog(t, tlogclient.Tiles, size)
	all := newAudit(t, l)
	all.config.Names = new(names)
	want := all.mustRun(size)
	rapid.Check(t, func(rt *rapid.T) {
		a := newAudit(t, l)
		store := new(names)
		kept := &cache{tiles: make(map[tlog.Tile][]byte)}
		a.config.Names, a.config.Cache = store, kept
		a.config.Parallel = rapid.IntRange(1, 5).Draw(rt, "parallel")
		var r *replay.Result
		for n := int64(0); n < size || r == nil; {
			n = rapid.Int64Range(n, size).Draw(rt, "size")
			middle := rapid.Int64Range(0, n).Draw(rt, "middle")
			a.config.Sizes = []int64{n, middle}
			l.Show(n)
			r = a.mustRun(n)
			a.mustFind(nil)
			if root, ok := r.Roots[middle]; !r.Sound || r.Roots[n] != l.Tree(n).Hash || ok && root != l.Tree(middle).Hash ||
				!ok && (a.config.From == nil || middle >= a.config.From.Size) {
				rt.Fatalf("size %d: %+v", n, r)
			}
			data, err := json.Marshal(r.Snapshot)
			if err != nil {
				rt.Fatal(err)
			}
			a.config.From = new(replay.Snapshot)
			if err := json.Unmarshal(data, a.config.From); err != nil {
				rt.Fatal(err)
			}
			store.all = append(store.all, 17) // of a replay that did not come to an end
		}
		if r.Snapshot.Tree() != want.Snapshot.Tree() || !slices.Equal(store.all[:size], all.config.Names.(*names).all) {
			rt.Fatalf("%+v, want %+v", r.Snapshot, want.Snapshot)
		}
		kept.mustHave(t, l, size)
	})
	l.Show(size)
}

// TestUnreadable checks that what cannot be read is a failure and not misbehaviour,
// and that the first error ends the replay.
func TestUnreadable(t *testing.T) {
	const size = 3000
	l := newLog(t, tlogclient.Tiles, size)
	broken := errors.New("broken")
	for _, path := range []string{"tile/entries/000", "tile/entries/007", "tile/entries/011.p/184"} {
		l.Fault(func(p string, data []byte) ([]byte, error) {
			if p == path {
				return nil, broken
			}
			return data, nil
		})
		a := newAudit(t, l)
		if r, err := a.run(size); !errors.Is(err, broken) || r != nil {
			t.Errorf("%s: %+v, %v", path, r, err)
		}
		a.mustFind(map[string]report.Result{"B1": report.Failed})
	}
	l.Fault(func(p string, data []byte) ([]byte, error) {
		if strings.HasPrefix(p, "tile/entries/") {
			return data[:len(data)-1], nil
		}
		return data, nil
	})
	a := newAudit(t, l)
	if _, err := a.run(size); !errors.Is(err, tlogclient.ErrEntries) {
		t.Errorf("cut bundles: %v", err)
	}
	l.Fault(func(p string, data []byte) ([]byte, error) {
		if strings.HasPrefix(p, "tile/entries/") {
			return nil, &fs.PathError{Op: "read", Path: p, Err: fs.ErrNotExist}
		}
		return data, nil
	})
	if _, err := a.run(size); !errors.Is(err, tlogclient.ErrNoEntries) {
		t.Errorf("no bundles: %v", err)
	}
	// A head can claim any size.
	a.config.Tree = tlog.Tree{N: tlogclient.MaxSize}
	if _, err := replay.Run(t.Context(), a.config); !errors.Is(err, tlogclient.ErrNoEntries) {
		t.Errorf("huge: %v", err)
	}
}

func TestCanceled(t *testing.T) {
	const size = 66000
	l := newLog(t, tlogclient.Tiles, size)
	why := errors.New("why")
	for _, path := range []string{"tile/entries/000", "tile/entries/100", "tile/0/003", "tile/1/000"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		l.Fault(func(p string, data []byte) ([]byte, error) {
			if p == path {
				cancel(why)
			}
			return data, nil
		})
		a := newAudit(t, l)
		a.config.Tree = l.Tree(size)
		if _, err := replay.Run(ctx, a.config); !errors.Is(err, why) && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", path, err)
		}
		cancel(nil)
	}
}

func TestConfig(t *testing.T) {
	l := newLog(t, tlogclient.Tiles, 300)
	good := newAudit(t, l)
	good.config.Names = new(names)
	snapshot := good.mustRun(300).Snapshot
	for name, change := range map[string]func(*replay.Config){
		"no log":            func(c *replay.Config) { c.Log = nil },
		"negative":          func(c *replay.Config) { c.Tree.N = -1 },
		"huge":              func(c *replay.Config) { c.Tree.N = tlogclient.MaxSize + 1 },
		"from without name": func(c *replay.Config) { c.From = snapshot },
		"from beyond":       func(c *replay.Config) { c.From, c.Tree, c.Names = snapshot, l.Tree(299), good.config.Names },
		"damaged snapshot":  func(c *replay.Config) { c.From, c.Names = &replay.Snapshot{Size: 5}, good.config.Names },
	} {
		c := newAudit(t, l).config
		c.Tree = l.Tree(300)
		change(&c)
		if _, err := replay.Run(t.Context(), c); !errors.Is(err, replay.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := newAudit(t, l).config
	c.Tree, c.From, c.Names = l.Tree(300), snapshot, new(names)
	if _, err := replay.Run(t.Context(), c); err == nil {
		t.Error("fewer names than records: no error")
	}
	// Of the tree alone no names are needed.
	c.Names, c.RootOnly, c.Report = nil, true, new(report.Report)
	if r, err := replay.Run(t.Context(), c); err != nil || !r.Sound {
		t.Errorf("%+v, %v", r, err)
	}
	c.Now = func() time.Time { return time.Unix(0, 0) }
	c.From, c.RootOnly = nil, false
	if r, err := replay.Run(t.Context(), c); err != nil || !r.Sound {
		t.Errorf("%+v, %v", r, err)
	}
	for _, d := range c.Report.Checks() {
		if d.ID == "C6" && d.Counts[report.Warning] != 33 {
			t.Errorf("in 1970: %+v", d)
		}
	}
}
