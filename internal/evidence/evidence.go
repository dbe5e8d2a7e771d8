// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package evidence makes and verifies files that prove the misbehaviour of a log
// to anybody, without a network and without trust in who made the file.
//
// # Format
//
// A file is UTF-8 text. All lines end in a newline. Its parts are separated by
// one empty line each:
//
//	sumlog evidence v1 KIND
//	log VKEY
//
//	text of the first checkpoint, as many lines as it has
//
//	its signature by VKEY, one signature line of a note
//
//	text of the second checkpoint
//
//	its signature by VKEY
//
//	of E1 only: the base64 of one hash a line; the root of the first checkpoint's
//	size by the proof, and then the proof
//
//	the hexadecimal SHA-256 of everything before this line
//
// No text of a checkpoint has an empty line, so the parts are unambiguous. There
// is one file for one claim: numbers, hashes, signatures and VKEY stand in their
// canonical encodings, the checkpoints in the order said below, and nothing else
// is in the file. A verifier parses a file strictly, encodes again what it has
// parsed, and compares the bytes; so a file with anything in it that was not
// verified is no evidence.
//
// # Kinds
//
//	E2  equivocation: two checkpoints of one origin and one size with different
//	    roots. The one with the text that sorts first, as bytes, stands first.
//	E1  fork: a checkpoint of size m with root R, and one of size n > m >= 1 with
//	    root S. The proof is an RFC 6962 consistency proof from size m to size n
//	    that verifies for S and the file's root of size m, which is not R. Two trees
//	    that share S share all that a proof shows, so no tree has both R and S.
//	    A proof from a power of two does not contain the root there: such a file is
//	    valid, but New cannot make one from a proof that did not verify.
//
// # What it proves
//
// That the holder of VKEY's private key has signed both checkpoints, which no
// append-only log does. It does not prove whose key that is: anybody can accuse a
// key of his own making, so whoever verifies a file compares VKEY with the one he
// knows. Nor does it prove when something was signed.
package evidence

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// A Kind is what a file proves.
type Kind string

const (
	Fork         Kind = "E1"
	Equivocation Kind = "E2"
)

// MaxFile bounds a file: two notes, a proof, and a few lines.
const MaxFile = 2*checkpoint.MaxNote + (checkpoint.MaxProof+2)*48 + 8<<10

// ErrNotProven is wrapped by all errors of this package: what it was given proves
// nothing.
var ErrNotProven = errors.New("not proven")

func notProven(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrNotProven}, args...)...)
}

// An Evidence is a claim that has been verified. It is made by New and Parse
// only.
type Evidence struct {
	kind  Kind
	key   *checkpoint.Key
	heads [2]head
	root  tlog.Hash   // of E1: of the size of heads[0], by the proof
	proof []tlog.Hash // of E1
}

// A head is a signed checkpoint.
type head struct {
	checkpoint.Checkpoint
	sig checkpoint.Signature
}

const header = "sumlog evidence v1 "

// Kind returns what is proven.
func (e *Evidence) Kind() Kind { return e.kind }

// Key returns the key that is accused.
func (e *Evidence) Key() *checkpoint.Key { return e.key }

// Origin returns the origin of the checkpoints.
func (e *Evidence) Origin() string { return e.heads[0].Origin }

// Trees returns the trees that exclude each other.
func (e *Evidence) Trees() (a, b tlog.Tree) { return e.heads[0].Tree(), e.heads[1].Tree() }

// String says in one line what is proven.
func (e *Evidence) String() string {
	a, b := e.heads[0], e.heads[1]
	if e.kind == Equivocation {
		return fmt.Sprintf("%s: the key %v has signed the roots %v and %v for size %d of %q", e.kind, e.key, a.Root, b.Root, a.Size, a.Origin)
	}
	return fmt.Sprintf("%s: the key %v has signed the root %v for size %d of %q, and at size %d a tree with another root there, %v",
		e.kind, e.key, a.Root, a.Size, a.Origin, b.Size, e.root)
}

// New returns the evidence that two checkpoints signed by key are, if they are.
// For checkpoints of different sizes, proof is a consistency proof between them
// that does not verify: it is evidence where it verifies from another root of the
// smaller size.
func New(key *checkpoint.Key, a, b checkpoint.Note, proof []tlog.Hash) (*Evidence, error) {
	e := &Evidence{kind: Equivocation, key: key}
	for i, n := range []checkpoint.Note{a, b} {
		sigs, err := n.Verify(key)
		if err != nil {
			return nil, notProven("%v", err)
		}
		c, err := checkpoint.Parse(n.Text)
		if err != nil {
			return nil, notProven("%v", err)
		}
		e.heads[i] = head{c, sigs[0]}
	}
	x, y := e.heads[0], e.heads[1]
	if x.Size > y.Size || x.Size == y.Size && a.Text > b.Text {
		e.heads[0], e.heads[1] = y, x
	}
	if x.Size != y.Size {
		e.kind, e.proof = Fork, proof
		root, ok := impliedRoot(e.heads[0].Tree(), e.heads[1].Tree(), proof)
		if !ok {
			return nil, notProven("the proof verifies from no other root of size %d", e.heads[0].Size)
		}
		e.root = root
	}
	return e, e.check()
}

