// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.org/sumlog/index/internal/buckets"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/sqlite"
	"example.org/sumlog/log"
)

// build makes the database of all that c.Source has published, and the file of
// its lines, beside c.Path, and gives them their names when they are complete and
// synced.
func build(c Config) error {
	d, err := prepare(c)
	if err != nil {
		return err
	}
	defer d.abort()
	return d.commit()
}

// A draft is a database that is complete and has not its name yet.
type draft struct {
	root  *os.Root
	file  *durable.File
	lines *durable.File
	name  string
}

func prepare(c Config) (d *draft, err error) {
	d = &draft{name: filepath.Base(c.Path)}
	if d.root, err = os.OpenRoot(filepath.Dir(c.Path)); err != nil {
		return nil, err
	}
	if err := d.fill(c); err != nil {
		d.abort()
		return nil, err
	}
	return d, nil
}

func (d *draft) fill(c Config) (err error) {
	if d.file, err = durable.Create(d.root, "."); err != nil {
		return err
	}
	if d.lines, err = durable.Create(d.root, "."); err != nil {
		return err
	}
	if err := fill(d.file.Name(), d.lines.File, d.root, c); err != nil {
		return err
	}
	// Gigabytes perhaps: commit, for which all readers wait, then has little left.
	if err := d.lines.Sync(); err != nil {
		return err
	}
	return d.file.Sync()
}

// abort gives the draft up. It does nothing but close after commit.
func (d *draft) abort() {
	for _, f := range []*durable.File{d.file, d.lines} {
		if f != nil {
			f.Abort()
		}
	}
	d.root.Close()
}

