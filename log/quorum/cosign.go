// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/policy"
)

// A Request is what the witnesses are asked to cosign.
type Request struct {
	// Note is the checkpoint with the log's signature. Other signatures in it
	// are left out.
	Note []byte
	// Prove returns the consistency proof from an older size, larger than 0. It
	// is called from several goroutines, and perhaps after Cosign has returned.
	Prove func(old int64) ([]tlog.Hash, error)
}

// A MissingError says which witnesses are missing and why. It wraps ErrQuorum.
type MissingError struct {
	Reasons []Reason // of each that failed, or when ctx ended had not answered
	// RetryAfter is how long it takes until so many witnesses may be asked again
	// that the quorum can be met; 0 if that is so already.
	RetryAfter time.Duration
	cause      error // context's
}

// A Reason is why one witness is missing.
type Reason struct {
	Witness string // its name in the policy
	Err     error  // nil: it has not answered yet
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%v: %s", ErrQuorum, e.list(func(err error) string { return err.Error() }))
}

// Public says who is missing in words that are fit for anybody: it tells neither
// addresses nor what a witness said.
func (e *MissingError) Public() string {
	return e.list(func(err error) string {
		if f, ok := errors.AsType[*failure](err); ok {
			return strings.ReplaceAll(string(f.outcome), "_", " ")
		}
		return "could not be asked"
	})
}

func (e *MissingError) list(say func(error) string) string {
	var all []string
	for _, r := range e.Reasons {
		text := "no answer yet"
		if r.Err != nil {
			text = say(r.Err)
		}
		all = append(all, r.Witness+": "+text)
	}
	return strings.Join(all, "; ")
}

func (e *MissingError) Unwrap() []error { return []error{ErrQuorum, e.cause} }

// Cosign asks all witnesses and returns as soon as the policy is met: the note
// with the log's signature first and then, verified, one line of each witness
// that has cosigned, in the order of the policy. It fails as soon as the policy
// cannot be met any more, or ctx ends, with a [MissingError], and whatever the
// others say with an [AheadError] if a witness shows the reason for one, or has
// shown it since the last call.
//
// Those still under way go on, each for less than a minute, and late is called
// with each larger collection until the next Cosign begins or Close returns: one
// call at a time, on another goroutine, perhaps before the caller has seen what
// Cosign returned, and never if Cosign fails. late must not wait for a caller of
// Cosign or Close. late(nil) says that the next Cosign, whenever it is, will return
// an AheadError.
//
// What a round collected that failed counts for half a minute in the next ones over
// the same text.
func (q *Quorum) Cosign(ctx context.Context, req Request, late func(note []byte)) ([]byte, error) {
	q.cosign.Lock()
	defer q.cosign.Unlock()
	if q.ctx.Err() != nil {
		return nil, errClosed
	}
	r, err := q.begin(req, late)
	if err != nil {
		return nil, err
	}
	// What a witness has shown since the last round is known before this one's
	// checkpoint leaves the process.
	if err := q.contradiction(r); err != nil {
		return nil, err
	}
	r.askAll()
	for {
		if note, err := q.step(r); note != nil || err != nil {
			return note, err
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return nil, r.missing(ctx.Err())
		case <-q.ctx.Done():
			return nil, errClosed
		}
	}
}

// begin ends the last round and begins one, in which nobody is asked yet.
func (q *Quorum) begin(req Request, late func([]byte)) (*round, error) {
	c, n, err := q.own(req.Note)
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	last := q.round
	if last != nil && (c.Size < q.newest.Size || c.Size == q.newest.Size && c.Root != q.newest.Root) {
		q.mu.Unlock()
		return nil, fmt.Errorf("checkpoint: size %d, root %v, after size %d, root %v", c.Size, c.Root, q.newest.Size, q.newest.Root)
	}
	r := &round{
		policy: q.policy, members: q.members,
		checkpoint: c, text: n.Text, log: n.Signatures[0], base: n.Bytes(), prove: req.Prove, late: late,
		proofs: make(map[int64]func() ([]tlog.Hash, error)),
		asked:  make(map[*member]bool), got: make(map[*member]taken), failed: make(map[*member]error),
		wake: make(chan struct{}, 1),
	}
	q.round, q.newest = r, c
	q.mu.Unlock()
	r.keep(last.end())
	return r, nil
}

