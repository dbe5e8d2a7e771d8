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
	"strings"

	"example.org/sumlog/internal/checkpoint"
	"golang.org/x/mod/sumdb/tlog"
)

const subtreeRule = "tlog-witness, sign-subtree: "

// A reference is a checkpoint that the witness cosigned, with the answer.
type reference struct {
	tree tree
	size int64
	note checkpoint.Note
}

// reference has the witness cosign what it has.
func (r *run) reference(ctx context.Context) (reference, error) {
	s := r.again()
	a, err := r.accepted(ctx, s)
	if err != nil {
		return reference{}, err
	}
	sigs, err := cosignatures(a)
	return reference{s.tree, s.size, checkpoint.Note{Text: s.note.Text, Signatures: sigs}}, err
}

// subtree returns the request for [start, end).
func (ref reference) subtree(start, end int64) checkpoint.SubtreeRequest {
	return checkpoint.SubtreeRequest{
		Start: start, End: end,
		Hash:  ref.tree.hash(start, end),
		Proof: ref.tree.subproof(start, end, ref.size),
		Note:  ref.note.Bytes(),
	}
}

// partial returns a request for a subtree that is not in the tree's own hashes
// and begins in its middle. Its proof has three hashes at least.
func (ref reference) partial() checkpoint.SubtreeRequest {
	return ref.subtree(512, 512+77)
}

// ranges are subtrees of every kind in a tree of size n.
func ranges(n int64) [][2]int64 {
	edge := (n - 1) &^ 63
	return [][2]int64{
		{0, n}, {0, n - 1}, {0, 1}, {0, 512}, {0, 700}, {n - 1, n}, {n - 2, n - 1},
		{4, 8}, {8, 13}, {7, 8}, {512, 768}, {512, 512 + 77}, {512, 1000}, {768, 1000}, {edge, n},
	}
}

// offered wraps a case of the optional request: f gets a reference.
func offered(f func(context.Context, *run, reference) error) func(context.Context, *run) error {
	return onGrown(func(ctx context.Context, r *run) error {
		ref, err := r.reference(ctx)
		if err != nil {
			return err
		}
		a, err := r.subtree(ctx, ref.subtree(0, ref.size))
		if err != nil {
			return err
		}
		if slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented}, a.status) {
			return notOffered
		}
		return f(ctx, r, ref)
	})
}

func (r *run) subtree(ctx context.Context, q checkpoint.SubtreeRequest) (answer, error) {
	return r.client.post(ctx, "sign-subtree", q.Bytes())
}

// subtreeSigned submits a request that must be answered with signatures.
func (r *run) subtreeSigned(ctx context.Context, q checkpoint.SubtreeRequest) ([]checkpoint.Signature, error) {
	a, err := r.subtree(ctx, q)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("%v, want 200 for [%d, %d)", a, q.Start, q.End)
	}
	return cosignatures(a)
}

// subtreeRefused submits a body that must be answered with one of the statuses.
func (r *run) subtreeRefused(ctx context.Context, body []byte, want ...int) error {
	a, err := r.client.post(ctx, "sign-subtree", body)
	if err != nil {
		return err
	}
	if a.status == http.StatusOK {
		return fmt.Errorf("status 200, want %s", orList(want))
	}
	if !slices.Contains(want, a.status) {
		return otherStatus(fmt.Sprintf("%v, want %s", a, orList(want)))
	}
	return nil
}

// subtreeRefusal returns a case of requests that are refused.
func subtreeRefusal(name, rule string, want int, requests func(*run, reference) []checkpoint.SubtreeRequest) Case {
	return Case{name, subtreeRule + rule, offered(func(ctx context.Context, r *run, ref reference) error {
		for _, q := range requests(r, ref) {
			if err := r.subtreeRefused(ctx, q.Bytes(), want); err != nil {
				return fmt.Errorf("[%d, %d) of %d: %w", q.Start, q.End, ref.size, err)
			}
		}
		return nil
	})}
}

