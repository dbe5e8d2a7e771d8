// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"example.org/sumlog/internal/outbound"
)

// A File is what Download writes to: an *os.File or a *durable.File.
type File interface {
	io.WriteSeeker
	Truncate(size int64) error
}

// A Source is one upstream. The path that its methods take is relative to it,
// escaped as module paths are, without a leading slash:
// "github.com/!burnt!sushi/toml/@v/v1.6.0.info".
type Source struct {
	client *Client
	url    *url.URL      // without user
	user   *url.Userinfo // sent to url's host only
}

// Source returns the upstream at u, an entry of a [List] or another URL that the
// operator gave: its host may be at an internal address.
func (c *Client) Source(u *url.URL) *Source {
	c.dialer.Name(u)
	return c.unnamed(u)
}

// unnamed returns the upstream at u, which must be at a public address unless
// its host was named otherwise.
func (c *Client) unnamed(u *url.URL) *Source {
	bare := *u
	bare.User = nil
	return &Source{c, &bare, u.User}
}

// String returns the URL of the source without user and password.
func (s *Source) String() string { return outbound.Redact(s.url) }

// Get returns what the source has at path, at most limit bytes of it: more is
// an error.
func (s *Source) Get(ctx context.Context, path string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.client.total)
	defer cancel()
	var buf bytes.Buffer
	err := s.fetch(ctx, path, limit, func() (io.Writer, error) {
		buf.Reset()
		return &buf, nil
	})
	if err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// Download makes f hold what the source has at path, at most limit bytes. After
// an error f holds anything.
func (s *Source) Download(ctx context.Context, path string, f File, limit int64) error {
	return s.fetch(ctx, path, limit, func() (io.Writer, error) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		return f, f.Truncate(0)
	})
}

func (s *Source) fetch(ctx context.Context, path string, limit int64, begin func() (io.Writer, error)) error {
	// No path that is not clean reaches an upstream: a server that resolves
	// "..", or a cache before it, would answer for another module.
	if !fs.ValidPath(path) || path == "." {
		return &fs.PathError{Op: "read", Path: path, Err: fs.ErrInvalid}
	}
	u := *s.url
	u.Path = strings.TrimSuffix(u.Path, "/") + "/" + path
	u.RawPath = strings.TrimSuffix(s.url.EscapedPath(), "/") + "/" + (&url.URL{Path: path}).EscapedPath()
	if u.Scheme == "file" {
		return readFile(s.url.Path, path, outbound.Redact(&u), limit, begin)
	}
	user := s.user
	if user == nil {
		user = s.client.credentials.For(&u)
	}
	return s.client.get(ctx, &u, user, limit, begin)
}

// readFile reads the file path of the tree dir. A tree that is missing
// altogether, as when a disk is not mounted, does not make its files absent.
func readFile(dir, path, name string, limit int64, begin func() (io.Writer, error)) error {
	fail := func(err error) error { return &Error{URL: name, Err: err} }
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fail(fmt.Errorf("no directory: %v", err))
	}
	defer root.Close()
	// O_NONBLOCK: opening a pipe must not wait for its writer.
	f, err := root.OpenFile(filepath.FromSlash(path), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		return &Error{URL: name, Status: http.StatusNotFound}
	case errors.Is(err, fs.ErrPermission):
		return &Error{URL: name, Status: http.StatusForbidden}
	case err != nil:
		return fail(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	if !fi.Mode().IsRegular() {
		return fail(errors.New("not a regular file"))
	}
	w, err := begin()
	if err != nil {
		return err
	}
	return copyBody(w, f, limit, fail)
}
