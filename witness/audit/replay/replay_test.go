// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"
	"example.org/sumlog/witness/audit/replay"
	"example.org/sumlog/witness/audit/report"
)

var layouts = []tlogclient.Layout{tlogclient.Tiles, tlogclient.Database}

// An audit replays a log again and again.
type audit struct {
	t      testing.TB
	log    *tlogtest.Log
	config replay.Config
	report *report.Report
	kept   []*evidence.Evidence
}

func newAudit(t testing.TB, l *tlogtest.Log) *audit {
	a := &audit{t: t, log: l}
	c, err := tlogclient.New(tlogclient.Config{Source: l, Layout: l.Layout, Keys: keys(l)})
	if err != nil {
		t.Fatal(err)
	}
	a.config = replay.Config{Log: c, Key: l.Key, URL: "https://log.example/", Compare: true, Parallel: 3, Keep: a.keep}
	return a
}

func (a *audit) keep(e *evidence.Evidence) (string, error) {
	if _, err := evidence.Parse(e.Bytes()); err != nil {
		a.t.Errorf("evidence does not verify: %v\n%s", err, e.Bytes())
	}
	a.kept = append(a.kept, e)
	return fmt.Sprintf("file-%d", len(a.kept)), nil
}

// run replays size entries.
func (a *audit) run(size int64) (*replay.Result, error) {
	c := a.config
	a.report, a.kept = new(report.Report), nil
	c.Report, c.Head = a.report, a.log.Head(size)
	c.Tree = c.Head.Tree()
	return replay.Run(a.t.Context(), c)
}

func (a *audit) mustRun(size int64) *replay.Result {
	a.t.Helper()
	r, err := a.run(size)
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

// check returns the line of the report.
func (a *audit) check(id string) report.Data {
	for _, d := range a.report.Checks() {
		if d.ID == id {
			return d
		}
	}
	return report.Data{}
}

// red reports the checks that found something, with what.
func (a *audit) red() map[string]report.Result {
	red := make(map[string]report.Result)
	for _, d := range a.report.Checks() {
		if d.Result != report.OK && d.Result != report.Skipped {
			red[d.ID] = d.Result
		}
	}
	return red
}

func (a *audit) mustFind(want map[string]report.Result) {
	a.t.Helper()
	if got := a.red(); !maps.Equal(got, want) {
		data, _ := json.MarshalIndent(a.report.Checks(), "", " ")
		a.t.Errorf("found %v, want %v\n%s", got, want, data)
	}
}

func (a *audit) mustKeep(kinds ...evidence.Kind) {
	a.t.Helper()
	var got []evidence.Kind
	for _, e := range a.kept {
		got = append(got, e.Kind())
	}
	if !slices.Equal(got, kinds) {
		a.t.Errorf("evidence of kinds %q, want %q", got, kinds)
	}
}

// newLog returns a log of n made-up records.
func newLog(t testing.TB, layout tlogclient.Layout, n int64) *tlogtest.Log {
	l := tlogtest.New(t, "log.example", layout)
	grow(l, 0, n)
	return l
}

func grow(l *tlogtest.Log, from, to int64) {
	var texts [][]byte
	for i := from; i < to; i++ {
		texts = append(texts, madeRecord(i))
	}
	l.Append(texts...)
}

// A cache is a tlogclient.Cache.
type cache struct {
	mu    sync.Mutex
	tiles map[tlog.Tile][]byte
}

func (c *cache) Read(t tlog.Tile) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tiles[t]
}

func (c *cache) Keep(t tlog.Tile, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tiles[t] = bytes.Clone(data)
}

// mustHave checks that all tiles of the tree of size n are there, and no others
// but partial tiles of smaller trees.
func (c *cache) mustHave(t testing.TB, l *tlogtest.Log, n int64) {
	t.Helper()
	rest := maps.Clone(c.tiles)
	for _, tile := range tlog.NewTiles(8, 0, n) {
		data, err := l.Read(t.Context(), tilePath(l.Layout, tile), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.tiles[tile], data) {
			t.Errorf("tile %s is not what was kept", tile.Path())
		}
		delete(rest, tile)
	}
	for tile := range rest {
		if tile.W == 256 || tile.N<<8+int64(tile.W) > n>>(8*tile.L) {
			t.Errorf("tile %s was kept", tile.Path())
		}
	}
}

