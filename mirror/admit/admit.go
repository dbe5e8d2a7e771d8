// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package admit is the way of a module version into the log, and of its bytes
// into the store. It is the only caller of the log's Append, and everything
// that the mirror asks of an upstream is asked here.
//
// # Admission
//
// For a version that is not logged, [Service.Admit] learns its record and
// appends it:
//
//   - A public module's record comes from the public checksum database, which
//     proves it. The .info and the .mod are fetched at the same time, from one
//     source, and the .mod must be the record's. The zip is fetched when it is
//     asked for, otherwise a little later, when nothing else is being fetched.
//     A zip that was asked for is checked before anything is appended.
//   - A private module's record, and every record if there is no database, is
//     computed: .info, .mod and zip are fetched from one source, checked, and
//     stored durably, all before the append, because upstream may be unable to
//     give those bytes a second time.
//
// Unknown to the database means absent if the upstream does not have the version
// either. Else it means that the database could not fetch it, now or ever
// ([UnvouchedError]): a public record is never computed from whatever an upstream
// says. Nothing is appended if anything went wrong.
//
// Of a version that other modules only require, a module cache has the .mod alone.
// If the record is proven it is admitted without its .info, which is then absent.
//
// For a version that is logged only bytes can be missing. They are fetched
// again and must match the logged record: the first hash stands for ever. Bytes
// of other hashes are refused with a [MismatchError], reported once as
// evidence, and change nothing. So are bytes that do not match a proven record.
// A whole answer of which no record can be made ([InvalidError]) is no module.
//
// # Whose work it is
//
// The work belongs to the service. There is one flight for a version, whoever
// asks for which of its files, and it goes on when those who wait for it leave.
// They leave when their context ends, or with [ErrTimeout]: after [Config.Wait] if
// they want a .mod or a zip, which is fetched for as long as its bytes come, else
// after [Config.Brief].
//
// What waits for upstreams is bounded, and shared out among clients (see
// [lanes.WithClient]), hosts of modules, and modules by package lanes: flights and questions each have
// lanes of their own, and private modules share nothing with public ones, so that
// a private upstream that hangs does not stop the public ones. What is in the log
// and the store needs no place.
//
// That something does not exist is believed for a minute at most, and only if
// an upstream or the database said so; a failure is never remembered.
//
// # Resolution
//
// [Service.List], [Service.Latest], [Service.Info] and [Service.Mod] ask what an
// upstream says, and admit nothing. What it said is kept, in bounded memory. After
// a minute it is asked again, but who asks waits for that no longer than two
// seconds and then gets the older answer. A question that nobody waits for any
// more, or will be answered by, is dropped.
//
// # What a crash leaves
//
// Files of versions that were never logged, which nothing serves, and
// versions logged without their zip, which is fetched when it is asked for.
package admit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/internal/lanes"
	"example.org/sumlog/log"
	"example.org/sumlog/mirror/internal/lru"
	"example.org/sumlog/mirror/store"
	"example.org/sumlog/mirror/upstream"
)

// Limits.
const (
	defaultWait    = 5 * time.Minute
	defaultBrief   = 25 * time.Second // below the 30 s of a short request
	defaultFlights = 32

	maxPending = 1024                   // flights that wait for a place, and questions
	maxFlight  = 30 * time.Minute       // of one flight; a zip may come slowly
	slowLane   = 4                      // times the quick one
	quickly    = 300 * time.Millisecond // in the quick lane
	negative   = time.Minute            // how long absence is believed
	maxRefused = 1 << 14                // versions believed absent
)

// ErrTimeout is the error of one who waited long enough. The work goes on, so
// trying later is right.
var ErrTimeout = errors.New("still being fetched or published, try again in a moment")

// ErrReadOnly is the error of what a server that admits nothing does not have.
var ErrReadOnly = errors.New("this server is read-only and does not have it; whether it exists, only a server that admits can say")

// ErrBusy is the error of a request that needs an upstream while too many
// others do.
var ErrBusy = errors.New("too many modules are being fetched, try again in a moment")

// Log is what is needed of the log.
type Log interface {
	// Append returns when the entry is published.
	Append(ctx context.Context, r log.Record) (index int64, err error)

	// Admits reports why a new record would be refused now, or nil.
	Admits() error

	// Published returns the newest publication.
	Published() *log.Publication
}

