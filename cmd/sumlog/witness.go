// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/log"
	"example.org/sumlog/log/quorum"
)

// openSigning opens the log for a command that may publish, with the witnesses
// that its policy names. Each publication costs them a request and a signature, so
// there is one in an interval after a burst; without any, nobody is to be spared.
func (c *call) openSigning(interval time.Duration, logger *slog.Logger) (*log.Log, error) {
	auditors, err := c.readAuditors()
	if err != nil {
		return nil, err
	}
	q, err := c.openQuorum(logger)
	if err != nil {
		return nil, err
	}
	if q == nil {
		interval = 0
	}
	l, err := log.Open(log.Config{
		Dir: c.opts.dir, Guard: c.opts.guard, Logger: logger,
		Witnesses: q, Interval: interval, Auditors: auditors, Evidence: keepEvidence(c.opts.dir, logger),
		Seen: seenTrees(c.opts.dir, logger),
	})
	if err != nil {
		return nil, hintOpen(err, c.opts.dir)
	}
	if err := needPolicy(q, l.Name(), l.Published()); err != nil {
		l.Close()
		return nil, err
	}
	c.witnesses = q
	return l, nil
}

// checkCosigners checks the settings that name witnesses and auditors as far as can
// be done without a log.
func (c *call) checkCosigners() error {
	if _, err := c.readAuditors(); err != nil || c.opts.policy == "" {
		return err
	}
	_, err := c.readPolicy()
	return err
}

// needPolicy refuses to do without witnesses what was done with them.
func needPolicy(q *quorum.Quorum, name string, p *log.Publication) error {
	if q != nil || !cosigned(p.Checkpoint) {
		return nil
	}
	return cli.Usagef("%s was published with cosignatures, and no -witness-policy is given", name).
		Hint("clients may ask for them; a policy of the one line \"quorum none\" publishes without")
}

// openQuorum returns the witnesses of the policy, nil if there is none.
func (c *call) openQuorum(logger *slog.Logger) (*quorum.Quorum, error) {
	if c.opts.policy == "" {
		return nil, nil
	}
	p, err := c.readPolicy()
	if err != nil {
		return nil, err
	}
	_, vkey, err := log.ReadVKey(c.opts.dir)
	if err != nil {
		return nil, hintOpen(err, c.opts.dir)
	}
	key, err := checkpoint.ParseKey(vkey)
	if err != nil {
		return nil, err
	}
	q, err := quorum.New(quorum.Config{Policy: p, Log: key, Logger: logger})
	if err != nil {
		return nil, cli.Usagef("-witness-policy %s: %v", c.opts.policy, err)
	}
	return q, nil
}

func (c *call) readPolicy() (*policy.Policy, error) {
	f, err := os.Open(c.opts.policy)
	if err != nil {
		return nil, cli.Usagef("-witness-policy: %v", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, policy.MaxSize+1))
	if err != nil {
		return nil, err
	}
	p, err := policy.Parse(text)
	if err != nil {
		return nil, cli.Usagef("-witness-policy %s: %v", c.opts.policy, err).
			Hint("a whole one is a line \"witness NAME VKEY URL\" for each witness, \"group NAME K WITNESS…\", and \"quorum NAME\" or \"quorum none\": https://c2sp.org/tlog-policy")
	}
	auditors, err := c.readAuditors()
	if err != nil {
		return nil, err
	}
	return p, apart(p, auditors)
}

// apart reports whether an auditor is a witness of the policy. It cosigns what is
// published, so that what waits for it would never be.
func apart(p *policy.Policy, auditors []*checkpoint.Key) error {
	for _, w := range p.Witnesses {
		for _, k := range auditors {
			if bytes.Equal(w.Key.Public(), k.Public()) {
				return cli.Usagef("-auditor %s is the witness %s of the policy: an auditor cosigns what is published, and cannot be waited for", k.Name(), w.Name)
			}
		}
	}
	return nil
}

// readAuditors parses the keys of auditors.
func (c *call) readAuditors() ([]*checkpoint.Key, error) {
	var all []*checkpoint.Key
	for _, vkey := range c.opts.auditors {
		k, err := checkpoint.ParseKey(vkey)
		if err != nil {
			return nil, cli.Usagef("-auditor %s: %v", vkey, err)
		}
		if !k.Algorithm().Cosigns() {
			return nil, cli.Usagef("-auditor %s: this is the key of a log, not of a cosigner", k.Name())
		}
		if slices.ContainsFunc(all, func(o *checkpoint.Key) bool { return o.String() == k.String() }) {
			return nil, cli.Usagef("-auditor %s is given twice", k.Name())
		}
		all = append(all, k)
	}
	return all, nil
}

// cosigned reports whether a note has more than the log's own signature.
func cosigned(note []byte) bool {
	_, lines, _ := bytes.Cut(note, []byte("\n\n"))
	return bytes.Count(lines, []byte("\n")) > 1
}

// reloadPolicy reads the policy again whenever the process gets SIGHUP, until
// ctx ends. A policy that cannot be used changes nothing.
func (c *call) reloadPolicy(ctx context.Context, hup <-chan os.Signal, l *log.Log, logger *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}
		if c.witnesses == nil {
			logger.Info("nothing to read again: there is no witness policy")
			continue
		}
		if err := c.reload(l); err != nil {
			logger.Error("settings not reloaded, going on with the old ones", "err", err)
			continue
		}
		logger.Info("witness policy reloaded", "file", c.opts.policy)
	}
}

func (c *call) reload(l *log.Log) error {
	p, err := c.readPolicy()
	if err != nil {
		return err
	}
	return l.SetPolicy(p)
}
