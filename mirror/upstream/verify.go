// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/log"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// errUnproven is wrapped by the *Error of an operation whose requests all went
// well, and whose answers do not fit together.
var errUnproven = errors.New("answer is not proven")

// unproven makes err an *Error, if it is not one already.
func (d *Database) unproven(err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return &Error{Database: d.name, URL: d.name, Err: fmt.Errorf("%w: %v", errUnproven, err)}
}

// openHead verifies a signed head.
func (d *Database) openHead(head []byte) (tlog.Tree, error) {
	n, err := note.Open(head, d.verifiers)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("head is not signed by %s: %w", d.name, err)
	}
	tree, err := tlog.ParseTree([]byte(n.Text))
	if err != nil {
		return tlog.Tree{}, err
	}
	if tree.N > maxTree {
		return tlog.Tree{}, fmt.Errorf("head of %d records", tree.N)
	}
	return tree, nil
}

// prove verifies the answer to a lookup of m and returns the record in it.
func (d *Database) prove(r *tileReader, m module.Version, answer []byte) (log.Record, error) {
	id, text, head, err := tlog.ParseRecord(answer)
	if err != nil {
		return log.Record{}, d.unproven(err)
	}
	if err := d.merge(r, head); err != nil {
		return log.Record{}, err
	}
	_, tree := d.latest()
	if id < 0 || id >= tree.N {
		return log.Record{}, d.unproven(fmt.Errorf("record %d in a tree of %d", id, tree.N))
	}
	h, err := tlog.TileHashReader(tree, r).ReadHashes([]int64{tlog.StoredHashIndex(0, id)})
	if err != nil {
		return log.Record{}, d.unproven(err)
	}
	if h[0] != tlog.RecordHash(text) {
		return log.Record{}, d.unproven(fmt.Errorf("record %d in the tree is another", id))
	}
	// From here on only text, which the hash covers, counts: what follows it
	// in the answer is not authenticated (CVE-2026-56864).
	rec, err := makeRecord(m, string(text))
	if err != nil {
		return log.Record{}, d.unproven(err)
	}
	return rec, nil
}

// makeRecord makes a record of the text of a database's record. The text must
// be m's: a proven record of another module is none of m (CVE-2026-42501).
// Other lines, of kinds of hash to come, are ignored.
func makeRecord(m module.Version, text string) (log.Record, error) {
	zip, err := h1(text, m.Path+" "+m.Version+" ")
	if err != nil {
		return log.Record{}, err
	}
	mod, err := h1(text, m.Path+" "+m.Version+"/go.mod ")
	if err != nil {
		return log.Record{}, err
	}
	r := log.Record{Module: m, Zip: zip, Mod: mod}
	return r, r.Check()
}

// h1 returns the one h1 hash in the lines of text that begin with prefix.
func h1(text, prefix string) (hash string, err error) {
	for line := range strings.SplitSeq(text, "\n") {
		h, ok := strings.CutPrefix(line, prefix)
		if !ok || !strings.HasPrefix(h, "h1:") {
			continue
		}
		if hash != "" {
			return "", fmt.Errorf("record has two lines of %q", prefix)
		}
		hash = h
	}
	if hash == "" {
		return "", fmt.Errorf("record has no line of %q", prefix)
	}
	return hash, nil
}

// merge checks that head is on one timeline with the latest, and makes it the
// latest if it is newer.
func (d *Database) merge(r *tileReader, head []byte) error {
	tree, err := d.openHead(head)
	if err != nil {
		return d.unproven(err)
	}
	for {
		latestHead, latest := d.latest()
		if tree.N <= latest.N {
			return d.checkTrees(r, signedTree{tree, head}, signedTree{latest, latestHead})
		}
		if err := d.checkTrees(r, signedTree{latest, latestHead}, signedTree{tree, head}); err != nil {
			return err
		}
		if err := d.setLatest(latestHead, head, tree); err != errConflict {
			return err
		}
	}
}

type signedTree struct {
	tlog.Tree
	head []byte
}

// checkTrees checks that old is a prefix of newer, whose tiles it reads. That
// it is not, proven by authenticated tiles, is the one security failure.
func (d *Database) checkTrees(r *tileReader, old, newer signedTree) error {
	if old.N == 0 && len(old.head) == 0 {
		return nil // no head yet
	}
	hashes := tlog.TileHashReader(newer.Tree, r)
	h, err := tlog.TreeHash(old.N, hashes)
	if err != nil {
		return d.unproven(fmt.Errorf("checking tree of %d records against %d: %w", old.N, newer.N, err))
	}
	if h == old.Hash {
		return nil
	}
	d.distrust(d.forkEvidence(old, newer, h, hashes))
	return d.trusted()
}

