// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"context"
	"errors"
	"io/fs"
	"slices"
)

// A Chain is a list of upstreams made ready. The zero Chain is off.
type Chain struct {
	links []link
	note  string // of all errors, see Note
}

type link struct {
	source   *Source
	anyError bool
}

// Chain returns l as a chain of sources that c speaks to.
func (c *Client) Chain(l List) *Chain {
	chain := new(Chain)
	for _, e := range l.Entries {
		chain.links = append(chain.links, link{c.Source(e.URL), e.AnyError})
	}
	return chain
}

// noted returns c with a note for its errors.
func (c *Chain) noted(note string) *Chain { return &Chain{c.links, note} }

// Off reports whether the chain has no source.
func (c *Chain) Off() bool { return len(c.links) == 0 }

// After returns the chain of the sources behind s, none if s is not in c.
func (c *Chain) After(s *Source) *Chain {
	i := slices.IndexFunc(c.links, func(l link) bool { return l.source == s })
	if i < 0 {
		return &Chain{}
	}
	return &Chain{c.links[i+1:], c.note}
}

// Before returns the chain of the sources before s, all if s is not in c.
func (c *Chain) Before(s *Source) *Chain {
	i := slices.IndexFunc(c.links, func(l link) bool { return l.source == s })
	if i < 0 {
		return c
	}
	return &Chain{c.links[:i], c.note}
}

// Get is [Source.Get] of the sources in turn, and names the one that answered.
func (c *Chain) Get(ctx context.Context, path string, limit int64) (data []byte, from *Source, err error) {
	from, err = c.walk(func(s *Source) (err error) {
		data, err = s.Get(ctx, path, limit)
		return err
	})
	return data, from, err
}

// Download is [Source.Download] of the sources in turn, and names the one that
// answered.
func (c *Chain) Download(ctx context.Context, path string, f File, limit int64) (from *Source, err error) {
	return c.walk(func(s *Source) error {
		return s.Download(ctx, path, f, limit)
	})
}

// walk asks the sources in turn until one answers or its error ends the walk.
// The error it returns is the last one that is not absence, if any is: of an
// upstream that is down and one that knows nothing, the first may have had it.
// So does the go command (cmd/go/internal/modfetch, TryProxies).
func (c *Chain) walk(ask func(*Source) error) (*Source, error) {
	worst, broken := error(ErrOff), false
	for _, l := range c.links {
		err := ask(l.source)
		if err == nil {
			return l.source, nil
		}
		e, theirs := errors.AsType[*Error](err)
		if !theirs {
			return nil, err // as of a full disk: the next one cannot help
		}
		if !e.Is(fs.ErrNotExist) {
			worst, broken = err, true
			if !l.anyError {
				break
			}
		} else if !broken {
			worst = err
		}
	}
	return nil, noted(worst, c.note)
}
