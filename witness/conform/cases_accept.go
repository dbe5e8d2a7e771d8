// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"slices"
	"time"

	"example.org/sumlog/internal/checkpoint"
)

// acceptCases are those of checkpoints that must be cosigned.
func acceptCases() []Case {
	return []Case{
		{"grow", addRule + "a larger checkpoint with its proof is 200", onGrown(grow)},
		{"grow-shapes", addRule + "proofs as RFC 6962 makes them verify, whatever the two sizes", onGrown(growShapes)},
		{"grow-persisted", addRule + "the checkpoint is recorded when the answer comes", onGrown(growPersisted)},
		{"refresh", addRule + "the same size with the same root is 200", onGrown(refresh)},
		{"refresh-time", "tlog-cosignature, format: the time is when the cosignature was made: it is now, and does not go back", onGrown(refreshTime)},
		{"extensions", "tlog-checkpoint, note text: extension lines may follow", onGrown(extensions)},
		{"extensions-cosigned", "tlog-cosignature, Ed25519: the whole text is cosigned, with the extension lines", onGrown(extensionsCosigned)},
	}
}

func grow(ctx context.Context, r *run) error {
	s := r.next()
	a, err := r.accepted(ctx, s)
	if err != nil {
		return err
	}
	_, err = r.verified(a, s.note.Text)
	return err
}

// growShapes goes from and to sizes with few and with many perfect subtrees.
func growShapes(ctx context.Context, r *run) error {
	for range 12 {
		even := (r.size | 7) + 1
		for _, size := range []int64{even, even + 1, even + 3, even + 4, even + 4 + 7} {
			if _, err := r.accepted(ctx, r.from(r.size, size)); err != nil {
				return err
			}
		}
	}
	return nil
}

func growPersisted(ctx context.Context, r *run) error {
	for range 5 {
		if _, err := r.accepted(ctx, r.next()); err != nil {
			return err
		}
		a, err := r.send(ctx, r.elsewhere())
		if err != nil {
			return err
		}
		if got, err := conflictSize(a); err != nil || got != r.size {
			return fmt.Errorf("cosigned size %d, and then: %v", r.size, a)
		}
	}
	return nil
}

func refresh(ctx context.Context, r *run) error {
	s := r.again()
	a, err := r.accepted(ctx, s)
	if err != nil {
		return err
	}
	if _, err = r.verified(a, s.note.Text); err != nil {
		return err
	}
	return r.unchanged(ctx)
}

// times returns the time of each key's cosignature.
func (r *run) times(a answer, text string) (map[uint32]int64, error) {
	sigs, err := r.verified(a, text)
	if err != nil {
		return nil, err
	}
	out := make(map[uint32]int64)
	for _, s := range sigs {
		t, ok := s.Time()
		if !ok {
			return nil, fmt.Errorf("signature by %s+%08x: without a time", s.Name, s.ID)
		}
		out[s.ID] = t
	}
	return out, nil
}

func refreshTime(ctx context.Context, r *run) error {
	before := make(map[uint32]int64)
	for i := range 2 {
		if i > 0 {
			// Into another second.
			if err := sleep(ctx, 1050*time.Millisecond); err != nil {
				return err
			}
		}
		from := time.Now().Add(-r.cfg.Skew).Unix()
		s := r.again()
		a, err := r.accepted(ctx, s)
		if err != nil {
			return err
		}
		times, err := r.times(a, s.note.Text)
		if err != nil {
			return err
		}
		to := time.Now().Add(r.cfg.Skew).Unix()
		for id, t := range times {
			if t < from || t > to {
				return fmt.Errorf("the cosignature is of %s, and it is %s", stamp(t), stamp(time.Now().Unix()))
			}
			if last, ok := before[id]; ok && t <= last {
				return fmt.Errorf("a cosignature of %s, refreshed in another second, is of %s", stamp(last), stamp(t))
			}
			before[id] = t
		}
	}
	return nil
}

func stamp(t int64) string { return time.Unix(t, 0).UTC().Format(time.RFC3339) }

// extended returns the next submission, with extension lines.
func (r *run) extended() submission {
	s := r.next()
	s.note = r.note(s.tree, s.size, "extension one", "extension – two +/=")
	return s
}

func extensions(ctx context.Context, r *run) error {
	s := r.extended()
	a, err := r.accepted(ctx, s)
	if err != nil {
		return err
	}
	_, err = cosignatures(a)
	return err
}

func extensionsCosigned(ctx context.Context, r *run) error {
	keys := r.keys(checkpoint.CosignatureEd25519)
	if len(keys) == 0 {
		return missing(r, needsEd25519)
	}
	s := r.extended()
	a, err := r.accepted(ctx, s)
	if err != nil {
		return err
	}
	sigs, err := cosignatures(a)
	if err != nil {
		return err
	}
	if _, err = (checkpoint.Note{Text: s.note.Text, Signatures: sigs}).Verify(keys...); err == nil {
		return nil
	}
	three := r.checkpoint(s.tree, s.size).Text()
	if _, err2 := (checkpoint.Note{Text: three, Signatures: sigs}).Verify(keys...); err2 == nil {
		return errors.New("the cosignature is of the first three lines only")
	}
	return err
}

