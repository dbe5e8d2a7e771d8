// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"fmt"
	"time"
)

const (
	// maxLead is how far the time of a publication may be ahead of the time as of
	// which a quorum of witnesses vouches for it. Clocks differ by less, and a round
	// with what is kept of the one before takes less.
	maxLead = time.Minute

	// said is the lead over the clock from which an operator is told.
	said = time.Second
)

// timeAfter is the time of a publication that follows one of time last: now, but
// later than last.
func timeAfter(last time.Time) time.Time {
	now := time.Now().UTC().Truncate(time.Microsecond)
	if next := last.Add(time.Microsecond); now.Before(next) {
		return next
	}
	return now
}

// An aheadOfWitnesses says by how much this machine's clock is ahead.
type aheadOfWitnesses struct{ lead time.Duration }

func (e *aheadOfWitnesses) Error() string {
	return fmt.Sprintf("this server's clock is %v ahead of its witnesses'; one of them is wrong", e.lead.Round(time.Second))
}

// checkTime reports whether the time of p, cosigned, is one that its witnesses do not
// contradict. The times of entries follow from it and stay for ever, so that one that
// a wrong clock made would never go away.
//
// Where the publication before has such a time already, from a log without witnesses,
// the next can have no smaller one. To refuse it would mend nothing, and end the log
// until the clocks have caught up, which may take years: it passes, one microsecond
// after the last.
func (l *Log) checkTime(p *Publication) error {
	_, vouched := l.witnesses.Met(p.Checkpoint)
	lead := p.Time.Sub(vouched)
	if lead <= maxLead || p.Time.Equal(l.archive.last.Load().Time.Add(time.Microsecond)) {
		return nil
	}
	return &aheadOfWitnesses{lead}
}

// TimeAhead returns how far the time of the newest publication is ahead of the clock,
// 0 if it is not.
func (l *Log) TimeAhead() time.Duration {
	return max(time.Until(l.Published().Time), 0)
}

// aheadOfClock ends a sentence about a time.
func aheadOfClock(ahead time.Duration) string {
	return fmt.Sprintf("%v ahead of the clock: until the clock has caught up, each publication is a microsecond after the one before", ahead.Round(time.Second))
}

// sayTime tells the operator at start of a time that is ahead of the clock.
func (l *Log) sayTime() {
	p := l.Published()
	if ahead := l.TimeAhead(); ahead > said {
		l.logger.Warn("the time of the newest publication is "+aheadOfClock(ahead)+"; if the clock is wrong, set it", "time", p.Time)
	}
}
