// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"example.org/sumlog/internal/sqlite"
	"example.org/sumlog/log"
	sqlite3 "github.com/mattn/go-sqlite3"
	"golang.org/x/mod/module"
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
	digest    INTEGER NOT NULL
);
CREATE TABLE entries (
	path    TEXT NOT NULL,
	version TEXT NOT NULL,
	idx     INTEGER NOT NULL,
	time    INTEGER NOT NULL,
	hashes  BLOB NOT NULL,
	PRIMARY KEY (path, version)
) WITHOUT ROWID;
CREATE TABLE chunks (
	chunk INTEGER PRIMARY KEY,
	time  INTEGER NOT NULL,
	row   BLOB NOT NULL
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
	digest    uint64    // of entries
}

// noTime is the time before the first entry's.
const noTime = math.MinInt64

// A row is an entry on its way into the database.
type row struct {
	path, version string
	index, time   int64
	hashes        [64]byte // of the zip, of the go.mod
}

func newRow(e log.Entry, time int64) (row, error) {
	r := row{path: e.Record.Module.Path, version: e.Record.Module.Version, index: e.Index, time: time}
	if !decodeH1(r.hashes[:32], e.Record.Zip) || !decodeH1(r.hashes[32:], e.Record.Mod) {
		return row{}, fmt.Errorf("entry %d: bad hash", e.Index)
	}
	return r, nil
}

func decodeH1(dst []byte, h1 string) bool {
	b64, ok := strings.CutPrefix(h1, "h1:")
	if !ok || len(b64) != 44 {
		return false
	}
	var b [33]byte
	n, err := base64.StdEncoding.Strict().Decode(b[:], []byte(b64))
	return err == nil && n == copy(dst, b[:32])
}

func encodeH1(h []byte) string {
	var b [47]byte
	copy(b[:], "h1:")
	base64.StdEncoding.Encode(b[3:], h)
	return string(b[:])
}

// appendSum appends what the digest covers of r.
func (r *row) appendSum(b []byte) []byte {
	b = append(append(b, r.path...), 0)
	b = append(append(b, r.version...), 0)
	b = binary.BigEndian.AppendUint64(b, uint64(r.index))
	b = binary.BigEndian.AppendUint64(b, uint64(r.time))
	return append(b, r.hashes[:]...)
}

// sum returns r's summand of the digest.
func (r *row) sum() uint64 {
	var buf [512]byte
	h := sha256.Sum256(r.appendSum(buf[:0]))
	return binary.BigEndian.Uint64(h[:8])
}

// A writer is the one connection that changes a database.
type writer struct {
	conn   *sqlite.Conn
	file   *os.File // of lines
	state  state
	insert *sqlite.Stmt // entries
	where  *sqlite.Stmt // index of an entry
	chunk  *sqlite.Stmt // the last one
	put    *sqlite.Stmt // a chunk
	meta   *sqlite.Stmt
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
		&w.insert: "INSERT INTO entries (path, version, idx, time, hashes) VALUES (?, ?, ?, ?, ?)",
		&w.where:  "SELECT idx FROM entries WHERE path = ? AND version = ?",
		&w.chunk:  "SELECT chunk, row FROM chunks ORDER BY chunk DESC LIMIT 1",
		&w.put: "INSERT INTO chunks (chunk, time, row) VALUES (?, ?, ?)" +
			" ON CONFLICT (chunk) DO UPDATE SET row = excluded.row",
		&w.meta: "INSERT OR REPLACE INTO meta (one, size, last, published, root, origin, digest) VALUES (1, ?, ?, ?, ?, ?, ?)",
	})
}

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
	v, err := w.conn.First("SELECT size, last, published, root, origin, digest FROM meta")
	if err == io.EOF {
		return state{}, errStale("database has no state")
	}
	if err != nil {
		return state{}, err
	}
	var st state
	var root []byte
	var digest int64
	if err := errors.Join(scan3(v, &st.size, &st.last, &st.published), scan3(v[3:], &root, &st.origin, &digest)); err != nil {
		return state{}, err
	}
	copy(st.root[:], root)
	st.digest = uint64(digest)
	return st, nil
}

