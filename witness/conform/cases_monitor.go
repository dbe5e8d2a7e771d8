// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.org/sumlog/internal/checkpoint"
)

const monitorRule = "tlog-witness, monitoring: "

// monitorCases are those of the monitoring prefix.
func monitorCases() []Case {
	return []Case{
		{"monitor-checkpoint", monitorRule + "the witness serves a recent checkpoint of the log (recommended), one that it cosigned", onGrown(monitorCheckpoint)},
		{"monitor-log-signature", monitorRule + "the checkpoint has the log's signature", onGrown(monitorLog)},
		{"monitor-cosignature", monitorRule + "the checkpoint has the cosignatures that were the answer to it", onGrown(monitorCosignature)},
		{"monitor-newest", monitorRule + "the checkpoint is the newest, an hour late at most", onGrown(monitorNewest)},
		{"monitor-unknown", monitorRule + "404 for logs that the witness never cosigned a checkpoint of", monitorUnknown},
		{"monitor-upper-case", monitorRule + "the hash of the origin is in lower case: there is one URL of a checkpoint", onGrown(monitorUpper)},
		{"monitor-post", monitorRule + "the request is a GET", onGrown(monitorPost)},
	}
}

var noMonitor = skipped("without a monitoring prefix that serves the log")

// head returns the note at the monitoring prefix.
func (r *run) head(ctx context.Context) (checkpoint.Note, error) {
	a, err := r.client.head(ctx, r.log.origin())
	if err != nil {
		return checkpoint.Note{}, err
	}
	if a.status != http.StatusOK {
		return checkpoint.Note{}, noMonitor
	}
	n, err := checkpoint.ParseNote(a.body)
	if err != nil {
		return checkpoint.Note{}, fmt.Errorf("body %.200q: %w", a.body, err)
	}
	return n, nil
}

// errBehind says that another checkpoint than the newest is shown.
var errBehind = errors.New("the newest checkpoint is not shown")

// newest returns the note at the monitoring prefix when it has that text.
func (r *run) newest(ctx context.Context, text string) (checkpoint.Note, error) {
	until := time.Now().Add(r.cfg.MonitorDelay)
	for {
		n, err := r.head(ctx)
		if err != nil || n.Text == text {
			return n, err
		}
		if r.cfg.MonitorDelay == 0 {
			return n, skipped("where the monitoring prefix is behind, which it may be for an hour")
		}
		if time.Now().After(until) {
			return n, fmt.Errorf("%w: %.200q", errBehind, n.Text)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return n, err
		}
	}
}

func monitorCheckpoint(ctx context.Context, r *run) error {
	n, err := r.head(ctx)
	if errors.Is(err, noMonitor) {
		return softly("nothing is served at %s", r.client.headURL(r.log.origin()))
	}
	if err != nil {
		return err
	}
	cp, err := checkpoint.Parse(n.Text)
	if err != nil {
		return err
	}
	if cp.Origin != r.log.origin() {
		return fmt.Errorf("checkpoint of %.100q", cp.Origin)
	}
	if cp.Size > r.size {
		return fmt.Errorf("checkpoint of size %d, and the newest cosigned is %d", cp.Size, r.size)
	}
	if want := r.tree.root(cp.Size); cp.Root != want {
		return fmt.Errorf("checkpoint of size %d: root %v, want %v", cp.Size, cp.Root, want)
	}
	return nil
}

func monitorLog(ctx context.Context, r *run) error {
	n, err := r.head(ctx)
	if err != nil {
		return err
	}
	if _, err = n.Verify(r.log.Key()); err != nil {
		return fmt.Errorf("by the log: %w", err)
	}
	return nil
}

func monitorCosignature(ctx context.Context, r *run) error {
	s := r.next()
	a, err := r.accepted(ctx, s)
	if err != nil {
		return err
	}
	sigs, err := cosignatures(a)
	if err != nil {
		return err
	}
	n, err := r.newest(ctx, s.note.Text)
	if errors.Is(err, errBehind) {
		n, err = r.head(ctx)
		sigs = nil
	}
	if err != nil {
		return err
	}
	for _, want := range sigs {
		if !slices.ContainsFunc(n.Signatures, func(s checkpoint.Signature) bool {
			return s.Name == want.Name && s.ID == want.ID && bytes.Equal(s.Bytes, want.Bytes)
		}) {
			return fmt.Errorf("the cosignature by %s+%08x is not the one that was the answer", want.Name, want.ID)
		}
	}
	if len(r.cfg.Witness) == 0 {
		return nil
	}
	if _, err := n.Verify(r.cfg.Witness...); err != nil {
		return fmt.Errorf("by the witness: %w", err)
	}
	return nil
}

func monitorNewest(ctx context.Context, r *run) error {
	for range 3 {
		s := r.next()
		if _, err := r.accepted(ctx, s); err != nil {
			return err
		}
		if _, err := r.newest(ctx, s.note.Text); err != nil {
			return err
		}
	}
	return nil
}

func monitorUnknown(ctx context.Context, r *run) error {
	for _, origin := range []string{"unknown.example/sumlog-conformance", r.log.origin() + "\n", "o:" + r.log.origin()} {
		a, err := r.client.head(ctx, origin)
		if err != nil {
			return err
		}
		if a.status != http.StatusNotFound {
			return fmt.Errorf("%v for the hash of %q, want 404", a, origin)
		}
	}
	return nil
}

func monitorUpper(ctx context.Context, r *run) error {
	if _, err := r.head(ctx); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(r.log.origin()))
	a, err := r.client.do(ctx, http.MethodGet, r.client.monitor+"/"+strings.ToUpper(hex.EncodeToString(sum[:]))+"/checkpoint", nil)
	if err != nil {
		return err
	}
	if a.status == http.StatusOK {
		return softly("status 200 for the hash in upper case")
	}
	return nil
}

func monitorPost(ctx context.Context, r *run) error {
	if _, err := r.head(ctx); err != nil {
		return err
	}
	a, err := r.client.do(ctx, http.MethodPost, r.client.headURL(r.log.origin()), []byte{})
	if err != nil {
		return err
	}
	if a.status == http.StatusOK {
		return softly("status 200 for POST")
	}
	return nil
}
