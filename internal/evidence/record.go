// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package evidence

import (
	"bytes"
	"encoding/base64"
	"fmt"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/record"
)

// MaxRecord is the largest record that is evidence, in bytes.
const MaxRecord = 1 << 20

// repeated is the rule that a version has one record. The others are those of
// package record.
const repeated = "C4"

// A Proven is a record under a signed head. Its key is a log's, Ed25519.
type Proven struct {
	Key    *checkpoint.Key
	Note   checkpoint.Note
	Index  int64
	Record []byte
	Proof  []tlog.Hash // an RFC 6962 inclusion proof
}

// An entry is a record in the tree of a head.
type entry struct {
	index int64
	text  []byte
	proof []tlog.Hash
}

// String names an entry in few words, which are the log's own in quotes.
func (n entry) String() string { return fmt.Sprintf("%s at index %d", describe(n.text), n.index) }

// describe names a record in few words.
func describe(text []byte) string {
	r, err := record.Parse(text)
	if err != nil {
		return fmt.Sprintf("%.200q", text)
	}
	return fmt.Sprintf("%.200q (%s, go.mod %s)", fmt.Sprintf("%s@%s", r.Path, r.Version), record.H1(r.Zip), record.H1(r.Mod))
}

// in verifies that n is in the tree of h.
func (n entry) in(h head) error {
	if n.index < 0 || n.index >= h.Size {
		return notProven("index %d in a tree of size %d", n.index, h.Size)
	}
	if len(n.text) > MaxRecord {
		return notProven("record: %d bytes", len(n.text))
	}
	leaf := tlog.RecordHash(n.text)
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(n.index), uint64(h.Size), leaf[:], raw(n.proof), h.Root[:]); err != nil {
		return notProven("record %d: %v", n.index, err)
	}
	return nil
}

// setSide verifies a record under a head.
func (e *Evidence) setSide(i int, p Proven) error {
	h, err := newHead(p.Key, p.Note)
	if err != nil {
		return err
	}
	n := entry{p.Index, bytes.Clone(p.Record), p.Proof}
	e.heads[i], e.entries[i] = h, n
	return n.in(h)
}

// ofTwo returns the evidence of a kind in two records.
func ofTwo(kind Kind, rule string, p, q Proven) (*Evidence, error) {
	e := &Evidence{kind: kind, rule: rule, keys: [2]*checkpoint.Key{p.Key}}
	if kind == Differs {
		e.keys[1] = q.Key
	} else if p.Key.String() != q.Key.String() {
		return nil, notProven("two keys, %v and %v", p.Key, q.Key)
	}
	for i, p := range []Proven{p, q} {
		if err := e.setSide(i, p); err != nil {
			return nil, err
		}
	}
	if !e.inOrder() {
		e.heads[0], e.heads[1] = e.heads[1], e.heads[0]
		e.entries[0], e.entries[1] = e.entries[1], e.entries[0]
		if kind == Differs {
			e.keys[0], e.keys[1] = e.keys[1], e.keys[0]
		}
	}
	return e.proven(nil)
}

// Conflict returns the evidence that two records of a log for one version have other
// hashes (E4).
func Conflict(p, q Proven) (*Evidence, error) { return ofTwo(Conflicts, "", p, q) }

// Repeat returns the evidence that a record is logged twice (E5 by C4).
func Repeat(p, q Proven) (*Evidence, error) { return ofTwo(Unsound, repeated, p, q) }

// Disagree returns the evidence that the records of two logs for one version have
// other hashes (E6).
func Disagree(ours, theirs Proven) (*Evidence, error) { return ofTwo(Differs, "", ours, theirs) }

// Malformed returns the evidence that a record breaks C1 or C3 (E5).
func Malformed(p Proven) (*Evidence, error) {
	e := &Evidence{kind: Unsound, keys: [2]*checkpoint.Key{p.Key}}
	if err := e.setSide(0, p); err != nil {
		return nil, err
	}
	_, err := record.Parse(p.Record)
	bad, ok := err.(*record.Error)
	if !ok {
		return nil, notProven("the record breaks no rule")
	}
	e.rule = string(bad.Rule)
	return e.proven(nil)
}

// inOrder reports whether the two sides with records are in order.
func (e *Evidence) inOrder() bool {
	if e.kind == Differs {
		return e.keys[0].String() < e.keys[1].String()
	}
	i, j := e.entries[0].index, e.entries[1].index
	if i != j {
		return i < j
	}
	var side [2]bytes.Buffer
	for i := range side {
		e.writeSide(&side[i], i)
	}
	return bytes.Compare(side[0].Bytes(), side[1].Bytes()) < 0
}

// checkRecords verifies what records alone prove.
func (e *Evidence) checkRecords() error {
	r, err := record.Parse(e.entries[0].text)
	if e.form().sides == 1 {
		if bad, ok := err.(*record.Error); !ok || string(bad.Rule) != e.rule {
			return notProven("a record by the rule %q: %v", e.rule, err)
		}
		return nil
	}
	if err != nil {
		return notProven("record: %v", err)
	}
	s, err := record.Parse(e.entries[1].text)
	if err != nil {
		return notProven("record: %v", err)
	}
	if !e.inOrder() {
		return notProven("records %d and %d are not in order", e.entries[0].index, e.entries[1].index)
	}
	if !bytes.Equal(r.Path, s.Path) || !bytes.Equal(r.Version, s.Version) {
		return notProven("records of two versions")
	}
	same := r.Zip == s.Zip && r.Mod == s.Mod
	if same != (e.rule == repeated) {
		return notProven("records with the same hashes: %v", same)
	}
	switch {
	case e.kind == Differs:
		// Under two names a key is still one, and to be accused by E4.
		if bytes.Equal(e.keys[0].Public(), e.keys[1].Public()) {
			return notProven("one public key under two names")
		}
		return nil
	case !e.oneLog():
		return notProven("origins are %q and %q", e.heads[0].Origin, e.heads[1].Origin)
	case same && e.entries[0].index == e.entries[1].index:
		return notProven("a record at one index") // of two heads, as it has to be
	}
	return nil
}

func (e *Evidence) recordString() string {
	x, y := e.entries[0], e.entries[1]
	switch {
	case e.kind == Differs:
		return fmt.Sprintf("%s: the records of two logs differ: the key %v has signed a tree with %v, and the key %v one with %v",
			e.kind, e.keys[0], x, e.keys[1], y)
	case e.kind == Conflicts:
		return fmt.Sprintf("%s: the key %v has signed %v and %v, two records for one version", e.kind, e.keys[0], x, y)
	case e.rule == repeated:
		return fmt.Sprintf("%s: the key %v has signed %v, and the same at index %d", e.kind, e.keys[0], x, y.index)
	}
	_, err := record.Parse(x.text)
	return fmt.Sprintf("%s: the key %v has signed a malformed record, %v: %v", e.kind, e.keys[0], x, err)
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

var strict = base64.StdEncoding.Strict()
