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
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit"
	"example.org/sumlog/witness/audit/cosign"
	"example.org/sumlog/witness/audit/site"
	"example.org/sumlog/witness/audit/state"
	"example.org/sumlog/witness/keys"
)

var cmdCosign = &command{
	Name:  "cosign",
	Args:  "URL",
	Short: "follow a log, and cosign what passed every check",
	Long: `
Cosign audits what the log at URL publishes, as "sumaudit log" does, again and
again until it is told to end; with -once, once. When every check that was made
has passed, it cosigns that checkpoint with the key in FILE and hands the
cosignature to the log, which shows it at URL/checkpoint/audited. A check that
was made once and cannot be made any more holds the cosignature back. What it
prints as cosigned, the log has taken.

The log must have been told of the key, with sumlog serve -auditor VKEY: one that
takes no cosignatures, or none of this key, ends the command with exit code 1.

What was cosigned last is kept in DIR, durably, before anybody sees it: a smaller
checkpoint, or one that excludes it, is never cosigned. If DIR is lost, so is the
key: make a new one.

What a cosignature of yours means is for you to say, for each key once: which
checks must have been made (-require), and of how many records the bytes
(-sample).

	sumaudit cosign -new -key FILE -name audit.example.org
	sumaudit cosign -vkey VKEY -key FILE -state DIR -policy FILE URL

With -new it makes the key, prints its vkey, and ends.
`,
	Flags: []string{
		"vkey", "key", "name", "state", "once", "interval", "policy", "max-age", "require", "sample",
		"public", "private", "tags", "parallel", "new", "mldsa",
	},
	NArgs: func(n int) bool { return n <= 1 },
	Run:   runCosign,
	Usage: map[string]string{
		"state":    "what is remembered: of the log, and of what was cosigned",
		"interval": "without -once, how often to look (default 1m)",
	},
}

// cosignOptions are the values of the settings that only cosign has.
type cosignOptions struct {
	key, name        string
	once, new, mldsa bool
}

var cosignSettings = []cli.Setting[*call]{
	{
		Name: "key", Value: "SPEC",
		Usage: "the key to cosign with: a FILE, or agent:SHA256:FINGERPRINT for an\nEd25519 key in the ssh-agent at SSH_AUTH_SOCK",
		Bind:  cli.Text(func(c *call) *string { return &c.cosign.key }, ""),
	},
	{
		Name: "name", Value: "NAME",
		Usage: "the cosigner's name, such as audit.example.org; a key in a file has it",
		Bind:  cli.Text(func(c *call) *string { return &c.cosign.name }, ""),
	},
	{
		Name:  "once",
		Usage: "audit and cosign once, and end",
		Bind:  cli.Switch(func(c *call) *bool { return &c.cosign.once }),
	},
	{
		Name:  "new",
		Usage: "make a key of that name in a new FILE, and end",
		Bind:  cli.Switch(func(c *call) *bool { return &c.cosign.new }),
	},
	{
		Name:  "mldsa",
		Usage: "make it a key of ML-DSA-44 (default: Ed25519)",
		Bind:  cli.Switch(func(c *call) *bool { return &c.cosign.mldsa }),
	},
}

// refreshAge is the age of a cosignature from which one of the same tree is made
// again, after another audit, so that consumers see that somebody still looks.
const refreshAge = time.Hour

func runCosign(ctx context.Context, c *call) error {
	switch {
	case c.cosign.key == "":
		return cli.Usagef("no -key FILE").Hint("sumaudit cosign -new -key FILE -name NAME makes one")
	case c.cosign.new:
		return c.newKey()
	case len(c.Args) != 1:
		return cli.Usagef("no URL").Hint("usage: sumaudit cosign [flags] URL")
	case c.opts.state == "":
		return cli.Usagef("no -state DIR").Hint("a cosigner that forgets what it cosigned could contradict itself")
	}
	c.log.watch = !c.cosign.once
	cfg, err := c.auditConfig(ctx)
	if err != nil {
		return err
	}
	f, err := c.newFollower(cfg)
	if err != nil {
		return err
	}
	defer f.close()
	if c.cosign.once {
		return f.round(ctx)
	}
	return f.follow(ctx)
}

