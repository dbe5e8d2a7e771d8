// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/lanes"
	"example.org/sumlog/log"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight = 8               // the only one that the go command uses
	tileWidth  = 1 << tileHeight // hashes in a full tile

	maxAnswer    = 1 << 20 // bytes of a lookup or a head
	maxSupported = 4 << 10

	// maxTree keeps index arithmetic far from overflow, after which it would
	// not end. It is tens of millions of times the largest database there is.
	maxTree = 1 << 52
)

// A DatabaseConfig configures a [Database].
type DatabaseConfig struct {
	Spec   Spec    // required, not off
	Client *Client // required

	// Public are the upstreams that may carry the database, and are asked
	// before it is reached under its own name. Nil is off.
	Public *Chain

	// Root is the directory below which the database keeps NAME/. It belongs
	// to the database alone. Required.
	Root *os.Root

	// Evidence, if set, keeps text durably. It is called once, when the
	// database is found to show two histories: a file of package evidence.
	Evidence func(name string, text []byte)

	// Relayed is how many requests the clients of a [Relay] have under way at a
	// time that are answered quickly; four times as many may be slow. Default 16.
	Relayed int

	// Logger gets security failures and damage. Default: none.
	Logger *slog.Logger
}

// A Database is the public checksum database, and what is remembered of it. It
// is safe for concurrent use. One process at a time may have it open.
type Database struct {
	name      string
	key       *checkpoint.Key
	verifiers note.Verifiers
	client    *Client
	public    *Chain
	root      *os.Root
	evidence  func(string, []byte)
	logger    *slog.Logger

	tiles   *tileCache
	flights flights
	relayed *lanes.Lanes // of requests of the relay

	place    slot[*place] // where the database is
	newest   slot[[]byte] // what latest was when last asked for
	headLife time.Duration
	pause    time.Duration // after a failure to learn place or newest

	mu        sync.Mutex
	head      []byte // the newest signed head, as on disk; empty before the first
	tree      tlog.Tree
	untrusted bool
	lost      bool      // the log says that it cannot be reached
	said      time.Time // when it said so last
}

// OpenDatabase opens what is kept of the database, or begins keeping it. It
// asks nobody. A database that was found to show two histories opens, but all
// it does is say so.
func OpenDatabase(c DatabaseConfig) (*Database, error) {
	verifier, err := note.NewVerifier(c.Spec.VKey)
	if err != nil {
		return nil, fmt.Errorf("checksum database %q: %w", c.Spec.Name, err)
	}
	key, err := checkpoint.ParseKey(c.Spec.VKey)
	if err != nil {
		return nil, fmt.Errorf("checksum database %q: %w", c.Spec.Name, err)
	}
	d := &Database{
		name:      c.Spec.Name,
		key:       key,
		verifiers: note.VerifierList(verifier),
		client:    c.Client,
		public:    orOff(c.Public),
		root:      c.Root,
		evidence:  c.Evidence,
		logger:    c.Logger,
		headLife:  time.Minute,
		pause:     10 * time.Second,
		relayed:   relayLanes(cmp.Or(c.Relayed, 16)),
	}
	if d.evidence == nil {
		d.evidence = func(string, []byte) {}
	}
	if d.logger == nil {
		d.logger = slog.New(slog.DiscardHandler)
	}
	if c.Spec.URL != nil {
		d.place.set(&place{source: c.Client.Source(c.Spec.URL)})
	}
	if err := durable.MkdirAll(d.root, d.name); err != nil {
		return nil, err
	}
	if _, err := durable.Sweep(d.root, d.name); err != nil {
		return nil, err
	}
	d.tiles = newTileCache(d.root, d.name, d.logger)
	if err := d.load(); err != nil {
		return nil, err
	}
	return d, nil
}

