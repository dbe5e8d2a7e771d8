// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"context"
	"fmt"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/mirror/admit"
)

var cmdRebuild = &command{
	Name:  "rebuild",
	Args:  "index|mirror",
	Short: "derive the index or the mirror again",
	Long: `
Rebuild index makes the index again from the log and its archive; all answers
are then the same as before, byte for byte.

Rebuild mirror looks at the bytes of every logged module version and fetches
what is missing or damaged from the upstreams, checked against the log. It
deletes nothing: bytes that no upstream can give again are lost only if they
were lost before. It fails if bytes are missing in the end.

No server may be running on DIR.
`,
	Flags: append([]string{"dir", "guard", "witness-policy", "config"}, upstreamFlags...),
	NArgs: cli.Exactly(1),
	Run: func(ctx context.Context, c *call) error {
		switch c.Args[0] {
		case "index":
			return c.rebuildIndex()
		case "mirror":
			return c.rebuildMirror(ctx)
		}
		return cli.Usagef("cannot rebuild %q", c.Args[0]).Hint("rebuild index or rebuild mirror")
	},
}

func (c *call) rebuildIndex() error {
	logger := c.logger()
	l, err := openLog(c.opts.dir, c.opts.guard, logger)
	if err != nil {
		return err
	}
	defer l.Close()
	m := c.Meter("rebuilding index", logger)
	x, err := openIndex(c.opts.dir, true, l, logger, m.Set)
	m.End()
	if err != nil {
		return err
	}
	if err := x.Close(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "index rebuilt: %s size %d\n", l.Name(), l.Published().Size)
	return err
}

func (c *call) rebuildMirror(ctx context.Context) error {
	a, m, err := c.openForWork(ctx, "rebuilding mirror", nil)
	if err != nil {
		return err
	}
	defer a.close()
	size := a.log.Published().Size
	p, err := a.admit.Rebuild(ctx, a.log.Entries(0, size), func(p admit.Progress) {
		m.Set(p.Sound+p.Fetched+p.Missing, size)
		if p.Err != nil {
			m.End()
			fmt.Fprintf(c.Stderr, "sumlog: missing: %v\n", p.Err)
		}
	})
	m.End()
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Stdout, "mirror rebuilt: %d sound, %d fetched, %d missing\n", p.Sound, p.Fetched, p.Missing)
	if p.Missing > 0 {
		return fmt.Errorf("the bytes of %d versions are missing", p.Missing)
	}
	return nil
}
