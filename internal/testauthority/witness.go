// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package testauthority

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"example.org/sumlog/internal/checkpoint"
)

// A Witness cosigns, and believes whatever it is told to.
type Witness struct {
	cosigner *checkpoint.Cosigner

	mu    sync.Mutex
	notes map[string][]byte // by the hash of the origin: what it has cosigned last
}

func newWitness(name string) *Witness {
	_, secret := newKey(name, checkpoint.CosignatureEd25519)
	c, err := checkpoint.NewCosigner(name, secret)
	must(err)
	return &Witness{cosigner: c, notes: map[string][]byte{}}
}

// Key returns the key of the witness.
func (w *Witness) Key() *checkpoint.Key { return w.cosigner.Key() }

// cosign returns a cosignature of a checkpoint at t, whatever was cosigned before.
func (w *Witness) cosign(c checkpoint.Checkpoint, t time.Time) checkpoint.Signature {
	s, err := w.cosigner.Cosign(c, t.Unix())
	must(err)
	return s
}

// Keep makes note, a checkpoint, the one that the witness shows as cosigned last.
func (w *Witness) Keep(note checkpoint.Note) {
	c, err := checkpoint.Parse(note.Text)
	must(err)
	w.keep(c, note)
}

// keep keeps of a note the signatures of the log and of the witness.
func (w *Witness) keep(c checkpoint.Checkpoint, note checkpoint.Note) {
	own := checkpoint.Note{Text: note.Text}
	for _, s := range note.Signatures {
		if s.Name == c.Origin || s.Name == w.Key().Name() {
			own.Signatures = append(own.Signatures, s)
		}
	}
	sum := sha256.Sum256([]byte(c.Origin))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes[hex.EncodeToString(sum[:])] = own.Bytes()
}

// note returns what was cosigned last of the origin with that hash, or nil.
func (w *Witness) note(hash string) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.notes[hash]
}

// clone returns a witness with the same key that knows the same.
func (w *Witness) clone() *Witness {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &Witness{cosigner: w.cosigner, notes: map[string][]byte{}}
	for k, v := range w.notes {
		c.notes[k] = v
	}
	return c
}

// Witness returns witness n, 0 being the first.
func (a *Authority) Witness(n int) *Witness { return a.witnesses[n] }

// Cosigned returns the checkpoint of a size with cosignatures of those witnesses
// at t. It does not become what they show.
func (a *Authority) Cosigned(size int64, t time.Time, witnesses ...int) checkpoint.Note {
	a.mu.RLock()
	defer a.mu.RUnlock()
	cp := a.checkpoint(size)
	note := a.sign(cp.Text())
	for _, n := range witnesses {
		note.Signatures = append(note.Signatures, a.witnesses[n].cosign(cp, t))
	}
	return note
}
