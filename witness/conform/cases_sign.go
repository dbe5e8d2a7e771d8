// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"

	"example.org/sumlog/internal/checkpoint"
	"golang.org/x/mod/sumdb/tlog"
)

// fresh wraps a case that only a witness can show that has no entry of the log.
func fresh(f func(context.Context, *run) error) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		if r.size != 0 {
			return needsFresh
		}
		return f(ctx, r)
	}
}

// firstCases are those of first contact. Their order matters.
func firstCases() []Case {
	return []Case{
		{"first-monitor-404", "tlog-witness, monitoring: 404 for a log that the witness never cosigned a checkpoint of", fresh(firstMonitor)},
		{"first-old", "tlog-witness, add-checkpoint: a witness that never cosigned for the log has size zero, and says so with 409", firstOld},
		{"first-zero-root", "tlog-witness, add-checkpoint: size zero with another root than that of the empty tree is 422", fresh(firstZeroRoot)},
		{"first-proof", "tlog-witness, add-checkpoint: a proof from old size zero is 422, also on first contact", fresh(firstProof)},
		{"first-zero", "tlog-witness, add-checkpoint: size zero with the root of the empty tree is cosigned", fresh(firstZero)},
		{"zero-root", "tlog-witness, add-checkpoint: size zero with another root is 422, also after size zero was cosigned", fresh(firstZeroRoot)},
		{"zero-proof", "tlog-witness, add-checkpoint: a proof from old size zero is 422, also after size zero was cosigned", fresh(firstProof)},
		{"first-entries", "tlog-witness, add-checkpoint: any tree is consistent with the empty one, without a proof", fresh(firstEntries)},
	}
}

func firstMonitor(ctx context.Context, r *run) error {
	a, err := r.client.head(ctx, r.log.origin())
	if err != nil {
		return err
	}
	if _, ok := r.shown(ctx); ok {
		return needsFresh // it has cosigned the empty tree
	}
	if a.status != http.StatusNotFound {
		return fmt.Errorf("%v, want 404", a)
	}
	return nil
}

func firstOld(ctx context.Context, r *run) error {
	if r.careless {
		return fmt.Errorf("status 200 for an old size that the witness did not have, want 409")
	}
	if r.size != 0 {
		return needsFresh
	}
	a, err := r.refusedBody(ctx, r.elsewhere(), r.elsewhere().body(), http.StatusConflict)
	if err != nil {
		return err
	}
	if size, err := conflictSize(a); err != nil || size != 0 {
		return fmt.Errorf("%v, want size 0", a)
	}
	return nil
}

func firstZeroRoot(ctx context.Context, r *run) error {
	s := r.from(0, 0)
	s.note = r.signed(checkpoint.Checkpoint{Origin: r.log.origin(), Root: r.tree.root(1)}.Text())
	return r.refused(ctx, s, http.StatusUnprocessableEntity)
}

func firstProof(ctx context.Context, r *run) error {
	s := r.from(0, minSize)
	s.proof = []tlog.Hash{r.tree.root(1)}
	return r.refused(ctx, s, http.StatusUnprocessableEntity)
}

func firstZero(ctx context.Context, r *run) error {
	s := r.from(0, 0)
	a, err := r.accepted(ctx, s)
	if err != nil {
		return err
	}
	_, err = r.verified(a, s.note.Text)
	return err
}

func firstEntries(ctx context.Context, r *run) error {
	s := r.from(0, minSize+rand.Int64N(minSize))
	a, err := r.accepted(ctx, s)
	if err != nil {
		return err
	}
	_, err = r.verified(a, s.note.Text)
	return err
}

// onGrown wraps a case that needs a witness with some entries.
func onGrown(f func(context.Context, *run) error) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		if err := r.grown(ctx); err != nil {
			return err
		}
		return f(ctx, r)
	}
}

