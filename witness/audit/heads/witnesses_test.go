// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package heads

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/mldsa"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"
	"example.org/sumlog/witness/audit/report"
)

func cosigner(t *testing.T, i int) *checkpoint.Cosigner {
	t.Helper()
	c, err := checkpoint.NewCosigner(fmt.Sprintf("w%d.example", i), ed25519.NewKeyFromSeed([]byte(fmt.Sprintf("%032d", i))))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// cosign adds to a note a cosignature by each of ws, at time at.
func cosign(t *testing.T, msg []byte, at int64, ws ...int) []byte {
	t.Helper()
	n, err := checkpoint.ParseNote(msg)
	if err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Parse(n.Text)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range ws {
		sig, err := cosigner(t, w).Cosign(c, at)
		if err != nil {
			t.Fatal(err)
		}
		n.Signatures = append(n.Signatures, sig)
	}
	return n.Bytes()
}

// witnessed asks for cosignatures of two of the witnesses 1 to 3.
func witnessed(t *testing.T) func(*Config) {
	var text strings.Builder
	for i := 1; i <= 3; i++ {
		fmt.Fprintf(&text, "witness w%d %s\n", i, cosigner(t, i).Key())
	}
	p, err := policy.Parse([]byte(text.String() + "group g 2 w1 w2 w3\nquorum g\n"))
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.Policy, c.MaxAge = p, time.Hour }
}

func TestPolicy(t *testing.T) {
	l := newLog(t, 300)
	note := l.Head(300).Note
	older := l.Head(299).Note
	damaged := func(msg []byte) []byte {
		n, err := checkpoint.ParseNote(msg)
		if err != nil {
			t.Fatal(err)
		}
		n.Signatures[2].Bytes[20] ^= 1
		return n.Bytes()
	}
	results := func(list ...any) map[string]report.Result {
		m := map[string]report.Result{}
		for i := 0; i < len(list); i += 2 {
			m[list[i].(string)] = list[i+1].(report.Result)
		}
		return m
	}
	for name, c := range map[string]struct {
		place Place
		note  []byte
		want  map[string]report.Result
	}{
		"fresh":              {Shown, cosign(t, note, ago(59*time.Minute), 1, 2), nil},
		"all three":          {Shown, cosign(t, note, ago(59*time.Minute), 3, 2, 1), nil},
		"none":               {Shown, note, results("W1", report.Stale, "A6", report.Stale)},
		"too few":            {Shown, cosign(t, note, ago(time.Minute), 3), results("W1", report.Stale, "A6", report.Stale)},
		"strangers":          {Shown, cosign(t, note, ago(time.Minute), 3, 4, 5), results("W1", report.Stale, "A6", report.Stale)},
		"too old":            {Shown, cosign(t, note, ago(61*time.Minute), 1, 2), results("A6", report.Stale)},
		"one too old":        {Shown, cosign(t, cosign(t, note, ago(61*time.Minute), 1), ago(0), 2), results("A6", report.Stale)},
		"two are enough":     {Shown, cosign(t, cosign(t, note, ago(61*time.Minute), 1), ago(0), 2, 3), nil},
		"a clock is ahead":   {Shown, cosign(t, note, ago(-4*time.Minute), 1, 2), nil},
		"future":             {Shown, cosign(t, note, ago(-6*time.Minute), 1, 2), results("W2", report.Warning, "A6", report.Stale)},
		"one of the future":  {Shown, cosign(t, cosign(t, note, ago(-6*time.Minute), 1), ago(0), 2), results("W2", report.Warning, "A6", report.Stale)},
		"bad cosignature":    {Shown, damaged(cosign(t, note, ago(0), 1, 2, 3)), results("W1", report.Stale, "W2", report.Failed)},
		"archived, too few":  {Archived, older, results("W1", report.Warning)},
		"archived, old":      {Archived, cosign(t, older, 1, 1, 2), nil},
		"of somebody else":   {Elsewhere, cosign(t, older, 1, 1), nil},
		"known from earlier": {Known, older, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, l, witnessed(t))
			if c.place != Shown {
				r.add(Shown, "/checkpoint", cosign(t, note, ago(0), 1, 2))
			}
			r.add(c.place, "there", c.note)
			r.check(nil)
			r.want(c.want)
		})
	}
	// Nothing that could be cosigned.
	r := newRig(t, l, witnessed(t))
	r.add(Shown, "/latest", database(l, 300).Head(300).Note)
	r.check(nil)
	r.want(results("W1", report.Stale))
	// A policy of other logs.
	p, err := policy.Parse([]byte("log " + tlogtest.New(t, "other.example", tlogclient.Tiles).Key.String() + "\nquorum none\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Key: l.Key, Log: open(t, l), Report: new(report.Report), Policy: p}); err == nil {
		t.Error("a policy of another log was taken")
	}
}

