// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// Made-up logs grow from growthBase entries by growthStep entries a checkpoint,
// up to growthSteps times.
const (
	growthBase  = 100_000
	growthStep  = 7
	growthSteps = 20_000
)

// A growth is a tree that grows, the same one for all made-up logs: a witness
// keeps logs apart by their origins, and to prove the steps of one tree is
// enough work for a load generator.
type growth struct {
	mu    sync.Mutex
	nodes []tlog.Hash // as tlog.StoredHashes has them
	size  int64
	steps []*step
}

// A step is from one size to the next.
type step struct {
	old   int64
	new   tlog.Tree
	proof []tlog.Hash
}

func newGrowth() (*growth, error) {
	g := &growth{}
	return g, g.grow(growthBase)
}

// ReadHashes implements tlog.HashReader.
func (g *growth) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		hashes[i] = g.nodes[x]
	}
	return hashes, nil
}

func (g *growth) grow(size int64) error {
	for ; g.size < size; g.size++ {
		leaf := tlog.RecordHash(binary.BigEndian.AppendUint64(nil, uint64(g.size)))
		nodes, err := tlog.StoredHashesForRecordHash(g.size, leaf, g)
		if err != nil {
			return err
		}
		g.nodes = append(g.nodes, nodes...)
	}
	return nil
}

// step returns the i-th step. The first is from nothing to growthBase.
func (g *growth) step(i int) (*step, error) {
	if i >= growthSteps {
		return nil, fmt.Errorf("a made-up log has only %d checkpoints", growthSteps)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.steps) <= i {
		s := &step{new: tlog.Tree{N: growthBase + growthStep*int64(len(g.steps))}}
		if err := g.grow(s.new.N); err != nil {
			return nil, err
		}
		var err error
		if s.new.Hash, err = tlog.TreeHash(s.new.N, g); err != nil {
			return nil, err
		}
		if len(g.steps) > 0 {
			s.old = s.new.N - growthStep
			if s.proof, err = tlog.ProveTree(s.new.N, s.old, g); err != nil {
				return nil, err
			}
		}
		g.steps = append(g.steps, s)
	}
	return g.steps[i], nil
}

// A madeLog is a made-up log.
type madeLog struct {
	key     *checkpoint.Key
	private ed25519.PrivateKey
}

// newMadeLog returns the i-th made-up log.
func newMadeLog(i int) (*madeLog, error) {
	seed := sum("log", int64(i))
	private := ed25519.NewKeyFromSeed(seed[:])
	key, err := checkpoint.NewKey(fmt.Sprintf("log%d.example.org/%x", i, seed[:4]), checkpoint.Ed25519, private.Public().(ed25519.PublicKey))
	return &madeLog{key, private}, err
}

func newMadeLogs(n int) (logs []*madeLog, err error) {
	for i := range n {
		l, err := newMadeLog(i)
		if err != nil {
			return nil, err
		}
		logs = append(logs, l)
	}
	return logs, nil
}

// note signs the checkpoint of a tree.
func (l *madeLog) note(t tlog.Tree) checkpoint.Note {
	text := checkpoint.Checkpoint{Origin: l.key.Name(), Size: t.N, Root: t.Hash}.Text()
	return checkpoint.Note{Text: text, Signatures: []checkpoint.Signature{{
		Name: l.key.Name(), ID: l.key.ID(), Bytes: ed25519.Sign(l.private, []byte(text)),
	}}}
}

// body is what l submits for a step.
func (l *madeLog) body(s *step) []byte {
	return checkpoint.AddRequest{Old: s.old, Proof: s.proof, Note: l.note(s.new).Bytes()}.Bytes()
}

// A submit is the body of a request to add-checkpoint, and which log makes it.
type submit struct {
	log  int
	body []byte
}

// A course is how far made-up logs are at one witness.
type course struct {
	growth *growth
	logs   []*madeLog
	at     []int // the next step of each
	turn   int   // whose turn it is
}

func newCourse(g *growth, logs []*madeLog) *course {
	return &course{growth: g, logs: logs, at: make([]int, len(logs))}
}

// first makes the request of each log that begins with it.
func (c *course) first() ([]submit, error) { return c.next(len(c.logs)) }

// next makes the next n requests, one log after the other.
func (c *course) next(n int) ([]submit, error) {
	list := make([]submit, n)
	for i := range list {
		x := c.turn
		c.turn = (c.turn + 1) % len(c.logs)
		s, err := c.growth.step(c.at[x])
		if err != nil {
			return nil, err
		}
		c.at[x]++
		list[i] = submit{x, c.logs[x].body(s)}
	}
	return list, nil
}

// wrong are requests that are refused however often they are made.
type wrong struct {
	what   string
	status int
	list   []submit
}

// wrongs makes them for logs that have begun.
func (c *course) wrongs() ([]wrong, error) {
	s, err := c.growth.step(c.at[0])
	if err != nil {
		return nil, err
	}
	stale := &step{new: s.new} // from size 0, which is not where the log is
	all := []wrong{{what: "409, a wrong old size", status: 409}, {what: "403, a bad signature", status: 403}, {what: "404, an unknown origin", status: 404}}
	for i, l := range c.logs {
		n := l.note(s.new)
		n.Signatures[0].Bytes[8] ^= 1
		other, err := newMadeLog(-1 - i)
		if err != nil {
			return nil, err
		}
		for j, body := range [][]byte{
			l.body(stale),
			checkpoint.AddRequest{Old: s.old, Proof: s.proof, Note: n.Bytes()}.Bytes(),
			other.body(s),
		} {
			all[j].list = append(all[j].list, submit{i, body})
		}
	}
	return all, nil
}

// cosignerName is the name of the witnesses under measure.
const cosignerName = "witness.example.org/bench"

// newCosigner returns the cosigner of a made-up witness.
func newCosigner() (*checkpoint.Cosigner, error) {
	seed := sha256.Sum256([]byte(cosignerName))
	return checkpoint.NewCosigner(cosignerName, ed25519.NewKeyFromSeed(seed[:]))
}
