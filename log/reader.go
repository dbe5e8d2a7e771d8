// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"iter"
	"log/slog"
	"os"
	"sync/atomic"

	"golang.org/x/mod/sumdb/tlog"
)

// A Reader reads what a log has published, and serves it. It is the part of a [Log]
// that needs no key, no lock and no guard, and all of a [View].
type Reader struct {
	root   *os.Root
	tree   tree
	id     *identity
	logger *slog.Logger

	archived  atomic.Pointer[archive]
	published atomic.Pointer[Publication]
	shown     atomic.Int64 // bytes of the archive that are shown
	tiles     *tileCache
}

// Name returns the log's name: the checkpoint's origin and the key's name.
func (r *Reader) Name() string { return r.id.verifier.Name() }

// VKey returns the verifier key of checkpoints and tree heads.
func (r *Reader) VKey() string { return r.id.vkey }

// Published returns the newest publication. It is never nil.
func (r *Reader) Published() *Publication { return r.published.Load() }

// Publications yields the publications of the archive with a size larger than
// after, oldest first; -1 yields all.
func (r *Reader) Publications(after int64) iter.Seq2[*Publication, error] {
	a := r.archived.Load()
	return damageUnsafe(a.publications(after, a.size.Load()))
}

// Entries yields the entries [from, to), each compared with its leaf hash, their
// Time zero: names are derived from them, and one that rotted would let a second
// record of its module version in. What is archived but not yet shown can be
// read too, for the index; what is shown to clients stops at the published size.
func (r *Reader) Entries(from, to int64) iter.Seq2[Entry, error] {
	return damageUnsafe(r.tree.records(from, to, r.archived.Load().last.Load().Size))
}

// Placed is Entries with the place of each, by which [Reader.EntryAt] finds it again.
func (r *Reader) Placed(from, to int64) iter.Seq2[PlacedEntry, error] {
	return damageUnsafe(r.tree.placed(from, to, r.archived.Load().last.Load().Size))
}

// EntryAt returns entry i, its Time zero, from its place, which [Reader.Placed] gave.
// It reads no more than the entry, and compares it with the place's part of its leaf
// hash: so it costs as much in a log of any size.
func (r *Reader) EntryAt(i int64, p Place) (Entry, error) {
	e, err := r.tree.entryAt(i, p, r.archived.Load().last.Load().Size)
	return e, unsafeState(err)
}

// Inclusion returns the RFC 6962 inclusion proof of entry i in the tree of p, a
// publication of this log.
func (r *Reader) Inclusion(i int64, p *Publication) ([]tlog.Hash, error) {
	return r.tree.include(i, p.Size)
}
