// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"example.org/sumlog/internal/checkpoint"

	"golang.org/x/mod/module"
)

// maxAnswer bounds the answer to a lookup: a number, an entry, and a head.
const maxAnswer = 32 + maxEntry + checkpoint.MaxNote

// ErrAnswer is wrapped by the error of an answer to a lookup that was read and
// has not the form of one.
var ErrAnswer = errors.New("malformed lookup answer")

// An Answer is what a checksum database says when it is asked for a module
// version. Nothing in it is verified: neither that the text is what was asked
// for, nor that it is the entry at the index of the tree of the note, nor that
// the note is signed.
type Answer struct {
	Index int64
	Text  []byte // of the entry
	Note  []byte // a head
	Body  []byte // the whole answer; Text and Note are parts of it
}

// Lookup asks a checksum database for a module version. That it knows none is
// fs.ErrNotExist.
func (l *Log) Lookup(ctx context.Context, path, version string) (Answer, error) {
	if l.layout != Database {
		return Answer{}, fmt.Errorf("%s: %v has no lookups", l.source, l.layout)
	}
	name, err := lookupPath(path, version)
	if err != nil {
		return Answer{}, err
	}
	body, err := l.source.Read(ctx, name, maxAnswer)
	if err != nil {
		return Answer{}, err
	}
	a, err := ParseAnswer(body)
	if err != nil {
		return Answer{}, fmt.Errorf("%s/%s: %w", l.source, name, err)
	}
	return a, nil
}

// lookupPath returns the path of a lookup. What the go command could not ask for
// is an error: a path with ? or .. in it would ask for something else.
func lookupPath(path, version string) (string, error) {
	p, err := module.EscapePath(path)
	if err != nil {
		return "", err
	}
	v, err := module.EscapeVersion(version)
	if err != nil {
		return "", err
	}
	name := "lookup/" + p + "@" + v
	if !fs.ValidPath(name) {
		return "", fmt.Errorf("no lookup of %q", name)
	}
	return name, nil
}

// ParseAnswer parses the answer to a lookup: a line with the index of the entry,
// the entry, which has no empty line, an empty line, and a note.
func ParseAnswer(body []byte) (Answer, error) {
	bad := func(what string) (Answer, error) { return Answer{}, fmt.Errorf("%w: %s", ErrAnswer, what) }
	number, rest, ok := bytes.Cut(body, []byte("\n"))
	if !ok || len(number) > 19 {
		return bad("no index")
	}
	i, err := strconv.ParseInt(string(number), 10, 64)
	if err != nil || i < 0 || i >= MaxSize || strconv.FormatInt(i, 10) != string(number) {
		return bad(fmt.Sprintf("index %q", number))
	}
	end := bytes.Index(rest, []byte("\n\n")) + 1
	switch {
	case end == 0 || rest[0] == '\n':
		return bad("no entry")
	case end > maxEntry:
		return bad(fmt.Sprintf("entry of %d bytes", end))
	case len(rest) == end+1:
		return bad("no tree head")
	case len(rest)-end-1 > checkpoint.MaxNote:
		return bad(fmt.Sprintf("tree head of %d bytes", len(rest)-end-1))
	}
	return Answer{Index: i, Text: rest[:end:end], Note: rest[end+1:], Body: body}, nil
}
