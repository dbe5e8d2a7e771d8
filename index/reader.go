// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"errors"
	"io"
	"runtime"
	"sync/atomic"

	"example.org/sumlog/internal/sqlite"
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
	state      state // in the transaction

	begin   *sqlite.Stmt
	commit  *sqlite.Stmt
	meta    *sqlite.Stmt
	names   bucketRows
	modules bucketRows
	chain   chain
	groupAt *sqlite.Stmt // the group in which a time falls
	groups  *sqlite.Stmt // of chunks
}

func openReader(path string) (*reader, error) {
	// No memory maps: a page that the disk cannot read would end the process, and
	// the next one, instead of being an error. The page cache has room for what
	// lies above the leaves of the tables.
	c, err := sqlite.Open(path, "ro", "mmap_size=0", "cache_size=-2048", "temp_store=MEMORY")
	if err != nil {
		return nil, err
	}
	r := &reader{conn: c, generation: -1}
	err = c.Prepare(map[**sqlite.Stmt]string{
		&r.begin:        "BEGIN",
		&r.commit:       "COMMIT",
		&r.meta:         getState,
		&r.names.get:    getName,
		&r.modules.get:  getModule,
		&r.chain.before: pathBefore,
		&r.chain.from:   pathsFrom,
		&r.groupAt:      "SELECT grp, rows FROM chunks WHERE time <= ? ORDER BY time DESC LIMIT 1",
		&r.groups:       "SELECT rows FROM chunks WHERE grp BETWEEN ? AND ? ORDER BY grp",
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
	if err := r.start(); err != nil {
		return err
	}
	r.generation = g
	return nil
}

// start begins a transaction with the state in it.
func (r *reader) start() error {
	if err := r.begin.Run(nil); err != nil {
		return err
	}
	v, err := r.meta.First()
	if err == nil {
		r.state, err = takeState(v)
	}
	if err == io.EOF {
		err = errStale("database has no state")
	}
	if err != nil {
		return errors.Join(err, r.end())
	}
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
