// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package checkpoint

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"filippo.io/mldsa"
)

// A Cosigner makes cosignatures under one name with one key.
type Cosigner struct {
	key    *Key
	signer crypto.Signer
}

// NewCosigner returns the cosigner of an Ed25519 or ML-DSA-44 key, which may be
// held by another process: signer must sign messages that are not hashed.
func NewCosigner(name string, signer crypto.Signer) (*Cosigner, error) {
	var alg Algorithm
	var public []byte
	switch pk := signer.Public().(type) {
	case ed25519.PublicKey:
		alg, public = CosignatureEd25519, pk
	case *mldsa.PublicKey:
		alg, public = CosignatureMLDSA44, pk.Bytes()
	default:
		return nil, fmt.Errorf("cosigner %s: key of type %T", name, pk)
	}
	k, err := NewKey(name, alg, public)
	if err != nil {
		return nil, err
	}
	return &Cosigner{k, signer}, nil
}

// Key returns the verifier key.
func (c *Cosigner) Key() *Key { return c.key }

// Cosign states that cp is, at POSIX time t, the largest consistent tree of its
// origin that the cosigner knows. The caller has made sure of it, durably.
func (c *Cosigner) Cosign(cp Checkpoint, t int64) (Signature, error) {
	if t <= 0 {
		return Signature{}, fmt.Errorf("cosignature at time %d", t)
	}
	if c.key.alg == CosignatureEd25519 {
		return c.sign(ed25519Message(cp.Text(), t), t)
	}
	msg, err := mldsaMessage(c.key.name, t, Subtree{cp.Origin, 0, cp.Size, cp.Root})
	if err != nil {
		return Signature{}, err
	}
	return c.sign(msg, t)
}

// CosignSubtree states that s is consistent with all trees of its origin that
// the cosigner knows, without a time.
func (c *Cosigner) CosignSubtree(s Subtree) (Signature, error) {
	if c.key.alg != CosignatureMLDSA44 {
		return Signature{}, fmt.Errorf("%v: does not cover subtrees", c.key.alg)
	}
	msg, err := mldsaMessage(c.key.name, 0, s)
	if err != nil {
		return Signature{}, err
	}
	return c.sign(msg, 0)
}

// sign signs a message that belongs to time t.
func (c *Cosigner) sign(msg []byte, t int64) (Signature, error) {
	raw, err := c.signer.Sign(rand.Reader, msg, crypto.Hash(0))
	if err != nil {
		return Signature{}, fmt.Errorf("cosigner %s: %w", c.key.name, err)
	}
	return Signature{c.key.name, c.key.id, append(binary.BigEndian.AppendUint64(nil, uint64(t)), raw...)}, nil
}
