// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package evidence makes and verifies files that prove the misbehaviour of a log,
// or of one who cosigns it, to anybody, without a network and without trust in who
// made the file; and files that keep an observation, which are only as good as the
// word of who made it.
//
// # Format
//
// A file is UTF-8 text. All lines end in a newline. Its parts are separated by
// one empty line each:
//
//	sumlog evidence v1 KIND
//	log VKEY            E6: two such lines; E9, E10: "cosigner VKEY"; E17: none
//	rule RULE           E5 only: C1, C3 or C4
//
//	the text of a note, as many lines as it has
//
//	its signature by VKEY, one signature line of a note
//
//	index N             of kinds about records only: a record of the note's tree,
//	record BASE64       nothing after the space if the record is empty; then
//	                    the base64 of one hash a line, an inclusion proof
//
//	the same parts for the second note; E5 by C1 and C3, E11 and E14 have only one,
//	E17 none
//
//	of E1, E3 and E10, if the sizes differ: the base64 of one hash a line; the root
//	of the smaller size by the proof, and then the proof
//
//	of E11, E14, E16 and E17: what was observed, see there
//
//	the hexadecimal SHA-256 of everything before this line
//
// No text of a note has an empty line, and whatever bytes may come from outside
// stand in base64, so the parts are unambiguous. There is one file for one claim:
// numbers, hashes, signatures and VKEY stand in their canonical encodings, the two
// sides in the order said below, and nothing else is in the file. A verifier
// parses a file strictly, encodes again what it has parsed, and compares the
// bytes; so a file with anything in it that was not verified is no evidence.
// What an ML-DSA-44 cosignature does not cover, the extension lines, is left out.
//
// # Proofs
//
// Against a log. Sides without a record: the smaller tree is first, and of equal
// ones that with the text that sorts first, as bytes.
//
//	E1  fork: heads of one origin, of size m >= 1 with root R, and of size n > m
//	    with root S. The proof is an RFC 6962 consistency proof from size m to size
//	    n that verifies for S and the file's root of size m, which is not R. Two
//	    trees that share S share all that a proof shows, so no tree has both R and
//	    S. A proof from a power of two does not contain the root there: such a file
//	    is valid, but New cannot make one from a proof that did not verify.
//	E2  equivocation: heads of one origin and one size with different roots.
//	E3  discord: the same as E1 or E2 of the log's two notes: the checkpoint, whose
//	    origin is the name of VKEY, and the tree head of the go command, whose first
//	    line is "go.sum database tree".
//	E4  conflict: two records for one version whose hashes differ.
//	E5  by C1 or C3: a record that breaks this rule, as package record says it, and
//	    no earlier one. By C4: a record that is logged at two indexes.
//	E6  disagreement of two logs: two records for one version whose hashes differ,
//	    each in the tree of another public key. It does not say which one is wrong.
//	    The vkey that sorts first is first, with its record.
//
// The records of E4 and of E5 by C4 are of heads of one log: both of one origin,
// or as in E3. The heads may be different ones: if they exclude each other, the log
// misbehaves in another way too. The lower index is first; at equal indexes that
// with the parts that sort first, as bytes.
//
// A log that is no checksum database has promised nothing about records: whoever
// verifies E4, E5 and E6 knows what VKEY is the key of.
//
// Against a cosigner (https://c2sp.org/tlog-cosignature), both for checkpoints of
// one origin:
//
//	E9  rollback: at time t it stated that the largest tree it has observed is one
//	    of size m, and at a later time that it is a smaller one. The earlier one is
//	    first. Times of 0 state nothing. A clock that was put back can be why.
//	E10 double signature: cosignatures of checkpoints as in E1 or E2.
//
// Tree heads of the go command are left out: all checksum databases share their
// first line, so that two of them need not be of one log. For the same reason no
// cosigner's key stands for a log where that would accuse it of what it has not
// stated: VKEY is Ed25519 in E3 to E6, E11, E14 and E16, since who cosigns a tree does
// not vouch for the records in it.
//
// # Observations
//
// What somebody has seen, in his own words, as far as no signature covers it: where,
// when, and who gave it.
//
// E11 and E14 are a record in the tree of a signed head, and an answer that contradicts
// it.
//
//	E11 contradiction: the part is
//
//	        service SERVICE
//	        url URL
//	        time 2006-01-02T15:04:05Z
//	        status N
//	        body BASE64
//
//	    where the last line of a zip, whose bytes are not kept, is "zip SHA256
//	    H1", the hexadecimal SHA-256 of the file and its module hash "h1:…", or "-"
//	    if it is no zip of a module. See Service for the rules.
//	E14 moved tag: the part is
//
//	        url URL
//	        time 2006-01-02T15:04:05Z
//	        info BASE64
//	        refs BASE64
//
//	    where info is the version's .info at URL, with an Origin of a commit and a
//	    tag, and refs is what "git ls-remote" printed of the Origin's URL: the tag,
//	    at another commit.
//	E16 stray head: two heads of one log, of different sizes. By the word of the
//	    observer the first is not in the history that he knows, whose newest head is
//	    the second; the holder of the key keeps two, or has put an older one back.
//	    The part is
//
//	        by QUOTED
//
//	    who showed it to him, as a string of Go in ASCII.
//	E17 refusal: of a record that stands, somebody gave something else, and it was
//	    not taken. No key has signed that, and none is accused. The part is
//
//	        record BASE64
//	        index N             in the observer's log; not there if it is in none yet
//	        zip h1:…            the hashes of what was given, one of them or both
//	        mod h1:…
//	        invalid QUOTED      or why the zip can be no module's, and has no hash
//	        source QUOTED       who gave it, "" if that is not known
//	        time 2006-01-02T15:04:05Z
//
// # What it proves
//
// That the holder of VKEY's private key has signed what stands in the file. It
// does not prove whose key that is, nor what its name is: anybody can accuse a key
// of his own making, or another's key under another name, so whoever verifies a
// file compares the whole VKEY with the one he knows. Nor does it prove when a log
// signed something.
package evidence

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// A Kind is what a file proves.
type Kind string

