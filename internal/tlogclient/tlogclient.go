// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package tlogclient reads any tiled log, over HTTP or from a file tree, and
// believes nothing of it that does not hash to a head signed by the log's key.
//
// # Layouts
//
// [Tiles] is https://c2sp.org/tlog-tiles: PREFIX/checkpoint and
// PREFIX/tile/L/N[.p/W]. [Database] is the go command's checksum database
// (https://go.dev/design/25530-sumdb, golang.org/x/mod/sumdb): PREFIX/latest and
// PREFIX/tile/8/L/N[.p/W]. The hash tiles are the same, 256 hashes wide; a
// partial tile that is gone is read from the full tile that took its place.
//
// Entries are read 256 at a time: in Tiles from PREFIX/tile/entries/N[.p/W], each
// behind its length, and in a Database from PREFIX/tile/8/data/N[.p/W], each with
// an empty line behind it. A Database answers PREFIX/lookup/M@V too.
//
// A source of such files is a server ([HTTP]), a file tree ([Dir]), or what the go
// command on this machine keeps of a Database ([GoCache]). [Patient] asks again
// what failed in a way that may pass.
//
// # What is believed
//
// The keys. A head is a strict note (see internal/checkpoint) that one of them
// signed, with the origin expected; of its tree only what hashes to it is ever
// returned, tiles being checked against their parents up to the root. A log can
// answer anything else, for ever or not at all: every answer has a limit in
// bytes, before and after decompression, and a limit in time, and all that a host
// says together has one for who sets it ([HTTPConfig].Patience); only status 200
// is an answer; a redirect to another host is not followed, so that a log cannot
// make its readers ask within their own network.
//
// [Log.Bundle], [Log.RawTile] and [Log.Lookup] are for those who verify by
// themselves, or compare: what they return is what the log has said, in the form
// it should have and with no more bytes than that form can have, and nothing else
// is known of it.
//
// Sizes end at [MaxSize]. On sizes near 2^62 the index arithmetic of package
// tlog overflows and does not end, and any log's key can sign such a size.
//
// # What a log does wrong
//
// [Log.Extend] compares two signed heads. A [*ForkError] is proof, with both
// notes, that the log signed two histories. A [*StaleError] is a smaller head
// than one known: an old copy in some cache, or a log that was rolled back.
// [ErrUnproven] says that tiles do not support the head they were read for; it
// may be a fault of the disk or cache they came from, and proves nothing.
// [ErrLoose] is a head of a Database that go commands may believe, and that is in no
// strict form.
//
// Nothing is written, and nothing kept, but through [Cache]; [DirCache] keeps tiles
// in files.
package tlogclient

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"example.org/sumlog/internal/checkpoint"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// DatabaseOrigin is the first line of the heads of all checksum databases.
const DatabaseOrigin = "go.sum database tree"

// MaxSize is the largest tree that is read: tens of millions of times the
// largest log there is, and far from overflow.
const MaxSize = 1 << 52

const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	tileBytes  = tileWidth * tlog.HashSize
)

// ErrHead is wrapped by the error of a head that was read and is none: not a
// strict checkpoint, not signed, of another origin, or too large.
var ErrHead = errors.New("not a head of the log")

// ErrLoose is wrapped by the error of what was read as the head of a Database, that is
// no strict one, and that go commands believe, or may, for it is too long to know:
// they ignore bad signatures behind a good one, and have no such limits. It is not
// ErrHead, since what somebody was shown is not nothing.
var ErrLoose = errors.New("go commands may believe this head, which is not in strict form")

// maxLoose is how much is read of a head that may be one of those.
const maxLoose = 1 << 20

// A Layout says where a log keeps things below its prefix.
type Layout int

const (
	Tiles    Layout = iota + 1 // C2SP tlog-tiles
	Database                   // a checksum database of the go command
)

func (l Layout) String() string {
	if l == Database {
		return "checksum database"
	}
	return "tlog-tiles"
}

func (l Layout) head() string {
	if l == Database {
		return "latest"
	}
	return "checkpoint"
}

func (l Layout) tile(t tlog.Tile) string {
	path := t.Path()
	if l == Database {
		return path
	}
	return "tile/" + strings.TrimPrefix(path, "tile/8/")
}

// A Head is a checkpoint and the note it was signed in.
type Head struct {
	checkpoint.Checkpoint
	Note []byte // as it was read; empty if only the tree is known
}

// ParseHead verifies a note: signed by one of keys, and by none of them badly.
// An empty origin stands for any.
func ParseHead(note []byte, origin string, keys ...*checkpoint.Key) (Head, error) {
	n, err := checkpoint.ParseNote(note)
	if err != nil {
		return Head{}, fmt.Errorf("%w: %w", ErrHead, err)
	}
	if _, err := n.Verify(keys...); err != nil {
		return Head{}, fmt.Errorf("%w: %w", ErrHead, err)
	}
	c, err := checkpoint.Parse(n.Text)
	if err != nil {
		return Head{}, fmt.Errorf("%w: %w", ErrHead, err)
	}
	switch {
	case origin != "" && c.Origin != origin:
		return Head{}, fmt.Errorf("%w: its origin is %.255q, not %q", ErrHead, c.Origin, origin)
	case c.Size > MaxSize:
		return Head{}, fmt.Errorf("%w: size %d, more than %d", ErrHead, c.Size, int64(MaxSize))
	case c.Size == 0 && c.Root != emptyRoot:
		return Head{}, fmt.Errorf("%w: size 0 with the root of another tree", ErrHead)
	}
	return Head{c, note}, nil
}