func tilePath(layout tlogclient.Layout, t tlog.Tile) string {
	if layout == tlogclient.Tiles {
		return "tile/" + strings.TrimPrefix(t.Path(), "tile/8/")
	}
	return t.Path()
}

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

// A names is a NameStore.
type names struct{ all []uint64 }

func (s *names) Load(n int64) ([]uint64, error) {
	s.all = s.all[:min(int(n), len(s.all))]
	return slices.Clone(s.all), nil
}

func (s *names) Append(names []uint64) error {
	s.all = append(s.all, names...)
	return nil
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

// TestRecords replays logs with entries that break the rules.
func TestRecords(t *testing.T) {
	good := string(madeRecord(1000))
	line := func(n int) string { return strings.SplitAfter(good, "\n")[n] }
	other := strings.ReplaceAll(good, "h1:", "h1:A")
	other = strings.ReplaceAll(other, "=\n", "\n")
	other = other[:strings.LastIndex(other, "h1:A")] + string(madeRecord(1001))[strings.LastIndex(string(madeRecord(1001)), "h1:"):]
	other = line(0) + strings.SplitAfter(other, "\n")[1]
	misbehaves := func(ids ...string) map[string]report.Result {
		m := make(map[string]report.Result)
		for _, id := range ids {
			m[id] = report.Misbehaviour
		}
		return m
	}
	warns := func(id string) map[string]report.Result { return map[string]report.Result{id: report.Warning} }
	rename := func(from, to string) string { return strings.ReplaceAll(good, from, to) }
	path := strings.Fields(good)[0]
	version := strings.Fields(good)[1]
	for _, tt := range []struct {
		name          string
		texts         []string
		want          map[string]report.Result
		bad, repeated int64
		kinds         []evidence.Kind
	}{
		{"good", []string{good}, nil, 0, 0, nil},
		{"CRLF", []string{strings.ReplaceAll(good, "\n", "\r\n")}, misbehaves("C1"), 1, 0, []evidence.Kind{evidence.Unsound}},
		{"extra line", []string{good + line(0)}, misbehaves("C1"), 1, 0, []evidence.Kind{evidence.Unsound}},
		{"missing line", []string{line(0)}, misbehaves("C1"), 1, 0, []evidence.Kind{evidence.Unsound}},
		{"empty", []string{""}, misbehaves("C1"), 1, 0, []evidence.Kind{evidence.Unsound}},
		{"short hash", []string{rename("h1:", "h1:A")}, misbehaves("C3"), 1, 0, []evidence.Kind{evidence.Unsound}},
		{"two bad", []string{"x\n", "x\n"}, misbehaves("C1"), 2, 0, []evidence.Kind{evidence.Unsound, evidence.Unsound}},
		{"repeat", []string{good, good}, misbehaves("C4"), 0, 1, []evidence.Kind{evidence.Unsound}},
		{"conflict", []string{good, other}, misbehaves("C4"), 0, 1, []evidence.Kind{evidence.Conflicts}},
		{"both", []string{good, other, good}, misbehaves("C4"), 0, 2, []evidence.Kind{evidence.Conflicts, evidence.Unsound}},
		{"all of it", []string{good, "x\n", good, rename("h1:", "h1:A")}, misbehaves("C1", "C3", "C4"), 2, 1,
			[]evidence.Kind{evidence.Unsound, evidence.Unsound, evidence.Unsound}},
		{"bad path", []string{rename(path, "Example.com")}, warns("C2"), 0, 0, nil},
		{"bad version", []string{rename(version, "1.0")}, warns("C2"), 0, 0, nil},
		{"future", []string{rename(path+" "+version, path+" v0.0.0-20990101000000-0123456789ab")}, warns("C6"), 0, 0, nil},
	} {
		for _, before := range []int64{0, 254, 700} {
			l := newLog(t, tlogclient.Tiles, before)
			for _, text := range tt.texts {
				l.Append([]byte(text))
			}
			size := before + int64(len(tt.texts))
			a := newAudit(t, l)
			r := a.mustRun(size)
			a.mustFind(tt.want)
			a.mustKeep(tt.kinds...)
			if !r.Sound || r.Bad != tt.bad || r.Repeated != tt.repeated {
				t.Errorf("%s after %d: %+v", tt.name, before, r)
			}
		}
	}
}

// TestRepeatedLater finds what is only seen beside the records of an earlier
// replay, and does not forget what was found.
func TestRepeatedLater(t *testing.T) {
	for _, first := range []int64{300, 512} {
		l := newLog(t, tlogclient.Tiles, first)
		a := newAudit(t, l)
		store := new(names)
		a.config.Names = store
		a.config.From = a.mustRun(first).Snapshot

		l.Append(madeRecord(7), []byte("x\n"))
		grow(l, first, first+8)
		size := first + 10
		r := a.mustRun(size)
		a.mustFind(map[string]report.Result{"C1": report.Misbehaviour, "C4": report.Misbehaviour})
		a.mustKeep(evidence.Unsound, evidence.Unsound)
		if f := a.check("C4").Findings[0]; *f.Index != first || !strings.Contains(f.Text, "entry 7") || f.Evidence == "" {
			t.Errorf("found %+v", f)
		}
		if r.Bad != 1 || r.Repeated != 1 {
			t.Errorf("%+v", r)
		}

		// These are in the bundle that is read again.
		a.config.From = r.Snapshot
		grow(l, first+8, first+108)
		r = a.mustRun(size + 100)
		a.mustFind(map[string]report.Result{"C1": report.Misbehaviour, "C4": report.Misbehaviour})
		a.mustKeep()
		if r.Bad != 1 || r.Repeated != 1 {
			t.Errorf("%+v", r)
		}

		a.config.From = r.Snapshot
		l.Append(madeRecord(7))
		r = a.mustRun(size + 101)
		a.mustKeep(evidence.Unsound)
		if r.Bad != 1 || r.Repeated != 2 {
			t.Errorf("%+v", r)
		}
	}
}

// TestMany finds more than is reported one by one.
func TestMany(t *testing.T) {
	l := newLog(t, tlogclient.Tiles, 300)
	const more = report.MaxFindings + 7
	for range more {
		l.Append([]byte("x\n"), []byte("y\n"))
	}
	grow(l, 100, 100+more)
	a := newAudit(t, l)
	r := a.mustRun(300 + 3*more)
	a.mustFind(map[string]report.Result{"C1": report.Misbehaviour, "C4": report.Misbehaviour})
	if r.Bad != 2*more || r.Repeated != more || a.check("C1").Counts[report.Misbehaviour] != 2*more || a.check("C4").Counts[report.Misbehaviour] != more {
		t.Errorf("%+v, %+v", r, a.report.Checks())
	}
	if len(a.kept) != 2*report.MaxFindings {
		t.Errorf("%d files of evidence", len(a.kept))
	}

	defer replay.SetMaxHits(10)()
	a = newAudit(t, l)
	if r := a.mustRun(300 + 3*more); r.Repeated >= 10 {
		t.Errorf("%+v", r)
	}
	if got := a.check("C4").Counts[report.Failed]; got != 1 {
		t.Errorf("%+v", a.check("C4"))
	}
}

// TestCollision shows that equal fingerprints are not believed.
func TestCollision(t *testing.T) {
	l := newLog(t, tlogclient.Tiles, 300)
	a := newAudit(t, l)
	store := new(names)
	a.config.Names = store
	first := a.mustRun(300)
	grow(l, 300, 600)
	b := newAudit(t, l)
	b.config.Names = new(names)
	b.mustRun(600)

	for i := range 20 {
		store.all[11+i] = b.config.Names.(*names).all[599-i]
	}
	a.config.From = first.Snapshot
	r := a.mustRun(600)
	a.mustFind(nil)
	if r.Repeated != 0 {
		t.Errorf("%+v", r)
	}
	again := 0
	for _, path := range l.Reads() {
		if path == "tile/entries/000" {
			again++
		}
	}
	if again < 3 { // twice replayed, and once for the collision
		t.Error("the entries were not compared")
	}
}

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

// TestReadAgain checks that entries that were read again are the same.
func TestReadAgain(t *testing.T) {
	for name, index := range map[string]int64{"000": 7, "003.p/32": 790} {
		l := newLog(t, tlogclient.Tiles, 799)
		l.Append(madeRecord(index))
		times := 0
		l.Fault(func(p string, data []byte) ([]byte, error) {
			if p == "tile/entries/"+name {
				if times++; times > 1 {
					return change(data, index), nil
				}
			}
			return data, nil
		})
		a := newAudit(t, l)
		if r, err := a.run(800); !errors.Is(err, tlogclient.ErrUnproven) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
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

func keys(l *tlogtest.Log) []*checkpoint.Key { return []*checkpoint.Key{l.Key} }
