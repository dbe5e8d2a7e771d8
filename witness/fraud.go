// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"context"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/witness/state"
)

// accuse keeps s and what was cosigned last as evidence, if together they are.
func (w *Witness) accuse(ctx context.Context, o *origin, e state.Entry, s *submission) {
	if e.Time == 0 || o.isAccused(s.Tree()) {
		return
	}
	text, err := w.config.Store.Note(o.name)
	if err != nil {
		w.config.Logger.Error("note could not be read", "origin", o.name, "err", err)
		return
	}
	stored, err := checkpoint.ParseNote(text)
	if err != nil {
		w.config.Logger.Error("stored note is malformed", "origin", o.name, "err", err)
		return
	}
	if w.keep(ctx, e.Log, stored, s.note, s.Proof) {
		o.setAccused(s.Tree())
	}
}

// isAccused reports whether t is the tree that the log was accused with last: the
// same can be sent again and again. A tree that has proven nothing yet may come
// again with a proof that does.
func (o *origin) isAccused(t tlog.Tree) bool {
	o.stats.mu.Lock()
	defer o.stats.mu.Unlock()
	return o.accused == t
}

func (o *origin) setAccused(t tlog.Tree) {
	o.stats.mu.Lock()
	defer o.stats.mu.Unlock()
	o.accused = t
}

// keep stores what two checkpoints of a log prove, and reports whether they
// prove anything.
func (w *Witness) keep(ctx context.Context, l state.Log, a, b checkpoint.Note, proof []tlog.Hash) bool {
	for _, k := range l.Keys {
		ev, err := evidence.New(k, a, b, proof)
		if err != nil {
			continue // not both by this key, or nothing is proven
		}
		added, err := w.config.Store.AddEvidence(ctx, state.Evidence{Origin: l.Origin, Time: w.config.Now().Unix(), File: ev.Bytes()})
		if err != nil {
			w.config.Logger.Error("evidence could not be stored", "evidence", ev.String(), "file", string(ev.Bytes()), "err", err)
			return false
		}
		if added {
			w.config.Logger.Error("log has signed what excludes each other", "origin", l.Origin, "evidence", ev.String())
		}
		return true
	}
	return false
}
