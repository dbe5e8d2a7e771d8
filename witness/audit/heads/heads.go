// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package heads compares what a log said of itself: at different times, to
// different people, in both of its notes.
//
// A log that shows one tree to a victim and another to the rest of the world has
// signed both. Whoever holds a head of each has the proof; so heads are collected
// from wherever they can be had, and each is compared with the newest that the log
// shows: by its root where a replay has recomputed the root at that size, else by
// a consistency proof made of tiles.
//
// # Checks
//
//	A1  each note is a strict one, signed by the log's key, and of its origin: the
//	    key's name, or "go.sum database tree"
//	A2  all heads of the same kind are heads of one tree
//	A3  the log does not show less than it showed before
//	A4  checkpoints and tree heads are heads of one tree
//	A5  others were shown no other tree, and none that the log has not got
//	A6  the newest checkpoint is cosigned by a quorum that is not too old
//	A7  nobody unknown signs under the log's name; who else signs is listed
//	W1  published checkpoints are cosigned as the policy wants. For what is shown now
//	    that is "stale", for older ones a warning: the policy may be the younger
//	W2  cosignatures verify, and none is from the future
//	W3  no witness cosigned two trees that exclude each other, nor, later, a smaller
//	    tree than before
//
// A failure of A2, A4 and A5 is evidence of kind E1, E2 or E3; of W3, E9 or E10. Where
// the tiles cannot be had that would make the proof, the check could not be made,
// and says so. Those of a fork may still be with whoever was shown it: each head
// can come with the log that has its tiles.
//
// # What is trusted
//
// The log's key, and those in the policy, to be whose they are said to be. No note,
// no tile, and no root of a replay: an accusation is made of signed notes and a
// proof that was verified, or not at all.
//
// # Limits
//
// Of what is archived, [MaxArchived] heads are kept, chosen at random where there are
// more; what was left out is in the report. Nothing is written.
package heads

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/report"
)

// MaxArchived is the number of archived heads that are compared. With three
// cosignatures, a head takes about 1 KiB.
const MaxArchived = 50_000

// Config configures a Set. Key, Log and Report are required.
type Config struct {
	Key    *checkpoint.Key // of the log
	Policy *policy.Policy  // nil: no cosignature is asked for
	MaxAge time.Duration   // of the cosignatures of what is shown now; 0: any
	Now    func() time.Time

	Log    *tlogclient.Log // where tiles are read that prove heads consistent
	Report *report.Report
	Keep   func(*evidence.Evidence) (path string, err error) // nil: evidence is not kept
}

// A Place says what it means that a head was found there.
type Place int

const (
	Shown     Place = iota // the log shows it now
	Known                  // it was shown in an earlier audit
	Archived               // the log says that it was published
	Elsewhere              // somebody else was shown it
)

// A Set is a set of heads of one log. Its methods are for one goroutine.
type Set struct {
	c      Config
	checks checks

	seen     []*seen
	tries    int   // proofs that may still be asked for
	archived int64 // of those added
	places   []int // of those kept, in seen
	most     int   // MaxArchived, but in tests
	have     map[[sha256.Size]byte]*seen
	last     map[string]*seen // by source, of what is shown
	unknown  map[string]bool  // signers that nobody told us of
}

// A seen is one head as it was shown once.
type seen struct {
	tlogclient.Head
	note   checkpoint.Note
	place  Place
	source string
	log    *tlogclient.Log // nil: that of the set

	cosigned []cosigned // verified, by witnesses of the policy
	verdict  verdict    // of Check
}

type cosigned struct {
	by   *checkpoint.Key
	time int64
}

func (h *seen) String() string {
	return fmt.Sprintf("%s (size %d, root %v)", h.source, h.Size, h.Root)
}

// by returns the cosignature by k.
func (h *seen) by(k *checkpoint.Key) (c cosigned, ok bool) {
	i := slices.IndexFunc(h.cosigned, func(c cosigned) bool { return c.by == k })
	if i < 0 {
		return c, false
	}
	return h.cosigned[i], true
}

type checks struct{ a1, a2, a3, a4, a5, a6, a7, w1, w2, w3 *report.Check }

