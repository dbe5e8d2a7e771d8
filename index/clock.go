// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"fmt"
	"iter"

	"example.org/sumlog/log"
)

// A clock gives entries their times, in order of index.
type clock struct {
	next func() (*log.Publication, error, bool)
	stop func()
	pub  *log.Publication // the first that covers the entry asked for last
	last int64            // time of that entry
}

// newClock returns the clock for entries that the publications beyond size
// after cover, up to p. last is the time of the entry before the first.
func newClock(src Source, after int64, p *log.Publication, last int64) *clock {
	c := &clock{last: last}
	c.next, c.stop = iter.Pull2(upTo(src, after, p))
	return c
}

// upTo returns the archived publications with a size greater than after, up to
// p's. p comes last even if it is not archived.
func upTo(src Source, after int64, p *log.Publication) iter.Seq2[*log.Publication, error] {
	return func(yield func(*log.Publication, error) bool) {
		if after < p.Size {
			for q, err := range src.Publications(after) {
				if !yield(q, err) || err != nil || q.Size >= p.Size {
					return
				}
			}
		}
		yield(p, nil)
	}
}

// at returns the time of entry i.
func (c *clock) at(i int64) (int64, error) {
	for c.pub == nil || c.pub.Size <= i {
		p, err, ok := c.next()
		if err != nil {
			return 0, err
		}
		if !ok {
			return 0, fmt.Errorf("no publication covers entry %d", i)
		}
		c.pub = p
	}
	c.last = max(c.last, c.pub.Time.UnixMicro()-1) + 1
	return c.last, nil
}

// end moves st to where the clock has come, which must be the end of p.
func (c *clock) end(st *state, p *log.Publication) error {
	st.origin = origin(p)
	if c.pub == nil {
		return nil // no entries at all
	}
	if c.pub.Size != p.Size || c.pub.Root != p.Root {
		return fmt.Errorf("archive has size %d with root %v where size %d with root %v was published",
			c.pub.Size, c.pub.Root, p.Size, p.Root)
	}
	st.size, st.last = p.Size, c.last
	st.published, st.root = c.pub.Time.UnixMicro(), c.pub.Root
	return nil
}

// rows returns the entries from from to to, which must all be there and in
// order, with their times.
func rows(src Source, from, to int64, c *clock) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		next := from
		for e, err := range src.Placed(from, to) {
			if err == nil && (e.Index != next || next >= to) {
				err = fmt.Errorf("got entry %d, want %d", e.Index, next)
			}
			var r row
			if err == nil {
				var t int64
				if t, err = c.at(next); err == nil {
					r = newRow(e, t)
				}
			}
			if !yield(r, err) || err != nil {
				return
			}
			next++
		}
		if next != to {
			yield(row{}, fmt.Errorf("entries end at %d, want %d", next, to))
		}
	}
}