// keys returns the witness's keys of an algorithm.
func (r *run) keys(alg checkpoint.Algorithm) []*checkpoint.Key {
	return slices.DeleteFunc(slices.Clone(r.cfg.Witness), func(k *checkpoint.Key) bool { return k.Algorithm() != alg })
}

// missing is the reason to skip a case for which there is no key.
func missing(r *run, why skipped) error {
	if len(r.cfg.Witness) == 0 {
		return needsKeys
	}
	return why
}

// answerCases are those of what comes with 200.
func answerCases() []Case {
	answered := func(name, rule string, check func(*run, answer, submission) error) Case {
		return Case{name, addRule + rule, onGrown(func(ctx context.Context, r *run) error {
			for _, s := range []submission{r.again(), r.next()} {
				a, err := r.accepted(ctx, s)
				if err != nil {
					return err
				}
				if err := check(r, a, s); err != nil {
					return err
				}
			}
			return nil
		})}
	}
	return []Case{
		answered("answer-lines", "the body of 200 is signature lines, each ending in a newline, and nothing else", func(r *run, a answer, s submission) error {
			_, err := cosignatures(a)
			return err
		}),
		answered("answer-keys", "the signatures in 200 are by keys of the witness (all of them must be given)", answerKeys),
		answered("answer-verifies", "the signatures in 200 are of the checkpoint", func(r *run, a answer, s submission) error {
			if len(r.cfg.Witness) == 0 {
				return needsKeys
			}
			_, err := r.verified(a, s.note.Text)
			return err
		}),
		answered("answer-whole-tree", "a signature in 200 that could be of a subtree is of the whole tree", answerWhole),
		answered("answer-time", "no signature in 200 is without a time", answerTime),
	}
}

func answerKeys(r *run, a answer, s submission) error {
	if len(r.cfg.Witness) == 0 {
		return needsKeys
	}
	sigs, err := cosignatures(a)
	if err != nil {
		return err
	}
	for _, sig := range sigs {
		if !slices.ContainsFunc(r.cfg.Witness, func(k *checkpoint.Key) bool { return k.Name() == sig.Name && k.ID() == sig.ID }) {
			return fmt.Errorf("signature by %s+%08x: by none of the keys given", sig.Name, sig.ID)
		}
	}
	return nil
}

func answerWhole(r *run, a answer, s submission) error {
	keys := r.keys(checkpoint.CosignatureMLDSA44)
	if len(keys) == 0 {
		return missing(r, needsMLDSA)
	}
	sigs, err := cosignatures(a)
	if err != nil {
		return err
	}
	if _, err := (checkpoint.Note{Text: s.note.Text, Signatures: sigs}).Verify(keys...); err != nil {
		return fmt.Errorf("by the ML-DSA-44 key: %w", err)
	}
	return nil
}

func answerTime(r *run, a answer, s submission) error {
	sigs, err := cosignatures(a)
	if err != nil {
		return err
	}
	for _, sig := range sigs {
		if t, ok := sig.Time(); !ok || t == 0 {
			return fmt.Errorf("signature by %s+%08x: without a time", sig.Name, sig.ID)
		}
	}
	return nil
}

// httpCases are those of methods and connections.
func httpCases() []Case {
	method := func(name, method, body string) Case {
		return Case{name, addRule + "the request is a POST; " + method + " adds nothing", onGrown(func(ctx context.Context, r *run) error {
			s := r.next()
			b := s.body()
			if body == "" {
				b = nil
			}
			r.tried = append(r.tried, s.tree)
			a, err := r.client.do(ctx, method, r.client.submit+"/add-checkpoint", b)
			if err != nil {
				return err
			}
			if a.status == http.StatusOK {
				return fmt.Errorf("%v for %s", a, method)
			}
			return r.unchanged(ctx)
		})}
	}
	return []Case{
		method("method-get", http.MethodGet, ""),
		method("method-put", http.MethodPut, "body"),
		{"keep-alive", "tlog-witness, HTTP interface: connections are kept alive (recommended)", onGrown(keepAlive)},
	}
}

// keepAlive looks for a request that goes over the connection of the one before.
func keepAlive(ctx context.Context, r *run) error {
	reused := false
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused },
	})
	for range 4 {
		if _, err := r.accepted(ctx, r.again()); err != nil {
			return err
		}
		if _, err := r.accepted(traced, r.again()); err != nil {
			return err
		}
		if reused {
			return nil
		}
	}
	return softly("every request needs a new connection")
}