// New returns an empty set. It fails if the policy is one of other logs.
func New(c Config) (*Set, error) {
	if c.Key == nil || c.Log == nil || c.Report == nil {
		return nil, errors.New("heads: key, log and report are required")
	}
	if c.Policy != nil {
		var err error
		if c.Policy, err = c.Policy.For(c.Key); err != nil {
			return nil, err
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	r := c.Report
	return &Set{
		c: c, most: MaxArchived,
		checks: checks{
			a1: r.Check("A1", "heads are signed by the log's key, in strict form", "heads"),
			a2: r.Check("A2", "all heads are of one tree", "heads"),
			a3: r.Check("A3", "the log shows no less than before", "heads"),
			a4: r.Check("A4", "checkpoints and tree heads are of one tree", "heads"),
			a5: r.Check("A5", "others were shown the same tree", "heads"),
			a6: r.Check("A6", "cosignatures are fresh", "heads"),
			a7: r.Check("A7", "nobody else signs as the log", "heads"),
			w1: r.Check("W1", "the witness policy is met", "checkpoints"),
			w2: r.Check("W2", "cosignatures verify, none from the future", "cosignatures"),
			w3: r.Check("W3", "no witness contradicts itself", "cosignatures"),
		},
		have:    make(map[[sha256.Size]byte]*seen),
		last:    make(map[string]*seen),
		unknown: make(map[string]bool),
	}, nil
}

// Add adds a head as it was read from source. It returns false, and has reported
// why, if the note is no head of the log. Log is where the tiles are that this head
// was made of, if not in the log that the set is of; it may be nil.
func (s *Set) Add(place Place, source string, note []byte, log *tlogclient.Log) (tlogclient.Head, bool) {
	s.checks.a1.Add(1)
	head, err := tlogclient.ParseHead(note, "", s.c.Key)
	if err == nil && head.Origin != s.c.Key.Name() && head.Origin != tlogclient.DatabaseOrigin {
		err = fmt.Errorf("%w: its origin is %.255q", tlogclient.ErrHead, head.Origin)
	}
	if err != nil {
		s.checks.a1.Findf(report.Failed, "%s: %v", source, err)
		return tlogclient.Head{}, false
	}
	parsed, err := checkpoint.ParseNote(note)
	if err != nil { // it was parsed before
		s.checks.a1.Findf(report.Failed, "%s: %v", source, err)
		return tlogclient.Head{}, false
	}
	h := &seen{Head: head, note: parsed, place: place, source: source, log: log}
	if place == Shown {
		if before := s.last[source]; before != nil && before.Size > h.Size {
			s.checks.a3.Findf(report.Stale, "%v after size %d", h, before.Size)
		}
		s.last[source] = h
	}
	// The same bytes say the same wherever they are, but not mean the same.
	id := sha256.Sum256(append([]byte{byte(place)}, note...))
	if old := s.have[id]; old != nil {
		if old.log == nil {
			old.log = log
		}
		return head, true
	}
	s.verify(h)
	if s.keep(h) {
		s.have[id] = h
	}
	return head, true
}

// keep adds h to what is compared later. Of what is archived it keeps a sample that
// nobody can foresee.
func (s *Set) keep(h *seen) bool {
	if h.place != Archived {
		s.seen = append(s.seen, h)
		return true
	}
	s.archived++
	if len(s.places) < s.most {
		s.places = append(s.places, len(s.seen))
		s.seen = append(s.seen, h)
		return true
	}
	if i := rand.Int64N(s.archived); i < int64(s.most) {
		s.seen[s.places[i]] = h
	}
	return false
}

// Newest returns the largest head that the log shows now, the checkpoint before the
// tree head of the same tree.
func (s *Set) Newest() (tlogclient.Head, bool) {
	h := s.newest()
	if h == nil {
		return tlogclient.Head{}, false
	}
	return h.Head, true
}

func (s *Set) newest() *seen {
	var best *seen
	for _, h := range s.seen {
		if h.place != Shown {
			continue
		}
		if best == nil || h.Size > best.Size || h.Size == best.Size && !s.isCheckpoint(best) && s.isCheckpoint(h) {
			best = h
		}
	}
	return best
}

// Largest returns the largest size that somebody else was shown, or 0.
func (s *Set) Largest() int64 {
	largest := int64(0)
	for _, h := range s.seen {
		if h.place == Elsewhere {
			largest = max(largest, h.Size)
		}
	}
	return largest
}

func (s *Set) isCheckpoint(h *seen) bool { return h.Origin == s.c.Key.Name() }

// Sizes returns the sizes of all heads from 1 to that of the newest, in order.
func (s *Set) Sizes() []int64 {
	newest := s.newest()
	if newest == nil {
		return nil
	}
	var sizes []int64
	for _, h := range s.seen {
		if 0 < h.Size && h.Size <= newest.Size {
			sizes = append(sizes, h.Size)
		}
	}
	slices.Sort(sizes)
	return slices.Compact(sizes)
}
