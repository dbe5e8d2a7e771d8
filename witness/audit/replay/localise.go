// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/report"
)

// localise reports a root that is not the signed one, and says which entries keep
// it from being so, as far as the log's tiles prove what they should be.
func (r *run) localise(ctx context.Context, root tlog.Hash) error {
	find := r.checks.b1.Findf
	if r.changed {
		find(report.Misbehaviour, "entries between %d and %d are not those that were replayed before", r.start*bundleWidth, r.first)
	}
	if root == r.Tree.Hash {
		return nil
	}
	last := r.start + int64(len(r.bundles))
	if len(r.last) > 0 && r.first < r.Tree.N {
		last++
	}
	found := 0
	for n := r.start; n < last; n++ {
		same, err := r.isProven(n)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			found++
			find(report.Misbehaviour, "the entries hash to %v, and the log's tiles do not show why it is not the signed root: %v", root, err)
			break
		}
		if same {
			continue
		}
		if found++; found > report.MaxFindings {
			find(report.Misbehaviour, "entries from %d on, and perhaps more, are not those of the signed root", n*bundleWidth)
			break
		}
		if err := r.reportWrong(ctx, n); err != nil {
			return err
		}
	}
	if found == 0 {
		find(report.Misbehaviour, "the entries hash to %v, not to the signed root %v", root, r.Tree.Hash)
	}
	return nil
}

// isProven reports whether bundle n, as it was read, is that of the signed root.
func (r *run) isProven(n int64) (bool, error) {
	if i := n - r.start; i < int64(len(r.bundles)) {
		root, err := r.prover.bundle(n)
		return root == r.bundles[i], err
	}
	leaves, err := r.prover.leaves(n, len(r.last))
	return slices.Equal(leaves, r.last), err
}

// reportWrong reads a bundle again and reports where it first differs from what the
// tiles prove. What is right when it is read again has passed through something
// that is broken, and the log is not accused.
func (r *run) reportWrong(ctx context.Context, n int64) error {
	find := r.checks.b1.Findf
	j := &job{item: r.item(n)}
	want, err := r.prover.leaves(n, j.width)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		find(report.Misbehaviour, "an entry of those from %d on is not that of the signed root; the tile over them does not show which: %v", n*bundleWidth, err)
		return nil
	}
	if err := r.readAgain(ctx, newWorker(), j); err != nil && !errors.Is(err, tlogclient.ErrUnproven) {
		return err
	}
	for i := range want {
		if want[i] != j.leaves[i] {
			index := n*bundleWidth + int64(i)
			r.checks.b1.Find(report.Finding{Result: report.Misbehaviour, Index: &index,
				Text: fmt.Sprintf("entry %d is not that of the signed root", index)})
			return nil
		}
	}
	find(report.Failed, "entries from %d on were not the same when they were read again", n*bundleWidth)
	return nil
}
