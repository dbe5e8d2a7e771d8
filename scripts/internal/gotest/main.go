// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Gotest runs "go test" with the arguments it gets, and says what came of it: a
// line for each package when it ends, each skipped test with its reason, the whole
// output of what failed, and a total. The scripts that test use it.
//
// It reads the events of "go test -json": in what -v prints, the lines of tests
// that run in parallel are mixed, and a reason of several lines has no beginning.
//
// It ends with 0 if all tests passed or were skipped for a reason. A test that is
// skipped in silence proves nothing, so that it counts as failed; and so does a run
// in which nothing was tested.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	begin := time.Now()
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	r := newReport(out)
	failed := r.read(events)
	ended := cmd.Wait()
	r.total(time.Since(begin))
	return errors.Join(failed, ended, r.err())
}
