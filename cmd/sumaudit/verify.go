// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/witness/audit/bundle"
	"example.org/sumlog/witness/audit/gosum"
)

var cmdVerify = &command{
	Name:  "verify",
	Args:  "[URL] [FILE...]",
	Short: "verify go.sum files, a module cache, vendored files or binaries",
	Long: `
Verify compares hashes of modules with the records of a checksum database, each
of which it proves to be in the log, under one head that is consistent with all
others it sees. FILE is

	by default     a go.sum or go.work.sum file; go.sum and go.work.sum here
	with -cache    a module cache, whose files are hashed; GOMODCACHE
	with -vendor   a vendor directory, whose files are compared with those of the
	               logged zips, from the module cache or the URL; vendor
	with -binary   a Go binary: the modules it says it was built from

The key is that of -vkey, or that of the one log in -policy, or that of
GOSUMDB; the URL where none is given is where a go command would find the
database. With -bundle nothing is asked of anybody: all proofs are in that file
(see sumaudit bundle).

Each line is ok, or else one of

	mismatch      the log has another hash
	not-logged    the log says it has no such version
	malformed     no line of a go.sum file
	unchecked     not proven, for the reason given
	unknown-hash  not an h1: hash; go commands pass over it
	private       by -private or GONOSUMDB; such paths are told to nobody
	note          no log can have it: a directory that replaces a module, a
	              member of a workspace, the main module of a binary
	toolchain     what a binary says that it was built with

Exit code 3 is for a mismatch, and with -require-logged for not-logged, private,
unknown-hash and note too; 1 for what is not-logged, malformed or unchecked, and
where there is no line at all, since then nothing was verified; 4 if the log has
shown two histories, or a lookup or a zip contradicts it; 5 if the checkpoint is
smaller than one seen before, or -policy is not met. Without -state, no run knows
of another.

With -vendor, vendor/modules.txt is not compared with go.mod: "go build
-mod=vendor" does that.

A report is not signed: whoever can write it can leave lines out, or say what he
likes of lines that are not proven. -again shows that what is in it follows from
its proofs, and that lines are those of files that are here; keep it where it is
known who wrote it.

The arguments of gosumcheck mean what they mean there: -h, -k, -u and -v.
`,
	Flags: []string{
		"vkey", "policy", "max-age", "state", "private", "require-logged", "bundle",
		"cache", "vendor", "binary", "modcache-dir", "json", "sarif", "report", "again", "h", "k", "u", "v",
	},
	NArgs: func(int) bool { return true },
	Run:   runVerify,
	Usage: map[string]string{
		"max-age": usageMaxAge,
		"private": usagePrivate,
	},
}

// verifyOptions are the values of the settings that only verify has: c.verify.FIELD.
type verifyOptions struct {
	requireLogged         bool
	bundle, modcache      string
	cache, vendor, binary bool
	sarif, report, again  string
	height, key, url      string // of gosumcheck
	verbose               bool
}

var verifySettings = []cli.Setting[*call]{
	{
		Name:  "require-logged",
		Usage: "what no record confirms is an error: not logged, private, unknown hash,\nnote",
		Bind:  cli.Switch(func(c *call) *bool { return &c.verify.requireLogged }),
	},
	{
		Name: "bundle", Value: "FILE",
		Usage: "take all proofs from this file, and ask nobody",
		Bind:  cli.Text(func(c *call) *string { return &c.verify.bundle }, ""),
	},
	{
		Name:  "cache",
		Usage: "verify a module cache: hash all that was downloaded and extracted",
		Bind:  cli.Switch(func(c *call) *bool { return &c.verify.cache }),
	},
	{
		Name:  "vendor",
		Usage: "verify a vendor directory",
		Bind:  cli.Switch(func(c *call) *bool { return &c.verify.vendor }),
	},
	{
		Name:  "binary",
		Usage: "verify what Go binaries were built from",
		Bind:  cli.Switch(func(c *call) *bool { return &c.verify.binary }),
	},
	{
		Name: "modcache-dir", Value: "DIR",
		Usage: "where -vendor looks for zips first (default: what \"go env GOMODCACHE\"\nsays)",
		Bind:  cli.Text(func(c *call) *string { return &c.verify.modcache }, ""),
	},
	{
		Name: "sarif", Value: "FILE",
		Usage: "write what is not ok to FILE as SARIF 2.1.0; - is stdout",
		Bind:  cli.Text(func(c *call) *string { return &c.verify.sarif }, ""),
	},
	{
		Name: "report", Value: "FILE",
		Usage: "write a dated report to FILE, with all proofs",
		Bind:  cli.Text(func(c *call) *string { return &c.verify.report }, ""),
	},
	{
		Name: "again", Value: "REPORT",
		Usage: "verify a report again, without a network, and the files it is about if\nthey are here",
		Bind:  cli.Text(func(c *call) *string { return &c.verify.again }, ""),
	},
	{
		Name: "h", Value: "HEIGHT",
		Usage: "tile height; 8 is the only one that there is",
		Bind:  cli.Text(func(c *call) *string { return &c.verify.height }, "8"),
	},
	{
		Name: "k", Value: "VKEY",
		Usage: "the same as -vkey",
		Bind:  cli.Text(func(c *call) *string { return &c.verify.key }, ""),
	},
	{
		Name: "u", Value: "URL",
		Usage: "the same as the argument URL",
		Bind:  cli.Text(func(c *call) *string { return &c.verify.url }, ""),
	},
	{
		Name:  "v",
		Usage: "print the lines that are ok too",
		Bind:  cli.Switch(func(c *call) *bool { return &c.verify.verbose }),
	},
}

