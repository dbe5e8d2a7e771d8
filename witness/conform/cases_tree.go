// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"example.org/sumlog/internal/checkpoint"
	"golang.org/x/mod/sumdb/tlog"
)

// addRule is where most rules are.
const addRule = "tlog-witness, add-checkpoint: "

// conflictCases are those of the old size.
func conflictCases() []Case {
	conflict := func(name, rule string, change func(*run, *submission)) Case {
		return Case{name, addRule + rule, onGrown(func(ctx context.Context, r *run) error {
			s := r.next()
			change(r, &s)
			return r.refused(ctx, s, http.StatusConflict)
		})}
	}
	return []Case{
		{"old-above-size", addRule + "an old size above the checkpoint's is 400", onGrown(func(ctx context.Context, r *run) error {
			s := r.from(r.size, r.size-1)
			return r.refused(ctx, s, http.StatusBadRequest)
		})},
		conflict("conflict-zero", "old size zero is 409 where the witness has more, which tells the client", func(r *run, s *submission) {
			*s = r.from(0, s.size)
		}),
		conflict("conflict-lower", "an old size below the witness's is 409", func(r *run, s *submission) {
			*s = r.from(r.size-1, s.size)
		}),
		conflict("conflict-rollback", "a checkpoint below the witness's, proven from below it, is 409", func(r *run, s *submission) {
			*s = r.from(r.size-2, r.size-1)
		}),
		conflict("conflict-replay", "a refresh of an older checkpoint is 409", func(r *run, s *submission) {
			*s = r.from(r.size-1, r.size-1)
		}),
		conflict("conflict-higher", "an old size above the witness's is 409", func(r *run, s *submission) {
			*s = r.from(r.size+1, r.size+3)
		}),
		{"conflict-body", addRule + "the body of 409 is the witness's size in decimal and a newline", onGrown(conflictBody)},
		{"conflict-type", addRule + "the content type of 409 is text/x.tlog.size", onGrown(conflictType)},
		{"conflict-before-proof", addRule + "the old size is compared before the proof is looked at", onGrown(conflictFirst)},
	}
}

func conflictBody(ctx context.Context, r *run) error {
	for _, s := range []submission{r.from(0, r.size), r.from(r.size-1, r.size+1), r.from(r.size+1, r.size+2)} {
		a, err := r.refusedBody(ctx, s, s.body(), http.StatusConflict)
		if err != nil {
			return err
		}
		if want := strconv.FormatInt(r.size, 10) + "\n"; string(a.body) != want {
			return fmt.Errorf("body %.80q, want %q", a.body, want)
		}
	}
	return nil
}

func conflictType(ctx context.Context, r *run) error {
	s := r.from(0, r.size)
	a, err := r.refusedBody(ctx, s, s.body(), http.StatusConflict)
	if err != nil {
		return err
	}
	if got := a.header.Values("Content-Type"); !slices.Equal(got, []string{"text/x.tlog.size"}) {
		return fmt.Errorf("content type %.80q, want text/x.tlog.size", got)
	}
	return nil
}

