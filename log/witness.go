// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/log/quorum"
)

// cosignedFile holds the newest publication's checkpoint with the cosignatures
// that came after its publication. It is kept beside the archive, not in it, and
// losing it costs a round of the witnesses.
const cosignedFile = "checkpoints/cosigned"

const (
	// RefreshAge is the age at which the cosignatures of a log that does not
	// grow are renewed, so that clients can tell it from one that is withheld.
	RefreshAge = 10 * time.Minute

	// refreshPause is the least time from one round of the witnesses to the one
	// that is only to get newer cosignatures: where the clock of a witness is
	// behind, the next are as old as the last.
	refreshPause = time.Minute

	// MaxCosignatureAge is the age from which they are a concern.
	MaxCosignatureAge = 3 * RefreshAge

	// maxRound bounds one round of all witnesses.
	maxRound = 20 * time.Second

	// maxConsult bounds one try to learn what the witnesses have seen.
	maxConsult = 10 * time.Second

	// maxStart is how long Start waits for the first one.
	maxStart = 5 * time.Second
)

// ErrAhead says that this log's key has signed what this directory does not
// have: it is an older copy, or one of two that grow.
var ErrAhead = errors.New("a witness has seen another history of this log")

// A newPolicy is one on its way to the publisher.
type newPolicy struct {
	policy *policy.Policy
	err    chan error
}

// SetPolicy replaces the policy of a log that was started with witnesses, and has
// the newest publication cosigned as the new one wants. The publisher does it
// between two rounds, and asks the witnesses what they have seen again: nothing is
// signed for one that was not asked.
func (l *Log) SetPolicy(p *policy.Policy) error {
	c := newPolicy{p, make(chan error, 1)}
	select {
	case l.policies <- c:
		return <-c.err
	case <-l.done:
		return ErrClosed
	}
}

// takePolicy replaces the policy.
func (l *Log) takePolicy(c newPolicy) {
	err := l.witnesses.Reload(c.policy)
	if err == nil {
		l.consulted = false
	}
	c.err <- err
}

// stale reports whether the newest publication needs another round of the
// witnesses though the log has not grown.
func (l *Log) stale() bool {
	return l.witnesses != nil && l.refreshIn() <= 0
}

// refreshIn returns how long the cosignatures of the newest publication are
// still good, or cannot be expected to get better.
func (l *Log) refreshIn() time.Duration {
	met, oldest := l.witnesses.Met(l.newest().Checkpoint)
	if !met {
		return 0
	}
	return max(time.Until(oldest.Add(RefreshAge)), time.Until(l.asked.Add(l.pause)))
}

// cosign returns the signed checkpoint of t with the cosignatures that the
// policy wants. Until it returns them nothing is published.
func (l *Log) cosign(note []byte, t tlog.Tree) ([]byte, error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.round)
	defer cancel()
	late := new(atomic.Pointer[[]byte])
	own := note
	note, err := l.witnesses.Cosign(ctx, quorum.Request{
		Note:  note,
		Prove: func(old int64) ([]tlog.Hash, error) { return l.tree.prove(old, t.N) },
	}, func(note []byte) {
		if note == nil {
			l.accused.Store(true)
		} else {
			// The newest one counts: it has all that those before it had.
			late.Store(&note)
		}
		l.wake()
	})
	if err == nil {
		// What came late in the round before would take the place of what is
		// newer now, or of what another policy wants.
		l.late, l.asked = late, time.Now()
	}
	if ahead, ok := errors.AsType[*quorum.AheadError](err); ok {
		if err := l.remembers(ahead.Checkpoint.Tree()); errors.Is(err, ErrAhead) {
			return nil, l.contradicted("witness "+ahead.Witness, ahead.Note, own)
		} else if err != nil {
			// Not compared: the witnesses are asked again before the next signature.
			l.consulted = false
			return nil, err
		}
	}
	return note, err
}

