// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package bundle

import (
	"bytes"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// Parse parses a file, and verifies its proofs and the signatures by the key that
// it names. Whether that key is the right one is up to the caller.
func Parse(file []byte) (*Bundle, error) {
	if len(file) > MaxFile {
		return nil, invalid("more than %d bytes", MaxFile)
	}
	// With the digest as the last, there are at least six parts. No part has an
	// empty line: texts of checkpoints and records cannot.
	parts := strings.Split(string(file), "\n\n")
	if len(parts) != 6 && len(parts) != 9 {
		return nil, invalid("%d parts", len(parts))
	}
	b := new(Bundle)
	first, second, _ := strings.Cut(parts[0], "\n")
	vkey, ok := strings.CutPrefix(second, "log ")
	if first != header || !ok {
		return nil, invalid("it does not begin with %q and a key", header)
	}
	var err error
	if b.key, err = checkpoint.ParseKey(vkey); err != nil {
		return nil, invalid("%v", err)
	}
	if b.note, err = parseNote(parts[1], parts[2]); err != nil {
		return nil, err
	}
	if b.records, err = parseRecords(parts[3]); err != nil {
		return nil, err
	}
	if b.proof, err = parseHashes("proof", parts[4]); err != nil {
		return nil, err
	}
	if len(parts) == 9 {
		b.anchor = new(Anchor)
		if b.anchor.Proof, err = parseHashes("consistency", parts[5]); err != nil {
			return nil, err
		}
		if b.anchor.Note, err = parseNote(parts[6], parts[7]); err != nil {
			return nil, err
		}
	}
	// The digest is compared here, and with it whatever was read in a second
	// spelling.
	if !bytes.Equal(b.Bytes(), file) {
		return nil, invalid("damaged, or not in its canonical form")
	}
	return b, b.verify()
}

func parseNote(text, signatures string) (checkpoint.Note, error) {
	n, err := checkpoint.ParseNote([]byte(text + "\n\n" + signatures + "\n"))
	if err != nil {
		return n, invalid("%v", err)
	}
	return n, nil
}

// parseCount parses the first line of a part, which says how many there are of
// what follows.
func parseCount(name, part string, lines int) ([]string, error) {
	head, rest, ok := strings.Cut(part, "\n")
	number, ok2 := strings.CutPrefix(head, name+" ")
	n, err := strconv.ParseInt(number, 10, 32)
	if !ok2 || err != nil || n < 0 {
		return nil, invalid("%.40q, where %q and a number are due", head, name)
	}
	var all []string
	if ok {
		all = strings.Split(rest, "\n")
	}
	if int64(len(all)) != n*int64(lines) {
		return nil, invalid("%s %d with %d lines", name, n, len(all))
	}
	return all, nil
}

func parseRecords(part string) ([]Record, error) {
	lines, err := parseCount("records", part, 3)
	if err != nil {
		return nil, err
	}
	records := make([]Record, 0, len(lines)/3)
	for ; len(lines) > 0; lines = lines[3:] {
		index, err := strconv.ParseInt(lines[0], 10, 64)
		if err != nil {
			return nil, invalid("%.40q is not an index", lines[0])
		}
		records = append(records, Record{index, []byte(lines[1] + "\n" + lines[2] + "\n")})
	}
	return records, nil
}

func parseHashes(name, part string) ([]tlog.Hash, error) {
	lines, err := parseCount(name, part, 1)
	if err != nil {
		return nil, err
	}
	hashes := make([]tlog.Hash, len(lines))
	for i, line := range lines {
		if hashes[i], err = tlog.ParseHash(line); err != nil {
			return nil, invalid("%.60q is not a hash", line)
		}
	}
	return hashes, nil
}
