// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/transparency-dev/merkle/proof"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/durable"
)

// auditedDir holds, in a file for each auditor, the largest published checkpoint
// that it has cosigned, with this log's signature and the auditor's. It is kept
// beside the archive, not in it, and losing it costs a request of each auditor.
const auditedDir = "checkpoints/audited"

// audited takes cosignatures of auditors. It knows of the rest of the log only
// what is published, and nothing of the rest knows of it: whatever an auditor does
// or does not do, appends and publications go on.
type audited struct {
	log  *Log
	key  *checkpoint.Key   // of the log
	keys []*checkpoint.Key // of the auditors

	// mu is held from the comparison with what is kept until the new one is
	// durable, so that of two submissions the larger one stays.
	mu   sync.Mutex
	kept map[string]*auditedNote // by vkey

	// shown is what of it is shown, so that no reader waits for a disk.
	shown atomic.Pointer[auditedShown]
}

// An auditedShown is the largest checkpoint that is kept, of all auditors.
type auditedShown struct {
	size     int64
	archived []byte // as it was published
	sigs     []checkpoint.Signature
}

// An auditedNote is what is kept of one auditor. It is not changed.
type auditedNote struct {
	checkpoint.Checkpoint
	note     []byte               // as in its file
	sig      checkpoint.Signature // the auditor's
	time     int64                // of sig
	archived []byte               // the checkpoint as it was published
}

// openAudited checks the keys of auditors and takes in what was kept of them.
func (l *Log) openAudited(keys []*checkpoint.Key) error {
	if len(keys) == 0 {
		return nil
	}
	key, err := checkpoint.ParseKey(l.VKey())
	if err != nil {
		return err
	}
	a := &audited{log: l, key: key, keys: keys, kept: make(map[string]*auditedNote)}
	for i, k := range keys {
		if !k.Algorithm().Cosigns() {
			return fmt.Errorf("auditor %s: its key signs as a log does; it must be one of a cosigner", k.Name())
		}
		if slices.ContainsFunc(keys[:i], func(o *checkpoint.Key) bool { return o.String() == k.String() }) {
			return fmt.Errorf("auditor %s is given twice", k.Name())
		}
		n, err := a.load(k)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			// It will come again, and whoever is shown none until then is shown
			// nothing false.
			l.logger.Warn("what an auditor cosigned is not used", "auditor", k.Name(), "err", err)
		default:
			a.kept[k.String()] = n
		}
	}
	a.show()
	l.audited = a
	return nil
}

// auditedFile is the file of an auditor. Names of keys hold any character.
func auditedFile(k *checkpoint.Key) string {
	sum := sha256.Sum256([]byte(k.String()))
	return path.Join(auditedDir, fmt.Sprintf("%x", sum[:8]))
}

// load reads what was kept of one auditor, and believes it as little as what
// comes from outside.
func (a *audited) load(k *checkpoint.Key) (*auditedNote, error) {
	f, err := a.log.root.Open(auditedFile(k))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	note, err := io.ReadAll(io.LimitReader(f, checkpoint.MaxNote+1))
	if err != nil {
		return nil, err
	}
	n, by, err := a.parse(note)
	if err != nil {
		return nil, err
	}
	if by.String() != k.String() {
		return nil, fmt.Errorf("cosigned by %s", by.Name())
	}
	return n, a.find(n)
}

// An auditedError is a refusal.
type auditedError struct {
	status int
	text   string
	size   int64 // of a conflict: what is kept
}

func (e *auditedError) Error() string { return e.text }

func refuseAudited(status int, format string, args ...any) error {
	return &auditedError{status: status, text: fmt.Sprintf(format, args...)}
}

// parse verifies a note: a checkpoint of this log, signed by it and by exactly one
// auditor, whom it returns. Other signatures are left out.
func (a *audited) parse(note []byte) (*auditedNote, *checkpoint.Key, error) {
	n, err := checkpoint.ParseNote(note)
	if err != nil {
		return nil, nil, refuseAudited(statusMalformed, "%v", err)
	}
	c, err := checkpoint.Parse(n.Text)
	if err != nil {
		return nil, nil, refuseAudited(statusMalformed, "%v", err)
	}
	if c.Origin != a.key.Name() {
		return nil, nil, refuseAudited(statusUnknown, "this is the log %s", a.key.Name())
	}
	own, err := n.Verify(a.key)
	if err != nil {
		return nil, nil, refuseAudited(statusUnsigned, "log: %v", err)
	}
	sigs, err := n.Verify(a.keys...)
	if err != nil {
		return nil, nil, refuseAudited(statusUnsigned, "auditor: %v", err)
	}
	if len(sigs) > 1 {
		return nil, nil, refuseAudited(statusMalformed, "cosigned by %d auditors; one at a time", len(sigs))
	}
	t, ok := sigs[0].Time()
	if !ok || t <= 0 {
		return nil, nil, refuseAudited(statusUnsigned, "auditor: a cosignature without a time")
	}
	i := slices.IndexFunc(a.keys, func(k *checkpoint.Key) bool { return k.Name() == sigs[0].Name && k.ID() == sigs[0].ID })
	kept := checkpoint.Note{Text: n.Text, Signatures: []checkpoint.Signature{own[0], sigs[0]}}
	return &auditedNote{Checkpoint: c, note: kept.Bytes(), sig: sigs[0], time: t}, a.keys[i], nil
}