func runVerify(ctx context.Context, c *call) error {
	url, args, err := c.verifyArgs()
	if err != nil {
		return err
	}
	offline := c.verify.bundle != "" || c.verify.again != ""
	a, err := c.authority(ctx, url, offline)
	if err != nil {
		return err
	}
	if c.verify.again != "" {
		return c.verifyAgain(a)
	}
	in, err := c.verifyInputs(ctx, args)
	if err != nil {
		return err
	}
	r := &gosum.Report{
		Format: gosum.Format, Tool: "sumaudit " + cli.Version(), Time: time.Now().UTC().Truncate(time.Second),
		Policy: a.policy, RequireLogged: c.verify.requireLogged, Inputs: in.inputs,
	}
	if a.trust.MaxAge > 0 {
		r.MaxAge = a.trust.MaxAge.String()
	}
	if r.Private, err = c.privatePatterns(ctx, offline); err != nil {
		return err
	}
	if offline {
		err = c.verifyOffline(ctx, a, in, r)
	} else {
		err = c.verifyOnline(ctx, a, in, r)
	}
	if err != nil {
		return err
	}
	if err := c.printVerified(r); err != nil {
		return err
	}
	return verified(r)
}

// verifyArgs takes the URL from the arguments, and refuses what does not go
// together.
func (c *call) verifyArgs() (url string, args []string, err error) {
	v := c.verify
	if url, args = cutURL(c.Args); url != "" && v.url != "" {
		return "", nil, cli.Usagef("URL and -u say the same thing")
	}
	url = cmp.Or(url, v.url)
	kinds := 0
	for _, b := range []bool{v.cache, v.vendor, v.binary, v.again != ""} {
		if b {
			kinds++
		}
	}
	switch {
	case v.height != "8":
		return "", nil, cli.Usagef("-h %q: tiles have the height 8", v.height)
	case v.key != "" && c.opts.vkey != "":
		return "", nil, cli.Usagef("-vkey and -k say the same thing")
	case kinds > 1:
		return "", nil, cli.Usagef("-cache, -vendor, -binary and -again are for runs of their own")
	case v.bundle != "" && (url != "" || c.opts.state != ""):
		return "", nil, cli.Usagef("-bundle is for asking nobody: there is no URL and no -state then")
	case v.again != "" && (v.bundle != "" || v.report != "" || len(args) > 0 || url != ""):
		return "", nil, cli.Usagef("-again takes nothing but whom to trust")
	case v.binary && len(args) == 0:
		return "", nil, cli.Usagef("-binary, and no FILE")
	case c.opts.json && v.sarif == "-":
		return "", nil, cli.Usagef("-json and -sarif - both write to stdout")
	}
	return url, args, nil
}

func (c *call) verifyOnline(ctx context.Context, a authority, in *verifyInput, r *gosum.Report) error {
	s, set, paths, err := c.proven(ctx, a, in.modules(r.Private))
	if err != nil {
		return err
	}
	defer s.close()
	z := &zips{call: c, session: s, set: set}
	claims, err := in.all(ctx, c, r.Private, set, z)
	if err != nil {
		return err
	}
	paths = append(paths, z.evidence...)
	r.Fill(gosum.Judge(claims, r.Private, set))
	r.Log, r.URL, r.Evidence = set.Key.String(), s.site.URL, paths
	r.Checkpoint, r.Size = string(set.Head.Note), set.Head.Size
	r.Trusted(set.Cosignatures, set.Untrusted)
	if c.verify.report != "" {
		b, err := set.Bundle()
		if err != nil {
			return err
		}
		r.Bundle = string(b.Bytes())
	}
	return nil
}

