// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"syscall"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Pauses after a publication that failed.
const shortest, longest = 50 * time.Millisecond, 5 * time.Second

// Burst is how many publications may follow each other at once after a pause.
const Burst = 20

// publisher publishes whenever the tree has grown, until signing stops or the
// log is closed. It is the only goroutine that signs. With witnesses it
// keeps to the rate, and has what does not grow cosigned again.
func (l *Log) publisher() {
	wait := shortest
	var again <-chan time.Time
	for {
		select {
		case <-l.done:
			return
		case <-l.kick:
		case <-again:
		case c := <-l.policies:
			l.takePolicy(c)
		}
		err := l.publish()
		switch {
		case err == nil:
			again, wait = l.timer(), shortest
		case isUnsafe(err):
			l.fail(err)
			return
		case l.ctx.Err() != nil:
			return
		default:
			l.logger.Error("publication failed, trying again", "err", err, "wait", wait)
			again, wait = time.After(wait), min(2*wait, longest)
		}
	}
}

// timer fires when what waits may be published, or the cosignatures are to be
// renewed.
func (l *Log) timer() <-chan time.Time {
	switch {
	case l.held > 0:
		return time.After(l.held)
	case l.witnesses == nil:
		return nil
	}
	return time.After(max(l.refreshIn(), shortest))
}

// hold returns how long a tree of size n is to wait for its turn, which it takes if
// that is 0. Each size that the witnesses are shown costs a turn, published or not;
// to show it again, after a failure or for newer cosignatures, costs none: what has
// cosigned it is asked again only in a while.
func (l *Log) hold(n int64) time.Duration {
	if n <= l.paid {
		return 0
	}
	now := time.Now()
	r := l.rate.ReserveN(now, 1)
	if d := r.DelayFrom(now); d > 0 {
		r.CancelAt(now)
		return d
	}
	l.paid = n
	return 0
}

// publish publishes the tree that Tessera has made durable, if it is larger
// than the published one and may be now, and shows what is published.
func (l *Log) publish() error {
	err := l.advance()
	l.tell(err)
	return err
}

// advance is publish without a word to those who wait.
//
// Every step may fail and be tried again with the same or a larger tree. A
// crash between any two of them leaves a state that preflight accepts.
func (l *Log) advance() error {
	t, err := l.tree.state()
	if err != nil {
		return unsafeState(err)
	}
	l.mu.Lock()
	durable := t.N <= l.integrated
	l.mu.Unlock()
	if !durable {
		// The state was renamed but its directory perhaps not yet synced. The
		// collector will wake us when the future has resolved.
		return nil
	}
	if err := l.consult(); err != nil {
		return err
	}
	if err := l.lookAtSuspicion(); err != nil {
		return err
	}
	if l.accused.Swap(false) {
		if err := l.refresh(); err != nil {
			return err // before anything else is signed
		}
	}
	l.held = 0
	grown := t.N > l.archive.last.Load().Size
	if grown {
		l.held = l.hold(t.N)
	}
	if grown && l.held == 0 {
		err = l.sign(t)
	} else {
		err = l.tend()
	}
	if err != nil {
		return err
	}
	if err := l.keepLate(); err != nil {
		return err
	}
	if err := l.show(l.newest()); err != nil {
		return err
	}
	// What was on its way can be found now: whoever was told to come again does not
	// bring it a second time.
	if l.held == 0 {
		l.resume()
	}
	return nil
}

// sign extends the guard to t, signs t, and archives it.
func (l *Log) sign(t tlog.Tree) error {
	g, err := l.extended(t)
	if err != nil {
		return unsafeState(err)
	}
	// Before the guard is written too: the one of a copy is not ours to raise.
	if err := l.unmoved(); err != nil {
		return err
	}
	l.tried = g
	if err := g.write(l.guardPath); err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	l.guard, l.tried = g, nil
	if err := l.unmoved(); err != nil {
		return err
	}
	// Crash point: the guard knows a size that nobody has seen signed. The
	// next start publishes it.
	p, err := l.signer.publication(t, l.archive.last.Load().Time)
	if err != nil {
		return err
	}
	if l.witnesses != nil {
		// What they cosign is in no archive yet, and what is in the archive has
		// all the cosignatures that the policy wants. Crash point: witnesses
		// know a checkpoint that was not published. The next start publishes
		// one that is consistent with it, because the guard knows it too.
		if p.Checkpoint, err = l.cosign(p.Checkpoint, t); err != nil {
			return err
		}
		if err := l.checkTime(p); err != nil {
			return err
		}
	}
	return l.archive.append(p)
}

// publication signs both notes over t. Its time is now, but later than last.
func (s *signer) publication(t tlog.Tree, last time.Time) (*Publication, error) {
	checkpoint, err := s.signCheckpoint(t)
	if err != nil {
		return nil, err
	}
	head, err := s.signTreeHead(t)
	if err != nil {
		return nil, err
	}
	return &Publication{timeAfter(last), t.N, t.Hash, checkpoint, head}, nil
}

// extended returns the guard at t after comparing three independent accounts of
// its root: the leaf hashes of the new entries as read back from the bundles
// behind all that was signed before, the tiles, and Tessera's state. A
// regression, a rotted tile or bundle, and a lost state all end here.
func (l *Log) extended(t tlog.Tree) (*guard, error) {
	if t.N < l.guard.tree.N {
		return nil, fmt.Errorf("%w: size %d after %d was signed", ErrUnsafe, t.N, l.guard.tree.N)
	}
	r, err := rangeFactory.NewRange(0, l.guard.nodes.End(), slices.Clone(l.guard.nodes.Hashes()))
	if err != nil {
		return nil, err
	}
	if err := l.tree.extend(r, t.N, t.N); err != nil {
		return nil, err
	}
	g, err := newGuard(l.Name(), l.archive.last.Load().Size, r)
	if err != nil {
		return nil, err
	}
	if g.tree != t {
		return nil, fmt.Errorf("%w: at size %d the entries give the root %v, Tessera %v", ErrUnsafe, t.N, g.tree.Hash, t.Hash)
	}
	return g, l.tree.checkEdge(t.N, t.Hash)
}

// show makes p visible: first to the index, then to everybody, then to the
// appends that wait for it.
func (l *Log) show(p *Publication) error {
	if err := l.names.Publish(p); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	l.published.Store(p)
	l.shown.Store(l.archive.size.Load())
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.order) && l.order[n].index < p.Size {
		l.settle(l.order[n], l.order[n].index, nil)
		n++
	}
	l.order = l.order[n:]
	l.stalled = time.Now()
	return nil
}

// syncState makes Tessera's state file durable as it is. Tessera syncs every
// tile before it replaces the state, so the state is all that can be visible
// without being durable.
func (l *Log) syncState() error {
	for _, name := range []string{stateFile, path.Dir(stateFile)} {
		f, err := l.root.Open(path.Join(treeDir, name))
		if err != nil {
			return unsafeState(err)
		}
		err = errors.Join(f.Sync(), f.Close())
		if err != nil {
			return err
		}
	}
	return nil
}

// unsafeState marks errors that show damage, or that the state is not there to be
// read or written. Others, such as too many open files, pass.
func unsafeState(err error) error {
	for _, e := range []error{
		errRotten, fs.ErrNotExist, fs.ErrPermission, syscall.EROFS, syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP,
	} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrUnsafe, err)
		}
	}
	return err
}

func isUnsafe(err error) bool { return errors.Is(err, ErrUnsafe) }
