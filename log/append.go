// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"

	"example.org/sumlog/log/engine"
)

// A waiter is one module version on its way into the log. It is made by the
// first append of the version; later ones join it.
type waiter struct {
	done chan struct{} // closed when rec, index and err are final

	queued bool // it was not in the index; guarded by Log.mu

	rec   Record // the record that is, or will be, the log's
	index int64
	err   error
}

// Append adds r to the log and returns its index after its publication. When
// the same record is there or on its way, it returns that one's index; when
// another record of the version is, a [*ConflictError].
//
// When ctx ends, Append returns its error, but the work goes on. An error that
// wraps [ErrBusy] means that trying later is right; what was on its way when the
// quorum of witnesses was lost goes on too, and is published when it is back.
func (l *Log) Append(ctx context.Context, r Record) (int64, error) {
	if err := r.Check(); err != nil {
		return -1, err
	}
	w, o, first, err := l.join(r)
	if err != nil {
		return -1, err
	}
	if first {
		l.begin(w)
	}
	select {
	case <-w.done:
	case <-o.begun:
		if err := l.inVain(w, o); err != nil {
			return -1, err
		}
	case <-ctx.Done():
		return -1, ctx.Err()
	}
	if w.err != nil {
		return -1, w.err
	}
	if w.rec != r {
		return -1, &ConflictError{Have: w.rec, Got: r}
	}
	return w.index, nil
}