// The kinds. Other numbers up to E15 are reserved.
const (
	Fork         Kind = "E1"
	Equivocation Kind = "E2"
	Discord      Kind = "E3"  // checkpoint and tree head exclude each other
	Conflicts    Kind = "E4"  // two records for one version
	Unsound      Kind = "E5"  // a malformed or repeated record
	Differs      Kind = "E6"  // two logs' records for one version
	WentBack     Kind = "E9"  // a cosigner's later tree is smaller
	DoubleSigned Kind = "E10" // a cosigner's checkpoints exclude each other
	Contradicted Kind = "E11" // a service's answer is unlike a record
	Moved        Kind = "E14" // a version's tag names another commit
	Stray        Kind = "E16" // a head that is not in a known history
	Refused      Kind = "E17" // what was given beside a record
)

// A form says what the files of a kind have.
type form struct {
	role    string // of the accused
	keys    int
	sides   int
	records bool // has a record on each side
	proof   bool // has a consistency proof if sizes differ
	word    bool // is an observation
}

var forms = map[Kind]form{
	Fork:         {role: "log", keys: 1, sides: 2, proof: true},
	Equivocation: {role: "log", keys: 1, sides: 2},
	Discord:      {role: "log", keys: 1, sides: 2, proof: true},
	Conflicts:    {role: "log", keys: 1, sides: 2, records: true},
	Unsound:      {role: "log", keys: 1, sides: 2, records: true}, // 1, unless by C4
	Differs:      {role: "log", keys: 2, sides: 2, records: true},
	WentBack:     {role: "cosigner", keys: 1, sides: 2},
	DoubleSigned: {role: "cosigner", keys: 1, sides: 2, proof: true},
	Contradicted: {role: "log", keys: 1, sides: 1, records: true, word: true},
	Moved:        {role: "log", keys: 1, sides: 1, records: true, word: true},
	Stray:        {role: "log", keys: 1, sides: 2, word: true},
	Refused:      {word: true},
}

func (e *Evidence) form() form {
	f := forms[e.kind]
	if e.kind == Unsound && e.rule != repeated {
		f.sides = 1
	}
	return f
}

// ErrNotProven is wrapped by all errors of this package: what it was given proves
// nothing.
var ErrNotProven = errors.New("not proven")

func notProven(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrNotProven}, args...)...)
}

// An Evidence is a claim that has been verified. It is made by the functions of
// this package only.
type Evidence struct {
	kind    Kind
	keys    [2]*checkpoint.Key
	rule    string // of E5
	heads   [2]head
	entries [2]entry
	root    tlog.Hash   // of the size of heads[0], by the proof
	proof   []tlog.Hash // where the form has one, and the sizes differ
	answer  Answer      // of E11
	tag     Tag         // of E14
	by      string      // of E16
	refusal Refusal     // of E17
	why     string      // of observations: the contradiction
	said    string      // the same without where and when
}

