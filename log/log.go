// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package log is the system of record: a transparency log whose entries are
// go.sum records, one for each module version, for ever.
//
// # Entries and tree
//
// An entry is the text of a [Record]: two lines, exactly as in go.sum, byte for
// byte what the public checksum database logs. The tree is that of RFC 6962,
// stored as hash tiles of height 8 and bundles of 256 entries. Tessera's POSIX
// driver (github.com/transparency-dev/tessera v1.0.4) sequences and integrates;
// package engine starts it, and nothing outside this folder knows it. It never holds the log's key: its own
// checkpoint file is signed by a throwaway key and is private scratch.
//
// # Publication
//
// One goroutine publishes. It takes a size that Tessera has made durable,
// extends the compact range of the guard over the new entries as it reads them
// back from disk, compares the result with the root in the tiles and with
// Tessera's, stores the guard durably, signs the checkpoint
// (https://c2sp.org/tlog-checkpoint) and the tree head of the go command's
// protocol (golang.org/x/mod/sumdb) over the same size and root, and appends
// both to the archive. The synced archive line is the publication. Then the
// index of names is brought up to it, one pointer is swapped, and the appends
// that waited for it return.
//
// # Witnesses
//
// With a witness policy, a checkpoint is signed only after a quorum has said
// what it has seen of this log, and archived only with the cosignatures that the
// policy asks for; package quorum asks for them. Until then what was published
// before is served. As soon as a round of the witnesses has failed, appends are
// refused with a [RefusedError], those that wait too: what they brought stays on its
// way and is published when the quorum is back. Cosignatures that
// come later, and those that renew the ones of a log that does not grow, are
// kept beside the archive. A witness that shows a checkpoint with this log's own
// signature that is not in the directory stops signing for good: that is how an
// older copy of the whole directory is noticed.
//
// # Auditors
//
// An auditor follows what is published, replays it, and cosigns under a name and
// key of its own what it found sound (https://c2sp.org/tlog-cosignature). The log
// takes such cosignatures from the auditors that it was told of, and shows them;
// it never waits for one, and publishes whatever they do.
//
// A submission is that of https://c2sp.org/tlog-witness, except that the checkpoint
// has the auditor's cosignature already, and that the answer is empty. Its old size
// is that of the checkpoint which the log keeps from this auditor, 0 at first. In
// this order, the first that fails is the answer:
//
//	404  no auditors are configured
//	413  more than 32 KiB
//	400  the body, the note or the checkpoint is malformed; several auditors in one
//	404  the checkpoint is another log's
//	403  not signed by the log, or by no known auditor, or badly
//	400  the old size is larger than the checkpoint's
//	409  the old size is not the one kept, which is the answer
//	422  the proof does not verify; the checkpoint was not published; the cosignature
//	     is older than the one kept
//	503  it could not be stored
//	200  it is durable
//
// Bodies are read for 10 seconds at most. Nothing is written for a submission that
// an auditor has not signed, nor twice for the same one.
//
// # Files
//
// In the data directory, with what its loss means:
//
//	key                        the signing key, mode 0600; the log ends
//	guard                      the largest tree ever signed; the log refuses to start until
//	                           RenewGuard has made it again
//	lock                       held while a process has the directory open
//	log/                       Tessera's tree: tile/, .state/; the log ends
//	checkpoints/archive.jsonl  the archive; the log refuses to start
//	checkpoints/cosigned       late cosignatures; nothing, they are asked for again
//	checkpoints/audited/       cosignatures of auditors; nothing, they come again
//
// A backup ([Backup]) has key, log/tile/, archive and audited/ of these, and the
// mark THIS-IS-A-BACKUP, with which nothing is opened that signs.
//
// # What is trusted
//
// The disk keeps what it acknowledged; beyond that it is not trusted: before
// each signature, and at every start, tiles, bundles, Tessera's state, archive
// and guard must agree, or nothing is signed ([ErrUnsafe]). An older copy of the
// whole directory is not noticed unless the guard is kept elsewhere or there are
// witnesses. Before each signature, too, directory, tree, archive and locks must be
// the files that were opened, and the guard the one that was written last: who moves
// them away and puts a copy there ends the log.
//
// # After a crash
//
// Killed before an append returned: the entry is in the log or not; the next
// append of the same record finds out. Killed between guard and archive: the
// guard is ahead of the archive, and the start publishes at least the guard's
// size. A torn archive line is cut off. Temporary files at the right edge, and
// those of the guard wherever it is, are swept.
package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/time/rate"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/log/quorum"
)

