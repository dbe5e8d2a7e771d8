// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/sqlite"
	"example.org/sumlog/log"
)

// build makes the database of all that c.Source has published, and the file of
// its lines, beside c.Path, and gives them their names when they are complete and
// synced.
func build(c Config) (err error) {
	root, err := os.OpenRoot(filepath.Dir(c.Path))
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := durable.Create(root, ".")
	if err != nil {
		return err
	}
	defer f.Abort()
	lines, err := durable.Create(root, ".")
	if err != nil {
		return err
	}
	defer lines.Abort()
	if err := fill(f.Name(), lines.File, root, c); err != nil {
		return err
	}
	// The old database goes first. Its write-ahead log must not outlive it:
	// SQLite would replay it into the new one.
	// Crash point: no database, or one whose write-ahead log is missing, or new
	// lines alone; the next Open finds out and comes here again.
	base := filepath.Base(c.Path)
	for _, name := range []string{base, base + "-wal", base + "-shm"} {
		if err := root.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := durable.SyncDir(root, "."); err != nil {
		return err
	}
	if err := lines.Commit(base + linesSuffix); err != nil {
		return err
	}
	return f.Commit(base)
}

// fill makes the database in the empty file path, and its lines in another. Lines come in order of index
// as the entries are read; the entries themselves go through an external sort,
// so that the B-tree is written from left to right. Inserted in order of
// arrival they would cost more than ten times as much.
func fill(path string, lines *os.File, root *os.Root, c Config) error {
	// No journal and no sync: whatever happens before the end, the file goes.
	conn, err := sqlite.Open(path, "rw", "page_size=8192", "journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-8192")
	if err != nil {
		return err
	}
	err = fillConn(conn, lines, root, c)
	return errors.Join(err, conn.Close())
}

func fillConn(conn *sqlite.Conn, lines *os.File, root *os.Root, c Config) error {
	if err := conn.Exec(schema + fmt.Sprintf("PRAGMA user_version = %d; BEGIN", schemaVersion)); err != nil {
		return err
	}
	w, err := newWriter(conn)
	if err != nil {
		return err
	}
	w.file = lines
	head := c.Source.Published()
	s := newSorter(root, sortBuffer)
	defer s.close()
	st := state{last: noTime}
	tick := ticker{c.Progress, 2 * head.Size, 0}
	if err := w.fillLines(c.Source, head, &st, s, &tick); err != nil {
		return err
	}
	b, err := newBulk(w)
	if err != nil {
		return err
	}
	var prev row
	for r, err := range s.sorted() {
		if err != nil {
			return err
		}
		if r.path == prev.path && r.version == prev.version {
			return errTwice(r.path, r.version, prev.index, r.index)
		}
		if err := b.add(r); err != nil {
			return err
		}
		st.digest += r.sum()
		prev = r
		tick.tick()
	}
	if err := b.flush(); err != nil {
		return err
	}
	if err := w.writeState(st); err != nil {
		return err
	}
	return conn.Exec("COMMIT")
}

// fillLines reads all entries up to head, writes their lines, gives them to s,
// and sets st to head, but for the digest.
func (w *writer) fillLines(src Source, head *log.Publication, st *state, s *sorter, tick *ticker) error {
	ck := newClock(src, -1, head, st.last)
	defer ck.stop()
	lines := &lineWriter{put: w.put, file: w.file}
	for r, err := range rows(src, 0, head.Size, ck) {
		if err != nil {
			return err
		}
		if err := lines.add(&r); err != nil {
			return err
		}
		if err := s.add(&r); err != nil {
			return err
		}
		tick.tick()
	}
	if err := lines.flush(); err != nil {
		return err
	}
	return ck.end(st, head)
}

// bulkRows is how many rows are inserted by one statement, to share what it
// costs to run one.
const bulkRows = 32

// A bulk inserts rows that are known to differ in name.
type bulk struct {
	w    *writer
	many *sqlite.Stmt // inserts bulkRows rows
	rows []row
	args []sqlite.Value
}

func newBulk(w *writer) (*bulk, error) {
	b := &bulk{w: w, rows: make([]row, 0, bulkRows)}
	// OR FAIL: without it SQLite would prepare to take back the first rows of
	// a statement when a later one fails. Here the whole file would go.
	return b, w.conn.Prepare(map[**sqlite.Stmt]string{
		&b.many: "INSERT OR FAIL INTO entries (path, version, idx, time, hashes) VALUES (?, ?, ?, ?, ?)" +
			strings.Repeat(", (?, ?, ?, ?, ?)", bulkRows-1),
	})
}

func (b *bulk) add(r row) error {
	b.rows = append(b.rows, r)
	if len(b.rows) < bulkRows {
		return nil
	}
	b.args = b.args[:0]
	for i := range b.rows {
		r := &b.rows[i]
		b.args = append(b.args, r.path, r.version, r.index, r.time, r.hashes[:])
	}
	b.rows = b.rows[:0]
	return b.many.Run(nil, b.args...)
}

// flush inserts what is left.
func (b *bulk) flush() error {
	var digest uint64 // the caller's business
	for i := range b.rows {
		if err := b.w.insertRow(&b.rows[i], &digest); err != nil {
			return err
		}
	}
	return nil
}

// A ticker reports progress every few thousand units and at the end.
type ticker struct {
	progress    func(done, total int64)
	total, done int64
}

func (t *ticker) tick() {
	t.done++
	if t.progress != nil && (t.done%8192 == 0 || t.done == t.total) {
		t.progress(t.done, t.total)
	}
}
