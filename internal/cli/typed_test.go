// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestTyped(t *testing.T) {
	for in, want := range map[string]string{"": "", " 12 \nmore\n": "12", "12": "12", strings.Repeat("1", 1000): strings.Repeat("1", maxTyped)} {
		var stderr bytes.Buffer
		c := &Call{Stderr: &stderr}
		if got, err := c.typed(t.Context(), strings.NewReader(in), "how many?"); got != want || err != nil || stderr.String() != "how many? \n" {
			t.Errorf("%q: %q, %v, stderr %q", in, got, err, stderr.String())
		}
	}
	// Nobody types, and the process is told to end.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, w := io.Pipe()
	defer w.Close()
	if got, err := (&Call{Stderr: io.Discard}).typed(ctx, r, "?"); got != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("%q, %v", got, err)
	}
}
