// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"

	"example.org/sumlog/internal/sqlite"
)

// linesSuffix is what the file of lines is called beyond the database.
const linesSuffix = "-lines"

// chunkLines is how many lines make a chunk: a page reads and checks all of each
// chunk that it touches.
const chunkLines = 64

// groupChunks is how many chunks make a group, which is a row of the database: a
// page reads all of each that it touches, and a publication writes the last again.
const groupChunks = 32

// A chunk says where the lines of the entries from number*chunkLines on are.
type chunk struct {
	number int64
	begin  int64  // where in the file
	time   int64  // of the first line
	size   int    // bytes
	lines  int    // chunkLines, unless this is the last chunk
	sum    uint32 // CRC-32C of the lines
}

func (c *chunk) first() int64 { return c.number * chunkLines } // entry
func (c *chunk) next() int64  { return c.first() + int64(c.lines) }
func (c *chunk) end() int64   { return c.begin + int64(c.size) }

// chunkRow is the length of a row, of which a group has one for each chunk.
const chunkRow = 8 + 8 + 4 + 4 + 4 + 4

// appendRow appends c's row. It ends with a CRC-32C of the number and the rest,
// so that a row that rotted, or came to stand under another number, is found
// before anything is read, or written, where it points.
func (c *chunk) appendRow(b []byte) []byte {
	begin := len(b)
	b = binary.BigEndian.AppendUint64(b, uint64(c.begin))
	b = binary.BigEndian.AppendUint64(b, uint64(c.time))
	b = binary.BigEndian.AppendUint32(b, uint32(c.size))
	b = binary.BigEndian.AppendUint32(b, uint32(c.lines))
	b = binary.BigEndian.AppendUint32(b, c.sum)
	return binary.BigEndian.AppendUint32(b, rowSum(c.number, b[begin:]))
}

func rowSum(number int64, row []byte) uint32 {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(number))
	return crc32.Update(crc32.Checksum(n[:], castagnoli), castagnoli, row)
}

// rowTime returns the time in the first of rows, which is not checked.
func rowTime(rows []byte) int64 { return int64(binary.BigEndian.Uint64(rows[8:])) }

// parseChunk parses the row of the chunk with that number, which rows, those of
// its group, should have.
func parseChunk(number int64, rows []byte) (chunk, error) {
	at := int(number%groupChunks) * chunkRow
	if number < 0 || len(rows) < at+chunkRow {
		return chunk{}, fmt.Errorf("%w: chunk %d of the lines is missing", sqlite.ErrRow, number)
	}
	row := rows[at : at+chunkRow]
	if rowSum(number, row[:chunkRow-4]) != binary.BigEndian.Uint32(row[chunkRow-4:]) {
		return chunk{}, fmt.Errorf("%w: that of chunk %d of the lines", sqlite.ErrRow, number)
	}
	return chunk{
		number: number,
		begin:  int64(binary.BigEndian.Uint64(row)),
		time:   int64(binary.BigEndian.Uint64(row[8:])),
		size:   int(binary.BigEndian.Uint32(row[16:])),
		lines:  int(binary.BigEndian.Uint32(row[20:])),
		sum:    binary.BigEndian.Uint32(row[24:]),
	}, nil
}

// A lineWriter writes lines, in order, to the file and their chunks to the
// database.
type lineWriter struct {
	put    *sqlite.Stmt
	file   io.WriterAt
	next   int64  // index of the next entry
	stored int64  // index of the first that the database does not know of
	rows   []byte // of the full chunks of the group under way
	tail   chunk  // the one under way
	text   []byte // up to its end, not yet written
}

// openLines opens the file of the lines of the database at path, and cuts off
// what is beyond those that the database knows of: a crash came before the
// transaction that would have. A power loss may have taken lines instead; they
// are written again when they are asked for.
func (w *writer) openLines(path string) error {
	f, err := os.OpenFile(path+linesSuffix, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return errStale("its file of lines is missing")
	}
	if err != nil {
		return err
	}
	w.file = f
	l, err := w.continueLines(w.state.size)
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	if err != nil || fi.Size() <= l.tail.end() {
		return err
	}
	return f.Truncate(l.tail.end())
}

// continueLines returns a lineWriter for the entries from size on.
func (w *writer) continueLines(size int64) (*lineWriter, error) {
	l := &lineWriter{put: w.put, file: w.file, next: size, stored: size}
	err := w.group.Run(func(v []sqlite.Value) (err error) {
		var group int64
		if err := scan2(v, &group, &l.rows); err != nil {
			return err
		}
		l.tail, err = parseChunk(group*groupChunks+int64(len(l.rows)/chunkRow)-1, l.rows)
		return err
	})
	if err != nil {
		return nil, err
	}
	if l.tail.next() != size {
		return nil, errStale(fmt.Sprintf("it has %d lines, not %d", l.tail.next(), size))
	}
	l.rows = l.rows[:max(0, len(l.rows)-chunkRow)]
	l.turn()
	return l, nil
}

