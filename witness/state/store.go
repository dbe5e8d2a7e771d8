// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/sqlite"
)

// A Store is the state of a running witness. Its methods may be called by many
// goroutines at once.
type Store struct {
	config Config
	logger *slog.Logger
	unlock func() error
	view   *View
	guard  *guard  // the writer's
	db     *writer // the writer's
	mark   mark    // of the database; the writer's
	lastID int64   // of logs; the writer's
	ended  chan struct{}
	failed chan error

	mu   sync.RWMutex
	rows map[string]*row // by origin; never changed in place

	queue queue
}

// Open opens the state in a directory and takes its locks. The error wraps
// ErrUnsafe if nothing may be cosigned with it, and durable.ErrLocked if another
// process holds it.
func Open(c Config) (*Store, error) {
	s := &Store{config: c, logger: c.Logger, ended: make(chan struct{}), failed: make(chan error, 1)}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.queue.wake = make(chan struct{}, 1)
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.release())
	}
	go s.write()
	return s, nil
}

func (s *Store) open() error {
	root, err := os.OpenRoot(s.config.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := root.Stat(dbFile); err != nil {
		// Where a guard remembers one, a missing database is lost, not new.
		if lost := admits(guardPath(s.config.Dir, s.config.Guard)); errors.Is(lost, ErrUnsafe) {
			return fmt.Errorf("%s is missing: %w", filepath.Join(s.config.Dir, dbFile), lost)
		}
		return err
	}
	if s.unlock, err = durable.Lock(root, lockFile); err != nil {
		return err
	}
	if _, err := durable.Sweep(root, "."); err != nil {
		return err
	}
	if s.guard, err = openGuard(guardPath(s.config.Dir, s.config.Guard)); err != nil {
		return err
	}
	path := filepath.Join(s.config.Dir, dbFile)
	st, err := s.openDB(path)
	if err != nil {
		if sqlite.IsDamage(err) {
			return fmt.Errorf("%w: %s: %w", ErrUnsafe, path, err)
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := s.compare(st); err != nil {
		return err
	}
	s.mark = st.mark
	s.rows = make(map[string]*row, len(st.rows))
	for _, r := range st.rows {
		s.rows[r.Origin] = r
		s.lastID = max(s.lastID, r.id)
	}
	s.view, err = OpenView(s.config.Dir)
	return err
}

func (s *Store) openDB(path string) (*stored, error) {
	c, err := sqlite.Open(path, "rw", "synchronous=FULL", "journal_mode=WAL", "cache_size=-8192", "journal_size_limit=16777216", "foreign_keys=ON")
	if err != nil {
		return nil, err
	}
	if s.db, err = newWriter(c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	// What all else here rests on is looked at, not assumed: that every commit
	// syncs (2 is FULL).
	mode, err := c.First("PRAGMA journal_mode")
	if err != nil {
		return nil, err
	}
	sync, err := c.First("PRAGMA synchronous")
	if err != nil {
		return nil, err
	}
	if mode[0] != "wal" || sync[0] != int64(2) {
		return nil, fmt.Errorf("journal mode %v, synchronous %v", mode[0], sync[0])
	}
	return load(c, false)
}

// compare compares the database with the guard, which is moved on if a crash has
// left it one behind.
func (s *Store) compare(st *stored) error {
	g := s.guard.mark
	switch {
	case g.id != st.id:
		return fmt.Errorf("%w: the guard is another witness's", ErrUnsafe)
	case st.generation < g.generation:
		return fmt.Errorf("%w: the database is at generation %d, and the guard has seen %d: it is an older copy", ErrUnsafe, st.generation, g.generation)
	case st.generation == g.generation && st.digest == g.digest:
		return nil
	case st.generation == g.generation+1 && st.previous == g.digest:
		s.logger.Info("guard is one generation behind, as a crash leaves it", "generation", st.generation)
		return s.guard.write(st.mark)
	case st.generation <= g.generation+1:
		return fmt.Errorf("%w: the database at generation %d is not the one that the guard has seen", ErrUnsafe, st.generation)
	}
	return fmt.Errorf("%w: the guard is at generation %d, and the database at %d: the guard is an older copy", ErrUnsafe, g.generation, st.generation)
}

// Close ends what is under way and gives the locks back.
func (s *Store) Close() error {
	if s.queue.close() {
		<-s.ended
		return s.release()
	}
	<-s.ended
	return nil
}

func (s *Store) release() error {
	var errs []error
	if s.view != nil {
		errs = append(errs, s.view.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.conn.Close())
	}
	if s.guard != nil {
		errs = append(errs, s.guard.close())
	}
	if s.unlock != nil {
		errs = append(errs, s.unlock())
	}
	return errors.Join(errs...)
}

// Failed returns a channel that receives one error, which wraps ErrUnsafe, when
// it is not known any more what is on the disk.
func (s *Store) Failed() <-chan error { return s.failed }

// Entry returns what is known of a log.
func (s *Store) Entry(origin string) (e Entry, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok := s.rows[origin]
	if !ok {
		return Entry{}, false
	}
	return r.Entry, true
}

// Logs returns all logs, disabled ones too, in no order.
func (s *Store) Logs() []Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Entry, 0, len(s.rows))
	for _, r := range s.rows {
		out = append(out, r.Entry)
	}
	return out
}

// Note returns the newest cosigned checkpoint of a log: with the log's
// signatures and the cosignatures. It is nil before the first one.
//
// The database has a note for a moment before the guard knows of it. Shown then,
// an older database put back would deny it, and who shows it in return would seem
// to know more than the state. So what is read must be what memory has.
func (s *Store) Note(origin string) ([]byte, error) {
	for range maxNoteReads {
		note, err := s.view.Note(origin)
		if err != nil {
			return nil, err
		}
		s.mu.RLock()
		r := s.rows[origin] // nil if the log is being added
		s.mu.RUnlock()
		switch {
		case r == nil || r.Time == 0:
			return nil, nil
		case r.hashHead(note) == r.head:
			return note, nil
		}
		// A commit is under way, or was just now. What waits in the queue is done
		// after it.
		if err := s.do(context.Background(), func(*batch) error { return nil }); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("log %q: its note is not the one that was written", origin)
}

// maxNoteReads is far more than commits that can come in between. A note that
// still differs then was written by somebody else.
const maxNoteReads = 16

// Evidence returns all evidence, oldest first.
func (s *Store) Evidence() ([]Evidence, error) { return s.view.Evidence() }

// Export writes all logs and heads.
func (s *Store) Export(w io.Writer) error {
	v, err := OpenView(s.config.Dir) // s.view must not be held for so long
	if err != nil {
		return err
	}
	return errors.Join(v.Export(w), v.Close())
}

// Update makes u.New the newest cosigned tree of its log. When it returns nil,
// that is durable. After any other result nothing may be given out that says so;
// the step may yet be there after a crash. ctx matters only until the step is on
// its way to the disk.
func (s *Store) Update(ctx context.Context, u Update) error {
	return s.do(ctx, func(b *batch) error {
		r, ok := b.row(u.Origin)
		if !ok || r.Disabled {
			return fmt.Errorf("log %q: %w", u.Origin, ErrUnknown)
		}
		if err := u.check(r.Entry); err != nil {
			return err
		}
		r.Tree, r.Time = u.New, u.Time
		b.stageHead(r, u.Note)
		return nil
	})
}

// AddLogs adds logs. One that is there with the same keys stays as it is,
// disabled or not. errs is nil or has, at its index, why a log was not added;
// that wraps ErrKeys if the origin is there with other keys.
func (s *Store) AddLogs(ctx context.Context, logs ...Log) (added int, errs []error) {
	errs = make([]error, len(logs))
	err := s.do(ctx, func(b *batch) error {
		for i, l := range logs {
			var ok bool
			if ok, errs[i] = b.addLog(l); ok {
				added++
			}
		}
		return nil
	})
	if err != nil {
		added = 0
		for i := range errs {
			errs[i] = errors.Join(errs[i], err)
		}
	}
	if !slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		return added, nil
	}
	return added, errs
}

// AddLog is AddLogs of one.
func (s *Store) AddLog(ctx context.Context, l Log) error {
	_, errs := s.AddLogs(ctx, l)
	return errors.Join(errs...)
}

// SetDisabled disables or enables a log. When it returns nil, no step of a
// disabled log is on its way to the disk any more.
func (s *Store) SetDisabled(ctx context.Context, origin string, disabled bool) error {
	return s.do(ctx, func(b *batch) error {
		r, ok := b.row(origin)
		if !ok {
			return fmt.Errorf("log %q: %w", origin, ErrUnknown)
		}
		if r.Disabled != disabled {
			r.Disabled = disabled
			b.stageLog(r)
		}
		return nil
	})
}

// AddEvidence keeps evidence, unless it is there already or there is enough
// against that log.
func (s *Store) AddEvidence(ctx context.Context, e Evidence) (added bool, err error) {
	if len(e.File) > maxEvidenceFile {
		return false, fmt.Errorf("evidence: %d bytes, more than %d", len(e.File), maxEvidenceFile)
	}
	err = s.do(ctx, func(b *batch) error {
		if _, ok := b.row(e.Origin); !ok {
			return fmt.Errorf("log %q: %w", e.Origin, ErrUnknown)
		}
		added, err = b.addEvidence(e)
		return err
	})
	return added && err == nil, err
}
