// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// An export is text: a header line, one line of JSON for each log, sorted by
// origin, and the hexadecimal SHA-256 of all lines before. It has no secrets.
const exportHeader = "sumlog witness state v1\n"

// maxExportLine bounds a line of an export: a note with its own cosignatures, in
// JSON.
const maxExportLine = 2 * checkpoint.MaxNote

// An exported is a log in an export.
type exported struct {
	Origin   string   `json:"origin"`
	Keys     []string `json:"keys"`
	QPD      int      `json:"qpd,omitempty"`
	Contact  string   `json:"contact,omitempty"`
	Source   string   `json:"source,omitempty"`
	Disabled bool     `json:"disabled,omitempty"`
	Time     int64    `json:"time,omitempty"` // of the last cosignature
	Note     string   `json:"note,omitempty"`
}

func writeExport(w io.Writer, st *stored) error {
	var all []exported
	for i, r := range st.rows {
		all = append(all, exported{r.Origin, strings.Split(r.vkeys(), "\n"), r.QPD, r.Contact, r.Source, r.Disabled, r.Time, string(st.notes[i])})
	}
	slices.SortFunc(all, func(a, b exported) int { return cmp.Compare(a.Origin, b.Origin) })
	sum := sha256.New()
	bw := bufio.NewWriter(w)
	out := io.MultiWriter(bw, sum)
	io.WriteString(out, exportHeader) // bw keeps the first error
	for _, e := range all {
		line, err := e.line()
		if err != nil {
			return err
		}
		out.Write(line)
	}
	fmt.Fprintf(bw, "%x\n", sum.Sum(nil))
	return bw.Flush()
}

// line returns the line of e, which is the only one.
func (e exported) line() ([]byte, error) {
	line, err := json.Marshal(e)
	return append(line, '\n'), err
}

// A brought is a log of an export, checked.
type brought struct {
	Entry
	note []byte
}

// readExport reads what writeExport wrote, and nothing else.
func readExport(r io.Reader) (all []brought, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxExportLine)
	lines.Split(scanLines)
	sum := sha256.New()
	if !lines.Scan() || lines.Text() != exportHeader {
		return nil, fmt.Errorf("export: it does not begin with %q", strings.TrimSuffix(exportHeader, "\n"))
	}
	sum.Write(lines.Bytes())
	for lines.Scan() {
		if !bytes.HasPrefix(lines.Bytes(), []byte("{")) {
			return all, endExport(lines, sum)
		}
		sum.Write(lines.Bytes())
		b, err := parseExported(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("export: line %d: %w", len(all)+2, err)
		}
		if len(all) > 0 && b.Origin <= all[len(all)-1].Origin {
			return nil, fmt.Errorf("export: line %d: origin %q is out of order", len(all)+2, b.Origin)
		}
		all = append(all, b)
	}
	return nil, cmp.Or(lines.Err(), fmt.Errorf("export: it is cut off after %d logs", len(all)))
}

// endExport checks the last line.
func endExport(lines *bufio.Scanner, sum hash.Hash) error {
	if lines.Text() != fmt.Sprintf("%x\n", sum.Sum(nil)) {
		return fmt.Errorf("export: its last line is not the SHA-256 of those before")
	}
	if lines.Scan() {
		return fmt.Errorf("export: more after its last line")
	}
	return lines.Err()
}

// scanLines splits into lines with their newlines. What follows the last newline
// is none.
func scanLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
}

func parseExported(line []byte) (brought, error) {
	var e exported
	if err := json.Unmarshal(line, &e); err != nil {
		return brought{}, err
	}
	if again, err := e.line(); err != nil || !bytes.Equal(again, line) {
		return brought{}, fmt.Errorf("not as it is exported")
	}
	b := brought{Entry: Entry{Log: Log{Origin: e.Origin, QPD: e.QPD, Contact: e.Contact, Source: e.Source, Disabled: e.Disabled}, Time: e.Time}}
	var err error
	if b.Keys, err = parseVkeys(strings.Join(e.Keys, "\n")); err != nil {
		return brought{}, err
	}
	if err := b.Check(); err != nil {
		return brought{}, err
	}
	if (e.Note == "") != (e.Time == 0) || e.Time < 0 {
		return brought{}, fmt.Errorf("a note without a time, or a time without a note")
	}
	if e.Note == "" {
		return b, nil
	}
	b.note = []byte(e.Note)
	b.Tree, err = signedTree(b.Log, b.note)
	return b, err
}

// signedTree returns the tree of a note that l has signed.
func signedTree(l Log, note []byte) (tlog.Tree, error) {
	n, err := checkpoint.ParseNote(note)
	if err != nil {
		return tlog.Tree{}, err
	}
	if _, err := n.Verify(l.Keys...); err != nil {
		return tlog.Tree{}, err
	}
	c, err := checkpoint.Parse(n.Text)
	if err != nil {
		return tlog.Tree{}, err
	}
	if c.Origin != l.Origin {
		return tlog.Tree{}, fmt.Errorf("note of the origin %q", c.Origin)
	}
	return c.Tree(), nil
}

// Import brings in an export: logs that are missing, and heads that are larger
// than those here. It all happens or nothing does. It never changes a key, never
// enables a disabled log, and never rolls anything back: an export with an older
// or another head of any log is refused with ErrUnsafe, one with another key
// with ErrKeys too.
//
// The heads are believed, not proven: an export is its operator's. Whoever sets
// up a witness again from an export that is not its last word forgets what was
// cosigned since, and only its peers can tell.
func (s *Store) Import(ctx context.Context, r io.Reader) (logs, heads int, err error) {
	all, err := readExport(r)
	if err != nil {
		return 0, 0, err
	}
	err = s.do(ctx, func(b *batch) error {
		for _, in := range all { // stage only after none is refused
			if err := b.admits(in); err != nil {
				return err
			}
		}
		for _, in := range all {
			l, h := b.bring(in)
			logs, heads = logs+l, heads+h
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	return logs, heads, nil
}

// admits reports why in may not be brought.
func (b *batch) admits(in brought) error {
	r, ok := b.row(in.Origin)
	switch {
	case !ok:
		return nil
	case r.vkeys() != in.vkeys():
		return fmt.Errorf("%w: import: log %q: %w", ErrUnsafe, in.Origin, ErrKeys)
	case r.Time != 0 && (in.Time == 0 || in.Tree.N < r.Tree.N):
		return fmt.Errorf("%w: import: log %q is at size %d here, and at %d in what is imported: it is older", ErrUnsafe, in.Origin, r.Tree.N, in.Tree.N)
	case r.Time != 0 && in.Tree.N == r.Tree.N && in.Tree != r.Tree:
		return fmt.Errorf("%w: import: log %q has another root at size %d here", ErrUnsafe, in.Origin, in.Tree.N)
	}
	return nil
}

// bring stages in, which is admitted.
func (b *batch) bring(in brought) (logs, heads int) {
	if added, _ := b.addLog(in.Log); added {
		logs = 1
	}
	r, _ := b.row(in.Origin)
	if in.Disabled && !r.Disabled {
		r.Disabled = true
		b.stageLog(r)
	}
	if in.Time > r.Time || in.Tree.N > r.Tree.N {
		r.Tree, r.Time = in.Tree, max(in.Time, r.Time)
		b.stageHead(r, in.note)
		heads = 1
	}
	return logs, heads
}