// turn begins the next chunk when this one is full.
func (l *lineWriter) turn() {
	if l.tail.lines == chunkLines {
		l.rows = l.tail.appendRow(l.rows)
		l.tail = chunk{number: l.tail.number + 1, begin: l.tail.end()}
	}
	if l.tail.number%groupChunks == 0 {
		l.rows = l.rows[:0]
	}
}

// lineBuffer is how many bytes of lines are written at once.
const lineBuffer = 64 << 10

func (l *lineWriter) add(r *row) error {
	if l.tail.lines == 0 {
		l.tail.time = r.time
	}
	n := len(l.text)
	l.text = appendLine(l.text, r.path, r.version, r.time)
	l.tail.sum = crc32.Update(l.tail.sum, castagnoli, l.text[n:])
	l.tail.size += len(l.text) - n
	l.tail.lines++
	l.next++
	if l.next%(groupChunks*chunkLines) == 0 {
		return l.flush()
	}
	if len(l.text) >= lineBuffer {
		if err := l.write(); err != nil {
			return err
		}
	}
	l.turn()
	return nil
}

func (l *lineWriter) write() error {
	_, err := l.file.WriteAt(l.text, l.tail.end()-int64(len(l.text)))
	l.text = l.text[:0]
	return err
}

// flush writes what is not yet written. The lines go first: a chunk that the
// database knows of has been written, unless the power was lost.
func (l *lineWriter) flush() error {
	if l.next == l.stored {
		return nil
	}
	if err := l.write(); err != nil {
		return err
	}
	rows := l.rows
	if l.tail.lines > 0 {
		rows = l.tail.appendRow(rows)
	}
	group := (l.next - 1) / (groupChunks * chunkLines)
	if err := l.put.Run(nil, group, rowTime(rows), rows); err != nil {
		return err
	}
	l.stored = l.next
	l.turn()
	return nil
}

// A span is what is read of the lines: whole chunks in a row, each of which has
// been compared with its checksum.
type span struct {
	number int64 // of the first chunk
	chunks []chunk
	read   int // how many of them are in text
	text   []byte
}

// reset makes s empty, to begin with the chunk with that number.
func (s *span) reset(number int64) {
	s.number, s.chunks, s.read, s.text = number, s.chunks[:0], 0, s.text[:0]
}

// next returns the number of the chunk after those of s.
func (s *span) next() int64 { return s.number + int64(len(s.chunks)) }

// add adds the chunks up to last that are in the group whose rows are v. Their text
// is not yet read.
func (s *span) add(v sqlite.Value, last int64) error {
	var rows []byte
	if err := sqlite.Take(v, &rows); err != nil {
		return err
	}
	for end := s.next() - s.next()%groupChunks + groupChunks; s.next() < end && s.next() <= last; {
		c, err := parseChunk(s.next(), rows)
		if err != nil {
			return err
		}
		if n := len(s.chunks); n > 0 && s.chunks[n-1].end() != c.begin {
			return fmt.Errorf("%w: chunk %d of the lines does not follow the one before", sqlite.ErrRow, c.number)
		}
		s.chunks = append(s.chunks, c)
	}
	return nil
}

// from returns what is read of the text from chunk i on.
func (s *span) from(i int) []byte { return s.text[s.chunks[i].begin-s.chunks[0].begin:] }

// cut returns the lines of the entries from from to to, which s has.
func (s *span) cut(from, to int64) []byte {
	i := (to - 1) / chunkLines
	beyond := skipLines(s.from(int(i-s.number)), int(to-i*chunkLines))
	return skipLines(s.text[:len(s.text)-len(beyond)], int(from-s.number*chunkLines))
}

// A lineFile reads lines, and makes those again that are damaged.
type lineFile struct {
	file   *os.File
	source Source
	logger *slog.Logger
}

// lines returns the lines of the entries from from to to, in s. What s has of
// them is not read again: it must be of the same transaction of r.
func (f *lineFile) lines(r *reader, from, to int64, s *span) ([]byte, error) {
	if s.number != from/chunkLines {
		s.reset(from / chunkLines)
	}
	if err := f.extend(r, (to-1)/chunkLines, s); err != nil {
		return nil, err
	}
	if c := &s.chunks[(to-1)/chunkLines-s.number]; c.next() < to {
		return nil, fmt.Errorf("%w: chunk %d of the lines is not the newest", sqlite.ErrRow, c.number)
	}
	return s.cut(from, to), nil
}