// Names below the data directory.
const (
	keyFile   = "key"
	guardFile = "guard"
	lockFile  = "lock"
	treeDir   = "log"
)

// Limits of what may wait for publication, beyond which [Log.Append] refuses.
const (
	MaxUnpublished    = 4096
	MaxUnpublishedAge = 30 * time.Second
)

// A Config says which log to open.
type Config struct {
	Dir    string       // the data directory
	Guard  string       // the guard file; "" is guard in Dir
	Logger *slog.Logger // nil discards

	// Witnesses, if set, must cosign a checkpoint before it is published, as
	// their policy says. They are closed with the log.
	Witnesses *quorum.Quorum

	// Interval is the time from one publication to the next, but that after a pause
	// as many as Burst follow each other at once.
	Interval time.Duration

	// Evidence, if set, keeps a file of package evidence.
	Evidence func(kind string, text []byte)

	// Seen are trees that this log's key has signed, as evidence that was kept shows.
	// A directory that does not have one of them is an older copy, or a fork.
	Seen []tlog.Tree

	// Auditors may hand in cosignatures of what is published.
	Auditors []*checkpoint.Key
}

// A Log is an open log. It can be read at once, and appended to after Start.
// All methods but Start and Close may be called concurrently.
type Log struct {
	Reader // what is published

	signer    *signer
	guardPath string
	archive   *archive       // the Reader's
	unlock    []func() error // of the directory, and of a guard outside it
	places    []place        // that must be what they were; the first is log/
	treeRoot  *os.Root       // keeps log/ what it was

	audited  *audited      // nil: no auditors
	patience time.Duration // maxSubmissionTime, but in tests

	witnesses *quorum.Quorum // nil: none
	evidence  func(string, []byte)
	seen      []tlog.Tree
	accused   atomic.Bool // a witness has shown what the next round will look at
	suspected atomic.Pointer[suspicion]

	// Owned by the publisher after Start.
	guard     *guard
	tried     *guard                  // perhaps written: its write failed
	late      *atomic.Pointer[[]byte] // filled with late cosignatures of the last round
	asked     time.Time               // when the last round was met
	pause     time.Duration           // refreshPause, but in tests
	round     time.Duration           // the longest that one round of the witnesses may take
	rate      *rate.Limiter           // of publications
	paid      int64                   // the size that the last of rate was for
	held      time.Duration           // until rate lets a larger tree be published that waits, or 0
	consulted bool                    // the witnesses said what they have seen
	cosigned  []byte                  // a checkpoint with more cosignatures than archived, or nil

	mu         sync.Mutex
	waiting    map[module.Version]*waiter // appends on their way
	order      []*waiter                  // those with an index, in its order
	queued     int                        // those that are not in the index
	stalled    time.Time                  // since when something is queued and nothing was published
	integrated int64                      // entries whose integration is durable
	tail       int64                      // entries that were integrated before the start
	refusing   bool                       // the log is being closed
	outage     *outage                    // the present one, or the next
	fatal      error                      // why nothing is signed any more

	names    Names
	seq      *sequencer
	policies chan newPolicy // to the publisher: policies
	kick     chan struct{}  // to the publisher: integrated has grown
	failed   chan error     // gets fatal, once
	done     chan struct{}  // closed when no work is to be begun any more
	ctx      context.Context
	stop     func() // closes done and ends ctx, once
	work     sync.WaitGroup
}