// forkEvidence returns what convinces others: both heads, and the proof that the newer
// tree has another root at the older size, which is h. If the tiles of that proof cannot
// be had any more, it is our word for it, and both heads.
func (d *Database) forkEvidence(old, newer signedTree, h tlog.Hash, hashes tlog.HashReader) []byte {
	proof := []tlog.Hash{h}
	if old.N > 0 && old.N < newer.N {
		if path, err := tlog.ProveTree(newer.N, old.N, hashes); err == nil {
			proof = append(proof, path...)
		}
	}
	e, err := evidence.Accuse(d.key, newer.head, old.head, proof, "database "+d.name)
	if err != nil { // of heads that were opened, there should be none
		d.logger.Error("evidence could not be made", "database", d.name, "err", err)
		return slices.Concat(old.head, []byte("\n"), newer.head)
	}
	return e.Bytes()
}

// A tileReader is the [tlog.TileReader] of one operation. What it gives for a
// tile is the same throughout.
type tileReader struct {
	d     *Database
	ctx   context.Context
	fresh bool // the cache is not read

	mu    sync.Mutex
	seen  map[tlog.Tile][]byte
	used  map[tlog.Tile]bool // was read from the cache
	saved map[tlog.Tile]bool // was written to it
}

func newTileReader(ctx context.Context, d *Database, fresh bool) *tileReader {
	return &tileReader{
		d: d, ctx: ctx, fresh: fresh,
		seen:  make(map[tlog.Tile][]byte),
		used:  make(map[tlog.Tile]bool),
		saved: make(map[tlog.Tile]bool),
	}
}

// Height implements [tlog.TileReader].
func (r *tileReader) Height() int { return tileHeight }

// ReadTiles implements [tlog.TileReader].
func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	errs := make([]error, len(tiles))
	var wg sync.WaitGroup
	for i, t := range tiles {
		if data[i] = r.cached(t); data[i] == nil {
			wg.Go(func() { data[i], errs[i] = r.remote(t) })
		}
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, t := range tiles {
		r.seen[t] = data[i]
	}
	return data, nil
}

// cached returns t, cut from the full tile if need be, or nil.
func (r *tileReader) cached(t tlog.Tile) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if data := r.seen[t]; data != nil || r.fresh {
		return data
	}
	for _, w := range []int{t.W, tileWidth} {
		wide := t
		wide.W = w
		if data, ok := r.d.tiles.read(wide); ok {
			r.used[wide] = true
			return data[:t.W*tlog.HashSize]
		}
	}
	return nil
}

// remote returns t from the database, cut from the full tile if only that is
// left there.
func (r *tileReader) remote(t tlog.Tile) ([]byte, error) {
	data, err := r.fetch(t)
	e, theirs := errors.AsType[*Error](err)
	if !theirs {
		return data, err
	}
	missing := false
	switch e.Status {
	case http.StatusNotFound, http.StatusGone, http.StatusForbidden: // the last is an object store's 404
		missing = true
	}
	if missing && t.W < tileWidth {
		full := t
		full.W = tileWidth
		if data, err := r.fetch(full); err == nil {
			return data[:t.W*tlog.HashSize], nil
		}
	}
	if e.Is(fs.ErrNotExist) {
		// A tile that a signed head promises is missing. The module is not:
		// this must not be taken for its absence.
		err = &Error{Database: r.d.name, URL: e.URL, Err: fmt.Errorf("tile is missing: status %d", e.Status)}
	}
	return nil, err
}

func (r *tileReader) fetch(t tlog.Tile) ([]byte, error) {
	size := t.W * tlog.HashSize
	data, err := r.d.fetch(r.ctx, t.Path(), int64(size))
	if err == nil && len(data) != size {
		err = &Error{Database: r.d.name, URL: r.d.name + "/" + t.Path(), Err: fmt.Errorf("%d bytes, want %d", len(data), size)}
	}
	return data, err
}

// SaveTiles implements [tlog.TileReader]. It is called for tiles that hash to
// a signed head.
func (r *tileReader) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, t := range tiles {
		if !r.used[t] && !r.saved[t] {
			r.d.tiles.write(t, data[i])
			r.saved[t] = true
		}
	}
}
