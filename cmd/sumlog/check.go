// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"fmt"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/log"
)

var cmdCheck = &command{
	Name:  "check",
	Short: "check the state of a log, writing nothing",
	Long: `
Check does everything that serve checks before it signs anything: that archive,
guard, tiles, entries and the sequencer's state agree, and that all is there of
which kept evidence shows that the log has signed it. It writes nothing, and
litter of a crash is not a fault. A server may be running on DIR, which is said.
It exits with 0 if the state is sound and with 3 if it is not.
`,
	Flags: []string{"dir", "guard", "config"},
	NArgs: cli.Exactly(0),
	Run: func(_ context.Context, c *call) error {
		logger := c.logger()
		name, p, err := log.Check(log.Config{Dir: c.opts.dir, Guard: c.opts.guard, Logger: logger, Seen: seenTrees(c.opts.dir, logger)})
		if err != nil {
			return hintOpen(err, c.opts.dir)
		}
		fmt.Fprintf(c.Stdout, "sound: %s size %d root %v\n", name, p.Size, p.Root)
		used, err := log.InUse(c.opts.dir)
		if used {
			_, err = fmt.Fprintf(c.Stdout, "in use: a sumlog process is working on %s\n", c.opts.dir)
		}
		return err
	},
}
