// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package state is what a witness must never forget: the logs it knows, and of
// each the newest tree that it has cosigned. It is the only package of the
// witness that writes.
//
// A witness that forgets a tree can be made to cosign another one beside it, so
// everything here serves one sentence: [Store.Update] returns nil only when no
// crash, no full disk and no second process can bring the earlier state back,
// and the caller gives a cosignature out only after that.
//
// # Files
//
//	DIR/witness.db   SQLite, write-ahead log, synchronous=FULL
//	DIR/guard        or elsewhere: the newest generation of the database
//	DIR/lock         held, like the guard, by the process that runs the witness
//
// The database has one row for each log, by its origin, and one for its newest
// cosigned checkpoint. Logs are added and disabled, and never deleted: the state
// of a log that comes back must still be there. One row has the generation, which
// every transaction raises by one, and a digest over all the others, so that a
// row that rotted or was edited by hand is noticed at the next start.
//
// # Guard
//
// SQLite cannot know that its file is an older copy of itself. The guard has
// generation and digest of the newest database. It is written after each
// transaction and before the answers to it, so that the database is at the
// guard's generation or, after a crash in between, one ahead of it, having been
// made from exactly the guard's state. Every other database is refused with
// ErrUnsafe: it was put back, or it belongs to another witness, or the guard was
// put back. A guard in DIR is put back together with DIR; on another disk it is
// not.
//
// Only [Create] makes a guard. A database without one is refused.
//
// # Commits
//
// One goroutine writes. It takes all changes that have gathered while it wrote
// the ones before, makes them one transaction with one sync, writes the guard
// once, changes the memory, and answers. So what memory says is on the disk
// always, and changes of different logs share the cost of the disk.
//
// A transaction that fails in a way that leaves the earlier state, a full disk
// first of all, fails its changes and nothing else. After any other error it is
// unknown what is on the disk; the store then refuses everything, says so on
// [Store.Failed], and the process ends. Nothing is lost by that: what was not
// answered may be there or not at the next start, and both are safe.
//
// # Trust
//
// The file system keeps what fsync acknowledged. Nothing protects against
// somebody who may write both the database and the guard.
package state

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// Errors that callers branch on.
var (
	// ErrUnsafe says that the state may be older than what was cosigned under
	// it, or not whole. Nothing may be cosigned.
	ErrUnsafe = errors.New("state not safe")

	// ErrExists says that the directory has a state already.
	ErrExists = errors.New("there is a witness already")

	// ErrKeys says that an origin is known with other keys.
	ErrKeys = errors.New("origin is known with other keys")

	// ErrUnknown says that an origin is not known, or disabled.
	ErrUnknown = errors.New("unknown origin")

	// ErrConflict says that an update does not start where the log is.
	ErrConflict = errors.New("log is at another tree")

	// ErrClosed says that the store is closed.
	ErrClosed = errors.New("state is closed")
)

// A Log is a log whose checkpoints may be cosigned. Its origin is its name; the
// keys are those that may sign for it.
type Log struct {
	Origin   string
	Keys     []*checkpoint.Key
	QPD      int    // new checkpoints a day; 0: no limit
	Contact  string // of the log's operator
	Source   string // where it was learnt from, such as the address of a list
	Disabled bool
}

// Limits of a log's fields. The longest origin is also what a cosignature by
// ML-DSA-44 can cover.
const (
	maxOrigin = 255
	maxKeys   = 16
	maxLine   = 1 << 10
)

// Check reports what is wrong with the fields of l.
func (l Log) Check() error {
	if l.Origin == "" || len(l.Origin) > maxOrigin || !printable(l.Origin) {
		return fmt.Errorf("origin %.100q: not one line of at most %d bytes", l.Origin, maxOrigin)
	}
	if len(l.Keys) == 0 || len(l.Keys) > maxKeys {
		return fmt.Errorf("log %q: %d keys", l.Origin, len(l.Keys))
	}
	for i, k := range l.Keys {
		if slices.ContainsFunc(l.Keys[:i], func(other *checkpoint.Key) bool { return other.String() == k.String() }) {
			return fmt.Errorf("log %q: repeated key %v", l.Origin, k)
		}
	}
	if l.QPD < 0 || l.QPD > 1<<31-1 {
		return fmt.Errorf("log %q: %d checkpoints a day", l.Origin, l.QPD)
	}
	for _, s := range []string{l.Contact, l.Source} {
		if len(s) > maxLine || !printable(s) {
			return fmt.Errorf("log %q: contact or source %.100q: not one line of at most %d bytes", l.Origin, s, maxLine)
		}
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// vkeys returns the keys, one a line, in a fixed order.
func (l Log) vkeys() string {
	var lines []string
	for _, k := range l.Keys {
		lines = append(lines, k.String())
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func parseVkeys(text string) ([]*checkpoint.Key, error) {
	var keys []*checkpoint.Key
	for line := range strings.SplitSeq(text, "\n") {
		k, err := checkpoint.ParseKey(line)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// An Entry is a log and the newest that was cosigned of it.
type Entry struct {
	Log
	Tree tlog.Tree // the zero Tree before the first cosignature
	Time int64     // POSIX time of the last cosignature; 0 before the first
}

// An Update is a step of a log from what was cosigned to what shall be.
type Update struct {
	Origin   string
	Old, New tlog.Tree // Old is the Tree of the Entry
	Time     int64     // of the cosignatures, not before the Entry's
	Note     []byte    // New's checkpoint, signed by the log and cosigned
}

// check reports why e cannot become what u says. Callers have checked as much;
// here is the last place where a mistake of theirs can be kept from the disk.
func (u Update) check(e Entry) error {
	switch {
	case e.Tree != u.Old:
		return fmt.Errorf("log %q: %w: %d, not %d", u.Origin, ErrConflict, e.Tree.N, u.Old.N)
	case u.New.N < e.Tree.N, u.New.N == e.Tree.N && e.Time != 0 && u.New.Hash != e.Tree.Hash:
		return fmt.Errorf("log %q: %w: size %d after %d", u.Origin, ErrConflict, u.New.N, e.Tree.N)
	case u.Time <= 0 || u.Time < e.Time:
		return fmt.Errorf("log %q: %w: time %d after %d", u.Origin, ErrConflict, u.Time, e.Time)
	}
	return nil
}

// Evidence is a file that proves the misbehaviour of a log.
type Evidence struct {
	Origin string
	Time   int64 // POSIX time when it was found
	File   []byte
}

// Limits of the evidence that is kept. A log that misbehaves can make as much of
// it as it likes, and one file is enough against it.
const (
	maxEvidence     = 64 // files an origin
	maxEvidenceFile = 512 << 10
)

// Config is the configuration of Open.
type Config struct {
	Dir    string
	Guard  string       // path of the guard; "": guard in Dir
	Logger *slog.Logger // nil: none

	// hook is called at the crash points of a commit, by tests.
	hook func(point string)
}

const (
	dbFile    = "witness.db"
	guardFile = "guard"
	lockFile  = "lock"
)