// Names is what is needed of the index.
type Names interface {
	Find(m module.Version) (e log.Entry, found bool, err error)
}

// A Database proves the records of public modules. A record that does not
// exist is [fs.ErrNotExist].
type Database interface {
	Record(ctx context.Context, m module.Version) (log.Record, error)
}

// A Source is one copy of the modules it has. Names of files are those of the
// GOPROXY protocol, escaped, without a leading slash; what does not exist is
// [fs.ErrNotExist].
type Source interface {
	Get(ctx context.Context, name string, limit int64) ([]byte, error)
	Download(ctx context.Context, name string, f upstream.File, limit int64) error
	String() string // for logs and evidence, without secrets
}

// A Chain asks sources one after the other and says which one answered.
type Chain interface {
	Get(ctx context.Context, name string, limit int64) ([]byte, Source, error)
	Download(ctx context.Context, name string, f upstream.File, limit int64) (Source, error)

	// After and Before are the chains of the sources behind src and before it.
	After(src Source) Chain
	Before(src Source) Chain
}

// A Router decides which chain may hear of a module path.
type Router interface {
	For(path string) (c Chain, private bool, err error)
}

// Config is what a service works with. All is needed unless it says otherwise.
type Config struct {
	Log    Log
	Names  Names
	Store  *store.Store
	Router Router

	// Database proves public records. With nil (a nil interface, not a nil
	// pointer in one) every record is computed from what upstream gives.
	Database Database

	// Evidence keeps what proves that an upstream changed a version. Nil
	// leaves it at a line of the log.
	Evidence func(kind string, text []byte)

	// Expect, if set, may refuse a record before it is appended.
	Expect func(log.Record) error

	// Logger may be nil.
	Logger *slog.Logger

	// Wait is how long a request for a .mod or a zip waits for a flight; 0 means
	// 5 minutes. A flight whose bytes do not come ends sooner.
	Wait time.Duration

	// Brief is how long all other requests wait, and all for a place; 0 means
	// 25 seconds.
	Brief time.Duration

	// Flights is how many versions are fetched quickly at once, for public and for
	// private modules each, beside four times as many that are slow; 0 means 32.
	// As many questions are asked at once.
	Flights int
}

// A Service admits. It is safe for concurrent use.
type Service struct {
	c    Config
	log  *slog.Logger
	ctx  context.Context // of all work; ends with Close
	stop context.CancelFunc
	wg   sync.WaitGroup

	public, private *side
	noticed         *lru.Cache[string, bool] // evidence already given
	queue           chan module.Version      // of zips to fetch when there is time

	mu      sync.Mutex
	closed  bool
	flights map[module.Version]*flight
	asking  map[question]*asking
}

// A side is what public or private modules have for themselves.
type side struct {
	flights, asks *lanes.Lanes
	refused       *lru.Cache[task, refusal]
	answers       *lru.Cache[question, *answer]

	// Guarded by Service.mu.
	busy  int       // flights that somebody waits for, questions too
	quiet time.Time // when busy became 0
}

func newSide(c Config) *side {
	room := lanes.Config{Quick: c.Flights, Slow: slowLane * c.Flights, Queue: maxPending, Patience: quickly, Wait: c.Brief}
	return &side{
		flights: lanes.New(room),
		asks:    lanes.New(room),
		refused: lru.New[task, refusal](maxRefused, nil),
		answers: lru.New(maxAnswers, (question).cost),
	}
}

// A route is where a module comes from.
type route struct {
	*side
	chain   Chain
	private bool
}

// route says where the module path comes from. An error says that nobody may be
// asked for it.
func (s *Service) route(path string) (route, error) {
	chain, private, err := s.c.Router.For(path)
	if err != nil {
		return route{}, err
	}
	if private {
		return route{s.private, chain, true}, nil
	}
	return route{s.public, chain, false}, nil
}

// A task is a version and how much of it is wanted.
type task struct {
	mod module.Version
	zip bool // the zip too
}

// A refusal is an error that need not be found out again.
type refusal struct {
	err   error
	until time.Time
}