// newKey makes a key file.
func (c *call) newKey() error {
	alg := checkpoint.CosignatureEd25519
	if c.cosign.mldsa {
		alg = checkpoint.CosignatureMLDSA44
	}
	if len(c.Args) > 0 || c.cosign.name == "" || strings.HasPrefix(c.cosign.key, "agent:") {
		return cli.Usagef("-new needs -key FILE and -name NAME, and nothing else")
	}
	skey, key, err := keys.Generate(c.cosign.name, alg)
	if err != nil {
		return cli.Usagef("-name: %v", err)
	}
	root, err := os.OpenRoot(filepath.Dir(c.cosign.key))
	if err != nil {
		return err
	}
	defer root.Close()
	base := filepath.Base(c.cosign.key)
	// An older key must not be lost by a slip.
	if _, err := root.Lstat(base); !errors.Is(err, fs.ErrNotExist) {
		return cli.Usagef("-key %s: there is such a file already", c.cosign.key)
	}
	if err := durable.WriteFile(root, base, []byte(skey+"\n"), 0o600); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.Stdout, key)
	return err
}

// A follower audits a log and cosigns what is sound.
type follower struct {
	c       *call
	cfg     audit.Config
	meters  *meters
	signer  *cosign.Signer
	submit  *cosign.Submitter
	pending []byte // was cosigned, and the log may not have it
	news    string // to be printed when the log has it
	gist    string // of the report printed last
}

func (c *call) newFollower(cfg audit.Config) (*follower, error) {
	cosigner, err := keys.Load(c.cosign.key, c.cosign.name)
	if err != nil {
		return nil, err
	}
	submit, err := cosign.NewSubmitter(cfg.URL, c.credentials())
	if err != nil {
		return nil, cli.Usagef("%v", err).Hint("a cosignature is handed in over HTTP")
	}
	signer, err := cosign.Open(cosign.Config{Dir: c.opts.state, Log: cfg.Key, Cosigner: cosigner})
	if err != nil {
		submit.Close()
		return nil, hintCosign(err)
	}
	f := &follower{c: c, cfg: cfg, meters: &meters{c: c, logger: cfg.Logger}, signer: signer, submit: submit}
	f.cfg.Progress = f.meters.set
	if head, _, ok := signer.Last(); ok {
		f.pending = head.Note
	}
	return f, nil
}

func hintCosign(err error) error {
	switch {
	case errors.Is(err, durable.ErrLocked):
		return cli.Hint(err, "another sumaudit cosigns with this key; one at a time")
	case errors.Is(err, cosign.ErrBehind), errors.Is(err, cosign.ErrDamaged):
		return cli.Hint(err, "put the newest copy of the state back, or make a new key under a new name: this one may contradict itself")
	}
	if e, ok := errors.AsType[*cosign.Refusal](err); ok {
		return cli.Hint(err, "%s", e.Help)
	}
	return err
}

func (f *follower) close() {
	f.signer.Close()
	f.submit.Close()
	f.cfg.HTTP.Close()
}