// load reads the head and the latch.
func (d *Database) load() error {
	switch _, err := d.root.Lstat(d.file("UNTRUSTED")); {
	case err == nil:
		d.untrusted = true
		d.logger.Error("public checksum database is not trusted", "database", d.name, "see", d.file("UNTRUSTED"))
	case !errors.Is(err, fs.ErrNotExist):
		return err // in doubt, not trusted
	}
	head, err := d.root.ReadFile(d.file("latest"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	tree, err := d.openHead(head)
	if err != nil {
		return fmt.Errorf("%s: %w", d.file("latest"), err)
	}
	d.head, d.tree = head, tree
	return nil
}

func (d *Database) file(name string) string { return path.Join(d.name, name) }

// Name returns the name of the database.
func (d *Database) Name() string { return d.name }

// Record returns the record of m, proven by the database. An error that is
// [fs.ErrNotExist] means that the database says it knows no such module
// version, and holds what it says. Private modules must not come here.
func (d *Database) Record(ctx context.Context, m module.Version) (log.Record, error) {
	r, _, err := d.lookup(ctx, m)
	return r, err
}

// Lookup returns the answer that Record was proven with, as the database gave
// it: a record with its index, and a head.
func (d *Database) Lookup(ctx context.Context, m module.Version) ([]byte, error) {
	_, answer, err := d.lookup(ctx, m)
	return answer, err
}

func (d *Database) lookup(ctx context.Context, m module.Version) (r log.Record, answer []byte, err error) {
	if err := module.Check(m.Path, m.Version); err != nil {
		return r, nil, fmt.Errorf("%w: %v", ErrNotModule, err)
	}
	if v := module.CanonicalVersion(m.Version); v != m.Version {
		return r, nil, fmt.Errorf("%w: version %q is not canonical", ErrNotModule, m.Version)
	}
	path, err := module.EscapePath(m.Path)
	if err != nil {
		return r, nil, fmt.Errorf("%w: %v", ErrNotModule, err)
	}
	version, err := module.EscapeVersion(m.Version)
	if err != nil {
		return r, nil, fmt.Errorf("%w: %v", ErrNotModule, err)
	}
	err = d.run(ctx, func(tiles *tileReader) error {
		answer, err = d.fetch(ctx, "lookup/"+path+"@"+version, maxAnswer)
		if err == nil {
			r, err = d.prove(tiles, m, answer)
		}
		return err
	})
	if err != nil {
		return log.Record{}, nil, err
	}
	return r, answer, nil
}

// run performs op, and once more without cached tiles if these may be why
// nothing was proven. They may be damaged, which is not the database's fault.
// Or they are well, and the database has forked: then its new tree can only be
// judged by its own tiles, not by those of the old tree at the same place.
func (d *Database) run(ctx context.Context, op func(*tileReader) error) error {
	if err := d.trusted(); err != nil {
		return err
	}
	r := newTileReader(ctx, d, false)
	err := op(r)
	if errors.Is(err, errUnproven) && len(r.used) > 0 {
		fresh := newTileReader(ctx, d, true)
		if err = op(fresh); err == nil {
			d.dropDamaged(r, fresh)
		}
	}
	if err != nil {
		return err
	}
	// Another operation may have found the fork that this one leans on.
	return d.trusted()
}

// dropDamaged forgets the cached tiles that r used and that fresh, which went
// well without, has not replaced.
func (d *Database) dropDamaged(r, fresh *tileReader) {
	d.logger.Warn("cached tiles of the public checksum database were damaged", "database", d.name)
	for t := range r.used {
		if !fresh.saved[t] {
			d.tiles.remove(t)
		}
	}
}

func (d *Database) trusted() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.untrusted {
		return fmt.Errorf("%s: %w", d.name, ErrSecurity)
	}
	return nil
}

// distrust ends the use of the database: at once, and, once the latch is on
// disk, for all processes to come. A crash before that loses the latch, but
// nothing was believed of the head that did not fit, and it is found out again
// when it is shown again.
func (d *Database) distrust(text []byte) {
	d.mu.Lock()
	first := !d.untrusted
	d.untrusted = true
	d.mu.Unlock()
	if !first {
		return
	}
	err := durable.WriteFile(d.root, d.file("UNTRUSTED"), text, 0o644)
	d.logger.Error("public checksum database shows two histories: it is not trusted any more",
		"database", d.name, "see", d.file("UNTRUSTED"), "err", err)
	d.evidence("fork-"+strings.ReplaceAll(d.name, "/", "_"), text)
}

// latest returns the newest signed head, empty before the first, and its tree.
func (d *Database) latest() ([]byte, tlog.Tree) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.head, d.tree
}