// Open locks the directory and checks everything that the next signature is
// built on; see the package comment. Nothing is written but the lock, the end of
// a torn archive line, and the removal of litter.
//
// Errors that wrap [ErrUnsafe] or [durable.ErrLocked] mean that a restart will
// not help.
func Open(c Config) (*Log, error) {
	l, err := open(c, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	if err := l.clean(); err != nil {
		l.Close()
		return nil, unsafeState(err)
	}
	return l, nil
}

// checkTries is how often Check looks at a log that grows under its eyes.
const checkTries = 10

// Check looks at all that Open looks at, and writes nothing. It takes no lock, so
// that a process can be working on the directory meanwhile, see [InUse]. It returns
// the newest publication.
func Check(c Config) (name string, p *Publication, err error) {
	root, err := openRoot(c.Dir)
	if err != nil {
		return "", nil, err
	}
	defer root.Close()
	for range checkTries {
		l := newLog(c, root)
		err = l.look(c.Auditors)
		if err == nil {
			return l.Name(), l.Published(), nil
		}
		if !isUnsafe(err) || !l.guardMoved() {
			return "", nil, err
		}
	}
	return "", nil, fmt.Errorf("the log grew while it was looked at, %d times; the last look: %v", checkTries, err)
}

// look checks what open checks, of a log that is not to be opened.
func (l *Log) look(auditors []*checkpoint.Key) error {
	err := l.preflight(os.O_RDONLY)
	if err == nil {
		err = l.openAudited(auditors)
	}
	if l.archive != nil {
		l.archive.f.Close()
	}
	return err
}

// guardMoved reports whether the guard was written since it was read. It is written
// before each publication: as long as it is the same, archive and state are of one
// moment with it, and if they contradict it, they do.
func (l *Log) guardMoved() bool {
	if l.guard == nil {
		return false
	}
	text, err := os.ReadFile(l.guardPath)
	return err == nil && !bytes.Equal(text, l.guard.text())
}

// InUse reports whether a process has the log in dir open.
func InUse(dir string) (bool, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false, err
	}
	defer root.Close()
	return durable.Locked(root, lockFile)
}

func open(c Config, flag int) (*Log, error) {
	root, err := openRoot(c.Dir)
	if err != nil {
		return nil, err
	}
	l := newLog(c, root)
	if err = l.lock(c.Guard); err == nil {
		err = l.preflight(flag)
	}
	if err == nil {
		err = l.holdPlaces()
	}
	if err == nil {
		err = l.openAudited(c.Auditors)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// openRoot opens the directory of a log that may be signed in: no backup.
func openRoot(dir string) (*os.Root, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	if isMarked(root) {
		root.Close()
		return nil, fmt.Errorf("%s: %w", dir, ErrBackup)
	}
	if isUnfinished(root) {
		root.Close()
		return nil, errUnfinished(dir)
	}
	if !holdsLog(root) {
		root.Close()
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(dir, keyFile), Err: fs.ErrNotExist}
	}
	return root, nil
}

// lock takes the locks of the directory and of a guard outside it.
func (l *Log) lock(guard string) error {
	unlock, err := durable.Lock(l.root, lockFile)
	if err != nil {
		return err
	}
	l.unlock = append(l.unlock, unlock)
	unlock, err = lockGuard(guard)
	if errors.Is(err, fs.ErrNotExist) {
		// Its disk could be mounted before the guard is read, and nobody holds its lock.
		return &NoGuardError{guard, err}
	}
	if err != nil {
		return err
	}
	l.unlock = append(l.unlock, unlock)
	return nil
}

// holdsLog reports whether a directory has any part of a log. One that has none
// gets no lock file: init wants it empty.
func holdsLog(root *os.Root) bool {
	for _, name := range []string{keyFile, guardFile, treeDir, archiveFile} {
		if _, err := root.Lstat(name); err == nil {
			return true
		}
	}
	return false
}

func newLog(c Config, root *os.Root) *Log {
	l := &Log{
		guardPath: c.Guard,
		witnesses: c.Witnesses,
		evidence:  c.Evidence,
		seen:      c.Seen,
		late:      new(atomic.Pointer[[]byte]),
		pause:     refreshPause,
		round:     maxRound,
		rate:      rate.NewLimiter(rate.Every(c.Interval), Burst),
		outage:    newOutage(),
		patience:  maxSubmissionTime,
		waiting:   make(map[module.Version]*waiter),
		policies:  make(chan newPolicy),
		kick:      make(chan struct{}, 1),
		failed:    make(chan error, 1),
		done:      make(chan struct{}),
	}
	l.root, l.tree, l.logger, l.tiles = root, tree{dir: filepath.Join(c.Dir, treeDir)}, c.Logger, newTileCache()
	ctx, cancel := context.WithCancel(context.Background())
	l.ctx = ctx
	l.stop = sync.OnceFunc(func() {
		close(l.done)
		cancel()
	})
	if l.evidence == nil {
		l.evidence = func(string, []byte) {}
	}
	if l.guardPath == "" {
		l.guardPath = filepath.Join(c.Dir, guardFile)
	}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	return l
}

// damageUnsafe marks the errors of seq that show damage as unsafe.
func damageUnsafe[T any](seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for v, err := range seq {
			if !yield(v, unsafeState(err)) {
				return
			}
		}
	}
}

