// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// auditName is the name of the log that is audited.
const auditName = "sum.example.org/audited"

// An auditTree is a log as a tree of files (https://c2sp.org/tlog-tiles), such as
// an auditor could have copied.
type auditTree struct {
	dir  string
	vkey string
	size int64
}

// auditTree returns the file tree of so many made-up records, and makes it if
// there is none.
func (b *bench) auditTree() (*auditTree, error) {
	size := int64(5_000_000)
	if b.short {
		size = 50_000
	}
	dir := filepath.Join(b.work, fmt.Sprintf("tree-%d", size))
	vkey, err := os.ReadFile(filepath.Join(dir, "vkey"))
	if err == nil {
		return &auditTree{dir, string(vkey), size}, nil
	}
	progress("making a file tree of %d records in %s", size, dir)
	temp, err := b.newDir("tree")
	if err != nil {
		return nil, err
	}
	if err := makeTree(b, filepath.Join(temp, "tree"), size); err != nil {
		return nil, err
	}
	if err := os.Rename(filepath.Join(temp, "tree"), dir); err != nil {
		return nil, err
	}
	vkey, err = os.ReadFile(filepath.Join(dir, "vkey"))
	return &auditTree{dir, string(vkey), size}, err
}

// storedHashes is a tree in memory.
type storedHashes []tlog.Hash

func (s storedHashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = s[x]
	}
	return out, nil
}

// makeTree writes bundles, tiles and a signed checkpoint.
func makeTree(b *bench, dir string, size int64) error {
	stored := make(storedHashes, 0, 2*size)
	var bundle []byte
	for i := range size {
		text := record(i).Text()
		hashes, err := tlog.StoredHashes(i, text, stored)
		if err != nil {
			return err
		}
		stored = append(stored, hashes...)
		bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(text)))
		bundle = append(bundle, text...)
		if (i+1)%256 != 0 && i+1 != size {
			continue
		}
		tile := tlog.Tile{H: 8, L: 0, N: i / 256, W: int(i%256) + 1}
		if err := writeTreeFile(dir, strings.Replace(tilePath(tile), "tile/0/", "tile/entries/", 1), bundle); err != nil {
			return err
		}
		bundle = bundle[:0]
		if err := b.ctx.Err(); err != nil {
			return err
		}
	}
	for _, tile := range tlog.NewTiles(8, 0, size) {
		data, err := tlog.ReadTileData(tile, stored)
		if err != nil {
			return err
		}
		if err := writeTreeFile(dir, tilePath(tile), data); err != nil {
			return err
		}
	}
	root, err := tlog.TreeHash(size, stored)
	if err != nil {
		return err
	}
	return signTree(dir, tlog.Tree{N: size, Hash: root})
}

// tilePath is where tlog-tiles has a tile.
func tilePath(t tlog.Tile) string { return "tile/" + strings.TrimPrefix(t.Path(), "tile/8/") }

func signTree(dir string, tree tlog.Tree) error {
	skey, vkey, err := note.GenerateKey(nil, auditName)
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return err
	}
	c := checkpoint.Checkpoint{Origin: auditName, Size: tree.N, Root: tree.Hash}
	msg, err := note.Sign(&note.Note{Text: c.Text()}, signer)
	if err != nil {
		return err
	}
	if err := writeTreeFile(dir, "checkpoint", msg); err != nil {
		return err
	}
	return writeTreeFile(dir, "vkey", []byte(vkey))
}

func writeTreeFile(dir, path string, data []byte) error {
	name := filepath.Join(dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}
