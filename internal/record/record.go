// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package record reads the entries of checksum databases as an auditor does: byte
// by byte, naming the rule that a bad one breaks, and without allocation.
//
// An entry that keeps the rules is two lines, exactly as in go.sum
// (https://go.dev/ref/mod#go-sum-files):
//
//	PATH VERSION h1:BASE64
//	PATH VERSION/go.mod h1:BASE64
//
// The rules have the names that the auditor's report and its evidence use:
//
//	C1  two lines of three fields, single spaces, newlines and nothing after the
//	    last; path and version the same on both lines, UTF-8, not empty, without
//	    control characters and spaces; no more than 65535 bytes
//	C3  both hashes are "h1:" and the one base64 of 32 bytes
//
// [Check] adds C2, whether the go command could ever ask for such a module. Older
// databases hold entries that it would not, so that it is no rule of the entry.
//
// Nothing here is trusted: Parse accepts any bytes.
package record

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/module"
)

// MaxSize is the largest entry in bytes: the length before an entry of a bundle
// has two bytes.
const MaxSize = 1<<16 - 1

// A Rule is one that an entry can break.
type Rule string

const (
	Form   Rule = "C1"
	Module Rule = "C2"
	Hash   Rule = "C3"
)

// An Error says which rule an entry breaks, the first of them in the order of the
// bytes.
type Error struct {
	Rule   Rule
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Rule, e.Reason) }

// A Record is an entry that keeps the rules. Path and Version are parts of the text
// that was parsed.
type Record struct {
	Path, Version []byte
	Zip, Mod      [32]byte
}

// The errors of Parse, made once, so that a log full of bad entries costs no more
// than one of good ones.
var (
	errLength  = &Error{Form, "more than 65535 bytes"}
	errText    = &Error{Form, "not UTF-8, or with a control character or carriage return"}
	errFirst   = &Error{Form, "the first line is not path, version and hash"}
	errSecond  = &Error{Form, "the second line is not that of the same version's go.mod"}
	errMissing = &Error{Form, "not two lines that end in a newline"}
	errMore    = &Error{Form, "something follows the second line"}
	errZip     = &Error{Hash, "the first hash is not h1: and the base64 of 32 bytes"}
	errMod     = &Error{Hash, "the second hash is not h1: and the base64 of 32 bytes"}
)

// Parse parses an entry. Its error is an *[Error].
func Parse(text []byte) (Record, error) {
	if len(text) > MaxSize {
		return Record{}, errLength
	}
	if !plain(text) {
		return Record{}, errText
	}
	first, rest, ok := bytes.Cut(text, newline)
	if !ok {
		return Record{}, errMissing
	}
	second, rest, ok := bytes.Cut(rest, newline)
	if !ok {
		return Record{}, errMissing
	}
	if len(rest) > 0 {
		return Record{}, errMore
	}
	var r Record
	path, tail, ok1 := bytes.Cut(first, space)
	version, zip, ok2 := bytes.Cut(tail, space)
	if !ok1 || !ok2 || len(path) == 0 || len(version) == 0 || bytes.IndexByte(zip, ' ') >= 0 {
		return Record{}, errFirst
	}
	r.Path, r.Version = path, version
	name := len(path) + 1 + len(version)
	mod, ok := bytes.CutPrefix(second, first[:name])
	if ok {
		mod, ok = bytes.CutPrefix(mod, goMod)
	}
	if !ok || bytes.IndexByte(mod, ' ') >= 0 {
		return Record{}, errSecond
	}
	if !parseH1(&r.Zip, zip) {
		return Record{}, errZip
	}
	if !parseH1(&r.Mod, mod) {
		return Record{}, errMod
	}
	return r, nil
}

var (
	newline = []byte("\n")
	space   = []byte(" ")
	goMod   = []byte("/go.mod ")
	h1      = []byte("h1:")
)

// plain reports whether text is UTF-8 without control characters but newlines, and
// without spaces that are not U+0020.
func plain(text []byte) bool {
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			if c < ' ' && c != '\n' || c == 0x7f {
				return false
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 || unicode.IsSpace(r) || unicode.IsControl(r) {
			return false
		}
		i += n
	}
	return true
}

var strict = base64.StdEncoding.Strict()

func parseH1(h *[32]byte, s []byte) bool {
	b64, ok := bytes.CutPrefix(s, h1)
	if !ok || len(b64) != 44 {
		return false
	}
	var buf [33]byte
	n, err := strict.Decode(buf[:], b64)
	*h = [32]byte(buf[:32])
	return err == nil && n == 32
}

// ParseH1 parses the text of a hash.
func ParseH1(s string) (h [32]byte, ok bool) {
	ok = parseH1(&h, []byte(s))
	return h, ok
}

// H1 returns the text of a hash.
func H1(h [32]byte) string { return "h1:" + base64.StdEncoding.EncodeToString(h[:]) }

// Check reports why the go command would never ask for r, as an *[Error] of C2, or
// nil.
func Check(r Record) error {
	path, version := string(r.Path), string(r.Version)
	if err := module.Check(path, version); err != nil {
		return &Error{Module, err.Error()}
	}
	if module.CanonicalVersion(version) != version {
		return &Error{Module, fmt.Sprintf("version %q is not canonical", version)}
	}
	return nil
}

// Text returns the entry.
func (r Record) Text() []byte {
	return fmt.Appendf(nil, "%s %s %s\n%[1]s %[2]s/go.mod %[4]s\n", r.Path, r.Version, H1(r.Zip), H1(r.Mod))
}
