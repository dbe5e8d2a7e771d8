// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/time/rate"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/witness/state"
)

// A Refusal is why a request was not answered with cosignatures.
type Refusal struct {
	Status     int           // of HTTP
	Size       int64         // with 409: of the tree that was cosigned last
	Text       string        // one line
	RetryAfter time.Duration // 0: do not say
}

func (r *Refusal) Error() string { return r.Text }

// Conflict returns the size from which a proof is wanted instead.
func (r *Refusal) Conflict() (size int64, ok bool) { return r.Size, r.Status == http.StatusConflict }

func refuse(status int, format string, args ...any) *Refusal {
	return &Refusal{Status: status, Text: fmt.Sprintf(format, args...)}
}

// later is a refusal for now.
func later(status int, after time.Duration, format string, args ...any) *Refusal {
	return &Refusal{Status: status, Text: fmt.Sprintf(format, args...), RetryAfter: after}
}

// Limits of one log's share.
const (
	// A flood of requests in the name of one log does not get more of the
	// processor than this many connections would.
	maxVerifying = 128

	// Requests that a log may have saved up, for a restart or a late witness.
	minBurst = 10
)

// retryAfter is when to come again after a failure that passes.
const retryAfter = 10 * time.Second

func newLimiter(perDay int) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(float64(perDay)/(24*60*60)), max(minBurst, perDay/(24*60)))
}

// emptyRoot is the root of the tree of size 0.
var emptyRoot = tlog.Hash(sha256.Sum256(nil))

// Add is add-checkpoint without HTTP: body is a request, and lines are
// cosignatures. The error is a *Refusal.
func (w *Witness) Add(ctx context.Context, body []byte) (lines []byte, err error) {
	o, lines, refusal := w.add(ctx, body)
	if refusal != nil {
		w.count(o, refusal)
		return nil, refusal
	}
	return lines, nil
}

// A submission is a request whose signature has been verified.
type submission struct {
	checkpoint.AddRequest
	checkpoint.Checkpoint
	note checkpoint.Note // with the verified signatures of the log only
}

func (w *Witness) add(ctx context.Context, body []byte) (*origin, []byte, *Refusal) {
	req, err := checkpoint.ParseAddRequest(body)
	if err != nil {
		return nil, nil, refuse(http.StatusBadRequest, "%v", err)
	}
	n, err := checkpoint.ParseNote(req.Note)
	if err != nil {
		return nil, nil, refuse(http.StatusBadRequest, "%v", err)
	}
	name, _, _ := strings.Cut(n.Text, "\n")
	o, e, ok := w.find(name)
	if !ok {
		return nil, nil, refuse(http.StatusNotFound, "origin %.100q is not known here", name)
	}
	s, refusal := o.verify(e, req, n)
	if refusal == nil {
		refusal = w.askPeers(ctx, o, s)
	}
	if refusal != nil {
		return o, nil, refusal
	}
	lines, refusal := w.cosign(ctx, o, e, s)
	return o, lines, refusal
}

// verify checks what can be checked without regard to the state.
func (o *origin) verify(e state.Entry, req checkpoint.AddRequest, n checkpoint.Note) (*submission, *Refusal) {
	if o.verifying.Add(1) > maxVerifying {
		o.verifying.Add(-1)
		return nil, later(http.StatusTooManyRequests, time.Second, "very many requests name this origin")
	}
	sigs, err := n.Verify(e.Keys...)
	o.verifying.Add(-1)
	if err != nil {
		return nil, refuse(http.StatusForbidden, "%v", err)
	}
	c, err := checkpoint.Parse(n.Text)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	if req.Old > c.Size {
		return nil, refuse(http.StatusBadRequest, "old size %d is larger than the checkpoint's size %d", req.Old, c.Size)
	}
	return &submission{req, c, checkpoint.Note{Text: c.Text(), Signatures: sigs}}, nil
}