// extend reads what s lacks of the chunks up to last.
func (f *lineFile) extend(r *reader, last int64, s *span) error {
	if s.next() <= last {
		err := r.groups.Run(func(v []sqlite.Value) error { return s.add(v[0], last) }, s.next()/groupChunks, last/groupChunks)
		if err != nil {
			return err
		}
	}
	if s.next() <= last {
		return fmt.Errorf("%w: chunk %d of the lines is missing", sqlite.ErrRow, s.next())
	}
	have, want := s.read, int(last-s.number)+1
	if want <= have {
		return nil
	}
	begin := s.chunks[have].begin
	size := int(s.chunks[want-1].end() - s.chunks[0].begin)
	s.text = slices.Grow(s.text, size-len(s.text))[:size]
	text := s.from(have)
	// What an error leaves unread has not the right checksum, but by chance.
	n, _ := f.file.ReadAt(text, begin)
	clear(text[n:])
	for i := have; i < want; i++ {
		c := &s.chunks[i]
		if part := s.from(i)[:c.size]; crc32.Checksum(part, castagnoli) != c.sum {
			if err := f.mend(c, part); err != nil {
				return err
			}
		}
	}
	s.read = want
	return nil
}

// mend sets text to the lines of c, which have been read wrongly. They follow
// from log and archive, and are written where they belong for the next reader.
// The writer does not come in between: what it writes lies beyond all chunks that
// a reader knows of.
func (f *lineFile) mend(c *chunk, text []byte) error {
	if _, err := f.file.ReadAt(text, c.begin); err == nil && crc32.Checksum(text, castagnoli) == c.sum {
		return nil // only what lay before it could not be read, or another reader was quicker
	}
	made, err := f.make(c)
	if err != nil {
		return fmt.Errorf("lines of entries %d to %d are damaged and could not be made again: %w", c.first(), c.next()-1, err)
	}
	if len(made) != len(text) || crc32.Checksum(made, castagnoli) != c.sum {
		return fmt.Errorf("%w: lines of entries %d to %d are damaged, and log and archive give others", sqlite.ErrRow, c.first(), c.next()-1)
	}
	copy(text, made)
	if _, err := f.file.WriteAt(made, c.begin); err != nil {
		f.logger.Warn("damaged lines of the feed were made again but not written", "first", c.first(), "last", c.next()-1, "err", err)
		return nil
	}
	f.logger.Warn("damaged lines of the feed were made again", "first", c.first(), "last", c.next()-1)
	return nil
}

// make returns the lines of c as log and archive have them. The time of its
// first entry may follow from that of entries before it, so it is taken from c.
func (f *lineFile) make(c *chunk) (text []byte, err error) {
	ck := newClock(f.source, c.first(), f.source.Published(), c.time-1)
	defer ck.stop()
	for r, err := range rows(f.source, c.first(), c.next(), ck) {
		if err != nil {
			return nil, err
		}
		text = appendLine(text, r.path, r.version, r.time)
	}
	return text, nil
}

// since returns the index of the first of size entries whose time is t or later,
// and size if there is none. The database is only asked where that may be: the
// lines beside show whether it is.
func (f *lineFile) since(r *reader, t, size int64, s *span) (int64, error) {
	if size == 0 {
		return 0, nil
	}
	number := int64(0)
	err := r.groupAt.Run(func(v []sqlite.Value) error {
		var rows []byte
		if err := scan2(v, &number, &rows); err != nil {
			return err
		}
		number *= groupChunks
		last := number + int64(len(rows)/chunkRow) - 1
		for n := 1; n < len(rows)/chunkRow && rowTime(rows[n*chunkRow:]) <= t; n++ {
			number++
		}
		// What may be read next is at hand.
		s.reset(number)
		return s.add(v[1], min(last, number+maxPage/chunkLines+1))
	}, t)
	if err != nil {
		return 0, err
	}
	first := min(max(number, 0), (size-1)/chunkLines) * chunkLines
	text, err := f.lines(r, first, min(first+chunkLines, size), s)
	if err != nil {
		return 0, err
	}
	if at, err := lineTime(text); err != nil || at > t && first > 0 {
		return 0, fmt.Errorf("%w: time of chunk %d of the lines", sqlite.ErrRow, number)
	}
	n, err := linesBefore(text, t)
	i := first + int64(n)
	if err != nil || i < first+chunkLines || i >= size {
		return i, err
	}
	if text, err = f.lines(r, i, i+1, s); err != nil {
		return 0, err
	}
	if at, err := lineTime(text); err != nil || at < t {
		return 0, fmt.Errorf("%w: time of chunk %d of the lines", sqlite.ErrRow, number+1)
	}
	return i, nil
}

// firstOf returns the least index that q allows.
func (f *lineFile) firstOf(r *reader, q feedQuery, size int64, s *span) (int64, error) {
	if q.since == noTime {
		return q.first, nil
	}
	i, err := f.since(r, q.since, size, s)
	return max(i, q.first), err
}
