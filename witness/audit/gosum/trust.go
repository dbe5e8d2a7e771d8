// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package gosum

import (
	"errors"
	"fmt"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/internal/tlogclient"
)

var (
	// ErrKey says that a file is of another log than the one trusted.
	ErrKey = errors.New("not the key that is trusted")

	// ErrTooOld says that cosignatures are older than is wanted.
	ErrTooOld = errors.New("cosignatures are too old")
)

// A Trust says whose heads count.
type Trust struct {
	Key    *checkpoint.Key // nil: that of any log in Policy
	Policy *policy.Policy  // nil: no cosignature is asked for
	MaxAge time.Duration   // of enough cosignatures; 0: any
	Now    time.Time       // what MaxAge counts back from
}

// Check reports whether the head in a note, signed by key, counts. Errors wrap ErrKey,
// [policy.ErrQuorum], ErrTooOld, or are about the note's form and signatures.
func (t Trust) Check(key *checkpoint.Key, n checkpoint.Note) ([]policy.Cosignature, error) {
	if t.Key == nil && t.Policy == nil || t.Key != nil && t.Key.String() != key.String() {
		return nil, fmt.Errorf("%w: %v", ErrKey, key)
	}
	head, err := tlogclient.ParseHead(n.Bytes(), "", key)
	if err != nil {
		return nil, err
	}
	if head.Origin != key.Name() && head.Origin != tlogclient.DatabaseOrigin {
		return nil, fmt.Errorf("origin %q is not that of %v", head.Origin, key)
	}
	if t.Policy == nil {
		return nil, nil
	}
	if t.Key == nil && len(t.Policy.Logs) == 0 {
		return nil, fmt.Errorf("%w: %v; the policy lists none", ErrKey, key)
	}
	pol, err := t.Policy.For(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKey, err)
	}
	if head.Origin != key.Name() {
		// Witnesses do not cosign tree heads: all databases share their origin.
		if pol.Quorum != policy.None {
			return nil, fmt.Errorf("%w: a tree head has no cosignatures", policy.ErrQuorum)
		}
		return nil, nil
	}
	r, err := pol.Check(n)
	if err != nil || t.MaxAge == 0 {
		return r.Cosignatures, err
	}
	return r.Cosignatures, t.checkAge(pol, r.Cosignatures)
}

func (t Trust) checkAge(pol *policy.Policy, cosignatures []policy.Cosignature) error {
	fresh := make(map[string]bool)
	for _, c := range cosignatures {
		fresh[c.Witness] = t.Now.Sub(c.Time) <= t.MaxAge
	}
	if !pol.Met(func(name string) bool { return fresh[name] }) {
		return fmt.Errorf("%w: not enough are of the last %v", ErrTooOld, t.MaxAge)
	}
	return nil
}
