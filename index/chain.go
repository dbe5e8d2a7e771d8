// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"fmt"
	"hash/crc32"
	"io"

	"example.org/sumlog/index/internal/buckets"
	"example.org/sumlog/internal/sqlite"
)

// The table paths has the path of each module, in order, for those who ask for all
// below one. Each row has a sum over its path and the next one, so that whoever goes
// from row to row knows that none is missing between them. It begins with a row of
// the empty path, which is also what follows the last one.

// linkSum is the sum of the row of path when next follows.
func linkSum(path, next string) int64 {
	b := make([]byte, 0, 512)
	b = append(append(b, path...), 0)
	return int64(crc32.Checksum(append(b, next...), castagnoli))
}

// errLink is the error of rows that do not follow one another.
func errLink(path string) error {
	return fmt.Errorf("%w: the paths at %q", buckets.ErrDamaged, path)
}

// A chain is the statements of the table paths.
type chain struct {
	before *sqlite.Stmt // the row before a path
	from   *sqlite.Stmt // the rows from a path on
	put    *sqlite.Stmt
}

// walk calls each with the paths from least on, until it returns false.
func (c *chain) walk(least string, each func(path string) bool) error {
	begin := "" // the row of the empty path is before all
	err := c.before.Run(func(v []sqlite.Value) error { return sqlite.Take(v[0], &begin) }, least)
	if err != nil {
		return err
	}
	if begin >= least {
		return errLink(begin)
	}
	path, sum, rows, enough := begin, int64(0), 0, false
	err = c.from.Run(func(v []sqlite.Value) error {
		var next string
		var nextSum int64
		if err := scan2(v, &next, &nextSum); err != nil {
			return err
		}
		rows++
		switch {
		case rows == 1 && next != begin,
			rows == 2 && next < least,
			rows > 1 && (next <= path || sum != linkSum(path, next)):
			return errLink(path)
		}
		path, sum = next, nextSum
		if enough = rows > 1 && !each(path); enough {
			return io.EOF
		}
		return nil
	}, begin)
	if err == nil && !enough && (rows == 0 || sum != linkSum(path, "")) {
		err = errLink(path)
	}
	return err
}

// insert adds path, which must be new.
func (c *chain) insert(path string) error {
	before, next := "", ""
	if err := c.before.Run(func(v []sqlite.Value) error { return sqlite.Take(v[0], &before) }, path); err != nil {
		return err
	}
	if err := c.walk(path, func(p string) bool {
		next = p
		return false
	}); err != nil {
		return err
	}
	if next == path {
		return errLink(path)
	}
	if err := c.put.Run(nil, path, linkSum(path, next)); err != nil {
		return err
	}
	return c.put.Run(nil, before, linkSum(before, path))
}