// consult asks the witnesses, once, what they have seen of this log, before
// they are asked to sign anything. A quorum must have answered: where any two
// quorums have a witness in common, one that saw the last publication is among
// them. What they show with this log's own signature must be in this
// directory's history, or the directory is an older copy, or one of two that
// grow.
func (l *Log) consult() error {
	if l.witnesses == nil || l.consulted {
		return nil
	}
	_, err := l.ask()
	l.consulted = err == nil
	return err
}

// ask asks the witnesses what they have seen, and compares it.
func (l *Log) ask() ([]quorum.Seen, error) {
	ctx, cancel := context.WithTimeout(l.ctx, min(l.round, maxConsult))
	defer cancel()
	seen, missing := l.witnesses.Seen(ctx, func(e *quorum.MissingError) { l.interrupt(noQuorum(e)) })
	// One that shows this is enough, even if the others do not answer.
	for _, s := range seen {
		if err := l.remembers(s.Checkpoint.Tree()); errors.Is(err, ErrAhead) {
			return nil, l.contradicted("witness "+s.Witness, s.Note, l.archive.last.Load().Checkpoint)
		} else if err != nil {
			return nil, err
		}
	}
	return seen, missing
}

// remembers returns ErrAhead if a tree that this log's key has signed is none of
// this directory's. The guard knows of every signature that was made here.
func (l *Log) remembers(t tlog.Tree) error {
	signed := l.guard.tree
	if t.N > signed.N {
		return ErrAhead
	}
	root, err := l.tree.root(t.N, signed.N)
	if err != nil {
		return unsafeState(err)
	}
	if root != t.Hash {
		return ErrAhead
	}
	return nil
}

// A suspicion is a checkpoint with this log's signature that was never published
// here, and who showed it.
type suspicion struct {
	auditor string
	tree    tlog.Tree
	note    []byte
}

// suspect has the publisher, who knows what was signed, look at s before it signs
// anything else.
func (l *Log) suspect(s suspicion) {
	l.suspected.Store(&s)
	l.wake()
}

// lookAtSuspicion returns the error that stops signing if another history was
// shown.
func (l *Log) lookAtSuspicion() error {
	s := l.suspected.Load()
	if s == nil {
		return nil
	}
	err := l.remembers(s.tree)
	if errors.Is(err, ErrAhead) {
		return l.contradicted("auditor "+s.auditor, s.note, l.archive.last.Load().Checkpoint)
	}
	if err == nil {
		l.suspected.CompareAndSwap(s, nil)
	}
	return err
}

// contradicted keeps what a witness or an auditor showed, beside a checkpoint that was
// signed here, and returns the error that stops signing.
func (l *Log) contradicted(who string, shown, own []byte) error {
	e, err := l.accuse(who, shown, own)
	if err != nil {
		l.logger.Error("evidence could not be made", "by", who, "shown", string(shown), "err", err)
	} else {
		l.evidence("ahead", e.Bytes())
	}
	return fmt.Errorf("%w: %w: the %s shows a checkpoint signed by this log's key that is not in this directory, which has signed up to size %d: "+
		"an older copy was put back, or another process signs with this key", ErrUnsafe, ErrAhead, who, l.guard.tree.N)
}

// accuse returns what a checkpoint that is not of this directory and one that is show:
// two histories, if this directory's tiles prove it, and else no more than that we say
// so.
func (l *Log) accuse(who string, shown, own []byte) (*evidence.Evidence, error) {
	key, err := checkpoint.ParseKey(l.VKey())
	if err != nil {
		return nil, err
	}
	path, err := l.path(shown, own)
	if err != nil {
		path = nil // what was shown is kept all the same
	}
	return evidence.Accuse(key, shown, own, path, who)
}

