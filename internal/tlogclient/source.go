// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A Source is where the files of a log are.
type Source interface {
	// Read returns the file at path, which has no leading slash; a file of
	// more than limit bytes is an error, wrapping ErrTooLarge. That there is
	// no such file, and only that, is fs.ErrNotExist.
	Read(ctx context.Context, path string, limit int64) ([]byte, error)

	// String returns what names the source in logs, without secrets.
	String() string
}

// ErrTooLarge is wrapped by the error of an answer beyond its limit.
var ErrTooLarge = errors.New("too large")

// Open returns the source at where: an http://, https:// or file:// URL, or the
// path of a directory. It reads nothing.
func Open(h *HTTP, where string) (Source, error) {
	if !strings.Contains(where, "://") {
		return Dir(where), nil
	}
	u, err := url.Parse(where)
	if err == nil && u.Scheme == "file" {
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("%s: want file:///DIRECTORY", u.Redacted())
		}
		return Dir(u.Path), nil
	}
	return h.Source(where)
}

// Dir returns the file tree at dir. Symbolic links out of it are not followed.
func Dir(dir string) Source { return dirSource(dir) }

type dirSource string

func (d dirSource) String() string { return string(d) }

// Read opens dir anew, so that a tree that was replaced is seen. A tree that is
// missing altogether, as when a disk is not mounted, does not make its files
// absent.
func (d dirSource) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return nil, fmt.Errorf("no directory: %v", err)
	}
	defer root.Close()
	// O_NONBLOCK: opening a pipe must not wait for its writer.
	f, err := root.OpenFile(filepath.FromSlash(path), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENOTDIR) {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	data, err := readAll(f, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// readAll reads up to limit bytes; more is an error.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return data, nil
}
