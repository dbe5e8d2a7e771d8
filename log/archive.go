// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// archiveFile is the archive below the data directory.
const archiveFile = "checkpoints/archive.jsonl"

// maxLine bounds a line of the archive: two notes with at most 100 signatures
// each of the largest kind in use.
const maxLine = 1 << 20

// An archive is the sequence of publications, one line of JSON each, appended
// and synced. A line that is complete, with its newline, is a publication; what
// a crash leaves behind the last newline is not, and is cut off when the
// archive is opened for writing.
type archive struct {
	f    *os.File
	size atomic.Int64 // bytes up to and with the last complete line
	last atomic.Pointer[Publication]
}

// archiveLine is the form of a line, and of /checkpoints.
type archiveLine struct {
	Time       time.Time
	Size       int64
	Checkpoint string
	TreeHead   string
}

func (p *Publication) line() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(archiveLine{p.Time, p.Size, string(p.Checkpoint), string(p.TreeHead)})
	return b.Bytes(), err
}

// parseLine parses a line without verifying the notes' signatures.
func parseLine(line []byte) (*Publication, error) {
	var l archiveLine
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return nil, fmt.Errorf("archive: %w: %v", errRotten, err)
	}
	t, err := tlog.ParseTree([]byte(l.TreeHead))
	if err != nil || t.N != l.Size || l.Size < 0 || !l.Time.Equal(l.Time.Truncate(time.Microsecond)) {
		return nil, fmt.Errorf("archive: line of size %d: %w", l.Size, errRotten)
	}
	return &Publication{l.Time.UTC(), l.Size, t.Hash, []byte(l.Checkpoint), []byte(l.TreeHead)}, nil
}

// openArchive opens the archive and verifies its last publication.
func openArchive(root *os.Root, s lineOpener, flag int) (*archive, error) {
	f, err := root.OpenFile(archiveFile, flag, 0o644)
	if err != nil {
		return nil, err
	}
	a := &archive{f: f}
	if err := a.load(s); err != nil {
		f.Close()
		return nil, err
	}
	return a, nil
}

