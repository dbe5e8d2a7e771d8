// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/log"
	"example.org/sumlog/log/quorum"
)

// quorumWitnesses is how many witnesses cosign; two of them must.
const quorumWitnesses = 3

// measureQuorum measures the time of a lone append to a log that publishes only
// what two of three witnesses cosigned. Its floor is a log without witnesses.
func measureQuorum(b *bench) error {
	dir, err := b.newDir("quorum")
	if err != nil {
		return err
	}
	cosigned, plain := filepath.Join(dir, "cosigned"), filepath.Join(dir, "plain")
	var vkey string
	for _, d := range []string{plain, cosigned} {
		if vkey, err = log.Create(log.CreateConfig{Dir: d, Name: "sum.example.org/quorum"}); err != nil {
			return err
		}
	}
	p, stop, err := b.startWitnesses(vkey)
	defer stop()
	if err != nil {
		return err
	}
	key, err := checkpoint.ParseKey(vkey)
	if err != nil {
		return err
	}
	q, err := quorum.New(quorum.Config{Policy: p, Log: key})
	if err != nil {
		return err
	}
	defer q.Close()
	with, err := startLog(log.Config{Dir: cosigned, Witnesses: q})
	if err != nil {
		return err
	}
	without, err := startLog(log.Config{Dir: plain})
	if err != nil {
		return errors.Join(err, with.Close())
	}
	err = b.quorumRows(with, without)
	return errors.Join(err, with.Close(), without.Close())
}

func startLog(c log.Config) (*log.Log, error) {
	l, err := log.Open(c)
	if err != nil {
		return nil, err
	}
	if err := l.Start(unknown{}); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// startWitnesses starts witnesses of the log with vkey, and returns a policy
// that asks for all but one of them.
func (b *bench) startWitnesses(vkey string) (*policy.Policy, func(), error) {
	var all []*serving
	stop := func() {
		for _, s := range all {
			s.close()
		}
	}
	var text strings.Builder
	var names []string
	for i := range quorumWitnesses {
		temp, err := b.newDir("cosigner")
		if err != nil {
			return nil, stop, err
		}
		dir, name := filepath.Join(temp, "sumwitness"), fmt.Sprintf("w%d.example.org", i+1)
		cmd := exec.CommandContext(b.ctx, b.sumwitness, "init", "-dir", dir, "-name", name)
		cmd.Env = environment()
		out, err := cmd.Output()
		if err != nil {
			return nil, stop, fmt.Errorf("sumwitness init: %w", err)
		}
		s, err := b.serveWitness(dir, "-log", vkey)
		if err != nil {
			return nil, stop, err
		}
		all = append(all, s)
		names = append(names, fmt.Sprintf("w%d", i+1))
		fmt.Fprintf(&text, "witness w%d %s %s\n", i+1, strings.TrimSpace(string(out)), s.url())
	}
	fmt.Fprintf(&text, "group all %d %s\nquorum all\n", quorumWitnesses-1, strings.Join(names, " "))
	p, err := policy.Parse([]byte(text.String()))
	return p, stop, err
}

func (b *bench) quorumRows(with, without *log.Log) error {
	n, pause := 200, 20*time.Millisecond
	if b.short {
		n = 20
	}
	cosigned, plain := appendNew(b.ctx, with), appendNew(b.ctx, without)
	var got, floor []float64
	var err error
	for len(got) < n {
		if got, err = timed(got, 1, cosigned); err != nil {
			return err
		}
		time.Sleep(pause)
		if floor, err = timed(floor, 1, plain); err != nil {
			return err
		}
		time.Sleep(pause)
	}
	for _, q := range []struct {
		name string
		q    float64
		goal float64 // milliseconds; 0: none
	}{{"p50", 0.5, 100}, {"p99", 0.99, 0}} {
		x, y := quantile(got, q.q), quantile(floor, q.q)
		r := row{
			what: fmt.Sprintf("admission, cosigned by 2 of 3 witnesses, %s; floor: without witnesses", q.name),
			got:  fmt.Sprintf("%.1f ms", x), floor: fmt.Sprintf("%.1f ms", y), ratio: x / y, verdict: "–",
		}
		if q.goal > 0 {
			r.goal = fmt.Sprintf("≤ %.0f ms", q.goal)
			r.verdict = verdict(x <= q.goal)
		}
		b.table.add(r)
	}
	return nil
}
