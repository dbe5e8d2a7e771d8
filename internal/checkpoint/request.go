// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package checkpoint

import (
	"bytes"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// MaxProof is the largest number of hashes in a proof: a tree of 2^63 entries
// needs no more.
const MaxProof = 63

// MaxRequest bounds the body of a request: a note, a proof, and a line.
const MaxRequest = MaxNote + (MaxProof+2)*48 + 64

// An AddRequest is the body of add-checkpoint.
type AddRequest struct {
	Old   int64 // the size that the proof begins at
	Proof []tlog.Hash
	Note  []byte // the checkpoint, signed
}

// Bytes returns the body.
func (r AddRequest) Bytes() []byte {
	b := make([]byte, 0, len(r.Note)+45*len(r.Proof)+32)
	b = append(b, "old "...)
	b = strconv.AppendInt(b, r.Old, 10)
	b = append(b, '\n')
	return appendProof(b, r.Proof, r.Note)
}

func appendProof(b []byte, proof []tlog.Hash, note []byte) []byte {
	for _, h := range proof {
		b = append(b, h.String()...)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	return append(b, note...)
}

// ParseAddRequest parses the body of add-checkpoint, and not the note in it.
func ParseAddRequest(body []byte) (AddRequest, error) {
	lines, note, err := splitRequest(body)
	if err != nil {
		return AddRequest{}, err
	}
	size, ok := strings.CutPrefix(lines[0], "old ")
	if !ok {
		return AddRequest{}, malformed("request: the first line is not of the old size")
	}
	old, err := parseSize(size)
	if err != nil {
		return AddRequest{}, err
	}
	proof, err := parseProof(lines[1:])
	return AddRequest{old, proof, note}, err
}

// A SubtreeRequest is the body of sign-subtree.
type SubtreeRequest struct {
	Start, End int64
	Hash       tlog.Hash
	Proof      []tlog.Hash
	Note       []byte // a checkpoint with a cosignature by the witness
}

// Bytes returns the body.
func (r SubtreeRequest) Bytes() []byte {
	b := append([]byte("subtree "), strconv.FormatInt(r.Start, 10)...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, r.End, 10)
	b = append(b, '\n')
	b = append(b, r.Hash.String()...)
	b = append(b, '\n')
	return appendProof(b, r.Proof, r.Note)
}

// ParseSubtreeRequest parses the body of sign-subtree, and not the note in it.
func ParseSubtreeRequest(body []byte) (SubtreeRequest, error) {
	lines, note, err := splitRequest(body)
	if err != nil {
		return SubtreeRequest{}, err
	}
	sizes, ok := strings.CutPrefix(lines[0], "subtree ")
	from, to, ok2 := strings.Cut(sizes, " ")
	if !ok || !ok2 || len(lines) < 2 {
		return SubtreeRequest{}, malformed("request: no lines of a subtree and its hash")
	}
	r := SubtreeRequest{Note: note}
	if r.Start, err = parseSize(from); err != nil {
		return SubtreeRequest{}, err
	}
	if r.End, err = parseSize(to); err != nil {
		return SubtreeRequest{}, err
	}
	if r.Hash, err = parseHash(lines[1]); err != nil {
		return SubtreeRequest{}, err
	}
	r.Proof, err = parseProof(lines[2:])
	return r, err
}

// splitRequest cuts a body at its first empty line.
func splitRequest(body []byte) (lines []string, note []byte, err error) {
	if len(body) > MaxRequest {
		return nil, nil, malformed("request: more than %d bytes", MaxRequest)
	}
	head, note, ok := bytes.Cut(body, []byte("\n\n"))
	if !ok || bytes.Count(head, []byte("\n")) > MaxProof+1 {
		return nil, nil, malformed("request: no empty line after at most %d hashes", MaxProof)
	}
	return strings.Split(string(head), "\n"), note, nil
}

func parseProof(lines []string) ([]tlog.Hash, error) {
	if len(lines) > MaxProof {
		return nil, malformed("request: %d hashes, more than %d", len(lines), MaxProof)
	}
	proof := make([]tlog.Hash, 0, len(lines))
	for _, line := range lines {
		h, err := parseHash(line)
		if err != nil {
			return nil, err
		}
		proof = append(proof, h)
	}
	return proof, nil
}
