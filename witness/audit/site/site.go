// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package site finds, at a URL, all that a checksum authority publishes, as
// somebody does who trusts nothing of it.
//
// # What is looked for
//
// The log is at URL or at URL/sumdb/NAME, NAME being the name of its key, as C2SP
// tlog-tiles (/checkpoint), as a checksum database of the go command (/latest),
// or as both. All else is below URL: the archive of checkpoints at /checkpoints,
// and whatever [Site.Get] is asked for: a feed, lists, bytes. URL may be a file
// tree, which has no answers to queries.
//
// A log that is not in a layout says so with 404 or 410, or with 400 or 403, as
// some servers do. Any other answer is one: a checkpoint that is no checkpoint
// does not make the layout absent, so that a log cannot hide its checkpoints
// from an auditor behind garbage. Only where both notes are garbage, as where
// a web site answers everything, is URL/sumdb/NAME tried.
//
// # The archive
//
// /checkpoints?after=SIZE&limit=N answers with the publications larger than SIZE,
// oldest first, one line of JSON each: Time, Size, Checkpoint and TreeHead, in
// the one encoding that [encoding/json] gives them. Several may have one size,
// and nothing but the size says where a page begins; so of more of one size than
// fit on a page, the rest cannot be read. A line is not believed: [Published.Heads]
// verifies its notes.
//
// # What is trusted
//
// The key. What is returned by [Site.Get] and [Site.Archive] is what somebody at
// URL has said, within limits of length and time, and nothing more. Nothing is
// written but to the cache of tiles.
package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/tlogclient"
)

// A Config configures [Open].
type Config struct {
	HTTP  *tlogclient.HTTP // required
	URL   string           // http://, https:// or file:// URL, or a directory
	Key   *checkpoint.Key  // required
	Cache tlogclient.Cache // of tiles; default: none
	Tries int              // of each request that fails in a way that may pass; default 4
}

// A Site is a checksum authority. It is safe for concurrent use.
type Site struct {
	URL string // without password
	Key *checkpoint.Key

	// Place is where the log is below URL: empty, or a path that ends in a slash.
	Place string

	// Tiles and Database are the log in the layouts that it is published in;
	// nil where it is not, and never both.
	Tiles, Database *tlogclient.Log

	// Carried is what may be at URL/sumdb/NAME where the log is at URL itself: the
	// database as a module proxy carries it, which is what most go commands read.
	// Nil where that is the log.
	Carried *tlogclient.Log

	http   *tlogclient.HTTP
	tries  int
	prefix *url.URL          // nil for a file tree
	source tlogclient.Source // what is at URL
	log    tlogclient.Source // the same, or below it
}

// Open finds the log of c.Key at c.URL. Its error wraps fs.ErrNotExist if there
// is none.
func Open(ctx context.Context, c Config) (*Site, error) {
	if c.HTTP == nil || c.Key == nil || c.URL == "" {
		return nil, errors.New("site: a reader, URL and key are required")
	}
	s := &Site{Key: c.Key, http: c.HTTP, tries: c.Tries}
	if s.tries == 0 {
		s.tries = 4
	}
	if err := s.locate(c.URL); err != nil {
		return nil, err
	}
	below := &subSource{s.source, strings.TrimSuffix(CarriedAt(c.Key), "/")}
	first := s.find(ctx, s.source, c.Cache)
	if first == nil {
		// Without the cache: tiles of another history must not replace its tiles.
		carried, err := tlogclient.New(tlogclient.Config{Source: below, Layout: tlogclient.Database, Keys: []*checkpoint.Key{c.Key}})
		s.Carried = carried
		return s, err
	}
	if !absent(first) {
		return nil, first
	}
	err := s.find(ctx, below, c.Cache)
	switch {
	case err == nil:
		s.Place = CarriedAt(c.Key)
		return s, nil
	case absent(err):
		return nil, first
	}
	return nil, err
}

// CarriedAt is where, below its URL, a module proxy carries the database of key.
func CarriedAt(key *checkpoint.Key) string { return "sumdb/" + key.Name() + "/" }

// Address returns the URL of path as others can ask for it: without a user.
func (s *Site) Address(path string) string {
	base := s.URL
	if u, err := url.Parse(base); err == nil && u.User != nil {
		u.User = nil
		base = u.String()
	}
	path, query, _ := strings.Cut(path, "?")
	return strings.TrimSuffix(base, "/") + "/" + (&url.URL{Path: path, RawQuery: query}).String()
}

