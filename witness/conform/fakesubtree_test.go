// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"encoding/binary"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.org/sumlog/internal/checkpoint"
)

var (
	reSubtreeLine = regexp.MustCompile(`^subtree (0|[1-9][0-9]{0,17}) (0|[1-9][0-9]{0,17})\n`)
	reHashLine    = regexp.MustCompile(`^[A-Za-z0-9+/]{43}=$`)
)

func (w *fake) subtree(body string) result {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch first, rest, _ := strings.Cut(body, "\n"); {
	case w.wrong == "subtree-line" && !reSubtreeLine.MatchString(body) && rest != "":
		body = "subtree 512 589\n" + strings.TrimPrefix(rest, "\r")
		_ = first
	case w.wrong == "subtree-proof-line":
		head, note, _ := strings.Cut(body, "\n\n")
		lines := strings.Split(head, "\n")
		lines = slices.Concat(lines[:2], slices.DeleteFunc(lines[2:], func(s string) bool { return !reHashLine.MatchString(s) }))
		body = strings.Join(lines, "\n") + "\n\n" + note
	case w.wrong == "subtree-proof-64":
		body = withoutZeros(w, body)
	}
	req, err := checkpoint.ParseSubtreeRequest([]byte(body))
	if err != nil {
		if w.wrong == "subtree-hash-line" || w.wrong == "subtree-body" {
			return result{err: refuse(http.StatusUnprocessableEntity)}
		}
		return result{err: refuse(http.StatusBadRequest)}
	}
	if w.wrong == "subtree-proof-63" && len(req.Proof) > 32 {
		return result{err: refuse(http.StatusBadRequest)}
	}
	n, err := checkpoint.ParseNote(req.Note)
	if err != nil {
		return result{err: refuse(http.StatusBadRequest)}
	}
	cp, err := checkpoint.Parse(n.Text)
	if err != nil {
		return result{err: refuse(http.StatusBadRequest)}
	}
	if err := w.admits(req, n, cp); err != nil {
		return result{err: err}
	}
	return w.cosignSubtree(req, cp, n)
}

// admits does what the specification says before a subtree is signed.
func (w *fake) admits(req checkpoint.SubtreeRequest, n checkpoint.Note, cp checkpoint.Checkpoint) error {
	if err := req.CheckRange(cp.Size); err != nil {
		if slices.Contains([]string{"subtree-unaligned", "subtree-empty", "subtree-beyond"}, w.wrong) {
			return refuse(http.StatusUnprocessableEntity)
		}
		return refuse(http.StatusBadRequest)
	}
	if cp.Origin != w.log.origin() && w.wrong != "subtree-origin" {
		return refuse(http.StatusNotFound)
	}
	keys := []*checkpoint.Key{w.ed.Key(), w.ml.Key()}
	switch w.wrong {
	case "subtree-unsigned":
		keys = append(keys, w.log.key)
	case "subtree-bad-cosignature", "subtree-other-checkpoint":
		keys = nil
	}
	if _, err := n.Verify(keys...); err != nil && keys != nil {
		return refuse(http.StatusForbidden)
	}
	if w.wrong == "subtree-old-reference" && cp.Size != w.st.cp.Size {
		return refuse(http.StatusConflict)
	}
	err := checkpoint.CheckSubtree(req, cp)
	if err == nil || !errors.Is(err, checkpoint.ErrProof) {
		return err
	}
	switch w.wrong {
	case "subtree-hash", "subtree-proof-flipped", "subtree-other-checkpoint":
		return nil
	case "subtree-proof-empty":
		if len(req.Proof) == 0 {
			return nil
		}
	case "subtree-proof-longer":
		if req.Proof = req.Proof[min(1, len(req.Proof)):]; checkpoint.CheckSubtree(req, cp) == nil {
			return nil
		}
	}
	return refuse(http.StatusUnprocessableEntity)
}

func (w *fake) cosignSubtree(req checkpoint.SubtreeRequest, cp checkpoint.Checkpoint, n checkpoint.Note) result {
	sub := checkpoint.Subtree{Origin: cp.Origin, Start: req.Start, End: req.End, Hash: req.Hash}
	switch w.wrong {
	case "subtree-verifies":
		sub.Start = 0
	case "subtree-keeps-state":
		w.st.cp, w.st.note = cp, n
	}
	sig, err := w.ml.CosignSubtree(sub)
	if err != nil {
		return result{err: err}
	}
	if w.wrong == "subtree-time" {
		binary.BigEndian.PutUint64(sig.Bytes, uint64(time.Now().Unix()))
	}
	lines := sig.String()
	if w.wrong == "subtree-lines" {
		lines = strings.TrimSuffix(lines, "\n")
	}
	return result{lines: []byte(lines)}
}
