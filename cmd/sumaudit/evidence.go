// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/evidence"
)

var cmdEvidence = &command{
	Name:  "evidence",
	Args:  "FILE",
	Short: "verify evidence of misbehaviour",
	Long: `
Evidence verifies FILE, or stdin if FILE is -, without a network and without
trust in who made it: evidence as sumaudit, sumwitness and sumlog write it, or
text with the SECURITY ERROR in it that the go command prints when a checksum
database shows it two histories, for which -vkey says which database that is.

The first word of what it prints is

	PROVEN       what the file says is so, exit code 4
	NOT-PROVEN   the file proves nothing, exit code 1
	OBSERVATION  what somebody has seen: an answer that contradicts a record, a
	             head that a log has signed and he does not know. It is the word
	             of who made the file, exit code 0

and then which key is accused, and of what; of what no key has signed, none is.
Anybody can make keys, and evidence against them: so a PROVEN without -vkey says
nothing about whom you know. With -vkey, only what accuses the keys you name, and
no others, is proven.
`,
	Flags: []string{"vkey", "o", "json"},
	NArgs: cli.Exactly(1),
	Run:   runEvidence,
	Usage: map[string]string{
		"vkey": "the key that you know, of the log or cosigner that you expect to be\n" +
			"accused; two with a space between, where two logs differ",
		"o": "write the evidence there, if FILE is one: what the go command printed\nbecomes a file that needs no explanation",
	},
}

// A verdict is what -json prints.
type verdict struct {
	Verdict string    `json:"verdict"`
	Kind    string    `json:"kind,omitempty"`
	Claim   string    `json:"claim,omitempty"`
	Accused []accused `json:"accused,omitempty"`
	Reason  string    `json:"reason,omitempty"` // why it is not proven
}

// An accused is a key, and whether -vkey has named it.
type accused struct {
	VKey   string `json:"vkey"`
	Pinned bool   `json:"pinned"`
}

func runEvidence(_ context.Context, c *call) error {
	known, err := c.knownKeys()
	if err != nil {
		return err
	}
	file, err := readEvidence(c.Args[0])
	if err != nil {
		return err
	}
	e, err := parseEvidence(file, known)
	if errors.Is(err, cli.ErrUsage) {
		return err
	}
	v := verdictOn(e, err, known)
	if err := c.printVerdict(v); err != nil {
		return err
	}
	if v.Verdict == notProven {
		err := fmt.Errorf("%s: not proven", c.Args[0])
		if v.Kind == "" {
			err = cli.Hint(err, "FILE is what sumaudit, sumwitness or sumlog wrote as evidence, unchanged, or all that a go command printed with SECURITY ERROR in it")
		}
		return err
	}
	if c.opts.out != "" {
		if err := writeEvidence(c.opts.out, e); err != nil {
			return err
		}
	}
	if v.Verdict == proven {
		return withCode(exitMisbehaviour, fmt.Errorf("%s: misbehaviour is proven", c.Args[0]))
	}
	return nil
}

// knownKeys returns the keys that -vkey names.
func (c *call) knownKeys() (keys []*checkpoint.Key, err error) {
	for _, vkey := range strings.Fields(c.opts.vkey) {
		k, err := checkpoint.ParseKey(vkey)
		if err != nil {
			return nil, cli.Usagef("-vkey: %v", err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// readEvidence reads as much of a file as can be evidence.
func readEvidence(name string) ([]byte, error) {
	f := os.Stdin
	if name != "-" {
		var err error
		if f, err = os.Open(name); err != nil {
			return nil, err
		}
		defer f.Close()
	}
	data, err := io.ReadAll(io.LimitReader(f, evidence.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

func parseEvidence(file []byte, known []*checkpoint.Key) (*evidence.Evidence, error) {
	e, err := evidence.Parse(file)
	if err == nil || !evidence.IsSecurityError(file) {
		return e, err
	}
	if len(known) == 0 {
		return nil, cli.Usagef("no -vkey VKEY").Hint("what the go command prints does not say which key it trusts: give that of the checksum database")
	}
	for _, k := range known {
		if e, err = evidence.ParseSecurityError(string(file), k); err == nil {
			return e, nil
		}
	}
	return nil, err
}

// writeEvidence makes the file name.
func writeEvidence(name string, e *evidence.Evidence) error {
	root, err := os.OpenRoot(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer root.Close()
	return durable.WriteFile(root, filepath.Base(name), e.Bytes(), 0o644)
}

// The verdicts.
const (
	proven      = "PROVEN"
	notProven   = "NOT-PROVEN"
	observation = "OBSERVATION"
)

// verdictOn says what came of a file. Where keys are known, nothing is proven that
// accuses another one: else anybody could have a script that names its log's key
// raise the alarm, with a log of his own.
func verdictOn(e *evidence.Evidence, err error, known []*checkpoint.Key) verdict {
	if err != nil {
		return verdict{Verdict: notProven, Reason: strings.TrimPrefix(err.Error(), evidence.ErrNotProven.Error()+": ")}
	}
	v := verdict{Verdict: proven, Kind: string(e.Kind()), Claim: e.String()}
	if e.Observation() {
		v.Verdict = observation
	}
	for _, k := range e.Accused() {
		a := accused{VKey: k.String()}
		for _, o := range known {
			a.Pinned = a.Pinned || o.String() == a.VKey
		}
		if len(known) > 0 && !a.Pinned {
			v.Verdict, v.Reason = notProven, "a key is accused that -vkey does not name"
		}
		v.Accused = append(v.Accused, a)
	}
	return v
}

func (c *call) printVerdict(v verdict) error {
	if c.opts.json {
		e := json.NewEncoder(c.Stdout)
		e.SetEscapeHTML(false)
		return e.Encode(v)
	}
	var b bytes.Buffer
	b.WriteString(v.Verdict)
	if v.Kind != "" {
		b.WriteString(" " + v.Kind)
	}
	if v.Reason != "" {
		b.WriteString(": " + v.Reason)
	}
	b.WriteByte('\n')
	for _, a := range v.Accused {
		pinned := "named by -vkey"
		if !a.Pinned {
			pinned = "not known to be anybody's: compare it with the key you know, or give that with -vkey"
		}
		fmt.Fprintf(&b, "accused  %s\n         %s\n", a.VKey, pinned)
	}
	if v.Claim != "" && len(v.Accused) == 0 {
		b.WriteString("accused  nobody's key\n")
	}
	if v.Claim != "" {
		fmt.Fprintf(&b, "claim    %s\n", v.Claim)
	}
	_, err := c.Stdout.Write(clean(b.Bytes()))
	return err
}