func (w *writer) writeState(st state) error {
	return w.meta.Run(nil, st.size, st.last, st.published, st.root[:], st.origin, int64(st.digest))
}

// insertRow inserts r and adds it to the digest.
func (w *writer) insertRow(r *row, digest *uint64) error {
	err := w.insert.Run(nil, r.path, r.version, r.index, r.time, r.hashes[:])
	if sqlite.Is(err, sqlite3.ErrConstraint) { // the primary key
		return w.duplicate(r)
	}
	*digest += r.sum()
	return err
}

// duplicate returns the error that r's module version is there already.
func (w *writer) duplicate(r *row) error {
	first := int64(-1)
	err := w.where.Run(func(v []sqlite.Value) error {
		first, _ = v[0].(int64)
		return nil
	}, r.path, r.version)
	return errors.Join(errTwice(r.path, r.version, first, r.index), err)
}

// errTwice is the error of a log that has one module version twice.
func errTwice(path, version string, a, b int64) error {
	return fmt.Errorf("%w: %s@%s is in the log twice, at %d and at %d", log.ErrUnsafe, path, version, min(a, b), max(a, b))
}

// applyBatch is how many entries are gathered and sorted before they are
// inserted. Neighbours in the B-tree then share pages.
const applyBatch = 1 << 14

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
			if err := w.insertBatch(batch, &st.digest); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	// One after the other: SQLite may have taken back the transaction when a
	// statement fails, and the next one would then be a transaction of its own.
	if err := w.insertBatch(batch, &st.digest); err != nil {
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

func (w *writer) insertBatch(batch []row, digest *uint64) error {
	slices.SortFunc(batch, func(a, b row) int {
		if c := strings.Compare(a.path, b.path); c != 0 {
			return c
		}
		if c := strings.Compare(a.version, b.version); c != 0 {
			return c
		}
		return int(a.index - b.index)
	})
	for i := range batch {
		if err := w.insertRow(&batch[i], digest); err != nil {
			return err
		}
	}
	return nil
}

// rebuildBehind: further behind than this, and by more than an eighth of what
// is there, making the database again is cheaper than inserting at random
// places of a large B-tree.
const rebuildBehind = 10_000

// check reports, as a stale error, why the database is not one of src, or not
// whole, or too far behind.
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
	if err := st.checkArchive(src); err != nil {
		return err
	}
	return w.checkEntries()
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

// checkEntries reads all entries. Digest and strict order together say that
// every row is there and that a search comes to it.
func (w *writer) checkEntries() error {
	var r, prev row
	var digest uint64
	err := w.conn.Run("SELECT path, version, idx, time, hashes FROM entries ORDER BY path, version", func(v []sqlite.Value) error {
		var hashes []byte
		if err := errors.Join(scan2(v, &r.path, &r.version), scan3(v[2:], &r.index, &r.time, &hashes)); err != nil {
			return err
		}
		if len(hashes) != len(r.hashes) || r.path < prev.path || r.path == prev.path && r.version <= prev.version {
			return sqlite.ErrRow
		}
		copy(r.hashes[:], hashes)
		digest += r.sum()
		prev.path, prev.version = r.path, r.version
		return nil
	})
	if err != nil {
		return err
	}
	if digest != w.state.digest {
		return errStale("entries do not have the digest stored with them")
	}
	return nil
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

func newEntry(m module.Version, index, time int64, hashes []byte) (log.Entry, error) {
	if len(hashes) != 64 {
		return log.Entry{}, sqlite.ErrRow
	}
	return log.Entry{
		Index:  index,
		Record: log.Record{Module: m, Zip: encodeH1(hashes[:32]), Mod: encodeH1(hashes[32:])},
		Time:   entryTime(time),
	}, nil
}
