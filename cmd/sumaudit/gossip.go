// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/outbound"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/heads"
	"example.org/sumlog/witness/audit/report"
	"example.org/sumlog/witness/audit/site"
	"example.org/sumlog/witness/audit/state"
)

var cmdGossip = &command{
	Name:  "gossip",
	Args:  "SOURCE...",
	Short: "compare what a log shows in several places",
	Long: `
Gossip reads the heads of one log from several places and proves that all are
heads of one tree. The first URL is the log itself, or what should be as good; it
is read last, so that no other can know of a larger tree unless the log keeps it
back. Each SOURCE is one of

	URL           the log, a mirror of it, or a module proxy that carries it
	witness:URL   the monitoring URL of a witness, which shows what it cosigned
	FILE          a checkpoint or tree head that somebody has kept, such as
	              GOPATH/pkg/sumdb/NAME/latest of another machine

One SOURCE is enough where -state has heads that an earlier run has seen.

	sumaudit gossip -vkey VKEY https://sum.example.org \
		https://proxy.example.net witness:https://w1.example.com
`,
	Flags: []string{"vkey", "state", "policy", "max-age", "json"},
	NArgs: func(n int) bool { return n > 0 },
	Run:   runGossip,
	Usage: map[string]string{
		"json": "print the report as JSON, one line",
	},
}

const witnessPrefix = "witness:"

func runGossip(ctx context.Context, c *call) error {
	key, err := c.logKey()
	if err != nil {
		return err
	}
	for _, arg := range c.Args {
		if where, ok := strings.CutPrefix(arg, witnessPrefix); ok {
			if _, err := tlogclient.ParseURL(where); err != nil {
				return cli.Usagef("%s: %v", arg, err)
			}
		}
	}
	first := slices.IndexFunc(c.Args, func(arg string) bool { return isURL(arg) && !strings.HasPrefix(arg, witnessPrefix) })
	if first < 0 {
		return cli.Usagef("no URL of the log among %q", c.Args)
	}
	if err := c.comparable(key, c.Args[first]); err != nil {
		return err
	}
	g, err := c.newComparison(ctx, key, c.Args[first])
	if err != nil {
		return err
	}
	defer g.close()
	for i, arg := range c.Args {
		if i != first {
			if err := g.ask(ctx, arg); err != nil {
				return err
			}
		}
	}
	if err := g.end(ctx, nil); err != nil {
		return err
	}
	return g.result()
}

// comparable fails if there is nothing to compare the log at where with: a log that
// is asked alone agrees with itself, and that would be reported as sound.
func (c *call) comparable(key *checkpoint.Key, where string) error {
	if slices.ContainsFunc(c.Args, func(arg string) bool { return arg != where }) {
		return nil
	}
	hint := "name another SOURCE, or with -state DIR a directory in which sumaudit log has kept what it saw"
	if c.opts.state == "" {
		return cli.Usagef("one source is compared with nothing").Hint("%s", hint)
	}
	s, err := state.Open(c.opts.state, key)
	if err != nil {
		return err
	}
	defer s.Close()
	known, err := s.Heads()
	if err == nil && len(known) == 0 {
		err = cli.Usagef("one source, and -state %s has nothing to compare it with", c.opts.state).Hint("%s", hint)
	}
	return err
}

// A comparison holds what others were shown of a log against the log.
type comparison struct {
	c      *call
	key    *checkpoint.Key
	http   *tlogclient.HTTP
	state  *state.State
	site   *site.Site
	set    *heads.Set
	report report.Report
	tree   tlogclient.Head // the newest that the log shows
}

// keep keeps evidence.
func (g *comparison) keep(e *evidence.Evidence) (string, error) { return g.c.keep(g.state, e) }