// signatureCases are those of origins and signatures.
func signatureCases() []Case {
	refuse := func(name, rule string, want int, change func(*run, *submission)) Case {
		return Case{name, "tlog-witness, add-checkpoint: " + rule, onGrown(func(ctx context.Context, r *run) error {
			s := r.next()
			change(r, &s)
			return r.refused(ctx, s, want)
		})}
	}
	accept := func(name, rule string, others func(*LogKey) []checkpoint.Signature) Case {
		return Case{name, rule, onGrown(func(ctx context.Context, r *run) error { return acceptedAmong(ctx, r, others(r.log)) })}
	}
	return []Case{
		refuse("origin-unknown", "an unknown origin is 404", http.StatusNotFound, func(r *run, s *submission) {
			setOrigin(r, s, stranger("unknown.example/sumlog-conformance"))
		}),
		refuse("origin-unknown-key-known", "an unknown origin is 404, whoever signed", http.StatusNotFound, func(r *run, s *submission) {
			setOrigin(r, s, r.log)
		}),
		refuse("key-unknown", "no signature by a key of the origin is 403", http.StatusForbidden, func(r *run, s *submission) {
			s.note.Signatures = []checkpoint.Signature{stranger(r.log.origin()).sign(s.note.Text)}
		}),
		refuse("key-other-name", "a signature under another name is by no key of the origin: 403", http.StatusForbidden, func(r *run, s *submission) {
			s.note.Signatures[0].Name = "unknown.example/sumlog-conformance"
		}),
		refuse("signature-bad", "a signature by name and ID of a known key that does not verify is 403", http.StatusForbidden, func(r *run, s *submission) {
			s.note.Signatures[0] = spoilt(s.note.Signatures[0])
		}),
		refuse("signature-other-text", "a signature of another text does not verify: 403", http.StatusForbidden, func(r *run, s *submission) {
			s.note.Signatures = r.note(r.tree, s.size+1).Signatures
		}),
		refuse("signature-good-then-bad", "a bad signature by a known key is 403, also after a good one by the same key", http.StatusForbidden, func(r *run, s *submission) {
			s.note.Signatures = append(s.note.Signatures, spoilt(s.note.Signatures[0]))
		}),
		refuse("signature-bad-then-good", "a bad signature by a known key is 403, also before a good one by the same key", http.StatusForbidden, func(r *run, s *submission) {
			s.note.Signatures = append([]checkpoint.Signature{spoilt(s.note.Signatures[0])}, s.note.Signatures...)
		}),
		accept("signature-unknown", "tlog-witness, add-checkpoint: signatures by unknown keys are ignored", func(k *LogKey) []checkpoint.Signature {
			return []checkpoint.Signature{{Name: "unknown.example/a", ID: 1, Bytes: make([]byte, 64)}, {Name: "unknown.example/b", ID: 2, Bytes: []byte{0}}}
		}),
		accept("signature-known-name", "signed-note, signatures: one with a known name and another ID is by an unknown key", func(k *LogKey) []checkpoint.Signature {
			return []checkpoint.Signature{{Name: k.origin(), ID: k.key.ID() + 1, Bytes: make([]byte, 64)}}
		}),
		accept("signature-known-id", "signed-note, signatures: one with a known ID and another name is by an unknown key", func(k *LogKey) []checkpoint.Signature {
			return []checkpoint.Signature{{Name: "unknown.example/a", ID: k.key.ID(), Bytes: make([]byte, 64)}}
		}),
		accept("signatures-16", "signed-note, format: at least 16 signatures are accepted, of nearly 5 kB each", func(k *LogKey) []checkpoint.Signature {
			return large(15)
		}),
	}
}

func setOrigin(r *run, s *submission, k *LogKey) {
	cp := r.checkpoint(s.tree, s.size)
	cp.Origin = "unknown.example/sumlog-conformance"
	s.note = checkpoint.Note{Text: cp.Text(), Signatures: []checkpoint.Signature{k.sign(cp.Text())}}
}

// spoilt returns a signature by the same key that does not verify.
func spoilt(s checkpoint.Signature) checkpoint.Signature {
	s.Bytes = slices.Clone(s.Bytes)
	s.Bytes[len(s.Bytes)-1] ^= 1
	s.Bytes[len(s.Bytes)/2] ^= 0x10
	return s
}

// large returns n signatures by unknown keys with lines of almost 5 kB.
func large(n int) []checkpoint.Signature {
	var out []checkpoint.Signature
	for i := range n {
		b := make([]byte, 3700)
		for j := range len(b) / 4 {
			binary.BigEndian.PutUint32(b[4*j:], rand.Uint32())
		}
		out = append(out, checkpoint.Signature{Name: fmt.Sprintf("unknown.example/%d", i), ID: rand.Uint32(), Bytes: b})
	}
	return out
}

// acceptedAmong submits a checkpoint whose signature comes first, and one where
// it comes last.
func acceptedAmong(ctx context.Context, r *run, others []checkpoint.Signature) error {
	for i := range 2 {
		s := r.next()
		s.note.Signatures = slices.Insert(slices.Clone(others), i*len(others), s.note.Signatures...)
		a, err := r.accepted(ctx, s)
		if err != nil {
			return err
		}
		if _, err := r.verified(a, s.note.Text); err != nil {
			return err
		}
	}
	return nil
}