// errConflict is setLatest's: the head was replaced meanwhile.
var errConflict = errors.New("another head")

// setLatest replaces the head old, on disk first, if it is still the latest.
func (d *Database) setLatest(old, head []byte, tree tlog.Tree) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.untrusted {
		return ErrSecurity // what is on disk is what was believed before
	}
	if !bytes.Equal(d.head, old) {
		return errConflict
	}
	if err := durable.WriteFile(d.root, d.file("latest"), head, 0o644); err != nil {
		return local(err)
	}
	d.head, d.tree = head, tree
	return nil
}

// local returns err, of this machine, as one that is no claim of absence: a missing
// directory of ours is nothing that the database does not know.
func local(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%v", err)
	}
	return err
}

// A place is where the database is reached: below prefix at source.
type place struct {
	source *Source
	prefix string
}

// where finds out how to reach the database, as the go command does: through
// the first upstream that carries it, and then never past it; else directly.
func (d *Database) where(ctx context.Context) (*place, error) {
	return d.place.get(ctx, 0, d.pause, func() (*place, error) {
		prefix := "sumdb/" + d.name + "/"
		_, s, err := d.public.Get(ctx, prefix+"supported", maxSupported)
		if errors.Is(err, fs.ErrNotExist) {
			u, err := url.Parse("https://" + d.name)
			if err != nil {
				return nil, err
			}
			// A name is no address: an internal one needs a URL in the spec.
			return &place{source: d.client.unnamed(u)}, nil
		}
		d.hear(ctx, err)
		if err != nil {
			return nil, err
		}
		return &place{s, prefix}, nil
	})
}

// fetch reads file, a path without leading slash, from the database. Those who
// want the same at the same time share one request.
func (d *Database) fetch(ctx context.Context, file string, limit int64) ([]byte, error) {
	p, err := d.where(ctx)
	if err != nil {
		return nil, d.asked(err)
	}
	get := func(ctx context.Context) ([]byte, error) {
		return d.flights.do(ctx, file, func() ([]byte, error) {
			data, err := p.source.Get(ctx, p.prefix+file, limit)
			d.hear(ctx, err)
			return data, err
		})
	}
	if ctx.Value(relayed{}) == nil {
		data, err := get(ctx)
		return data, d.asked(err)
	}
	data, err := d.relayedGet(ctx, file, get)
	return data, d.asked(err)
}

// asked says of an error of an exchange that the database was asked.
func (d *Database) asked(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	of := *e
	of.Database = d.name
	return &of
}

// silence is the least time between two lines in the log that say that the database
// cannot be reached.
const silence = time.Minute

// hear takes note of how an exchange ended. That the database cannot be reached stops
// all that is new and public, which the operator would otherwise learn from clients.
func (d *Database) hear(ctx context.Context, err error) {
	e, theirs := errors.AsType[*Error](err)
	if err != nil && !theirs || ctx.Err() != nil {
		return // ours, or called off
	}
	lost := err != nil && (e.Status == 0 || e.Status == http.StatusTooManyRequests || e.Status >= 500)
	d.mu.Lock()
	say := lost != d.lost && (!lost || time.Since(d.said) >= silence)
	if say {
		d.lost = lost
	}
	if say && lost {
		d.said = time.Now()
	}
	d.mu.Unlock()
	switch {
	case say && lost:
		d.logger.Warn("public checksum database cannot be reached: nothing new that is public can be logged", "database", d.name, "err", err)
	case say:
		d.logger.Info("public checksum database is reached again", "database", d.name)
	}
}