// TestWitnesses has witnesses contradict themselves.
func TestWitnesses(t *testing.T) {
	const n = 300
	l := newLog(t, n)
	fork := l.Fork(100)
	fork.Grow("other", n+50)
	newest := cosign(t, l.Head(n).Note, ago(time.Minute), 1, 2)
	head := func(l *tlogtest.Log, size int64, at time.Duration, ws ...int) []byte {
		return cosign(t, l.Head(size).Note, ago(at), ws...)
	}
	both := map[string]report.Result{"A5": report.Misbehaviour, "W3": report.Misbehaviour}
	alone := map[string]report.Result{"A5": report.Misbehaviour}
	back := map[string]report.Result{"W3": report.Misbehaviour}
	for name, c := range map[string]struct {
		notes [][]byte
		want  map[string]report.Result
		kinds []evidence.Kind
	}{
		"nothing wrong":         {[][]byte{head(l, 200, 3*time.Minute, 1), head(l, 250, 2*time.Minute, 1)}, nil, nil},
		"same size again":       {[][]byte{head(l, n, 0, 1)}, nil, nil},
		"back":                  {[][]byte{head(l, 200, 0, 1)}, back, []evidence.Kind{evidence.WentBack}},
		"back between":          {[][]byte{head(l, 250, 3*time.Minute, 3), head(l, 200, 2*time.Minute, 3)}, back, []evidence.Kind{evidence.WentBack}},
		"back at the same time": {[][]byte{head(l, 200, time.Minute, 1)}, nil, nil},
		"another was there":     {[][]byte{head(l, 200, 0, 3)}, nil, nil},
		"both, smaller":         {[][]byte{head(fork, 200, time.Hour, 1)}, both, []evidence.Kind{evidence.Fork, evidence.DoubleSigned}},
		"both, same size":       {[][]byte{head(fork, n, time.Minute, 2)}, both, []evidence.Kind{evidence.Equivocation, evidence.DoubleSigned}},
		"both, larger":          {[][]byte{head(fork, n+50, 0, 1)}, both, []evidence.Kind{evidence.Fork, evidence.DoubleSigned}},
		"two of them":           {[][]byte{head(fork, n, time.Minute, 1, 2)}, both, []evidence.Kind{evidence.Equivocation, evidence.DoubleSigned, evidence.DoubleSigned}},
		"only the fork":         {[][]byte{head(fork, 200, time.Hour, 3)}, alone, []evidence.Kind{evidence.Fork}},
		"below the fork":        {[][]byte{head(l, 90, 2*time.Hour, 3), head(fork, 200, time.Hour, 3)}, alone, []evidence.Kind{evidence.Fork}},
		"above the fork":        {[][]byte{head(l, 150, 2*time.Hour, 3), head(fork, 200, time.Hour, 3)}, both, []evidence.Kind{evidence.Fork, evidence.DoubleSigned}},
		"by a stranger":         {[][]byte{head(fork, 200, time.Hour, 4)}, alone, []evidence.Kind{evidence.Fork}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, l, witnessed(t))
			for _, n := range c.notes {
				r.set.Add(Elsewhere, "there", n, open(t, fork))
			}
			r.add(Shown, "/checkpoint", newest)
			r.check(nil)
			r.want(c.want, c.kinds...)
			for _, e := range r.evidence {
				if cosigned := e.Kind() == evidence.DoubleSigned || e.Kind() == evidence.WentBack; cosigned != e.Key().Algorithm().Cosigns() {
					t.Errorf("%s accuses %v", e.Kind(), e.Key())
				}
			}
		})
	}
}

// TestSubtree has a witness sign what says nothing about a time. It does not count for
// the policy, nor against the witness.
func TestSubtree(t *testing.T) {
	private, err := mldsa.GenerateKey(mldsa.MLDSA44())
	if err != nil {
		t.Fatal(err)
	}
	w, err := checkpoint.NewCosigner("w.example", private)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse(fmt.Appendf(nil, "witness w %s\nquorum w\n", w.Key()))
	if err != nil {
		t.Fatal(err)
	}
	l := newLog(t, 300)
	add := func(n int64, sign func(c checkpoint.Checkpoint) (checkpoint.Signature, error)) []byte {
		h := l.Head(n)
		sig, err := sign(h.Checkpoint)
		if err != nil {
			t.Fatal(err)
		}
		return append(h.Note, sig.String()...)
	}
	r := newRig(t, l, func(c *Config) { c.Policy, c.MaxAge = p, time.Hour })
	r.add(Shown, "/checkpoint", add(300, func(c checkpoint.Checkpoint) (checkpoint.Signature, error) {
		return w.CosignSubtree(checkpoint.Subtree{Origin: c.Origin, End: c.Size, Hash: c.Root})
	}))
	r.add(Elsewhere, "there", add(200, func(c checkpoint.Checkpoint) (checkpoint.Signature, error) { return w.Cosign(c, ago(time.Minute)) }))
	r.check(nil)
	r.want(map[string]report.Result{"W1": report.Stale, "A6": report.Stale})
}
