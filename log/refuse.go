// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"errors"
	"fmt"
	"time"

	"example.org/sumlog/log/quorum"
)

// A RefusedError is the ErrBusy of a log that knows why it cannot publish a record
// now. Without the quorum of witnesses the record may be on its way all the same;
// to append it again joins it.
type RefusedError struct {
	Reason string // fit for anybody: it may name witnesses, and nothing of the machine
}

func (e *RefusedError) Error() string { return ErrBusy.Error() + ": " + e.Reason }
func (e *RefusedError) Unwrap() error { return ErrBusy }

func refused(format string, args ...any) error {
	return &RefusedError{fmt.Sprintf(format, args...)}
}

// An outage is a time in which nothing can be published, past, present or to come.
type outage struct {
	begun chan struct{} // closed when it begins
	why   *RefusedError // nil before; guarded by Log.mu
}

func newOutage() *outage { return &outage{begun: make(chan struct{})} }

// interrupt tells all who wait for a publication, and all who come, that there is
// none for now. What is on its way stays so.
func (l *Log) interrupt(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.outage.why == nil
	l.outage.why = &RefusedError{reason}
	if first {
		close(l.outage.begun)
	}
}

// resume ends an outage, if there is one.
func (l *Log) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.outage.why != nil {
		l.outage = newOutage()
	}
}

// tell lets those who append know what the publisher has met with. Other errors
// than these are of a moment, or of this machine, and end by themselves or with
// MaxUnpublishedAge.
func (l *Log) tell(err error) {
	var missing *quorum.MissingError
	var ahead *aheadOfWitnesses
	switch {
	case l.ctx.Err() != nil: // the round was cut off
	case errors.As(err, &missing):
		l.interrupt(noQuorum(missing))
	case errors.As(err, &ahead):
		l.interrupt(ahead.Error())
	}
}

func noQuorum(e *quorum.MissingError) string {
	return "no quorum of witnesses (" + e.Public() + ")"
}

// Admits reports why a new record would be refused now, or nil.
func (l *Log) Admits() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ended(); err != nil {
		return err
	}
	return l.full()
}

// ended reports why nothing can be published now. The caller holds l.mu, as that of
// full.
func (l *Log) ended() error {
	switch {
	case l.fatal != nil:
		return l.fatal
	case l.refusing || l.seq == nil:
		return ErrClosed
	case l.outage.why != nil:
		return l.outage.why
	}
	return nil
}

// full reports why nothing more may wait for publication.
func (l *Log) full() error {
	if len(l.waiting) >= MaxUnpublished {
		return refused("%d entries wait for publication", len(l.waiting))
	}
	if p := l.published.Load(); p.Size < l.tail {
		return refused("%d entries of before the start wait for publication", l.tail-p.Size)
	}
	if age := time.Since(l.stalled); l.queued > 0 && age > MaxUnpublishedAge {
		return refused("nothing was published for %v", age.Round(time.Second))
	}
	return nil
}

// Concerns says what an operator has to look at while what is published is served, a
// sentence each, fit for anybody.
func (l *Log) Concerns() []string {
	var all []string
	if e, ok := errors.AsType[*RefusedError](l.Admits()); ok {
		all = append(all, "new versions cannot be published: "+e.Reason)
	}
	if age, ok := l.CosignatureAge(); l.witnesses != nil && !ok {
		all = append(all, "the newest checkpoint is not cosigned by a quorum of witnesses")
	} else if ok && age > MaxCosignatureAge {
		all = append(all, fmt.Sprintf("the cosignatures of the newest checkpoint are %v old", age.Round(time.Second)))
	}
	if ahead := l.TimeAhead(); ahead > said {
		all = append(all, "the time of the newest publication is "+aheadOfClock(ahead))
	}
	return all
}

// CosignatureAge returns how old the oldest cosignature is that the newest
// publication needs for its quorum. It reports false if it has no quorum, or needs
// none because the log was opened without witnesses.
func (l *Log) CosignatureAge() (age time.Duration, ok bool) {
	if l.witnesses == nil {
		return 0, false
	}
	met, oldest := l.witnesses.Met(l.Published().Checkpoint)
	if !met {
		return 0, false
	}
	return max(time.Since(oldest), 0), true
}
