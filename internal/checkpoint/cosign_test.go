// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package checkpoint

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"filippo.io/mldsa"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func seed(name string) []byte {
	s := sha256.Sum256([]byte(name))
	return s[:]
}

func newCosigner(t testing.TB, name string, alg Algorithm) *Cosigner {
	var signer crypto.Signer = ed25519.NewKeyFromSeed(seed(name))
	if alg == CosignatureMLDSA44 {
		sk, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed(name))
		if err != nil {
			t.Fatal(err)
		}
		signer = sk
	}
	c, err := NewCosigner(name, signer)
	if err != nil {
		t.Fatal(err)
	}
	if got := mustKey(t, c.Key().String()); got.Algorithm() != alg || got.String() != c.Key().String() || got.ID() != c.Key().ID() {
		t.Fatalf("%v became %v", c.Key(), got)
	}
	return c
}

var algorithms = []Algorithm{CosignatureEd25519, CosignatureMLDSA44}

func TestCosign(t *testing.T) {
	cp := Checkpoint{"log.example", 9, tlog.Hash{1, 2, 3}, []string{"extension"}}
	const time = 1 << 40
	for _, alg := range algorithms {
		t.Run(alg.String(), func(t *testing.T) {
			c, other := newCosigner(t, "w.example", alg), newCosigner(t, "v.example", alg)
			s, err := c.Cosign(cp, time)
			if err != nil {
				t.Fatal(err)
			}
			n := mustNote(t, string(Note{cp.Text(), []Signature{s}}.Bytes()))
			if got, err := n.Verify(other.Key(), c.Key()); err != nil || len(got) != 1 || got[0].ID != c.Key().ID() {
				t.Fatalf("%v, %v", got, err)
			}
			if got, ok := n.Signatures[0].Time(); !ok || got != time {
				t.Errorf("time %d, %v", got, ok)
			}

			verifies := func(cp Checkpoint, k *Key, sig []byte) bool { return k.Verify(cp.Text(), sig) }
			for name, change := range map[string]func(*Checkpoint){
				"origin": func(c *Checkpoint) { c.Origin += "x" },
				"size":   func(c *Checkpoint) { c.Size++ },
				"root":   func(c *Checkpoint) { c.Root[31] ^= 1 },
			} {
				moved := cp
				change(&moved)
				if verifies(moved, c.Key(), s.Bytes) {
					t.Errorf("verifies another %s", name)
				}
			}
			// An Ed25519 cosignature covers extension lines, one of ML-DSA does not.
			plain := cp
			plain.Extensions = nil
			if got := verifies(plain, c.Key(), s.Bytes); got != (alg == CosignatureMLDSA44) {
				t.Errorf("without the extension line: %v", got)
			}
			if verifies(cp, other.Key(), s.Bytes) {
				t.Error("verifies by another key")
			}
			for i := range s.Bytes {
				if i > 90 && i < len(s.Bytes)-90 && i%64 != 0 {
					continue // each octet takes a while
				}
				sig := slices.Clone(s.Bytes)
				sig[i] ^= 1
				if verifies(cp, c.Key(), sig) {
					t.Fatalf("verifies with octet %d changed", i)
				}
			}
			for _, sig := range [][]byte{nil, s.Bytes[:7], s.Bytes[:8], s.Bytes[:len(s.Bytes)-1], append(slices.Clone(s.Bytes), 0)} {
				if verifies(cp, c.Key(), sig) {
					t.Errorf("verifies with %d octets", len(sig))
				}
			}
			if _, err := c.Cosign(cp, 0); err == nil {
				t.Error("cosigned without a time")
			}
		})
	}
}

// The other type of the same Ed25519 key is another statement.
func TestTypesApart(t *testing.T) {
	c := newCosigner(t, "w.example", CosignatureEd25519)
	text, err := NewKey("w.example", Ed25519, c.Key().Public())
	if err != nil {
		t.Fatal(err)
	}
	if text.ID() == c.Key().ID() {
		t.Error("one ID for two types")
	}
	cp := Checkpoint{Origin: "log.example", Size: 1}
	s, err := c.Cosign(cp, 5)
	if err != nil {
		t.Fatal(err)
	}
	if text.Verify(cp.Text(), s.Bytes) || text.Verify(cp.Text(), s.Bytes[8:]) {
		t.Error("a cosignature is a signature of the text")
	}
}

func TestSubtree(t *testing.T) {
	c := newCosigner(t, "w.example", CosignatureMLDSA44)
	sub := Subtree{"log.example", 8, 13, tlog.Hash{7}}
	s, err := c.CosignSubtree(sub)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Key().VerifySubtree(sub, s.Bytes) {
		t.Error("does not verify")
	}
	if tm, ok := s.Time(); !ok || tm != 0 {
		t.Errorf("time %d", tm)
	}
	for name, moved := range map[string]Subtree{
		"origin": {"log2.example", 8, 13, tlog.Hash{7}},
		"start":  {"log.example", 9, 13, tlog.Hash{7}},
		"end":    {"log.example", 8, 14, tlog.Hash{7}},
		"hash":   {"log.example", 8, 13, tlog.Hash{8}},
	} {
		if c.Key().VerifySubtree(moved, s.Bytes) {
			t.Errorf("verifies another %s", name)
		}
	}
	// A checkpoint's cosignature has a time and is no subtree's.
	cp := Checkpoint{Origin: "log.example", Size: 13, Root: tlog.Hash{7}}
	timed, err := c.Cosign(cp, 5)
	if err != nil {
		t.Fatal(err)
	}
	if c.Key().VerifySubtree(Subtree{"log.example", 0, 13, tlog.Hash{7}}, timed.Bytes) {
		t.Error("a cosignature with a time is taken for a subtree's")
	}
	ed := newCosigner(t, "e.example", CosignatureEd25519)
	if _, err := ed.CosignSubtree(sub); err == nil {
		t.Error("Ed25519 cosigned a subtree")
	}
	if ed.Key().VerifySubtree(sub, make([]byte, 72)) {
		t.Error("Ed25519 verified a subtree")
	}
}

