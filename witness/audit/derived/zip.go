// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"context"
	"errors"
	"io"

	"golang.org/x/mod/module"

	"example.org/sumlog/internal/modzip"
	"example.org/sumlog/internal/record"
)

// A moduleZip is what the auditor wants to know of the zip of a module version.
type moduleZip struct {
	h1    [32]byte
	goMod []byte // of the root; nil if there is none
	rule  error  // of module zips that it breaks; such a zip has a hash all the same
}

// scanZip reads the zip of m. Its error is a *modzip.Error for a file that has no
// hash, or may have one that nobody should pay for.
func scanZip(ctx context.Context, f io.ReaderAt, size int64, m module.Version) (mz moduleZip, err error) {
	z, err := modzip.Open(f, size)
	if err == nil {
		err = z.Scan(ctx, m)
	}
	if err != nil {
		return mz, err
	}
	if mz.rule = z.Check(ctx); mz.rule != nil && !errors.As(mz.rule, new(*modzip.Error)) {
		return mz, mz.rule
	}
	h1, goMod, err := z.Hash(ctx)
	if err != nil {
		return mz, err
	}
	mz.goMod = goMod
	mz.h1, _ = record.ParseH1(h1)
	return mz, nil
}
