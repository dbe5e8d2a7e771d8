// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// quorumWitnesses is how many witnesses cosign; two of them must.
const quorumWitnesses = 3

// measureQuorum measures admissions through sumlog serve with the settings that it
// has by default and a policy of two of three witnesses: ten in a row, each a lookup
// of what is not yet in the log, right after a start. Its floor is the same without
// witnesses, and the round trip to a witness beside.
func measureQuorum(b *bench) error {
	temp, err := b.newDir("quorum")
	if err != nil {
		return err
	}
	cosigned, plain := filepath.Join(temp, "cosigned"), filepath.Join(temp, "plain")
	vkey, err := b.initLog(cosigned)
	if err != nil {
		return err
	}
	if _, err := b.initLog(plain); err != nil {
		return err
	}
	trip, err := newTrips()
	if err != nil {
		return err
	}
	text, witnesses, err := b.startWitnesses("-log", vkey, "-log", trip.logs[0].key.String())
	defer func() {
		for _, w := range witnesses {
			w.close()
		}
	}()
	if err != nil {
		return err
	}
	policy := filepath.Join(temp, "policy")
	if err := os.WriteFile(policy, []byte(text), 0o644); err != nil {
		return err
	}
	if err := b.begin(witnesses[0], trip); err != nil {
		return err
	}
	fresh, err := b.newModules(b.rounds() * inRow)
	if err != nil {
		return err
	}
	var with, without [inRow][]float64
	var trips []float64
	for round := range b.rounds() {
		if err := b.admitInRow(&with, fresh.command(b, cosigned, "-witness-policy", policy), fresh, round*inRow); err != nil {
			return err
		}
		if err := b.admitInRow(&without, fresh.command(b, plain), fresh, round*inRow); err != nil {
			return err
		}
		list, err := trip.next(inRow)
		if err != nil {
			return err
		}
		got, err := submission{list: list, clients: 1, status: 200}.run(b.ctx, witnesses[0])
		if err != nil {
			return err
		}
		trips = append(trips, got.ms...)
	}
	got, floor := slowest(with), slowest(without)+median(trips)
	b.table.add(row{
		fmt.Sprintf("admission by default settings, cosigned by 2 of 3 witnesses, slowest p50 of %d in a row; floor: without witnesses, and their round trip", inRow),
		fmt.Sprintf("%.1f ms", got), fmt.Sprintf("%.1f ms", floor), got / floor, "≤ 100 ms", verdict(got <= 100),
	})
	return nil
}

// inRow is how many admissions follow each other.
const inRow = 10

// newTrips returns the course by which round trips are measured.
func newTrips() (*course, error) {
	g, err := newGrowth()
	if err != nil {
		return nil, err
	}
	logs, err := newMadeLogs(1)
	if err != nil {
		return nil, err
	}
	return newCourse(g, logs), nil
}

// initLog makes a log and returns its vkey.
func (b *bench) initLog(dir string) (vkey string, err error) {
	cmd := exec.CommandContext(b.ctx, b.sumlog, "init", "-dir", dir, "-name", "sum.example.org/quorum")
	cmd.Env = environment()
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("sumlog init: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// admitInRow starts a server and has inRow of the modules admitted, from the one of
// that number on. It adds to ms what each took.
func (b *bench) admitInRow(ms *[inRow][]float64, cmd *exec.Cmd, fresh newModules, number int) error {
	s, err := b.startServe(cmd)
	if err != nil {
		return err
	}
	for i := range ms {
		ms[i], err = timed(ms[i], 1, func() error {
			_, err := s.get(b.ctx, fresh.lookup(number+i))
			return err
		})
		if err != nil {
			return errors.Join(err, s.close())
		}
	}
	return s.close()
}

// slowest returns the largest of the medians.
func slowest(ms [inRow][]float64) (x float64) {
	for _, at := range ms {
		x = max(x, median(at))
	}
	return x
}

// startWitnesses starts witnesses with further flags args, and returns a policy that
// asks for all but one of them.
func (b *bench) startWitnesses(args ...string) (policy string, all []*serving, err error) {
	var text strings.Builder
	var names []string
	for i := range quorumWitnesses {
		temp, err := b.newDir("cosigner")
		if err != nil {
			return "", all, err
		}
		dir, name := filepath.Join(temp, "sumwitness"), fmt.Sprintf("w%d.example.org", i+1)
		cmd := exec.CommandContext(b.ctx, b.sumwitness, "init", "-dir", dir, "-name", name)
		cmd.Env = environment()
		out, err := cmd.Output()
		if err != nil {
			return "", all, fmt.Errorf("sumwitness init: %w", err)
		}
		s, err := b.serveWitness(dir, args...)
		if err != nil {
			return "", all, err
		}
		all = append(all, s)
		names = append(names, fmt.Sprintf("w%d", i+1))
		fmt.Fprintf(&text, "witness w%d %s %s\n", i+1, strings.TrimSpace(string(out)), s.url())
	}
	fmt.Fprintf(&text, "group all %d %s\nquorum all\n", quorumWitnesses-1, strings.Join(names, " "))
	return text.String(), all, nil
}
