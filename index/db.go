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
	"math"
	"os"
	"time"

	"example.org/sumlog/index/internal/buckets"
	"example.org/sumlog/internal/sqlite"
	"example.org/sumlog/log"
	"golang.org/x/mod/sumdb/tlog"
)

// schemaVersion changes whenever what the database holds changes in any way.
const schemaVersion = 2

const schema = `
CREATE TABLE meta (
	one       INTEGER PRIMARY KEY CHECK (one = 1),
	size      INTEGER NOT NULL,
	last      INTEGER NOT NULL,
	published INTEGER NOT NULL,
	root      BLOB NOT NULL,
	origin    TEXT NOT NULL,
	seed      BLOB NOT NULL,
	sum       INTEGER NOT NULL
);
CREATE TABLE names (
	bucket INTEGER PRIMARY KEY,
	row    BLOB NOT NULL
);
CREATE TABLE modules (
	bucket INTEGER PRIMARY KEY,
	row    BLOB NOT NULL
);
CREATE TABLE paths (
	path TEXT PRIMARY KEY,
	sum  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE chunks (
	grp  INTEGER PRIMARY KEY,
	time INTEGER NOT NULL,
	rows BLOB NOT NULL
);
CREATE INDEX chunks_time ON chunks (time);
`

// A state is the row of meta. Times are in microseconds since 1970.
type state struct {
	size      int64     // entries applied
	last      int64     // time of entry size-1
	published int64     // time of the first publication of that size; 0 if size is 0
	root      tlog.Hash // root at size; zero if size is 0
	origin    string    // name of the log
	seed      seed      // of the keys
}

// sum returns the CRC-32C by which a row of meta is known to be whole.
func (st *state) sum() int64 {
	b := append([]byte(st.origin), 0)
	b = append(append(b, st.root[:]...), st.seed[:]...)
	for _, n := range []int64{st.size, st.last, st.published} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return int64(crc32.Checksum(b, castagnoli))
}

// noTime is the time before the first entry's.
const noTime = math.MinInt64

// A row is an entry on its way into the database.
type row struct {
	path, version string
	index, time   int64
	place         log.Place
}

func newRow(e log.PlacedEntry, time int64) row {
	m := e.Record.Module
	return row{m.Path, m.Version, e.Index, time, e.Place}
}

// A writer is the one connection that changes a database.
type writer struct {
	conn    *sqlite.Conn
	file    *os.File // of lines
	state   state
	names   bucketRows
	modules bucketRows
	chain   chain
	group   *sqlite.Stmt // of chunks, the last one
	put     *sqlite.Stmt // a group
	meta    *sqlite.Stmt
}

// openWriter opens the database at path and reads its state. The error is
// stale when there is none, or none of this schema.
func openWriter(path string) (*writer, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, errStale("there is none")
	}
	// The database follows from the log, so a transaction lost with the power
	// is applied again: NORMAL, which keeps it consistent, is enough.
	c, err := sqlite.Open(path, "rw", "journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=0", "cache_size=-8192", "journal_size_limit=16777216")
	if err != nil {
		return nil, err
	}
	w, err := newWriter(c)
	if err == nil {
		w.state, err = w.readState()
	}
	if err == nil {
		err = w.openLines(path)
	}
	if err != nil {
		if w != nil && w.file != nil {
			w.file.Close()
		}
		c.Close()
		return nil, err
	}
	return w, nil
}

// newWriter prepares the statements on c, which has the schema.
func newWriter(c *sqlite.Conn) (*writer, error) {
	v, err := c.First("PRAGMA user_version")
	if err != nil {
		return nil, err
	}
	if v[0] != int64(schemaVersion) {
		return nil, errStale(fmt.Sprintf("schema version is %v, not %d", v[0], schemaVersion))
	}
	w := &writer{conn: c}
	return w, c.Prepare(map[**sqlite.Stmt]string{
		&w.names.get:    getName,
		&w.names.put:    "INSERT OR REPLACE INTO names (bucket, row) VALUES (?, ?)",
		&w.modules.get:  getModule,
		&w.modules.put:  "INSERT OR REPLACE INTO modules (bucket, row) VALUES (?, ?)",
		&w.chain.before: pathBefore,
		&w.chain.from:   pathsFrom,
		&w.chain.put:    "INSERT OR REPLACE INTO paths (path, sum) VALUES (?, ?)",
		&w.group:        "SELECT grp, rows FROM chunks ORDER BY grp DESC LIMIT 1",
		&w.put: "INSERT INTO chunks (grp, time, rows) VALUES (?, ?, ?)" +
			" ON CONFLICT (grp) DO UPDATE SET rows = excluded.rows",
		&w.meta: "INSERT OR REPLACE INTO meta (one, size, last, published, root, origin, seed, sum) VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
	})
}

// What readers and the writer both ask.
const (
	getState   = "SELECT size, last, published, root, origin, seed, sum FROM meta"
	getName    = "SELECT row FROM names WHERE bucket = ?"
	getModule  = "SELECT row FROM modules WHERE bucket = ?"
	pathBefore = "SELECT path FROM paths WHERE path < ? ORDER BY path DESC LIMIT 1"
	pathsFrom  = "SELECT path, sum FROM paths WHERE path >= ? ORDER BY path"
)

func (w *writer) close() error { return errors.Join(w.conn.Close(), w.file.Close()) }

// checkpoint writes the write-ahead log back into the database, as far as
// readers of older states allow, and reports whether that was all of it.
func (w *writer) checkpoint() (done bool, err error) {
	v, err := w.conn.First("PRAGMA wal_checkpoint(PASSIVE)")
	if err != nil {
		return false, err
	}
	return v[0] == int64(0) && v[1] == v[2], nil
}

