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
	"sync/atomic"
	"syscall"

	"example.org/sumlog/internal/outbound"
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

// A reuser is a source that can read into memory that the caller has.
type reuser interface {
	readInto(ctx context.Context, path string, limit int64, into []byte) ([]byte, error)
}

// readInto reads as s.Read does, into into as far as s can.
func readInto(ctx context.Context, s Source, path string, limit int64, into []byte) ([]byte, error) {
	if r, ok := s.(reuser); ok {
		return r.readInto(ctx, path, limit, into)
	}
	return s.Read(ctx, path, limit)
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
			return nil, fmt.Errorf("%s: want file:///DIRECTORY", outbound.Redact(u))
		}
		return Dir(u.Path), nil
	}
	return h.Source(where)
}

// Dir returns the file tree at dir. Symbolic links out of it are not followed.
func Dir(dir string) Source { return &dirSource{dir: dir} }

type dirSource struct {
	dir  string
	last [4]atomic.Pointer[openDir]
	next atomic.Uint32 // of last, to be replaced
}

// An openDir is one of the directories that were read from last: entries and hashes
// are read in turns. Walking there from the top costs more than hashing what a
// bundle has.
type openDir struct {
	top  fs.FileInfo // of the tree
	path string
	root *os.Root
}

func (d *dirSource) String() string { return d.dir }

// Read implements Source.
func (d *dirSource) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	return d.readInto(ctx, path, limit, nil)
}

// readInto looks at dir anew, so that a tree that was replaced is seen. A tree that
// is missing altogether, as when a disk is not mounted, does not make its files
// absent.
func (d *dirSource) readInto(ctx context.Context, path string, limit int64, into []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := d.open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	hint := int64(0)
	if fi, err := f.Stat(); err == nil {
		hint = fi.Size()
	}
	data, err := readAll(f, limit, hint, into)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

func (d *dirSource) open(path string) (*os.File, error) {
	top, err := os.Stat(d.dir)
	if err != nil {
		return nil, fmt.Errorf("no directory: %v", err)
	}
	dir, name := ".", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 && fs.ValidPath(path) {
		dir, name = path[:i], path[i+1:]
	}
	slot := -1
	for i := range d.last {
		o := d.last[i].Load()
		if o == nil || o.path != dir {
			continue
		}
		if slot = i; os.SameFile(o.top, top) {
			if f, err := openRegular(o.root, name); err == nil {
				return f, nil
			}
		}
		// That directory may not be the one of this name any more.
	}
	root, err := os.OpenRoot(d.dir)
	if err != nil {
		return nil, fmt.Errorf("no directory: %v", err)
	}
	defer root.Close()
	f, err := openRegular(root, path)
	if err != nil || dir == "." {
		return f, err
	}
	if sub, err := root.OpenRoot(filepath.FromSlash(dir)); err == nil {
		// Who still reads from the one before either has its file or gets an
		// error, and comes here.
		if slot < 0 {
			slot = int(d.next.Add(1) % uint32(len(d.last)))
		}
		if old := d.last[slot].Swap(&openDir{top, dir, sub}); old != nil {
			old.root.Close()
		}
	}
	return f, nil
}

// openRegular opens a regular file for reading. O_NONBLOCK: opening a pipe must
// not wait for its writer.
func openRegular(root *os.Root, path string) (*os.File, error) {
	f, err := root.OpenFile(filepath.FromSlash(path), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENOTDIR) {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// readAll reads up to limit bytes, into into as far as they fit; more is an error.
// The hint of how many there are is not believed beyond 256 KiB.
func readAll(r io.Reader, limit, hint int64, into []byte) ([]byte, error) {
	data := into[:0]
	if want := min(max(hint, 0), limit, 256<<10) + 512; int64(cap(data)) < want {
		data = make([]byte, 0, want)
	}
	for int64(len(data)) <= limit {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err == io.EOF && int64(len(data)) <= limit {
			return data, nil
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
}
