// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"fmt"

	"example.org/sumlog/log"
)

var cmdCheck = &command{
	name:  "check",
	short: "check the state of a log, writing nothing",
	long: `
Check does everything that serve checks before it signs anything: that archive,
guard, tiles, entries and the sequencer's state agree. It writes nothing, and
litter of a crash is not a fault. It exits with 0 if the state is sound and with
3 if it is not, or if a server is running on it.
`,
	flags: []string{"dir", "guard", "config"},
	nargs: exactly(0),
	run: func(_ context.Context, c *call) error {
		name, p, err := log.Check(log.Config{Dir: c.opts.dir, Guard: c.opts.guard, Logger: c.logger()})
		if err != nil {
			return hintOpen(err, c.opts.dir)
		}
		_, err = fmt.Fprintf(c.stdout, "sound: %s size %d root %v\n", name, p.Size, p.Root)
		return err
	},
}