// check verifies the claim, but not the signatures.
func (e *Evidence) check() error {
	a, b := e.heads[0], e.heads[1]
	if a.Origin != b.Origin {
		return notProven("origins are %q and %q", a.Origin, b.Origin)
	}
	switch e.kind {
	case Equivocation:
		if a.Size != b.Size || a.Root == b.Root || a.Text() >= b.Text() {
			return notProven("sizes %d and %d, roots %v and %v", a.Size, b.Size, a.Root, b.Root)
		}
		return nil
	case Fork:
		if a.Size < 1 || a.Size >= b.Size || a.Root == e.root {
			return notProven("sizes %d and %d, roots %v and %v", a.Size, b.Size, a.Root, e.root)
		}
		if err := consistent(tlog.Tree{N: a.Size, Hash: e.root}, b.Tree(), e.proof); err != nil {
			return notProven("proof: %v", err)
		}
		return nil
	}
	return notProven("kind %q", string(e.kind))
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
	hashes := make([][]byte, len(p))
	for i := range p {
		hashes[i] = p[i][:]
	}
	return proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(old.N), uint64(new.N), hashes, old.Hash[:], new.Hash[:])
}

// Bytes returns the file.
func (e *Evidence) Bytes() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%s\nlog %v\n\n", header, e.kind, e.key)
	for _, h := range e.heads {
		fmt.Fprintf(&b, "%s\n%s\n", h.Text(), h.sig)
	}
	if e.kind == Fork {
		for _, h := range append([]tlog.Hash{e.root}, e.proof...) {
			fmt.Fprintf(&b, "%v\n", h)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%x\n", sha256.Sum256(b.Bytes()))
	return b.Bytes()
}

// Parse parses and verifies a file.
func Parse(file []byte) (*Evidence, error) {
	if len(file) > MaxFile {
		return nil, notProven("file: more than %d bytes", MaxFile)
	}
	parts := strings.Split(string(file), "\n\n")
	e, err := parseHeader(parts[0])
	if err != nil {
		return nil, err
	}
	want := 6
	if e.kind == Fork {
		want = 7
	}
	if len(parts) != want {
		return nil, notProven("file: %d parts, not %d", len(parts), want)
	}
	for i := range e.heads {
		if e.heads[i], err = parseHead(e.key, parts[1+2*i], parts[2+2*i]); err != nil {
			return nil, err
		}
	}
	if e.kind == Fork {
		if err := e.parseProof(parts[5]); err != nil {
			return nil, err
		}
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	// The digest is compared here too, and with it everything that was skipped.
	if !bytes.Equal(e.Bytes(), file) {
		return nil, notProven("file: not in its canonical form")
	}
	return e, nil
}

func parseHeader(part string) (*Evidence, error) {
	first, second, _ := strings.Cut(part, "\n")
	kind, ok := strings.CutPrefix(first, header)
	vkey, ok2 := strings.CutPrefix(second, "log ")
	if !ok || !ok2 || Kind(kind) != Fork && Kind(kind) != Equivocation {
		return nil, notProven("file: it does not begin with %q, a known kind, and a key", header)
	}
	key, err := checkpoint.ParseKey(vkey)
	if err != nil {
		return nil, notProven("%v", err)
	}
	return &Evidence{kind: Kind(kind), key: key}, nil
}

func parseHead(key *checkpoint.Key, text, line string) (head, error) {
	n, err := checkpoint.ParseNote([]byte(text + "\n\n" + line + "\n"))
	if err != nil {
		return head{}, notProven("%v", err)
	}
	sigs, err := n.Verify(key)
	if err != nil {
		return head{}, notProven("%v", err)
	}
	c, err := checkpoint.Parse(n.Text)
	if err != nil {
		return head{}, notProven("%v", err)
	}
	return head{c, sigs[0]}, nil
}

func (e *Evidence) parseProof(part string) error {
	lines := strings.Split(part, "\n")
	if len(lines) > checkpoint.MaxProof+1 {
		return notProven("file: %d hashes", len(lines))
	}
	for i, line := range lines {
		h, err := tlog.ParseHash(line)
		if err != nil {
			return notProven("%v", err)
		}
		if i == 0 {
			e.root = h
		} else {
			e.proof = append(e.proof, h)
		}
	}
	return nil
}
