// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/replay"
	"example.org/sumlog/witness/audit/site"
)

const bundle = 256

// layouts compares the entries of the sample with the files that they were not read
// from: of the other layout, and of the log as a proxy carries it (B3).
func (a *auditor) layouts(ctx context.Context) error {
	both := a.site.Tiles != nil && a.site.Database != nil
	if !both {
		a.b3.Skip("the log is published in one layout")
	}
	if !both && a.site.Carried == nil || a.c.Sample == 0 {
		return nil
	}
	var g errgroup.Group
	g.SetLimit(a.c.Parallel)
	done := int64(-1) // a bundle in two spans is compared once where they meet
	for _, s := range a.window {
		for n := s.from / bundle; n*bundle < s.to; n++ {
			if n == done {
				continue
			}
			done = n
			g.Go(func() error { return a.bundle(ctx, n, both) })
		}
	}
	return g.Wait()
}

// bundle compares bundle n. Its error is that of the log's entries.
func (a *auditor) bundle(ctx context.Context, n int64, both bool) error {
	first, last := n*bundle, min((n+1)*bundle, a.tree.N)
	var want []replay.Entry
	for e, err := range a.c.Entries(ctx, first, last) {
		if err != nil {
			return fmt.Errorf("entries %d to %d: %w", first, last-1, err)
		}
		if !hasText(e.Text) {
			return nil // that is found elsewhere
		}
		e.Text = bytes.Clone(e.Text)
		want = append(want, e)
	}
	if both {
		a.same(ctx, a.site.Place, n, want, nil)
	}
	if a.site.Carried != nil {
		a.same(ctx, site.CarriedAt(a.site.Key), n, want, a.entries2)
	}
	return ctx.Err()
}

// same compares the file with the entries of bundle n at a place below the site. The
// surface is nil where there has to be such a file; what a proxy carries does not
// count as a layout.
func (a *auditor) same(ctx context.Context, place string, n int64, want []replay.Entry, s *surface) {
	first := want[0].Index
	an, got, err := a.data(ctx, place, n, len(want))
	switch {
	case errors.Is(err, tlogclient.ErrEntries):
		a.accuse(ctx, a.b3, entry{Entry: want[0]}, a.observed(an, evidence.Data), "%v", err)
		return
	case err != nil && an.absent() && s != nil:
		s.absent(func() { a.failed(ctx, a.b3, first, "%v", err) })
		return
	case err != nil:
		a.failed(ctx, a.b3, first, "%v", err)
		return
	}
	if s != nil {
		s.here()
	} else {
		a.b3.Add(int64(len(want)))
	}
	for i, e := range want {
		if !bytes.Equal(got[i], e.Text) {
			a.accuse(ctx, a.b3, entry{Entry: e}, a.observed(an, evidence.Data), "%s has another entry %d than the bundle that is in the tree", an.path, e.Index)
			break
		}
	}
}

// data reads the file of the go command's layout with the entries of bundle n, the
// full one if there is none of the width.
func (a *auditor) data(ctx context.Context, place string, n int64, width int) (answer, [][]byte, error) {
	t := tlog.Tile{H: 8, L: -1, N: n, W: width}
	for {
		an, err := a.get(ctx, place+t.Path(), int64(t.W)*(1<<16+1))
		if err != nil {
			return an, nil, err
		}
		if !an.absent() {
			got, err := tlogclient.ParseData(an.body, t.W)
			if err != nil {
				err = fmt.Errorf("%s: %w", an.path, err)
			}
			return an, got, err
		}
		if t.W == bundle {
			return an, nil, fmt.Errorf("%s: %d", an.path, an.status)
		}
		t.W = bundle
	}
}

// hasText reports whether the go command's layout has a form for an entry: lines,
// none of them empty.
func hasText(text []byte) bool {
	return bytes.HasSuffix(text, []byte("\n")) && !bytes.Contains(text, []byte("\n\n")) && text[0] != '\n'
}
