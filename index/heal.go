// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"example.org/sumlog/index/internal/buckets"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/sqlite"
	"example.org/sumlog/log"
	sqlite3 "github.com/mattn/go-sqlite3"
)

// ErrDamaged is wrapped by the error of a question whose answer stood in a damaged
// part of the database. It passes: the index is being made again.
var ErrDamaged = errors.New("the index is damaged")

// isDamage reports whether err says that the database is not what was written.
func isDamage(err error) bool {
	_, stale := errors.AsType[errStale](err)
	return stale || errors.Is(err, buckets.ErrDamaged) || sqlite.IsDamage(err) || unreadable(err)
}

// unreadable reports whether err says that the disk does not give back a page.
func unreadable(err error) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	return ok && (e.ExtendedCode == sqlite3.ErrIoErrRead || e.ExtendedCode == sqlite3.ErrIoErrShortRead)
}

// noticed returns err for the caller of the index. If it is damage, the database
// loses its name first, so that no later start trusts it, and is made again.
func (x *Index) noticed(err error) error {
	if err == nil {
		return nil
	}
	if !isDamage(err) {
		return sqlite.Shortage(err)
	}
	if x.damaged.CompareAndSwap(false, true) {
		x.logger.Error("the index is damaged and is made again from the log", "err", err)
		if err := unname(x.config.Path); err != nil {
			x.logger.Error("the damaged index could not be removed, and a restart would take it for a sound one", "err", err)
		}
		x.hurt <- struct{}{} // there is room: it is empty while nothing is damaged
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// unname removes the database's name durably. Who has it open goes on reading it.
func unname(path string) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Remove(filepath.Base(path)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return durable.SyncDir(root, ".")
}

// Pauses after an attempt to make the database again that failed.
const shortestHeal, longestHeal = time.Second, time.Minute

// heal makes the database again whenever damage was met, until the index is closed, or
// the log turns out to be what is wrong: that passes by no other try, and the next
// Publish tells the log of it.
func (x *Index) heal() {
	for {
		select {
		case <-x.done:
			return
		case <-x.hurt:
		}
		wait := shortestHeal
		for {
			err := x.remake()
			if err == nil || x.isDone() {
				break
			}
			if errors.Is(err, log.ErrUnsafe) {
				x.logger.Error("the index cannot be made again of this log", "err", err)
				x.mu.Lock()
				x.unsafe = err
				x.mu.Unlock()
				return
			}
			x.logger.Error("the index could not be made again, trying once more", "err", err, "wait", wait)
			select {
			case <-x.done:
			case <-time.After(wait):
			}
			wait = min(2*wait, longestHeal)
		}
	}
}

func (x *Index) isDone() bool {
	select {
	case <-x.done:
		return true
	default:
		return false
	}
}

// remake makes the database again and puts it in the place of the damaged one. What
// the damaged one can prove is answered until then.
func (x *Index) remake() error {
	begin := time.Now()
	c := x.config
	c.stopped, c.Progress = x.isDone, nil
	made, err := prepare(c)
	if err != nil {
		return err
	}
	defer made.abort()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return errClosed
	}
	x.using.Lock()
	defer x.using.Unlock()
	// All of the old one is closed before the new one has its name: SQLite removes
	// a write-ahead log by name.
	if x.w != nil {
		err = errors.Join(x.readers.close(), (<-x.scanner).conn.Close(), x.w.close())
		x.w, x.readers = nil, nil
		if err != nil {
			x.logger.Warn("closing the damaged index", "err", err)
		}
	}
	if err := made.commit(); err != nil {
		return err
	}
	if err := x.open(); err != nil {
		return err
	}
	x.damaged.Store(false)
	x.logger.Info("made index", "size", x.w.state.size, "duration", time.Since(begin).Round(time.Millisecond))
	return nil
}

// open opens the database that is there and applies what is missing. Nothing that
// was applied before may be missing for a moment: the log would log it again.
func (x *Index) open() error {
	w, err := openWriter(x.config.Path)
	if err != nil {
		return err
	}
	p := x.source.Published()
	if x.applied != nil && x.applied.Size > p.Size {
		p = x.applied
	}
	if p.Size > w.state.size {
		if err := w.apply(x.source, p, true); err != nil {
			return errors.Join(err, w.close())
		}
	}
	if err := x.openReaders(x.config.Path); err != nil {
		return errors.Join(err, w.close())
	}
	x.w, x.applied, x.unsure = w, p, true
	x.file = &lineFile{w.file, x.source, x.logger}
	x.size.Store(w.state.size)
	return nil
}
