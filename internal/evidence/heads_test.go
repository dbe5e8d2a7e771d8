// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package evidence

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"filippo.io/mldsa"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// newCosigner returns a cosigner of one of both kinds, the same each time.
func newCosigner(t testing.TB, name string, alg checkpoint.Algorithm) *checkpoint.Cosigner {
	seed := sha256.Sum256([]byte(name))
	var signer crypto.Signer = ed25519.NewKeyFromSeed(seed[:])
	if alg == checkpoint.CosignatureMLDSA44 {
		sk, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed[:])
		if err != nil {
			t.Fatal(err)
		}
		signer = deterministic{sk}
	}
	c, err := checkpoint.NewCosigner(name, signer)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// deterministic signs the same text with the same bytes, for golden files.
type deterministic struct{ *mldsa.PrivateKey }

func (d deterministic) Sign(_ io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	return d.PrivateKey.SignDeterministic(msg, opts)
}

// cosigned returns a note with a cosignature.
func cosigned(t testing.TB, w *checkpoint.Cosigner, c checkpoint.Checkpoint, at int64) checkpoint.Note {
	t.Helper()
	s, err := w.Cosign(c, at)
	if err != nil {
		t.Fatal(err)
	}
	return checkpoint.Note{Text: c.Text(), Signatures: []checkpoint.Signature{{Name: "stranger.example", ID: 7, Bytes: []byte("ignored")}, s}}
}

func headSamples(t testing.TB) map[string]*Evidence {
	l := newTestLog(30, 7)
	l.origin = l.key.Name()
	w := newCosigner(t, "witness.example/w", checkpoint.CosignatureEd25519)
	pq := newCosigner(t, "witness.example/pq", checkpoint.CosignatureMLDSA44)
	m := make(map[string]*Evidence)
	for name, make := range map[string]func() (*Evidence, error){
		"E3": func() (*Evidence, error) { return New(l.key, l.treeHead(0, 11), l.note(1, 11, "x"), nil) },
		"E3-checkpoint": func() (*Evidence, error) {
			return New(l.key, l.treeHead(1, 25), l.note(0, 11), l.proof(1, 11, 25))
		},
		"E3-treehead": func() (*Evidence, error) {
			return New(l.key, l.treeHead(0, 11), l.note(1, 25), l.proof(1, 11, 25))
		},
		"E9": func() (*Evidence, error) {
			return Rollback(w.Key(), cosigned(t, w, l.checkpoint(0, 11, "x"), 1700000001), cosigned(t, w, l.checkpoint(0, 12), 1700000000))
		},
		"E9-mldsa": func() (*Evidence, error) {
			return Rollback(pq.Key(), cosigned(t, pq, l.checkpoint(0, 12, "not signed"), 1700000000), cosigned(t, pq, l.checkpoint(1, 11), 1700000001))
		},
		"E10": func() (*Evidence, error) {
			return DoubleCosign(w.Key(), cosigned(t, w, l.checkpoint(1, 11), 1700000000), cosigned(t, w, l.checkpoint(0, 11), 1700000000), nil)
		},
		"E10-fork": func() (*Evidence, error) {
			return DoubleCosign(w.Key(), cosigned(t, w, l.checkpoint(1, 25), 1700000005), cosigned(t, w, l.checkpoint(0, 11), 1700000000), l.proof(1, 11, 25))
		},
		"E10-mldsa": func() (*Evidence, error) {
			return DoubleCosign(pq.Key(), cosigned(t, pq, l.checkpoint(1, 11), 1700000000), cosigned(t, pq, l.checkpoint(0, 11, "not signed"), 1700000000), nil)
		},
	} {
		e, err := make()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		m[name] = e
	}
	return m
}

