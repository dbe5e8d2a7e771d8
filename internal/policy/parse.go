// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package policy

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"example.org/sumlog/internal/checkpoint"
)

// Limits of a policy file. A note has room for a hundred signatures, so that
// more witnesses in a quorum would have no use.
const (
	MaxSize = 1 << 20 // bytes
	MaxEach = 256     // logs, witnesses, groups
)

// Parse parses a policy file.
func Parse(file []byte) (*Policy, error) {
	if len(file) > MaxSize {
		return nil, fmt.Errorf("policy: %d bytes, more than %d", len(file), MaxSize)
	}
	if !bytes.HasSuffix(file, []byte("\n")) {
		return nil, fmt.Errorf("policy: no newline at its end: add one, or the rest of what was cut off")
	}
	p := &parser{defined: map[string]bool{None: false}, member: map[string]string{}, key: map[string]string{}}
	for line := range strings.Lines(string(file)) {
		p.line++
		if err := p.parse(strings.TrimSuffix(line, "\n")); err != nil {
			return nil, fmt.Errorf("policy: line %d: %w", p.line, err)
		}
	}
	if p.Quorum == "" {
		return nil, fmt.Errorf("policy: no quorum line: add \"quorum NAME\", of a witness or group above it, or \"quorum none\" if nobody has to cosign")
	}
	return &p.Policy, nil
}

// A parser is a policy up to a line.
type parser struct {
	Policy
	line    int
	defined map[string]bool   // names; false for what no group can have as a member
	member  map[string]string // the group that a name is a member of
	key     map[string]string // the log or witness of a public key, by kind and key
}

func (p *parser) parse(line string) error {
	for i := range len(line) {
		if c := line[i]; c < ' ' && c != '\t' || c == 0x7f {
			return fmt.Errorf("control character %#02x", c)
		}
	}
	// Only these two separate items, whatever else looks like a space in Unicode.
	f := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
	if len(f) == 0 || f[0][0] == '#' {
		return nil
	}
	switch f[0] {
	case "log":
		return p.parseLog(f[1:])
	case "witness":
		return p.parseWitness(f[1:])
	case "group":
		return p.parseGroup(f[1:])
	case "quorum":
		return p.parseQuorum(f[1:])
	}
	return fmt.Errorf("unknown keyword %q: a line begins with log, witness, group, quorum or #", f[0])
}

func (p *parser) parseLog(f []string) error {
	if len(f) != 1 && len(f) != 2 {
		return fmt.Errorf("not log VKEY [URL]")
	}
	if len(p.Logs) == MaxEach {
		return fmt.Errorf("more than %d logs", MaxEach)
	}
	k, err := checkpoint.ParseKey(f[0])
	if err != nil {
		return err
	}
	if a := k.Algorithm(); a != checkpoint.Ed25519 && a != checkpoint.CosignatureMLDSA44 {
		return fmt.Errorf("log %s: key of type %#02x, %v", k.Name(), byte(a), a)
	}
	if err := p.once("log", k, k.Name()); err != nil {
		return err
	}
	p.Logs = append(p.Logs, Log{k, strings.Join(f[1:], "")})
	return nil
}

func (p *parser) parseWitness(f []string) error {
	if len(f) != 2 && len(f) != 3 {
		return fmt.Errorf("not witness NAME VKEY [URL]")
	}
	if len(p.Witnesses) == MaxEach {
		return fmt.Errorf("more than %d witnesses", MaxEach)
	}
	k, err := checkpoint.ParseKey(f[1])
	if err != nil {
		return err
	}
	if !k.Algorithm().Cosigns() {
		return fmt.Errorf("witness %s: key of type %#02x, %v", f[0], byte(k.Algorithm()), k.Algorithm())
	}
	if err := p.once("witness", k, f[0]); err != nil {
		return err
	}
	p.Witnesses = append(p.Witnesses, Witness{f[0], k, strings.Join(f[2:], "")})
	return p.define(f[0])
}

// once refuses a second log or witness with one public key. Under two names or
// IDs it could otherwise count twice towards the quorum.
func (p *parser) once(kind string, k *checkpoint.Key, name string) error {
	id := kind + string(k.Public())
	if other, ok := p.key[id]; ok {
		return fmt.Errorf("%s %s: same public key as %s", kind, name, other)
	}
	p.key[id] = name
	return nil
}

func (p *parser) define(name string) error {
	if name == None {
		return fmt.Errorf("the name %q is reserved", None)
	}
	if p.defined[name] {
		return fmt.Errorf("%q is defined already", name)
	}
	p.defined[name] = true
	return nil
}

func (p *parser) parseGroup(f []string) error {
	if len(f) < 3 {
		return fmt.Errorf("not group NAME all|any|K MEMBER…")
	}
	if len(p.Groups) == MaxEach {
		return fmt.Errorf("more than %d groups", MaxEach)
	}
	g := Group{Name: f[0], Members: slices.Clone(f[2:])}
	for _, m := range g.Members {
		if !p.defined[m] {
			return fmt.Errorf("group %s: no witness or group %q is defined before: add its line above", g.Name, m)
		}
		// A second way to count would let one witness stand for two.
		if other, ok := p.member[m]; ok {
			return fmt.Errorf("group %s: %q is a member of %s already", g.Name, m, other)
		}
		p.member[m] = g.Name
	}
	var err error
	if g.K, err = threshold(f[1], len(g.Members)); err != nil {
		return fmt.Errorf("group %s: %w", g.Name, err)
	}
	p.Groups = append(p.Groups, g)
	return p.define(g.Name)
}

func threshold(s string, n int) (int, error) {
	switch s {
	case "all":
		return n, nil
	case "any":
		return 1, nil
	}
	k, err := strconv.Atoi(s)
	if err != nil || strconv.Itoa(k) != s {
		return 0, fmt.Errorf("threshold %.24q: not all, any or a number", s)
	}
	if k < 1 || k > n {
		return 0, fmt.Errorf("threshold %d of %d members", k, n)
	}
	return k, nil
}

func (p *parser) parseQuorum(f []string) error {
	if len(f) != 1 {
		return fmt.Errorf("not quorum NAME")
	}
	if p.Quorum != "" {
		return fmt.Errorf("a second quorum line")
	}
	if f[0] != None && !p.defined[f[0]] {
		return fmt.Errorf("quorum: no witness or group %q is defined before: add its line above, or write \"quorum none\" if nobody has to cosign", f[0])
	}
	p.Quorum = f[0]
	return nil
}
