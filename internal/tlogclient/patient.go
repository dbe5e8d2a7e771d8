// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net/http"
	"time"
)

// Waits of a patient source, and the longest that a server can ask for: beyond
// it, an answer later is no answer.
const (
	leastWait = 500 * time.Millisecond
	mostWait  = 30 * time.Second
	maxAsked  = time.Minute
)

// Patient returns s, asked up to tries times for each file where it fails in a
// way that may pass: it is busy (429) or broken (5xx), it hangs, or the
// connection is lost. Between, it is left alone for as long as [Pause] says. That
// there is no such file is an answer and not a failure, and what breaks a limit
// or rule does not get better.
func Patient(s Source, tries int) Source { return &patient{s, tries} }

type patient struct {
	Source
	tries int
}

// Read implements Source.
func (p *patient) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	return p.readInto(ctx, path, limit, nil)
}

func (p *patient) readInto(ctx context.Context, path string, limit int64, into []byte) (data []byte, err error) {
	err = Retry(ctx, p.tries, func() error {
		data, err = readInto(ctx, p.Source, path, limit, into)
		return err
	})
	return data, err
}

// Retry calls f until it returns nil or an error that does not pass, up to tries
// times, and returns its last error.
func Retry(ctx context.Context, tries int, f func() error) error {
	for n := 1; ; n++ {
		err := f()
		if err == nil || n >= tries || !passes(err) {
			return err
		}
		wait := Pause(n, leastWait, mostWait, err)
		if wait > maxAsked {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// passes reports whether the same request may have another end later.
func passes(err error) bool {
	if e, ok := errors.AsType[*StatusError](err); ok {
		return e.Status == http.StatusRequestTimeout || e.Status == http.StatusTooManyRequests || e.Status >= 500
	}
	for _, lasting := range []error{fs.ErrNotExist, fs.ErrInvalid, ErrTooLarge, ErrImpatient, errRule, gzip.ErrHeader, gzip.ErrChecksum, context.Canceled} {
		if errors.Is(err, lasting) {
			return false
		}
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return false // of a disk
	}
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return !ok
}
