// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package bastion

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"example.org/sumlog/internal/durable"
	"example.org/sumlog/witness/keys"
)

// Hash returns what stands for a key in the path of the witness's URL.
func Hash(key ed25519.PrivateKey) string {
	sum := sha256.Sum256(key.Public().(ed25519.PublicKey))
	return hex.EncodeToString(sum[:])
}

// pemType is of a block in PKCS #8.
const pemType = "PRIVATE KEY"

// LoadKey reads a key file, which nobody but its owner may read: an Ed25519 key
// in PKCS #8, in PEM.
func LoadKey(path string) (ed25519.PrivateKey, error) {
	text, err := keys.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return key, nil
}

// parseKey does not quote what it parses: it may be most of a key.
func parseKey(text []byte) (ed25519.PrivateKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != pemType || len(block.Headers) > 0 || len(rest) > 0 {
		return nil, fmt.Errorf("not one PEM block %q", pemType)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("not PKCS #8")
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a %T, want an Ed25519 key", key)
	}
	return private, nil
}

// CreateKey makes a key and its file, of mode 0600. It does not replace one.
func CreateKey(path string) (ed25519.PrivateKey, error) {
	dir, name := filepath.Split(filepath.Clean(path))
	root, err := os.OpenRoot(filepath.Clean(dir))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if _, err := root.Lstat(name); err == nil {
		return nil, fmt.Errorf("key file %s: %w", path, os.ErrExist)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
	return key, durable.WriteFile(root, name, text, 0o600)
}
