// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package keys has the keys that a witness cosigns with: it makes them, reads
// them from files, and finds them in an ssh-agent.
//
// A key file holds one line,
//
//	PRIVATE+KEY+NAME+ID+base64(type || seed)
//
// as golang.org/x/mod/sumdb/note writes the keys of logs, with the type of a
// cosigner (https://c2sp.org/tlog-cosignature): 0x04 for Ed25519, 0x06 for
// ML-DSA-44. The ID must be the one of the public key, so that a line of which
// any byte rotted is no key. The key of a log, type 0x01, is refused: who could
// sign as log and as witness would vouch for himself. No error quotes a file.
//
// The key in an ssh-agent is named by its fingerprint. The agent keeps it, or
// the token behind the agent does; this process only asks for signatures. The
// agent is trusted not to give the key away and for nothing else: each signature
// is verified before it is handed out, each exchange has a time limit, and an
// agent that was restarted at its socket is found again. Nothing is written, and
// nothing depends on how the process ends.
package keys

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"filippo.io/mldsa"

	"example.org/sumlog/internal/checkpoint"
)

// agentPrefix begins a specification of a key in an ssh-agent.
const agentPrefix = "agent:"

// Load returns the cosigner that spec names: FILE, or agent:SHA256:FINGERPRINT
// for an Ed25519 key in the ssh-agent at SSH_AUTH_SOCK, which must have it now.
// Cosignatures are by name. A key file has a name of its own, which must be the
// same; it is taken where name is "".
func Load(spec, name string) (*checkpoint.Cosigner, error) {
	if fingerprint, ok := strings.CutPrefix(spec, agentPrefix); ok {
		if name == "" {
			return nil, fmt.Errorf("key %s: it has no name of its own", spec)
		}
		a, err := findAgentKey(fingerprint)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", spec, err)
		}
		return checkpoint.NewCosigner(name, a)
	}
	text, err := ReadFile(spec)
	if err != nil {
		return nil, err
	}
	c, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", spec, err)
	}
	if own := c.Key().Name(); name != "" && own != name {
		return nil, fmt.Errorf("key file %s: the key is of %s, not of %s", spec, own, name)
	}
	return c, nil
}

// errForm is of a text that is no key. It does not say what it is instead: that
// could be most of a key.
var errForm = errors.New("not one line PRIVATE+KEY+NAME+ID+KEY")

// Parse parses the text of a key file.
func Parse(text []byte) (*checkpoint.Cosigner, error) {
	line, _ := strings.CutSuffix(string(text), "\n")
	fields := strings.Split(line, "+")
	if len(fields) < 5 || fields[0] != "PRIVATE" || fields[1] != "KEY" {
		return nil, errForm
	}
	name, id := fields[2], fields[3]
	// Base64 has plus signs too.
	data := strings.Join(fields[4:], "+")
	raw, err := base64.StdEncoding.Strict().DecodeString(data)
	// The decoder skips line ends: a second line would be a second encoding.
	if err != nil || strings.ContainsAny(data, "\r\n") || len(raw) < 1 {
		return nil, errForm
	}
	signer, err := newSigner(checkpoint.Algorithm(raw[0]), raw[1:])
	if err != nil {
		return nil, err
	}
	c, err := checkpoint.NewCosigner(name, signer)
	if err != nil {
		return nil, errForm
	}
	if id != fmt.Sprintf("%08x", c.Key().ID()) {
		return nil, errors.New("its ID is not that of its key: the file is damaged, or the name was changed")
	}
	return c, nil
}

// newSigner returns the private key of a seed.
func newSigner(alg checkpoint.Algorithm, seed []byte) (crypto.Signer, error) {
	switch alg {
	case checkpoint.CosignatureEd25519:
		if len(seed) == ed25519.SeedSize {
			return ed25519.NewKeyFromSeed(seed), nil
		}
	case checkpoint.CosignatureMLDSA44:
		if len(seed) == mldsa.PrivateKeySize {
			return mldsa.NewPrivateKey(mldsa.MLDSA44(), seed)
		}
	case checkpoint.Ed25519:
		return nil, errors.New("this is the key of a log (type 0x01), which must not be a witness's too; make one with sumwitness init")
	default:
		return nil, fmt.Errorf("a key of type %#02x: want 0x04 (Ed25519) or 0x06 (ML-DSA-44)", byte(alg))
	}
	return nil, fmt.Errorf("%v: a seed of %d bytes", alg, len(seed))
}

// Generate makes a key and returns the line of its file, without a newline, and
// the verifier key.
func Generate(name string, alg checkpoint.Algorithm) (skey string, key *checkpoint.Key, err error) {
	var seed []byte
	switch alg {
	case checkpoint.CosignatureEd25519:
		_, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			return "", nil, err
		}
		seed = private.Seed()
	case checkpoint.CosignatureMLDSA44:
		private, err := mldsa.GenerateKey(mldsa.MLDSA44())
		if err != nil {
			return "", nil, err
		}
		seed = private.Bytes()
	default:
		return "", nil, fmt.Errorf("%v: not an algorithm of cosignatures", alg)
	}
	signer, err := newSigner(alg, seed)
	if err != nil {
		return "", nil, err
	}
	c, err := checkpoint.NewCosigner(name, signer)
	if err != nil {
		return "", nil, err
	}
	data := base64.StdEncoding.EncodeToString(append([]byte{byte(alg)}, seed...))
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, c.Key().ID(), data), c.Key(), nil
}

// maxFile bounds a key file: a name and some hundred bytes.
const maxFile = 4 << 10

// ReadFile reads a file with a secret. It must be a regular file of at most 4
// KiB which nobody but its owner may read or write.
func ReadFile(path string) ([]byte, error) {
	// What is checked is what was opened, so that nothing can be put in between;
	// and without blocking, so that a pipe cannot hold the start up.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("key file %s: not a regular file", path)
	}
	if perm := fi.Mode().Perm(); perm&^0o600 != 0 {
		return nil, fmt.Errorf("key file %s: mode %#o, want 0600: others may have read it", path, perm)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("key file %s: more than %d bytes", path, maxFile)
	}
	return text, nil
}
