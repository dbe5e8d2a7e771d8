// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/log"
	"example.org/sumlog/log/quorum"
)

var cmdGuard = &command{
	Name:  "guard",
	Args:  "renew",
	Short: "make a lost guard again, for a directory that is whole",
	Long: `
Guard renew makes the guard of the log in DIR again, where it is lost or damaged
and DIR is whole. A guard that can be read is never replaced.

The guard is what tells the newest copy of DIR from an older one. Without it,
renew looks at all that can still tell: every entry, tile and line of the archive
is checked up to the signed root; witnesses are asked what they have seen; what
auditors cosigned counts as far as DIR kept it, and so does another guard that the
settings name. What the log's key has signed and is not in DIR ends it, with exit
code 3 and evidence in DIR. It says what it cannot know, and wants the published
size typed; anything else changes nothing.

If a newer copy of DIR may exist, look for it first. A log that goes on from an
older one signs a second history.

	sumlog guard renew -dir DIR -guard /other/disk/sumlog.guard

With another FILE than before, DIR/sumlog.toml names it from then on.
No server may be running on DIR.
`,
	Flags: []string{"dir", "guard", "witness-policy", "auditor", "config"},
	NArgs: cli.Exactly(1),
	Run: func(ctx context.Context, c *call) error {
		if c.Args[0] != "renew" {
			return cli.Usagef("cannot do %q with a guard", c.Args[0]).Hint("guard renew")
		}
		return c.renewGuard(ctx)
	},
}

func (c *call) renewGuard(ctx context.Context) error {
	if err := c.absoluteGuard(); err != nil {
		return err
	}
	named, err := c.settingsGuards()
	if err != nil {
		return err
	}
	// Where else one may be: the default, and what a flag overrode.
	inDir := filepath.Join(c.opts.dir, guardFile)
	others := slices.DeleteFunc(append([]string{inDir}, named...), func(name string) bool { return same(name, c.guardPath()) })
	auditors, err := c.readAuditors()
	if err != nil {
		return err
	}
	logger := c.logger()
	q, err := c.openQuorum(logger)
	if err != nil {
		return err
	}
	m := c.Meter("checking log", logger)
	r, err := log.RenewGuard(ctx, log.RenewConfig{
		Config: log.Config{
			Dir: c.opts.dir, Guard: c.opts.guard, Logger: logger, Witnesses: q, Evidence: keepEvidence(c.opts.dir, logger),
			Seen: seenTrees(c.opts.dir, logger),
		},
		Others:   others,
		Progress: m.Set,
		Confirm: func(r log.Renewal) error {
			m.End()
			if err := needPolicy(q, r.Name, r.Newest); err != nil {
				return err
			}
			return c.confirmGuard(ctx, r, auditors)
		},
	})
	m.End()
	if err != nil {
		return hintRenew(err, c.opts.dir)
	}
	fmt.Fprintf(c.Stdout, "renewed: %s size %d\n", c.guardPath(), r.Integrated)
	if usual := append(named, inDir)[0]; same(usual, c.guardPath()) {
		return nil
	}
	return c.nameGuard()
}

// hintRenew adds what helps where no guard was made.
func hintRenew(err error, dir string) error {
	switch {
	case errors.Is(err, log.ErrGuardThere):
		return cli.Hint(err, "nothing was changed: a guard is made only where none can be read. One that is to be kept elsewhere is moved while no process works on %s", dir)
	case errors.Is(err, log.ErrAhead):
		return hintAhead(err)
	case errors.Is(err, quorum.ErrQuorum):
		return cli.Hint(err, "nothing was changed: what they have seen decides whether %s is the newest copy; try again when they answer", dir)
	}
	return hintOpen(err, dir)
}

// guardPath is where the guard is.
func (c *call) guardPath() string {
	if c.opts.guard == "" {
		return filepath.Join(c.opts.dir, guardFile)
	}
	return c.opts.guard
}

// settingsGuards returns the guards that settings files name, first the one that
// counts where no flag is given.
func (c *call) settingsGuards() (named []string, err error) {
	files, err := settingsFiles(&command{Flags: []string{"guard"}}, c)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		keys, err := program.ParseFile(f.Data)
		if err != nil {
			return nil, cli.Usagef("%s: %v", f.Name, err)
		}
		for _, k := range keys {
			if k.Name == "guard" {
				named = append(named, k.Value)
			}
		}
	}
	return named, nil
}

// same reports whether two paths name the same place.
func same(a, b string) bool {
	a, err := filepath.Abs(a)
	b, err2 := filepath.Abs(b)
	return err == nil && err2 == nil && a == b
}

// confirmGuard says what is known and what is not, and asks.
func (c *call) confirmGuard(ctx context.Context, r log.Renewal, auditors []*checkpoint.Key) error {
	say := func(format string, args ...any) { fmt.Fprintf(c.Stderr, "sumlog: "+format+"\n", args...) }
	size := r.Newest.Size
	say("checked every entry, tile and line of the archive: %s, published size %d", r.Name, size)
	if n := r.Integrated - size; n > 0 {
		say("%d entries more are in the tree; they were not published, and may have been signed", n)
	}
	if r.Damaged {
		say("the guard %s is there and damaged; it will be replaced", c.guardPath())
	}
	for _, w := range r.Witnesses {
		say("witness %s has seen size %d, which is in %s", w.Witness, w.Checkpoint.Size, c.opts.dir)
	}
	if r.Kept > 0 {
		say("%d kept cosignatures, of auditors or witnesses, are of what is in %s", r.Kept, c.opts.dir)
	}
	for _, name := range r.Unread {
		say("warning: %s is no checkpoint that this log signed, or no whole guard, and does not count", name)
	}
	if c.opts.policy == "" {
		say("there is no witness policy, so nobody was asked what the log has signed")
	}
	for _, k := range auditors {
		say("the auditor %s cannot be asked from here: ask whoever runs it for the largest size it has seen", k.Name())
	}
	say("what this cannot know: whether the log published more than size %d in a newer copy of %s", size, c.opts.dir)
	say("if it did, find that copy: going on from here signs a second history, and every client that saw the first will show it")
	typed, err := c.Typed(ctx, "sumlog: type the published size to make the guard again:")
	if err != nil {
		return err
	}
	if typed != strconv.FormatInt(size, 10) {
		return cli.Usagef("the published size is %d, and the answer was %q: no guard was made", size, typed).
			Hint("if you expected a larger size, %s is an older copy", c.opts.dir)
	}
	return nil
}

// nameGuard has the settings of DIR name the guard that was made.
func (c *call) nameGuard() error {
	root, err := os.OpenRoot(c.opts.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	old, err := root.ReadFile(settingsFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	text, err := withSetting(old, cli.KeyValue{Name: "guard", Value: c.opts.guard})
	if err != nil {
		return cli.Hint(err, "the guard is made; name it there, guard = %q, or give -guard to every command", c.opts.guard)
	}
	if err := durable.WriteFile(root, settingsFile, text, 0o600); err != nil {
		return err
	}
	fmt.Fprintf(c.Stderr, "sumlog: %s names the guard %s\n", filepath.Join(c.opts.dir, settingsFile), c.opts.guard)
	return nil
}
