// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package quorum is a log's side of its witnesses: it collects the cosignatures
// that a policy wants on a checkpoint before the checkpoint is published, and it
// asks what the witnesses have seen of the log before the log signs anything.
//
// It speaks the client's half of https://c2sp.org/tlog-witness. A witness is
// asked with the size that it is thought to have; when it has another it says so
// (409), and is asked again with that one, twice at most in a round. All
// witnesses are asked at once, each by one goroutine at a time, and what one of
// them does holds up nobody else: a witness that fails is left alone for a while
// as long as the quorum can be met without it, and one that asks for time
// (Retry-After) gets it.
//
// A witness is trusted with one thing, its key. An answer is bounded in time and
// size, redirects are not followed, and of what a witness sends only such lines
// are taken that its own key made over exactly the text that was sent, at a time
// that is neither zero nor ahead of the clock. A number that a witness claims
// costs at most another request. That the log itself has signed something that
// it does not know, because it was rolled back or runs twice, is believed only
// with the log's own signature under it, see [AheadError].
//
// Nothing is stored: after a crash the sizes are learned again.
package quorum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/outbound"
	"example.org/sumlog/internal/policy"
)

const (
	timeout   = 10 * time.Second // of one request
	maxAnswer = 64 << 10         // bytes of an answer's body
	retries   = 2                // of a request after 409, in one round
	maxFuture = 5 * time.Minute  // that a cosignature may be ahead of the clock
	maxWait   = 10 * time.Minute // that is taken from a Retry-After: no witness says good-bye for ever
	maxRest   = time.Minute      // for which a failing witness is left alone
	grace     = 2 * time.Second  // for the other witnesses when a quorum of them has shown what it has seen
	maxKept   = 30 * time.Second // that a cosignature of a failed round counts in the next; its time is compared with the publication's
)

// ErrQuorum says that too few witnesses have cosigned, or answered.
var ErrQuorum = policy.ErrQuorum

// Config says what a Quorum works with.
type Config struct {
	Policy *policy.Policy  // every witness with a URL; logs, if any, with Log among them
	Log    *checkpoint.Key // the log's own key; its name is the origin
	Client *http.Client    // nil: one of its own, which keeps connections open
	Logger *slog.Logger    // nil: none
}

// A Quorum asks the witnesses of one log.
type Quorum struct {
	log     *checkpoint.Key
	client  *http.Client
	dialer  *outbound.Dialer // of the client, if it is ours
	logger  *slog.Logger
	metrics *metrics

	ctx   context.Context // of all that outlives a call
	close context.CancelFunc
	wg    sync.WaitGroup // the goroutines of members
	idle  func()         // closes connections

	cosign sync.Mutex // held by Cosign, which is for one caller at a time

	mu      sync.Mutex
	policy  *policy.Policy // for this log alone
	members []*member      // in the order of the policy
	round   *round         // the last
	newest  checkpoint.Checkpoint
	ahead   *AheadError // that no Cosign has returned yet
}

// New returns a Quorum. It asks nobody yet.
func New(c Config) (*Quorum, error) {
	q := &Quorum{log: c.Log, logger: c.Logger, metrics: newMetrics(), dialer: outbound.NewDialer(0)}
	q.client, q.idle = newClient(c.Client, q.dialer)
	if q.logger == nil {
		q.logger = slog.New(slog.DiscardHandler)
	}
	q.ctx, q.close = context.WithCancel(context.Background())
	if err := q.Reload(c.Policy); err != nil {
		q.close()
		return nil, err
	}
	return q, nil
}

// Reload replaces the policy, from the next Cosign on. What is known of
// witnesses that stay, with the same key and URL, is kept. After an error all is
// as before.
func (q *Quorum) Reload(p *policy.Policy) error {
	p, err := p.For(q.log)
	if err != nil {
		return err
	}
	if err := fits(p, q.log); err != nil {
		return err
	}
	bases := make([]string, len(p.Witnesses))
	for i, w := range p.Witnesses {
		if bases[i], err = prefix(w.URL, q.dialer); err != nil {
			return fmt.Errorf("policy: witness %s: %w", w.Name, err)
		}
	}

	q.mu.Lock()
	defer q.mu.Unlock()
	var members []*member
	for i, w := range p.Witnesses {
		old := slices.IndexFunc(q.members, func(m *member) bool {
			return m.Name == w.Name && m.base == bases[i] && m.Key.String() == w.Key.String()
		})
		if old >= 0 {
			members = append(members, q.members[old])
			continue
		}
		m := &member{Witness: w, base: bases[i], q: q, size: -1}
		// Under another name it has other metrics, but is the same witness.
		for _, o := range q.members {
			if o.base == m.base && o.Key.String() == w.Key.String() {
				m.inherit(o)
			}
		}
		members = append(members, m)
	}
	for _, m := range q.members {
		if !slices.Contains(members, m) {
			q.metrics.forget(m.Name)
		}
	}
	for _, m := range members {
		if m.metrics == nil {
			m.metrics = q.metrics.of(m.Name)
			m.metrics.size.Set(float64(m.size))
		}
	}
	q.policy, q.members = p, members
	return nil
}

