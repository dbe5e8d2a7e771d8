// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package evidence

import (
	"errors"
	"slices"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// databaseOrigin is the first line of the tree heads of all checksum databases.
const databaseOrigin = "go.sum database tree"

// A head is a signed checkpoint or tree head.
type head struct {
	checkpoint.Checkpoint
	sig checkpoint.Signature
}

// newHead verifies a note, and takes the first signature in it that is the key's. A
// bad one by the same key beside it takes nothing back: go commands ignore what
// follows a good one, and so a log could say to them what would be no evidence.
func newHead(key *checkpoint.Key, n checkpoint.Note) (head, error) {
	if len(n.Text) > checkpoint.MaxNote {
		return head{}, notProven("note: %d bytes", len(n.Text))
	}
	i := slices.IndexFunc(n.Signatures, func(s checkpoint.Signature) bool {
		return s.Name == key.Name() && s.ID == key.ID() && key.Verify(n.Text, s.Bytes)
	})
	if i < 0 {
		return head{}, notProven("note: %v", checkpoint.ErrUnsigned)
	}
	sig := n.Signatures[i]
	// As Parse will read it: a text that no note can have is in no file.
	n, err := checkpoint.ParseNote(checkpoint.Note{Text: n.Text, Signatures: []checkpoint.Signature{sig}}.Bytes())
	if err != nil {
		return head{}, notProven("%v", err)
	}
	c, err := checkpoint.Parse(n.Text)
	if err != nil {
		return head{}, notProven("%v", err)
	}
	if key.Algorithm() == checkpoint.CosignatureMLDSA44 {
		// Not signed: anybody could add some.
		c.Extensions = nil
	}
	return head{c, sig}, nil
}

func (h head) name() string {
	if h.Origin == databaseOrigin {
		return "a tree head"
	}
	return "a checkpoint"
}

// before reports whether h stands before o, by size and text.
func (h head) before(o head) bool {
	return h.Size < o.Size || h.Size == o.Size && h.Text() < o.Text()
}

// New returns the evidence that two heads signed by key are, if they are (E1, E2;
// E3 if one is the checkpoint and one the tree head). For heads of different sizes,
// proof is a consistency proof between them that does not verify: it is evidence
// where it verifies from another root of the smaller size. That root may stand
// before the proof, and must where the smaller size is a power of two.
func New(key *checkpoint.Key, a, b checkpoint.Note, proof []tlog.Hash) (*Evidence, error) {
	e := &Evidence{keys: [2]*checkpoint.Key{key}}
	if err := e.setHeads(a, b, head.before); err != nil {
		return nil, err
	}
	x, y := e.heads[0], e.heads[1]
	switch {
	case x.Origin != y.Origin:
		e.kind = Discord
	case x.Size == y.Size:
		e.kind = Equivocation
	default:
		e.kind = Fork
	}
	return e.proven(e.setProof(proof))
}

// DoubleCosign returns the evidence that a cosigner has cosigned two checkpoints
// of one origin that exclude each other (E10). The proof is as for New.
func DoubleCosign(cosigner *checkpoint.Key, a, b checkpoint.Note, proof []tlog.Hash) (*Evidence, error) {
	e := &Evidence{kind: DoubleSigned, keys: [2]*checkpoint.Key{cosigner}}
	if err := e.setHeads(a, b, head.before); err != nil {
		return nil, err
	}
	return e.proven(e.setProof(proof))
}

// Rollback returns the evidence that a cosigner has cosigned a smaller tree of an
// origin later than a larger one (E9). Of a note with several cosignatures by that
// key the first counts.
func Rollback(cosigner *checkpoint.Key, a, b checkpoint.Note) (*Evidence, error) {
	e := &Evidence{kind: WentBack, keys: [2]*checkpoint.Key{cosigner}}
	return e.proven(e.setHeads(a, b, func(h, o head) bool {
		t, _ := h.sig.Time()
		u, _ := o.sig.Time()
		return t < u
	}))
}

// proven returns e, if making it went well and the claim holds.
func (e *Evidence) proven(err error) (*Evidence, error) {
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// setHeads verifies two notes and puts them in order.
func (e *Evidence) setHeads(a, b checkpoint.Note, before func(h, o head) bool) (err error) {
	for i, n := range []checkpoint.Note{a, b} {
		if e.heads[i], err = newHead(e.keys[0], n); err != nil {
			return err
		}
	}
	if before(e.heads[1], e.heads[0]) {
		e.heads[0], e.heads[1] = e.heads[1], e.heads[0]
	}
	return nil
}

// setProof takes what a consistency proof that does not verify shows.
func (e *Evidence) setProof(proof []tlog.Hash) error {
	if !e.hasProof() {
		return nil
	}
	root, ok := impliedRoot(e.heads[0].Tree(), e.heads[1].Tree(), proof)
	if !ok && len(proof) > 0 {
		// The root before the proof, which is verified as all is.
		root, proof = proof[0], proof[1:]
		ok = consistent(tlog.Tree{N: e.heads[0].Size, Hash: root}, e.heads[1].Tree(), proof) == nil
	}
	if !ok {
		return notProven("the proof verifies from no other root of size %d", e.heads[0].Size)
	}
	e.root, e.proof = root, proof
	return nil
}

// hasProof reports whether the file has a consistency proof.
func (e *Evidence) hasProof() bool { return e.form().proof && e.heads[0].Size != e.heads[1].Size }

// checkHeads verifies that two heads of one log exclude each other.
func (e *Evidence) checkHeads() error {
	a, b := e.heads[0], e.heads[1]
	if e.kind == Discord {
		if a.Origin == b.Origin || !e.oneLog() {
			return notProven("origins are %q and %q, not that of the checkpoint and that of the tree head", a.Origin, b.Origin)
		}
	} else if a.Origin != b.Origin {
		return notProven("origins are %q and %q", a.Origin, b.Origin)
	}
	if err := e.checkCosigner(); err != nil {
		return err
	}
	if !a.before(b) {
		return notProven("sizes %d and %d are not in order", a.Size, b.Size)
	}
	if a.Size == b.Size {
		if e.kind == Fork || a.Root == b.Root {
			return notProven("sizes %d and %d, roots %v and %v", a.Size, b.Size, a.Root, b.Root)
		}
		return nil
	}
	if e.kind == Equivocation || a.Size < 1 || a.Root == e.root {
		return notProven("sizes %d and %d, roots %v and %v", a.Size, b.Size, a.Root, e.root)
	}
	if err := consistent(tlog.Tree{N: a.Size, Hash: e.root}, b.Tree(), e.proof); err != nil {
		return notProven("proof: %v", err)
	}
	return nil
}

// oneLog reports whether both heads are of one log: of one origin, or checkpoint and
// tree head.
func (e *Evidence) oneLog() bool {
	a, b, name := e.heads[0].Origin, e.heads[1].Origin, e.keys[0].Name()
	return a == b || a == name && b == databaseOrigin || a == databaseOrigin && b == name
}

// checkCosigner makes sure that what a cosigner's key has signed are two statements
// about one log.
func (e *Evidence) checkCosigner() error {
	cosigns := e.keys[0].Algorithm().Cosigns()
	if e.form().role == "cosigner" && !cosigns {
		return notProven("a key for %v is no cosigner's", e.keys[0].Algorithm())
	}
	if cosigns && e.heads[0].Origin == databaseOrigin {
		return notProven("tree heads, which need not be of one log")
	}
	return nil
}

// checkTimes verifies that a cosigner went back.
func (e *Evidence) checkTimes() error {
	a, b := e.heads[0], e.heads[1]
	if err := e.checkCosigner(); err != nil {
		return err
	}
	if a.Origin != b.Origin {
		return notProven("origins are %q and %q", a.Origin, b.Origin)
	}
	s, ok := a.sig.Time()
	t, ok2 := b.sig.Time()
	if !ok || !ok2 || s <= 0 || s >= t || a.Size <= b.Size {
		return notProven("sizes %d and %d, at times %d and %d", a.Size, b.Size, s, t)
	}
	return nil
}

// impliedRoot returns the root of size old.N from which p proves consistency with
// new, if there is one that p shows and it is another one than old's. Where old.N
// is a power of two, p shows none: it takes the old root for granted.
func impliedRoot(old, new tlog.Tree, p []tlog.Hash) (tlog.Hash, bool) {
	var mismatch proof.RootMismatchError
	if err := consistent(old, new, p); !errors.As(err, &mismatch) || len(mismatch.CalculatedRoot) != tlog.HashSize {
		return tlog.Hash{}, false
	}
	root := tlog.Hash(mismatch.CalculatedRoot)
	// The mismatch may have been at the other end.
	ok := root != old.Hash && consistent(tlog.Tree{N: old.N, Hash: root}, new, p) == nil
	return root, ok
}

func consistent(old, new tlog.Tree, p []tlog.Hash) error {
	return proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(old.N), uint64(new.N), raw(p), old.Hash[:], new.Hash[:])
}

func raw(p []tlog.Hash) [][]byte {
	hashes := make([][]byte, len(p))
	for i := range p {
		hashes[i] = p[i][:]
	}
	return hashes
}

// unix formats a POSIX time, which may be any number.
func unix(t int64) string {
	const year10000 = 253402300800
	if t < year10000 {
		return time.Unix(t, 0).UTC().Format(timeFormat)
	}
	return "a time after the year 9999"
}
