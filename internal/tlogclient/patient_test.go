// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"example.org/sumlog/internal/tlogclient"
)

func TestPatient(t *testing.T) {
	status := func(n int, after time.Duration) error {
		return fmt.Errorf("wrapped: %w", &tlogclient.StatusError{URL: "u", Status: n, RetryAfter: after})
	}
	for _, tt := range []struct {
		name     string
		err      error
		asked    int
		min, max time.Duration // in all
	}{
		{"429", status(429, 0), 4, time.Second, 4 * time.Second},
		{"503, with a wish", status(503, 20*time.Second), 4, time.Minute, time.Minute},
		{"503, for long", status(503, 2*time.Minute), 1, 0, 0},
		{"500", status(500, 0), 4, time.Second, 4 * time.Second},
		{"hangs", fmt.Errorf("u: %w", context.DeadlineExceeded), 4, time.Second, 4 * time.Second},
		{"cut", io.ErrUnexpectedEOF, 4, time.Second, 4 * time.Second},
		{"connection lost", errors.New("connection reset by peer"), 4, time.Second, 4 * time.Second},
		{"404", status(404, time.Second), 1, 0, 0},
		{"410", status(410, time.Second), 1, 0, 0},
		{"403", status(403, time.Second), 1, 0, 0},
		{"no file", &fs.PathError{Op: "open", Path: "p", Err: fs.ErrNotExist}, 1, 0, 0},
		{"bad disk", &fs.PathError{Op: "read", Path: "p", Err: errors.New("input/output error")}, 1, 0, 0},
		{"too large", fmt.Errorf("u: %w", tlogclient.ErrTooLarge), 1, 0, 0},
		{"stopped", context.Canceled, 1, 0, 0},
		{"certificate", fmt.Errorf("u: %w", &tls.CertificateVerificationError{Err: errors.New("expired")}), 1, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			src := tlogclient.Patient(sourceFunc(func(string) ([]byte, error) { asked++; return nil, tt.err }), 4)
			start := time.Now()
			_, err := src.Read(t.Context(), "p", 10)
			if took := time.Since(start); err != tt.err || asked != tt.asked || took < tt.min || took > tt.max {
				t.Errorf("%s: asked %d times in %v, error %v", tt.name, asked, took, err)
			}
			asked = 0
			src = tlogclient.Patient(sourceFunc(func(string) ([]byte, error) {
				if asked++; asked == 2 {
					return []byte("data"), nil
				}
				return nil, tt.err
			}), 4)
			data, err := src.Read(t.Context(), "p", 10)
			if again := tt.asked > 1; again != (string(data) == "data" && err == nil && asked == 2) {
				t.Errorf("%s once: asked %d times, %q, %v", tt.name, asked, data, err)
			}
		})
	}
}

// TestPatientStopped checks that nobody waits for a source when nobody wants it.
func TestPatientStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		busy := &tlogclient.StatusError{Status: 503, RetryAfter: 30 * time.Second}
		start := time.Now()
		_, err := tlogclient.Patient(sourceFunc(func(string) ([]byte, error) { return nil, busy }), 4).Read(ctx, "p", 10)
		if took := time.Since(start); err != busy || took != 100*time.Millisecond {
			t.Errorf("after %v: error %v", took, err)
		}
	})
}