// load finds the last complete line.
func (a *archive) load(s lineOpener) error {
	fi, err := a.f.Stat()
	if err != nil {
		return err
	}
	// Two lines and a torn one fit into the window, whatever their lengths.
	from := max(0, fi.Size()-3*maxLine)
	tail := make([]byte, fi.Size()-from)
	if _, err := a.f.ReadAt(tail, from); err != nil && err != io.EOF {
		return err
	}
	// Of the last write a power cut can leave the end and not the beginning: what
	// is missing reads as zeros, which no line has. The guard tells if more than
	// one line is lost by this.
	if i := bytes.IndexByte(tail, 0); i >= 0 {
		tail = tail[:i]
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	if end == 0 {
		return fmt.Errorf("archive: no complete line: %w", errRotten)
	}
	begin := bytes.LastIndexByte(tail[:end-1], '\n') + 1
	p, err := s.openLine(tail[begin:end])
	if err != nil {
		return err
	}
	a.last.Store(p)
	a.size.Store(from + int64(end))
	return nil
}

// A lineOpener is a *signer or an *identity.
type lineOpener interface {
	openLine(line []byte) (*Publication, error)
}

// openLine parses a line and verifies its form and its notes.
func (id *identity) openLine(line []byte) (*Publication, error) {
	p, err := parseLine(line)
	if err != nil {
		return nil, err
	}
	if again, err := p.line(); err != nil || !bytes.Equal(again, line) {
		return nil, fmt.Errorf("archive: line of size %d: %w: not in its canonical form", p.Size, errRotten)
	}
	t, err := id.openNotes(p.Checkpoint, p.TreeHead)
	if err != nil {
		return nil, fmt.Errorf("archive: line of size %d: %w: %v", p.Size, errRotten, err)
	}
	if t.N != p.Size || t.Hash != p.Root {
		return nil, fmt.Errorf("archive: line of size %d: %w: size and tree head differ", p.Size, errRotten)
	}
	return p, nil
}

// hasLine reports whether the line of p ends at byte end.
func (a *archive) hasLine(p *Publication, end int64) (bool, error) {
	line, err := p.line()
	if err != nil || end > a.size.Load() {
		return false, err
	}
	got := make([]byte, len(line))
	_, err = a.f.ReadAt(got, end-int64(len(line)))
	return bytes.Equal(got, line), err
}

// trim cuts off what a crash left behind the last complete line.
func (a *archive) trim() error {
	fi, err := a.f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() == a.size.Load() {
		return nil
	}
	if err := a.f.Truncate(a.size.Load()); err != nil {
		return err
	}
	return a.f.Sync()
}

// append makes p the newest publication. When it returns nil, p is published:
// the line survives any crash. After an error the archive ends where it did, as
// far as this process reads it, and append may be called again.
func (a *archive) append(p *Publication) error {
	line, err := p.line()
	if err != nil {
		return err
	}
	end := a.size.Load()
	if _, err := a.f.WriteAt(line, end); err != nil {
		// Crash point, ENOSPC: a part of the line may be there. It has no
		// newline, or is overwritten by the next try, which begins at end.
		return errors.Join(err, a.f.Truncate(end))
	}
	if err := a.f.Sync(); err != nil {
		// The line may be durable or not. The next try writes another one in
		// its place: nobody has seen this one.
		return errors.Join(err, a.f.Truncate(end))
	}
	a.size.Store(end + int64(len(line)))
	a.last.Store(p)
	return nil
}

// after returns the offset of the first line whose size is larger than size,
// below end. Sizes never decrease from line to line, so it halves the file.
func (a *archive) after(size, end int64) (int64, error) {
	lo, hi := int64(0), end // lines that begin below lo are too small; one at hi is wanted
	for lo < hi {
		mid := lo + (hi-lo)/2
		begin, line, err := a.lineAt(lo, mid, end)
		if err != nil {
			return 0, err
		}
		p, err := parseLine(line)
		if err != nil {
			return 0, err
		}
		if p.Size > size {
			hi = begin
		} else {
			lo = begin + int64(len(line))
		}
	}
	return hi, nil
}

// lineAt returns the line that covers offset at; lo is the beginning of a line
// at or before it.
func (a *archive) lineAt(lo, at, end int64) (int64, []byte, error) {
	const block = 4 << 10
	begin := at
	for begin > lo {
		from := max(lo, begin-block)
		before := make([]byte, begin-from)
		if _, err := a.f.ReadAt(before, from); err != nil {
			return 0, nil, err
		}
		if i := bytes.LastIndexByte(before, '\n'); i >= 0 {
			begin = from + int64(i) + 1
			break
		}
		begin = from
	}
	r := bufio.NewReaderSize(io.NewSectionReader(a.f, begin, min(end-begin, maxLine)), block)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return 0, nil, fmt.Errorf("archive: at byte %d: %w", begin, torn(err))
	}
	return begin, line, nil
}

// torn is the error of a line that could not be read: damage if it ends too early,
// and not if the file could not be read just now.
func torn(err error) error {
	if err == io.EOF {
		return errRotten
	}
	return err
}

// lines yields the lines of publications with a size larger than after, oldest
// first, up to the end that the archive had when lines was called.
func (a *archive) lines(after, end int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		from, err := a.after(after, end)
		if err != nil {
			yield(nil, err)
			return
		}
		a.between(from, end)(yield)
	}
}

// between yields the lines from the one that begins at byte from up to end.
func (a *archive) between(from, end int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		r := bufio.NewReaderSize(io.NewSectionReader(a.f, from, end-from), 64<<10)
		for {
			line, err := r.ReadBytes('\n')
			if err == io.EOF && len(line) == 0 {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("archive: %w", torn(err)))
				return
			}
			if !yield(line, nil) {
				return
			}
		}
	}
}

// publications is lines, parsed.
func (a *archive) publications(after, end int64) iter.Seq2[*Publication, error] {
	return func(yield func(*Publication, error) bool) {
		for line, err := range a.lines(after, end) {
			var p *Publication
			if err == nil {
				p, err = parseLine(line)
			}
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}
