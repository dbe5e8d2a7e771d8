// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/mod/module"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/listen"
	"example.org/sumlog/log"
	"example.org/sumlog/mirror/admit"
	"example.org/sumlog/mirror/store"
	"example.org/sumlog/mirror/upstream"
)

// checkReadOnly refuses flags that have no meaning: who gives one waits for what does
// not come. In a settings file, which the copy of a directory has from the server, and
// in the environment they are for others.
func (c *call) checkReadOnly() error {
	if c.opts.init {
		return cli.Usagef("-init creates a log, and -read-only writes nothing")
	}
	for _, name := range []string{"upstream", "sumdb", "private-upstream", "guard", "witness-policy", "publish-interval", "wait", "auditor", "metrics"} {
		if c.From[name] == "-"+name {
			return cli.Usagef("-%s has no meaning with -read-only", name)
		}
	}
	return nil
}

// serveReadOnly serves a directory that belongs to another process, or to none.
func (c *call) serveReadOnly(ctx context.Context, files budget) error {
	signal.Ignore(syscall.SIGHUP) // there is nothing to read again; by default, it ends the process
	logger := c.logger()
	v, err := log.OpenView(log.ViewConfig{Dir: c.opts.dir, Logger: logger})
	if err != nil {
		return hintView(err, c.opts.dir)
	}
	defer v.Close()
	temp, err := os.MkdirTemp("", "sumlog-read-only-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	ln, err := listen.On(c.opts.listen)
	if err != nil {
		return err
	}
	s := newServer(readOnly{}, logger)
	opened, err := c.openServer(ctx, s, ln, files.conns, func(progress func(done, total int64)) (*authority, error) {
		return c.openReadOnly(v, temp, logger, progress)
	})
	if !opened {
		return err
	}
	c.Say("read-only: nothing is admitted, signed, or written to %s", c.opts.dir)
	c.greet(&v.Reader, ln.Addr())
	return s.wait(ctx)
}

// openReadOnly makes an authority of what can be read, with its index in temp.
func (c *call) openReadOnly(v *log.View, temp string, logger *slog.Logger, progress func(done, total int64)) (a *authority, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	failed := make(chan error, 1)
	a = &authority{logger: logger, reader: &v.Reader, failed: failed, stopped: func(err error) error { return hintView(err, c.opts.dir) }}
	a.unfollow = func() {
		cancel()
		following.Wait()
	}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if a.index, err = openIndex(temp, false, v, logger, progress); err != nil {
		return nil, err
	}
	router, err := upstream.NewRouter(nil, nil, c.opts.private)
	if err != nil {
		return nil, c.badSetting("private", err)
	}
	dir := filepath.Join(c.opts.dir, mirrorDir)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		dir = filepath.Join(temp, mirrorDir) // no module has any bytes here
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if a.store, err = store.Open(store.Config{Dir: dir, ReadOnly: true, Private: router.IsPrivate, Logger: logger}); err != nil {
		return nil, err
	}
	following.Go(func() {
		if err := v.Follow(ctx, a.index); err != nil {
			failed <- err
		}
	})
	return a, nil
}

// hintView adds what helps when a directory cannot be read alone.
func hintView(err error, dir string) error {
	switch {
	case errors.Is(err, log.ErrUnsafe):
		return cli.Hint(err, "what is there is not one history, or not all of it; nothing was changed")
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s holds no log: %w", dir, err)
	}
	return err
}

// readOnly is the admission of a server that admits nothing. It cannot know that
// something does not exist.
type readOnly struct{}

func (readOnly) Admits() error {
	return &log.RefusedError{Reason: "this server is read-only"}
}

func (readOnly) Concerns() []string { return nil }

func (readOnly) Admit(context.Context, module.Version) error { return admit.ErrReadOnly }

func (readOnly) Bytes(context.Context, module.Version, store.Kind) error { return admit.ErrReadOnly }

func (readOnly) List(context.Context, string, bool) ([]admit.Listed, error) {
	return nil, admit.ErrReadOnly
}

func (readOnly) Latest(context.Context, string, bool) ([]byte, error) {
	return nil, admit.ErrReadOnly
}

func (readOnly) Info(context.Context, string, string, bool) ([]byte, error) {
	return nil, admit.ErrReadOnly
}

func (readOnly) Mod(context.Context, module.Version, bool) ([]byte, error) {
	return nil, admit.ErrReadOnly
}
