// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/internal/record"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogproof"
	"example.org/sumlog/witness/audit/gosum"
)

var cmdProve = &command{
	Name:  "prove",
	Args:  "[URL] [PATH@VERSION] [FILE]",
	Short: "write the proof that one module version is logged, or check one",
	Long: `
Prove writes a proof in the common format of transparency logs, tlog-proof
(https://c2sp.org/tlog-proof), which tools of others can verify: the index of
the record, its inclusion proof, and a checkpoint. The record itself is the
extra data.

With -check it verifies such a file without a network, for the log of -vkey, or
those of -policy, or that of GOSUMDB. A proof is for something that you know:
for the hashes in a go.sum FILE (- is stdin), both of the zip and of the
go.mod, or else for those in the extra data, whatever they are, of
PATH@VERSION. It prints the record.

Exit code 3 is for a record that is another one than FILE has.
`,
	Flags: []string{"vkey", "policy", "max-age", "state", "check", "o"},
	NArgs: func(n int) bool { return n <= 2 },
	Run:   runProve,
	Usage: map[string]string{
		"max-age": usageMaxAge,
	},
}

// proveOptions are the values of the settings that only prove has: c.prove.FIELD.
type proveOptions struct {
	check string
}

var proveSettings = []cli.Setting[*call]{
	{
		Name: "check", Value: "FILE",
		Usage: "check the proof in this file",
		Bind:  cli.Text(func(c *call) *string { return &c.prove.check }, ""),
	},
}

func runProve(ctx context.Context, c *call) error {
	if c.prove.check != "" {
		return c.checkProof(ctx)
	}
	url, args := cutURL(c.Args)
	if len(args) != 1 {
		return cli.Usagef("prove needs one PATH@VERSION")
	}
	m, err := parseVersion(args[0])
	if err != nil {
		return err
	}
	a, err := c.authority(ctx, url, false)
	if err != nil {
		return err
	}
	s, set, paths, err := c.proven(ctx, a, []module.Version{m})
	if err != nil {
		return err
	}
	defer s.close()
	for _, path := range paths {
		c.Say("evidence: %s", path)
	}
	e, v, reason := set.Find(m.Path, m.Version)
	switch {
	case len(paths) > 0:
		return errContradiction
	case v != gosum.OK:
		return fmt.Errorf("%s: %s: %s", m, v, reason)
	case set.Untrusted != nil:
		return withCode(exitStale, set.Untrusted)
	}
	index, _, hashes, err := set.Inclusion(m.Path, m.Version)
	if err != nil {
		return err
	}
	note, err := checkpoint.ParseNote(set.Head.Note)
	if err != nil {
		return err
	}
	p := tlogproof.Proof{Extra: e.Text(), Index: index, Hashes: hashes, Checkpoint: note}
	return c.writeResult(c.opts.out, p.Bytes())
}

// parseVersion parses PATH@VERSION.
func parseVersion(arg string) (module.Version, error) {
	path, version, ok := strings.Cut(arg, "@")
	if !ok || module.CheckPath(path) != nil || module.CanonicalVersion(version) != version {
		return module.Version{}, cli.Usagef("%q is not PATH@VERSION, with a whole version", arg)
	}
	return module.Version{Path: path, Version: version}, nil
}

