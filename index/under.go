// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// errMany is the error of sortUnder when it would have to sort too many.
var errMany = errors.New("too many entries to sort")

// sortUnder finds the entries under q.prefix by name and sorts them by index.
func (r *reader) sortUnder(q feedQuery, size int64) (page []byte, err error) {
	if err := r.start(); err != nil {
		return nil, err
	}
	// Left open, it would keep the write-ahead log from being used again.
	defer func() {
		if e := r.end(); err == nil {
			err = e
		}
	}()
	type found struct {
		path string
		Version
	}
	var all []found
	n := 0
	add := func(path string) error {
		vs, err := r.versionsOf(path, size)
		n += len(vs)
		for _, v := range vs {
			if v.Index >= q.first && v.Time.UnixMicro() >= q.since {
				all = append(all, found{path, v})
			}
		}
		return err
	}
	if err := add(q.prefix); err != nil {
		return nil, err
	}
	below := q.prefix + "/"
	var failed error
	err = r.chain.walk(below, func(path string) bool {
		if !strings.HasPrefix(path, below) {
			return false
		}
		failed = add(path)
		return failed == nil && n <= maxUnder
	})
	if err == nil {
		err = failed
	}
	if err == nil && n > maxUnder {
		err = errMany
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(a.Index, b.Index) })
	for _, f := range all[:min(q.limit, len(all))] {
		page = appendLine(page, f.path, f.Version.Version, f.Time.UnixMicro())
	}
	return page, nil
}