// commit gives the database its name, which nobody may have open.
func (d *draft) commit() error {
	// The old database goes first. Its write-ahead log must not outlive it:
	// SQLite would replay it into the new one.
	// Crash point: no database, or one whose write-ahead log is missing, or new
	// lines alone; the next Open finds out and comes here again.
	for _, name := range []string{d.name, d.name + "-wal", d.name + "-shm"} {
		if err := d.root.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := durable.SyncDir(d.root, "."); err != nil {
		return err
	}
	if err := d.lines.Commit(d.name + linesSuffix); err != nil {
		return err
	}
	return d.file.Commit(d.name)
}

var pageSize = 8192 // but in tests

// fill makes the database in the empty file path, and its lines in another. Lines
// come in order of index as the entries are read; names and modules are brought
// into the order of their buckets first, so that the tables are written from left
// to right. Inserted in order of arrival they would cost more than ten times as
// much.
func fill(path string, lines *os.File, root *os.Root, c Config) error {
	// No journal and no sync: whatever happens before the end, the file goes.
	conn, err := sqlite.Open(path, "rw", fmt.Sprint("page_size=", pageSize), "journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-8192")
	if err != nil {
		return err
	}
	err = fillConn(conn, lines, root, c)
	return errors.Join(err, conn.Close())
}

func fillConn(conn *sqlite.Conn, lines *os.File, root *os.Root, c Config) error {
	if err := conn.Exec(fmt.Sprintf("%s PRAGMA user_version = %d; BEGIN", schema, schemaVersion)); err != nil {
		return err
	}
	w, err := newWriter(conn)
	if err != nil {
		return err
	}
	w.file = lines
	head := c.Source.Published()
	file := func() (*os.File, error) { return unnamedFile(root) }
	f := &filler{
		w: w, src: c.Source, n: buckets.Count(head.Size), paths: newSorter(root, sortBuffer),
		tick: ticker{progress: c.Progress, stopped: c.stopped, total: 3 * head.Size}, state: state{last: noTime},
	}
	rand.Read(f.state.seed[:])
	f.names, f.modules, f.late = buckets.NewSpread(f.n, file), buckets.NewSpread(f.n, file), buckets.NewSpread(f.n, file)
	defer f.close()
	for _, step := range []func() error{
		func() error { return f.read(head) }, f.fillNames, f.fillModules, f.fillLate, f.fillPaths,
		func() error { return w.writeState(f.state) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return conn.Exec("COMMIT")
}

// A filler makes the tables of a new database.
type filler struct {
	w       *writer
	src     Source
	state   state
	n       uint64          // buckets of each table
	names   *buckets.Spread // of all entries
	modules *buckets.Spread // of all entries, as if all were in their module's first group
	late    *buckets.Spread // those of other groups
	paths   *sorter
	tick    ticker
}

func (f *filler) close() {
	f.names.Close()
	f.modules.Close()
	f.late.Close()
	f.paths.close()
}

// read reads all entries up to head, writes their lines, gathers their items, and
// moves the state to head.
func (f *filler) read(head *log.Publication) error {
	ck := newClock(f.src, -1, head, f.state.last)
	defer ck.stop()
	lines := &lineWriter{put: f.w.put, file: f.w.file}
	for r, err := range rows(f.src, 0, head.Size, ck) {
		if err != nil {
			return err
		}
		if err := lines.add(&r); err != nil {
			return err
		}
		if err := f.gather(&r); err != nil {
			return err
		}
		if err := f.tick.tick(); err != nil {
			return err
		}
	}
	if err := lines.flush(); err != nil {
		return err
	}
	return ck.end(&f.state, head)
}

func (f *filler) gather(r *row) error {
	var buf [256]byte
	n := nameItem{r.index, r.time, r.place}
	if err := f.names.Add(f.state.seed.nameKey(r.path, r.version), n.append(buf[:0])); err != nil {
		return err
	}
	g := f.state.seed.moduleKey(r.path)
	if err := f.modules.Add(g.key(), appendVersionItem(buf[:0], g, r.index, r.time, r.version)); err != nil {
		return err
	}
	return f.paths.add(r.path)
}

// fillNames writes the table names. Two entries of one name have one key, and so
// are in one bucket.
func (f *filler) fillNames() error {
	b, err := newBulk(f.w.conn, "names", namesTable, f.n)
	if err != nil {
		return err
	}
	for bucket, err := range f.names.All() {
		if err != nil {
			return err
		}
		if err := f.unique(bucket); err != nil {
			return err
		}
		if err := b.add(bucket); err != nil {
			return err
		}
	}
	return b.flush()
}

// unique returns an error if two entries in a bucket have one name.
func (f *filler) unique(b buckets.Bucket) error {
	var keys []uint64
	var buf [64]uint64
	keys = buf[:0]
	for key := range b.All() {
		if slices.Contains(keys, key) {
			if err := f.differ(b, key); err != nil {
				return err
			}
		}
		keys = append(keys, key)
		if err := f.tick.tick(); err != nil {
			return err
		}
	}
	return nil
}

// differ compares the names of the entries that have one key.
func (f *filler) differ(b buckets.Bucket, key uint64) error {
	var first []log.Entry
	for item := range b.With(key) {
		e, err := entryOf(f.src, item, f.state.size)
		if err != nil {
			return err
		}
		for _, o := range first {
			if m := o.Record.Module; m == e.Record.Module {
				return errTwice(m.Path, m.Version, o.Index, e.Index)
			}
		}
		first = append(first, e)
	}
	return nil
}

// fillModules writes the table modules, but for the versions that are not of their
// module's first group, which it puts aside.
func (f *filler) fillModules() error {
	b, err := newBulk(f.w.conn, "modules", modulesTable, f.n)
	if err != nil {
		return err
	}
	var first buckets.Bucket
	have := make(map[groupKey]int)
	for bucket, err := range f.modules.All() {
		if err != nil {
			return err
		}
		first = first[:0]
		clear(have)
		for key, item := range bucket.All() {
			var g groupKey
			binary.BigEndian.PutUint64(g[:], key)
			copy(g[8:], item)
			n := have[g]
			have[g]++
			if n < groupVersions {
				first = first.Append(key, item)
			} else if err := f.putAside(g.group(n/groupVersions), item); err != nil {
				return err
			}
			if err := f.tick.tick(); err != nil {
				return err
			}
		}
		if err := b.add(first); err != nil {
			return err
		}
	}
	return b.flush()
}

// putAside puts an item aside as one of g.
func (f *filler) putAside(g groupKey, item []byte) error {
	copy(item, g[8:]) // the item is ours
	return f.late.Add(g.key(), item)
}

// fillLate adds what was put aside to its buckets.
func (f *filler) fillLate() error {
	var row []byte
	number := uint64(0)
	for late, err := range f.late.All() {
		if err != nil {
			return err
		}
		if len(late) > 0 {
			old, err := f.w.modules.Row(number)
			if err != nil {
				return err
			}
			b, err := buckets.Open(old, modulesTable, number, f.n)
			if err != nil {
				return err
			}
			row = append(b, late...).AppendRow(row[:0], modulesTable, number, f.n)
			if err := f.w.modules.Put(number, row); err != nil {
				return err
			}
		}
		number++
	}
	return nil
}

// fillPaths writes the table paths.
func (f *filler) fillPaths() error {
	prev := ""
	for path, err := range f.paths.sorted() {
		if err != nil {
			return err
		}
		if err := f.w.chain.put.Run(nil, prev, linkSum(prev, path)); err != nil {
			return err
		}
		prev = path
	}
	return f.w.chain.put.Run(nil, prev, linkSum(prev, ""))
}

// bulkRows is how many rows are inserted by one statement, to share what it
// costs to run one.
const bulkRows = 16

// A bulk inserts the rows of a table of buckets, in order.
type bulk struct {
	table   byte
	n, next uint64
	many    *sqlite.Stmt // inserts bulkRows rows
	one     *sqlite.Stmt
	args    []sqlite.Value
	rows    [bulkRows][]byte
}

func newBulk(conn *sqlite.Conn, name string, table byte, n uint64) (*bulk, error) {
	b := &bulk{table: table, n: n}
	// OR FAIL: without it SQLite would prepare to take back the first rows of
	// a statement when a later one fails. Here the whole file would go.
	one := "INSERT OR FAIL INTO " + name + " (bucket, row) VALUES (?, ?)"
	return b, conn.Prepare(map[**sqlite.Stmt]string{
		&b.one:  one,
		&b.many: one + strings.Repeat(", (?, ?)", bulkRows-1),
	})
}

// add adds the row of the next bucket.
func (b *bulk) add(bucket buckets.Bucket) error {
	row := &b.rows[len(b.args)/2]
	*row = bucket.AppendRow((*row)[:0], b.table, b.next, b.n)
	b.args = append(b.args, int64(b.next), *row)
	b.next++
	if len(b.args) < 2*bulkRows {
		return nil
	}
	err := b.many.Run(nil, b.args...)
	b.args = b.args[:0]
	return err
}

// flush inserts what is left.
func (b *bulk) flush() error {
	for row := range slices.Chunk(b.args, 2) {
		if err := b.one.Run(nil, row...); err != nil {
			return err
		}
	}
	return nil
}

// A ticker reports progress every few thousand units and at the end, and looks then
// whether anybody still wants it.
type ticker struct {
	progress    func(done, total int64)
	stopped     func() bool
	total, done int64
}

func (t *ticker) tick() error {
	if t.done++; t.done%8192 != 0 && t.done != t.total {
		return nil
	}
	if t.progress != nil {
		t.progress(t.done, t.total)
	}
	if t.stopped != nil && t.stopped() {
		return errClosed
	}
	return nil
}