// inVain reports why nobody should wait for w in the outage o, which has begun.
func (l *Log) inVain(w *waiter, o *outage) error {
	select {
	case <-w.done: // just before
		return nil
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return o.why
}

// join returns the waiter of r's module version, the outage in which waiting for it
// would be in vain, and whether the caller is the first, who must begin it.
//
// The waiter is put into the map before the index is asked, and stays there
// until the index has the entry. So at any time a version is in one of the two,
// and no second entry can slip in between.
func (l *Log) join(r Record) (w *waiter, o *outage, first bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ended(); err != nil {
		return nil, nil, false, err
	}
	if w, ok := l.waiting[r.Module]; ok {
		return w, l.outage, false, nil
	}
	if err := l.full(); err != nil {
		return nil, nil, false, err
	}
	w = &waiter{done: make(chan struct{}), rec: r, index: -1}
	l.waiting[r.Module] = w
	return w, l.outage, true, nil
}

// begin looks the version up and, when it is new, queues it.
func (l *Log) begin(w *waiter) {
	e, found, err := l.names.Find(w.rec.Module)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !found && err == nil {
		if l.queued == 0 {
			l.stalled = time.Now()
		}
		w.queued = true
		l.queued++
		l.seq.queue <- w // never blocks: it has room for all that may wait
		return
	}
	if found {
		w.rec = e.Record
	}
	l.settle(w, e.Index, err)
}

// settle gives w its result. The caller holds l.mu.
func (l *Log) settle(w *waiter, index int64, err error) {
	if l.waiting[w.rec.Module] != w {
		return // fail was first
	}
	delete(l.waiting, w.rec.Module)
	if w.queued {
		l.queued--
	}
	w.index, w.err = index, err
	close(w.done)
}

// A sequencer hands queued records to Tessera and learns what became of them.
type sequencer struct {
	l      *Log
	queue  chan *waiter
	added  chan added
	add    tessera.AddFn
	cancel context.CancelFunc

	// feeding is held while an entry is handed to Tessera, and through a
	// recovery: nothing is added while it is not known what is in the log.
	feeding sync.Mutex
}

type added struct {
	w      *waiter
	future tessera.IndexFuture
}

// newSequencer starts Tessera over the directory that was checked.
func newSequencer(l *Log) (*sequencer, error) {
	if err := errors.Join(l.writable(), l.edgeWritable()); err != nil {
		return nil, err
	}
	if err := l.tree.writeScratch(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	add, err := engine.Start(ctx, filepath.Clean(l.tree.dir))
	if err != nil {
		cancel()
		return nil, err
	}
	return &sequencer{
		l:      l,
		queue:  make(chan *waiter, MaxUnpublished),
		added:  make(chan added, MaxUnpublished),
		add:    add,
		cancel: cancel,
	}, nil
}

// writeScratch makes Tessera's own checkpoint. A damaged one would end its
// garbage collection for good, and a missing one would be made at once, by a
// goroutine that nobody can wait for. Its signature is read by nobody, so it has
// none, and losing it costs nothing.
func (t tree) writeScratch() error {
	state, err := t.state()
	if err != nil {
		return unsafeState(err)
	}
	file := filepath.Join(t.dir, "checkpoint")
	if os.WriteFile(file, []byte(checkpointText("scratch", state)+"\n"), 0o644) != nil {
		os.Remove(file)
	}
	return nil
}

// feed hands over one record after the other. Tessera ignores contexts and
// blocks while two batches wait; only this goroutine waits with it.
//
// When Tessera cannot open its lock, it panics in a goroutine of its own. Who
// starts the process leaves it enough descriptors; where the whole machine has
// none, the record is refused before, and where the disk has become read-only the
// log ends. (A disk that becomes so within the few milliseconds between this look
// and Tessera's own ends the process.)
func (s *sequencer) feed() {
	defer close(s.added)
	for {
		select {
		case <-s.l.done:
			return
		case w := <-s.queue:
			if err := s.l.writable(); isUnsafe(err) {
				s.l.fail(err)
				return
			} else if err != nil {
				s.l.putOff(w, err)
				continue
			}
			s.feeding.Lock()
			future := s.add(context.Background(), tessera.NewEntry(w.rec.Text()))
			s.added <- added{w, future}
			s.feeding.Unlock()
		}
	}
}

// putOff puts off w, which was queued and not handed over.
func (l *Log) putOff(w *waiter, cause error) {
	l.logger.Error("an entry cannot be stored", "err", cause)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle(w, -1, fmt.Errorf("%w: the log cannot be written at the moment", ErrBusy))
}

// collect learns the indexes. It ends after the last future resolved, so that no
// entry is written to the directory once it has ended. (Tessera's scratch
// checkpoint and its garbage collection have nobody who waits for them.)
func (s *sequencer) collect() {
	for a := range s.added {
		index, err := a.future()
		if err == nil {
			if s.l.sequenced(a.w, int64(index.Index)) {
				continue
			}
			err = fmt.Errorf("an entry was sequenced at %d, out of order", index.Index)
		}
		s.recover(a.w, err)
	}
}

// sequenced notes that w is durably in the tree. It reports false if entries
// before it are still to come: one batch of Tessera can overtake another, whose
// timer has taken it from the queue and not yet handed it over.
func (l *Log) sequenced(w *waiter, index int64) bool {
	l.mu.Lock()
	next := l.integrated
	if index == next {
		w.index = index
		l.order = append(l.order, w)
		l.integrated++
	}
	l.mu.Unlock()
	switch {
	case index < next: // Tessera lost its state and began again
		l.fail(fmt.Errorf("%w: an entry was sequenced at %d, not at %d", ErrUnsafe, index, next))
	case index > next:
		return false
	default:
		l.wake()
	}
	return true
}

// wake tells the publisher to look.
func (l *Log) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// recover finds out what became of a failed append and of all that were handed
// over after it: a failure means "unknown", since the write that failed can be
// the one after the entries were in. Tessera's state on disk tells.
func (s *sequencer) recover(failed *waiter, cause error) {
	s.feeding.Lock()
	defer s.feeding.Unlock()
	s.l.logger.Error("append failed, reading the log's tail", "err", cause)
	unknown := []*waiter{failed}
	for len(s.added) > 0 {
		a := <-s.added
		a.future() // its index is in the tail, if anywhere
		unknown = append(unknown, a.w)
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := s.l.reconcile(unknown, cause)
		if err == nil {
			s.l.wake()
			return
		}
		if isUnsafe(err) {
			s.l.fail(err)
			return
		}
		s.l.logger.Error("log's tail could not be read", "err", err)
		select {
		case <-s.l.done:
			return
		case <-time.After(wait):
		}
	}
}

// reconcile gives the unknown waiters that are in the tail their indexes, and
// the others an error. Nobody else writes, so the tail is theirs alone.
func (l *Log) reconcile(unknown []*waiter, cause error) error {
	if err := l.syncState(); err != nil {
		return err
	}
	t, err := l.tree.state()
	if err != nil {
		return unsafeState(err)
	}
	l.mu.Lock()
	from := l.integrated
	l.mu.Unlock()
	if t.N < from {
		return fmt.Errorf("%w: Tessera's state went back from size %d to %d", ErrUnsafe, from, t.N)
	}
	// What Tessera met, its error need not say: it keeps no chain. These are the
	// files that it builds on, and the directories that it writes to.
	if err := l.edgeWritable(); err != nil {
		return err
	}
	if err := l.tree.checkEdge(t.N, t.Hash); err != nil {
		return unsafeState(err)
	}
	var tail []Entry
	for e, err := range l.tree.records(from, t.N, t.N) {
		if err != nil {
			return unsafeState(err)
		}
		tail = append(tail, e)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range tail {
		w, ok := l.waiting[e.Record.Module]
		if !ok || w.rec != e.Record || w.index >= 0 {
			return fmt.Errorf("%w: entry %d is of no append of this process", ErrUnsafe, e.Index)
		}
		w.index = e.Index
		l.order = append(l.order, w)
	}
	l.integrated = t.N
	for _, w := range unknown {
		if w.index < 0 {
			l.settle(w, -1, fmt.Errorf("%w: storage refused the entry: %v", ErrBusy, cause))
		}
	}
	return nil
}
