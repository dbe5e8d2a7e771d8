// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"example.org/sumlog/internal/checkpoint"
)

// A LogKey signs for the log of the suite. Its name is the log's origin.
type LogKey struct {
	key     *checkpoint.Key
	private ed25519.PrivateKey
}

// ParseLogKey parses a private key in the form of golang.org/x/mod/sumdb/note:
// PRIVATE+KEY+NAME+ID+BASE64 of type 0x01. Its errors do not show the key.
func ParseLogKey(skey string) (*LogKey, error) {
	bad := errors.New("log key: not of the form PRIVATE+KEY+NAME+ID+KEY with an Ed25519 note key")
	f := strings.Split(strings.TrimSpace(skey), "+")
	// Base64 has pluses too.
	if len(f) < 5 || f[0] != "PRIVATE" || f[1] != "KEY" {
		return nil, bad
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.Join(f[4:], "+"))
	if err != nil || len(raw) != 1+ed25519.SeedSize || checkpoint.Algorithm(raw[0]) != checkpoint.Ed25519 {
		return nil, bad
	}
	k, err := newLogKey(f[2], raw[1:])
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	if id := fmt.Sprintf("%08x", k.key.ID()); id != f[3] {
		return nil, fmt.Errorf("log key %s: has ID %.20q, and should have %s", f[2], f[3], id)
	}
	return k, nil
}

func newLogKey(name string, seed []byte) (*LogKey, error) {
	private := ed25519.NewKeyFromSeed(seed)
	key, err := checkpoint.NewKey(name, checkpoint.Ed25519, private.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	return &LogKey{key, private}, nil
}

// Key returns the verifier key, which the witness must know.
func (k *LogKey) Key() *checkpoint.Key { return k.key }

func (k *LogKey) origin() string { return k.key.Name() }

func (k *LogKey) sign(text string) checkpoint.Signature {
	return checkpoint.Signature{Name: k.key.Name(), ID: k.key.ID(), Bytes: ed25519.Sign(k.private, []byte(text))}
}

// stranger returns a key of that name that nobody knows.
func stranger(name string) *LogKey {
	seed := sha256.Sum256([]byte("sumlog conformance stranger " + name))
	k, err := newLogKey(name, seed[:])
	if err != nil {
		panic(err) // the name is the log's or a constant
	}
	return k
}
