// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/witness"
	"example.org/sumlog/witness/state"
)

// exitCode says what an error means to the caller of the process.
func exitCode(err error) int {
	if errors.Is(err, state.ErrUnsafe) || errors.Is(err, durable.ErrLocked) {
		return cli.Unsafe
	}
	return 0
}

// hintOpen adds to the error of opening the state in dir what helps.
func hintOpen(err error, dir string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, durable.ErrLocked):
		return cli.Hint(err, "a sumwitness process is working on %s; one at a time", dir)
	case errors.Is(err, state.ErrUnsafe) && errors.Is(err, fs.ErrNotExist):
		return cli.Hint(err, "nothing was cosigned; pass the same -guard FILE as to sumwitness init; if it is lost, do not make a new one, but see sumwitness help import")
	case errors.Is(err, state.ErrUnsafe):
		return cli.Hint(err, "nothing was cosigned; put the newest database back, or import a newer export; do not make a new guard")
	case errors.Is(err, fs.ErrNotExist):
		return cli.Hint(fmt.Errorf("%s holds no witness: %w", dir, err), "create one with sumwitness init -dir %s -name NAME", dir)
	}
	return err
}

// openStore opens the state to cosign from it.
func (c *call) openStore(logger *slog.Logger) (*state.Store, error) {
	if _, err := os.Lstat(filepath.Join(c.opts.dir, importing)); err == nil {
		return nil, cli.Hint(fmt.Errorf("%s: %w: an import did not come to its end", c.opts.dir, state.ErrUnsafe),
			"run the same sumwitness import again")
	}
	return c.openState(logger)
}

func (c *call) openState(logger *slog.Logger) (*state.Store, error) {
	if err := c.absoluteGuard(); err != nil {
		return nil, err
	}
	store, err := state.Open(state.Config{Dir: c.opts.dir, Guard: c.opts.guard, Logger: logger})
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, state.ErrUnsafe) {
		// Where there is a key, there was a state: with an empty one it could
		// contradict itself.
		if _, kerr := os.Lstat(filepath.Join(c.opts.dir, keyFile)); kerr == nil {
			err = fmt.Errorf("%s: %w: a key and no database", c.opts.dir, state.ErrUnsafe)
		}
	}
	return store, hintOpen(err, c.opts.dir)
}

// openWitness opens the witness for a command other than serve.
func (c *call) openWitness(logger *slog.Logger) (w *witness.Witness, closing func() error, err error) {
	cosigners, _, err := c.cosigners()
	if err != nil {
		return nil, nil, err
	}
	store, err := c.openStore(logger)
	if err != nil {
		return nil, nil, err
	}
	w, err = witness.New(witness.Config{Name: cosigners[0].Key().Name(), Cosigners: cosigners, Store: store, Logger: logger})
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return w, func() error { return errors.Join(w.Close(), store.Close()) }, nil
}
