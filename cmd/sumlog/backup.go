// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/log"
)

var cmdBackup = &command{
	Name:  "backup",
	Args:  "DEST",
	Short: "copy a data directory, beside a running server",
	Long: `
Backup copies the log as of its newest publication, with key, archive, settings
and the bytes of all modules, into the new directory DEST. A server may be
running and admitting meanwhile. DEST holds the signing key: keep it as safe as
DIR. The index is not copied; it is derived.

	sumlog backup -dir DIR /backup/sumlog-2026-11-22
`,
	Flags: []string{"dir", "guard", "config"},
	NArgs: cli.Exactly(1),
	Run: func(ctx context.Context, c *call) error {
		size, err := c.replicate(ctx, "backing up", c.opts.dir, c.Args[0], log.BackupConfig{FromGuard: c.opts.guard}, log.Backup)
		if err != nil {
			return hintOpen(err, c.opts.dir)
		}
		_, err = fmt.Fprintf(c.Stdout, "backed up: %s size %d\n", c.Args[0], size)
		return err
	},
}

var cmdRestore = &command{
	Name:  "restore",
	Args:  "DEST",
	Short: "make a data directory from a backup",
	Long: `
Restore makes the data directory DIR, which must not exist or be empty, from the
backup DEST. It refuses, with exit code 3, what it can see would roll the log
back: a DIR that holds a log, or a guard outside DIR that has seen more than the
backup has.

If the log has published anything after the backup was made, a restored one
must not be started: it would sign a second history. Its name is then burnt;
begin a new log under another name.

	sumlog restore /backup/sumlog-2026-11-22 -dir DIR
`,
	Flags: []string{"dir", "guard"},
	NArgs: cli.Exactly(1),
	Run:   runRestore,
}

func runRestore(ctx context.Context, c *call) error {
	from := c.Args[0]
	// The backup knows where the guard is kept, if not in DIR.
	if err := c.guardOf(from); err != nil {
		return err
	}
	size, err := c.replicate(ctx, "restoring", from, c.opts.dir, log.BackupConfig{Guard: c.opts.guard}, log.Restore)
	switch {
	case errors.Is(err, log.ErrUnsafe):
		return cli.Hint(err, "two histories under one name are a fork, which every auditor will show; nothing was changed")
	case errors.Is(err, log.ErrExists):
		return cli.Hint(err, "restore into a directory that does not exist yet")
	case err != nil:
		return err
	}
	fmt.Fprintf(c.Stderr, "sumlog: warning: if this log ever published more than size %d, do not start it: it would sign a second history\n", size)
	_, err = fmt.Fprintf(c.Stdout, "restored: %s size %d\n", c.opts.dir, size)
	return err
}

// guardOf takes the guard's place from the settings in a backup, unless it is
// given.
func (c *call) guardOf(dir string) error {
	if c.From["guard"] != "" {
		return c.absoluteGuard()
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	data, err := root.ReadFile(settingsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	keys, err := program.ParseFile(data)
	if err != nil {
		return fmt.Errorf("%s: %w", settingsFile, err)
	}
	for _, k := range keys {
		if k.Name == "guard" {
			c.opts.guard = k.Value
		}
	}
	return nil
}

// replicate runs log.Backup or log.Restore with all that belongs to the other
// parts.
func (c *call) replicate(ctx context.Context, what, from, to string, bc log.BackupConfig,
	do func(context.Context, log.BackupConfig) (int64, error)) (int64, error) {
	logger := c.logger()
	m := c.Meter(what+" log", logger)
	defer m.End()
	bc.From, bc.To, bc.Progress = from, to, m.Set
	bc.Also = func(ctx context.Context, root *os.Root) error {
		m.End()
		files := c.Meter(what+" modules", logger)
		defer files.End()
		return copyParts(ctx, from, root, files.Set)
	}
	return do(ctx, bc)
}

// parts are what a backup holds beside the log. The memory of the public
// database (upstream) is copied head first: tiles that are newer than the head
// do no harm.
var parts = []string{settingsFile, evidenceDir, upstreamDir, mirrorDir}

// copyParts copies the parts of the data directory dir to root.
func copyParts(ctx context.Context, dir string, to *os.Root, progress func(done, total int64)) error {
	from, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer from.Close()
	var names []string
	for _, part := range parts {
		list, err := filesBelow(from, part)
		if err != nil {
			return err
		}
		names = append(names, list...)
	}
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := copyFile(from, to, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		progress(int64(i+1), int64(len(names)))
	}
	return nil
}

// filesBelow lists the finished files that name is or holds. What is being
// made has a name that begins with durable.TempPrefix, or is in a directory
// .tmp.
func filesBelow(root *os.Root, name string) (names []string, err error) {
	err = fs.WalkDir(root.FS(), name, func(name string, d fs.DirEntry, err error) error {
		base := path.Base(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it went away, or was never there
		case err != nil:
			return err
		case d.IsDir() && base == ".tmp":
			return fs.SkipDir
		case d.Type().IsRegular() && !strings.HasPrefix(base, durable.TempPrefix):
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

// copyFile copies one file durably. One that went away meanwhile was moved
// aside by the mirror because it had rotted.
func copyFile(from, to *os.Root, name string) error {
	src, err := from.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer src.Close()
	fi, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := durable.Create(to, path.Dir(name))
	if err != nil {
		return err
	}
	defer dst.Abort()
	// Settings may hold the password of an upstream.
	if err := dst.Chmod(fi.Mode().Perm()); err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	return dst.Commit(name)
}