// emptyRoot is the root of the tree of size 0.
var emptyRoot = tlog.Hash(sha256.Sum256(nil))

// A Cache keeps tiles. Its methods may be called at the same time.
type Cache interface {
	// Read returns what was kept of exactly t, or nil. What it returns is
	// verified again, so that it may be damaged.
	Read(t tlog.Tile) []byte

	// Keep keeps a tile that was verified. It must not change data.
	Keep(t tlog.Tile, data []byte)
}

// A Config configures a [Log].
type Config struct {
	Source Source            // required
	Layout Layout            // required
	Keys   []*checkpoint.Key // at least one
	Origin string            // default: DatabaseOrigin for a Database, else the first key's name
	Cache  Cache             // default: none
}

// A Log is a log as seen through one source. It is safe for concurrent use.
type Log struct {
	source Source
	layout Layout
	keys   []*checkpoint.Key
	origin string
	cache  Cache
}

// New returns the log. It asks nobody.
func New(c Config) (*Log, error) {
	if c.Source == nil || len(c.Keys) == 0 || c.Layout != Tiles && c.Layout != Database {
		return nil, errors.New("log: source, layout and key are required")
	}
	l := &Log{c.Source, c.Layout, c.Keys, c.Origin, c.Cache}
	switch {
	case l.origin != "":
	case l.layout == Database:
		l.origin = DatabaseOrigin
	default:
		l.origin = l.keys[0].Name()
	}
	return l, nil
}

// Origin returns the origin line that heads must have.
func (l *Log) Origin() string { return l.origin }

// Layout returns the layout.
func (l *Log) Layout() Layout { return l.layout }

// Head reads the newest head. With [ErrLoose] it returns, as far as one can be made
// of what was read, the strict head that says the same: what was read counts against
// the log, however much stands around it.
func (l *Log) Head(ctx context.Context) (Head, error) {
	limit, loose := int64(checkpoint.MaxNote), ErrHead
	if l.layout == Database {
		limit, loose = maxLoose, ErrLoose
	}
	msg, err := l.source.Read(ctx, l.layout.head(), limit)
	if errors.Is(err, ErrTooLarge) {
		err = fmt.Errorf("%w: %w", loose, err)
	}
	if err != nil {
		return Head{}, err
	}
	h, err := ParseHead(msg, l.origin, l.keys...)
	if err == nil || l.layout != Database {
		return h, err
	}
	if strict := believed(msg, l.keys); strict != nil {
		err = fmt.Errorf("%w: %v", loose, err)
		if h, err2 := ParseHead(strict, l.origin, l.keys...); err2 == nil {
			return h, err
		}
	}
	return Head{}, err
}

// believed returns what the go command believes of msg, as the head of a database
// with one of keys: the text, and the signature that it looks at. It returns nil if
// that is nothing.
func believed(msg []byte, keys []*checkpoint.Key) []byte {
	for _, k := range keys {
		v, err := note.NewVerifier(k.String())
		if err != nil {
			continue // a cosigner's
		}
		if n, err := note.Open(msg, note.VerifierList(v)); err == nil {
			if _, err := tlog.ParseTree([]byte(n.Text)); err == nil {
				return fmt.Appendf(nil, "%s\n— %s %s\n", n.Text, n.Sigs[0].Name, n.Sigs[0].Base64)
			}
		}
	}
	return nil
}

// Discover finds out the layout of a log, and reads its head, of any origin that
// its key signs: tlog-tiles, if there is a checkpoint.
func Discover(ctx context.Context, source Source, keys ...*checkpoint.Key) (Layout, Head, error) {
	layout := Tiles
	note, err := source.Read(ctx, layout.head(), checkpoint.MaxNote)
	if err != nil && Refused(err) {
		layout = Database
		none := err
		if note, err = source.Read(ctx, layout.head(), checkpoint.MaxNote); err != nil {
			err = fmt.Errorf("%w; and no checkpoint: %v", err, none)
		}
	}
	if err != nil {
		return 0, Head{}, err
	}
	head, err := ParseHead(note, "", keys...)
	return layout, head, err
}

// Refused reports whether a source says, for good, that it has no such file.
// Object stores say 403 for 404; module proxies, below their path for a checksum
// database, say 400 of what no such database has.
func Refused(err error) bool {
	if e, ok := errors.AsType[*StatusError](err); ok && (e.Status == http.StatusBadRequest || e.Status == http.StatusForbidden) {
		return true
	}
	return errors.Is(err, fs.ErrNotExist)
}
