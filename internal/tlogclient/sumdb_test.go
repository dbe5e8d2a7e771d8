// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"

	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// A goCommand is the world of a sumdb.Client: a log, the head it knows, and the
// tiles that it has seen of that tree.
type goCommand struct {
	log    *tlogtest.Log
	seen   *tlogtest.Log
	answer []byte // of any lookup

	mu     sync.Mutex
	latest []byte
	forked bool
}

func (g *goCommand) ReadRemote(path string) ([]byte, error) {
	if strings.HasPrefix(path, "/lookup/") {
		return g.answer, nil
	}
	return g.log.Read(context.Background(), path[1:], 1<<20)
}

func (g *goCommand) ReadConfig(file string) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if file == "key" {
		return []byte(g.log.Key.String()), nil
	}
	return g.latest, nil
}

func (g *goCommand) WriteConfig(file string, old, new []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !bytes.Equal(g.latest, old) {
		return sumdb.ErrWriteConflict
	}
	g.latest = new
	return nil
}

func (g *goCommand) SecurityError(string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forked = true
}

func (g *goCommand) ReadCache(file string) ([]byte, error) {
	return g.seen.Read(context.Background(), strings.TrimPrefix(file, g.log.Key.Name()+"/"), 1<<20)
}

func (g *goCommand) WriteCache(string, []byte) {}
func (g *goCommand) Log(string)                {}

// seenTiles is the same cache for a client of this package.
type seenTiles struct{ log *tlogtest.Log }

func (s seenTiles) Read(t tlog.Tile) []byte {
	data, err := s.log.Read(context.Background(), t.Path(), 1<<20)
	if err != nil {
		return nil
	}
	return data
}

func (s seenTiles) Keep(tlog.Tile, []byte) {}

// TestLikeGoCommand shows the go command's client and this one the same two
// heads and the same tiles, some of them bad: they must come to the same end.
func TestLikeGoCommand(t *testing.T) {
	key := tlogtest.New(t, "sum.example", tlogclient.Database)
	seen := make(map[string]int)
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(250, 260), rapid.Int64Range(500, 800))
		known, shown := size.Draw(rt, "known"), size.Draw(rt, "shown")
		common := rapid.Int64Range(0, min(known, shown)).Draw(rt, "common")
		branch := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "branch")

		base := key.Fork(0)
		base.Grow("a", common)
		old, l := base.Fork(common), base.Fork(common)
		old.Grow("a", known)
		l.Grow(branch, shown)
		if rapid.Bool().Draw(rt, "tamper") {
			at := rapid.IntRange(0, 1<<13-1).Draw(rt, "at")
			tile := rapid.SampledFrom([]string{"tile/8/0/000", "tile/8/0/001", "tile/8/1/", "tile/8/0/000.p"}).Draw(rt, "tile")
			l.Fault(func(path string, data []byte) ([]byte, error) {
				if strings.HasPrefix(path, tile) {
					data[at%len(data)] ^= 1
				}
				return data, nil
			})
		}
		_, err := open(t, l, l, seenTiles{old}).Extend(t.Context(), old.Head(known), l.Head(shown))

		record, ferr := tlog.FormatRecord(0, tlogtest.Record(branch, 0))
		if ferr != nil {
			rt.Fatal(ferr)
		}
		g := &goCommand{log: l, seen: old, latest: old.Head(known).Note, answer: append(record, l.Head(shown).Note...)}
		_, gerr := sumdb.NewClient(g).Lookup("example.com/m", "v1.0.0")

		_, forked := errors.AsType[*tlogclient.ForkError](err)
		_, stale := errors.AsType[*tlogclient.StaleError](err)
		// The go command cannot prove each fork: it takes tiles of the tree it
		// knows for those of the other where they have one name. But it
		// believes none.
		moved := bytes.Equal(g.latest, l.Head(shown).Note)
		if g.forked && !forked || forked && gerr == nil || shown > known && moved != (err == nil) {
			rt.Fatalf("here: %v; go command: %v, forked %v, took the head %v", err, gerr, g.forked, moved)
		}
		if differ := old.Tree(known) != l.Tree(shown); shown == known && forked != differ {
			rt.Fatalf("roots of one size differ: %v, here: %v", differ, err)
		}
		seen[fmt.Sprintf("fork %v, stale %v, unproven %v", forked, stale, errors.Is(err, tlogclient.ErrUnproven))]++
	})
	if len(seen) < 4 {
		t.Errorf("only these ends were seen: %v", seen)
	}
}

// TestServer reads from the server that golang.org/x/mod has.
func TestServer(t *testing.T) {
	skey, vkey, err := note.GenerateKey(nil, "sum.example")
	if err != nil {
		t.Fatal(err)
	}
	key, err := checkpoint.ParseKey(vkey)
	if err != nil {
		t.Fatal(err)
	}
	ops := sumdb.NewTestServer(skey, func(path, version string) ([]byte, error) {
		return fmt.Appendf(nil, "%s %s h1:\n", path, version), nil
	})
	srv := httptest.NewServer(sumdb.NewServer(ops))
	defer srv.Close()
	h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
	defer h.Close()
	src, err := h.Source(srv.URL)
	if err != nil {
		t.Fatal(err)
	}

	var heads []tlogclient.Head
	n := 0
	for _, size := range []int{0, 1, 200, 256, 300, 700} {
		for ; n < size; n++ {
			if _, err := src.Read(t.Context(), fmt.Sprintf("lookup/example.com/m@v1.0.%d", n), 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		layout, head, err := tlogclient.Discover(t.Context(), src, key)
		if err != nil || layout != tlogclient.Database || head.Size != int64(size) {
			t.Fatalf("%v, %+v, %v", layout, head, err)
		}
		l, err := tlogclient.New(tlogclient.Config{Source: src, Layout: layout, Keys: []*checkpoint.Key{key}})
		if err != nil {
			t.Fatal(err)
		}
		for _, old := range heads {
			p, err := l.Extend(t.Context(), old, head)
			if err == nil && old.Size > 0 {
				err = verify(old.Tree(), head.Tree(), p)
			}
			if err != nil {
				t.Errorf("from %d to %d: %v", old.Size, head.Size, err)
			}
		}
		heads = append(heads, head)
	}
}
