// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxTyped bounds a line that is typed.
const maxTyped = 256

// Typed asks on stderr for a line on standard input and returns it, without space
// around it. At the end of the input it is empty: a script that was not told what
// to answer does not agree to anything.
func (c *Call) Typed(ctx context.Context, question string) (string, error) {
	return c.typed(ctx, os.Stdin, question)
}

func (c *Call) typed(ctx context.Context, in io.Reader, question string) (string, error) {
	fmt.Fprintf(c.Stderr, "%s ", question)
	type answer struct {
		line string
		err  error
	}
	// What reads may never return; then it ends with the process.
	got := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(io.LimitReader(in, maxTyped)).ReadString('\n')
		if err == io.EOF {
			err = nil
		}
		got <- answer{strings.TrimSpace(line), err}
	}()
	select {
	case a := <-got:
		if !terminal(c.Stderr) {
			fmt.Fprintln(c.Stderr) // the answer was not shown there
		}
		return a.line, a.err
	case <-ctx.Done():
		fmt.Fprintln(c.Stderr)
		return "", ctx.Err()
	}
}