func (w *writer) readState() (state, error) {
	v, err := w.conn.First(getState)
	if err == io.EOF {
		return state{}, errStale("database has no state")
	}
	if err != nil {
		return state{}, err
	}
	return takeState(v)
}

// settled returns the state after a transaction that failed. Were it still open, what
// it has done would look like what was committed.
func (w *writer) settled() (state, error) {
	if w.conn.InTransaction() {
		if err := w.conn.Exec("ROLLBACK"); err != nil {
			return state{}, err
		}
	}
	return w.readState()
}

// takeState returns the state in a row of meta.
func takeState(v []sqlite.Value) (st state, err error) {
	var root, seed []byte
	var sum int64
	err = errors.Join(scan3(v, &st.size, &st.last, &st.published), scan3(v[3:], &root, &st.origin, &seed), sqlite.Take(v[6], &sum))
	if err != nil {
		return state{}, err
	}
	copy(st.root[:], root)
	copy(st.seed[:], seed)
	if len(root) != len(st.root) || len(seed) != len(st.seed) || sum != st.sum() {
		return state{}, fmt.Errorf("%w: the state", buckets.ErrDamaged)
	}
	return st, nil
}

func (w *writer) writeState(st state) error {
	return w.meta.Run(nil, st.size, st.last, st.published, st.root[:], st.origin, st.seed[:], st.sum())
}

// errTwice is the error of a log that has one module version twice.
func errTwice(path, version string, a, b int64) error {
	return fmt.Errorf("%w: %s@%s is in the log twice, at %d and at %d", log.ErrUnsafe, path, version, min(a, b), max(a, b))
}

// applyBatch is how many entries are inserted before the buckets that they changed
// are written.
const applyBatch = 1 << 12

// apply applies the entries below p.Size in one transaction and moves w.state.
// The times of entries come from the archived publications up to p if archive
// is set, else from p alone.
func (w *writer) apply(src Source, p *log.Publication, archive bool) (err error) {
	if err := w.conn.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			w.conn.Exec("ROLLBACK") // fails if SQLite has done so itself
		}
	}()
	st := w.state
	from := st.size
	if !archive {
		from = p.Size
	}
	ck := newClock(src, from, p, st.last)
	defer ck.stop()
	lines, err := w.continueLines(st.size)
	if err != nil {
		return err
	}
	batch := make([]row, 0, min(applyBatch, p.Size-st.size))
	for r, err := range rows(src, st.size, p.Size, ck) {
		if err != nil {
			return err
		}
		if err := lines.add(&r); err != nil {
			return err
		}
		if batch = append(batch, r); len(batch) == applyBatch {
			if err := w.insertBatch(src, &st, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	// One after the other: SQLite may have taken back the transaction when a
	// statement fails, and the next one would then be a transaction of its own.
	if err := w.insertBatch(src, &st, batch); err != nil {
		return err
	}
	if err := lines.flush(); err != nil {
		return err
	}
	if err := ck.end(&st, p); err != nil {
		return err
	}
	if err := w.writeState(st); err != nil {
		return err
	}
	if err := w.conn.Exec("COMMIT"); err != nil {
		return err
	}
	w.state = st
	return nil
}

// insertBatch inserts rows that follow one another.
func (w *writer) insertBatch(src Source, st *state, batch []row) error {
	if len(batch) == 0 {
		return nil
	}
	size := batch[0].index
	in, err := w.newInserter(src, &st.seed, size, size+int64(len(batch)))
	if err != nil {
		return err
	}
	for i := range batch {
		if err := in.insert(&batch[i]); err != nil {
			return err
		}
	}
	return in.flush()
}

// rebuildBehind: further behind than this, and by more than an eighth of what
// is there, making the database again is cheaper than inserting at random
// places of a large B-tree.
const rebuildBehind = 10_000

// check reports, as a stale error, why the database is not one of src, or too far
// behind.
func (w *writer) check(src Source) error {
	st, head := w.state, src.Published()
	switch behind := head.Size - st.size; {
	case st.origin != origin(head):
		return errStale(fmt.Sprintf("it is the index of %q", st.origin))
	case behind < 0:
		return errStale(fmt.Sprintf("it has %d entries, more than the log's %d", st.size, head.Size))
	case behind > rebuildBehind && behind > st.size/8:
		return errStale(fmt.Sprintf("it is %d entries behind", behind))
	}
	return st.checkArchive(src)
}

// checkArchive compares st with the publication that it says it stands at.
func (st state) checkArchive(src Source) error {
	if st.size == 0 {
		return nil
	}
	for p, err := range src.Publications(st.size - 1) {
		if err != nil {
			return err
		}
		if p.Root == st.root && p.Time.UnixMicro() == st.published {
			return nil
		}
		break
	}
	return errStale("it is the index of another log or archive")
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func entryTime(micro int64) time.Time { return time.UnixMicro(micro).UTC() }

// scan2 takes the first two values of row.
func scan2[A, B any](row []sqlite.Value, a *A, b *B) error {
	if err := sqlite.Take(row[0], a); err != nil {
		return err
	}
	return sqlite.Take(row[1], b)
}

// scan3 takes the first three values of row.
func scan3[A, B, C any](row []sqlite.Value, a *A, b *B, c *C) error {
	if err := sqlite.Take(row[2], c); err != nil {
		return err
	}
	return scan2(row, a, b)
}
