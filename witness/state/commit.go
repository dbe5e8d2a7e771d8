// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"example.org/sumlog/internal/sqlite"
	sqlite3 "github.com/mattn/go-sqlite3"
)

// A change is something that waits to be written. do checks it against what the
// batch has so far and stages it, or fails without having staged anything.
type change struct {
	do   func(*batch) error
	err  error
	done chan struct{}
}

// A queue holds changes until the writer takes them.
type queue struct {
	wake chan struct{} // has a token if there is something to do

	mu      sync.Mutex
	changes []*change
	closed  bool
}

func (q *queue) put(c *change) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	q.changes = append(q.changes, c)
	q.kick()
	return nil
}

func (q *queue) kick() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take takes all changes there are.
func (q *queue) take() (changes []*change, closed bool) {
	<-q.wake
	q.mu.Lock()
	defer q.mu.Unlock()
	changes, q.changes = q.changes, nil
	return changes, q.closed
}

// close lets no further changes in. It reports whether that is new.
func (q *queue) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	was := q.closed
	q.closed = true
	q.kick()
	return !was
}

// do has a change written and waits for it.
func (s *Store) do(ctx context.Context, f func(*batch) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &change{do: f, done: make(chan struct{})}
	if err := s.queue.put(c); err != nil {
		return err
	}
	<-c.done
	return c.err
}

// write is the goroutine that writes. It ends when the queue is closed and
// empty; once it does not know what is on the disk it only refuses.
func (s *Store) write() {
	defer close(s.ended)
	var dead error
	for {
		changes, closed := s.queue.take()
		if dead == nil {
			if dead = s.commit(changes); dead != nil {
				s.logger.Error("state is not safe any more, nothing is cosigned", "err", dead)
				s.failed <- dead
			}
		} else {
			fail(changes, dead)
		}
		for _, c := range changes {
			close(c.done)
		}
		if closed {
			return
		}
	}
}

func fail(changes []*change, err error) {
	for _, c := range changes {
		if c.err == nil {
			c.err = err
		}
	}
}

// commit writes changes and sets their errors. It returns an error only if it is
// not known any more what is on the disk.
func (s *Store) commit(changes []*change) error {
	b := &batch{s: s, staged: make(map[string]*staged)}
	for _, c := range changes {
		if c.err = c.do(b); b.err != nil {
			break
		}
	}
	if b.err == nil && len(b.order) == 0 && len(b.evidence) == 0 {
		return nil
	}
	// Crash point: checked, and nothing written.
	s.at("staged")
	m := b.mark()
	err := b.err
	if err == nil {
		err = b.write(m)
	}
	if err != nil {
		dead := s.recover(err)
		fail(changes, cmp.Or(dead, fmt.Errorf("state: %w", err)))
		return dead
	}
	// Crash point: the database is one generation ahead of the guard.
	s.at("committed")
	if m != s.mark {
		if err := s.guard.write(m); err != nil {
			err = fmt.Errorf("%w: guard: %w", ErrUnsafe, err)
			fail(changes, err)
			return err
		}
	}
	// Crash point: durable and not answered.
	s.at("guarded")
	s.mark = m
	b.show()
	return nil
}

// leavesState reports whether a transaction that failed with err was not
// committed, and whether the next may succeed. After an I/O error neither is
// known: what was written and not synced may or may not be there after a crash.
func leavesState(err error) bool {
	return sqlite.Is(err, sqlite3.ErrFull, sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrNomem, sqlite3.ErrTooBig)
}

// recover is called after err, which a transaction failed with. It returns nil
// if the database is known to be as it was before.
func (s *Store) recover(err error) error {
	s.db.conn.Exec("ROLLBACK") // fails if SQLite has done so itself
	if !leavesState(err) {
		return fmt.Errorf("%w: %w", ErrUnsafe, err)
	}
	st, err2 := loadMeta(s.db.conn)
	if err2 != nil {
		return fmt.Errorf("%w: %w", ErrUnsafe, errors.Join(err, err2))
	}
	if st.mark != s.mark {
		return fmt.Errorf("%w: generation is %d after a transaction from %d that failed: %w", ErrUnsafe, st.generation, s.mark.generation, err)
	}
	s.logger.Error("state could not be written", "err", err)
	return nil
}

func (s *Store) at(point string) {
	if s.config.hook != nil {
		s.config.hook(point)
	}
}

// A staged is a row as it shall become.
type staged struct {
	row
	old     row // as it is on the disk; zero for a new one
	note    []byte
	logSet  bool
	headSet bool
}

// A batch is what one transaction changes.
type batch struct {
	s        *Store
	staged   map[string]*staged
	order    []*staged
	evidence []Evidence
	added    int64 // logs
	err      error // of a query: no change can be decided
}

// row returns a copy of a log's row as the batch has it so far.
func (b *batch) row(origin string) (row, bool) {
	if st, ok := b.staged[origin]; ok {
		return st.row, true
	}
	r, ok := b.s.rows[origin] // only this goroutine changes the map
	if !ok {
		return row{}, false
	}
	return *r, true
}

