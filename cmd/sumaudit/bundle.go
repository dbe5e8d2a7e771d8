// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"errors"
	"fmt"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/bundle"
	"example.org/sumlog/witness/audit/gosum"
)

var cmdBundle = &command{
	Name:  "bundle",
	Args:  "[URL] [GO.SUM...]",
	Short: "write one file with all proofs that go.sum files need",
	Long: `
Bundle looks up and proves what verify would, and writes one checkpoint, the
records, and one proof of them all into a file with which "sumaudit verify
-bundle" needs no network: in a sealed build, beside the go.sum in its
repository, years from now.

It is about GO.SUM, or go.sum and go.work.sum here; key and URL are found as
verify finds them. What cannot be proven is not in the file, is said, and makes
the exit code 1; what verify would say of the lines is verify's.

With -reanchor, no GO.SUM is read: the records of an old bundle are tied to the
log's newest checkpoint, by a proof that this is a later state of the same log.
Of a log that has not grown since, the bundle is written as it was.
`,
	Flags: []string{"vkey", "policy", "max-age", "state", "private", "reanchor", "o"},
	NArgs: func(int) bool { return true },
	Run:   runBundle,
	Usage: map[string]string{
		"max-age": usageMaxAge,
		"private": usagePrivate,
	},
}

// bundleOptions are the values of the settings that only bundle has: c.bundle.FIELD.
type bundleOptions struct {
	reanchor string
}

var bundleSettings = []cli.Setting[*call]{
	{
		Name: "reanchor", Value: "OLD",
		Usage: "tie this bundle to the newest checkpoint",
		Bind:  cli.Text(func(c *call) *string { return &c.bundle.reanchor }, ""),
	},
}

func runBundle(ctx context.Context, c *call) error {
	url, args := cutURL(c.Args)
	if c.bundle.reanchor != "" && len(args) > 0 {
		return cli.Usagef("-reanchor reads no go.sum")
	}
	a, err := c.authority(ctx, url, false)
	if err != nil {
		return err
	}
	if c.bundle.reanchor != "" {
		return c.reanchor(ctx, a)
	}
	in, err := c.verifyInputs(ctx, args)
	if err != nil {
		return err
	}
	private, err := c.privatePatterns(ctx, false)
	if err != nil {
		return err
	}
	mods := in.modules(private)
	s, set, paths, err := c.proven(ctx, a, mods)
	if err != nil {
		return err
	}
	defer s.close()
	if set.Untrusted != nil {
		return withCode(exitStale, set.Untrusted)
	}
	b, err := set.Bundle()
	if err != nil {
		return err
	}
	if err := c.writeResult(c.opts.out, b.Bytes()); err != nil {
		return err
	}
	missing := 0
	for _, m := range mods {
		if _, v, reason := set.Find(m.Path, m.Version); v != gosum.OK {
			missing++
			c.Say("%s: %s: %s", v, m, reason)
		}
	}
	for _, path := range paths {
		c.Say("evidence: %s", path)
	}
	c.Say("%d records and %d hashes; size %d of %s", len(b.Records()), b.Hashes(), b.Newest().Size, b.Key())
	switch {
	case len(paths) > 0:
		return errContradiction
	case missing > 0:
		return fmt.Errorf("%d of %d module versions are not in the bundle", missing, len(mods))
	}
	return nil
}

// reanchor ties an old bundle to the newest checkpoint.
func (c *call) reanchor(ctx context.Context, a authority) error {
	file, err := readLimited(c.bundle.reanchor, bundle.MaxFile)
	if err != nil {
		return err
	}
	old, err := bundle.Parse(file)
	if err != nil {
		return fmt.Errorf("%s: %w", c.bundle.reanchor, err)
	}
	if old.Key().String() != a.trust.Key.String() {
		return fmt.Errorf("%s: %w: %v", c.bundle.reanchor, gosum.ErrKey, old.Key())
	}
	// Without modules, it compares the heads.
	s, set, _, err := c.proven(ctx, a, nil)
	if err != nil {
		return err
	}
	defer s.close()
	if set.Untrusted != nil {
		return withCode(exitStale, set.Untrusted)
	}
	var fork *tlogclient.ForkError
	for _, h := range []tlogclient.Head{old.First(), old.Newest()} {
		if _, err = s.site.Log().Extend(ctx, h, set.Head); errors.As(err, &fork) {
			return c.accuse(s, fork)
		}
		if err != nil {
			return err
		}
	}
	if set.Head.Tree() == old.Newest().Tree() {
		done, err := c.unchanged(a, old, file)
		if done || err != nil {
			return err
		}
	}
	proof, err := s.site.Log().Extend(ctx, old.First(), set.Head)
	if err != nil {
		return err
	}
	note, err := checkpoint.ParseNote(set.Head.Note)
	if err != nil {
		return err
	}
	b, err := old.Reanchor(note, proof)
	if err != nil {
		return err
	}
	c.Say("%d records of size %d, anchored at size %d of %s", len(b.Records()), b.First().Size, b.Newest().Size, b.Key())
	return c.writeResult(c.opts.out, b.Bytes())
}

// unchanged writes an old bundle as it is, if its newest checkpoint, of the tree that
// the log still has, counts. If it does not, the log's own can take its place where
// it is not what the records are proven under.
func (c *call) unchanged(a authority, old *bundle.Bundle, file []byte) (done bool, err error) {
	c.Say("the log is still at size %d, as in %s", old.Newest().Size, c.bundle.reanchor)
	note, err := checkpoint.ParseNote(old.Newest().Note)
	if err != nil {
		return false, err
	}
	if _, err = a.trust.Check(old.Key(), note); err == nil {
		return true, c.writeResult(c.opts.out, file)
	}
	if old.Newest().Size > old.First().Size {
		return false, nil
	}
	return false, withCode(exitStale, fmt.Errorf("%s: %w", c.bundle.reanchor, err))
}
