// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package witness is a transparency-log witness: it cosigns the checkpoints of
// the logs that it knows, if each is consistent with the one that it cosigned
// before, so that a log that shows different trees to different people needs the
// help of the witnesses to be believed.
//
// # Protocol
//
// C2SP tlog-witness (https://c2sp.org/tlog-witness@v1.0.0 and what was added to it
// until July 2026) with tlog-cosignature, as an [http.Handler]:
//
//	POST /add-checkpoint                        submission
//	POST /sign-subtree                          with a key of ML-DSA-44
//	GET  /<hex SHA-256 of origin>/checkpoint    monitoring
//
// A checkpoint is submitted with a consistency proof from the size that was
// cosigned last. In this order, the first that fails is the answer:
//
//	400  the body or the note is malformed
//	404  the origin is unknown or disabled
//	403  no signature by a key of the log, or a bad one
//	400  the text is no checkpoint, or the old size is larger than its size
//	503  the peers are not asked yet, or have seen more (see below)
//	409  the old size is not the one that was cosigned last, which is the answer
//	422  size 0 without the root of the empty tree; a bad proof; another root of
//	     the same size
//	429  more new checkpoints than the log said that it would make
//	200  one cosignature a line, by all keys of the witness
//
// Further: 413 above [checkpoint.MaxRequest], 429 when very many requests name one
// origin at once, 503 when the state cannot be written or a key cannot be reached.
// Every refusal is one line of text.
//
// What is cosigned is an encoding of what was parsed, never bytes from outside;
// what is stored beside it are those signatures of the log that were verified.
// Anybody can submit the newest checkpoint once more and so have its cosignatures
// refreshed. That happens at most once a second, and for a log with a rate at most
// at that rate; else the answer are the cosignatures that were given last, which
// are as true as before. So nobody can use up a log's rate by repeating what the
// witness has seen; only a log that shows checkpoints to others before its
// witnesses have them lets others hand those in, at its own expense.
//
// # What makes it safe
//
// From the comparison with the last cosigned tree until the new one is durable, a
// lock of the log is held: of requests that exclude each other one wins. Requests
// of different logs share a sync of the disk. Cosignatures are made before, so
// that they can be stored, and given out after; see package state for what
// "durable" means and when nothing is cosigned any more. A time in a cosignature
// is never 0 and never before the last one of that log, even if the clock is set
// back.
//
// State that was put back as it once was, together with its guard, looks sound.
// So a witness with peers asks them, before its first cosignature for a log since
// it started, for their newest checkpoint of that log; one of them must answer.
// One that is cosigned by this witness itself and is newer than its state proves
// that the state was put back: then nothing is cosigned at all any more
// ([Witness.Failed]). Only those show it that keep the cosignatures of others, as
// a log's own archive does; this package, as a peer, shows its own. One that only the log has signed is a floor: nothing below
// it is cosigned, no other root of its size, and above it only what is proven to
// follow both on the state and on the floor. That takes two submissions of one
// checkpoint: the first, from the size of the state, is answered with 409 and the
// floor's size, and the second, from there, with cosignatures.
//
// # Evidence
//
// Checkpoints with a valid signature of the log that are proven, by themselves or
// by the proof submitted, not to be both true are kept in the state as files of
// package evidence, whoever sent them. The others are refused and counted.
//
// # Trust
//
// A witness trusts its keys, its clock as far as said above, and package state. It
// trusts no log, no peer and no client. It says nothing about what is in a log.
package witness

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/time/rate"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/witness/state"
)

// Config is the configuration of New.
type Config struct {
	Name      string                 // of the witness; never cosigned as an origin
	Cosigners []*checkpoint.Cosigner // at least one; all sign each checkpoint
	Store     *state.Store           // closed by the caller after the Witness
	Peers     []string               // URLs of other witnesses' monitoring endpoints
	Now       func() time.Time       // nil: time.Now
	Logger    *slog.Logger           // nil: none

	// hook is called at the crash points, by tests.
	hook func(point string)
}

// A Witness cosigns checkpoints. Its methods may be called by many goroutines at
// once.
type Witness struct {
	config Config
	keys   []*checkpoint.Key // of Cosigners
	mux    *http.ServeMux
	peers  *http.Client
	large  chan struct{} // slots for large bodies
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}

	failed chan error
	dead   atomic.Pointer[error] // why nothing is cosigned any more

	mu     sync.RWMutex
	logs   map[string]*origin
	byHash map[[sha256.Size]byte]*origin

	nobody refusals // requests that named no known origin
}

// An origin is what a running witness has of a log beside its state.
type origin struct {
	name string

	// mu is held from the comparison with the newest tree until a larger one is
	// durable.
	mu sync.Mutex

	// linked is the largest tree above a floor that is proven to follow on the
	// state, and not yet on the floor. mu is held.
	linked tlog.Tree

	growth, refresh *rate.Limiter // nil: no limit
	peers           *peerView     // nil without peers
	verifying       atomic.Int32  // requests whose signature is being verified
	stats
}

// maxAhead is by how many seconds a cosignature may be ahead of the clock before
// the operator is told.
const maxAhead = 5 * 60

