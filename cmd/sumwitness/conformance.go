// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/witness/conform"
	"example.org/sumlog/witness/keys"
)

var cmdConformance = &command{
	Name:  "conformance",
	Short: "test any witness against the specification",
	Long: `
Conformance tests the witness at URL, whoever wrote it, against the rules of
https://c2sp.org/tlog-witness, from outside. It prints a line for each rule and a
total, and exits with 1 if a rule is broken.

It needs a log of its own, which the witness accepts. The first line makes its
key and prints the vkey to tell the witness; the second is the test, which can be
repeated for ever.

	sumwitness conformance -key log.key -name test.example.org
	sumwitness conformance -key log.key -url https://w1.example.org -witness VKEY

The key must never sign for anything else: the suite signs forks with it. With
-witness the cosignatures are verified too, and with -restart what survives a
crash: the COMMAND should kill the witness hard and start it again.
`,
	Flags: []string{"url", "key", "monitor", "monitor-delay", "witness", "restart", "json", "name"},
	NArgs: cli.Exactly(0),
	Run:   runConformance,
	Usage: map[string]string{
		"url":  "the witness's submission prefix",
		"key":  "FILE with the private key of a log that the witness accepts",
		"name": "name of a log: make a key of that name in FILE, and test nothing",
	},
}

func runConformance(ctx context.Context, c *call) error {
	if len(c.opts.keys) != 1 {
		return cli.Usagef("conformance needs one -key FILE").Hint("sumwitness help conformance")
	}
	file := c.opts.keys[0]
	if c.opts.url == "" && c.opts.name != "" {
		vkey, err := newLogKey(file, c.opts.name)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.Stdout, vkey)
		return err
	}
	config, err := c.conformConfig(file)
	if err != nil {
		return err
	}
	e := json.NewEncoder(c.Stdout)
	e.SetEscapeHTML(false)
	sum, err := conform.Run(ctx, config, func(r conform.Result) {
		if c.opts.json {
			e.Encode(r)
			return
		}
		printResult(c.Stdout, r)
	})
	if c.opts.json {
		e.Encode(sum)
	} else {
		fmt.Fprintln(c.Stdout, sum)
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case err != nil:
		return err
	case sum.Failed > 0:
		return fmt.Errorf("rules broken: %d", sum.Failed)
	}
	return nil
}

// conformConfig returns what is to be tested.
func (c *call) conformConfig(file string) (config conform.Config, err error) {
	config = conform.Config{URL: c.opts.url, Monitor: c.opts.monitor, MonitorDelay: c.opts.monitorDelay}
	if config.URL == "" {
		return config, cli.Usagef("conformance needs -url URL").Hint("sumwitness help conformance")
	}
	if c.opts.name != "" {
		return config, cli.Usagef("-name is to make a key, without -url")
	}
	if config.MonitorDelay < 0 {
		return config, cli.Usagef("-monitor-delay %v: before the cosignature", config.MonitorDelay)
	}
	for _, text := range []string{config.URL, config.Monitor} {
		if err := checkURL(text); text != "" && err != nil {
			return config, err
		}
	}
	for _, vkey := range c.opts.witnesses {
		k, err := checkpoint.ParseKey(vkey)
		if err != nil {
			return config, cli.Usagef("-witness: %v", err)
		}
		config.Witness = append(config.Witness, k)
	}
	text, err := keys.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return config, cli.Hint(err, "sumwitness conformance -key %s -name NAME makes it", file)
	}
	if err != nil {
		return config, err
	}
	if config.LogKey, err = conform.ParseLogKey(string(text)); err != nil {
		return config, cli.Usagef("%s: %v", file, err)
	}
	if c.opts.restart != "" {
		config.Restart = func(ctx context.Context) error {
			cmd := exec.CommandContext(ctx, "sh", "-c", c.opts.restart)
			// It may leave the witness behind with these: what is no file would
			// be waited for.
			cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
			return cmd.Run()
		}
	}
	return config, nil
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return cli.Usagef("%q is no http or https URL", text)
	}
	return nil
}

// newLogKey makes the key of a log.
func newLogKey(file, name string) (vkey string, err error) {
	if len(name) > 255 {
		return "", cli.Usagef("-name: more than 255 bytes")
	}
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return "", err
	}
	if _, err := checkpoint.ParseKey(vkey); err != nil {
		return "", cli.Usagef("-name %q: %v", name, err)
	}
	root, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		return "", err
	}
	defer root.Close()
	if _, err := root.Lstat(filepath.Base(file)); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", file, fs.ErrExist)
	}
	return vkey, durable.WriteFile(root, filepath.Base(file), []byte(skey+"\n"), 0o600)
}

// printResult prints a line that can be searched for.
func printResult(w io.Writer, r conform.Result) {
	word := string(r.Status)
	if r.Status == conform.Fail {
		word = "FAIL"
	}
	if r.Detail == "" {
		fmt.Fprintf(w, "%s  %s\n", word, r.Name)
		return
	}
	name := r.Name
	if r.Should {
		name += " (recommended)"
	}
	fmt.Fprintf(w, "%s  %s: %s\n", word, name, r.Detail)
	if r.Status == conform.Fail {
		fmt.Fprintf(w, "      %s\n", r.Rule)
	}
}
