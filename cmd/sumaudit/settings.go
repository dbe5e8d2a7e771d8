// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"fmt"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/netrc"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/internal/tlogclient"
)

// options are the values of the settings that several commands have. Those of one
// command are beside it.
type options struct {
	vkey, state, policy string
	maxAge              time.Duration
	private             string
	out                 string
	json                bool
}

// settings are those that several commands have, as flags and variables
// SUMAUDIT_*.
var settings = []cli.Setting[*call]{
	{
		Name: "vkey", Value: "VKEY",
		Usage: "the log's verifier key, as in GOSUMDB",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.vkey }, ""),
	},
	{
		Name: "state", Value: "DIR",
		Usage: "what is remembered of logs from run to run, and evidence (default:\n" +
			"nothing is remembered; evidence goes to the working directory)",
		Bind: cli.Text(func(c *call) *string { return &c.opts.state }, ""),
	},
	{
		Name: "policy", Value: "FILE",
		Usage: "who must have cosigned: a trust policy (https://c2sp.org/tlog-policy)",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.policy }, ""),
	},
	{
		Name: "max-age", Value: "TIME",
		Usage: "how old the newest cosignatures may be (default 24h)",
		Bind:  cli.Time(func(c *call) *time.Duration { return &c.opts.maxAge }, 24*time.Hour),
	},
	{
		Name: "private", Value: "GLOBS",
		Usage: "module paths that are yours alone, as in GOPRIVATE",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.private }, ""),
	},
	{
		Name: "o", Value: "FILE",
		Usage: "where to write (default: stdout)",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.out }, ""),
	},
	{
		Name:  "json",
		Usage: "print JSON",
		Bind:  cli.Switch(func(c *call) *bool { return &c.opts.json }),
	},
}

// credentials are those that the go command would use.
func (c *call) credentials() *netrc.Finder {
	if c.netrc == nil {
		c.netrc = netrc.New(func(err error) { fmt.Fprintf(c.Stderr, "sumaudit: warning: %v\n", err) })
	}
	return c.netrc
}

// newHTTP returns a reader of what the command line names.
func (c *call) newHTTP() *tlogclient.HTTP {
	config := httpConfig
	config.Credentials = c.credentials()
	return tlogclient.NewHTTP(config)
}

// logKey returns the key that -vkey names.
func (c *call) logKey() (*checkpoint.Key, error) {
	if c.opts.vkey == "" {
		return nil, cli.Usagef("no -vkey VKEY").Hint("it is the first field of GOSUMDB; sumlog env prints it")
	}
	key, err := checkpoint.ParseKey(c.opts.vkey)
	if err != nil {
		return nil, cli.Usagef("-vkey: %v", err)
	}
	return key, nil
}

// trustPolicy returns the policy in the file that -policy names, for the log of
// that key; nil without one.
func (c *call) trustPolicy(key *checkpoint.Key) (*policy.Policy, error) {
	p, _, err := c.policyFile()
	if err != nil || p == nil {
		return nil, err
	}
	if p, err = p.For(key); err != nil {
		return nil, cli.Usagef("-policy %s: %v", c.opts.policy, err)
	}
	return p, nil
}
