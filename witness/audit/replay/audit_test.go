// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

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
	a.config = replay.Config{Log: c, Key: l.Key, Address: func(path string) string { return "https://log.example/" + path }, Compare: true, Parallel: 3, Keep: a.keep}
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

func keys(l *tlogtest.Log) []*checkpoint.Key { return []*checkpoint.Key{l.Key} }
