// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package tlogproof makes and verifies files which prove, offline, that a log
// contains an entry (https://c2sp.org/tlog-proof):
//
//	c2sp.org/tlog-proof@v1
//	extra BASE64                      if there is extra data
//	index DECIMAL
//	BASE64                            the inclusion proof, one hash a line, from
//	…                                 the leaf's sibling to the root's child
//
//	the checkpoint, verbatim, with its signatures
//
// Nothing in a file is trusted. Numbers and base64 must stand in their one
// encoding, and the note be one of [example.org/sumlog/internal/checkpoint], so
// that a file that was parsed and made again is the same, byte for byte. What it
// proves is up to the policy, and to the leaf hash, which the caller computes from
// what he knows; a proof of a leaf taken from the file itself would be worthless,
// so that files do not hold one. Extra data is not authenticated by anything.
package tlogproof

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/policy"
)

// Limits of a file, in bytes.
const (
	MaxExtra = 64 << 10
	MaxFile  = checkpoint.MaxNote + checkpoint.MaxProof*48 + MaxExtra*2 + 128
)

// Type is the media type that files are served with.
const Type = "text/plain; charset=utf-8"

var (
	// ErrMalformed is wrapped by the errors of Parse.
	ErrMalformed = errors.New("malformed tlog-proof")

	// ErrNotIncluded says that a leaf is not what a proof is about.
	ErrNotIncluded = errors.New("inclusion is not proven")
)

// A Proof is a parsed file.
type Proof struct {
	Extra      []byte // empty if there is none; authenticated by nothing
	Index      int64
	Hashes     []tlog.Hash // from the leaf's sibling to the root's child
	Checkpoint checkpoint.Note
}

const header = "c2sp.org/tlog-proof@v1\n"

// Bytes returns the file.
func (p Proof) Bytes() []byte {
	var b bytes.Buffer
	b.WriteString(header)
	if len(p.Extra) > 0 {
		fmt.Fprintf(&b, "extra %s\n", base64.StdEncoding.EncodeToString(p.Extra))
	}
	fmt.Fprintf(&b, "index %d\n", p.Index)
	for _, h := range p.Hashes {
		fmt.Fprintf(&b, "%v\n", h)
	}
	b.WriteByte('\n')
	b.Write(p.Checkpoint.Bytes())
	return b.Bytes()
}

// Parse parses a file, and verifies nothing.
func Parse(file []byte) (Proof, error) {
	if len(file) > MaxFile {
		return Proof{}, malformed("more than %d bytes", MaxFile)
	}
	rest, ok := bytes.CutPrefix(file, []byte(header))
	if !ok {
		return Proof{}, malformed("the first line is not %q", strings.TrimSpace(header))
	}
	head, note, ok := bytes.Cut(rest, []byte("\n\n"))
	if !ok {
		return Proof{}, malformed("no empty line before the checkpoint")
	}
	p, err := parseHead(strings.Split(string(head), "\n"))
	if err != nil {
		return Proof{}, err
	}
	if p.Checkpoint, err = checkpoint.ParseNote(note); err != nil {
		return Proof{}, malformed("%v", err)
	}
	// Whatever a parser above may let through in a second spelling ends here.
	if !bytes.Equal(p.Bytes(), file) {
		return Proof{}, malformed("not in its one encoding")
	}
	return p, nil
}

func parseHead(lines []string) (p Proof, err error) {
	if b64, ok := strings.CutPrefix(lines[0], "extra "); ok {
		if p.Extra, err = base64.StdEncoding.Strict().DecodeString(b64); err != nil {
			return p, malformed("extra data: %v", err)
		}
		if len(p.Extra) > MaxExtra {
			return p, malformed("more than %d bytes of extra data", MaxExtra)
		}
		if lines = lines[1:]; len(lines) == 0 {
			return p, malformed("no index")
		}
	}
	number, ok := strings.CutPrefix(lines[0], "index ")
	if p.Index, err = strconv.ParseInt(number, 10, 64); !ok || err != nil || p.Index < 0 {
		return p, malformed("no index, but %.40q", lines[0])
	}
	if len(lines)-1 > checkpoint.MaxProof {
		return p, malformed("%d hashes, more than %d", len(lines)-1, checkpoint.MaxProof)
	}
	for _, line := range lines[1:] {
		h, err := tlog.ParseHash(line)
		if err != nil {
			return p, malformed("%.60q is not a hash", line)
		}
		p.Hashes = append(p.Hashes, h)
	}
	return p, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// Verify reports whether the policy accepts the checkpoint, and whether the entry
// at the index has the leaf hash; leaf is what the caller wants to be logged, see
// [tlog.RecordHash]. Errors are those of [policy.Policy.Check] or wrap
// ErrNotIncluded.
func (p Proof) Verify(pol *policy.Policy, leaf tlog.Hash) (policy.Result, error) {
	r, err := pol.Check(p.Checkpoint)
	if err != nil {
		return r, err
	}
	return r, p.Includes(r.Checkpoint.Tree(), leaf)
}

// Includes reports whether the entry at the index in a tree has the leaf hash. The
// tree is that of the checkpoint, once somebody has verified that.
func (p Proof) Includes(tree tlog.Tree, leaf tlog.Hash) error {
	hashes := make([][]byte, len(p.Hashes))
	for i := range hashes {
		hashes[i] = p.Hashes[i][:]
	}
	// Of unsigned numbers, a negative one is larger than any tree.
	err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(p.Index), uint64(tree.N), leaf[:], hashes, tree.Hash[:])
	if err != nil {
		return fmt.Errorf("%w: entry %d: %v", ErrNotIncluded, p.Index, err)
	}
	return nil
}
