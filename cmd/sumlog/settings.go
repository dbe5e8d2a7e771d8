// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.org/sumlog/internal/cli"
)

// options are the values of all settings.
type options struct {
	dir, name, key, guard string
	listen                string
	open                  bool
	upstream, sumdb       string
	private               string
	privateUpstream       string
	policy                string
	interval              time.Duration
	auditors              cli.List
	wait                  time.Duration
	metrics               string
	config                string
	init                  bool
	url                   string
	json                  bool
	size                  string
	every                 time.Duration
	readOnly              bool
}

const (
	defaultListen   = "127.0.0.1:8070"
	defaultInterval = time.Second
	defaultWait     = 5 * time.Minute
)

// settings is the one table of all settings: their flags, their variables
// SUMLOG_*, their keys in files, their defaults.
var settings = []cli.Setting[*call]{
	{
		Name: "dir", Value: "DIR", Needed: true,
		Usage: "the data directory",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.dir }, ""),
	},
	{
		Name: "name", Value: "NAME",
		Usage: "the log's name, host[/path], such as sum.example.org",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.name }, ""),
	},
	{
		Name: "key", Value: "FILE",
		Usage: "a note signing key to use instead of a new one",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.key }, ""),
	},
	{
		Name: "guard", Value: "FILE", File: true,
		Usage: "where the largest size signed is kept (default DIR/guard); on\nanother disk it notices when DIR is replaced by an older copy",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.guard }, ""),
	},
	{
		Name: "listen", Value: "ADDR", File: true,
		Usage: "address to listen on (default " + defaultListen + ")",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.listen }, defaultListen),
	},
	{
		Name: "open", File: true,
		Usage: "allow an address that is not loopback: anyone who can look up can\nmake the log grow",
		Bind:  cli.Switch(func(c *call) *bool { return &c.opts.open }),
	},
	{
		Name: "upstream", Value: "LIST", File: true,
		Usage: "where public modules come from, as GOPROXY; off: only what is\nstored (default: go env GOPROXY, as of init)",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.upstream }, ""),
	},
	{
		Name: "sumdb", Value: "SPEC", File: true,
		Usage: "the database that proves public records, as GOSUMDB; off: compute\nevery record (default: go env GOSUMDB, as of init)",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.sumdb }, ""),
	},
	{
		Name: "private", Value: "GLOBS", File: true,
		Usage: "private modules, as GOPRIVATE; never sent to a public upstream or\ndatabase (default: go env GOPRIVATE, as of init)",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.private }, ""),
	},
	{
		Name: "private-upstream", Value: "LIST", File: true,
		Usage: "where private modules come from, and nowhere else (default off)",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.privateUpstream }, "off"),
	},
	{
		Name: "witness-policy", Value: "FILE", File: true,
		Usage: "which witnesses must cosign before anything is published, in the form\nof https://c2sp.org/tlog-policy; SIGHUP reads it again",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.policy }, ""),
	},
	{
		Name: "publish-interval", Value: "TIME", File: true,
		Usage: "with a policy, the time between publications, but that 20 may follow\neach other at once after a pause (default 1s)",
		Bind:  cli.Time(func(c *call) *time.Duration { return &c.opts.interval }, defaultInterval),
	},
	{
		Name: "wait", Value: "TIME", File: true,
		Usage: "how long who asks for a .mod or a zip may wait while its bytes come\n(default 5m); everything else is answered in 30s",
		Bind:  cli.Time(func(c *call) *time.Duration { return &c.opts.wait }, defaultWait),
	},
	{
		Name: "auditor", Value: "VKEY", File: true,
		Usage: "an auditor whose cosignatures of what is published are taken and\nserved; any number of times, in a file one a line",
		Bind:  cli.Many(func(c *call) *cli.List { return &c.opts.auditors }),
	},
	{
		Name: "metrics", Value: "ADDR", File: true,
		Usage: "address for Prometheus metrics, on a listener of their own\n(default: none)",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.metrics }, ""),
	},
	{
		Name: "config", Value: "FILE",
		Usage: "a TOML file of settings; it counts more than DIR/sumlog.toml",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.config }, ""),
	},
	{
		Name:  "init",
		Usage: "create the log first if DIR is missing or empty",
		Bind:  cli.Switch(func(c *call) *bool { return &c.opts.init }),
	},
	{
		Name: "url", Value: "URL", File: true,
		Usage: "the server as clients reach it (default: the address of -listen)",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.url }, ""),
	},
	{
		Name:  "json",
		Usage: "print JSON",
		Bind:  cli.Switch(func(c *call) *bool { return &c.opts.json }),
	},
	{
		Name:  "read-only",
		Usage: "serve what is in DIR, which may be a backup or another host's, as it\ngrows; admit and sign nothing, ask nobody, write nothing there",
		Bind:  cli.Switch(func(c *call) *bool { return &c.opts.readOnly }),
	},
	{
		Name: "every", Value: "TIME",
		Usage: "go on, and look for what is new so often, such as 1m",
		Bind:  cli.Time(func(c *call) *time.Duration { return &c.opts.every }, 0),
	},
	{
		Name: "size", Value: "N",
		Usage: "the size that is to be restored, instead of typing it when asked",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.size }, ""),
	},
}