func (c *call) verifyOffline(ctx context.Context, a authority, in *verifyInput, r *gosum.Report) error {
	file, err := readLimited(c.verify.bundle, bundle.MaxFile)
	if err != nil {
		return err
	}
	b, err := bundle.Parse(file)
	if err != nil {
		return fmt.Errorf("%s: %w", c.verify.bundle, err)
	}
	note, err := checkpoint.ParseNote(b.Newest().Note)
	if err != nil {
		return err
	}
	cosignatures, err := a.trust.Check(b.Key(), note)
	if err != nil && !errors.Is(err, policy.ErrQuorum) && !errors.Is(err, gosum.ErrTooOld) {
		return fmt.Errorf("%s: %w", c.verify.bundle, err)
	}
	r.Trusted(cosignatures, err)
	f := gosum.FromBundle(b)
	claims, err := in.all(ctx, c, r.Private, f, &zips{})
	if err != nil {
		return err
	}
	r.Fill(gosum.Judge(claims, r.Private, f))
	r.Log = b.Key().String()
	r.Checkpoint, r.Size = string(b.Newest().Note), b.Newest().Size
	if c.verify.report != "" {
		r.Bundle = string(file)
	}
	return nil
}

// verifyAgain verifies a report.
func (c *call) verifyAgain(a authority) error {
	file, err := readLimited(c.verify.again, gosum.MaxReport)
	if err != nil {
		return err
	}
	r, err := gosum.Again(file, a.trust)
	if err != nil {
		return fmt.Errorf("%s: %w", c.verify.again, err)
	}
	switch {
	case a.policy != "":
		r.Policy = a.policy
	case r.Policy != "":
		c.Say("the policy is the report's own; -policy FILE says yours")
	}
	if r.Private != "" {
		c.Say("private by the report: %s", r.Private)
	}
	if err := c.compareInputs(r); err != nil {
		return err
	}
	if err := c.printVerified(r); err != nil {
		return err
	}
	return verified(r)
}

// printVerified prints what came of a verification, and writes the files that are
// wanted.
func (c *call) printVerified(r *gosum.Report) error {
	if c.verify.report != "" {
		data, err := r.Bytes()
		if err != nil {
			return err
		}
		if err := c.writeResult(c.verify.report, data); err != nil {
			return err
		}
	}
	if c.verify.sarif != "" {
		dir, err := os.Getwd()
		if err != nil {
			return err
		}
		data, err := r.SARIF(dir)
		if err != nil {
			return err
		}
		if err := c.writeResult(c.verify.sarif, data); err != nil || c.verify.sarif == "-" {
			return err
		}
	}
	if c.opts.json {
		short := *r
		short.Bundle = ""
		data, err := short.Bytes()
		if err != nil {
			return err
		}
		return c.writeResult("", data)
	}
	return c.writeResult("", clean(verifiedText(r, c.verify.verbose)))
}

func verifiedText(r *gosum.Report, verbose bool) []byte {
	var b bytes.Buffer
	for _, i := range r.Lines {
		if i.Verdict != gosum.OK || verbose {
			fmt.Fprintf(&b, "%s: %s\n", i.Where(), i)
		}
	}
	for _, path := range r.Evidence {
		fmt.Fprintf(&b, "evidence: %s\n", path)
	}
	counts := gosum.Counts(r.Lines)
	fmt.Fprintf(&b, "%s: %d ok", r.Outcome, counts[gosum.OK])
	for _, v := range gosum.Verdicts {
		if counts[v] > 0 && v != gosum.OK {
			fmt.Fprintf(&b, ", %d %s", counts[v], v)
		}
	}
	fmt.Fprintf(&b, "; proven at size %d of %s", r.Size, r.Log)
	if r.Policy != "" {
		fmt.Fprintf(&b, ", cosigned by %d known witnesses", len(r.Cosignatures))
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// verified is the error of a verification: nil if all is sound.
func verified(r *gosum.Report) error {
	switch {
	case len(r.Evidence) > 0:
		return errContradiction
	case r.Outcome == gosum.Different:
		return withCode(exitMismatch, errors.New("not all is what the log has"))
	case r.Untrusted != "":
		return withCode(exitStale, fmt.Errorf("the checkpoint does not count: %s", r.Untrusted))
	case len(r.Lines) == 0:
		var names []string
		for _, in := range r.Inputs {
			names = append(names, in.Name)
		}
		return cli.Hint(fmt.Errorf("nothing was verified: there is no line in %s", strings.Join(names, ", ")),
			"an empty go.sum is right for a module that needs no other: then leave this out")
	case r.Outcome == gosum.Incomplete:
		return errors.New("not all could be verified")
	}
	return nil
}