// fits reports why the cosignatures of all witnesses would be too much for one
// note, which nobody could read then.
func fits(p *policy.Policy, log *checkpoint.Key) error {
	const text = 4 << 10 // more than that of a checkpoint
	size := text + lineSize(log)
	for _, w := range p.Witnesses {
		size += lineSize(w.Key)
	}
	if n := len(p.Witnesses) + 1; n > checkpoint.MaxSignatures || size > checkpoint.MaxNote {
		return fmt.Errorf("policy: the signatures of %d witnesses do not fit into one note", len(p.Witnesses))
	}
	return nil
}

// lineSize returns the length of a signature line of k.
func lineSize(k *checkpoint.Key) int {
	raw := 64
	if k.Algorithm() == checkpoint.CosignatureMLDSA44 {
		raw = 2420
	}
	return len(checkpoint.Signature{Name: k.Name(), Bytes: make([]byte, 8+raw)}.String())
}

// Close ends all that is still under way and waits for it. Cosign and Seen
// fail from then on.
func (q *Quorum) Close() {
	q.close()
	q.cosign.Lock() // no goroutine is started behind it
	defer q.cosign.Unlock()
	q.mu.Lock()
	r := q.round
	q.mu.Unlock()
	r.end()
	q.wg.Wait()
	q.idle()
}

// Met reports whether a note is a checkpoint of this log that the policy
// accepts, and the latest time as of which a quorum of witnesses vouches for it.
// Under "quorum none" that is the time of the newest cosignature, or now if there
// is none: nothing is missing then.
func (q *Quorum) Met(note []byte) (met bool, oldest time.Time) {
	n, err := checkpoint.ParseNote(note)
	if err != nil {
		return false, time.Time{}
	}
	q.mu.Lock()
	p := q.policy
	q.mu.Unlock()
	r, err := p.Check(n)
	if err != nil {
		return false, time.Time{}
	}
	newest := slices.Clone(r.Cosignatures)
	slices.SortStableFunc(newest, func(a, b policy.Cosignature) int { return b.Time.Compare(a.Time) })
	if p.Quorum == policy.None {
		oldest = time.Now()
		if len(newest) > 0 {
			oldest = newest[0].Time
		}
	}
	have := make(map[string]bool)
	for i := 0; !p.Met(func(name string) bool { return have[name] }); i++ {
		have[newest[i].Witness] = true
		oldest = newest[i].Time
	}
	return true, oldest
}

// An AheadError says that a witness shows a checkpoint that the log has signed
// and does not know: a larger one than it ever handed in, or one that is not
// consistent with what it handed in. The log was rolled back or runs twice, and
// must sign nothing more.
type AheadError struct {
	Witness    string // its name in the policy
	Checkpoint checkpoint.Checkpoint
	Note       []byte // the proof: it has the log's signature
}

func (e *AheadError) Error() string {
	return fmt.Sprintf("witness %s shows a checkpoint of size %d that this log has signed and does not know: it was rolled back or runs twice", e.Witness, e.Checkpoint.Size)
}

// own returns the checkpoint of a note that the log has signed, and the note
// without what others have signed.
func (q *Quorum) own(note []byte) (checkpoint.Checkpoint, checkpoint.Note, error) {
	n, err := checkpoint.ParseNote(note)
	if err != nil {
		return checkpoint.Checkpoint{}, n, err
	}
	sigs, err := n.Verify(q.log)
	if err != nil {
		return checkpoint.Checkpoint{}, n, err
	}
	c, err := checkpoint.Parse(n.Text)
	if err != nil {
		return c, n, err
	}
	if c.Origin != q.log.Name() {
		return c, n, fmt.Errorf("checkpoint: origin %.100q, not %q", c.Origin, q.log.Name())
	}
	return c, checkpoint.Note{Text: n.Text, Signatures: sigs}, nil
}

var errClosed = errors.New("quorum: closed")
