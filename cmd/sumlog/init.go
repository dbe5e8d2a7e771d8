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
	"path/filepath"
	"slices"
	"strings"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/log"
)

var cmdInit = &command{
	Name:  "init",
	Short: "create a log",
	Long: `
Init creates the data directory DIR with an empty log in it and prints the log's
verifier key, alone, on stdout.

NAME is the log's name for ever: host[/path] without a scheme, best a host name
of yours. Without -key a new key is made; with it, FILE holds one note signing
key (PRIVATE+KEY+NAME+HASH+DATA) of that NAME. A key that has ever signed a log
must not start another one: to everybody else that is a fork.

The settings of the server that have the go command's as defaults are read with
"go env" and stored in DIR/sumlog.toml, where they can be changed later. What
sumlog serve would refuse is refused here.

	sumlog init -dir /var/lib/sumlog -name sum.example.org
`,
	Flags: append([]string{"dir", "name", "key", "guard"}, upstreamFlags...),
	NArgs: cli.Exactly(0),
	Run: func(ctx context.Context, c *call) error {
		if c.opts.name == "" && c.opts.key == "" {
			return cli.Usagef("init needs -name NAME").Hint("NAME is host[/path], such as sum.example.org")
		}
		vkey, err := c.initLog(ctx)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.Stdout, vkey)
		return err
	},
}

// initLog checks all settings as serve does, and makes the log.
func (c *call) initLog(ctx context.Context) (vkey string, err error) {
	key, err := c.readKey()
	if err != nil {
		return "", err
	}
	if err := c.absoluteGuard(); err != nil {
		return "", err
	}
	if err := c.inherit(ctx); err != nil {
		// They can be given later too, so this is no reason to have no log.
		fmt.Fprintf(c.Stderr, "sumlog: warning: %v\n", err)
		fmt.Fprintf(c.Stderr, "sumlog: hint: sumlog serve will need -upstream, -sumdb and -private, or put them into %s\n",
			filepath.Join(c.opts.dir, settingsFile))
	}
	ups, err := c.upstreams()
	if err != nil {
		return "", err
	}
	// Where it will listen is not known yet.
	if err := c.refuseSelf(&ups, c.opts.name, nil); err != nil {
		return "", err
	}
	if vkey, err = c.create(key); err != nil {
		return "", err
	}
	c.warn(&ups, true)
	return vkey, nil
}

// create makes the log, of a key or a new one, and its settings file.
func (c *call) create(key string) (vkey string, err error) {
	settings, err := formatSettings(c.stored())
	if err != nil {
		return "", err
	}
	vkey, err = log.Create(log.CreateConfig{
		Dir: c.opts.dir, Guard: c.opts.guard, Name: c.opts.name, Key: key,
		Files: map[string][]byte{settingsFile: settings},
	})
	if errors.Is(err, log.ErrExists) {
		return "", cli.Hint(err, "a log is created once; sumlog serve -dir %s serves it, with the settings in %s",
			c.opts.dir, filepath.Join(c.opts.dir, settingsFile))
	}
	if dir := filepath.Dir(c.opts.guard); c.opts.guard != "" && errors.Is(err, fs.ErrNotExist) {
		return "", cli.Hint(err, "the directory of the guard, %s, must be there first", dir)
	}
	return vkey, err
}

// maxKey bounds the key file: a name and some hundred bytes.
const maxKey = 4 << 10

// readKey reads the file that -key names; "" is a new key.
func (c *call) readKey() (string, error) {
	if c.opts.key == "" {
		return "", nil
	}
	f, err := os.Open(c.opts.key)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxKey {
		return "", cli.Usagef("%s is no signing key: more than %d bytes", c.opts.key, maxKey)
	}
	name, err := log.CheckKey(string(data))
	if err != nil {
		return "", cli.Usagef("%s: %v", c.opts.key, err)
	}
	if c.opts.name == "" {
		c.opts.name = name
	}
	fmt.Fprintf(c.Stderr, "sumlog: warning: if the key of %s has ever signed a log, it must not start this one: two logs under one key are a fork\n", name)
	return strings.TrimSpace(string(data)), nil
}

// absoluteGuard makes the guard's name good for later processes, which may run
// elsewhere.
func (c *call) absoluteGuard() (err error) {
	if c.opts.guard != "" {
		c.opts.guard, err = filepath.Abs(c.opts.guard)
	}
	return err
}

// stored returns the settings that go into the new log's file: those that have
// a value other than the default of this binary, so that every later command
// on the directory has the same idea of what is private.
func (c *call) stored() []cli.KeyValue {
	values := map[string]string{
		"upstream": c.opts.upstream, "sumdb": c.opts.sumdb, "private": c.opts.private,
		"private-upstream": c.opts.privateUpstream, "guard": c.opts.guard,
	}
	var keys []cli.KeyValue
	for _, name := range slices.Concat(upstreamFlags, []string{"guard"}) {
		if c.From[name] != "" {
			keys = append(keys, cli.KeyValue{Name: name, Value: values[name]})
		}
	}
	return keys
}
