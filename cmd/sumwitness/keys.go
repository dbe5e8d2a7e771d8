// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/witness/keys"
)

// agentPrefix begins what names a key in an ssh-agent.
const agentPrefix = "agent:"

// cosigners loads the keys that the witness cosigns with, those given or those in
// DIR. All are of one name, the witness's.
func (c *call) cosigners() (list []*checkpoint.Cosigner, specs []string, err error) {
	name := c.opts.name
	specs = c.opts.keys
	if len(specs) == 0 {
		if specs, name, err = c.ownKeys(name); err != nil {
			return nil, nil, err
		}
	}
	if name == "" {
		if name, err = nameOf(specs); err != nil {
			return nil, nil, err
		}
	}
	for i, spec := range specs {
		cosigner, err := keys.Load(spec, name)
		if err != nil {
			return nil, nil, hintKey(err)
		}
		for _, other := range list {
			if other.Key().String() == cosigner.Key().String() {
				return nil, nil, cli.Usagef("-key: %s is given twice", specs[i])
			}
		}
		list = append(list, cosigner)
	}
	return list, specs, nil
}

// ownKeys returns the keys of the data directory.
func (c *call) ownKeys(name string) (specs []string, found string, err error) {
	file := filepath.Join(c.opts.dir, keyFile)
	text, err := keys.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", cli.Hint(fmt.Errorf("%s holds no witness: %w", c.opts.dir, err), "create one with sumwitness init -dir %s -name NAME", c.opts.dir)
	}
	if err != nil {
		return nil, "", hintKey(err)
	}
	specs = []string{file}
	if spec, own, ok := strings.Cut(strings.TrimSpace(string(text)), " "); ok && strings.HasPrefix(spec, agentPrefix) {
		if name != "" && name != own {
			return nil, "", cli.Usagef("-name %s: %s is of %s", name, file, own)
		}
		specs, name = []string{spec}, own
	}
	second := filepath.Join(c.opts.dir, mldsaFile)
	switch _, err := os.Lstat(second); {
	case err == nil:
		specs = append(specs, second)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, "", err
	}
	return specs, name, nil
}

// nameOf returns the name of the first key that has one of its own.
func nameOf(specs []string) (string, error) {
	for _, spec := range specs {
		if strings.HasPrefix(spec, agentPrefix) {
			continue
		}
		cosigner, err := keys.Load(spec, "")
		if err != nil {
			return "", hintKey(err)
		}
		return cosigner.Key().Name(), nil
	}
	return "", cli.Usagef("a key in an ssh-agent has no name: pass -name NAME too")
}

func hintKey(err error) error {
	switch {
	case errors.Is(err, keys.ErrAgent):
		return cli.Hint(err, "ssh-add -l shows what an agent has; SSH_AUTH_SOCK says which agent is asked")
	case errors.Is(err, fs.ErrPermission):
		return cli.Hint(err, "sumwitness must run as the owner of the key")
	}
	return err
}
