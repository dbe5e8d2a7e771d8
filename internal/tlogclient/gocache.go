// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// GoCache returns what the go command keeps of the checksum database called name,
// as a log of layout [Database]: latest, the head that it believes, below the
// first directory of GOPATH; tile/8/… and lookup/…, as far as it has needed them,
// below GOMODCACHE. What it has not is fs.ErrNotExist.
//
// The go command writes these files in place, under locks, so they are read under
// locks too.
func GoCache(gomodcache, gopath, name string) (Source, error) {
	if local, err := filepath.Localize(name); err != nil || local == "." {
		return nil, fmt.Errorf("%q cannot be a checksum database", name)
	}
	return &goCache{
		name:   name,
		latest: filepath.Join(gopath, "pkg", "sumdb"),
		cache:  filepath.Join(gomodcache, "cache", "download", "sumdb"),
	}, nil
}

type goCache struct {
	name          string
	latest, cache string // directories
}

func (c *goCache) String() string { return "go command's cache of " + c.name }

// Read implements Source.
func (c *goCache) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	dir := c.cache
	if path == Database.head() {
		dir = c.latest
	} else if !strings.HasPrefix(path, "tile/") && !strings.HasPrefix(path, "lookup/") {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := openRegular(root, c.name+"/"+path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := lockShared(ctx, f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	data, err := readAll(f, limit, 0, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(data) == 0 { // as it is between its making and its locking
		return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
	}
	return data, nil
}

// lockShared waits for up to 10 s, and for whoever is locked out, until f, which
// closing it unlocks, can be read. On file systems without locks it does not wait.
func lockShared(ctx context.Context, f *os.File) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, errors.New("locked by another process"))
	defer cancel()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EWOULDBLOCK):
		case errors.Is(err, syscall.EINTR):
			continue
		default:
			return nil // locked, or no locks here
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