// A time with the highest bit set is out of range, whoever signed it.
func TestTimeTooLarge(t *testing.T) {
	const late = 1 << 63
	cp := Checkpoint{Origin: "log.example", Size: 1}
	msg := fmt.Sprintf("cosignature/v1\ntime %d\n%s", uint64(late), cp.Text())
	sig := binary.BigEndian.AppendUint64(nil, late)
	sig = append(sig, ed25519.Sign(ed25519.NewKeyFromSeed(seed("w.example")), []byte(msg))...)
	c := newCosigner(t, "w.example", CosignatureEd25519)
	if c.Key().Verify(cp.Text(), sig) {
		t.Error("verifies")
	}
	if _, ok := (Signature{Bytes: sig}).Time(); ok {
		t.Error("has a time")
	}
}

// ML-DSA signs origin and name behind one byte of length each.
func TestNamesOf255(t *testing.T) {
	long := strings.Repeat("x", 255)
	c := newCosigner(t, long, CosignatureMLDSA44)
	cp := Checkpoint{Origin: long, Size: 1}
	s, err := c.Cosign(cp, 1)
	if err != nil || !c.Key().Verify(cp.Text(), s.Bytes) {
		t.Errorf("255 bytes: %v", err)
	}
	cp.Origin += "x"
	if _, err := c.Cosign(cp, 1); err == nil {
		t.Error("origin of 256 bytes is signed")
	}
	if c.Key().Verify(cp.Text(), s.Bytes) {
		t.Error("origin of 256 bytes verifies")
	}
	if _, err := NewKey(long+"x", CosignatureMLDSA44, c.Key().Public()); !errors.Is(err, ErrMalformed) {
		t.Errorf("name of 256 bytes: %v", err)
	}
}

// A failingSigner stands for an agent that is gone.
type failingSigner struct{ crypto.Signer }

func (failingSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, io.ErrUnexpectedEOF
}

func TestCosignerErrors(t *testing.T) {
	c, err := NewCosigner("w.example", failingSigner{ed25519.NewKeyFromSeed(seed("a"))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Cosign(Checkpoint{Origin: "a"}, 1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	sk, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewCosigner("w.example", sk); err == nil {
		t.Error("an ECDSA key cosigns")
	}
	large, err := mldsa.GenerateKey(mldsa.MLDSA65())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewCosigner("w.example", large); !errors.Is(err, ErrMalformed) {
		t.Errorf("ML-DSA-65: %v", err)
	}
	if _, err := NewCosigner("w example", ed25519.NewKeyFromSeed(seed("a"))); !errors.Is(err, ErrMalformed) {
		t.Errorf("name with a space: %v", err)
	}
}

// Another implementation takes what this one signs, and the other way round.
func TestAgainstFormats(t *testing.T) {
	cp := Checkpoint{"log.example", 9, tlog.Hash{1, 2, 3}, nil}
	for _, alg := range algorithms {
		t.Run(alg.String(), func(t *testing.T) {
			c := newCosigner(t, "w.example", alg)
			v, err := fnote.NewVerifierForCosignatureV1(c.Key().String())
			if err != nil {
				t.Fatal(err)
			}
			ours, err := c.Cosign(cp, 12345)
			if err != nil {
				t.Fatal(err)
			}
			msg := Note{cp.Text(), []Signature{ours}}.Bytes()
			if n, err := note.Open(msg, note.VerifierList(v)); err != nil || len(n.Sigs) != 1 {
				t.Errorf("theirs refuses: %v", err)
			}

			skey := fmt.Sprintf("PRIVATE+KEY+w.example+%08x+%s", c.Key().ID(), base64.StdEncoding.EncodeToString(append([]byte{byte(alg)}, seed("w.example")...)))
			s, err := fnote.NewSignerForCosignatureV1(skey)
			if err != nil {
				t.Fatal(err)
			}
			msg, err = note.Sign(&note.Note{Text: cp.Text()}, s)
			if err != nil {
				t.Fatal(err)
			}
			if sigs, err := mustNote(t, string(msg)).Verify(c.Key()); err != nil || len(sigs) != 1 {
				t.Errorf("refuses theirs: %v", err)
			}
		})
	}
	c := newCosigner(t, "w.example", CosignatureMLDSA44)
	v, err := fnote.NewMLDSAVerifier(c.Key().String())
	if err != nil {
		t.Fatal(err)
	}
	sub := Subtree{"log.example", 8, 13, tlog.Hash{7}}
	s, err := c.CosignSubtree(sub)
	if err != nil {
		t.Fatal(err)
	}
	if !v.VerifySubtree(0, sub.Origin, uint64(sub.Start), uint64(sub.End), sub.Hash[:], s.Bytes) {
		t.Error("theirs refuses a subtree")
	}
}
