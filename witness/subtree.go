// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/witness/state"
)

// SignSubtree is sign-subtree without HTTP. The error is a *Refusal.
//
// The checkpoint in the body has a cosignature of this witness, which is all
// that is needed to know that it is consistent with whatever was cosigned.
func (w *Witness) SignSubtree(_ context.Context, body []byte) (lines []byte, err error) {
	o, lines, refusal := w.signSubtree(body)
	if refusal != nil {
		w.count(o, refusal)
		return nil, refusal
	}
	return lines, nil
}

func (w *Witness) signSubtree(body []byte) (*origin, []byte, *Refusal) {
	req, err := checkpoint.ParseSubtreeRequest(body)
	if err != nil {
		return nil, nil, refuse(http.StatusBadRequest, "%v", err)
	}
	n, err := checkpoint.ParseNote(req.Note)
	if err != nil {
		return nil, nil, refuse(http.StatusBadRequest, "%v", err)
	}
	c, err := checkpoint.Parse(n.Text)
	if err == nil {
		err = req.CheckRange(c.Size)
	}
	if err != nil {
		return nil, nil, refuse(http.StatusBadRequest, "%v", err)
	}
	name, _, _ := strings.Cut(n.Text, "\n")
	o, e, ok := w.find(name)
	if !ok {
		return nil, nil, refuse(http.StatusNotFound, "origin %.100q is not known here", name)
	}
	if o.verifying.Add(1) > maxVerifying {
		o.verifying.Add(-1)
		return o, nil, later(http.StatusTooManyRequests, retryAfter, "very many requests name this origin")
	}
	_, err = n.Verify(w.keys...)
	o.verifying.Add(-1)
	if err != nil {
		return o, nil, refuse(http.StatusForbidden, "%v", err)
	}
	if c.Size > e.Tree.N || e.Time == 0 || c.Size == e.Tree.N && c.Root != e.Tree.Hash {
		w.fail(fmt.Errorf("%w: a client shows size %d of %q, cosigned by this witness, and the state is at size %d: it was put back",
			state.ErrUnsafe, c.Size, c.Origin, e.Tree.N))
	}
	if refusal := w.stopped(); refusal != nil {
		return o, nil, refusal
	}
	if err := checkpoint.CheckSubtree(req, c); err != nil {
		return o, nil, refuse(http.StatusUnprocessableEntity, "%v", err)
	}
	var lines []byte
	for _, cs := range w.config.Cosigners {
		if cs.Key().Algorithm() != checkpoint.CosignatureMLDSA44 {
			continue
		}
		sig, err := cs.CosignSubtree(checkpoint.Subtree{Origin: c.Origin, Start: req.Start, End: req.End, Hash: req.Hash})
		if err != nil {
			w.config.Logger.Error("cosigning failed", "key", cs.Key().String(), "err", err)
			return o, nil, later(http.StatusServiceUnavailable, retryAfter, "the key cannot be used at the moment")
		}
		lines = append(lines, sig.String()...)
	}
	return o, lines, nil
}
