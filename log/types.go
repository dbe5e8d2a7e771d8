// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/tlog"
)

// An Entry is a record with its place in the log.
type Entry struct {
	Index  int64
	Record Record

	// Time is when the entry was first published, in whole microseconds. It
	// follows from the archive alone: the time of the first publication that
	// covers the entry, or one microsecond after the entry before it, whichever
	// is later. So the times of entries are strictly increasing. It is zero
	// where only the log was read.
	Time time.Time
}

// A Publication is one line of the archive: a size of the tree, and the two
// signed notes that say so. Nothing of the log beyond the newest publication is
// ever served.
type Publication struct {
	Time       time.Time // strictly increasing, whole microseconds, UTC
	Size       int64
	Root       tlog.Hash
	Checkpoint []byte // the note with origin NAME, with the cosignatures it had
	TreeHead   []byte // the note that begins with "go.sum database tree"
}

// Names is what the log needs of the index of names: the place where
// uniqueness is decided for published entries. (What is not yet published, the
// log itself remembers.) It must be safe for concurrent use.
type Names interface {
	// Find returns the published entry of m.
	Find(m module.Version) (e Entry, found bool, err error)

	// Publish makes the entries below p.Size findable before the log shows p
	// to anyone. It is called in order of p.Size and by one goroutine. When it
	// fails it is called again with the same or a later publication.
	Publish(p *Publication) error
}

// ErrUnsafe is wrapped by every error that means: the state on disk is not one
// that this log can have written, so nothing more may be signed over it. A
// command that meets it exits with 3.
var ErrUnsafe = errors.New("state is not safe")

// ErrBusy is wrapped by the error of an append that was refused: because too many
// entries wait for publication, or have waited too long, because nothing can be
// published at the moment, or because the log is being read again after a failed
// write. Trying later is right. See [RefusedError].
var ErrBusy = errors.New("log is busy")

// ErrClosed is the error of an append to a log that is being closed.
var ErrClosed = errors.New("log is closed")

// A ConflictError reports that a module version is in the log, or on its way
// into it, with other hashes than those offered. The first record stands for
// ever.
type ConflictError struct {
	Have Record // what the log has
	Got  Record // what was offered
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s: the log has other hashes:\n\thave %s %s\n\tgot  %s %s",
		e.Have.Module, e.Have.Zip, e.Have.Mod, e.Got.Zip, e.Got.Mod)
}
