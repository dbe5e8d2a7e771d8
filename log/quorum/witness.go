// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package quorum

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/policy"
)

// An outcome is what became of a request, as the metrics count it.
type outcome string

const (
	ok           outcome = "ok"
	conflict     outcome = "conflict"      // it has another size
	refused      outcome = "refused"       // an answer that is no success
	timedOut     outcome = "timeout"       // no whole answer in time
	garbage      outcome = "garbage"       // an answer that the protocol does not know
	badSignature outcome = "bad_signature" // no valid cosignature of what was asked
	rateLimited  outcome = "rate_limited"  // it asks for time
	unreachable  outcome = "unreachable"   // no answer
	ahead        outcome = "ahead"         // it says that it has seen more than the log has signed
)

var outcomes = []outcome{ok, conflict, refused, timedOut, garbage, badSignature, rateLimited, unreachable, ahead}

// A failure is a witness's fault.
type failure struct {
	outcome outcome
	err     error
	wait    time.Duration // that the witness asks for
}

func (f *failure) Error() string { return string(f.outcome) + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(o outcome, format string, args ...any) *failure {
	return &failure{outcome: o, err: fmt.Errorf(format, args...)}
}

// errSuperseded says that a newer round has begun, and nobody waits.
var errSuperseded = errors.New("superseded")

// A member is a witness of the policy and what is known of it.
type member struct {
	policy.Witness
	base    string // URL without a slash at its end
	q       *Quorum
	metrics *series

	mu        sync.Mutex
	size      int64  // that it is thought to have; -1: not known
	running   bool   // there is a goroutine
	next      *round // that it turns to when it is done
	fails     int    // in a row
	restUntil time.Time
	waitUntil time.Time // what it asked for
	last      outcome
}

// inherit takes over what is known of the same witness under another name.
func (m *member) inherit(o *member) {
	o.mu.Lock()
	defer o.mu.Unlock()
	m.size, m.fails, m.restUntil, m.waitUntil, m.last = o.size, o.fails, o.restUntil, o.waitUntil, o.last
}

// leave says until when the witness has asked to be left alone, and until when
// it had better be, having failed.
func (m *member) leave() (wait, rest time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.waitUntil, m.restUntil
}

// post makes r what the witness is asked for next. A round that still waited
// there is forgotten: its Cosign has ended.
func (m *member) post(r *round) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next = r
	if !m.running {
		m.running = true
		m.q.wg.Go(m.run)
	}
}

// run serves rounds until there is none.
func (m *member) run() {
	for {
		m.mu.Lock()
		r := m.next
		m.next = nil
		if r == nil {
			m.running = false
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
		m.serve(r)
	}
}

func (m *member) serve(r *round) {
	if !r.wants(m) {
		return
	}
	sig, err := m.ask(m.q.ctx, r)
	if errors.Is(err, errSuperseded) || m.q.ctx.Err() != nil {
		return
	}
	m.settle(err)
	m.q.deliver(m, r, sig, err)
}

// settle remembers how a round ended. A failing witness is left alone for a
// time that doubles from a second on.
func (m *member) settle(err error) {
	var f *failure
	switch {
	case err == nil:
		f = &failure{outcome: ok}
		m.metrics.success.SetToCurrentTime()
		m.metrics.up.Set(1)
	case errors.As(err, &f):
		m.metrics.up.Set(0)
	default:
		return // our own fault
	}
	m.report(f)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.fails, m.restUntil, m.waitUntil = 0, time.Time{}, time.Time{}
		return
	}
	now := time.Now()
	m.restUntil = now.Add(min(time.Second<<min(m.fails, 16), maxRest))
	m.fails++
	if f.wait > 0 {
		m.waitUntil = now.Add(f.wait)
	}
}

// report logs an outcome that is not the last one again.
func (m *member) report(f *failure) {
	m.mu.Lock()
	last := m.last
	m.last = f.outcome
	m.mu.Unlock()
	switch {
	case f.outcome == last:
	case f.outcome != ok:
		m.q.logger.Warn("witness fails", "witness", m.Name, "err", f)
	case last != "":
		m.q.logger.Info("witness cosigns again", "witness", m.Name)
	}
}

func (m *member) remember(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if size < m.size {
		m.q.logger.Warn("witness has forgotten what it has seen", "witness", m.Name, "size", size, "had", m.size)
	}
	m.size = size
	m.metrics.size.Set(float64(size))
}

// known returns the size to begin with. Not known is as good as 0: the answer
// says what it is.
func (m *member) known() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(m.size, 0)
}

// ask asks for a cosignature of r, in up to three requests.
func (m *member) ask(ctx context.Context, r *round) (checkpoint.Signature, error) {
	old := min(m.known(), r.checkpoint.Size)
	for i := 0; ; i++ {
		sig, size, err := m.submit(ctx, r, old)
		var f *failure
		switch {
		case err == nil:
			m.remember(r.checkpoint.Size)
			return sig, nil
		case !errors.As(err, &f):
			return sig, err
		case f.outcome == ahead:
			return sig, m.prove(ctx, r, f)
		case f.outcome != conflict:
			return sig, err
		}
		m.remember(size)
		if i == retries || size == old {
			return sig, err
		}
		if r.ended() {
			return sig, errSuperseded
		}
		old = size
	}
}