// cosign compares s with what was cosigned last, and cosigns it.
func (w *Witness) cosign(ctx context.Context, o *origin, e state.Entry, s *submission) ([]byte, *Refusal) {
	// Trees only grow, so what is too old now need not wait for the lock.
	if s.Old < e.Tree.N {
		return nil, w.conflict(ctx, o, e, s)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, later(http.StatusServiceUnavailable, retryAfter, "%v", err)
	}
	e, ok := w.config.Store.Entry(o.name)
	if !ok || e.Disabled {
		return nil, refuse(http.StatusNotFound, "origin %.100q is not known here", o.name)
	}
	if refusal := w.follows(ctx, o, e, s); refusal != nil {
		return nil, refusal
	}
	lines, refusal := w.limit(o, e, s)
	if lines != nil || refusal != nil {
		return lines, refusal
	}
	return w.sign(ctx, o, e, s)
}

// follows checks that s follows on what was cosigned last, and on what peers have
// shown beyond it. The caller holds o.mu.
func (w *Witness) follows(ctx context.Context, o *origin, e state.Entry, s *submission) *Refusal {
	f := o.floor()
	if f == nil || s.Size <= f.Size || f.Size <= e.Tree.N {
		return w.extends(ctx, o, e, s)
	}
	if s.Old == f.Size {
		if refusal := w.extendsFloor(ctx, o, e, s, f); refusal != nil || e.Time == 0 || o.linked == s.Tree() {
			return refusal
		}
		return w.conflict(ctx, o, e, s)
	}
	if refusal := w.extends(ctx, o, e, s); refusal != nil {
		return refusal
	}
	// Anybody can repeat an older one, again and again. In the place of the log's
	// newest it would undo the first half of what the log is about to complete.
	if s.Size >= o.linked.N {
		o.linked = s.Tree()
	}
	return &Refusal{Status: http.StatusConflict, Size: f.Size, Text: fmt.Sprintf("another witness has seen size %d", f.Size)}
}

// extends checks that s follows on what was cosigned last.
func (w *Witness) extends(ctx context.Context, o *origin, e state.Entry, s *submission) *Refusal {
	if s.Old != e.Tree.N {
		return w.conflict(ctx, o, e, s)
	}
	if refusal := w.stopped(); refusal != nil {
		return refusal
	}
	refusal := s.consistent(e.Tree)
	if refusal != nil {
		o.inconsistent.Add(1)
		w.accuse(ctx, o, e, s)
	}
	return refusal
}

// conflict refuses a submission that does not start where the log is. It may
// still be one that cannot be true.
func (w *Witness) conflict(ctx context.Context, o *origin, e state.Entry, s *submission) *Refusal {
	if e.Time != 0 && s.Size == e.Tree.N && s.Root != e.Tree.Hash {
		o.inconsistent.Add(1)
		w.accuse(ctx, o, e, s)
	}
	return &Refusal{Status: http.StatusConflict, Size: e.Tree.N, Text: fmt.Sprintf("size is %d, not %d", e.Tree.N, s.Old)}
}

// consistent checks that the log has only been appended to since t, whose size
// is the old size.
func (s *submission) consistent(t tlog.Tree) *Refusal {
	unprocessable := func(text string) *Refusal { return refuse(http.StatusUnprocessableEntity, "%s", text) }
	switch {
	case s.Size == 0 && s.Root != emptyRoot:
		return unprocessable("root of size 0 is not the empty tree's")
	case s.Old == 0 && len(s.Proof) > 0:
		return unprocessable("a proof from size 0")
	case s.Old == 0:
		return nil
	case s.Size == s.Old && s.Root != t.Hash:
		return unprocessable("another root was cosigned for this size")
	}
	hashes := make([][]byte, len(s.Proof))
	for i := range s.Proof {
		hashes[i] = s.Proof[i][:]
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(s.Old), uint64(s.Size), hashes, t.Hash[:], s.Root[:]); err != nil {
		return unprocessable("consistency proof does not verify")
	}
	return nil
}