func (b *batch) stage(r row) *staged {
	st, ok := b.staged[r.Origin]
	if !ok {
		st = new(staged)
		if old, ok := b.s.rows[r.Origin]; ok {
			st.old = *old
		}
		b.staged[r.Origin] = st
		b.order = append(b.order, st)
	}
	st.row = r
	return st
}

func (b *batch) stageLog(r row) {
	r.log = r.hashLog()
	b.stage(r).logSet = true
}

func (b *batch) stageHead(r row, note []byte) {
	r.head = r.hashHead(note)
	st := b.stage(r)
	st.headSet, st.note = true, note
}

func (b *batch) addLog(l Log) (added bool, err error) {
	if err := l.Check(); err != nil {
		return false, err
	}
	if r, ok := b.row(l.Origin); ok {
		if r.vkeys() != l.vkeys() {
			return false, fmt.Errorf("log %q: %w: %s", l.Origin, ErrKeys, r.Keys[0])
		}
		return false, nil
	}
	b.added++
	b.stageLog(row{id: b.s.lastID + b.added, Entry: Entry{Log: l}})
	return true, nil
}

func (b *batch) addEvidence(e Evidence) (added bool, err error) {
	sum := sha256.Sum256(e.File)
	count := int64(0)
	for _, other := range b.evidence {
		if sha256.Sum256(other.File) == sum {
			return false, nil
		}
		if other.Origin == e.Origin {
			count++
		}
	}
	v, err := b.s.db.findEvidence.First(sum[:], e.Origin)
	if err != nil {
		b.err = err
		return false, err
	}
	var have, of int64
	if err := errors.Join(sqlite.Take(v[0], &have), sqlite.Take(v[1], &of)); err != nil {
		b.err = err
		return false, err
	}
	if have > 0 || of+count >= maxEvidence {
		return false, nil
	}
	b.evidence = append(b.evidence, e)
	return true, nil
}

// mark returns what the guard will say. Evidence is no part of the state.
func (b *batch) mark() mark {
	m := b.s.mark
	if len(b.order) == 0 {
		return m
	}
	m.generation++
	for _, st := range b.order {
		m.digest.sub(st.old.log)
		m.digest.sub(st.old.head)
		m.digest.add(st.log)
		m.digest.add(st.head)
	}
	return m
}

// write writes the batch in one transaction. When it returns nil, that is
// durable.
func (b *batch) write(m mark) error {
	w := b.s.db
	if err := w.begin.Run(nil); err != nil {
		return err
	}
	for _, st := range b.order {
		switch {
		case st.logSet && st.old.id != 0:
			if err := w.disable.Run(nil, disabledValue(st.Disabled), st.id); err != nil {
				return err
			}
		case st.logSet:
			if err := w.putLog.Run(nil, st.id, st.Origin, st.vkeys(), int64(st.QPD), st.Contact, st.Source, disabledValue(st.Disabled)); err != nil {
				return err
			}
		}
		if st.headSet {
			if err := w.putHead.Run(nil, st.id, st.Tree.N, st.Tree.Hash[:], st.Time, st.note); err != nil {
				return err
			}
		}
	}
	for _, e := range b.evidence {
		sum := sha256.Sum256(e.File)
		if err := w.putEvidence.Run(nil, sum[:], e.Origin, e.Time, e.File); err != nil {
			return err
		}
	}
	if m != b.s.mark {
		if err := w.putMeta.Run(nil, m.generation, m.digest[:], b.s.mark.digest[:]); err != nil {
			return err
		}
	}
	// Crash point: written and not committed.
	b.s.at("written")
	return w.commit.Run(nil)
}

// show makes memory what the disk is.
func (b *batch) show() {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.s.lastID += b.added
	for _, st := range b.order {
		r := st.row
		b.s.rows[r.Origin] = &r
	}
}

// A writer is the connection that changes the database, with its statements.
type writer struct {
	conn          *sqlite.Conn
	begin, commit *sqlite.Stmt
	putLog        *sqlite.Stmt
	disable       *sqlite.Stmt
	putHead       *sqlite.Stmt
	putMeta       *sqlite.Stmt
	putEvidence   *sqlite.Stmt
	findEvidence  *sqlite.Stmt
}

func newWriter(c *sqlite.Conn) (*writer, error) {
	w := &writer{conn: c}
	err := c.Prepare(map[**sqlite.Stmt]string{
		&w.begin:   "BEGIN IMMEDIATE",
		&w.commit:  "COMMIT",
		&w.putLog:  "INSERT INTO logs (id, origin, keys, qpd, contact, source, disabled) VALUES (?, ?, ?, ?, ?, ?, ?)",
		&w.disable: "UPDATE logs SET disabled = ? WHERE id = ?",
		&w.putHead: "INSERT INTO heads (id, size, root, time, note) VALUES (?, ?, ?, ?, ?)" +
			" ON CONFLICT (id) DO UPDATE SET size = excluded.size, root = excluded.root, time = excluded.time, note = excluded.note",
		&w.putMeta:      "UPDATE meta SET generation = ?, digest = ?, previous = ?",
		&w.putEvidence:  "INSERT INTO evidence (sum, origin, time, file) VALUES (?, ?, ?, ?)",
		&w.findEvidence: "SELECT (SELECT count(*) FROM evidence WHERE sum = ?), (SELECT count(*) FROM evidence WHERE origin = ?)",
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}
