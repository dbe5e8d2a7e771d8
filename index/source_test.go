// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/sumlog/log"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// memory is a log and archive in memory, with a true tree and signed heads.
type memory struct {
	name   string
	signer note.Signer
	vkey   string

	mu      sync.Mutex
	entries []log.Entry
	places  []log.Place
	hashes  []tlog.Hash
	pubs    []*log.Publication
	shown   int // publications that Published and Publications know of
	fail    error
}

func newMemory(t testing.TB, name string) *memory {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{name: name, signer: s, vkey: vkey}
	m.archive(m.publication(t, epoch))
	return m
}

// epoch is the time of the first publication.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (m *memory) ReadHashes(at []int64) ([]tlog.Hash, error) {
	hs := make([]tlog.Hash, len(at))
	for i, x := range at {
		hs[i] = m.hashes[x]
	}
	return hs, nil
}

// testRecord returns a record with made-up hashes.
func testRecord(path, version string) log.Record {
	h := func(s string) string {
		b := sha256.Sum256([]byte(s))
		return "h1:" + base64.StdEncoding.EncodeToString(b[:])
	}
	return log.Record{
		Module: module.Version{Path: path, Version: version},
		Zip:    h(path + version), Mod: h(path + version + "/go.mod"),
	}
}

func (m *memory) append(t testing.TB, rs ...log.Record) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range rs {
		i := int64(len(m.entries))
		hs, err := tlog.StoredHashes(i, r.Text(), m)
		if err != nil {
			t.Fatal(err)
		}
		m.hashes = append(m.hashes, hs...)
		p := log.Place{At: 2}
		if i%256 > 0 {
			p.At = m.places[i-1].At + len(m.entries[i-1].Record.Text()) + 2
		}
		copy(p.Leaf[:], hs[0][:])
		m.places = append(m.places, p)
		m.entries = append(m.entries, log.Entry{Index: i, Record: r})
	}
}

// publication returns the publication of all entries at time at. It is not
// archived yet.
func (m *memory) publication(t testing.TB, at time.Time) *log.Publication {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	size := int64(len(m.entries))
	p := &log.Publication{Time: at, Size: size}
	var err error
	if p.Root, err = tlog.TreeHash(size, m); err != nil {
		t.Fatal(err)
	}
	if p.TreeHead, err = note.Sign(&note.Note{Text: string(tlog.FormatTree(tlog.Tree{N: size, Hash: p.Root}))}, m.signer); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", m.name, size, p.Root)
	if p.Checkpoint, err = note.Sign(&note.Note{Text: text}, m.signer); err != nil {
		t.Fatal(err)
	}
	return p
}

func (m *memory) archive(p *log.Publication) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pubs = append(m.pubs[:len(m.pubs):len(m.pubs)], p)
	m.shown = len(m.pubs)
}

func (m *memory) setFail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

func (m *memory) Published() *log.Publication {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pubs[m.shown-1]
}

func (m *memory) Publications(after int64) iter.Seq2[*log.Publication, error] {
	return func(yield func(*log.Publication, error) bool) {
		m.mu.Lock()
		pubs := m.pubs[:m.shown]
		m.mu.Unlock()
		for _, p := range pubs {
			if p.Size > after && !yield(p, nil) {
				return
			}
		}
	}
}

func (m *memory) Entries(from, to int64) iter.Seq2[log.Entry, error] {
	return func(yield func(log.Entry, error) bool) {
		m.mu.Lock()
		es, fail := m.entries[from:to], m.fail
		m.mu.Unlock()
		for i, e := range es {
			if fail != nil && i == len(es)/2 {
				yield(log.Entry{}, fail)
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (m *memory) Placed(from, to int64) iter.Seq2[log.PlacedEntry, error] {
	return func(yield func(log.PlacedEntry, error) bool) {
		i := from
		for e, err := range m.Entries(from, to) {
			p := log.PlacedEntry{Entry: e}
			if err == nil {
				p.Place = m.place(i)
			}
			if !yield(p, err) {
				return
			}
			i++
		}
	}
}

func (m *memory) place(i int64) log.Place {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.places[i]
}

func (m *memory) EntryAt(i int64, p log.Place) (log.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.places[i] != p {
		return log.Entry{}, fmt.Errorf("entry %d is at %v, not %v", i, m.places[i], p)
	}
	return m.entries[i], nil
}

// synthetic is a log of n entries that are made as they are read, so that it
// costs a benchmark neither memory nor much time.
type synthetic struct {
	n      int64
	pub    *log.Publication
	parsed bool // entries go through their text, as those of a log do
}

func newSynthetic(n int64) *synthetic {
	return &synthetic{n: n, pub: &log.Publication{
		Time: epoch, Size: n, Checkpoint: []byte("bench\n"), TreeHead: make([]byte, 188),
	}}
}

// syntheticModule returns the i-th module version: some 35 bytes of path and
// 20 of version, at a random place in the order of names.
func syntheticModule(i int64) module.Version {
	x := uint64(i) * 0x9e3779b97f4a7c15
	return module.Version{
		Path:    fmt.Sprintf("github.com/owner-%06x/project-%08x", x>>40, uint32(x>>8)),
		Version: fmt.Sprintf("v%d.%d.%d-rc.%d", i%2, i%17, i%5, i),
	}
}

var syntheticHash = "h1:" + strings.Repeat("A", 43) + "="

func (s *synthetic) Published() *log.Publication { return s.pub }

func (s *synthetic) Publications(after int64) iter.Seq2[*log.Publication, error] {
	return func(yield func(*log.Publication, error) bool) {
		if s.n > after {
			yield(s.pub, nil)
		}
	}
}

func (s *synthetic) Entries(from, to int64) iter.Seq2[log.Entry, error] {
	return func(yield func(log.Entry, error) bool) {
		var text []byte
		for i := from; i < to; i++ {
			e := log.Entry{Index: i, Record: log.Record{Module: syntheticModule(i), Zip: syntheticHash, Mod: syntheticHash}}
			var err error
			if s.parsed {
				text = e.Record.AppendText(text[:0])
				e.Record, err = log.ParseRecord(text)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func (s *synthetic) Placed(from, to int64) iter.Seq2[log.PlacedEntry, error] {
	return func(yield func(log.PlacedEntry, error) bool) {
		var leaf []byte
		for e, err := range s.Entries(from, to) {
			leaf = e.Record.AppendText(append(leaf[:0], 0))
			sum := sha256.Sum256(leaf)
			p := log.PlacedEntry{Entry: e, Place: log.Place{At: int(e.Index % 256 * 300)}}
			copy(p.Leaf[:], sum[:])
			if !yield(p, err) {
				return
			}
		}
	}
}

// EntryAt does not look at the place, which would cost a benchmark too much.
func (s *synthetic) EntryAt(i int64, _ log.Place) (log.Entry, error) {
	for e, err := range s.Entries(i, i+1) {
		return e, err
	}
	return log.Entry{}, fmt.Errorf("no entry %d", i)
}