// Identity is the same for all that shows the same fault again, and for nothing else:
// a hash of the kind, the keys, and the statements that contradict each other. Where
// these are records and what was answered about them, the time of the observation is
// not in it, nor are the heads and proofs that show the records to be in the log, and
// what an answer says beside. Otherwise it is that of the file.
func (e *Evidence) Identity() [sha256.Size]byte {
	f := e.form()
	if !f.records {
		return sha256.Sum256(e.Bytes())
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n%v\n%s\n", e.kind, e.keys[:f.keys], e.rule)
	for _, n := range e.entries[:f.sides] {
		fmt.Fprintf(&b, "%d %q\n", n.index, n.text)
	}
	said, where := e.said, e.answer.URL+e.tag.URL
	if e.answer.Service == Feed {
		where, _, _ = strings.Cut(where, "?")
		said = said[:max(0, strings.LastIndex(said, onLineMark))]
	}
	fmt.Fprintf(&b, "%s\n%s\n%d\n%q\n", e.answer.Service, where, e.answer.Status, said)
	return sha256.Sum256(b.Bytes())
}

// Kind returns what is proven.
func (e *Evidence) Kind() Kind { return e.kind }

// Key returns the key that is accused, the first one of E6; nil of E17.
func (e *Evidence) Key() *checkpoint.Key { return e.keys[0] }

// Accused returns the keys that the claim is about: two of E6, of which it does
// not say which is wrong, none of E17, else one. An observation accuses only in the words of who
// made it.
func (e *Evidence) Accused() []*checkpoint.Key { return e.keys[:e.form().keys:2] }

// Observation reports whether e is an observation: parts of it are only as good as
// the word of who made it.
func (e *Evidence) Observation() bool { return e.form().word }

// Origin returns the origin of the first head.
func (e *Evidence) Origin() string { return e.heads[0].Origin }

// Trees returns the trees of the heads. An evidence with one head has no b.
func (e *Evidence) Trees() (a, b tlog.Tree) { return e.heads[0].Tree(), e.heads[1].Tree() }

// Forked returns the notes of the heads that the log signed and that exclude each
// other: of E1, E2 and E3, and none of others.
func (e *Evidence) Forked() [][]byte {
	if e.kind != Fork && e.kind != Equivocation && e.kind != Discord {
		return nil
	}
	var notes [][]byte
	for _, h := range e.heads {
		notes = append(notes, checkpoint.Note{Text: h.Text(), Signatures: []checkpoint.Signature{h.sig}}.Bytes())
	}
	return notes
}

// String says in one line what is proven.
func (e *Evidence) String() string {
	a, b := e.heads[0], e.heads[1]
	switch e.kind {
	case Conflicts, Unsound, Differs:
		return e.recordString()
	case Contradicted, Moved:
		return fmt.Sprintf("%s: the key %v has signed %v of size %d with %v, and %s", e.kind, e.keys[0], a.name(), a.Size, e.entries[0], e.why)
	case Stray:
		return fmt.Sprintf("%s: the key %v has signed %s of size %d of %q with the root %v, which was shown by %.500q and is not in the history of %s of size %d",
			e.kind, e.keys[0], a.name(), a.Size, a.Origin, a.Root, e.by, b.name(), b.Size)
	case Refused:
		return e.refusalString()
	case WentBack:
		s, _ := a.sig.Time()
		t, _ := b.sig.Time()
		return fmt.Sprintf("%s: the key %v has cosigned at %s that the largest tree of %q is of size %d, and at %s that it is of size %d",
			e.kind, e.keys[0], unix(s), a.Origin, a.Size, unix(t), b.Size)
	}
	verb := "signed"
	if e.kind == DoubleSigned {
		verb = "cosigned"
	}
	origins := fmt.Sprintf("%q", a.Origin)
	if a.Origin != b.Origin {
		origins = fmt.Sprintf("%q and %q", a.Origin, b.Origin)
	}
	if a.Size == b.Size {
		return fmt.Sprintf("%s: the key %v has %s the roots %v and %v for size %d of %s", e.kind, e.keys[0], verb, a.Root, b.Root, a.Size, origins)
	}
	return fmt.Sprintf("%s: the key %v has %s the root %v for size %d of %s, and at size %d a tree with another root there, %v",
		e.kind, e.keys[0], verb, a.Root, a.Size, origins, b.Size, e.root)
}

// check verifies the claim, but not the signatures and inclusion proofs.
func (e *Evidence) check() error {
	f := e.form()
	// Who cosigns a tree does not vouch for its records, and its tree heads need not
	// be of one log.
	if f.role == "log" && e.kind != Fork && e.kind != Equivocation {
		for _, k := range e.keys[:f.keys] {
			if k.Algorithm() != checkpoint.Ed25519 {
				return notProven("a key for %v is no log's key of %s", k.Algorithm(), e.kind)
			}
		}
	}
	switch e.kind {
	case Fork, Equivocation, Discord, DoubleSigned:
		return e.checkHeads()
	case WentBack:
		return e.checkTimes()
	case Conflicts, Unsound, Differs:
		return e.checkRecords()
	case Contradicted:
		return e.checkAnswer()
	case Moved:
		return e.checkTag()
	case Stray:
		return e.checkStray()
	case Refused:
		return e.checkRefusal()
	}
	return notProven("kind %q", string(e.kind))
}
