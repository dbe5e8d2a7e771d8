// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"errors"
	"runtime"
	"sync/atomic"

	"example.org/sumlog/internal/sqlite"
	"example.org/sumlog/log"
	"golang.org/x/mod/module"
)

// A pool holds the connections that read. Each keeps a read transaction open
// from one use to the next, since beginning and ending one costs as much as
// finding an entry. A transaction sees the database as it was when it began, so
// it is renewed once the generation has moved on.
type pool struct {
	free       chan *reader
	generation atomic.Int64
	done       chan struct{} // closed by close
}

// openPool opens connections to the database at path, which the writer has
// open: a read-only connection cannot set up the write-ahead log's files.
func openPool(path string) (*pool, error) {
	n := max(4, runtime.GOMAXPROCS(0))
	p := &pool{free: make(chan *reader, n), done: make(chan struct{})}
	for range n {
		r, err := openReader(path)
		if err != nil {
			return nil, errors.Join(err, p.closeFree())
		}
		p.free <- r
	}
	return p, nil
}

// get returns a reader that sees all that was committed before the last call of
// renew. The caller puts it back.
func (p *pool) get() (*reader, error) {
	select {
	case <-p.done:
		return nil, errClosed
	default:
	}
	select {
	case r := <-p.free:
		if err := r.renew(p.generation.Load()); err != nil {
			p.put(r)
			return nil, err
		}
		return r, nil
	case <-p.done:
		return nil, errClosed
	}
}

func (p *pool) put(r *reader) { p.free <- r }

// renew makes get return readers that see the present state.
func (p *pool) renew() { p.generation.Add(1) }

// drain waits until each reader has been idle and ends its transaction.
func (p *pool) drain() error {
	all := make([]*reader, cap(p.free))
	var err error
	for i := range all {
		all[i] = <-p.free
		err = errors.Join(err, all[i].end())
	}
	for _, r := range all {
		p.free <- r
	}
	return err
}

// close waits for all readers and closes them.
func (p *pool) close() error {
	close(p.done)
	var err error
	for range cap(p.free) {
		err = errors.Join(err, (<-p.free).conn.Close())
	}
	return err
}

// closeFree closes the readers there are.
func (p *pool) closeFree() error {
	close(p.free)
	var err error
	for r := range p.free {
		err = errors.Join(err, r.conn.Close())
	}
	return err
}

// A reader is a read-only connection with its statements.
type reader struct {
	conn       *sqlite.Conn
	generation int64 // in which the transaction began

	begin    *sqlite.Stmt
	commit   *sqlite.Stmt
	entry    *sqlite.Stmt
	versions *sqlite.Stmt
	chunkAt  *sqlite.Stmt // the chunk in which a time falls
	chunks   *sqlite.Stmt // rows of chunks
	count    *sqlite.Stmt // entries under a path, up to a limit
	under    *sqlite.Stmt // entries under a path, in order
}

// under selects the entries of the module ?1 and of those whose paths are below
// it. ?2 and ?3 are "?1/" and "?1" with '0', the byte after '/'. Two ranges of
// the B-tree: as one condition with OR they would be a scan of everything.
const under = "(SELECT * FROM entries WHERE path = ?1 UNION ALL SELECT * FROM entries WHERE path >= ?2 AND path < ?3)"

func openReader(path string) (*reader, error) {
	// With the file in memory maps, the page caches of connections hold only
	// what is still in the write-ahead log.
	c, err := sqlite.Open(path, "ro", "mmap_size=2147418112", "cache_size=-512", "temp_store=MEMORY")
	if err != nil {
		return nil, err
	}
	r := &reader{conn: c, generation: -1}
	err = c.Prepare(map[**sqlite.Stmt]string{
		&r.begin:    "BEGIN",
		&r.commit:   "COMMIT",
		&r.entry:    "SELECT idx, time, hashes FROM entries WHERE path = ? AND version = ?",
		&r.versions: "SELECT version, idx, time FROM entries WHERE path = ? AND idx < ?",
		&r.chunkAt:  "SELECT chunk FROM chunks WHERE time <= ? ORDER BY time DESC LIMIT 1",
		&r.chunks:   "SELECT row FROM chunks WHERE chunk BETWEEN ? AND ? ORDER BY chunk",
		&r.count:    "SELECT count(*) FROM (SELECT 1 FROM " + under + " LIMIT ?4)",
		&r.under: "SELECT path, version, time FROM " + under +
			" WHERE idx >= ?4 AND idx < ?5 AND time >= ?6 ORDER BY idx LIMIT ?7",
	})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return r, nil
}

// renew begins a new transaction unless the present one is of generation g.
func (r *reader) renew(g int64) error {
	if r.generation == g {
		return nil
	}
	if err := r.end(); err != nil {
		return err
	}
	if err := r.begin.Run(nil); err != nil {
		return err
	}
	r.generation = g
	return nil
}

// end ends the transaction, if there is one.
func (r *reader) end() error {
	r.generation = -1
	if !r.conn.InTransaction() {
		return nil
	}
	return r.commit.Run(nil)
}

func (r *reader) find(m module.Version) (e log.Entry, found bool, err error) {
	err = r.entry.Run(func(v []sqlite.Value) error {
		var index, time int64
		var hashes []byte
		if err := scan3(v, &index, &time, &hashes); err != nil {
			return err
		}
		found = true
		e, err = newEntry(m, index, time, hashes)
		return err
	}, m.Path, m.Version)
	return e, found && err == nil, err
}

func (r *reader) versionsOf(path string, size int64) ([]Version, error) {
	var vs []Version
	err := r.versions.Run(func(v []sqlite.Value) error {
		var x Version
		var time int64
		if err := scan3(v, &x.Version, &x.Index, &time); err != nil {
			return err
		}
		x.Time = entryTime(time)
		vs = append(vs, x)
		return nil
	}, path, size)
	return vs, err
}