// checkProof verifies a proof.
func (c *call) checkProof(ctx context.Context) error {
	m, lines, err := c.checkArgs()
	if err != nil {
		return err
	}
	a, err := c.authority(ctx, "", true)
	if err != nil {
		return err
	}
	file, err := readLimited(c.prove.check, tlogproof.MaxFile)
	if err != nil {
		return err
	}
	p, err := tlogproof.Parse(file)
	if err != nil {
		return fmt.Errorf("%s: %w", c.prove.check, err)
	}
	text, own, err := recordOf(p, m, lines)
	if err != nil {
		return fmt.Errorf("%s: %w", c.prove.check, err)
	}
	head, key, err := checkHead(a.trust, p.Checkpoint)
	if errors.Is(err, policy.ErrQuorum) || errors.Is(err, gosum.ErrTooOld) {
		err = withCode(exitStale, err)
	}
	if err != nil {
		return err
	}
	if err := p.Includes(head.Tree(), tlog.RecordHash(text)); err != nil {
		// Only if the proof proves another record is what is in the file wrong.
		other, _ := record.Parse(p.Extra)
		mine, _ := record.Parse(text)
		if own && string(other.Path) == string(mine.Path) && string(other.Version) == string(mine.Version) &&
			p.Includes(head.Tree(), tlog.RecordHash(p.Extra)) == nil {
			return withCode(exitMismatch, fmt.Errorf("the log has another record:\n%s", p.Extra))
		}
		return err
	}
	c.Say("entry %d at size %d of %s", p.Index, head.Size, key.Name())
	return c.writeResult(c.opts.out, text)
}

// checkArgs takes a module version and lines of go.sum files from the arguments.
func (c *call) checkArgs() (m module.Version, lines []gosum.Claim, err error) {
	for _, arg := range c.Args {
		if strings.Contains(arg, "@") {
			if m, err = parseVersion(arg); err != nil {
				return m, nil, err
			}
			continue
		}
		_, claims, err := readSum(arg)
		if err != nil {
			return m, nil, err
		}
		// Not nil: hashes were given, even if there are none in the file.
		lines = append(slices.Grow(lines, 1), claims...)
	}
	if m.Path == "" && lines == nil {
		return m, nil, cli.Usagef("-check needs what is to be proven: PATH@VERSION, or a go.sum file")
	}
	return m, lines, nil
}

// recordOf returns the record that p is to prove: of the user's own hashes, if there
// are any.
func recordOf(p tlogproof.Proof, m module.Version, lines []gosum.Claim) (text []byte, own bool, err error) {
	extra, err := record.Parse(p.Extra)
	if m.Path == "" {
		if err != nil {
			return nil, false, errors.New("it does not say of which module it is: PATH@VERSION does")
		}
		m = module.Version{Path: string(extra.Path), Version: string(extra.Version)}
	}
	if lines == nil {
		if err != nil || string(extra.Path) != m.Path || string(extra.Version) != m.Version {
			return nil, false, fmt.Errorf("there is no record of %s in it: GO.SUM has the hashes", m)
		}
		return p.Extra, false, nil
	}
	var zip, mod string
	for _, l := range lines {
		if l.Path != m.Path || l.Version != m.Version || l.Given != "" || !strings.HasPrefix(l.Hash, "h1:") {
			continue
		}
		hash := &zip
		if l.Mod {
			hash = &mod
		}
		if *hash != "" && *hash != l.Hash {
			return nil, false, fmt.Errorf("%s: two hashes are given of %s", l.Where(), l.Name())
		}
		*hash = l.Hash
	}
	if zip == "" || mod == "" {
		return nil, false, fmt.Errorf("not both lines of %s are among those given", m)
	}
	text = fmt.Appendf(nil, "%s %s %s\n%[1]s %[2]s/go.mod %[4]s\n", m.Path, m.Version, zip, mod)
	if _, err := record.Parse(text); err != nil {
		return nil, false, err
	}
	return text, true, nil
}

// checkHead finds the key that has signed a checkpoint among those trusted.
func checkHead(t gosum.Trust, n checkpoint.Note) (tlogclient.Head, *checkpoint.Key, error) {
	keys := []*checkpoint.Key{t.Key}
	if t.Key == nil {
		keys = nil
		for _, l := range t.Policy.Logs {
			keys = append(keys, l.Key)
		}
	}
	var err error
	for _, key := range keys {
		if _, err = t.Check(key, n); !errors.Is(err, tlogclient.ErrHead) {
			if err != nil {
				return tlogclient.Head{}, nil, err
			}
			head, err := tlogclient.ParseHead(n.Bytes(), "", key)
			return head, key, err
		}
	}
	return tlogclient.Head{}, nil, err
}