// limit keeps a log to its rate. New trees count, which only the log can make.
// Submissions of the newest tree, which anybody can repeat, have a share of their
// own, and are answered from the state where it is used up: nobody can keep a log
// from being cosigned.
func (w *Witness) limit(o *origin, e state.Entry, s *submission) (lines []byte, _ *Refusal) {
	now := w.config.Now()
	limiter := o.growth
	if e.Time != 0 && s.Tree() == e.Tree {
		limiter = o.refresh
		lines = w.given(o, s)
		// New ones would say the same.
		if lines != nil && now.Unix() <= e.Time {
			return lines, nil
		}
	}
	if limiter == nil {
		return nil, nil
	}
	r := limiter.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait == 0 {
		return nil, nil
	}
	r.CancelAt(now)
	if lines != nil {
		return lines, nil
	}
	return nil, later(http.StatusTooManyRequests, wait, "more than %d checkpoints a day", e.QPD)
}

// given returns the cosignatures that were given last if they were given for
// exactly the text of s, by all keys; nil if not.
func (w *Witness) given(o *origin, s *submission) (lines []byte) {
	text, err := w.config.Store.Note(o.name)
	if err != nil {
		return nil
	}
	stored, err := checkpoint.ParseNote(text)
	if err != nil || stored.Text != s.note.Text {
		return nil
	}
	for _, k := range w.keys {
		before := len(lines)
		for _, sig := range stored.Signatures {
			if sig.Name == k.Name() && sig.ID == k.ID() {
				lines = append(lines, sig.String()...)
			}
		}
		if len(lines) == before {
			return nil // a key that is new since
		}
	}
	return lines
}

// sign cosigns s, which follows on e. The caller holds o.mu.
func (w *Witness) sign(ctx context.Context, o *origin, e state.Entry, s *submission) ([]byte, *Refusal) {
	// A clock that was set back must not make a larger tree older.
	t := max(w.config.Now().Unix(), e.Time, 1)
	n := checkpoint.Note{Text: s.note.Text, Signatures: s.note.Signatures[:len(s.note.Signatures):len(s.note.Signatures)]}
	var lines []byte
	for _, c := range w.config.Cosigners {
		sig, err := c.Cosign(s.Checkpoint, t)
		if err != nil {
			w.config.Logger.Error("cosigning failed", "key", c.Key().String(), "err", err)
			return nil, later(http.StatusServiceUnavailable, retryAfter, "the key cannot be used at the moment")
		}
		n.Signatures = append(n.Signatures, sig)
		lines = append(lines, sig.String()...)
	}
	// Crash point: signed, and neither stored nor given out. Nobody has seen it.
	err := w.config.Store.Update(ctx, state.Update{Origin: o.name, Old: e.Tree, New: s.Tree(), Time: t, Note: n.Bytes()})
	if err != nil {
		if errors.Is(err, state.ErrUnknown) { // disabled just now
			return nil, refuse(http.StatusNotFound, "origin %.100q is not known here", o.name)
		}
		w.config.Logger.Error("checkpoint could not be stored", "origin", o.name, "size", s.Size, "err", err)
		return nil, later(http.StatusServiceUnavailable, retryAfter, "state cannot be written at the moment")
	}
	// Crash point: stored and not given out. The log meets 409 or asks again.
	w.at("stored")
	if refusal := w.stopped(); refusal != nil {
		return nil, refusal // of another log it was proven meanwhile that the state was put back
	}
	o.cosigned.Add(1)
	return lines, nil
}

// stopped refuses everything once nothing is cosigned any more.
func (w *Witness) stopped() *Refusal {
	if w.dead.Load() == nil {
		return nil
	}
	return refuse(http.StatusServiceUnavailable, "this witness has stopped cosigning")
}

// at is where tests end the process.
func (w *Witness) at(point string) {
	if w.config.hook != nil {
		w.config.hook(point)
	}
}
