// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package cosign is the cosigner of an auditor: it states, by a cosignature under a
// name and key of its own, that a published checkpoint was audited
// (https://c2sp.org/tlog-cosignature, "additional statements"), and hands it to the
// log.
//
// A cosignature says what a witness's says too: that the cosigner knows of no larger
// tree of this log, and of none that excludes it. The rest is the caller's: it
// cosigns what has passed an audit, and nothing else. The key must be of this use
// alone, because a key implies one statement.
//
// # State
//
//	DIR/cosign/XXXXXXXXXXXXXXXX/   one key and one log, by the first 16 hex digits of
//	    lock                       the SHA-256 of both vkeys
//	    cosigned                   the checkpoint that was cosigned last, with the
//	                               log's signature and the cosignature
//
// A cosignature leaves the process after it is durable there. So a crash, at whatever
// point, leaves a state that knows of all that anybody can have seen; what it knows
// beyond that is handed to the log again. Two processes cannot have the state open
// at once.
//
// # What makes it safe
//
// [Signer.Cosign] takes a larger checkpoint only with a proof that it holds the last
// one, the same one again, and no other. Its time never goes back, even if the clock
// does: a larger time with a smaller tree would be a lie about the earlier one.
//
// A state that was lost, or put back as it once was, does not know what was said. So
// before it cosigns, the caller shows it what the log has of this key
// ([Signer.Recall]). A cosignature of its own there that is newer than the state
// ends it for good: [ErrBehind]. The log can hide that; nobody else is asked.
//
// # Submission
//
// POST URL/audited/add-checkpoint, with the body of add-checkpoint
// (https://c2sp.org/tlog-witness), the cosignature already in the note. See package
// log for the answers. Of these nothing is believed but a size to prove from.
package cosign

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/tlogclient"
)

var (
	// ErrRefused is wrapped by the error of a checkpoint that must not be cosigned.
	ErrRefused = errors.New("not cosigned")

	// ErrBehind is wrapped by the error of a state that does not know what its key
	// has cosigned. It is no good any more, and neither is the key.
	ErrBehind = errors.New("the state of the cosigner is older than a cosignature by its key")

	// ErrDamaged is wrapped by the error of a state that cannot be read.
	ErrDamaged = errors.New("the state of the cosigner is damaged")
)

const (
	lockFile = "lock"
	lastFile = "cosigned"
)

// A Signer is the cosigner of one log. Its methods are for one goroutine.
type Signer struct {
	cosigner *checkpoint.Cosigner
	log      *checkpoint.Key
	root     *os.Root
	unlock   func() error
	now      func() time.Time

	last *cosigned // nil: nothing was cosigned yet
	dead error     // why nothing is cosigned any more
}

// A cosigned is a checkpoint with the cosignature.
type cosigned struct {
	tlogclient.Head
	time int64
}

// A Config configures [Open]. All but Now is required.
type Config struct {
	Dir      string // made where it is missing
	Log      *checkpoint.Key
	Cosigner *checkpoint.Cosigner
	Now      func() time.Time // default: time.Now
}

// Open opens the state. It fails with durable.ErrLocked while another process has it
// open.
func Open(c Config) (*Signer, error) {
	if c.Dir == "" || c.Log == nil || c.Cosigner == nil {
		return nil, errors.New("cosign: directory, log and key are required")
	}
	if c.Cosigner.Key().Name() == c.Log.Name() {
		return nil, fmt.Errorf("%w: log and cosigner are both called %s", ErrRefused, c.Log.Name())
	}
	s := &Signer{cosigner: c.Cosigner, log: c.Log, now: c.Now}
	if s.now == nil {
		s.now = time.Now
	}
	if err := s.open(c.Dir); err != nil {
		s.Close()
		return nil, fmt.Errorf("cosigner: %w", err)
	}
	return s, nil
}

func (s *Signer) open(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	top, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer top.Close()
	sum := sha256.Sum256([]byte(s.cosigner.Key().String() + "\n" + s.log.String() + "\n"))
	name := fmt.Sprintf("cosign/%x", sum[:8])
	if err := durable.MkdirAll(top, name); err != nil {
		return err
	}
	if s.root, err = top.OpenRoot(name); err != nil {
		return err
	}
	if s.unlock, err = durable.Lock(s.root, lockFile); err != nil {
		return err
	}
	if _, err := durable.Sweep(s.root, "."); err != nil {
		return err
	}
	// What a killed process left can be read and not be durable yet.
	for _, d := range []string{path.Dir(name), name} {
		if err := durable.SyncDir(top, d); err != nil {
			return err
		}
	}
	return s.load()
}