// follow goes on until it is told to end, or must not go on.
func (f *follower) follow(ctx context.Context) error {
	failures := 0
	for {
		err := f.round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, cosign.ErrBehind) || errors.Is(err, cosign.ErrDamaged) || errors.Is(err, cosign.ErrUnwelcome) || exitCode(err) == exitMisbehaviour {
			return err
		}
		pause := f.c.log.interval
		if failures++; err == nil {
			failures = 0
		} else {
			pause = tlogclient.Pause(failures, pause, max(pause, maxPause), err)
			f.cfg.Logger.Warn("no new cosignature", "err", err, "retry_in", pause)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// round audits, and cosigns if all is sound.
func (f *follower) round(ctx context.Context) error {
	f.cfg.HTTP.Forgive()
	s, err := site.Open(ctx, site.Config{HTTP: f.cfg.HTTP, URL: f.cfg.URL, Key: f.cfg.Key})
	if err != nil {
		return err
	}
	if err := f.recall(ctx, s); err != nil {
		return hintCosign(err)
	}
	// A log that takes nothing is audited all the same.
	refused := f.handIn(ctx, s)
	if errors.Is(refused, cosign.ErrBehind) {
		return hintCosign(refused)
	}
	res, err := audit.Run(ctx, f.cfg)
	f.meters.end()
	if ctx.Err() != nil {
		return err
	}
	bad := auditError(res.Summary, err)
	if bad == nil && len(res.Vanished) > 0 {
		// All cosignatures of a key mean the same, also when the log has withdrawn
		// what some of its checks were made on.
		bad = cli.Hint(fmt.Errorf("%s: not cosigned: checks that were made before could not be made now: %s", s.URL, strings.Join(res.Vanished, ", ")),
			"if the log has them no more for a good reason, remove %s, and all is audited anew", filepath.Join(f.c.opts.state, "logs", "*", "progress.json"))
	}
	if bad != nil {
		if now := gist(res.Summary, err); now != f.gist {
			if err := f.c.printReport(res.Summary, err); err != nil {
				return err
			}
			f.gist = now
		}
		return bad
	}
	f.gist = ""
	if res.Tree.Origin != f.cfg.Key.Name() {
		return fmt.Errorf("%s: the newest head is no checkpoint of origin %s, and only such are cosigned", s.URL, f.cfg.Key.Name())
	}
	proof, fresh, err := f.extends(ctx, s, res.Tree)
	if err != nil || !fresh || errors.Is(refused, cosign.ErrUnwelcome) { // one more would be in vain
		return errors.Join(err, hintCosign(refused))
	}
	if err := f.sign(res.Tree, proof); err != nil {
		return errors.Join(err, refused)
	}
	return hintCosign(f.handIn(ctx, s))
}

// recall looks for cosignatures by this key that the state does not know of.
func (f *follower) recall(ctx context.Context, s *site.Site) error {
	note, err := s.Get(ctx, "checkpoint/audited", checkpoint.MaxNote)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.signer.Recall(note)
}

// extends proves that a checkpoint that passed contains what was cosigned last, and
// reports whether there is anything new to say of it.
func (f *follower) extends(ctx context.Context, s *site.Site, tree tlogclient.Head) (proof []tlog.Hash, fresh bool, err error) {
	last, at, ok := f.signer.Last()
	if !ok {
		return nil, true, nil
	}
	if last.Tree() == tree.Tree() && time.Since(at) < refreshAge {
		return nil, false, nil
	}
	if proof, err = s.Log().Extend(ctx, last, tree); err != nil {
		return nil, false, f.refuse(err)
	}
	return proof, true, nil
}

// sign cosigns a checkpoint.
func (f *follower) sign(tree tlogclient.Head, proof []tlog.Hash) error {
	note, err := f.signer.Cosign(tree.Note, proof)
	if err != nil {
		return err
	}
	f.pending = note
	f.news = fmt.Sprintf("cosigned size %d, root %v\n", tree.Size, tree.Root)
	return nil
}

// refuse keeps what shows that the log forked behind what was cosigned.
func (f *follower) refuse(err error) error {
	fork, ok := errors.AsType[*tlogclient.ForkError](err)
	if !ok {
		return err
	}
	st, err := state.Open(f.c.opts.state, f.cfg.Key)
	if err != nil {
		return errors.Join(fork, err)
	}
	defer st.Close()
	e, err := fork.Evidence(f.cfg.Key)
	if err != nil {
		return errors.Join(fork, err)
	}
	path, err := f.c.keep(st, e)
	if err != nil {
		return errors.Join(fork, err)
	}
	fmt.Fprintf(f.c.Stdout, "evidence: %s\n", path)
	return withCode(exitMisbehaviour, fork)
}

// handIn gives the log what it may not have yet.
func (f *follower) handIn(ctx context.Context, s *site.Site) error {
	if f.pending == nil {
		return nil
	}
	prove := func(ctx context.Context, old int64, tree tlog.Tree) ([]tlog.Hash, error) {
		_, proof, err := s.Log().Prove(ctx, old, tree)
		return proof, err
	}
	if err := f.submit.Submit(ctx, f.pending, prove); err != nil {
		return fmt.Errorf("the log has not taken the cosignature, which is kept: %w", err)
	}
	f.pending = nil
	f.cfg.Logger.Info("the log has taken the cosignature")
	_, err := io.WriteString(f.c.Stdout, f.news)
	f.news = ""
	return err
}
