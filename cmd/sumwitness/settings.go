// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"time"

	"example.org/sumlog/internal/cli"
)

// options are the values of all settings.
type options struct {
	dir, name, guard     string
	keys                 cli.List
	mldsa                bool
	listen, metrics      string
	log, logs, feeds     cli.List
	peers                cli.List
	contact              string
	url                  string
	tlsCert, tlsKey      string
	bastion, bastionKey  string
	add, disable, enable cli.List
	json                 bool
	evidence             string
	monitor, restart     string
	monitorDelay         time.Duration
	witnesses            cli.List
}

const defaultListen = "127.0.0.1:8071"

// settings is the one table of all settings: their flags, their variables
// SUMWITNESS_*, their defaults.
var settings = []cli.Setting[*call]{
	{
		Name: "dir", Value: "DIR", Needed: true,
		Usage: "the data directory",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.dir }, ""),
	},
	{
		Name: "name", Value: "NAME",
		Usage: "the witness's name, host[/path], such as w1.example.org",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.name }, ""),
	},
	{
		Name: "key", Value: "SPEC",
		Usage: "a key to cosign with: a FILE, or agent:SHA256:FINGERPRINT for an\n" +
			"Ed25519 key in the ssh-agent at SSH_AUTH_SOCK. Any number of times;\n" +
			"what is given replaces DIR/key and DIR/key.mldsa",
		Bind: cli.Many(func(c *call) *cli.List { return &c.opts.keys }),
	},
	{
		Name: "guard", Value: "FILE",
		Usage: "what tells an older database from the newest (default DIR/guard); on\n" +
			"another disk it notices when DIR is replaced by an older copy",
		Bind: cli.Text(func(c *call) *string { return &c.opts.guard }, ""),
	},
	{
		Name:  "mldsa",
		Usage: "make a second key, ML-DSA-44, whose vkey is the second line",
		Bind:  cli.Switch(func(c *call) *bool { return &c.opts.mldsa }),
	},
	{
		Name: "listen", Value: "ADDR",
		Usage: "address to listen on (default " + defaultListen + "); off: nowhere,\nwith -bastion",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.listen }, defaultListen),
	},
	{
		Name: "log", Value: "VKEY",
		Usage: "a log to witness, whose origin is the key's name. Any number of times",
		Bind:  cli.Many(func(c *call) *cli.List { return &c.opts.log }),
	},
	{
		Name: "logs", Value: "SOURCE",
		Usage: "a list of logs to witness, in the witness network's format logs/v0: a\n" +
			"FILE or a URL, read again from time to time. Any number of times",
		Bind: cli.Many(func(c *call) *cli.List { return &c.opts.logs }),
	},
	{
		Name: "feed", Value: "'VKEY URL'",
		Usage: "a log to witness that does not come by itself: fetched from URL, where it\n" +
			"is a tiled log or a checksum database. Any number of times",
		Bind: cli.Many(func(c *call) *cli.List { return &c.opts.feeds }),
	},
	{
		Name: "peer", Value: "URL",
		Usage: "the monitoring URL of another witness, asked for what it has seen of a\n" +
			"log before the first cosignature since start. Any number of times",
		Bind: cli.Many(func(c *call) *cli.List { return &c.opts.peers }),
	},
	{
		Name: "metrics", Value: "ADDR",
		Usage: "address to serve /metrics on (default: nowhere)",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.metrics }, ""),
	},
	{
		Name: "contact", Value: "TEXT",
		Usage: "how operators of logs reach you; shown to everybody",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.contact }, ""),
	},
	{
		Name: "url", Value: "URL",
		Usage: "the witness as logs reach it, to be announced (default: https://NAME)",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.url }, ""),
	},
	{
		Name: "tls-cert", Value: "FILE",
		Usage: "certificate chain, PEM; read again when it changed",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.tlsCert }, ""),
	},
	{
		Name: "tls-key", Value: "FILE",
		Usage: "key of the certificate, PEM",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.tlsKey }, ""),
	},
	{
		Name: "bastion", Value: "HOST:PORT",
		Usage: "a bastion to connect to, through which logs then reach this witness",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.bastion }, ""),
	},
	{
		Name: "bastion-key", Value: "FILE",
		Usage: "the Ed25519 key by which the bastion knows this witness, PEM (default\n" +
			"DIR/bastion.key, made where it is missing)",
		Bind: cli.Text(func(c *call) *string { return &c.opts.bastionKey }, ""),
	},
	{
		Name: "add", Value: "VKEY",
		Usage: "witness this log too. Any number of times",
		Bind:  cli.Many(func(c *call) *cli.List { return &c.opts.add }),
	},
	{
		Name: "disable", Value: "ORIGIN",
		Usage: "cosign nothing of this log any more; its state is kept. Any number of\ntimes",
		Bind:  cli.Many(func(c *call) *cli.List { return &c.opts.disable }),
	},
	{
		Name: "enable", Value: "ORIGIN",
		Usage: "cosign this log again. Any number of times",
		Bind:  cli.Many(func(c *call) *cli.List { return &c.opts.enable }),
	},
	{
		Name:  "json",
		Usage: "print JSON",
		Bind:  cli.Switch(func(c *call) *bool { return &c.opts.json }),
	},
	{
		Name: "evidence", Value: "DEST",
		Usage: "write the evidence against logs into the directory DEST instead",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.evidence }, ""),
	},
	{
		Name: "monitor", Value: "URL",
		Usage: "where the witness serves what it cosigned (default: as -url)",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.monitor }, ""),
	},
	{
		Name: "monitor-delay", Value: "TIME",
		Usage: "how long what it serves there may be behind, such as 5s; later is a\n" +
			"failure (default: an hour, which is not waited for)",
		Bind: cli.Time(func(c *call) *time.Duration { return &c.opts.monitorDelay }, 0),
	},
	{
		Name: "witness", Value: "VKEY",
		Usage: "a key of the witness, to verify what it signs. Any number of times",
		Bind:  cli.Many(func(c *call) *cli.List { return &c.opts.witnesses }),
	},
	{
		Name: "restart", Value: "COMMAND",
		Usage: "a shell command that restarts the witness, hard, for the cases about that",
		Bind:  cli.Text(func(c *call) *string { return &c.opts.restart }, ""),
	},
}