// load reads what was cosigned last.
func (s *Signer) load() error {
	f, err := s.root.Open(lastFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	note, err := io.ReadAll(io.LimitReader(f, checkpoint.MaxNote+1))
	if err != nil {
		return err
	}
	if s.last, err = s.parse(note); err != nil {
		return fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return nil
}

// parse verifies a checkpoint of the log with a cosignature by this key.
func (s *Signer) parse(note []byte) (*cosigned, error) {
	head, err := tlogclient.ParseHead(note, s.log.Name(), s.log)
	if err != nil {
		return nil, err
	}
	n, err := checkpoint.ParseNote(note)
	if err != nil {
		return nil, err
	}
	sigs, err := n.Verify(s.cosigner.Key())
	if err != nil {
		return nil, err
	}
	t, ok := sigs[0].Time()
	if !ok || t <= 0 {
		return nil, errors.New("a cosignature without a time")
	}
	return &cosigned{head, t}, nil
}

// Close closes the state for others to open.
func (s *Signer) Close() error {
	var errs []error
	if s.root != nil {
		errs = append(errs, s.root.Close())
	}
	if s.unlock != nil {
		errs = append(errs, s.unlock())
	}
	return errors.Join(errs...)
}

// Last returns what was cosigned last, and when; false if nothing was.
func (s *Signer) Last() (head tlogclient.Head, at time.Time, ok bool) {
	if s.last == nil {
		return head, at, false
	}
	return s.last.Head, time.Unix(s.last.time, 0), true
}

// Recall compares the state with a checkpoint that the log shows as cosigned by its
// auditors. It fails with [ErrBehind], for ever, if it has a cosignature by this key
// that the state does not know of.
func (s *Signer) Recall(note []byte) error {
	if s.dead != nil {
		return s.dead
	}
	c, err := s.parse(note)
	switch {
	case errors.Is(err, checkpoint.ErrUnsigned), errors.Is(err, checkpoint.ErrBadSignature):
		return nil // by others, or by nobody
	case err != nil:
		return fmt.Errorf("cosigner: what the log shows as audited: %w", err)
	case s.last == nil, c.Size > s.last.Size, c.Size == s.last.Size && c.Root != s.last.Root, c.time > s.last.time:
		s.dead = fmt.Errorf("%w: the log shows one of size %d, made at %s", ErrBehind, c.Size, time.Unix(c.time, 0).UTC().Format(time.RFC3339))
	}
	return s.dead
}

// Cosign cosigns a checkpoint that has passed its audit, and returns it with the
// log's signature and the cosignature, which are durable by then. The proof is that
// of consistency from the last one, empty at first and for the same size.
func (s *Signer) Cosign(note []byte, proof []tlog.Hash) ([]byte, error) {
	if s.dead != nil {
		return nil, s.dead
	}
	head, err := tlogclient.ParseHead(note, s.log.Name(), s.log)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := s.follows(head.Tree(), proof); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	n, err := checkpoint.ParseNote(note)
	if err != nil {
		return nil, err
	}
	own, err := n.Verify(s.log)
	if err != nil {
		return nil, err
	}
	t := s.now().Unix()
	if s.last != nil {
		t = max(t, s.last.time)
	}
	sig, err := s.cosigner.Cosign(head.Checkpoint, t)
	if err != nil {
		return nil, err
	}
	out := checkpoint.Note{Text: n.Text, Signatures: []checkpoint.Signature{own[0], sig}}.Bytes()
	c, err := s.parse(out)
	if err != nil {
		return nil, fmt.Errorf("own cosignature: %w", err)
	}
	// Crash point: the cosignature is known to nobody, and the state has it or not.
	if err := durable.WriteFile(s.root, lastFile, out, 0o644); err != nil {
		return nil, fmt.Errorf("cosigner: %w", err)
	}
	s.last = c
	return out, nil
}

// follows reports why t is not the next tree to cosign.
func (s *Signer) follows(t tlog.Tree, proof []tlog.Hash) error {
	if s.last == nil {
		return nil
	}
	last := s.last.Tree()
	switch {
	case t.N < last.N:
		return fmt.Errorf("size %d, after size %d was cosigned", t.N, last.N)
	case t.N == last.N && t.Hash != last.Hash:
		return fmt.Errorf("another root of size %d than the one cosigned", t.N)
	case t.N == last.N || last.N == 0:
		return nil
	}
	if err := tlog.CheckTree(proof, t.N, t.Hash, last.N, last.Hash); err != nil {
		return fmt.Errorf("size %d is not proven to hold size %d, which was cosigned: %w", t.N, last.N, err)
	}
	return nil
}
