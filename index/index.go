// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package index finds entries of a log by name: the entry of a module version,
// the versions of a module, and everything in the order in which it was logged.
// It serves the go command's lookups and a feed like the Go team's module index.
//
// Everything here is derived from the log's entries and the archive of
// publications, read through a [Source]. The files, an SQLite database and the
// feed's lines beside it, may be deleted at any time while no process uses them;
// [Open] makes them again, and every answer is then the same, byte for byte.
//
// # Database
//
// The schema has version [schemaVersion], kept as SQLite's user_version.
//
//	meta     one row: the size up to which the log is indexed, the root there,
//	         the time of the publication that first had that size, the time of
//	         the last entry, the log's name, the seed of the keys, and a CRC-32C
//	         of all these
//	names    a table of package buckets with one item an entry, its key the hash of
//	         path and version: index, time, where in its bundle the entry begins,
//	         and 4 bytes of its leaf hash
//	modules  another one, its key the hash of the path and the number of a group of
//	         64 versions: the rest of that hash, index, time, and version. Groups
//	         are filled one after the other, so one that is not full is the last
//	paths    each module's path, in a B-tree, with the CRC-32C of it and the next
//	         path. A row of the empty path is before the first and after the last
//	chunks   where the feed's lines are. [chunkLines] make a chunk, [groupChunks]
//	         of them a row, in order of index. A row has the time of its first
//	         entry, by which rows are found, and for each chunk, with a CRC-32C of
//	         its own: where it begins in the file of lines, the time of its first
//	         entry, its length, number of lines, and CRC-32C
//
// An entry of a name is looked for in the one bucket where it would be, and what is
// answered is what the log has at the place that the bucket tells, if its leaf hash
// begins as it must and if it has the name. So hashes are in no index. A second entry
// of one module version is an error that wraps [log.ErrUnsafe], since then the log
// itself has broken its promise of one record for a module version.
//
// Keys are SHA-256 with a random seed, made anew with each database: who may choose
// names could else fill one bucket.
//
// The time of entry i is the later of the time of the first publication that
// covers it and the time of entry i-1 plus a microsecond. It depends on the
// archive alone, and is the same whether publications were applied one by one
// as they came or many at once.
//
// # Lines
//
// The feed in finished lines, in order, is a file of its own: a page of it is a
// range of the file. Every chunk that a page touches is compared with its CRC-32C,
// and so is what says where it is. Which chunk has a time in it is a
// question to the database; the times in the lines decide. So whatever rots, at
// any time, a page is right or an error. Lines that rotted, or that a power loss
// took, are made again from log and archive when they are asked for, compared with
// the CRC-32C, and written back.
//
// # Order of events
//
// The log calls [Index.Publish] once p is in the archive and before it shows p
// to anyone. So the index may be a little ahead of [Source].Published, never
// behind: [Index.Find], by which the log decides uniqueness, sees all that is
// applied; the handlers, which serve, look at the published size and leave out
// what lies beyond.
//
// # What a crash leaves
//
// Each Publish is one transaction, in WAL mode with synchronous=NORMAL: after a
// crash or power loss the database is at some earlier publication, and Open
// applies what is missing from the Source. Lines are written before their
// transaction commits, and not synced: those that no transaction knows of are cut
// off by Open, those that a power loss took are as good as rotted. A new database
// and its lines are made under temporary names and renamed when complete and
// synced; a crash before that leaves the temporary files, which [durable.Sweep]
// removes. The old database is removed before, so that its write-ahead log can
// never be taken for the new one's.
//
// # What is trusted
//
// The Source: its entries are well-formed, EntryAt compares what it reads, and its
// publications are those of one archive. (Duplicates are refused all the same.)
//
// Of the database nothing is trusted, at a start or later: each answer is proven by
// the rows that it comes from, and that something is absent by the whole row in which
// it would be. So a start reads the state and compares it with the archive, whatever
// the size of the log, and rot that comes while the index is open does no more harm
// than rot from before. What cannot be proven is the error [ErrDamaged], never an
// absence, and with it the database loses its name, durably, so that no start uses it
// again; it is made again in the background and takes the place of the damaged one
// once it has all that was applied. Until then the damaged one answers what it can
// prove. Beyond this are a row whose CRC-32C is right by chance, one in 2^32, and rows
// of the past put back whole, all of them fitting: no file system does so that keeps
// what it acknowledged.
//
// If at Open the database is damaged, of another schema, of another log or archive,
// or ahead of the Source, or its lines are gone, both are made again; so they are when
// too far behind for insertion in arrival order to pay. A page that the disk cannot
// read is damage too.
//
// Requests are not trusted. Whatever they ask costs bounded memory, and never
// more than one pass over the index; passes over much of it are made one at a
// time.
package index

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.org/sumlog/internal/sqlite"
	"example.org/sumlog/log"
	sqlite3 "github.com/mattn/go-sqlite3"
	"golang.org/x/mod/module"
)