// settingsFile is in the data directory; init writes it.
const settingsFile = "sumlog.toml"

// settingsFiles reads the files of settings: what -config names counts more than
// what is in the data directory.
func settingsFiles(cmd *command, c *call) (files []cli.File, err error) {
	if c.opts.config != "" {
		data, err := os.ReadFile(c.opts.config)
		if err != nil {
			return nil, cli.UsageError(err.Error())
		}
		files = append(files, cli.File{Name: c.opts.config, Data: data})
	}
	if c.opts.dir == "" || !slices.Contains(cmd.Flags, "guard") && !slices.Contains(cmd.Flags, "config") {
		return files, nil // a command that reads no settings
	}
	name := filepath.Join(c.opts.dir, settingsFile)
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return files, nil
	}
	if err != nil {
		return nil, err
	}
	return append(files, cli.File{Name: name, Data: data}), nil
}

// formatSettings is the text of the file that init writes.
func formatSettings(keys []cli.KeyValue) ([]byte, error) {
	var b strings.Builder
	b.WriteString("# Settings of this log's server, as of sumlog init. Each can be overridden by\n" +
		"# an environment variable (SUMLOG_UPSTREAM) or a flag (-upstream).\n\n")
	for _, k := range keys {
		if strings.ContainsFunc(k.Value, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }) {
			return nil, cli.Usagef("%s: %q holds control characters", k.Name, k.Value)
		}
		b.WriteString(formatSetting(k))
	}
	return []byte(b.String()), nil
}

// formatSetting is one line of it.
func formatSetting(k cli.KeyValue) string {
	return fmt.Sprintf("%s = \"%s\"\n", k.Name, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(k.Value))
}

// withSetting returns the text of a settings file in which k has another value,
// with all else as it was. It must be read as just that.
func withSetting(text []byte, k cli.KeyValue) ([]byte, error) {
	old, err := program.ParseFile(text)
	if err != nil {
		return nil, err
	}
	own := regexp.MustCompile(`(?m)^[ \t]*"?` + regexp.QuoteMeta(k.Name) + `"?[ \t]*=.*\n?`)
	out := append([]byte(formatSetting(k)), own.ReplaceAll(text, nil)...)
	keys, err := program.ParseFile(out)
	if err != nil {
		return nil, err
	}
	want := append(slices.DeleteFunc(old, func(o cli.KeyValue) bool { return o.Name == k.Name }), k)
	slices.SortFunc(want, func(a, b cli.KeyValue) int { return strings.Compare(a.Name, b.Name) })
	if !slices.Equal(keys, want) {
		return nil, fmt.Errorf("%s: %s cannot be changed in this file", settingsFile, k.Name)
	}
	return out, nil
}