// conflictFirst asks with proofs that cannot be good.
func conflictFirst(ctx context.Context, r *run) error {
	for _, old := range []int64{0, r.size - 1, r.size + 1} {
		s := r.from(old, r.size+3)
		s.proof = []tlog.Hash{{1}}
		err := r.refused(ctx, s, http.StatusConflict)
		if errors.As(err, new(otherStatus)) {
			return soft{err}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// proofCases are those of roots and proofs that must not be cosigned.
func proofCases() []Case {
	bad := func(name, rule string, change func(*run, *submission)) Case {
		return Case{name, addRule + rule, onGrown(func(ctx context.Context, r *run) error {
			s := r.next()
			change(r, &s)
			return r.refused(ctx, s, http.StatusUnprocessableEntity)
		})}
	}
	return []Case{
		bad("proof-flipped", "a proof with a wrong hash is 422, whichever", func(r *run, s *submission) {
			s.proof[len(s.proof)/2][7] ^= 1
		}),
		bad("proof-flipped-last", "a proof whose last hash is wrong is 422", func(r *run, s *submission) {
			s.proof[len(s.proof)-1][31] ^= 0x80
		}),
		bad("proof-empty", "the proof may not be missing: 422", func(r *run, s *submission) { s.proof = nil }),
		bad("proof-truncated", "a proof that lacks its last hash is 422", func(r *run, s *submission) {
			s.proof = s.proof[:len(s.proof)-1]
		}),
		bad("proof-longer", "a proof with a hash too many is 422", func(r *run, s *submission) {
			s.proof = append(s.proof, tlog.Hash{})
		}),
		bad("proof-reversed", "the hashes of a proof have an order: 422", func(r *run, s *submission) { slices.Reverse(s.proof) }),
		bad("proof-other-sizes", "a proof between other sizes is 422", func(r *run, s *submission) {
			s.proof = s.tree.proof(s.old-1, s.size)
		}),
		bad("fork-before", "a tree that differs in an old entry is 422, with the best of proofs", func(r *run, s *submission) {
			f := r.tree.fork(r.size/3, 0)
			*s = submission{f, s.old, s.size, f.proof(s.old, s.size), r.note(f, s.size)}
		}),
		bad("fork-own-proof", "a tree that differs in an old entry is 422, with the proof of the right one", func(r *run, s *submission) {
			f := r.tree.fork(r.size-1, 0)
			*s = submission{f, s.old, s.size, s.proof, r.note(f, s.size)}
		}),
		bad("fork-same-size", "another root at the same size is 422", func(r *run, s *submission) {
			f := r.tree.fork(r.size-1, 0)
			*s = submission{f, r.size, r.size, nil, r.note(f, r.size)}
		}),
		bad("same-size-proof", "the proof between equal sizes is empty: else 422", func(r *run, s *submission) {
			*s = r.again()
			s.proof = []tlog.Hash{s.tree.root(s.size)}
		}),
		{"proof-63", requestRule + "up to 63 hashes are well-formed: 409 or 422, not 400", onGrown(proof63)},
		{"refusal-keeps-state", addRule + "what is refused leaves the witness where it was", onGrown(refusalKeepsState)},
		{"refusal-no-cosignature", addRule + "what fails a check of consistency is not cosigned", onGrown(refusalCosignature)},
	}
}

func proof63(ctx context.Context, r *run) error {
	s := r.next()
	s.proof = slices.Repeat([]tlog.Hash{{2}}, checkpoint.MaxProof)
	if err := r.refused(ctx, s, http.StatusUnprocessableEntity); err != nil {
		return err
	}
	s.old--
	return r.refused(ctx, s, http.StatusConflict, http.StatusUnprocessableEntity)
}

// refusalKeepsState sends one of everything that is refused and then checks, by
// the size and by growth from it, that the witness is where it was.
func refusalKeepsState(ctx context.Context, r *run) error {
	size := r.size
	f := r.tree.fork(size-1, 1)
	unsigned, bad := r.next(), r.next()
	unsigned.note.Signatures[0] = spoilt(unsigned.note.Signatures[0])
	bad.proof[0][0] ^= 1
	refused := []submission{
		unsigned,
		bad,
		{f, size, size, nil, r.note(f, size)},
		{f, size, size + 5, f.proof(size, size+5), r.note(f, size+5)},
		r.from(size-1, size+1),
		r.from(size+1, size+2),
		r.from(size, size-1),
	}
	for _, s := range refused {
		a, err := r.send(ctx, s)
		if err != nil {
			return err
		}
		if a.status == http.StatusOK {
			return fmt.Errorf("status 200 for old %d and size %d", s.old, s.size)
		}
		a, err = r.send(ctx, r.elsewhere())
		if err != nil {
			return err
		}
		if got, err := conflictSize(a); err != nil || got != size {
			return fmt.Errorf("the witness had size %d; after it refused old %d and size %d: %v", size, s.old, s.size, a)
		}
	}
	_, err := r.accepted(ctx, r.next())
	return err
}

func refusalCosignature(ctx context.Context, r *run) error {
	if len(r.cfg.Witness) == 0 {
		return needsKeys
	}
	f := r.tree.fork(r.size-1, 2)
	for _, s := range []submission{
		{f, r.size, r.size, nil, r.note(f, r.size)},
		{f, r.size, r.size + 2, f.proof(r.size, r.size+2), r.note(f, r.size+2)},
		r.from(r.size-1, r.size+2),
	} {
		a, err := r.send(ctx, s)
		if err != nil {
			return err
		}
		if a.status == http.StatusOK || r.cosigns(a, s.note.Text) {
			return fmt.Errorf("status %d with a cosignature for old %d and size %d", a.status, s.old, s.size)
		}
	}
	return nil
}