// TestHeadRefusals has pairs of heads that an honest key may have signed.
func TestHeadRefusals(t *testing.T) {
	l := newTestLog(30, 7)
	l.origin = l.key.Name()
	w := newCosigner(t, "witness.example/w", checkpoint.CosignatureEd25519)
	pq := newCosigner(t, "witness.example/pq", checkpoint.CosignatureMLDSA44)
	own := newCosigner(t, l.origin, checkpoint.CosignatureEd25519) // a cosigner whose name is the log's
	at := func(w *checkpoint.Cosigner, c checkpoint.Checkpoint, t0 int64) checkpoint.Note {
		return cosigned(t, w, c, t0)
	}
	other := l.checkpoint(1, 11)
	other.Origin = "log.example/other"
	head0, head1 := l.checkpoint(0, 11), l.checkpoint(1, 11)
	head0.Origin, head1.Origin = databaseOrigin, databaseOrigin
	smaller := l.checkpoint(0, 10)
	smaller.Origin = databaseOrigin
	elsewhere := l.checkpoint(0, 10)
	elsewhere.Origin = "log.example/other"
	timeless := func(branch int, size int64) checkpoint.Note {
		c := l.checkpoint(branch, size)
		s, err := pq.CosignSubtree(checkpoint.Subtree{Origin: c.Origin, End: c.Size, Hash: c.Root})
		if err != nil {
			t.Fatal(err)
		}
		return checkpoint.Note{Text: c.Text(), Signatures: []checkpoint.Signature{s}}
	}
	two := func(e *Evidence, err error) error { return err }
	for name, err := range map[string]error{
		"E3 of one tree":            two(New(l.key, l.treeHead(0, 11), l.note(0, 11), nil)),
		"E3 of one history":         two(New(l.key, l.treeHead(0, 11), l.note(0, 25), l.proof(0, 11, 25))),
		"E3 of another origin":      two(New(l.key, l.treeHead(0, 11), l.sign(other), nil)),
		"E3 of a cosigner":          two(New(own.Key(), at(own, head0, 5), at(own, l.checkpoint(1, 11), 5), nil)),
		"E2 of a cosigner's heads":  two(New(w.Key(), at(w, head0, 5), at(w, head1, 5), nil)),
		"E9 forward":                two(Rollback(w.Key(), at(w, l.checkpoint(0, 11), 5), at(w, l.checkpoint(0, 12), 6))),
		"E9 at one time":            two(Rollback(w.Key(), at(w, l.checkpoint(0, 12), 5), at(w, l.checkpoint(0, 11), 5))),
		"E9 of one size":            two(Rollback(w.Key(), at(w, l.checkpoint(0, 11), 5), at(w, l.checkpoint(1, 11), 6))),
		"E9 of two origins":         two(Rollback(w.Key(), at(w, l.checkpoint(0, 11), 5), at(w, elsewhere, 6))),
		"E9 of tree heads":          two(Rollback(w.Key(), at(w, head0, 5), at(w, smaller, 6))),
		"E9 of a log's key":         two(Rollback(l.key, l.note(0, 12), l.note(0, 11))),
		"E9 without a time":         two(Rollback(pq.Key(), timeless(0, 12), at(pq, l.checkpoint(0, 11), 6))),
		"E9 without both times":     two(Rollback(pq.Key(), timeless(0, 12), timeless(0, 11))),
		"E9 of a stranger":          two(Rollback(pq.Key(), at(w, l.checkpoint(0, 12), 5), at(w, l.checkpoint(0, 11), 6))),
		"E10 of one tree":           two(DoubleCosign(w.Key(), at(w, l.checkpoint(0, 11), 5), at(w, l.checkpoint(0, 11, "x"), 6), nil)),
		"E10 of one history":        two(DoubleCosign(w.Key(), at(w, l.checkpoint(0, 11), 5), at(w, l.checkpoint(0, 25), 6), l.proof(0, 11, 25))),
		"E10 of two origins":        two(DoubleCosign(w.Key(), at(w, l.checkpoint(0, 11), 5), at(w, other, 6), nil)),
		"E10 of tree heads":         two(DoubleCosign(w.Key(), at(w, head0, 5), at(w, head1, 6), nil)),
		"E10 of a log's key":        two(DoubleCosign(l.key, l.note(0, 11), l.note(1, 11), nil)),
		"E10 of tree head and name": two(DoubleCosign(own.Key(), at(own, head0, 5), at(own, l.checkpoint(1, 11), 6), nil)),
	} {
		if !errors.Is(err, ErrNotProven) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Without a time a cosignature is still a statement about the history.
	if e, err := DoubleCosign(pq.Key(), timeless(0, 11), timeless(1, 11), nil); err != nil || e.Kind() != DoubleSigned {
		t.Errorf("%v %v", e, err)
	}
}

// TestExtensions has extension lines that an ML-DSA-44 cosignature does not cover:
// they are left out, and a file with some is no evidence.
func TestExtensions(t *testing.T) {
	e := headSamples(t)["E9-mldsa"]
	if len(e.heads[0].Extensions) != 0 {
		t.Fatal("there are extension lines")
	}
	c := *e
	c.heads[0].Extensions = []string{"anything"}
	if _, err := Parse(c.Bytes()); !errors.Is(err, ErrNotProven) {
		t.Errorf("%v", err)
	}
	if again, err := Parse(e.Bytes()); err != nil || len(again.heads[0].Extensions) > 0 {
		t.Errorf("%v", err)
	}
}

// TestPowerOfTwo has a proof that does not show the root it begins with.
func TestPowerOfTwo(t *testing.T) {
	l := newTestLog(30, 7)
	e := *samples(t)["E1"]
	signed := func(n checkpoint.Note) head {
		h, err := newHead(l.key, n)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	e.heads = [2]head{signed(l.note(0, 8)), signed(l.note(1, 25))}
	e.root, e.proof = l.root(1, 8), l.proof(1, 8, 25)
	if _, err := Parse(e.Bytes()); err != nil {
		t.Errorf("valid: %v", err)
	}
	e.root = tlog.Hash{1}
	if _, err := Parse(e.Bytes()); !errors.Is(err, ErrNotProven) {
		t.Errorf("a root of nothing: %v", err)
	}
}

// TestBadSignatures has notes with a bad signature line by the same key behind the
// good one. Go commands ignore it, so that a log could show them two trees and keep
// both from being evidence. An answer to a lookup with such a tree head is still no
// right one.
func TestBadSignatures(t *testing.T) {
	l := newTestLog(30, 7)
	for _, i := range []int{1, 2} {
		n := l.note(1, 11)
		bad := n.Signatures[1]
		bad.Bytes = flipped(bad.Bytes, 3)
		n.Signatures = slices.Insert(n.Signatures, i, bad)
		e, err := New(l.key, l.note(0, 11), n, nil)
		if err != nil {
			t.Fatalf("bad line %d: %v", i, err)
		}
		if _, err := Parse(e.Bytes()); err != nil {
			t.Errorf("bad line %d: %v", i, err)
		}
		n.Signatures = n.Signatures[:2] // stranger and the bad one, or the good one
		if _, err := New(l.key, l.note(0, 11), n, nil); (err == nil) != (i == 2) {
			t.Errorf("bad line %d, cut: %v", i, err)
		}
	}
	s := newServed()
	n := s.treeHead(0, 600)
	bad := n.Signatures[1]
	bad.Bytes = flipped(bad.Bytes, 3)
	n.Signatures = append(n.Signatures, bad)
	a := Answer{Service: Lookup, URL: base + "/lookup/example.com/!m@v1.7.0", Time: noon, Status: 200, Body: lookupText(s, 7, n)}
	if _, err := Observe(s.proven(0, s.note(0, 600), 7), a); err != nil {
		t.Error(err)
	}
}

// TestNoFile has notes that are signed, and that no file can hold: what is evidence
// must be so when it is read again.
func TestNoFile(t *testing.T) {
	l := newTestLog(30, 7)
	for _, extension := range []string{"a\x01b", "\xff", strings.Repeat("x", checkpoint.MaxNote)} {
		if e, err := New(l.key, l.note(0, 11, extension), l.note(1, 11), nil); !errors.Is(err, ErrNotProven) {
			t.Errorf("%.10q: %v, %v", extension, e, err)
		}
	}
}
