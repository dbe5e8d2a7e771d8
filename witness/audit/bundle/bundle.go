// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package bundle makes and verifies files which prove, offline, that a checksum
// database contains the records that a go.sum file needs.
//
// # Format
//
// A file is UTF-8 text. All lines end in a newline. Its parts are separated by one
// empty line each:
//
//	sumlog bundle v1
//	log VKEY
//
//	the text of a checkpoint or tree head
//
//	its signatures and cosignatures
//
//	records N
//	the index of a record, and on the next two lines the record;
//	N times, by index
//
//	proof N
//	the base64 of N hashes, a line each: the proof of all records in the tree
//	of the checkpoint, as in package multiproof
//
//	the hexadecimal SHA-256 of everything before this line
//
// A file that was anchored at a newer checkpoint has three more parts before the
// last one:
//
//	consistency N
//	the base64 of N hashes, a line each: the RFC 6962 consistency proof from the
//	first checkpoint to the second
//
//	the text of the second checkpoint, which is larger
//
//	its signatures and cosignatures
//
// Numbers, base64 and VKEY stand in their one encoding, records keep the rules of
// package record, no module version is there twice, and a file that was parsed and
// made again is the same, byte for byte. The origin of a checkpoint is VKEY's name,
// or [tlogclient.DatabaseOrigin].
//
// # What it proves
//
// That the holder of VKEY's private key has signed a tree with these records. It
// proves that to who knows VKEY from elsewhere: anybody can make a file with a key
// of his own. Signatures by other keys are not verified here, but by a policy,
// which is put to the newest checkpoint; it needs none for the older one, which
// the proof ties to the newer. A file says nothing about records that it lacks.
package bundle

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/record"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/multiproof"
)

// MaxFile is the largest file in bytes: a quarter of a million records.
const MaxFile = 64 << 20

// ErrInvalid is wrapped by all errors about a file that proves nothing.
var ErrInvalid = errors.New("no valid bundle")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// A Record is an entry of the log.
type Record struct {
	Index int64
	Text  []byte
}

// An Entry is a record and what it says.
type Entry struct {
	Index int64
	record.Record
}

// An Anchor ties a tree to a later one.
type Anchor struct {
	Proof []tlog.Hash
	Note  checkpoint.Note
}

// A Bundle is a file whose proofs and signatures by Key were verified. It is made by
// New, Reanchor and Parse only.
type Bundle struct {
	key     *checkpoint.Key
	note    checkpoint.Note
	records []Record // by index
	proof   []tlog.Hash
	anchor  *Anchor // or nil

	first, newest tlogclient.Head
	byName        map[string]Entry
}

// New returns the bundle of records, by index, which p proves in the tree of note.
func New(key *checkpoint.Key, note checkpoint.Note, records []Record, p []tlog.Hash) (*Bundle, error) {
	b := &Bundle{key: key, note: note, records: records, proof: p}
	return b, b.verify()
}

// Reanchor returns b tied to a newer checkpoint, to which p is the consistency proof
// from [Bundle.First].
func (b *Bundle) Reanchor(note checkpoint.Note, p []tlog.Hash) (*Bundle, error) {
	n := &Bundle{key: b.key, note: b.note, records: b.records, proof: b.proof, anchor: &Anchor{p, note}}
	return n, n.verify()
}

// Key returns the log's key, by which the checkpoints are signed.
func (b *Bundle) Key() *checkpoint.Key { return b.key }

// First returns the checkpoint that the records are proven under.
func (b *Bundle) First() tlogclient.Head { return b.first }

// Newest returns the newest checkpoint, which a policy is put to.
func (b *Bundle) Newest() tlogclient.Head { return b.newest }

// Records returns the records, by index.
func (b *Bundle) Records() []Record { return slices.Clone(b.records) }

// Hashes returns the number of hashes that prove the records.
func (b *Bundle) Hashes() int { return len(b.proof) }

// Find returns the record of a module version.
func (b *Bundle) Find(path, version string) (Entry, bool) {
	e, ok := b.byName[path+"@"+version]
	return e, ok
}