// subtreeCases are those of well-formed requests for subtrees.
func subtreeCases() []Case {
	bounds := func(name, rule string, all ...[2]int64) Case {
		return subtreeRefusal(name, rule+": else 400", http.StatusBadRequest, func(r *run, ref reference) (out []checkpoint.SubtreeRequest) {
			for _, b := range all {
				q := ref.partial()
				q.Start, q.End = b[0], b[1]
				out = append(out, q)
			}
			return out
		})
	}
	proofs := func(name, rule string, change func(q *checkpoint.SubtreeRequest)) Case {
		return subtreeRefusal(name, rule, http.StatusUnprocessableEntity, func(r *run, ref reference) []checkpoint.SubtreeRequest {
			q := ref.partial()
			change(&q)
			return []checkpoint.SubtreeRequest{q}
		})
	}
	notes := func(name, rule string, change func(*run, reference) checkpoint.Note) Case {
		return subtreeRefusal(name, rule+" is 403", http.StatusForbidden, func(r *run, ref reference) []checkpoint.SubtreeRequest {
			q := ref.partial()
			q.Note = change(r, ref).Bytes()
			return []checkpoint.SubtreeRequest{q}
		})
	}
	return []Case{
		{"subtree-verifies", subtreeRule + "a subtree of a checkpoint with the witness's cosignature and with its proof is signed", offered(subtreeVerifies)},
		{"subtree-lines", subtreeRule + "the body of 200 is signature lines, each ending in a newline, and nothing else", offered(subtreeLines)},
		{"subtree-time", subtreeRule + "the signature has no time", offered(subtreeTime)},
		{"subtree-old-reference", subtreeRule + "the checkpoint need not be the newest", offered(subtreeOld)},
		{"subtree-keeps-state", subtreeRule + "signing a subtree does not change what the witness has", offered(subtreeKeeps)},
		bounds("subtree-unaligned", "the start is a multiple of the least power of two that is not below the size", [2]int64{1, 3}, [2]int64{512 + 4, 512 + 9}, [2]int64{256, 1000}),
		bounds("subtree-empty", "the start is below the end", [2]int64{8, 8}, [2]int64{0, 0}, [2]int64{16, 8}),
		subtreeRefusal("subtree-beyond", "the end is not above the checkpoint's size: else 400", http.StatusBadRequest, subtreeBeyond),
		proofs("subtree-hash", "another hash of the subtree is 422", func(q *checkpoint.SubtreeRequest) { q.Hash[3] ^= 1 }),
		proofs("subtree-proof-flipped", "a proof with a wrong hash is 422", func(q *checkpoint.SubtreeRequest) { q.Proof[len(q.Proof)-1][0] ^= 1 }),
		proofs("subtree-proof-empty", "the proof may not be missing: 422", func(q *checkpoint.SubtreeRequest) { q.Proof = nil }),
		proofs("subtree-proof-longer", "a proof with a hash too many is 422", func(q *checkpoint.SubtreeRequest) {
			q.Proof = append([]tlog.Hash{{}}, q.Proof...)
		}),
		proofs("subtree-proof-63", "up to 63 hashes are well-formed: 422, not 400", func(q *checkpoint.SubtreeRequest) {
			q.Proof = slices.Repeat([]tlog.Hash{{2}}, checkpoint.MaxProof)
		}),
		notes("subtree-unsigned", "a checkpoint without the witness's cosignature", func(r *run, ref reference) checkpoint.Note {
			return r.note(ref.tree, ref.size)
		}),
		notes("subtree-bad-cosignature", "a checkpoint whose cosignature does not verify", spoiltReference),
		notes("subtree-other-checkpoint", "a checkpoint with the cosignature of another one", func(r *run, ref reference) checkpoint.Note {
			other := r.checkpoint(ref.tree.fork(3, 0), ref.size).Text()
			return checkpoint.Note{Text: other, Signatures: append(ref.note.Signatures, r.log.sign(other))}
		}),
		{"subtree-origin", subtreeRule + "an unknown origin is 404", offered(subtreeOrigin)},
		{"subtree-get", subtreeRule + "the request is a POST", offered(subtreeGet)},
	}
}

func subtreeBeyond(r *run, ref reference) []checkpoint.SubtreeRequest {
	larger := reference{ref.tree, ref.size + 1, ref.note}
	return []checkpoint.SubtreeRequest{larger.subtree(0, ref.size+1), larger.subtree(ref.size, ref.size+1)}
}

func spoiltReference(r *run, ref reference) checkpoint.Note {
	n := checkpoint.Note{Text: ref.note.Text}
	for _, s := range ref.note.Signatures {
		n.Signatures = append(n.Signatures, spoilt(s))
	}
	return n
}

func subtreeVerifies(ctx context.Context, r *run, ref reference) error {
	keys := r.keys(checkpoint.CosignatureMLDSA44)
	if len(keys) == 0 {
		return missing(r, needsMLDSA)
	}
	for _, b := range ranges(ref.size) {
		q := ref.subtree(b[0], b[1])
		sigs, err := r.subtreeSigned(ctx, q)
		if err != nil {
			return err
		}
		sub := checkpoint.Subtree{Origin: r.log.origin(), Start: q.Start, End: q.End, Hash: q.Hash}
		if err := verifySubtree(sub, sigs, keys); err != nil {
			return fmt.Errorf("[%d, %d) of %d: %w", q.Start, q.End, ref.size, err)
		}
	}
	return nil
}

// verifySubtree checks that there is a signature by one of the keys, and that all
// that are by them verify.
func verifySubtree(sub checkpoint.Subtree, sigs []checkpoint.Signature, keys []*checkpoint.Key) error {
	found := false
	for _, s := range sigs {
		for _, k := range keys {
			if k.Name() != s.Name || k.ID() != s.ID {
				continue
			}
			found = true
			if !k.VerifySubtree(sub, s.Bytes) {
				return fmt.Errorf("signature by %s+%08x: does not verify for the subtree without a time", s.Name, s.ID)
			}
		}
	}
	if !found {
		return errors.New("no signature by an ML-DSA-44 key of the witness")
	}
	return nil
}

