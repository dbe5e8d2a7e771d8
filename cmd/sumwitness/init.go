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
	"os"
	"path/filepath"
	"strings"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/witness/keys"
	"example.org/sumlog/witness/state"
)

var cmdInit = &command{
	Name:  "init",
	Short: "create a witness",
	Long: `
Init creates the data directory DIR with the state of a witness that has cosigned
nothing yet, and prints the witness's verifier key, alone, on stdout. With -mldsa
it makes a second key, ML-DSA-44, whose vkey is on a second line.

NAME is the witness's name for ever: host[/path] without a scheme, best a host
name of yours. A key that has ever cosigned anything must not begin again with an
empty state: its next cosignature could contradict an earlier one.

	sumwitness init -dir /var/lib/sumwitness -name w1.example.org
`,
	Flags: []string{"dir", "name", "key", "mldsa", "guard"},
	NArgs: cli.Exactly(0),
	Run:   runInit,
	Usage: map[string]string{
		"key": "the key to cosign with, instead of a new one: a FILE, which is copied,\n" +
			"or agent:SHA256:FINGERPRINT for an Ed25519 key in the ssh-agent at\n" +
			"SSH_AUTH_SOCK",
	},
}

// Files of the data directory, beside the state's.
const (
	keyFile     = "key"
	mldsaFile   = "key.mldsa"
	bastionFile = "bastion.key"
	controlFile = "control"

	databaseFile = "witness.db" // of package state
)

func runInit(_ context.Context, c *call) error {
	if c.opts.name == "" {
		return cli.Usagef("init needs -name NAME").Hint("NAME is host[/path], such as w1.example.org")
	}
	if err := checkName(c.opts.name); err != nil {
		return err
	}
	if err := c.absoluteGuard(); err != nil {
		return err
	}
	lines, cosigners, err := c.newKeys()
	if err != nil {
		return err
	}
	if err := c.install(lines); err != nil {
		if errors.Is(err, state.ErrExists) {
			return cli.Hint(err, "a witness is created once; sumwitness serve -dir %s serves it", c.opts.dir)
		}
		return err
	}
	for _, k := range cosigners {
		if _, err := fmt.Fprintln(c.Stdout, k); err != nil {
			return err
		}
	}
	return nil
}

// checkName reports why name cannot be a witness's, which is announced as a URL
// without its scheme.
func checkName(name string) error {
	bad := func(why string) error {
		return cli.Usagef("-name %q: %s", name, why).Hint("NAME is host[/path] without a scheme, such as w1.example.org")
	}
	if len(name) > 255 {
		return bad("more than 255 bytes")
	}
	for _, r := range name {
		if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~/:", r)) {
			return bad(fmt.Sprintf("character %q", r))
		}
	}
	if strings.Contains(name, "//") || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") {
		return bad("an empty path element")
	}
	return nil
}

// newKeys makes or reads the keys of a new witness. It returns the lines of the
// key files by their names, and the verifier keys.
func (c *call) newKeys() (lines map[string]string, vkeys []*checkpoint.Key, err error) {
	lines = map[string]string{}
	generate := func(file string, alg checkpoint.Algorithm) error {
		skey, vkey, err := keys.Generate(c.opts.name, alg)
		lines[file] = skey
		vkeys = append(vkeys, vkey)
		return err
	}
	switch len(c.opts.keys) {
	case 0:
		err = generate(keyFile, checkpoint.CosignatureEd25519)
	case 1:
		var vkey *checkpoint.Key
		lines[keyFile], vkey, err = c.givenKey(c.opts.keys[0])
		vkeys = append(vkeys, vkey)
	default:
		return nil, nil, cli.Usagef("init takes one -key; serve takes several")
	}
	if err == nil && c.opts.mldsa {
		err = generate(mldsaFile, checkpoint.CosignatureMLDSA44)
	}
	return lines, vkeys, err
}

// givenKey returns what DIR/key is to hold for a key that there is already.
func (c *call) givenKey(spec string) (line string, vkey *checkpoint.Key, err error) {
	cosigner, err := keys.Load(spec, c.opts.name)
	if err != nil {
		return "", nil, cli.Usagef("-key: %v", err)
	}
	fmt.Fprintf(c.Stderr, "sumwitness: warning: if this key has ever cosigned anything, it must not begin again with an empty state: use sumwitness import\n")
	if strings.HasPrefix(spec, agentPrefix) {
		return spec + " " + c.opts.name, cosigner.Key(), nil
	}
	text, err := keys.ReadFile(spec)
	return strings.TrimSpace(string(text)), cosigner.Key(), err
}

// absoluteGuard makes -guard independent of the working directory.
func (c *call) absoluteGuard() (err error) {
	if c.opts.guard != "" {
		c.opts.guard, err = filepath.Abs(c.opts.guard)
	}
	return err
}

// install makes the data directory, whole or not at all: it is built beside and
// renamed, so that a key that was shown to anybody always has its state. What a
// crash leaves beside it, the next one replaces.
func (c *call) install(files map[string]string) error {
	dir, err := filepath.Abs(c.opts.dir)
	if err != nil {
		return err
	}
	names, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(names) > 0 {
		if _, err := os.Lstat(filepath.Join(dir, databaseFile)); err == nil {
			return fmt.Errorf("%s: %w", dir, state.ErrExists)
		}
		return fmt.Errorf("%s is not empty", dir)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	parent, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer parent.Close()
	base := filepath.Base(dir)
	temp := durable.TempPrefix + "init-" + base
	unlock, err := durable.Lock(parent, temp+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.build(parent, temp, files); err != nil {
		return err
	}
	if err := parent.Remove(base); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // an empty directory would stand in the way
	}
	// Crash point: the witness is there under its temporary name only, and
	// nobody has seen its key. A guard outside is there too, of a witness that
	// has cosigned nothing.
	if err := parent.Rename(temp, base); err != nil {
		return err
	}
	if err := parent.Remove(temp + ".lock"); err != nil {
		return err
	}
	return durable.SyncDir(parent, ".")
}

// build makes the directory temp below parent, with keys and state.
func (c *call) build(parent *os.Root, temp string, files map[string]string) error {
	if err := parent.RemoveAll(temp); err != nil {
		return err
	}
	if err := parent.Mkdir(temp, 0o700); err != nil {
		return err
	}
	root, err := parent.OpenRoot(temp)
	if err != nil {
		return err
	}
	defer root.Close()
	for name, line := range files {
		if err := durable.WriteFile(root, name, []byte(line+"\n"), 0o600); err != nil {
			return err
		}
	}
	return state.Create(filepath.Join(parent.Name(), temp), c.opts.guard)
}