// New returns a witness.
func New(c Config) (*Witness, error) {
	if len(c.Cosigners) == 0 {
		return nil, errors.New("witness: no key")
	}
	w := &Witness{config: c, large: make(chan struct{}, maxLarge), ended: make(chan struct{}), failed: make(chan error, 1),
		logs: make(map[string]*origin), byHash: make(map[[sha256.Size]byte]*origin)}
	if w.config.Now == nil {
		w.config.Now = time.Now
	}
	if w.config.Logger == nil {
		w.config.Logger = slog.New(slog.DiscardHandler)
	}
	for _, c := range c.Cosigners {
		k := c.Key()
		if slices.ContainsFunc(w.keys, func(other *checkpoint.Key) bool { return other.Name() == k.Name() && other.ID() == k.ID() }) {
			return nil, fmt.Errorf("witness: key %v is there twice", k)
		}
		w.keys = append(w.keys, k)
	}
	if err := w.usePeers(); err != nil {
		return nil, err
	}
	for _, e := range c.Store.Logs() {
		if ahead := e.Time - w.config.Now().Unix(); ahead > maxAhead {
			w.config.Logger.Warn("last cosignature is of the future, and times stand still until then: the clock was wrong, or is",
				"origin", e.Origin, "seconds", ahead)
		}
		if w.isOwn(e.Origin) {
			w.config.Logger.Error("a log has the name of this witness and is not cosigned", "origin", e.Origin)
			continue
		}
		w.index(e.Log)
	}
	w.routes()
	w.ctx, w.cancel = context.WithCancel(context.Background())
	go w.watch()
	return w, nil
}

// watch passes the failure of the store on.
func (w *Witness) watch() {
	defer close(w.ended)
	select {
	case err := <-w.config.Store.Failed():
		w.fail(err)
	case <-w.ctx.Done():
	}
}

// Close gives up what is under way with peers. Nothing is cosigned after it.
func (w *Witness) Close() error {
	err := errors.New("witness is closed")
	w.dead.CompareAndSwap(nil, &err)
	w.cancel()
	<-w.ended
	w.peers.CloseIdleConnections()
	return nil
}

// Failed returns a channel that receives an error, which wraps state.ErrUnsafe,
// when nothing is cosigned any more: the process should end.
func (w *Witness) Failed() <-chan error { return w.failed }

func (w *Witness) fail(err error) {
	if w.dead.CompareAndSwap(nil, &err) {
		w.config.Logger.Error("nothing is cosigned any more", "err", err)
		w.failed <- err
	}
}

// isOwn reports whether the witness goes by name: a cosignature of such a
// "checkpoint" would speak for the witness itself.
func (w *Witness) isOwn(name string) bool {
	return name == w.config.Name || slices.ContainsFunc(w.keys, func(k *checkpoint.Key) bool { return k.Name() == name })
}

// sumDatabase is the origin of all checksum databases of the go command.
const sumDatabase = "go.sum database tree"

// AddLog is AddLogs of one.
func (w *Witness) AddLog(l state.Log) error {
	_, errs := w.AddLogs([]state.Log{l})
	return errors.Join(errs...)
}

// AddLogs lets logs be cosigned. A log that is known stays as it is. errs is nil
// or has, at its index, why a log was not added.
func (w *Witness) AddLogs(logs []state.Log) (added int, errs []error) {
	errs = make([]error, len(logs))
	var good []state.Log
	var at []int
	for i, l := range logs {
		if w.isOwn(l.Origin) {
			errs[i] = fmt.Errorf("log %q: origin is this witness's own name", l.Origin)
			continue
		}
		good, at = append(good, l), append(at, i)
	}
	added, refused := w.config.Store.AddLogs(w.ctx, good...)
	for i, err := range refused {
		if errors.Is(err, state.ErrKeys) && good[i].Origin == sumDatabase {
			err = fmt.Errorf("%w; all checksum databases have this origin, and a witness can know only one of them", err)
		}
		errs[at[i]] = err
	}
	for i, l := range good {
		if errs[at[i]] == nil {
			w.index(l)
		}
	}
	if !slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		errs = nil
	}
	return added, errs
}

// index makes what is needed of a log beside its state.
func (w *Witness) index(l state.Log) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.logs[l.Origin] != nil {
		return
	}
	o := &origin{name: l.Origin}
	if len(w.config.Peers) > 0 {
		o.peers = new(peerView)
	}
	// The log may have been there before, with another rate.
	if e, ok := w.config.Store.Entry(l.Origin); ok && e.QPD > 0 {
		o.growth, o.refresh = newLimiter(e.QPD), newLimiter(e.QPD)
	}
	w.logs[l.Origin] = o
	w.byHash[sha256.Sum256([]byte(l.Origin))] = o
}

// find returns a log that may be cosigned.
func (w *Witness) find(name string) (*origin, state.Entry, bool) {
	w.mu.RLock()
	o := w.logs[name]
	w.mu.RUnlock()
	if o == nil {
		return nil, state.Entry{}, false
	}
	e, ok := w.config.Store.Entry(name)
	return o, e, ok && !e.Disabled
}

// SetDisabled disables or enables a log. No checkpoint of a disabled one is
// cosigned after it returns; what is known of it stays.
func (w *Witness) SetDisabled(origin string, disabled bool) error {
	return w.config.Store.SetDisabled(w.ctx, origin, disabled)
}

// Head returns the newest tree that was cosigned of a known log; the zero Tree
// before the first.
func (w *Witness) Head(origin string) (tlog.Tree, bool) {
	e, ok := w.config.Store.Entry(origin)
	return e.Tree, ok
}

// Status is what is known of a log.
type Status struct {
	state.Entry
	LastError     string // why a request was refused last; "": none since the start
	LastErrorTime time.Time
}

// Logs returns the status of all logs, disabled ones too, by origin.
func (w *Witness) Logs() []Status {
	entries := w.config.Store.Logs()
	slices.SortFunc(entries, func(a, b state.Entry) int { return cmp.Compare(a.Origin, b.Origin) })
	out := make([]Status, 0, len(entries))
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, e := range entries {
		st := Status{Entry: e}
		if o := w.logs[e.Origin]; o != nil {
			st.LastError, st.LastErrorTime = o.last()
		}
		out = append(out, st)
	}
	return out
}
