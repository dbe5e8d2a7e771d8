// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/goenv"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit"
	"example.org/sumlog/witness/audit/report"
)

var cmdLog = &command{
	Name:  "log",
	Args:  "URL",
	Short: "replay a whole log, and check all that is derived from it",
	Long: `
Log reads every entry of the log at URL, recomputes its root at every size that
was ever shown, compares all tiles, checks each record and that no module version
has two, holds the published heads and their cosignatures against each other, and
then what is derived from the log: lookups, feed, version lists, module bytes.
URL is that of a log in either layout, of a module proxy that carries it, or a
directory with its files.

It prints a line for each check, what was found, what was skipped and why, and
the result. Evidence of misbehaviour goes to DIR/evidence, or without -state to
the working directory; "sumaudit evidence" verifies it anywhere. With -state the
next run replays only what is new, and notices when the log goes back on what it
signed.

	sumaudit log -vkey VKEY https://sum.example.org
	sumaudit log -vkey VKEY -state DIR -policy FILE https://sum.example.org
	sumaudit log -vkey VKEY -state DIR -watch -metrics :9090 https://sum.example.org
`,
	Flags: []string{
		"vkey", "state", "policy", "max-age", "require", "sample", "public", "private", "tags",
		"watch", "interval", "metrics", "json", "parallel",
	},
	NArgs: cli.Exactly(1),
	Run:   runLog,
	Usage: map[string]string{
		"private": "module paths that -public is never asked for (default: what\ngo env GOPRIVATE says)",
		"json":    "print the report as JSON, one line",
	},
}

// logOptions are the values of the settings that only log has.
type logOptions struct {
	require, sample, public string
	tags, watch             bool
	interval                time.Duration
	metrics, parallel       string
}

var logSettings = []cli.Setting[*call]{
	{
		Name: "require", Value: "LIST",
		Usage: "checks that must be made, such as B5,V3, or all: one that is skipped\nis then a failure",
		Bind:  cli.Text(func(c *call) *string { return &c.log.require }, ""),
	},
	{
		Name: "sample", Value: "N",
		Usage: "of how many records the bytes are fetched and hashed again: a number,\n" +
			"all, or none. The next run goes on where this one ends (default " + defaultSample + ");\n" +
			"with -watch, all are those that were not fetched before",
		Bind: cli.Text(func(c *call) *string { return &c.log.sample }, defaultSample),
	},
	{
		Name: "public", Value: "'VKEY [URL]'",
		Usage: "another checksum database, to compare a sample of the records with",
		Bind:  cli.Text(func(c *call) *string { return &c.log.public }, ""),
	},
	{
		Name:  "tags",
		Usage: "ask the repositories that modules came from whether their tags moved",
		Bind:  cli.Switch(func(c *call) *bool { return &c.log.tags }),
	},
	{
		Name:  "watch",
		Usage: "go on for ever: audit what is new, and report what changed",
		Bind:  cli.Switch(func(c *call) *bool { return &c.log.watch }),
	},
	{
		Name: "interval", Value: "TIME",
		Usage: "with -watch, how often to look (default 1m)",
		Bind:  cli.Time(func(c *call) *time.Duration { return &c.log.interval }, time.Minute),
	},
	{
		Name: "metrics", Value: "ADDR",
		Usage: "with -watch, address to serve /metrics on (default: nowhere)",
		Bind:  cli.Text(func(c *call) *string { return &c.log.metrics }, ""),
	},
	{
		Name: "parallel", Value: "N",
		Usage: "how many requests to have under way (default " + defaultParallel + ")",
		Bind:  cli.Text(func(c *call) *string { return &c.log.parallel }, defaultParallel),
	},
}

const (
	defaultSample   = "100"
	defaultParallel = "8"
	maxParallel     = 64
)

func runLog(ctx context.Context, c *call) error {
	cfg, err := c.auditConfig(ctx)
	if err != nil {
		return err
	}
	if c.log.watch {
		return c.watchLog(ctx, cfg)
	}
	defer cfg.HTTP.Close()
	meters := &meters{c: c, logger: cfg.Logger}
	cfg.Progress = meters.set
	res, err := audit.Run(ctx, cfg)
	meters.end()
	if err := c.printReport(res.Summary, err); err != nil {
		return err
	}
	return auditError(res.Summary, err)
}

