// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/log"
)

// Names below the data directory; all but the guard's are not the log's.
const (
	guardFile   = "guard"
	indexFile   = "index.db"
	mirrorDir   = "mirror"
	upstreamDir = "upstream"
	evidenceDir = "evidence"
)

// closeToOthers makes evidence/ and upstream/ this user's alone, where they are there:
// evidence names private modules, and which tiles of the public database were asked
// for shows what the house builds. (The store does so for private modules; index, log
// and archive hold what is served to everybody.)
func closeToOthers(root *os.Root) error {
	for _, dir := range []string{evidenceDir, upstreamDir} {
		fi, err := root.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && fi.Mode().Perm() == 0o700 {
			continue
		}
		if err != nil {
			return err
		}
		if err := root.Chmod(dir, 0o700); err != nil && !errors.Is(err, syscall.EROFS) {
			return err
		}
	}
	return nil
}

// openLog opens the log alone, for commands that sign nothing.
func openLog(dir, guard string, logger *slog.Logger) (*log.Log, error) {
	l, err := log.Open(log.Config{Dir: dir, Guard: guard, Logger: logger, Seen: seenTrees(dir, logger)})
	return l, hintOpen(err, dir)
}

// hintOpen adds what helps when a log could not be opened.
func hintOpen(err error, dir string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, log.ErrBackup):
		return cli.Hint(err, "make a data directory of it with sumlog restore %s -dir DIR, or look at it with sumlog serve -read-only -dir %s", dir, dir)
	case errors.Is(err, durable.ErrLocked):
		return cli.Hint(err, "a sumlog process is working on it, one at a time; sumlog check -dir %s works beside it", dir)
	case errors.Is(err, log.ErrUnwritable):
		return cli.Hint(err, "nothing was signed, and nothing is known to be wrong with what is there: look at its mount, owner and flags")
	case noGuard(err) != "":
		return cli.Hint(err, "%s may be the newest copy there is: restore no older one in its place. Look for the guard first (is its disk mounted?); "+
			"if it is lost, sumlog guard renew -dir %s -guard %s checks everything and makes it again", dir, dir, noGuard(err))
	case errors.Is(err, log.ErrAhead):
		return hintAhead(err)
	case errors.Is(err, log.ErrUnsafe):
		return cli.Hint(err, "nothing was signed; do not delete anything, and put no older copy in its place: look at what changed")
	case errors.Is(err, os.ErrNotExist):
		return cli.Hint(fmt.Errorf("%s holds no log: %w", dir, err), "create one with sumlog init -dir %s -name NAME", dir)
	}
	return err
}

// noGuard returns the path of the guard that err says is missing or damaged.
func noGuard(err error) string {
	if e, ok := errors.AsType[*log.NoGuardError](err); ok {
		return e.Path
	}
	return ""
}

// hintAhead adds what is left to do about a log whose key has signed more than
// the directory has.
func hintAhead(err error) error {
	if !errors.Is(err, log.ErrAhead) {
		return err
	}
	return cli.Hint(err, "end the other process, or put the newest copy of the data directory back; if that is lost, begin a new log under another name")
}
