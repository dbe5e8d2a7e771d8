// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/record"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/replay"
)

// madeRecord returns the text of made-up record i, some 200 bytes.
func madeRecord(i int64) []byte {
	sum := func(what string) [32]byte { return sha256.Sum256(fmt.Appendf(nil, "%s %d", what, i)) }
	r := record.Record{
		Path:    fmt.Appendf(nil, "example.com/some-%02x/project%d", i%251, i/37),
		Version: fmt.Appendf(nil, "v1.%d.%d", i%37, i%7),
		Zip:     sum("zip"),
		Mod:     sum("mod"),
	}
	switch i % 37 {
	case 0, 9, 17, 25:
		r.Version = fmt.Appendf(nil, "v0.0.0-20%02d0102030405-%06x%06x", 10+i%10, i, i)
	case 3:
		r.Path = append(r.Path, "/v2"...)
		r.Version = []byte("v2.0.0-rc.1")
	case 4:
		r.Version = []byte("v3.1.4+incompatible")
	}
	return r.Text()
}

// A made is a made-up log.
type made struct {
	files map[string][]byte // by path
	key   *checkpoint.Key
	tree  tlog.Tree
}

type stored []tlog.Hash

func (s stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = s[x]
	}
	return out, nil
}

// bigLog is made once.
var bigLog = sync.OnceValue(func() *made { return makeLog(1 << 18) })

func makeLog(n int64) *made {
	m := &made{files: make(map[string][]byte)}
	hashes := make(stored, 0, 2*n)
	var bundle []byte
	for i := range n {
		text := madeRecord(i)
		h, err := tlog.StoredHashes(i, text, hashes)
		if err != nil {
			panic(err)
		}
		hashes = append(hashes, h...)
		bundle = append(binary.BigEndian.AppendUint16(bundle, uint16(len(text))), text...)
		if (i+1)%256 == 0 || i+1 == n {
			t := tlog.Tile{H: 8, L: -1, N: i / 256, W: int(i%256) + 1}
			m.files["tile/entries/"+strings.TrimPrefix(t.Path(), "tile/8/data/")] = bundle
			bundle = nil
		}
	}
	for _, t := range tlog.NewTiles(8, 0, n) {
		data, err := tlog.ReadTileData(t, hashes)
		if err != nil {
			panic(err)
		}
		m.files["tile/"+strings.TrimPrefix(t.Path(), "tile/8/")] = data
	}
	root, err := tlog.TreeHash(n, hashes)
	if err != nil {
		panic(err)
	}
	m.tree = tlog.Tree{N: n, Hash: root}
	_, vkey, err := note.GenerateKey(nil, "log.example")
	if err != nil {
		panic(err)
	}
	key, err := checkpoint.ParseKey(vkey)
	if err != nil {
		panic(err)
	}
	m.key = key
	return m
}

// dir writes the log to a directory, from which it is then read.
func (m *made) dir(b *testing.B) *tlogclient.Log {
	dir := b.TempDir()
	for path, data := range m.files {
		name := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	l, err := tlogclient.New(tlogclient.Config{Source: tlogclient.Dir(dir), Layout: tlogclient.Tiles, Keys: []*checkpoint.Key{m.key}})
	if err != nil {
		b.Fatal(err)
	}
	return l
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// floor hashes the blocks of a tree, as many and as long: a leaf and a node for
// each record.
func (m *made) floor() {
	var node [65]byte
	for n := range m.tree.N / 256 {
		t := tlog.Tile{H: 8, L: -1, N: n, W: 256}
		data := m.files["tile/entries/"+strings.TrimPrefix(t.Path(), "tile/8/data/")]
		for len(data) > 2 {
			end := 2 + int(binary.BigEndian.Uint16(data))
			h := sha256.Sum256(data[1:end])
			node[64] = h[0]
			h = sha256.Sum256(node[:])
			node[1] = h[0]
			data = data[end:]
		}
	}
}

// measure reports records a second of CPU time, and their ratio to the floor,
// which is measured in turns with them.
func measure(b *testing.B, c replay.Config) {
	m := bigLog()
	c.Log, c.Tree = m.dir(b), m.tree
	b.ReportAllocs()
	var floor, used, wall time.Duration
	for b.Loop() {
		begin := cpuTime()
		m.floor()
		floor += cpuTime() - begin

		begin, start := cpuTime(), time.Now()
		r, err := replay.Run(b.Context(), c)
		if err != nil || !r.Sound || r.Bad+r.Repeated > 0 {
			b.Fatalf("%+v, %v", r, err)
		}
		used += cpuTime() - begin
		wall += time.Since(start)
	}
	n := float64(m.tree.N * int64(b.N))
	b.ReportMetric(n/used.Seconds(), "records/cpu-s")
	b.ReportMetric(n/wall.Seconds(), "records/s")
	b.ReportMetric(floor.Seconds()/used.Seconds(), "of-floor")
}

func BenchmarkRoot(b *testing.B) { measure(b, replay.Config{RootOnly: true, Parallel: 1}) }
func BenchmarkTiles(b *testing.B) {
	measure(b, replay.Config{RootOnly: true, Compare: true, Parallel: 1})
}
func BenchmarkRoot2(b *testing.B) { measure(b, replay.Config{RootOnly: true, Parallel: 2}) }
func BenchmarkAll(b *testing.B)   { measure(b, replay.Config{Compare: true, Parallel: 2}) }
