// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/sqlite"
)

// Create makes the state of a new witness in the directory dir, which is made
// where it is missing and may hold other files, and its guard at the path guard,
// or in dir if that is "". The guard is there before the state: what a crash
// leaves is a guard of nothing, which the next Create replaces. It refuses the
// guard of a witness that has done anything.
func Create(dir, guard string) error {
	root, err := openDir(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	unlock, err := durable.Lock(root, lockFile)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := root.Lstat(dbFile); err == nil {
		return fmt.Errorf("%s: %w", dir, ErrExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := durable.Sweep(root, "."); err != nil {
		return err
	}
	path := guardPath(dir, guard)
	if err := admits(path); err != nil {
		return err
	}
	m := mark{id: rand.Text()}
	if err := createGuard(path, m); err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	// Crash point: a guard of generation 0 and no state.
	temp := durable.TempPrefix + rand.Text()
	if err := build(filepath.Join(dir, temp), m); err != nil {
		root.Remove(temp)
		return err
	}
	if err := syncFile(root, temp); err != nil {
		return err
	}
	if err := root.Rename(temp, dbFile); err != nil {
		return err
	}
	return durable.SyncDir(root, ".")
}

// openDir opens dir, made durably where it is missing.
func openDir(dir string) (*os.Root, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	above, err := os.OpenRoot("/")
	if err != nil {
		return nil, err
	}
	defer above.Close()
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := durable.MkdirAll(above, strings.TrimPrefix(dir, "/")); err != nil {
			return nil, err
		}
	}
	return os.OpenRoot(dir)
}

// admits reports why there may be no new state under the guard at path, or nil.
func admits(path string) error {
	g, err := openGuard(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer g.close()
	if g.mark.generation > 0 {
		return fmt.Errorf("%w: the guard %s belongs to a witness that has cosigned", ErrUnsafe, path)
	}
	return nil
}

// build makes an empty database.
func build(path string, m mark) error {
	// Without a write-ahead log until it is complete: the rename takes one file.
	c, err := sqlite.Open(path, "rwc", "journal_mode=DELETE", "synchronous=FULL")
	if err != nil {
		return err
	}
	err = c.Exec(fmt.Sprintf("BEGIN; %s PRAGMA user_version=%d; COMMIT", schema, schemaVersion))
	if err == nil {
		err = c.Run("INSERT INTO meta (one, id, generation, digest, previous) VALUES (1, ?, ?, ?, ?)", nil,
			m.id, m.generation, m.digest[:], m.digest[:])
	}
	if err == nil {
		err = c.Exec("PRAGMA journal_mode=WAL")
	}
	return errors.Join(err, c.Close())
}

func syncFile(root *os.Root, name string) error {
	f, err := root.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
