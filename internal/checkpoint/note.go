// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package checkpoint parses, verifies and makes what logs and witnesses say to
// each other, strictly:
//
//   - signed notes and verifier keys (https://c2sp.org/signed-note@v1.0.0),
//   - checkpoints (https://c2sp.org/tlog-checkpoint@v1.0.0),
//   - cosignatures, Ed25519 and ML-DSA-44, of checkpoints and of subtrees
//     (https://c2sp.org/tlog-cosignature),
//   - the bodies of add-checkpoint and sign-subtree
//     (https://c2sp.org/tlog-witness@v1.0.0).
//
// Nothing here is trusted. Every number, hash and signature must stand in its
// one canonical encoding, so that what was parsed and formatted again is byte
// for byte what was read: two programs that read the same bytes cannot see
// different things in them. Callers limit the length of what they read before
// they hand it in; the limits that this package sets itself are MaxNote,
// MaxSignatures and MaxProof.
//
// golang.org/x/mod/sumdb/note is not used for it because it ignores a bad
// signature by a known key when a good one by the same key came first, where the
// specification of witnesses asks for a refusal, and because it accepts more than
// one encoding of a signature.
package checkpoint

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what is parsed. A note with sixteen signatures of the largest kind
// that the specification names, about 5 kB each, fits.
const (
	MaxNote       = 128 << 10 // bytes
	MaxSignatures = 100
)

var (
	// ErrMalformed is wrapped by all errors about the form of what was read.
	ErrMalformed = errors.New("malformed")

	// ErrUnsigned says that a note has no signature by a known key.
	ErrUnsigned = errors.New("no signature by a known key")

	// ErrBadSignature says that a signature line names a known key and the
	// signature is not that key's.
	ErrBadSignature = errors.New("bad signature by a known key")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w "+format, append([]any{ErrMalformed}, args...)...)
}

// A Signature is a signature line of a note.
type Signature struct {
	Name  string
	ID    uint32
	Bytes []byte // what follows the ID
}

const dash = "— "

// strict accepts only the canonical encoding.
var strict = base64.StdEncoding.Strict()

// String returns the line with its newline.
func (s Signature) String() string {
	raw := binary.BigEndian.AppendUint32(nil, s.ID)
	return dash + s.Name + " " + base64.StdEncoding.EncodeToString(append(raw, s.Bytes...)) + "\n"
}

// ParseSignature parses a signature line without its newline.
func ParseSignature(line string) (Signature, error) {
	rest, ok := strings.CutPrefix(line, dash)
	if !ok {
		return Signature{}, malformed("signature line: it does not begin with a dash and a space")
	}
	name, b64, ok := strings.Cut(rest, " ")
	if !ok || !validName(name) {
		return Signature{}, malformed("signature line: no key name and signature")
	}
	raw, err := decode(b64)
	if err != nil || len(raw) < 5 {
		return Signature{}, malformed("signature line of %.100q: not the base64 of a key ID and a signature", name)
	}
	return Signature{name, binary.BigEndian.Uint32(raw), raw[4:]}, nil
}

// decode decodes base64. The decoder of the standard library skips line ends,
// which would be a second encoding.
func decode(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, ErrMalformed
	}
	return strict.DecodeString(s)
}

// validName reports whether name can be the name of a key. One with a control
// character could be in no note.
func validName(name string) bool {
	return name != "" && utf8.ValidString(name) && !strings.Contains(name, "+") &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || unicode.IsSpace(r) })
}

// A Note is a text with signatures, none of them verified yet.
type Note struct {
	Text       string // ends in a newline
	Signatures []Signature
}

// ParseNote parses a note.
func ParseNote(msg []byte) (Note, error) {
	if len(msg) > MaxNote {
		return Note{}, malformed("note: %d bytes, more than %d", len(msg), MaxNote)
	}
	if !utf8.Valid(msg) {
		return Note{}, malformed("note: not UTF-8")
	}
	if bytes.ContainsFunc(msg, func(r rune) bool { return r < 0x20 && r != '\n' }) {
		return Note{}, malformed("note: control character")
	}
	i := bytes.LastIndex(msg, []byte("\n\n"))
	if i < 0 {
		return Note{}, malformed("note: no empty line before the signatures")
	}
	n := Note{Text: string(msg[:i+1])}
	sigs, ok := strings.CutSuffix(string(msg[i+2:]), "\n")
	if !ok {
		return Note{}, malformed("note: no signature, or no newline at its end")
	}
	for line := range strings.SplitSeq(sigs, "\n") {
		if len(n.Signatures) == MaxSignatures {
			return Note{}, malformed("note: more than %d signatures", MaxSignatures)
		}
		s, err := ParseSignature(line)
		if err != nil {
			return Note{}, err
		}
		n.Signatures = append(n.Signatures, s)
	}
	return n, nil
}

// Bytes returns the note as ParseNote reads it.
func (n Note) Bytes() []byte {
	var b strings.Builder
	b.WriteString(n.Text)
	b.WriteByte('\n')
	for _, s := range n.Signatures {
		b.WriteString(s.String())
	}
	return []byte(b.String())
}

// Verify returns the signatures by keys, at most one of each, in the order of
// the note. Signatures of other keys are ignored, also where only the name or
// only the ID is a known one. It fails with ErrBadSignature if any line that
// names one of keys does not verify, a repeated one too, and with ErrUnsigned if
// there is none.
func (n Note) Verify(keys ...*Key) ([]Signature, error) {
	var out []Signature
	seen := make(map[*Key][]byte, len(keys))
	for _, s := range n.Signatures {
		for _, k := range keys {
			if s.Name != k.name || s.ID != k.id {
				continue
			}
			first, ok := seen[k]
			// Anybody can repeat a line as often as there is room for it, and has
			// to pay for it himself.
			if ok && bytes.Equal(first, s.Bytes) {
				continue
			}
			if !k.Verify(n.Text, s.Bytes) {
				return nil, fmt.Errorf("%w: %s+%08x", ErrBadSignature, s.Name, s.ID)
			}
			if !ok {
				seen[k] = s.Bytes
				out = append(out, s)
			}
		}
	}
	if len(out) == 0 {
		return nil, ErrUnsigned
	}
	return out, nil
}
