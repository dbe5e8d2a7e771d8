// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/witness/state"
)

var cmdExport = &command{
	Name:  "export",
	Args:  "[FILE]",
	Short: "write all that the witness must not forget to a file",
	Long: `
Export writes all logs, with the newest checkpoint of each that was cosigned, to
FILE, for import. It works beside a running server, and copies no keys.

With -evidence it writes the evidence against logs, a file each, into the
directory DEST instead, and prints their names. Each says of itself what it
proves, and can be checked without this witness.

	sumwitness export -dir DIR /backup/sumwitness-2026-11-22
	sumwitness export -dir DIR -evidence evidence
`,
	Flags: []string{"dir", "evidence"},
	NArgs: func(n int) bool { return n <= 1 },
	Run:   runExport,
}

func runExport(_ context.Context, c *call) error {
	if (len(c.Args) == 1) == (c.opts.evidence != "") {
		return cli.Usagef("export needs a FILE, or -evidence DEST").Hint("sumwitness help export")
	}
	v, err := state.OpenView(c.opts.dir)
	if err != nil {
		return hintOpen(err, c.opts.dir)
	}
	defer v.Close()
	if c.opts.evidence != "" {
		return c.exportEvidence(v)
	}
	root, err := os.OpenRoot(filepath.Dir(c.Args[0]))
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := durable.Create(root, ".")
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := v.Export(f); err != nil {
		return err
	}
	if err := f.Commit(filepath.Base(c.Args[0])); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "exported: %s\n", c.Args[0])
	return err
}

// exportEvidence writes a file for each piece of evidence. Its name follows from
// its content, so that the next export writes the same again.
func (c *call) exportEvidence(v *state.View) error {
	list, err := v.Evidence()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.opts.evidence, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(c.opts.evidence)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, e := range list {
		origin, file := sha256.Sum256([]byte(e.Origin)), sha256.Sum256(e.File)
		name := fmt.Sprintf("%x-%x.txt", origin[:6], file[:6])
		if err := durable.WriteFile(root, name, e.File, 0o644); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(c.Stdout, "%s\t%s\n", filepath.Join(c.opts.evidence, name), e.Origin); err != nil {
			return err
		}
	}
	return nil
}

var cmdImport = &command{
	Name:  "import",
	Args:  "FILE",
	Short: "take over what another witness must not forget",
	Long: `
Import adds the logs and checkpoints in FILE, which export wrote, to the state
in DIR. Nothing is rolled back: it refuses, with exit code 3, a FILE with a
checkpoint older than the one that DIR has of the same log, and changes nothing
then.

A DIR that has the witness's key and neither a database nor a guard gets both:
that is how a witness moves to another machine. The witness must not have run
after the export was made; its first cosignature here would contradict what it
cosigned there.

No server may be running on DIR.

	sumwitness import -dir DIR /backup/sumwitness-2026-11-22
`,
	Flags: []string{"dir", "guard"},
	NArgs: cli.Exactly(1),
	Run:   runImport,
}

func runImport(ctx context.Context, c *call) error {
	f, err := os.Open(c.Args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	if err := c.absoluteGuard(); err != nil {
		return err
	}
	fresh, err := c.beginImport()
	if err != nil {
		return hintOpen(err, c.opts.dir)
	}
	store, err := c.openState(c.Logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	logs, heads, err := store.Import(ctx, f)
	if err = errors.Join(err, store.Close()); err != nil {
		return hintOpen(err, c.opts.dir)
	}
	if fresh {
		if err := c.endImport(); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(c.Stdout, "imported: %d logs, %d checkpoints\n", logs, heads)
	return err
}

// importing is in a data directory whose state was made by an import that did not
// come to its end. Nothing may be cosigned from it: it lacks what was to be
// imported.
const importing = "importing"

// beginImport makes the state of a data directory that has a key and no state.
func (c *call) beginImport() (fresh bool, err error) {
	root, err := os.OpenRoot(c.opts.dir)
	if err != nil {
		return false, err
	}
	defer root.Close()
	if _, err := root.Lstat(keyFile); err != nil {
		return false, err
	}
	_, err = root.Lstat(importing)
	fresh = err == nil
	_, err = root.Lstat(databaseFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return fresh, err
	}
	if err := durable.WriteFile(root, importing, nil, 0o600); err != nil {
		return false, err
	}
	// Crash point: from here to endImport serve refuses, and import goes on.
	if err := state.Create(c.opts.dir, c.opts.guard); err != nil {
		return false, errors.Join(err, root.Remove(importing))
	}
	return true, nil
}

func (c *call) endImport() error {
	root, err := os.OpenRoot(c.opts.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Remove(importing); err != nil {
		return err
	}
	return durable.SyncDir(root, ".")
}
