// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
)

// decide does what the specification says of sizes and proofs.
func (w *fake) decide(req checkpoint.AddRequest, n checkpoint.Note, cp checkpoint.Checkpoint) result {
	if req.Old > cp.Size {
		if w.wrong == "old-above-size" {
			return result{err: refuse(http.StatusUnprocessableEntity)}
		}
		return result{err: refuse(http.StatusBadRequest)}
	}
	proofErr := w.consistent(req, cp)
	if w.wrong == "conflict-before-proof" && proofErr != nil {
		return result{err: proofErr}
	}
	if have := w.st.cp.Size; req.Old != have {
		taken, keep := w.takesOld(req, cp)
		switch {
		case !taken:
			return result{err: refusal{status: http.StatusConflict, size: have}}
		case !keep:
			return w.cosign(cp)
		}
		return w.record(cp, n)
	}
	if proofErr != nil {
		return w.reject(proofErr, cp, n)
	}
	if w.wrong == "refresh" && w.st.known && cp.Size == w.st.cp.Size {
		return result{err: refusal{status: http.StatusConflict, size: w.st.cp.Size}}
	}
	if w.racing && strings.HasPrefix(w.wrong, "race-") {
		return w.race(cp, n)
	}
	return w.record(cp, n)
}

// takesOld is where a witness goes wrong that does not compare old sizes.
func (w *fake) takesOld(req checkpoint.AddRequest, cp checkpoint.Checkpoint) (taken, keep bool) {
	have := w.st.cp.Size
	switch w.wrong {
	case "first-old":
		return !w.st.known, true
	case "conflict-zero":
		return req.Old == 0 && cp.Size > have, true
	case "conflict-lower":
		return req.Old > 0 && req.Old < have && cp.Size > have, true
	case "conflict-rollback":
		return req.Old > 0 && req.Old < cp.Size && cp.Size < have, true
	case "conflict-replay":
		return req.Old == cp.Size && cp.Size < have, false
	case "conflict-higher":
		return req.Old > have, true
	}
	return false, false
}

// consistent checks root and proof against what the witness has.
func (w *fake) consistent(req checkpoint.AddRequest, cp checkpoint.Checkpoint) error {
	bad := refuse(http.StatusUnprocessableEntity)
	if cp.Size == 0 {
		if cp.Root != sha256.Sum256(nil) && !(w.wrong == "first-zero-root" && !w.st.known) && !(w.wrong == "zero-root" && w.st.known) {
			return bad
		}
		if w.wrong == "first-zero" {
			return bad
		}
	}
	if req.Old == 0 {
		if len(req.Proof) > 0 && !(w.wrong == "first-proof" && !w.st.known) && !(w.wrong == "zero-proof" && w.st.known) {
			return bad
		}
		if w.wrong == "first-entries" && cp.Size > 0 {
			return bad
		}
		return nil
	}
	if req.Old == cp.Size {
		if len(req.Proof) > 0 && w.wrong != "same-size-proof" || cp.Root != w.st.cp.Root && w.wrong != "fork-same-size" {
			return bad
		}
		return nil
	}
	if w.wrong == "grow-shapes" && req.Old%8 == 0 {
		return bad
	}
	if w.wrong == "proof-63" && len(req.Proof) > 32 {
		return refuse(http.StatusBadRequest)
	}
	err := w.verify(req, cp, req.Proof)
	if err == nil {
		return nil
	}
	var mismatch proof.RootMismatchError
	switch w.wrong {
	case "proof-flipped", "proof-flipped-last", "proof-other-sizes":
		return nil
	case "proof-empty":
		if len(req.Proof) == 0 {
			return nil
		}
	case "proof-truncated":
		if !errors.As(err, &mismatch) {
			return refuse(http.StatusBadRequest)
		}
	case "proof-longer":
		if len(req.Proof) > 0 && w.verify(req, cp, req.Proof[:len(req.Proof)-1]) == nil {
			return nil
		}
	case "proof-reversed":
		slices.Reverse(req.Proof)
		if w.verify(req, cp, req.Proof) == nil {
			return nil
		}
	case "fork-before":
		if errors.As(err, &mismatch) && tlog.Hash(mismatch.ExpectedRoot) == w.st.cp.Root {
			return nil
		}
	case "fork-own-proof":
		if errors.As(err, &mismatch) && tlog.Hash(mismatch.ExpectedRoot) == cp.Root {
			return nil
		}
	}
	return bad
}

func (w *fake) verify(req checkpoint.AddRequest, cp checkpoint.Checkpoint, hashes []tlog.Hash) error {
	var p [][]byte
	for _, h := range hashes {
		p = append(p, h[:])
	}
	return proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(req.Old), uint64(cp.Size), p, w.st.cp.Root[:], cp.Root[:])
}

// reject refuses what is inconsistent.
func (w *fake) reject(err error, cp checkpoint.Checkpoint, n checkpoint.Note) result {
	switch w.wrong {
	case "refusal-keeps-state":
		w.record(cp, n)
	case "refusal-no-cosignature":
		return result{err: refusal{status: http.StatusUnprocessableEntity, body: string(w.cosign(cp).lines)}}
	}
	return result{err: err}
}

// record makes cp what the witness has.
func (w *fake) record(cp checkpoint.Checkpoint, n checkpoint.Note) result {
	res := w.cosign(cp)
	if res.err != nil {
		return res
	}
	s := state{true, cp, n, res.lines}
	if s.cp.Size > w.st.cp.Size {
		w.before = w.st
	}
	w.updates++
	switch w.wrong {
	case "grow-persisted":
		if w.st.known {
			w.late = &s
			return res
		}
	case "restart-size":
		w.disk, w.st = w.st, s
		return res
	case "restart-stream":
		// Written behind, and soon enough for who restarts after one update.
		w.st = s
		if w.updates%10 == 0 || s.cp.Size > w.disk.cp.Size+100 {
			return res
		}
		if w.updates%10 < 9 {
			w.disk = s
		}
		return res
	}
	w.st, w.disk = s, s
	return res
}

// race checks, lets the others go ahead that make the race, and then records.
func (w *fake) race(cp checkpoint.Checkpoint, n checkpoint.Note) result {
	old := w.st.cp.Size
	ready := w.order(cp, old)
	for until := time.Now().Add(2 * time.Second); !ready() && time.Now().Before(until); {
		w.mu.Unlock()
		time.Sleep(100 * time.Microsecond)
		w.mu.Lock()
	}
	have := w.st.cp.Size
	switch {
	case have == old, w.wrong != "race-no-rollback":
		return w.record(cp, n)
	case cp.Size > old && cp.Size < have:
		// It tells the client the truth, and records.
		w.record(cp, n)
	}
	return result{err: refusal{status: http.StatusConflict, size: have}}
}

// order puts an update that was checked when the size was old before or behind the
// others: the last one recorded is one that should not be.
func (w *fake) order(cp checkpoint.Checkpoint, old int64) (ready func() bool) {
	late := cp.Size == old
	switch w.wrong {
	case "race-one-wins":
		w.checked++
		return func() bool { return w.checked > 1 }
	case "race-no-rollback":
		if cp.Size == old {
			return func() bool { return true }
		}
		late = cp.Size < old+10
	}
	if late {
		w.checked++
		return func() bool { return w.st.cp.Size != old }
	}
	return func() bool { return w.checked > 0 }
}
