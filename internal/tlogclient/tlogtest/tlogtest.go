// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package tlogtest is a tiled log in memory, for tests: one that grows, forks
// and forgets as it is told.
package tlogtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/tlogclient"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A Log is a log. It is safe for concurrent use.
type Log struct {
	Key    *checkpoint.Key
	Signer string // as note.NewSigner reads it
	Origin string
	Layout tlogclient.Layout

	signer note.Signer

	mu    sync.Mutex
	store hashes
	texts [][]byte
	size  int64 // of store
	shown int64
	reads []string
	fault func(path string, data []byte) ([]byte, error)
}

type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x >= int64(len(h)) {
			return nil, fmt.Errorf("no hash %d", x)
		}
		out[i] = h[x]
	}
	return out, nil
}

// New returns an empty log.
func New(t testing.TB, name string, layout tlogclient.Layout) *Log {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	key, err := checkpoint.ParseKey(vkey)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	l := &Log{Key: key, Signer: skey, Origin: name, Layout: layout, signer: signer}
	if layout == tlogclient.Database {
		l.Origin = tlogclient.DatabaseOrigin
	}
	return l
}

// Record returns the text of entry i in the history called branch.
func Record(branch string, i int64) []byte {
	return fmt.Appendf(nil, "%s %d\n", branch, i)
}

// Grow appends entries of branch until the log has size n, and shows it.
func (l *Log) Grow(branch string, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.size < n {
		l.append(Record(branch, l.size))
	}
	l.shown = n
}

// Append appends entries, and shows them.
func (l *Log) Append(texts ...[]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, text := range texts {
		l.append(text)
	}
	l.shown = l.size
}

func (l *Log) append(text []byte) {
	h, err := tlog.StoredHashes(l.size, text, l.store)
	if err != nil {
		panic(err)
	}
	l.store = append(l.store, h...)
	l.texts = append(l.texts, text)
	l.size++
}

// Fork returns a log of the same key with the same first n entries.
func (l *Log) Fork(n int64) *Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := int64(0)
	if n > 0 {
		end = tlog.StoredHashIndex(0, n)
	}
	return &Log{Key: l.Key, Signer: l.Signer, Origin: l.Origin, Layout: l.Layout, signer: l.signer,
		store: slices.Clone(l.store[:end]), texts: slices.Clone(l.texts[:n]), size: n, shown: n}
}

// Show makes n, up to the size, what the log shows of itself.
func (l *Log) Show(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown = n
}

// Fault makes f decide what is read instead of data. Nil ends it.
func (l *Log) Fault(f func(path string, data []byte) ([]byte, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = f
}

// Reads returns the paths that were read since it was last called.
func (l *Log) Reads() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.reads
	l.reads = nil
	return r
}

// Tree returns the tree of the first n entries.
func (l *Log) Tree(n int64) tlog.Tree {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, err := tlog.TreeHash(n, l.store)
	if err != nil {
		panic(err)
	}
	return tlog.Tree{N: n, Hash: h}
}

// Sign returns a note about any tree.
func (l *Log) Sign(tree tlog.Tree) []byte {
	c := checkpoint.Checkpoint{Origin: l.Origin, Size: tree.N, Root: tree.Hash}
	msg, err := note.Sign(&note.Note{Text: c.Text()}, l.signer)
	if err != nil {
		panic(err)
	}
	return msg
}

// Head returns the head of size n.
func (l *Log) Head(n int64) tlogclient.Head {
	msg := l.Sign(l.Tree(n))
	h, err := tlogclient.ParseHead(msg, l.Origin, l.Key)
	if err != nil {
		panic(err)
	}
	return h
}

// String implements tlogclient.Source.
func (l *Log) String() string { return "test log" }

// Read implements tlogclient.Source. Of partial tiles only those of the size
// shown are there.
func (l *Log) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.reads = append(l.reads, path)
	shown, fault := l.shown, l.fault
	l.mu.Unlock()
	data, err := l.file(path, shown)
	if fault != nil && err == nil {
		data, err = fault(path, data)
	}
	if err == nil && int64(len(data)) > limit {
		err = tlogclient.ErrTooLarge
	}
	return data, err
}

func (l *Log) file(path string, shown int64) ([]byte, error) {
	missing := &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
	head, hashes, entries := "checkpoint", "tile/", "tile/entries/"
	if l.Layout == tlogclient.Database {
		head, hashes, entries = "latest", "tile/8/", "tile/8/data/"
	}
	if path == head {
		return l.Sign(l.Tree(shown)), nil
	}
	if name, ok := strings.CutPrefix(path, "lookup/"); ok && l.Layout == tlogclient.Database {
		return l.lookup(name, shown)
	}
	if rest, ok := strings.CutPrefix(path, entries); ok {
		return l.entries(rest, shown)
	}
	rest, ok := strings.CutPrefix(path, hashes)
	t, err := tlog.ParseTilePath("tile/8/" + rest)
	if !ok || err != nil || t.L < 0 || t.L > 7 {
		return nil, missing
	}
	have := min(max(shown>>(8*t.L)-t.N<<8, 0), 256)
	if int64(t.W) != have {
		return nil, missing
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return tlog.ReadTileData(t, l.store)
}

// entries returns entries, those of the size shown, in the form of the layout.
func (l *Log) entries(path string, shown int64) ([]byte, error) {
	missing := &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
	t, err := tlog.ParseTilePath("tile/8/data/" + path)
	if err != nil || int64(t.W) != min(max(shown-t.N<<8, 0), 256) {
		return nil, missing
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var data []byte
	for _, text := range l.texts[t.N<<8:][:t.W] {
		if l.Layout == tlogclient.Tiles {
			data = append(data, byte(len(text)>>8), byte(len(text)))
			data = append(data, text...)
			continue
		}
		data = append(data, text...)
		data = append(data, '\n')
	}
	return data, nil
}

// lookup answers with the first entry that begins with a module version.
func (l *Log) lookup(name string, shown int64) ([]byte, error) {
	path, version, _ := strings.Cut(name, "@")
	path, err := module.UnescapePath(path)
	if err != nil {
		return nil, err
	}
	head := l.Sign(l.Tree(shown))
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, text := range l.texts[:shown] {
		if bytes.HasPrefix(text, []byte(path+" "+version+" ")) {
			return fmt.Appendf(nil, "%d\n%s\n%s", i, text, head), nil
		}
	}
	return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
}

// ServeHTTP serves what Read reads.
func (l *Log) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, err := l.Read(r.Context(), strings.TrimPrefix(r.URL.Path, "/"), 32<<20)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		http.NotFound(w, r)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		w.Write(data)
	}
}