// A flight is the work on one version. Its outcome is set before done is closed.
type flight struct {
	task
	route
	place   *lanes.Place
	waiters atomic.Int32 // those who wait for done
	done    chan struct{}
	outcome

	// Of a zip's flight: once somebody wants the version without it, it is logged
	// before the zip is here, if its record is proven.
	hurry  chan struct{} // closed by hasten
	hasten func()
	logged chan struct{} // closed when that was done
	lacks  error         // as noInfo; set before logged is closed
}

// An outcome is what came of a flight.
type outcome struct {
	err    error
	atZip  bool  // it failed, and only the zip is to blame
	noInfo error // fs.ErrNotExist: it went well, but no upstream has the .info
}

// New returns a service. The caller ends it with Close.
func New(c Config) (*Service, error) {
	if c.Log == nil || c.Names == nil || c.Store == nil || c.Router == nil {
		return nil, errors.New("admission needs a log, names, a store and a router")
	}
	if c.Wait == 0 {
		c.Wait = defaultWait
	}
	if c.Brief == 0 {
		c.Brief = defaultBrief
	}
	if c.Flights == 0 {
		c.Flights = defaultFlights
	}
	if c.Wait < 0 || c.Brief < 0 || c.Flights < 0 {
		return nil, errors.New("admission with a negative limit")
	}
	s := &Service{
		c:       c,
		log:     c.Logger,
		public:  newSide(c),
		private: newSide(c),
		noticed: lru.New[string, bool](maxRefused, nil),
		queue:   make(chan module.Version, maxQueue),
		flights: make(map[module.Version]*flight),
		asking:  make(map[question]*asking),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.wg.Go(s.backfill)
	return s, nil
}

// Close stops all work and waits for its end. An append under way may still
// be published.
func (s *Service) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.wg.Wait()
	return nil
}

// Admit returns when m is in the published log, admitting it if necessary. A
// version that cannot exist, or does not, is [fs.ErrNotExist].
func (s *Service) Admit(ctx context.Context, m module.Version) error {
	return s.do(ctx, m, "", s.c.Brief, func() (bool, error) {
		_, found, err := s.find(m)
		return found, err
	})
}

// Bytes returns when m is in the published log and its k file in the store.
func (s *Service) Bytes(ctx context.Context, m module.Version, k store.Kind) error {
	wait := s.c.Wait
	if k == store.Info {
		wait = s.c.Brief
	}
	return s.do(ctx, m, k, wait, func() (bool, error) {
		e, found, err := s.find(m)
		if !found || err != nil {
			return false, err
		}
		return s.have(ctx, e.Record, k)
	})
}

// find finds the entry of m if it is published. (The index knows it a moment
// earlier; who then says that m is admitted promises what is not there yet.)
func (s *Service) find(m module.Version) (log.Entry, bool, error) {
	e, found, err := s.c.Names.Find(m)
	return e, found && e.Index < s.c.Log.Published().Size, local(err)
}

// have reports whether the store has a sound k file of rec.
func (s *Service) have(ctx context.Context, rec log.Record, k store.Kind) (bool, error) {
	f, _, err := s.c.Store.Open(ctx, rec, k)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, local(err)
	}
	return true, f.Close()
}

// local hides that an error of this machine is fs.ErrNotExist: a file of ours
// that does not exist says nothing about a module.
func local(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%v", err)
	}
	return err
}

// do returns when done says so, or with the error of the flight that should
// have brought that about.
func (s *Service) do(ctx context.Context, m module.Version, k store.Kind, wait time.Duration, done func() (bool, error)) error {
	if _, err := store.Name(m, store.Info); err != nil {
		return fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	t := task{m, k == store.Zip}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	retried := false
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		to, err := s.route(m.Path)
		if err != nil {
			return err
		}
		if r, ok := to.refused.Get(t); ok && time.Now().Before(r.until) {
			return r.err
		}
		fl, mine, err := s.join(t, to, lanes.ClientOf(ctx), true)
		if err != nil {
			return err
		}
		if ended, err := fl.wait(ctx, t, timeout.C); !ended || err != nil {
			if err == nil && k == store.Info {
				err = fl.lacks
			}
			return err
		}
		switch {
		case fl.err == ErrBusy && !mine && !retried:
			retried = true // that was another's lot
		case fl.err != nil && fl.zip && !t.zip && fl.atZip:
			// Its zip was not asked for here: try without.
		case fl.err != nil:
			return fl.err
		case k == store.Info && fl.noInfo != nil:
			return fl.noInfo
		case fl.zip || !t.zip:
			return nil
		}
	}
}