// submit sends one request. With an outcome of conflict, size is what the
// witness says it has.
func (m *member) submit(ctx context.Context, r *round, old int64) (sig checkpoint.Signature, size int64, err error) {
	proof, err := r.proof(old)
	if err != nil {
		return sig, 0, fmt.Errorf("proof from size %d: %w", old, err)
	}
	body := checkpoint.AddRequest{Old: old, Proof: proof, Note: r.base}.Bytes()
	begin := time.Now()
	a, err := m.do(ctx, http.MethodPost, "/add-checkpoint", body)
	m.metrics.seconds.Observe(time.Since(begin).Seconds())
	if err == nil {
		sig, size, err = m.understand(a, r, old)
	}
	var f *failure
	switch {
	case err == nil:
		m.metrics.requests[ok].Inc()
	case errors.As(err, &f):
		m.metrics.requests[f.outcome].Inc()
	}
	return sig, size, err
}

func (m *member) understand(a *answer, r *round, old int64) (checkpoint.Signature, int64, error) {
	switch a.status {
	case http.StatusOK:
		sig, err := cosignature(m.Key, r.text, a.body)
		return sig, 0, err
	case http.StatusConflict:
		size, err := a.size()
		switch {
		case err != nil:
			return checkpoint.Signature{}, 0, err
		case size > r.checkpoint.Size:
			return checkpoint.Signature{}, 0, fail(ahead, "it has seen size %d, after %d", size, r.checkpoint.Size)
		}
		return checkpoint.Signature{}, size, fail(conflict, "it has seen size %d, not %d", size, old)
	case http.StatusUnprocessableEntity:
		// What it has seen is not consistent with what we show, it says.
		return checkpoint.Signature{}, 0, fail(ahead, "it has seen another tree: %s", a.text())
	}
	return checkpoint.Signature{}, 0, a.refusal()
}

// cosignature returns the signature of a text by k out of the lines that a
// witness sent.
func cosignature(k *checkpoint.Key, text string, lines []byte) (checkpoint.Signature, error) {
	n := checkpoint.Note{Text: text}
	for line := range strings.Lines(string(lines)) {
		line, whole := strings.CutSuffix(line, "\n")
		if !whole || len(n.Signatures) == checkpoint.MaxSignatures {
			return checkpoint.Signature{}, fail(garbage, "no lines, or too many")
		}
		s, err := checkpoint.ParseSignature(line)
		if err != nil {
			return s, fail(garbage, "%w", err)
		}
		n.Signatures = append(n.Signatures, s)
	}
	if len(n.Signatures) == 0 {
		return checkpoint.Signature{}, fail(garbage, "an empty answer")
	}
	sigs, err := n.Verify(k)
	if err != nil {
		return checkpoint.Signature{}, fail(badSignature, "%w", err)
	}
	// Without a time it does not say that there is no larger tree. One of the
	// future could be shown as a fresh one for long.
	t, _ := sigs[0].Time()
	if t == 0 || t > time.Now().Add(maxFuture).Unix() {
		return checkpoint.Signature{}, fail(badSignature, "a cosignature of time %d", t)
	}
	return sigs[0], nil
}

// prove follows up f, a claim that the log has signed what it does not know: it
// returns an AheadError if the witness can show it, and f otherwise, or nothing
// if the log has gone on and the claim may be of what it signed since.
func (m *member) prove(ctx context.Context, r *round, f *failure) error {
	if note, err := m.shown(ctx); err == nil {
		c, _, err := m.q.own(note)
		if err == nil && m.q.contradicts(c, r) {
			return &failure{outcome: ahead, err: &AheadError{m.Name, c, note}}
		}
	}
	if r.ended() {
		return errSuperseded
	}
	return f
}

// shown fetches the checkpoint that the witness shows, nil if none.
func (m *member) shown(ctx context.Context) ([]byte, error) {
	a, err := m.do(ctx, http.MethodGet, fmt.Sprintf("/%x/checkpoint", sha256.Sum256([]byte(m.q.log.Name()))), nil)
	switch {
	case err != nil:
		return nil, err
	case a.status == http.StatusNotFound:
		return nil, nil
	case a.status != http.StatusOK:
		return nil, a.refusal()
	}
	return a.body, nil
}

// contradicts reports whether c, which the log has signed, is not among what it
// handed in: larger than all of it, or not consistent with r.
func (q *Quorum) contradicts(c checkpoint.Checkpoint, r *round) bool {
	q.mu.Lock()
	newest := q.newest
	q.mu.Unlock()
	return c.Size > newest.Size || !r.consistent(c)
}
