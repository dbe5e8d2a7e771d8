// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package site

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/tlogclient"
)

// A Seen is a head and where it was seen.
type Seen struct {
	Source string // without password
	Log    *tlogclient.Log
	Head   tlogclient.Head
}

// Heads reads the newest head in each layout that the log has. With an error, it
// returns those that it could read; the error wraps tlogclient.ErrHead for an
// answer that is no head signed by the key, and tlogclient.ErrLoose for one that
// only go commands believe, which is returned in its strict form if it has one.
func (s *Site) Heads(ctx context.Context) ([]Seen, error) {
	var seen []Seen
	var errs []error
	for _, l := range []*tlogclient.Log{s.Tiles, s.Database} {
		if l == nil {
			continue
		}
		name := s.log.String() + "/checkpoint"
		if l.Layout() == tlogclient.Database {
			name = s.log.String() + "/latest"
		}
		h, err := l.Head(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		if len(h.Note) > 0 {
			seen = append(seen, Seen{name, l, h})
		}
	}
	return seen, errors.Join(errs...)
}

// A Published is a line of the archive.
type Published struct {
	Time                 time.Time
	Size                 int64
	Checkpoint, TreeHead []byte // notes, not verified
}

// Heads verifies the notes of p, and that they are of its size.
func (p Published) Heads(key *checkpoint.Key) (c, t tlogclient.Head, err error) {
	if c, err = tlogclient.ParseHead(p.Checkpoint, key.Name(), key); err != nil {
		return c, t, fmt.Errorf("archived checkpoint of size %d: %w", p.Size, err)
	}
	if t, err = tlogclient.ParseHead(p.TreeHead, tlogclient.DatabaseOrigin, key); err != nil {
		return c, t, fmt.Errorf("archived tree head of size %d: %w", p.Size, err)
	}
	if c.Size != p.Size || t.Size != p.Size {
		return c, t, fmt.Errorf("archive: size %d with a checkpoint of size %d and a tree head of size %d: %w", p.Size, c.Size, t.Size, ErrArchive)
	}
	return c, t, nil
}

// ErrArchive is wrapped by the error of an archive that was read and has not the
// form of one.
var ErrArchive = errors.New("malformed archive")

const (
	maxPage = 8 << 20 // bytes: several lines of the largest notes
	perPage = 1000    // what a log gives at most
)

// Archive returns the publications larger than after, oldest first, read from
// page to page as they are asked for. After an error it ends. Where there is no
// archive the first and only error is fs.ErrNotExist.
//
// Sizes never decrease. A log can go on for ever: who asks, ends it.
func (s *Site) Archive(ctx context.Context, after int64) iter.Seq2[Published, error] {
	return func(yield func(Published, error) bool) {
		limit := perPage
		for {
			page, err := s.page(ctx, after, limit)
			if errors.Is(err, tlogclient.ErrTooLarge) && limit > 1 {
				limit = max(1, limit/4)
				continue
			}
			if err != nil {
				yield(Published{}, err)
				return
			}
			if len(page) == 0 {
				return
			}
			// A page may end between publications of one size: the last size
			// on it is read again, from its first.
			if last := page[len(page)-1].Size; page[0].Size != last {
				for page[len(page)-1].Size == last {
					page = page[:len(page)-1]
				}
			}
			for _, p := range page {
				if !yield(p, nil) {
					return
				}
			}
			after = page[len(page)-1].Size
		}
	}
}

// page reads at most limit publications larger than after.
func (s *Site) page(ctx context.Context, after int64, limit int) ([]Published, error) {
	path := fmt.Sprintf("checkpoints?after=%d&limit=%d", after, limit)
	data, err := s.source.Read(ctx, path, maxPage)
	if err != nil {
		if tlogclient.Refused(err) && !errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %v", fs.ErrNotExist, err)
		}
		return nil, err
	}
	var page []Published
	for len(data) > 0 {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return nil, fmt.Errorf("%s/%s: %w: the last line has no end", s.URL, path, ErrArchive)
		}
		p, err := ParseLine(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s/%s: %w", s.URL, path, err)
		case p.Size <= after || len(page) > 0 && p.Size < page[len(page)-1].Size:
			return nil, fmt.Errorf("%s/%s: %w: size %d is out of order", s.URL, path, ErrArchive, p.Size)
		case len(page) == limit:
			return nil, fmt.Errorf("%s/%s: %w: more than %d lines", s.URL, path, ErrArchive, limit)
		}
		page = append(page, p)
		data = rest
	}
	return page, nil
}

// ParseLine parses a line of the archive without its newline. It is the one
// encoding of what it says.
func ParseLine(line []byte) (Published, error) {
	var l struct {
		Time       time.Time
		Size       int64
		Checkpoint string
		TreeHead   string
	}
	if err := json.Unmarshal(line, &l); err != nil {
		return Published{}, fmt.Errorf("%w: %v", ErrArchive, err)
	}
	var again bytes.Buffer
	enc := json.NewEncoder(&again)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return Published{}, fmt.Errorf("%w: %v", ErrArchive, err)
	}
	switch {
	case !bytes.Equal(bytes.TrimSuffix(again.Bytes(), []byte("\n")), line):
		return Published{}, fmt.Errorf("%w: a line is not in its canonical form", ErrArchive)
	case l.Size < 0 || l.Size > tlogclient.MaxSize:
		return Published{}, fmt.Errorf("%w: size %d", ErrArchive, l.Size)
	case l.Time.Location() != time.UTC || !l.Time.Equal(l.Time.Truncate(time.Microsecond)):
		return Published{}, fmt.Errorf("%w: time %v", ErrArchive, l.Time)
	case len(l.Checkpoint) > checkpoint.MaxNote || len(l.TreeHead) > checkpoint.MaxNote:
		return Published{}, fmt.Errorf("%w: a note of more than %d bytes", ErrArchive, checkpoint.MaxNote)
	}
	return Published{l.Time, l.Size, []byte(l.Checkpoint), []byte(l.TreeHead)}, nil
}
