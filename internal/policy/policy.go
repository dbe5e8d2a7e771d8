// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package policy reads trust policies, which say when a checkpoint counts: when
// any one of the listed logs has signed it and enough of the listed witnesses
// have cosigned it (https://c2sp.org/tlog-policy).
//
// The log, the auditor and the client share this parser, so that one file means
// the same to all of them. It is strict: what the specification does not allow is
// an error that names the line. Names are octet strings, compared octet by octet.
//
// The specification leaves to an application which types of keys fit. Logs here
// sign with Ed25519 or ML-DSA-44 (0x01, 0x06); witnesses cosign with either
// (0x04, 0x06). An ID in a vkey must be the one that the key has.
//
// A policy file is trusted, being what trust is made of. The notes that Check
// judges are not.
package policy

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"example.org/sumlog/internal/checkpoint"
)

// None is the name of the quorum that needs no cosignature.
const None = "none"

// ErrQuorum says that too few of the witnesses have cosigned.
var ErrQuorum = errors.New("quorum of witnesses not met")

// A Policy is a parsed policy. It is not changed after it was made.
type Policy struct {
	Logs      []Log // in the order of the file, as are the others
	Witnesses []Witness
	Groups    []Group // members are defined before what they are members of
	Quorum    string  // name of a witness or a group, or None
}

// A Log is a log whose checkpoints are accepted. Its origin is the key's name.
type Log struct {
	Key *checkpoint.Key
	URL string // as written; "" if there is none
}

// A Witness is a witness whose cosignatures count.
type Witness struct {
	Name string // within the policy
	Key  *checkpoint.Key
	URL  string // the submission prefix, as written; "" if there is none
}

// A Group has witnessed what at least K of its members have.
type Group struct {
	Name    string
	K       int
	Members []string
}

// Met reports whether the quorum is met when the witnesses for whose names
// cosigned returns true, and no others, have cosigned.
func (p *Policy) Met(cosigned func(witness string) bool) bool {
	if p.Quorum == None {
		return true
	}
	witnessed := make(map[string]bool, len(p.Witnesses)+len(p.Groups))
	for _, w := range p.Witnesses {
		witnessed[w.Name] = cosigned(w.Name)
	}
	for _, g := range p.Groups {
		n := 0
		for _, m := range g.Members {
			if witnessed[m] {
				n++
			}
		}
		witnessed[g.Name] = n >= g.K
	}
	return witnessed[p.Quorum]
}

// For returns the policy for a log that is known from elsewhere: the same
// witnesses, and no other log. It fails if the policy lists logs and not this
// one.
func (p *Policy) For(log *checkpoint.Key) (*Policy, error) {
	only := Log{Key: log}
	if len(p.Logs) > 0 {
		i := slices.IndexFunc(p.Logs, func(l Log) bool { return l.Key.String() == log.String() })
		if i < 0 {
			return nil, fmt.Errorf("policy: lists logs, and %s is none of them", log.Name())
		}
		only = p.Logs[i]
	}
	return &Policy{[]Log{only}, p.Witnesses, p.Groups, p.Quorum}, nil
}

// A Result is what Check found in a note.
type Result struct {
	Checkpoint   checkpoint.Checkpoint
	Log          Log           // whose signature it has; the first of several
	Cosignatures []Cosignature // verified, in the order of the policy
}

// A Cosignature is that of one witness.
type Cosignature struct {
	Witness string
	Time    time.Time // when the witness says it knew of no larger tree
}

// Check reports whether n is a checkpoint that the policy accepts. It fails with
// ErrQuorum when only cosignatures are missing; the result is complete then.
//
// A signature that names a listed key and is not that key's spoils the note, a
// log's signature under the origin of another log does not count, and neither
// does a cosignature without a time, which sign-subtree gives for less than a
// checkpoint says.
func (p *Policy) Check(n checkpoint.Note) (Result, error) {
	c, err := checkpoint.Parse(n.Text)
	if err != nil {
		return Result{}, err
	}
	r := Result{Checkpoint: c}
	var keys []*checkpoint.Key
	for _, l := range p.Logs {
		if l.Key.Name() == c.Origin {
			keys = append(keys, l.Key)
		}
	}
	sigs, err := n.Verify(keys...)
	if err != nil {
		return Result{}, fmt.Errorf("log %q: %w", c.Origin, err)
	}
	i := slices.IndexFunc(p.Logs, func(l Log) bool { return by(sigs[0], l.Key) })
	r.Log = p.Logs[i]

	keys = keys[:0]
	for _, w := range p.Witnesses {
		keys = append(keys, w.Key)
	}
	sigs, err = n.Verify(keys...)
	if err != nil && !errors.Is(err, checkpoint.ErrUnsigned) {
		return Result{}, fmt.Errorf("witnesses: %w", err)
	}
	times := make(map[string]time.Time, len(sigs))
	for _, w := range p.Witnesses {
		i := slices.IndexFunc(sigs, func(s checkpoint.Signature) bool { return by(s, w.Key) })
		if i < 0 {
			continue
		}
		if t, ok := sigs[i].Time(); ok && t > 0 {
			times[w.Name] = time.Unix(t, 0)
			r.Cosignatures = append(r.Cosignatures, Cosignature{w.Name, times[w.Name]})
		}
	}
	if !p.Met(func(name string) bool { return !times[name].IsZero() }) {
		return r, fmt.Errorf("%w: %d of %d have cosigned", ErrQuorum, len(r.Cosignatures), len(p.Witnesses))
	}
	return r, nil
}

// by reports whether s names k.
func by(s checkpoint.Signature, k *checkpoint.Key) bool {
	return s.Name == k.Name() && s.ID == k.ID()
}
