// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"bytes"
	"encoding/json"
	"time"

	"example.org/sumlog/internal/sqlite"
)

// A line of the feed is {"Path":"…","Version":"…","Timestamp":"…"} and a
// newline, as encoding/json writes the Go team's index.Entry.
const (
	linePath    = `{"Path":"`
	lineVersion = `","Version":"`
	lineStamp   = `","Timestamp":"`
	lineEnd     = "\"}\n"
)

// appendLine appends the line of an entry to b.
func appendLine(b []byte, path, version string, micro int64) []byte {
	b = append(b, linePath...)
	b = appendQuoted(b, path)
	b = append(b, lineVersion...)
	b = appendQuoted(b, version)
	b = append(b, lineStamp...)
	b = entryTime(micro).AppendFormat(b, time.RFC3339Nano)
	return append(b, lineEnd...)
}

// appendQuoted appends s as it stands inside a JSON string. No path or version
// that module.Check allows needs any escape; that is not relied on.
func appendQuoted(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			q, _ := json.Marshal(s) // a string cannot fail
			return append(b, q[1:len(q)-1]...)
		}
	}
	return append(b, s...)
}

// lineTime returns the time in the first line of text.
func lineTime(text []byte) (int64, error) {
	line, _, ok := bytes.Cut(text, []byte("\n"))
	i := bytes.LastIndex(line, []byte(lineStamp))
	if !ok || i < 0 || !bytes.HasSuffix(line, []byte(`"}`)) {
		return 0, sqlite.ErrRow
	}
	stamp := line[i+len(lineStamp) : len(line)-len(`"}`)]
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return 0, sqlite.ErrRow
	}
	return t.UnixMicro(), nil
}

func countLines(text []byte) int { return bytes.Count(text, []byte("\n")) }

// skipLines returns text without its first n lines.
func skipLines(text []byte, n int) []byte {
	for ; n > 0 && len(text) > 0; n-- {
		i := bytes.IndexByte(text, '\n')
		text = text[i+1:]
	}
	return text
}

// linesBefore returns how many lines of text, whose times ascend, are from
// before t.
func linesBefore(text []byte, t int64) (int, error) {
	low, high := 0, len(text)
	for low < high {
		begin := low + bytes.LastIndexByte(text[low:(low+high)/2], '\n') + 1
		at, err := lineTime(text[begin:])
		if err != nil {
			return 0, err
		}
		if at >= t {
			high = begin
		} else {
			low = begin + bytes.IndexByte(text[begin:], '\n') + 1
		}
	}
	return countLines(text[:low]), nil
}