// locate makes the source of what is at where.
func (s *Site) locate(where string) error {
	source, err := tlogclient.Open(s.http, where)
	if err != nil {
		return err
	}
	s.URL = source.String()
	if strings.HasPrefix(where, "http://") || strings.HasPrefix(where, "https://") {
		if s.prefix, err = tlogclient.ParseURL(where); err != nil {
			return err
		}
		source = &querySource{source, s.http, s.prefix}
	}
	s.source = tlogclient.Patient(source, s.tries)
	return nil
}

// absent reports whether err says that there is no log, as opposed to one that
// could not be read.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, tlogclient.ErrHead)
}

// Log returns the log in the layout that its entries are read from: as tiles, if
// it is, where entries of any form can be served.
func (s *Site) Log() *tlogclient.Log {
	if s.Tiles != nil {
		return s.Tiles
	}
	return s.Database
}

// Get returns what is at path below URL, which may end in ?QUERY, at most limit
// bytes of it. That there is nothing is fs.ErrNotExist.
//
// The path stands for itself: it is encoded for the request, so that nothing in
// it but its first question mark means anything.
func (s *Site) Get(ctx context.Context, path string, limit int64) ([]byte, error) {
	return s.source.Read(ctx, path, limit)
}

// Fetch writes what is at path below URL, at most limit bytes, to f, whose former
// content it replaces, and returns their number. It takes as long as it takes,
// while bytes come faster than tlogclient.MinRate. After an error, what is in f
// means nothing.
func (s *Site) Fetch(ctx context.Context, path string, limit int64, f *os.File) (n int64, err error) {
	err = tlogclient.Retry(ctx, s.tries, func() error {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := f.Truncate(0); err != nil {
			return err
		}
		if s.prefix == nil {
			data, err := s.source.Read(ctx, path, limit)
			if err != nil {
				return err
			}
			m, err := f.Write(data)
			n = int64(m)
			return err
		}
		u, err := join(s.prefix, path)
		if err != nil {
			return err
		}
		n, err = s.http.Copy(ctx, u, limit, f)
		return err
	})
	return n, err
}

// A querySource reads paths with queries.
type querySource struct {
	tlogclient.Source
	http   *tlogclient.HTTP
	prefix *url.URL
}

// Read implements tlogclient.Source.
func (s *querySource) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	u, err := join(s.prefix, path)
	if err != nil {
		return nil, err
	}
	return s.http.Get(ctx, u, limit)
}

// join returns the URL of path[?QUERY] below prefix.
func join(prefix *url.URL, path string) (*url.URL, error) {
	path, query, _ := strings.Cut(path, "?")
	if !fs.ValidPath(path) || path == "." {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrInvalid}
	}
	u := tlogclient.Join(prefix, path)
	u.RawQuery = query
	return u, nil
}

// A subSource is the part of a source below a path.
type subSource struct {
	tlogclient.Source
	path string
}

func (s *subSource) String() string { return s.Source.String() + "/" + s.path }

// Read implements tlogclient.Source.
func (s *subSource) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	if !fs.ValidPath(path) || path == "." {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrInvalid}
	}
	return s.Source.Read(ctx, s.path+"/"+path, limit)
}

// find looks for the log in both layouts at source.
func (s *Site) find(ctx context.Context, source tlogclient.Source, cache tlogclient.Cache) error {
	var logs [2]*tlogclient.Log
	var found bool
	var garbage error
	for i, layout := range []tlogclient.Layout{tlogclient.Tiles, tlogclient.Database} {
		l, err := tlogclient.New(tlogclient.Config{Source: source, Layout: layout, Keys: []*checkpoint.Key{s.Key}, Cache: cache})
		if err != nil {
			return err
		}
		_, err = l.Head(ctx)
		switch {
		case err == nil || errors.Is(err, tlogclient.ErrLoose):
			found = true // Heads says what is wrong with it
		case errors.Is(err, tlogclient.ErrHead):
			garbage = errors.Join(garbage, fmt.Errorf("%s: %w", source, err))
		case tlogclient.Refused(err):
			continue
		default:
			return err
		}
		logs[i] = l
	}
	switch {
	case found:
		s.Tiles, s.Database, s.log = logs[0], logs[1], source
		return nil
	case garbage != nil:
		return garbage
	}
	return fmt.Errorf("no log at %s: %w", source, fs.ErrNotExist)
}
