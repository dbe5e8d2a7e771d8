// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/module"
)

// MaxRecord is the largest record text in bytes. A path and a version have at
// most 255 bytes each in any module that can be unpacked on a common file
// system; the bound leaves room and stays far below the 64 KiB of a bundle's
// length prefix.
const MaxRecord = 8 << 10

// A Record is what go.sum says of one module version: the h1 hash of its zip
// and that of its go.mod. It is the content of one entry.
type Record struct {
	Module module.Version
	Zip    string // h1: hash of the module zip's files
	Mod    string // h1: hash of the go.mod alone
}

// errRecord is wrapped by every error of ParseRecord.
var errRecord = errors.New("malformed record")

// ParseRecord parses the text of an entry. It accepts exactly what
// [Record.Text] makes: two lines in go.sum's form, the zip's and the go.mod's,
// of one valid module version in its canonical spelling, with canonical base64.
// Whatever else would be logged could never be served.
func ParseRecord(text []byte) (Record, error) {
	r, err := splitRecord(text)
	if err != nil {
		return Record{}, err
	}
	if err := r.Check(); err != nil {
		return Record{}, err
	}
	return r, nil
}

// splitRecord is ParseRecord without [Record.Check], for text whose leaf hash was
// compared: nothing enters the log unchecked.
func splitRecord(text []byte) (Record, error) {
	if len(text) > MaxRecord {
		return Record{}, fmt.Errorf("%w: %d bytes", errRecord, len(text))
	}
	s := string(text)
	path, rest, ok1 := strings.Cut(s, " ")
	version, rest, ok2 := strings.Cut(rest, " ")
	zip, rest, ok3 := strings.Cut(rest, "\n")
	if !ok1 || !ok2 || !ok3 || strings.Contains(zip, " ") {
		return Record{}, fmt.Errorf("%w: first line is not three fields", errRecord)
	}
	rest, ok1 = strings.CutPrefix(rest, s[:len(path)+1+len(version)])
	rest, ok2 = strings.CutPrefix(rest, "/go.mod ")
	mod, ok3 := strings.CutSuffix(rest, "\n")
	if !ok1 || !ok2 || !ok3 || strings.ContainsAny(mod, " \n") {
		return Record{}, fmt.Errorf("%w: second line is not the go.mod's", errRecord)
	}
	return Record{module.Version{Path: path, Version: version}, zip, mod}, nil
}

// Check reports why r cannot be an entry, or nil.
func (r Record) Check() error {
	if err := module.Check(r.Module.Path, r.Module.Version); err != nil {
		return fmt.Errorf("%w: %v", errRecord, err)
	}
	// Check allows v1.2 and build metadata, which a go command never asks for.
	if module.CanonicalVersion(r.Module.Version) != r.Module.Version {
		return fmt.Errorf("%w: version %q is not canonical", errRecord, r.Module.Version)
	}
	for _, h := range []string{r.Zip, r.Mod} {
		if !isH1(h) {
			return fmt.Errorf("%w: bad hash %q", errRecord, h)
		}
	}
	if n := r.size(); n > MaxRecord {
		return fmt.Errorf("%w: %d bytes", errRecord, n)
	}
	return nil
}

// isH1 reports whether h is "h1:" and the canonical base64 of 32 bytes.
// Strict decoding refuses set padding bits and embedded newlines, so one hash
// has one spelling.
func isH1(h string) bool {
	b64, ok := strings.CutPrefix(h, "h1:")
	if !ok || len(b64) != 44 || strings.ContainsAny(b64, "\r\n") {
		return false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(b64)
	return err == nil && len(b) == 32
}

func (r Record) size() int {
	return 2*(len(r.Module.Path)+len(r.Module.Version)) + len(r.Zip) + len(r.Mod) + len("  \n /go.mod \n")
}

// Text returns the text of the entry: the two lines of go.sum, each with its
// newline, exactly as the go command writes them.
func (r Record) Text() []byte {
	b := make([]byte, 0, r.size())
	return r.AppendText(b)
}

// AppendText appends [Record.Text] to b.
func (r Record) AppendText(b []byte) []byte {
	m := r.Module
	b = append(b, m.Path...)
	b = append(b, ' ')
	b = append(b, m.Version...)
	b = append(b, ' ')
	b = append(b, r.Zip...)
	b = append(b, '\n')
	b = append(b, m.Path...)
	b = append(b, ' ')
	b = append(b, m.Version...)
	b = append(b, "/go.mod "...)
	b = append(b, r.Mod...)
	return append(b, '\n')
}
