// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package loglist reads the lists of logs that witnesses share
// (https://witness-network.org/log-list-format), and decides what of a list a
// witness takes.
//
// A list is not signed. Who controls its file or its web server decides what is
// in it, so it has little power: [Plan] lets it add a log that the witness does
// not know, and nothing else. It never changes a key, never removes a log, never
// enables one that the operator disabled, and never gets a log the witness's own
// name. A witness that knows a log's key for good cannot be made to cosign
// another history of it by who edits a list.
//
// A list is taken whole or not at all: one line out of order, and the list that
// was read before stays what is known. Lists are read again and again by a
// [Poller]. Nothing is kept here; what was taken is in the witness's state.
package loglist

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.org/sumlog/internal/checkpoint"
)

// Limits of a list. The largest profile of the witness network is 40,000 logs of
// some 200 bytes.
const (
	MaxList = 32 << 20 // bytes
	maxLine = 4 << 10
)

// An Entry is a log of a list.
type Entry struct {
	Key     *checkpoint.Key // of type Ed25519
	Origin  string
	QPD     int    // add-checkpoint requests a day, at least 1
	Contact string // one line, of graphic characters
}

// Parse parses a list.
func Parse(text []byte) ([]Entry, error) {
	if len(text) > MaxList {
		return nil, fmt.Errorf("log list: more than %d bytes", MaxList)
	}
	p := parser{origins: make(map[string]bool)}
	for raw := range bytes.Lines(text) {
		p.line++
		if len(raw) > maxLine {
			return nil, fmt.Errorf("log list: line %d: more than %d bytes", p.line, maxLine)
		}
		line := strings.Trim(string(raw), " \t\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if err := p.take(line); err != nil {
			return nil, fmt.Errorf("log list: line %d: %w", p.line, err)
		}
	}
	if p.want != "vkey" {
		return nil, fmt.Errorf("log list: ends before %s", cmp.Or(p.want, header))
	}
	return p.entries, nil
}

const header = "logs/v0"

// A parser takes the lines that are neither empty nor comments.
type parser struct {
	line    int
	want    string // the key of the next line; empty before the header
	entry   Entry
	entries []Entry
	origins map[string]bool
}

func (p *parser) take(line string) error {
	if !utf8.ValidString(line) || strings.ContainsFunc(line, unicode.IsControl) {
		return fmt.Errorf("not text: %.40q", line)
	}
	if p.want == "" {
		if line != header {
			return fmt.Errorf("%.40q, want %s", line, header)
		}
		p.want = "vkey"
		return nil
	}
	name, value, _ := strings.Cut(line, " ")
	value = strings.Trim(value, " \t")
	if p.want == "origin" && name == "qpd" {
		p.entry.Origin = p.entry.Key.Name()
		p.want = "qpd"
	}
	switch {
	case name != p.want:
		return fmt.Errorf("%.40q, want %s", name, p.want)
	case value == "":
		return fmt.Errorf("%s without a value", name)
	}
	switch name {
	case "vkey":
		key, err := checkpoint.ParseKey(value)
		if err != nil {
			return err
		}
		if key.Algorithm() != checkpoint.Ed25519 {
			return fmt.Errorf("vkey of %s: %v, want %v", key.Name(), key.Algorithm(), checkpoint.Ed25519)
		}
		p.entry = Entry{Key: key}
		p.want = "origin"
	case "origin":
		p.entry.Origin = value
		p.want = "qpd"
	case "qpd":
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || n < 1 || strconv.FormatInt(n, 10) != value {
			return fmt.Errorf("qpd %.24q", value)
		}
		p.entry.QPD = int(n)
		p.want = "contact"
	case "contact":
		p.entry.Contact = strings.Map(graphic, value)
		p.want = "vkey"
		if p.origins[p.entry.Origin] {
			return fmt.Errorf("origin %q twice", p.entry.Origin)
		}
		p.origins[p.entry.Origin] = true
		p.entries = append(p.entries, p.entry)
	}
	return nil
}

// graphic replaces what could play tricks where a contact is shown. It is no
// reason to refuse a list: nothing depends on a contact.
func graphic(r rune) rune {
	if unicode.IsGraphic(r) {
		return r
	}
	return utf8.RuneError
}

// A Known is a log that the witness knows, disabled or not.
type Known struct {
	Origin string
	Keys   []*checkpoint.Key
}

// maxOrigin is the length that an ML-DSA cosignature has room for.
const maxOrigin = 255

// Plan returns the entries of list to add to the logs that are known, and a
// sentence for each entry that would have needed more than an addition.
// ownNames are the names of the witness's own keys.
func Plan(have []Known, list []Entry, ownNames []string) (add []Entry, alarms []string) {
	known := make(map[string][]*checkpoint.Key, len(have))
	for _, k := range have {
		known[k.Origin] = k.Keys
	}
	for _, e := range list {
		keys, ok := known[e.Origin]
		switch {
		case slices.Contains(ownNames, e.Origin) || slices.Contains(ownNames, e.Key.Name()):
			alarms = append(alarms, fmt.Sprintf("log %q, key %s: takes this witness's own name; not added", e.Origin, e.Key))
		case ok && !slices.ContainsFunc(keys, func(k *checkpoint.Key) bool { return k.String() == e.Key.String() }):
			alarms = append(alarms, fmt.Sprintf("log %q: has key %s in the list, which is not the key known; nothing changed", e.Origin, e.Key))
		case ok:
			// Known, perhaps disabled: a list has no say in it.
		case len(e.Origin) > maxOrigin:
			alarms = append(alarms, fmt.Sprintf("log %.40q…: origin of %d bytes, more than %d; not added", e.Origin, len(e.Origin), maxOrigin))
		default:
			add = append(add, e)
		}
	}
	return add, alarms
}