// path returns the root at the size of one checkpoint, and the proof from there to the
// size of another, which is of this directory. For a larger one there is none.
func (l *Log) path(shown, own []byte) ([]tlog.Hash, error) {
	var sizes [2]int64
	for i, msg := range [][]byte{shown, own} {
		text, _, _ := bytes.Cut(msg, []byte("\n\n"))
		c, err := checkpoint.Parse(string(text) + "\n")
		if err != nil {
			return nil, err
		}
		sizes[i] = c.Size
	}
	if sizes[0] >= sizes[1] {
		return nil, nil
	}
	root, err := l.tree.root(sizes[0], sizes[1])
	if err != nil {
		return nil, err
	}
	path, err := l.tree.prove(sizes[0], sizes[1])
	return append([]tlog.Hash{root}, path...), err
}

// tend takes in the cosignatures that came after the newest publication, and
// has it cosigned again if what it has then is not enough.
func (l *Log) tend() error {
	if err := l.keepLate(); err != nil {
		return err
	}
	if !l.stale() {
		return nil
	}
	return l.refresh()
}

// keepLate takes in what came late in the last round.
func (l *Log) keepLate() error {
	if late := l.late.Swap(nil); late != nil {
		return l.keep(*late)
	}
	return nil
}

// refresh has the newest publication cosigned again.
func (l *Log) refresh() error {
	p := l.archive.last.Load()
	note, err := l.cosign(p.Checkpoint, tlog.Tree{N: p.Size, Hash: p.Root})
	if err != nil {
		return err
	}
	return l.keep(note)
}

// keep stores cosignatures of the newest publication beside the archive. Those
// of another checkpoint, which came too late, are dropped.
func (l *Log) keep(note []byte) error {
	if !sameText(note, l.archive.last.Load().Checkpoint) {
		return nil
	}
	// Shown even if the disk is full, or the witnesses would be asked for it
	// again and again.
	l.cosigned = note
	return durable.WriteFile(l.root, cosignedFile, note, 0o644)
}

// loadCosigned takes in what keep wrote. A file that is damaged, cannot be read,
// or is of another checkpoint is none: what is archived is served then. One of an
// older checkpoint is what every growth leaves behind.
func (l *Log) loadCosigned() {
	note, err := l.readCosigned()
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		l.logger.Warn("kept cosignatures are not used", "file", cosignedFile, "err", err)
	default:
		l.cosigned = note
	}
}

func (l *Log) readCosigned() ([]byte, error) {
	f, err := l.root.Open(cosignedFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	note, err := io.ReadAll(io.LimitReader(f, checkpoint.MaxNote+1))
	if err != nil {
		return nil, err
	}
	if _, err := checkpoint.ParseNote(note); err != nil {
		return nil, err
	}
	last := l.archive.last.Load()
	if signed, err := l.signer.openCheckpoint(note); err == nil && signed.N < last.Size {
		return nil, nil // the log has grown since, and nothing came late after that
	}
	if _, err := l.signer.openNotes(note, last.TreeHead); err != nil {
		return nil, err
	}
	if l.witnesses == nil {
		return note, nil
	}
	// One cosignature that rotted spoils a note for those who know its key.
	met, _ := l.witnesses.Met(note)
	if archived, _ := l.witnesses.Met(last.Checkpoint); archived && !met {
		return nil, errors.New("not what the witness policy wants, and what is archived is")
	}
	return note, nil
}

// newest returns the newest publication with all cosignatures that it has.
func (l *Log) newest() *Publication {
	p := l.archive.last.Load()
	if l.cosigned == nil || !sameText(l.cosigned, p.Checkpoint) {
		return p
	}
	with := *p
	with.Checkpoint = l.cosigned
	return &with
}

// sameText reports whether two notes have the same text.
func sameText(a, b []byte) bool {
	at, _, ok := bytes.Cut(a, []byte("\n\n"))
	bt, _, ok2 := bytes.Cut(b, []byte("\n\n"))
	return ok && ok2 && bytes.Equal(at, bt)
}