// contradiction returns the AheadError that a witness gave reason for, if any.
func (q *Quorum) contradiction(r *round) error {
	q.mu.Lock()
	ahead, newest := q.ahead, q.newest
	q.ahead = nil
	q.mu.Unlock()
	// It may have come late in the round before, and this one be what it showed.
	if ahead != nil && (ahead.Checkpoint.Size > newest.Size || !r.consistent(ahead.Checkpoint)) {
		return ahead
	}
	return nil
}

// step returns what Cosign returns, if that is clear already.
func (q *Quorum) step(r *round) ([]byte, error) {
	if err := q.contradiction(r); err != nil {
		return nil, err
	}
	if note := r.done(); note != nil {
		// What was found just before done was not late yet, and wakes nobody now.
		if err := q.contradiction(r); err != nil {
			r.end()
			return nil, err
		}
		return note, nil
	}
	if r.hopeless() {
		return nil, r.missing(nil)
	}
	return nil, nil
}

// deliver hands on what became of asking m for r. A cosignature counts in a
// later round over the same text too.
func (q *Quorum) deliver(m *member, r *round, sig checkpoint.Signature, err error) {
	q.mu.Lock()
	var a *AheadError
	if errors.As(err, &a) {
		q.ahead = a
	}
	current := q.round
	if err == nil && current.text == r.text {
		r = current
	}
	q.mu.Unlock()
	r.add(m, sig, err)
	if a != nil {
		current.found()
	}
}

// found makes an AheadError known: to the Cosign that waits, or as a late one.
func (r *round) found() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.met && !r.over && r.late != nil {
		r.late(nil)
	}
	r.rouse()
}

// A round is the asking for cosignatures of one note.
type round struct {
	policy     *policy.Policy
	members    []*member
	checkpoint checkpoint.Checkpoint
	text       string
	log        checkpoint.Signature
	base       []byte // the note with the log's signature alone
	prove      func(int64) ([]tlog.Hash, error)
	late       func([]byte)
	wake       chan struct{} // there is something new

	proving sync.Mutex
	proofs  map[int64]func() ([]tlog.Hash, error)

	mu     sync.Mutex // held while late is called
	asked  map[*member]bool
	got    map[*member]taken
	failed map[*member]error // asked in vain, or not to be asked
	met    bool
	over   bool // nobody waits for it any more
}

// taken is a cosignature and when it came.
type taken struct {
	sig checkpoint.Signature
	at  time.Time
}

// end makes sure that late is not called any more. It returns r, which may be
// nil.
func (r *round) end() *round {
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.over = true
	}
	return r
}

func (r *round) ended() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}

// keep takes over what the last round got, if it failed over the same text.
// Witnesses that answer by turns meet a quorum this way, and none is asked
// again and again while others are down.
func (r *round) keep(last *round) {
	if last == nil || last.met || last.text != r.text {
		return
	}
	for _, m := range r.members {
		if t, ok := last.got[m]; ok && time.Since(t.at) < maxKept {
			r.got[m] = t
		}
	}
}

// askAll asks the witnesses that may be asked and have not failed lately.
func (r *round) askAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, m := range r.members {
		wait, rest := m.leave()
		_, have := r.got[m]
		switch {
		case have:
		case now.Before(wait):
			r.failed[m] = fail(rateLimited, "it is asked again in %v", wait.Sub(now).Round(time.Second))
		case now.Before(rest):
			// hopeless asks it, should it be needed.
		default:
			r.asked[m] = true
			m.post(r)
		}
	}
}

