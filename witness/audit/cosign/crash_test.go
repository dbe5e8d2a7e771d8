// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package cosign

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.org/sumlog/internal/durable"
)

// childEnv makes of this binary a process that cosigns in a directory, up to a size
// or until it is killed.
const childEnv = "SUMLOG_TEST_COSIGN"

func TestMain(m *testing.M) {
	if size, dir, ok := strings.Cut(os.Getenv(childEnv), " "); ok {
		n, _ := strconv.ParseInt(size, 10, 64)
		os.Exit(child(dir, n))
	}
	os.Exit(m.Run())
}

// child cosigns one size after the other, and says of each when it is out.
func child(dir string, size int64) int {
	r := &rig{log: newTestLog(size, size)}
	r.c = Config{Dir: dir, Log: r.log.key, Cosigner: newCosigner("audit.example", false)}
	var err error
	if r.Signer, err = Open(r.c); err != nil {
		fmt.Println("bad", err)
		return 1
	}
	last, _, _ := r.Last()
	for n := last.Size + 1; n <= size; n++ {
		if _, err := r.Cosign(r.log.note(0, n), r.log.proof(0, n-1, n)); err != nil {
			fmt.Println("bad", err)
			return 1
		}
		fmt.Println("out", n)
	}
	return 0
}

// start runs a child, and calls at after each line, until it ends.
func start(t *testing.T, dir string, size int64, at func(n int64, cmd *exec.Cmd), under ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(under, self)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", childEnv, size, dir))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var n int64
		if _, err := fmt.Sscanf(lines.Text(), "out %d", &n); err != nil {
			t.Errorf("child: %s", lines.Text())
		}
		at(n, cmd)
	}
	cmd.Wait() // killed, or at its end
}

// TestKill kills a process that cosigns: what got out is in the state.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	told := int64(0)
	for range 20 {
		kill := told + 1 + rand.Int64N(20)
		before, killed := told, false
		start(t, dir, 2000, func(n int64, cmd *exec.Cmd) {
			told = n
			if n >= kill && !killed {
				killed = true
				time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, func() { cmd.Process.Kill() })
			}
		})
		if told <= before || !killed {
			t.Fatalf("told %d after %d", told, before)
		}
		r := newRig(t, dir, false)
		if head, _, ok := r.Last(); !ok || head.Size < told || head.Size > told+1 {
			t.Errorf("size %d got out, the state has %d", told, head.Size)
		}
		r.Close()
	}
}

// TestSynced has strace watch that what gets out is durable before: the file and the
// name that it got.
func TestSynced(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	if out, err := exec.Command(strace, "-f", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("strace does not work here: %v %s", err, out)
	}
	trace := filepath.Join(t.TempDir(), "trace")
	start(t, t.TempDir(), 20, func(int64, *exec.Cmd) {}, strace, "-f", "-qq", "-y", "-e", "trace=write,fsync,rename,renameat,renameat2", "-o", trace)
	data, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	// What happened since the last line got out. Calls of other threads can stand
	// between the beginning and the end of one.
	outs, since := 0, ""
	synced := regexp.MustCompile(`(?s)fsync\([0-9]+<[^>]*/` + regexp.QuoteMeta(durable.TempPrefix) + `[^>]*>.*rename[^\n]*"cosigned".*fsync\([0-9]+<[^>]*/cosign/[0-9a-f]{16}>`)
	for line := range strings.Lines(string(data)) {
		since += line
		if !strings.Contains(line, `"out `) {
			continue
		}
		if outs++; !synced.MatchString(since) {
			t.Fatalf("line %d got out before it was durable:\n%s", outs, since)
		}
		since = ""
	}
	if outs != 20 {
		t.Errorf("%d lines got out", outs)
	}
}
