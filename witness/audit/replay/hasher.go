// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"hash"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/record"
)

// A hasher hashes leaves and nodes (RFC 6962, section 2.1) in buffers of its own,
// so that hashing allocates nothing and touches little memory.
//
// Of the time that sha256.Sum256 takes for messages this short, a third goes into
// copying and padding. A hasher pads in place and hashes whole blocks only; the
// result is then in the digest's state, which package sha256 offers to those who
// want to store it. The form of that state is not specified: [statesKnown] makes
// sure of it, and without it Sum256 is used.
type hasher struct {
	state  digest // nil: not used
	stored []byte // state, stored
	node   [2 * sha256.BlockSize]byte
	leaf   [leafBytes]byte
	half   [bundleWidth / 2]tlog.Hash
}

// A digest is what sha256.New returns.
type digest interface {
	hash.Hash
	encoding.BinaryAppender
}

const (
	nodeBytes = 1 + 2*tlog.HashSize

	// leafBytes has room for a leaf and its padding.
	leafBytes = 1 + record.MaxSize + 2*sha256.BlockSize
)

func newHasher() *hasher {
	h := &hasher{stored: make([]byte, 0, 2*sha256.BlockSize)}
	if statesKnown {
		h.state = sha256.New().(digest)
	}
	h.node[0] = 1
	pad(h.node[:], nodeBytes)
	return h
}

// pad writes the padding of a message of n bytes that b begins with (FIPS 180-4,
// section 5.1.1), and returns message and padding.
func pad(b []byte, n int) []byte {
	end := (n + 1 + 8 + sha256.BlockSize - 1) / sha256.BlockSize * sha256.BlockSize
	b[n] = 0x80
	clear(b[n+1 : end-8])
	binary.BigEndian.PutUint64(b[end-8:end], uint64(n)*8)
	return b[:end]
}

// stateAt is where the hash stands in a stored state.
const stateAt = 4

// padded returns the hash of a padded message.
func (h *hasher) padded(b []byte) tlog.Hash {
	h.state.Reset()
	h.state.Write(b)
	h.stored, _ = h.state.AppendBinary(h.stored[:0])
	return tlog.Hash(h.stored[stateAt:])
}

// statesKnown says that stored states of SHA-256 have the form that padded expects.
var statesKnown = func() bool {
	d, ok := sha256.New().(digest)
	if !ok {
		return false
	}
	const message = "state"
	var b [sha256.BlockSize]byte
	copy(b[:], message)
	d.Write(pad(b[:], len(message)))
	stored, err := d.AppendBinary(nil)
	return err == nil && len(stored) >= stateAt+sha256.Size && [sha256.Size]byte(stored[stateAt:]) == sha256.Sum256([]byte(message))
}()

// leafHash returns the hash of an entry of at most record.MaxSize bytes.
func (h *hasher) leafHash(entry []byte) tlog.Hash {
	n := 1 + copy(h.leaf[1:1+record.MaxSize], entry)
	h.leaf[0] = 0
	if h.state == nil {
		return sha256.Sum256(h.leaf[:n])
	}
	return h.padded(pad(h.leaf[:], n))
}

func (h *hasher) nodeHash(left, right *tlog.Hash) tlog.Hash {
	copy(h.node[1:], left[:])
	copy(h.node[1+tlog.HashSize:], right[:])
	if h.state == nil {
		return sha256.Sum256(h.node[:nodeBytes])
	}
	return h.padded(h.node[:])
}

// fullHash returns the hash over the leaves of a full bundle.
func (h *hasher) fullHash(leaves *[bundleWidth]tlog.Hash) tlog.Hash {
	half := &h.half
	for i := range half {
		half[i] = h.nodeHash(&leaves[2*i], &leaves[2*i+1])
	}
	for n := len(half) / 2; n > 0; n /= 2 {
		for i := range n {
			half[i] = h.nodeHash(&half[2*i], &half[2*i+1])
		}
	}
	return half[0]
}

// fingerprint returns the first 8 bytes of the SHA-256 of "PATH@VERSION", and never
// 0, which stands for no record.
func (h *hasher) fingerprint(r record.Record) uint64 {
	n := copy(h.leaf[:], r.Path)
	h.leaf[n] = '@'
	n += 1 + copy(h.leaf[n+1:], r.Version)
	sum := sha256.Sum256(h.leaf[:n])
	return max(binary.BigEndian.Uint64(sum[:]), 1)
}