func subtreeLines(ctx context.Context, r *run, ref reference) error {
	_, err := r.subtreeSigned(ctx, ref.partial())
	return err
}

func subtreeTime(ctx context.Context, r *run, ref reference) error {
	for _, q := range []checkpoint.SubtreeRequest{ref.subtree(0, ref.size), ref.subtree(0, 700), ref.partial()} {
		sigs, err := r.subtreeSigned(ctx, q)
		if err != nil {
			return err
		}
		for _, s := range sigs {
			if t, ok := s.Time(); !ok || t != 0 {
				return fmt.Errorf("[%d, %d): a signature by %s+%08x with a time", q.Start, q.End, s.Name, s.ID)
			}
		}
	}
	return nil
}

func subtreeOld(ctx context.Context, r *run, ref reference) error {
	if _, err := r.accepted(ctx, r.next()); err != nil {
		return err
	}
	_, err := r.subtreeSigned(ctx, ref.partial())
	return err
}

func subtreeKeeps(ctx context.Context, r *run, ref reference) error {
	if _, err := r.accepted(ctx, r.next()); err != nil {
		return err
	}
	if _, err := r.subtree(ctx, ref.subtree(0, ref.size)); err != nil {
		return err
	}
	return r.unchanged(ctx)
}

func subtreeOrigin(ctx context.Context, r *run, ref reference) error {
	q := ref.partial()
	unknown := r.checkpoint(ref.tree, ref.size)
	unknown.Origin = "unknown.example/sumlog-conformance"
	q.Note = checkpoint.Note{Text: unknown.Text(), Signatures: ref.note.Signatures}.Bytes()
	err := r.subtreeRefused(ctx, q.Bytes(), http.StatusNotFound)
	if errors.As(err, new(otherStatus)) && strings.HasPrefix(err.Error(), "status 403 ") {
		// No cosignature of such a checkpoint can be good either.
		return soft{err}
	}
	return err
}

func subtreeGet(ctx context.Context, r *run, ref reference) error {
	a, err := r.client.do(ctx, http.MethodGet, r.client.submit+"/sign-subtree", nil)
	if err != nil {
		return err
	}
	if a.status == http.StatusOK {
		return fmt.Errorf("%v for GET", a)
	}
	return nil
}

// subtreeFormCases are those of malformed requests for subtrees.
func subtreeFormCases() []Case {
	bad := func(name, rule string, want []int, bodies func(first, hash string, proof []string, note string) []string) Case {
		return Case{name, subtreeRule + rule, offered(func(ctx context.Context, r *run, ref reference) error {
			q := ref.partial()
			lines := strings.Split(strings.SplitN(string(q.Bytes()), "\n\n", 2)[0], "\n")
			for _, body := range bodies(lines[0], lines[1], lines[2:], string(q.Note)) {
				if err := r.subtreeRefused(ctx, []byte(body), want...); err != nil {
					return fmt.Errorf("body %.60q: %w", body, err)
				}
			}
			return nil
		})}
	}
	join := func(lines []string, note string, first ...string) string {
		return strings.Join(slices.Concat(first, lines), "\n") + "\n\n" + note
	}
	return []Case{
		bad("subtree-line", "the first line is the word subtree and two numbers without leading zeros, with single spaces: else 400", badRequest, func(first, hash string, proof []string, note string) []string {
			var out []string
			for _, line := range []string{
				"Subtree 512 589", "512 589", "subtree 0512 589", "subtree 512 0589", "subtree +512 589", "subtree 512  589", "subtree 512 589 ",
				"subtree 512", "subtree 512 589 1", "subtree 512\t589", first + "\r", "subtree 512 " + wrap(589), "subtree " + wrap(512) + " 589", "old 512", "",
			} {
				out = append(out, join(proof, note, line, hash))
			}
			return out
		}),
		bad("subtree-hash-line", "the second line is the hash in base64: else 400", badRequest, func(first, hash string, proof []string, note string) []string {
			return []string{
				first + "\n\n" + note,
				join(proof, note, first, hash[:len(hash)-4]),
				join(proof, note, first, "*"+hash[1:]),
				join(proof, note, first, hash+" "),
			}
		}),
		bad("subtree-proof-line", "the other lines are hashes in base64: else 400", badRequest, func(first, hash string, proof []string, note string) []string {
			return []string{
				join(proof, note, first, hash, "AAAA"),
				join(append(slices.Clone(proof), "x"), note, first, hash),
			}
		}),
		bad("subtree-body", "the body is complete: else 400", badRequest, func(first, hash string, proof []string, note string) []string {
			return []string{"", "\n", first + "\n", first + "\n" + hash + "\n" + note}
		}),
		bad("subtree-proof-64", "at most 63 hashes: else 400 or, as a bad proof, 422", []int{http.StatusBadRequest, http.StatusUnprocessableEntity}, func(first, hash string, proof []string, note string) []string {
			for len(proof) < checkpoint.MaxProof+1 {
				proof = append(proof, tlog.Hash{}.String())
			}
			return []string{join(proof, note, first, hash)}
		}),
	}
}
