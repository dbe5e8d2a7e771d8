// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package evidence

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// What the go command prints when a checksum database has shown it two histories
// (golang.org/x/mod/sumdb, Client.SecurityError): both notes and the hashes of a
// proof, indented, under these headings.
const (
	oldHeading   = "old database:"
	newHeading   = "new database:"
	proofHeading = "proof of misbehavior:"
)

// Limits of what is looked at in a text.
const (
	maxReports = 16
	maxLines   = checkpoint.MaxSignatures + 50 // of a note
)

// ParseSecurityError returns the evidence, E1 or E2, in what the go command prints
// when a checksum database with that key has shown it two histories. The text may
// have anything else before and after; lines may have been indented anew, or
// have something of one width before them, such as a time or a mark of
// quotation.
func ParseSecurityError(text string, key *checkpoint.Key) (*Evidence, error) {
	if len(text) > MaxFile {
		return nil, notProven("text of more than %d bytes", MaxFile)
	}
	err := notProven("no report of the go command about a checksum database is in the text")
	for range maxReports {
		i := strings.Index(text, oldHeading)
		if i < 0 {
			break
		}
		// How many characters stand before the heading, and before all that follows.
		margin := utf8.RuneCountInString(text[strings.LastIndexByte(text[:i], '\n')+1 : i])
		text = text[i+len(oldHeading):]
		r := report{text: text, margin: margin}
		var e *Evidence
		if e, err = r.evidence(key); err == nil {
			return e, nil
		}
	}
	return nil, err
}

// A report is the text that follows oldHeading.
type report struct {
	text   string
	margin int
}

// line returns the next line without what is around it.
func (r *report) line() (string, bool) {
	if r.text == "" {
		return "", false
	}
	line, rest, _ := strings.Cut(r.text, "\n")
	r.text = rest
	for range r.margin {
		_, n := utf8.DecodeRuneInString(line)
		line = line[n:]
	}
	return strings.TrimSpace(line), true
}

func (r *report) evidence(key *checkpoint.Key) (*Evidence, error) {
	r.line() // the rest of that with the heading
	older, err := r.note(key, newHeading)
	if err != nil {
		return nil, err
	}
	newer, err := r.note(key, proofHeading)
	if err != nil {
		return nil, err
	}
	var hashes []tlog.Hash
	for len(hashes) <= checkpoint.MaxProof {
		line, _ := r.line()
		h, err := tlog.ParseHash(line)
		if err != nil {
			break
		}
		hashes = append(hashes, h)
	}
	e := &Evidence{kind: Fork, keys: [2]*checkpoint.Key{key}}
	if err := e.setHeads(older, newer, head.before); err != nil {
		return nil, err
	}
	if e.heads[0].Size == e.heads[1].Size {
		e.kind = Equivocation
	} else if len(hashes) > 0 {
		// Here the root of the smaller size is given, and so there is evidence from a
		// power of two as well.
		e.root, e.proof = hashes[0], hashes[1:]
	}
	return e.proven(nil)
}

// note reads a note up to a heading, and keeps of its signatures one by key.
func (r *report) note(key *checkpoint.Key, heading string) (checkpoint.Note, error) {
	var n checkpoint.Note
	var lines []string
	for range maxLines {
		line, ok := r.line()
		if !ok || line == heading {
			break
		}
		lines = append(lines, line)
	}
	for i, line := range lines {
		if line == "" {
			n.Text = strings.Join(lines[:i], "\n") + "\n"
			lines = lines[i+1:]
			break
		}
	}
	if len(n.Text) > checkpoint.MaxNote {
		return n, notProven("a note of %d bytes in the report of the go command", len(n.Text))
	}
	for _, line := range lines {
		s, err := checkpoint.ParseSignature(line)
		if err == nil && s.Name == key.Name() && s.ID == key.ID() && key.Verify(n.Text, s.Bytes) {
			n.Signatures = []checkpoint.Signature{s}
			return n, nil
		}
	}
	return n, notProven("a note in the report of the go command has no signature by %v", key)
}

// IsSecurityError reports whether text may have in it what ParseSecurityError looks
// for.
func IsSecurityError(text []byte) bool { return bytes.Contains(text, []byte(oldHeading)) }