// Start makes the log writable. It publishes what was integrated but not yet
// published when the process before this one ended.
func (l *Log) Start(names Names) error {
	l.names = names
	if err := l.syncState(); err != nil {
		return err
	}
	if err := l.publishTail(); err != nil {
		return err
	}
	seq, err := newSequencer(l)
	if err != nil {
		return err
	}
	l.sayTime()
	l.mu.Lock()
	l.seq = seq
	l.mu.Unlock()
	l.work.Go(l.publisher)
	l.work.Go(seq.feed)
	l.work.Go(seq.collect)
	l.wake()
	return nil
}

// publishTail publishes what was integrated before the start. While witnesses
// cannot be had, what is published is served, and nothing is appended: the
// entries of the tail are in no index yet, and the record of one of them would
// be logged a second time.
func (l *Log) publishTail() error {
	l.tail = l.integrated
	if l.witnesses == nil {
		return l.publish()
	}
	if err := l.show(l.newest()); err != nil || l.tail == l.Published().Size {
		return err
	}
	l.round = maxStart
	err := l.publish()
	l.round = maxRound
	if err == nil || isUnsafe(err) {
		return err
	}
	l.logger.Error("entries of before the start are not published yet", "err", err)
	return nil
}

// Failed yields the error after which nothing more is signed. The process
// should say it and exit with 3.
func (l *Log) Failed() <-chan error { return l.failed }

// fail stops signing for good. The first error counts.
func (l *Log) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal != nil {
		return
	}
	l.fatal = err
	l.logger.Error("signing stopped", "err", err)
	l.failed <- err
	for _, w := range l.waiting {
		l.settle(w, -1, err)
	}
	l.stop()
}

// Close refuses new appends, waits until those under way are published (at most
// 5 seconds), and closes the log.
func (l *Log) Close() error {
	if l.seq != nil {
		l.drain(5 * time.Second)
		l.stop()
		l.work.Wait()
		l.seq.cancel()
		l.abandon()
	}
	l.stop() // also if it was never started
	if l.witnesses != nil {
		l.witnesses.Close()
	}
	var errs []error
	if l.archive != nil {
		errs = append(errs, l.archive.f.Close())
	}
	if l.treeRoot != nil {
		errs = append(errs, l.treeRoot.Close())
	}
	for _, unlock := range l.unlock {
		errs = append(errs, unlock())
	}
	return errors.Join(append(errs, l.root.Close())...)
}

// abandon ends the appends that are still waiting: nobody is left who could
// publish their entries, if they are in the log at all.
func (l *Log) abandon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.waiting {
		l.settle(w, -1, ErrClosed)
	}
}

// drain refuses new appends and waits for those under way, while they can be
// published.
func (l *Log) drain(limit time.Duration) {
	l.mu.Lock()
	l.refusing = true
	o, waiting := l.outage, slices.Collect(maps.Values(l.waiting))
	l.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for _, w := range waiting {
		select {
		case <-w.done:
		case <-o.begun:
			return
		case <-timer.C:
			return
		}
	}
}