// wait returns when fl has ended, or its version is logged and that is enough for t,
// or with the reason for not waiting any longer.
func (fl *flight) wait(ctx context.Context, t task, timeout <-chan time.Time) (ended bool, err error) {
	defer fl.waiters.Add(-1)
	logged := fl.logged
	if t.zip {
		logged = nil
	} else if fl.zip {
		fl.hasten()
	}
	select {
	case <-fl.done:
		return true, nil
	case <-logged:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	case <-timeout:
		return false, fmt.Errorf("%s: %w", fl.mod, ErrTimeout)
	}
}

// join returns the flight of t's version, starting one for client if there is none:
// then it is mine. Who waits for it calls its wait.
func (s *Service) join(t task, to route, client string, waits bool) (fl *flight, mine bool, err error) {
	s.mu.Lock()
	fl = s.flights[t.mod]
	if fl == nil && s.closed {
		s.mu.Unlock()
		return nil, false, log.ErrClosed
	}
	if mine = fl == nil; mine {
		fl = newFlight(t, to, client)
		s.flights[t.mod] = fl
		if waits {
			to.busy++
		}
		s.wg.Go(func() { s.fly(fl, waits) })
	}
	if waits {
		fl.waiters.Add(1)
	}
	s.mu.Unlock()
	if !mine && waits {
		fl.place.Offer(client)
	}
	return fl, mine, nil
}

func newFlight(t task, to route, client string) *flight {
	fl := &flight{task: t, route: to, done: make(chan struct{}), hurry: make(chan struct{}), logged: make(chan struct{})}
	fl.hasten = sync.OnceFunc(func() { close(fl.hurry) })
	fl.place = to.flights.New(lanes.Work{
		Client: client, Host: hostOf(t.mod.Path), Subject: t.mod.Path, Wanted: func() bool { return fl.waiters.Load() > 0 },
	})
	return fl
}

// fly does the work of fl.
func (s *Service) fly(fl *flight, waits bool) {
	ctx, cancel := context.WithTimeout(s.ctx, maxFlight)
	defer cancel()
	err := fl.place.Do(ctx, func(ctx context.Context) error {
		fl.outcome = s.work(ctx, fl)
		return fl.err
	})
	if err != nil {
		fl.outcome.err = busy(err) // of the lanes, perhaps
	}
	if fl.err != nil && s.ctx.Err() != nil {
		fl.err = log.ErrClosed
	}
	var mismatch *MismatchError
	if errors.Is(fl.err, fs.ErrNotExist) || errors.As(fl.err, &mismatch) {
		fl.refused.Put(fl.task, refusal{fl.err, fl.learnt(fl.mod).Add(negative)})
	}
	s.mu.Lock()
	delete(s.flights, fl.mod)
	if waits {
		fl.idle()
	}
	s.mu.Unlock()
	close(fl.done)
}

// hostOf returns the first element of a module path, which is the host that upstream
// asks for it, sooner or later.
func hostOf(path string) string {
	host, _, _ := strings.Cut(path, "/")
	return host
}

// busy is ErrBusy for an error of the lanes that is no end of a context.
func busy(err error) error {
	if err == lanes.ErrFull || err == lanes.ErrGivenUp {
		return ErrBusy
	}
	return err
}

// learnt returns when the absence of m was learnt: now, unless the flight went by
// an answer that was kept. Believing that one anew would double its time.
func (d *side) learnt(m module.Version) time.Time {
	now := time.Now()
	if a, ok := d.answers.Get(infoOf(m)); ok && a.none != nil && a.at.Before(now) {
		return a.at
	}
	return now
}

// idle is called with Service.mu held when something is over that somebody waited
// for.
func (d *side) idle() {
	if d.busy--; d.busy == 0 {
		d.quiet = time.Now()
	}
}