// hopeless reports whether the policy cannot be met by those that were asked.
// Before it says so, it asks those too that were left alone.
func (r *round) hopeless() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	possible := func(m *member) bool { return r.has(m) || r.asked[m] && r.failed[m] == nil }
	if r.meets(possible) {
		return false
	}
	for _, m := range r.members {
		if !r.has(m) && !r.asked[m] && r.failed[m] == nil {
			r.asked[m] = true
			m.post(r)
		}
	}
	return !r.meets(possible)
}

// wants reports whether m is still to be asked.
func (r *round) wants(m *member) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.over && !r.has(m)
}

func (r *round) has(m *member) bool {
	_, ok := r.got[m]
	return ok
}

// meets reports whether the policy is met by the witnesses that yes says.
func (r *round) meets(yes func(*member) bool) bool {
	return r.policy.Met(func(name string) bool {
		i := slices.IndexFunc(r.members, func(m *member) bool { return m.Name == name })
		return i >= 0 && yes(r.members[i])
	})
}

// add takes a cosignature, or the error instead of it.
func (r *round) add(m *member, sig checkpoint.Signature, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.has(m) || !slices.Contains(r.members, m) {
		return
	}
	if err != nil {
		r.failed[m] = err
	} else {
		r.got[m] = taken{sig, time.Now()}
		if r.met && r.late != nil {
			r.late(r.note())
		}
	}
	r.rouse()
}

func (r *round) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// done returns the note once the policy is met. From then on it is late.
func (r *round) done() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.meets(r.has) {
		return nil
	}
	r.met = true
	return r.note()
}

func (r *round) note() []byte {
	n := checkpoint.Note{Text: r.text, Signatures: []checkpoint.Signature{r.log}}
	for _, m := range r.members {
		if t, ok := r.got[m]; ok {
			n.Signatures = append(n.Signatures, t.sig)
		}
	}
	return n.Bytes()
}

// missing says who has not cosigned.
func (r *round) missing(cause error) *MissingError {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := &MissingError{cause: cause}
	waits := make(map[*member]time.Duration)
	now := time.Now()
	for _, m := range r.members {
		if r.has(m) {
			continue
		}
		wait, _ := m.leave()
		waits[m] = wait.Sub(now)
		if err := r.failed[m]; err != nil || cause != nil {
			e.Reasons = append(e.Reasons, Reason{m.Name, err})
		}
	}
	for _, d := range append([]time.Duration{0}, sortedValues(waits)...) {
		e.RetryAfter = max(d, 0)
		if r.meets(func(m *member) bool { return r.has(m) || waits[m] <= d }) {
			break
		}
	}
	return e
}

func sortedValues(m map[*member]time.Duration) []time.Duration {
	var out []time.Duration
	for _, d := range m {
		out = append(out, d)
	}
	slices.Sort(out)
	return out
}

// proof returns the consistency proof from an older size, computed once for all
// witnesses that want it.
func (r *round) proof(old int64) ([]tlog.Hash, error) {
	if old == 0 || old == r.checkpoint.Size {
		return nil, nil
	}
	r.proving.Lock()
	f := r.proofs[old]
	if f == nil {
		f = sync.OnceValues(func() ([]tlog.Hash, error) { return r.prove(old) })
		r.proofs[old] = f
	}
	r.proving.Unlock()
	return f()
}

// consistent reports whether c can be of the same history. It may be, in doubt.
func (r *round) consistent(c checkpoint.Checkpoint) bool {
	switch {
	case c.Size == 0 || c.Size > r.checkpoint.Size:
		return true
	case c.Size == r.checkpoint.Size:
		return c.Root == r.checkpoint.Root
	}
	p, err := r.proof(c.Size)
	return err != nil || tlog.CheckTree(p, r.checkpoint.Size, r.checkpoint.Root, c.Size, c.Root) == nil
}
