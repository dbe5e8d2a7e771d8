// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"example.org/sumlog/internal/sqlite"
)

// chunkLines is how many finished lines make a row of the table lines. Each
// publication writes the last row again; each page reads all that it touches.
const chunkLines = 128

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

// cutLines returns the first n lines of text and how many there are if fewer.
func cutLines(text []byte, n int) ([]byte, int) {
	if have := countLines(text); have <= n {
		return text, have
	}
	return text[:len(text)-len(skipLines(text, n))], n
}

// A lineWriter writes the table lines, in order.
type lineWriter struct {
	put  *sqlite.Stmt
	next int64 // index of the next entry
	time int64 // time of the first line in text
	text []byte
}

// continueLines returns a lineWriter for the entries from size on.
func (w *writer) continueLines(size int64) (*lineWriter, error) {
	l := &lineWriter{put: w.put, next: size}
	have := size % chunkLines
	if have == 0 {
		return l, nil
	}
	err := w.chunk.Run(func(v []sqlite.Value) error {
		return scan2(v, &l.time, &l.text)
	}, size/chunkLines)
	if err == nil && countLines(l.text) != int(have) {
		err = fmt.Errorf("chunk %d: got %d lines, want %d", size/chunkLines, countLines(l.text), have)
	}
	return l, err
}

func (l *lineWriter) add(r *row) error {
	if len(l.text) == 0 {
		l.time = r.time
	}
	l.text = appendLine(l.text, r.path, r.version, r.time)
	if l.next++; l.next%chunkLines == 0 {
		return l.flush()
	}
	return nil
}

// flush writes the chunk under way, if any.
func (l *lineWriter) flush() error {
	if len(l.text) == 0 {
		return nil
	}
	err := l.put.Run(nil, (l.next-1)/chunkLines, l.time, textSum(l.text), l.text)
	l.text = l.text[:0]
	return err
}