// Prove returns what [New] takes: the records by index, and their proof in the tree
// of n entries that r reads.
func Prove(n int64, records []Record, r tlog.HashReader) ([]Record, []tlog.Hash, error) {
	records = slices.Clone(records)
	sort.Slice(records, func(i, j int) bool { return records[i].Index < records[j].Index })
	p, err := multiproof.Prove(n, indexes(records), r)
	return records, p, err
}

func indexes(records []Record) []int64 {
	out := make([]int64, len(records))
	for i, r := range records {
		out[i] = r.Index
	}
	return out
}

func (b *Bundle) verify() (err error) {
	if b.first, err = b.head(b.note); err != nil {
		return err
	}
	b.newest = b.first
	if b.anchor != nil {
		if b.newest, err = b.head(b.anchor.Note); err != nil {
			return err
		}
		if err := b.checkAnchor(); err != nil {
			return err
		}
	}
	return b.checkRecords()
}

// head verifies a checkpoint.
func (b *Bundle) head(n checkpoint.Note) (tlogclient.Head, error) {
	h, err := tlogclient.ParseHead(n.Bytes(), "", b.key)
	if err != nil {
		return h, invalid("%v", err)
	}
	if h.Origin != b.key.Name() && h.Origin != tlogclient.DatabaseOrigin {
		return h, invalid("origin %q is not that of %v", h.Origin, b.key)
	}
	return h, nil
}

func (b *Bundle) checkAnchor() error {
	old, tree := b.first.Tree(), b.newest.Tree()
	if tree.N <= old.N || old.N < 1 {
		return invalid("anchored at size %d from size %d", tree.N, old.N)
	}
	hashes := make([][]byte, len(b.anchor.Proof))
	for i := range hashes {
		hashes[i] = b.anchor.Proof[i][:]
	}
	err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(old.N), uint64(tree.N), hashes, old.Hash[:], tree.Hash[:])
	if err != nil {
		return invalid("consistency: %v", err)
	}
	return nil
}

func (b *Bundle) checkRecords() error {
	leaves := make([]tlog.Hash, len(b.records))
	b.byName = make(map[string]Entry, len(b.records))
	for i, r := range b.records {
		rec, err := record.Parse(r.Text)
		if err != nil {
			return invalid("record %d: %v", r.Index, err)
		}
		name := string(rec.Path) + "@" + string(rec.Version)
		if e, ok := b.byName[name]; ok {
			return invalid("records %d and %d are both of %s", e.Index, r.Index, name)
		}
		b.byName[name] = Entry{r.Index, rec}
		leaves[i] = tlog.RecordHash(r.Text)
	}
	root, err := multiproof.Root(b.first.Size, indexes(b.records), leaves, b.proof)
	if err != nil {
		return invalid("%v", err)
	}
	if root != b.first.Root {
		return invalid("the records are not proven: they and the proof hash to %v, and the checkpoint's root is %v", root, b.first.Root)
	}
	return nil
}

const header = "sumlog bundle v1"

// Bytes returns the file.
func (b *Bundle) Bytes() []byte {
	var w bytes.Buffer
	fmt.Fprintf(&w, "%s\nlog %v\n\n%s\nrecords %d\n", header, b.key, b.note.Bytes(), len(b.records))
	for _, r := range b.records {
		fmt.Fprintf(&w, "%d\n%s", r.Index, r.Text)
	}
	w.WriteByte('\n')
	writeHashes(&w, "proof", b.proof)
	if b.anchor != nil {
		writeHashes(&w, "consistency", b.anchor.Proof)
		fmt.Fprintf(&w, "%s\n", b.anchor.Note.Bytes())
	}
	fmt.Fprintf(&w, "%x\n", sha256.Sum256(w.Bytes()))
	return w.Bytes()
}

func writeHashes(w *bytes.Buffer, name string, hashes []tlog.Hash) {
	fmt.Fprintf(w, "%s %d\n", name, len(hashes))
	for _, h := range hashes {
		fmt.Fprintf(w, "%v\n", h)
	}
	w.WriteByte('\n')
}