// find finds the published checkpoint that n is.
func (a *audited) find(n *auditedNote) error {
	shown := a.log.shown.Load()
	for p, err := range a.log.archive.publications(n.Size-1, shown) {
		if err != nil {
			return err
		}
		if p.Size != n.Size || p.Root != n.Root || n.Text() != checkpointText(a.key.Name(), n.Tree()) {
			break
		}
		n.archived = p.Checkpoint
		return nil
	}
	return refuseAudited(statusUnproven, "no checkpoint of size %d and this root was published", n.Size)
}

// add takes a submission.
func (a *audited) add(body []byte) error {
	r, err := checkpoint.ParseAddRequest(body)
	if err != nil {
		return refuseAudited(statusMalformed, "%v", err)
	}
	n, by, err := a.parse(r.Note)
	if err != nil {
		return err
	}
	if r.Old > n.Size {
		return refuseAudited(statusMalformed, "old size %d is larger than the checkpoint's, %d", r.Old, n.Size)
	}
	unpublished := a.find(n)
	if _, ok := errors.AsType[*auditedError](unpublished); ok {
		a.log.suspect(suspicion{by.Name(), n.Tree(), n.note})
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var old tlog.Tree
	kept := a.kept[by.String()]
	if kept != nil {
		old = kept.Tree()
	}
	if r.Old != old.N {
		return &auditedError{status: statusConflict, text: "another size is kept", size: old.N}
	}
	if err := provenAudited(old, n.Tree(), r.Proof); err != nil {
		return err
	}
	if unpublished != nil {
		return unpublished
	}
	switch {
	case kept == nil:
	case n.Size == kept.Size && n.time <= kept.time:
		return nil // nothing new: anybody can send it again
	case n.time < kept.time:
		return refuseAudited(statusUnproven, "the cosignature is older than that of size %d", kept.Size)
	}
	return a.keep(by, n)
}

// provenAudited verifies the proof of a submission.
func provenAudited(old, new tlog.Tree, p []tlog.Hash) error {
	if old.N == 0 {
		if len(p) > 0 {
			return refuseAudited(statusUnproven, "a proof from size 0 is empty")
		}
		return nil
	}
	hashes := make([][]byte, len(p))
	for i := range p {
		hashes[i] = p[i][:]
	}
	if err := proof.VerifyConsistency(hasher, uint64(old.N), uint64(new.N), hashes, old.Hash[:], new.Hash[:]); err != nil {
		return refuseAudited(statusUnproven, "the proof does not verify")
	}
	return nil
}

// keep makes n what is kept of an auditor.
func (a *audited) keep(by *checkpoint.Key, n *auditedNote) error {
	if err := durable.MkdirAll(a.log.root, auditedDir); err != nil {
		return err
	}
	// Crash point: the auditor has no answer, and what is kept is the old one or
	// the new one. It asks again, from the size that it is told.
	if err := durable.WriteFile(a.log.root, auditedFile(by), n.note, 0o644); err != nil {
		return err
	}
	a.kept[by.String()] = n
	a.show()
	a.log.logger.Info("audited", "auditor", by.Name(), "size", n.Size)
	return nil
}

// newest returns the largest checkpoint that an auditor has cosigned, with the
// cosignatures that it was published with, or has by now, and those of all
// auditors that have cosigned it; nil if there is none.
func (a *audited) newest() []byte {
	s := a.shown.Load()
	if s == nil {
		return nil
	}
	if p := a.log.Published(); p.Size == s.size {
		return addSignatures(p.Checkpoint, s.sigs)
	}
	return addSignatures(s.archived, s.sigs)
}

// show makes what is kept what is shown.
func (a *audited) show() {
	var s *auditedShown
	for _, k := range a.keys {
		switch n := a.kept[k.String()]; {
		case n == nil || s != nil && n.Size < s.size:
		case s == nil || n.Size > s.size:
			s = &auditedShown{n.Size, n.archived, []checkpoint.Signature{n.sig}}
		default:
			s.sigs = append(s.sigs, n.sig)
		}
	}
	a.shown.Store(s)
}

// addSignatures adds to a note the signatures that it does not have yet.
func addSignatures(note []byte, sigs []checkpoint.Signature) []byte {
	out := bytes.Clone(note)
	for _, s := range sigs {
		if line := s.String(); !bytes.Contains(note, []byte("\n"+line)) {
			out = append(out, line...)
		}
	}
	return out
}