// auditConfig makes of the settings what the engine wants.
func (c *call) auditConfig(ctx context.Context) (cfg audit.Config, err error) {
	cfg = audit.Config{
		HTTP:   c.newHTTP(),
		URL:    c.Args[0],
		State:  c.opts.state,
		MaxAge: c.opts.maxAge,
		Tags:   c.log.tags,
		Tool:   "sumaudit " + cli.Version(),
		Logger: c.Logger(slog.LevelInfo),
	}
	if cfg.Key, err = c.logKey(); err != nil {
		return cfg, err
	}
	if err := checkURL(cfg.URL); err != nil {
		return cfg, err
	}
	if cfg.Policy, err = c.trustPolicy(cfg.Key); err != nil {
		return cfg, err
	}
	if cfg.Require, err = parseRequire(c.log.require); err != nil {
		return cfg, err
	}
	if cfg.Sample, err = parseSample(c.log.sample); err != nil {
		return cfg, err
	}
	if cfg.Parallel, err = parseParallel(c.log.parallel); err != nil {
		return cfg, err
	}
	switch {
	case c.cosign.once && c.From["interval"] == "-interval":
		return cfg, cli.Usagef("-interval is for what goes on, and -once does not")
	case !c.log.watch && (c.From["interval"] == "-interval" || c.log.metrics != ""):
		return cfg, cli.Usagef("-interval and -metrics are for -watch")
	case c.log.interval < time.Second:
		return cfg, cli.Usagef("-interval %v: less than a second", c.log.interval)
	case c.opts.maxAge < 0:
		return cfg, cli.Usagef("-max-age %v", c.opts.maxAge)
	}
	return cfg, c.publicDatabase(ctx, &cfg)
}

// httpConfig is how logs are read. Tests have less patience.
var httpConfig = tlogclient.HTTPConfig{UserAgent: "sumaudit/1", Patience: audit.Patience}

// checkURL reports why nothing could be read from where.
func checkURL(where string) error {
	h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
	defer h.Close()
	if _, err := tlogclient.Open(h, where); err != nil {
		return cli.Usagef("%v", err)
	}
	return nil
}

func parseRequire(list string) (ids []string, err error) {
	for id := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		if !audit.IsCheck(id) && id != audit.All {
			return nil, cli.Usagef("-require: there is no check %q", id).Hint("the ids are those of the report")
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func parseSample(text string) (int, error) {
	switch text {
	case "all":
		return -1, nil
	case "none":
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, cli.Usagef("-sample %q: neither a number, nor all, nor none", text)
	}
	return int(n), nil
}

func parseParallel(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxParallel {
		return 0, cli.Usagef("-parallel %q: not a number from 1 to %d", text, maxParallel)
	}
	return n, nil
}

// publicDatabase sets what -public names. The paths that go env GOPRIVATE names
// are kept from it unless -private says otherwise: whoever audits his own log
// must not tell the world its private paths by it.
func (c *call) publicDatabase(ctx context.Context, cfg *audit.Config) (err error) {
	cfg.Private = c.opts.private
	if c.log.public == "" {
		return nil
	}
	vkey, url, _ := strings.Cut(strings.TrimSpace(c.log.public), " ")
	if cfg.Public, err = checkpoint.ParseKey(vkey); err != nil {
		return cli.Usagef("-public: %v", err).Hint("'VKEY URL', as in GOSUMDB")
	}
	if cfg.PublicURL = strings.TrimSpace(url); cfg.PublicURL == "" {
		cfg.PublicURL = "https://" + cfg.Public.Name()
	}
	if c.From["private"] == "" {
		env, err := goenv.Get(ctx, "GOPRIVATE")
		if err != nil {
			return cli.Usagef("-public, and go env GOPRIVATE cannot be asked: %v", err).Hint("-private GLOBS, or -private none.invalid")
		}
		cfg.Private = env["GOPRIVATE"]
	}
	return nil
}

// auditError is the error of an audit: nil if all is sound.
func auditError(s *report.Summary, err error) error {
	switch {
	case s.Result == report.Misbehaviour:
		err := withCode(exitMisbehaviour, fmt.Errorf("%s: misbehaviour", s.URL))
		if file := firstEvidence(s); file != "" {
			err = cli.Hint(err, "sumaudit evidence %s", file)
		}
		return err
	case s.Result == report.Stale:
		return withCode(exitStale, fmt.Errorf("%s: %s", s.URL, resultText(s.Result)))
	case err != nil:
		return err
	case s.Result == report.Failed:
		return fmt.Errorf("%s: %s", s.URL, resultText(s.Result))
	}
	return nil
}

// firstEvidence returns the file of the first finding that has one.
func firstEvidence(s *report.Summary) string {
	for _, c := range s.Checks {
		for _, f := range c.Findings {
			if f.Evidence != "" {
				return f.Evidence
			}
		}
	}
	return ""
}

// meters shows one work after the other.
type meters struct {
	c      *call
	logger *slog.Logger

	mu   sync.Mutex
	what string
	m    *cli.Meter
}

func (m *meters) set(what string, done, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.m == nil || what != m.what {
		if m.m != nil {
			m.m.End()
		}
		m.m, m.what = m.c.Meter(what, m.logger), what
	}
	m.m.Set(done, total)
}

func (m *meters) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.m != nil {
		m.m.End()
		m.m = nil
	}
}
