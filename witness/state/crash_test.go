// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// childEnv holds the childConfig of a child of the crash tests. Without it the
// tests run.
const childEnv = "SUMLOG_TEST_CHILD"

// A child takes steps with a few logs, says of each when it was answered, and is
// killed: at the Nth time that it comes to Point, or from outside.
type childConfig struct {
	Dir   string
	Point string
	N     int
}

const childLogs = 4

func childLog(i int) testLog { return newTestLog(fmt.Sprintf("%d.example/log", i)) }

func childMain(config string) int {
	var c childConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		panic(err)
	}
	var logs []testLog
	for i := range childLogs {
		logs = append(logs, childLog(i))
	}
	s, err := Open(Config{Dir: c.Dir, hook: func(point string) {
		if point != c.Point {
			return
		}
		if c.N--; c.N == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	if err != nil {
		fmt.Printf("bad %v\n", err)
		return 1
	}
	var wg sync.WaitGroup
	for i, l := range logs {
		wg.Go(func() {
			if err := s.AddLog(context.Background(), l.Log); err != nil {
				fmt.Printf("bad %v\n", err)
			}
			for {
				e, _ := s.Entry(l.Origin)
				next := e.Tree.N + 1
				if err := l.step(s, fakeTree("x", next), next); err != nil {
					fmt.Printf("bad %v\n", err)
					return
				}
				// One write of less than PIPE_BUF bytes arrives whole or not at all.
				fmt.Printf("ack %d %d\n", i, next)
			}
		})
	}
	wg.Wait()
	return 1
}

// runChild runs a child until it is killed and notes what was answered.
func runChild(t *testing.T, c childConfig, acked *[childLogs]int64, after time.Duration) {
	t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+string(config))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if c.Point == "" {
		timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
		defer timer.Stop()
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var i int
		var size int64
		if n, _ := fmt.Sscanf(lines.Text(), "ack %d %d", &i, &size); n != 2 {
			t.Errorf("child: %s", lines.Text())
			continue
		}
		acked[i] = max(acked[i], size)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("child: %v", err)
	}
}

// checkAcked opens what the child left: everything that was answered is there.
func checkAcked(t *testing.T, dir string, acked *[childLogs]int64) {
	t.Helper()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i, want := range acked {
		l := childLog(i)
		e, ok := s.Entry(l.Origin)
		if !ok && want == 0 {
			continue
		}
		if e.Tree.N < want || e.Tree.N > want+1 {
			t.Errorf("log %d: answered %d, found %d", i, want, e.Tree.N)
		}
		if e.Tree.N == 0 {
			continue
		}
		note, err := s.Note(l.Origin)
		if err != nil || string(note) != string(l.note(e.Tree)) || e.Tree != fakeTree("x", e.Tree.N) {
			t.Errorf("log %d: %v %q %v", i, e.Tree, note, err)
		}
		// What is there without having been answered may be answered from now on.
		acked[i] = e.Tree.N
	}
}

// TestKillAt kills at each crash point of a commit.
func TestKillAt(t *testing.T) {
	for _, point := range []string{"staged", "written", "committed", "guarded"} {
		t.Run(point, func(t *testing.T) {
			dir := mustCreate(t)
			var acked [childLogs]int64
			for _, n := range []int{1, 2, 7} {
				runChild(t, childConfig{dir, point, n}, &acked, 0)
				checkAcked(t, dir, &acked)
			}
			if acked == ([childLogs]int64{}) {
				t.Error("nothing was ever answered")
			}
		})
	}
}

// TestKill kills at any moment.
func TestKill(t *testing.T) {
	rounds := 6
	if thorough() {
		rounds = 200
	}
	dir := mustCreate(t)
	var acked [childLogs]int64
	for range rounds {
		runChild(t, childConfig{Dir: dir}, &acked, 5*time.Millisecond+rand.N(60*time.Millisecond))
		checkAcked(t, dir, &acked)
	}
	t.Logf("answered %v", acked)
}