// A Source is the log and archive as the index reads them. It must be safe for
// concurrent use.
type Source interface {
	// Published returns the newest publication, never nil.
	Published() *log.Publication

	// Publications returns the archived publications whose size is greater
	// than after, oldest first.
	Publications(after int64) iter.Seq2[*log.Publication, error]

	// Placed returns the entries from (inclusive) to (exclusive), in order, with
	// their places. Their Time need not be set. Entries of a publication given to
	// Publish can be read although Published does not yet cover them.
	Placed(from, to int64) iter.Seq2[log.PlacedEntry, error]

	// EntryAt returns entry i, which Placed gave with p. It is an error if the
	// entry that is there is another one.
	EntryAt(i int64, p log.Place) (log.Entry, error)
}

// Config says what [Open] opens.
type Config struct {
	// Path is the database file. Files named Path-wal, Path-shm and Path-lines
	// beside it belong to it. One process at a time may have it open; the lock on the log
	// sees to that.
	Path string

	// Source is what the index is derived from.
	Source Source

	// Rebuild makes the database again, whatever there is at Path.
	Rebuild bool

	// Logger is told what an operator wants to know. Nil discards.
	Logger *slog.Logger

	// Progress, if not nil, is called now and then while a database is being
	// made, with what is done of total units of work.
	Progress func(done, total int64)

	// stopped, if not nil, is asked as often whether to give up.
	stopped func() bool
}

// An Index is an open index. It is safe for concurrent use.
type Index struct {
	config  Config
	source  Source
	logger  *slog.Logger
	size    atomic.Int64  // entries applied
	damaged atomic.Bool   // damage was met, and the database is being made again
	hurt    chan struct{} // tells the healer
	done    chan struct{} // closed by Close
	healer  sync.WaitGroup

	using   sync.RWMutex // held to read the database, and exclusively to replace it
	readers *pool        // nil while there is no database
	file    *lineFile
	pages   sync.Pool    // of *span, for pages of the feed
	scanner chan *reader // holds the one reader for passes over much of the index, when idle

	mu       sync.Mutex // guards what follows
	w        *writer    // nil while there is no database
	applied  *log.Publication
	unsure   bool // w.state may not be what the database or the archive has
	closed   bool
	unsafe   error // wraps log.ErrUnsafe: of what log and archive are, no index can be made
	walPages int64 // estimate of what is in the write-ahead log
}

// errClosed is the error of every use after Close.
var errClosed = errors.New("index is closed")

// Open opens the index at c.Path and brings it up to what the Source has
// published, making the database anew if need be. An error that wraps
// [log.ErrUnsafe] means that the log has two entries for a module version.
func Open(c Config) (*Index, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	x, err := openIndex(c)
	if err != nil && isDamage(err) && !c.Rebuild {
		// It was met as the index was brought up to date.
		c.Logger.Error("the index is damaged", "err", err)
		c.Rebuild = true
		x, err = openIndex(c)
	}
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", filepath.Base(c.Path), err)
	}
	return x, nil
}

func openIndex(c Config) (*Index, error) {
	w, err := openChecked(c)
	if err != nil {
		return nil, err
	}
	if err := w.close(); err != nil {
		return nil, err
	}
	x := &Index{
		config: c, source: c.Source, logger: c.Logger, scanner: make(chan *reader, 1),
		hurt: make(chan struct{}, 1), done: make(chan struct{}),
	}
	x.pages.New = func() any { return new(span) }
	if err := x.open(); err != nil {
		return nil, err
	}
	x.healer.Go(x.heal)
	return x, nil
}

func (x *Index) openReaders(path string) error {
	scanner, err := openReader(path)
	if err != nil {
		return err
	}
	readers, err := openPool(path)
	if err != nil {
		scanner.conn.Close()
		return err
	}
	x.readers = readers
	x.scanner <- scanner
	return nil
}

// errStale is why a database cannot be used as it is and must be made again.
type errStale string

func (e errStale) Error() string { return string(e) }

// isStale reports whether err, met while a database was opened and checked,
// means that making it again is right: not when the machine is short of
// something, or another process is in the way, or may not be opened at all.
func isStale(err error) bool {
	_, stale := errors.AsType[errStale](err)
	return stale || isDamage(err) || sqlite.Is(err, sqlite3.ErrIoErr, sqlite3.ErrTooBig)
}

