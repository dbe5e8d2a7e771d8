// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package checkpoint

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"filippo.io/mldsa"
	"golang.org/x/mod/sumdb/tlog"
)

// An Algorithm is the type byte of a verifier key.
type Algorithm byte

const (
	Ed25519            Algorithm = 0x01 // a signature of the text
	CosignatureEd25519 Algorithm = 0x04 // a timestamped cosignature of a checkpoint
	CosignatureMLDSA44 Algorithm = 0x06 // the same, and of subtrees
)

func (a Algorithm) String() string {
	switch a {
	case Ed25519:
		return "Ed25519"
	case CosignatureEd25519:
		return "Ed25519 cosignature"
	case CosignatureMLDSA44:
		return "ML-DSA-44 cosignature"
	}
	return fmt.Sprintf("algorithm %#02x", byte(a))
}

// Cosigns reports whether signatures of a carry a time.
func (a Algorithm) Cosigns() bool { return a == CosignatureEd25519 || a == CosignatureMLDSA44 }

// A Key is a verifier key.
type Key struct {
	name   string
	id     uint32
	alg    Algorithm
	public []byte
	mldsa  *mldsa.PublicKey // of CosignatureMLDSA44
}

// NewKey returns the key of a name, an algorithm and the encoding of a public
// key.
func NewKey(name string, alg Algorithm, public []byte) (*Key, error) {
	if !validName(name) {
		return nil, malformed("key name %.100q", name)
	}
	k := &Key{name: name, alg: alg, public: public}
	switch alg {
	case Ed25519, CosignatureEd25519:
		if len(public) != ed25519.PublicKeySize {
			return nil, malformed("Ed25519 key: %d bytes", len(public))
		}
	case CosignatureMLDSA44:
		// Names are signed with one byte for their length.
		if len(name) > 255 {
			return nil, malformed("key name: %d bytes, more than 255", len(name))
		}
		pk, err := mldsa.NewPublicKey(mldsa.MLDSA44(), public)
		if err != nil {
			return nil, malformed("ML-DSA-44 key: %v", err)
		}
		k.mldsa = pk
	default:
		return nil, malformed("key: %v is none of this program's", alg)
	}
	h := sha256.New()
	h.Write([]byte(name))
	h.Write([]byte{'\n', byte(alg)})
	h.Write(public)
	k.id = binary.BigEndian.Uint32(h.Sum(nil))
	return k, nil
}

// ParseKey parses a vkey. Its ID must be the one that the specification
// recommends.
func ParseKey(vkey string) (*Key, error) {
	name, rest, ok := strings.Cut(vkey, "+")
	id, b64, ok2 := strings.Cut(rest, "+")
	if !ok || !ok2 {
		return nil, malformed("vkey %.100q: not NAME+ID+KEY", vkey)
	}
	raw, err := decode(b64)
	if err != nil || len(raw) < 2 {
		return nil, malformed("vkey %.100q: not base64", vkey)
	}
	k, err := NewKey(name, Algorithm(raw[0]), raw[1:])
	if err != nil {
		return nil, err
	}
	if id != fmt.Sprintf("%08x", k.id) {
		return nil, malformed("vkey %.100q: its ID would be %08x", vkey, k.id)
	}
	return k, nil
}

func (k *Key) Name() string         { return k.name }
func (k *Key) ID() uint32           { return k.id }
func (k *Key) Algorithm() Algorithm { return k.alg }

// Public returns the encoding of the public key.
func (k *Key) Public() []byte { return k.public }

// String returns the vkey.
func (k *Key) String() string {
	return fmt.Sprintf("%s+%08x+%s", k.name, k.id, base64.StdEncoding.EncodeToString(append([]byte{byte(k.alg)}, k.public...)))
}

// Verify reports whether sig is a signature of the text of a note, which for a
// cosignature by ML-DSA-44 must be a checkpoint.
func (k *Key) Verify(text string, sig []byte) bool {
	if k.alg == Ed25519 {
		return len(sig) == ed25519.SignatureSize && ed25519.Verify(k.public, []byte(text), sig)
	}
	t, sig, ok := cutTime(sig)
	if !ok {
		return false
	}
	if k.alg == CosignatureEd25519 {
		return len(sig) == ed25519.SignatureSize && ed25519.Verify(k.public, ed25519Message(text, t), sig)
	}
	c, err := Parse(text)
	if err != nil {
		return false
	}
	return k.verifySubtree(Subtree{c.Origin, 0, c.Size, c.Root}, t, sig)
}

// VerifySubtree reports whether sig is a cosignature of s without a time. Only
// keys of ML-DSA-44 make such signatures.
func (k *Key) VerifySubtree(s Subtree, sig []byte) bool {
	t, sig, ok := cutTime(sig)
	return ok && t == 0 && k.verifySubtree(s, 0, sig)
}

func (k *Key) verifySubtree(s Subtree, t int64, sig []byte) bool {
	if k.mldsa == nil {
		return false
	}
	msg, err := mldsaMessage(k.name, t, s)
	return err == nil && mldsa.Verify(k.mldsa, msg, sig, nil) == nil
}

// Time returns the POSIX time in the signature of a cosigner.
func (s Signature) Time() (t int64, ok bool) {
	t, _, ok = cutTime(s.Bytes)
	return t, ok
}

func cutTime(sig []byte) (t int64, rest []byte, ok bool) {
	if len(sig) < 8 {
		return 0, nil, false
	}
	u := binary.BigEndian.Uint64(sig)
	return int64(u), sig[8:], u <= maxTime
}

// A Subtree is the hash over the entries [Start, End) of a log.
type Subtree struct {
	Origin     string
	Start, End int64
	Hash       tlog.Hash
}

func ed25519Message(text string, t int64) []byte {
	b := make([]byte, 0, len(text)+48)
	b = append(b, "cosignature/v1\ntime "...)
	b = strconv.AppendInt(b, t, 10)
	b = append(b, '\n')
	return append(b, text...)
}

func mldsaMessage(name string, t int64, s Subtree) ([]byte, error) {
	if len(name) > 255 || s.Origin == "" || len(s.Origin) > 255 {
		return nil, malformed("name or origin: longer than 255 bytes")
	}
	if s.Start != 0 && t != 0 {
		return nil, malformed("subtree: a time with a start other than 0")
	}
	b := make([]byte, 0, 12+2+len(name)+len(s.Origin)+24+32)
	b = append(b, "subtree/v1\n\x00"...)
	b = append(b, byte(len(name)))
	b = append(b, name...)
	b = binary.BigEndian.AppendUint64(b, uint64(t))
	b = append(b, byte(len(s.Origin)))
	b = append(b, s.Origin...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Start))
	b = binary.BigEndian.AppendUint64(b, uint64(s.End))
	return append(b, s.Hash[:]...), nil
}
