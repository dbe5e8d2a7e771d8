// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package cosign

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/netrc"
	"example.org/sumlog/internal/outbound"
	"example.org/sumlog/internal/retry"
	"example.org/sumlog/internal/tlogclient"
)

const (
	submitPath = "/audited/add-checkpoint"
	submitTime = 30 * time.Second
	maxAnswer  = 4 << 10
)

// ErrUnwelcome is of an answer that no later one will be unlike: somebody has to do
// something first.
var ErrUnwelcome = errors.New("refused for good")

// refusals are the statuses of such answers, and what to do. All others pass: 409 and
// 422 when the log has caught up, 408, 425, 429 and 5xx by themselves. 403 and 404 are
// also what https://c2sp.org/tlog-witness has for keys and logs that are not known.
var refusals = map[int]string{
	http.StatusMovedPermanently:      moved,
	http.StatusFound:                 moved,
	http.StatusSeeOther:              moved,
	http.StatusTemporaryRedirect:     moved,
	http.StatusPermanentRedirect:     moved,
	http.StatusBadRequest:            otherVersion,
	http.StatusUnauthorized:          "what stands before the log wants to know who comes: let " + submitPath + " through, or go to the log itself",
	http.StatusForbidden:             unknownKey,
	http.StatusNotFound:              unknownKey,
	http.StatusMethodNotAllowed:      unknownKey,
	http.StatusGone:                  unknownKey,
	http.StatusRequestEntityTooLarge: otherVersion,
	http.StatusUnsupportedMediaType:  otherVersion,
}

const (
	moved        = "a cosignature is not taken elsewhere: give the URL at which the log is now"
	unknownKey   = "the log has to be told of this key: sumlog serve -auditor VKEY, with the vkey that cosign -new printed"
	otherVersion = "log and auditor do not understand each other: bring the older one up to date"
)

// A Refusal is an ErrUnwelcome.
type Refusal struct {
	Err  error
	Help string // what to do
}

func (e *Refusal) Error() string   { return e.Err.Error() }
func (e *Refusal) Unwrap() []error { return []error{ErrUnwelcome, e.Err} }

// A Submitter hands cosigned checkpoints to a log.
type Submitter struct {
	url    *url.URL
	user   *url.Userinfo // nil: that of the URL, if it has one
	client *http.Client
	old    int64 // what the log has of this key, as far as it was told
}

// NewSubmitter returns the submitter to the log at prefix, an http:// or https://
// URL. Where that has no user, credentials (nil: none) may have one for it.
func NewSubmitter(prefix string, credentials *netrc.Finder) (*Submitter, error) {
	u, err := tlogclient.ParseURL(strings.TrimSuffix(prefix, "/") + submitPath)
	if err != nil {
		return nil, err
	}
	dialer := outbound.NewDialer(0)
	dialer.Name(u)
	t := dialer.Transport()
	t.MaxIdleConnsPerHost = 1
	// A log must not send its auditor elsewhere.
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s := &Submitter{url: u, client: &http.Client{Transport: t, CheckRedirect: refuse, Timeout: submitTime}}
	if u.User == nil {
		s.user = credentials.For(u)
	}
	return s, nil
}

// Close closes idle connections.
func (s *Submitter) Close() { s.client.CloseIdleConnections() }

// Submit hands in a note as Cosign returns it. Prove makes the proof from a smaller
// size. An answer that is not 200 is a *tlogclient.StatusError, and a *Refusal where
// asking again does not help; one that says that the log has a larger checkpoint of
// this key is an ErrBehind.
func (s *Submitter) Submit(ctx context.Context, note []byte, prove func(ctx context.Context, old int64, tree tlog.Tree) ([]tlog.Hash, error)) error {
	n, err := checkpoint.ParseNote(note)
	if err != nil {
		return err
	}
	c, err := checkpoint.Parse(n.Text)
	if err != nil {
		return err
	}
	s.old = min(s.old, c.Size)
	for range 2 {
		r := checkpoint.AddRequest{Old: s.old, Note: note}
		if s.old > 0 && s.old < c.Size {
			if r.Proof, err = prove(ctx, s.old, c.Tree()); err != nil {
				return err
			}
		}
		have, err := s.post(ctx, r.Bytes())
		if err != nil {
			return err
		}
		if have < 0 {
			s.old = c.Size
			return nil
		}
		if have > c.Size {
			return fmt.Errorf("%w: the log says that it has one of size %d", ErrBehind, have)
		}
		s.old = have
	}
	return fmt.Errorf("%s: conflicts with itself", outbound.Redact(s.url))
}

// post posts a body, and returns the size of a conflict, or -1 for success.
func (s *Submitter) post(ctx context.Context, body []byte) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url.String(), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", "sumaudit/1")
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	if s.user != nil {
		password, _ := s.user.Password()
		req.SetBasicAuth(s.user.Username(), password)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case resp.StatusCode == http.StatusOK:
		return -1, nil // it was durable when the status was written
	case err != nil:
		return 0, err
	case resp.StatusCode == http.StatusConflict:
		return parseSize(string(text))
	}
	e := &tlogclient.StatusError{URL: outbound.Redact(s.url), Status: resp.StatusCode, RetryAfter: retry.After(resp.Header.Get("Retry-After"), time.Now())}
	if resp.StatusCode == http.StatusUnauthorized {
		return 0, e // what it says may be what it was sent
	}
	first, _, _ := strings.Cut(string(text), "\n")
	err = fmt.Errorf("%w: %.200q", e, first)
	if help, ok := refusals[resp.StatusCode]; ok {
		return 0, &Refusal{err, help}
	}
	return 0, err
}

// parseSize parses the answer of a conflict.
func parseSize(text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSuffix(text, "\n"), 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10)+"\n" != text {
		return 0, fmt.Errorf("conflict: %.40q is no size", text)
	}
	return n, nil
}
