// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package checkpoint

import (
	"math"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// A Checkpoint is the text of a checkpoint: what a log says of itself.
type Checkpoint struct {
	Origin     string
	Size       int64
	Root       tlog.Hash
	Extensions []string // further lines, without newlines
}

// Text returns the text of the note.
func (c Checkpoint) Text() string {
	b := make([]byte, 0, len(c.Origin)+80)
	b = append(b, c.Origin...)
	b = append(b, '\n')
	b = strconv.AppendInt(b, c.Size, 10)
	b = append(b, '\n')
	b = append(b, c.Root.String()...)
	b = append(b, '\n')
	for _, line := range c.Extensions {
		b = append(b, line...)
		b = append(b, '\n')
	}
	return string(b)
}

// Tree returns size and root.
func (c Checkpoint) Tree() tlog.Tree { return tlog.Tree{N: c.Size, Hash: c.Root} }

// Parse parses the text of a checkpoint.
func Parse(text string) (Checkpoint, error) {
	body, ok := strings.CutSuffix(text, "\n")
	if !ok {
		return Checkpoint{}, malformed("checkpoint: no newline at its end")
	}
	lines := strings.Split(body, "\n")
	if len(lines) < 3 {
		return Checkpoint{}, malformed("checkpoint: %d lines", len(lines))
	}
	for _, line := range lines {
		if line == "" {
			return Checkpoint{}, malformed("checkpoint: empty line")
		}
	}
	size, err := parseSize(lines[1])
	if err != nil {
		return Checkpoint{}, err
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return Checkpoint{}, err
	}
	c := Checkpoint{Origin: lines[0], Size: size, Root: root}
	if len(lines) > 3 {
		c.Extensions = lines[3:]
	}
	return c, nil
}

// parseSize parses a size: decimal, without sign and leading zeros, at most
// 2^63-1.
func parseSize(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s {
		return 0, malformed("size %.24q", s)
	}
	return n, nil
}

// parseHash parses the base64 of 32 bytes.
func parseHash(s string) (h tlog.Hash, err error) {
	b, err := decode(s)
	if err != nil || len(b) != len(h) {
		return h, malformed("hash %.48q", s)
	}
	return tlog.Hash(b), nil
}

// maxTime is the largest timestamp of a cosignature.
const maxTime = math.MaxInt64
