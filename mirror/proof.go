// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package mirror

import (
	"fmt"
	"net/http"
	"strconv"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/tlogproof"
)

// proofKind is the suffix of a proof.
const proofKind = "tlog-proof"

// proof serves the proof that a version is logged.
func (h *Handler) proof(w http.ResponseWriter, r *http.Request, q request) error {
	m := q.version()
	e, found, err := h.find(m)
	if err != nil {
		return err
	}
	if !found {
		return notFound("%s is not in this log", m)
	}
	// Taken after the entry was seen to be published, so it covers it.
	p := h.c.Log.Published()
	hashes, err := h.c.Log.Inclusion(e.Index, p)
	if err != nil {
		return ours("log", err)
	}
	note, err := checkpoint.ParseNote(p.Checkpoint)
	if err != nil {
		return fmt.Errorf("log: %v", err)
	}
	// With the record, which the proof has only the hash of, as sumaudit prove has it:
	// most go.sum files have one of its two lines.
	body := tlogproof.Proof{Extra: e.Record.Text(), Index: e.Index, Hashes: hashes, Checkpoint: note}.Bytes()
	head := w.Header()
	head.Set("Content-Type", tlogproof.Type)
	head.Set("Cache-Control", "no-cache")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		w.Write(body)
	}
	return nil
}