// openChecked returns a writer on a sound database of c.Source at c.Path. It
// makes the database if there is none, or none that is fit for use.
func openChecked(c Config) (*writer, error) {
	reason := error(errStale("rebuild was asked for"))
	if !c.Rebuild {
		w, err := openWriter(c.Path)
		if err == nil {
			if err = w.check(c.Source); err == nil {
				return w, nil
			}
			w.close()
		}
		if !isStale(err) {
			return nil, err
		}
		reason = err
	}
	c.Logger.Info("making index", "reason", reason.Error(), "size", c.Source.Published().Size)
	begin := time.Now()
	if err := build(c); err != nil {
		return nil, err
	}
	w, err := openWriter(c.Path)
	if err != nil {
		return nil, err
	}
	c.Logger.Info("made index", "size", w.state.size, "duration", time.Since(begin).Round(time.Millisecond))
	return w, nil
}

// Close waits for lookups under way and closes the database.
func (x *Index) Close() error {
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return nil
	}
	x.closed = true
	close(x.done)
	x.mu.Unlock()
	x.healer.Wait() // it needs the lock, and sees that it is closed
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.w == nil {
		return nil
	}
	// The writer goes last: the connection that closes last folds the
	// write-ahead log into the database and removes it.
	return errors.Join(x.readers.close(), (<-x.scanner).conn.Close(), x.w.close())
}

// Size returns the number of entries applied.
func (x *Index) Size() int64 { return x.size.Load() }

// Publish applies the entries below p.Size, in one transaction. It does nothing
// when they are applied already. After an error nothing of p is applied, and
// Publish may be called again with p or a later publication.
func (x *Index) Publish(p *log.Publication) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return errClosed
	}
	if x.unsafe != nil {
		return fmt.Errorf("index: %w", x.unsafe)
	}
	if x.w == nil {
		return ErrDamaged
	}
	// A failed call may have missed publications, whose times count, and it
	// cannot be known whether a failed COMMIT happened. So look again at both.
	archive := x.unsure
	if archive {
		st, err := x.w.settled()
		if err != nil {
			return fmt.Errorf("index: %w", x.noticed(err))
		}
		x.w.state = st
		x.size.Store(st.size)
		x.readers.renew()
	}
	if p.Size <= x.w.state.size {
		return nil
	}
	x.unsure = true
	from := x.w.state.size
	if err := x.w.apply(x.source, p, archive); err != nil {
		return fmt.Errorf("index: entries %d to %d: %w", from, p.Size-1, x.noticed(err))
	}
	x.applied, x.unsure = p, false
	x.size.Store(p.Size)
	x.tidy(p.Size - from)
	return nil
}

// tidy shows readers the n entries now applied. When the write-ahead log may
// have grown large it is written back into the database, which takes that no
// reader looks at an earlier state; and it is used again from its beginning,
// which takes that no reader looks into it at all. Readers being busy, SQLite's
// own checkpoints would hardly ever find either, and it would grow for ever.
func (x *Index) tidy(n int64) {
	x.readers.renew()
	if x.walPages += pagesPerPublish + n; x.walPages < maxWALPages {
		return
	}
	err := x.readers.drain()
	done, e := x.w.checkpoint()
	if done {
		x.walPages = 0
	}
	if err = errors.Join(err, e, x.readers.drain()); err != nil {
		// Nothing is lost, and the next publication tries again.
		x.logger.Warn("index not tidied", "err", err)
	}
}

// About what a publication writes to the write-ahead log, beside a page an
// entry, and how much of it is enough to be written back.
const (
	pagesPerPublish = 10
	maxWALPages     = 1000
)

// Find returns the entry of m among all that is applied. Whoever serves it must
// compare its index with the published size first.
func (x *Index) Find(m module.Version) (e log.Entry, found bool, err error) {
	err = x.read(func(r *reader) (err error) {
		e, found, err = r.find(x.source, m)
		return err
	})
	return e, found, err
}

// read calls do with a reader that sees all that is applied.
func (x *Index) read(do func(*reader) error) error {
	x.using.RLock()
	defer x.using.RUnlock()
	r, err := x.reader()
	if err == nil {
		err = do(r)
		x.readers.put(r)
	}
	return x.noticed(err)
}

// reader returns a reader for a caller who holds x.using, and puts it back. There is
// none after an index that was made again could not be opened, until it can.
func (x *Index) reader() (*reader, error) {
	if x.readers == nil {
		return nil, ErrDamaged
	}
	return x.readers.get()
}

// A Version is one version of a module in the log.
type Version struct {
	Version string
	Index   int64
	Time    time.Time // when it was first published
}

// Versions returns the versions of the module path among the first size
// entries, in the order in which they were logged. So what it returned for a
// smaller size is the beginning of what it returns for a larger one.
func (x *Index) Versions(path string, size int64) (vs []Version, err error) {
	err = x.read(func(r *reader) (err error) {
		vs, err = r.versionsOf(path, size)
		return err
	})
	slices.SortFunc(vs, func(a, b Version) int { return cmp.Compare(a.Index, b.Index) })
	return vs, err
}

// origin returns the name of the log that made p: the first line of its
// checkpoint.
func origin(p *log.Publication) string {
	name, _, _ := strings.Cut(string(p.Checkpoint), "\n")
	return name
}
