// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package engine starts Tessera's POSIX driver as the log runs it. It is a package
// of its own so that a benchmark can compare the log with Tessera alone under the
// same settings.
//
// Tessera gets a key that nobody knows: what it signs is its own scratch, which
// its garbage collection of partial tiles reads.
package engine

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

// Batches: an append waits at most BatchAge for company. Larger batches would
// only grow memory: at BatchSize a batch costs about as much as one entry.
const (
	BatchSize = 1024
	BatchAge  = 5 * time.Millisecond
)

// Start starts Tessera on the tree in dir, until ctx ends. The function that it
// returns adds one entry.
func Start(ctx context.Context, dir string) (tessera.AddFn, error) {
	skey, _, err := note.GenerateKey(rand.Reader, "scratch")
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err != nil {
		return nil, err
	}
	opts := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCheckpointInterval(10*time.Second).
		WithCheckpointRepublishInterval(0).
		WithBatching(BatchSize, BatchAge)
	a, _, _, err := tessera.NewAppender(ctx, driver, opts)
	if err != nil {
		return nil, err
	}
	return a.Add, nil
}