// newComparison finds the log.
func (c *call) newComparison(ctx context.Context, key *checkpoint.Key, where string) (*comparison, error) {
	policy, err := c.trustPolicy(key)
	if err != nil {
		return nil, err
	}
	if c.opts.maxAge < 0 {
		return nil, cli.Usagef("-max-age %v", c.opts.maxAge)
	}
	if err := checkURL(where); err != nil {
		return nil, err
	}
	g := &comparison{c: c, key: key, http: c.newHTTP()}
	if err := g.begin(ctx, policy, where); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

// begin opens what is compared with.
func (g *comparison) begin(ctx context.Context, policy *policy.Policy, where string) (err error) {
	if g.state, err = state.Open(g.c.opts.state, g.key); err != nil {
		return err
	}
	if g.site, err = g.open(ctx, where); err != nil {
		return err
	}
	g.set, err = heads.New(heads.Config{
		Key: g.key, Policy: policy, MaxAge: g.c.opts.maxAge, Log: g.site.Log(), Report: &g.report, Keep: g.keep,
	})
	if err != nil {
		return err
	}
	known, err := g.state.Heads()
	if err != nil {
		return err
	}
	for _, h := range known {
		g.set.Add(heads.Known, "state", h.Note, nil)
	}
	return nil
}

func (g *comparison) close() {
	if g.state != nil {
		g.state.Close()
	}
	g.http.Close()
}

func (g *comparison) open(ctx context.Context, where string) (*site.Site, error) {
	return site.Open(ctx, site.Config{HTTP: g.http, URL: where, Key: g.key, Cache: g.state.Cache()})
}

// add adds a head that source was shown, whose tiles may be in log.
func (g *comparison) add(source string, note []byte, log *tlogclient.Log) error {
	h, ok := g.set.Add(heads.Elsewhere, source, note, log)
	if !ok {
		return nil
	}
	fmt.Fprintf(g.c.Stderr, "sumaudit: %s: size %d, root %v\n", source, h.Size, h.Root)
	return g.state.Saw(h)
}

// failed reports a source that could not be read.
func (g *comparison) failed(source string, err error) {
	g.report.Check("A5", "", "").Findf(report.Failed, "%s: %q", source, err.Error())
}

// ask adds the heads of one source. A source that cannot be read is in the report.
func (g *comparison) ask(ctx context.Context, arg string) error {
	if where, ok := strings.CutPrefix(arg, witnessPrefix); ok {
		return g.askWitness(ctx, where)
	}
	if !isURL(arg) {
		note, err := readLimited(arg, checkpoint.MaxNote)
		if err != nil {
			g.failed(arg, err)
			return nil
		}
		return g.add(arg, note, nil)
	}
	s, err := g.open(ctx, arg)
	if err != nil {
		g.failed(redacted(arg), err)
		return ctx.Err()
	}
	seen, err := s.Heads(ctx)
	if err != nil {
		g.failed(s.URL, err)
	}
	for _, h := range seen {
		if err := g.add(h.Source, h.Head.Note, s.Log()); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// askWitness adds what a witness has cosigned of the log.
func (g *comparison) askWitness(ctx context.Context, where string) error {
	u, err := tlogclient.ParseURL(fmt.Sprintf("%s/%x/checkpoint", strings.TrimSuffix(where, "/"), sha256.Sum256([]byte(g.key.Name()))))
	if err != nil {
		return cli.Usagef("%s%s: %v", witnessPrefix, redacted(where), err)
	}
	note, err := g.http.Get(ctx, u, checkpoint.MaxNote)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("it has cosigned nothing of this log")
	}
	if err != nil {
		g.failed(witnessPrefix+redacted(where), err)
		return ctx.Err()
	}
	return g.add(witnessPrefix+redacted(where), note, nil)
}

// tries and pause are how often, and when again, the log is read if others know of
// more than it shows: it may be publishing that. Answers may be kept by a cache for
// a few seconds.
const (
	tries = 3
	pause = 2 * time.Second
)

// end reads the log, compares all heads with the newest that it shows, and has then
// compare more.
func (g *comparison) end(ctx context.Context, then func(ctx context.Context) error) error {
	for i := range tries {
		if i > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(pause):
			}
		}
		seen, err := g.site.Heads(ctx)
		if err != nil && (i == tries-1 || !errors.Is(err, tlogclient.ErrHead)) {
			return err
		}
		for _, s := range seen {
			g.set.Add(heads.Shown, s.Source, s.Head.Note, g.site.Log())
			if err := g.state.Saw(s.Head); err != nil {
				return err
			}
		}
		var ok bool
		if g.tree, ok = g.set.Newest(); ok && g.tree.Size >= g.set.Largest() {
			break
		}
	}
	fmt.Fprintf(g.c.Stderr, "sumaudit: %s: size %d, root %v\n", g.site.URL, g.tree.Size, g.tree.Root)
	if err := g.set.Check(ctx, nil); err != nil {
		return err
	}
	if then != nil {
		return then(ctx)
	}
	return nil
}

// result prints the report and returns what it means.
func (g *comparison) result() error {
	s := &report.Summary{
		Tool: "sumaudit " + cli.Version(), Time: time.Now().UTC(), Log: g.key.String(), URL: g.site.URL,
		Head:   report.Head{Origin: g.key.Name(), Size: g.tree.Size, Root: base64.StdEncoding.EncodeToString(g.tree.Root[:])},
		Result: g.report.Result(), Checks: g.report.Checks(),
	}
	if err := g.c.printReport(s, nil); err != nil {
		return err
	}
	return auditError(s, nil)
}

// redacted returns a URL without its password.
func redacted(where string) string {
	if u, err := url.Parse(where); err == nil {
		return outbound.Redact(u)
	}
	return where
}
