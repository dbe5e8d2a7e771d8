// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/witness/state"
)

// childEnv holds the childConfig of a child of the crash tests. Without it the
// tests run.
const childEnv = "SUMLOG_TEST_CHILD"

// A child is a witness whose clients take steps that exclude each other. It says
// which cosignatures they got, and is killed: at the Nth time that a checkpoint is
// stored and not yet answered, or from outside.
type childConfig struct {
	Dir     string
	N       int  // 0: from outside
	Measure bool // instead of all that
}

const childLogs, childClients = 3, 8

func childLog(i int) *testLog { return newTestLog(fmt.Sprintf("%d.example/log", i)) }

func childMain(config string) int {
	var c childConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		panic(err)
	}
	run := c.run
	if c.Measure {
		run = c.measure
	}
	if err := run(); err != nil {
		fmt.Printf("bad %v\n", err)
	}
	return 1
}

func (c childConfig) run() error {
	store, err := state.Open(state.Config{Dir: c.Dir})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	w, err := New(Config{Name: witnessName, Cosigners: testCosigners(), Store: store, hook: func(string) {
		mu.Lock()
		defer mu.Unlock()
		if c.N--; c.N == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	if err != nil {
		return err
	}
	errs := make(chan error)
	for i := range childLogs {
		l := childLog(i)
		if err := w.AddLog(l.config()); err != nil {
			return err
		}
		for client := range childClients {
			go func() {
				for {
					if err := step(w, store, i, l, client); err != nil {
						errs <- err
						return
					}
				}
			}()
		}
	}
	return <-errs
}

// step takes a step from what is stored, often with a history of its own, and
// says what was given for it. The history stands in the checkpoint.
func step(w *Witness, store *state.Store, i int, l *testLog, client int) error {
	h, size := history(nil), int64(0)
	note, err := store.Note(l.origin)
	if err != nil {
		return err
	}
	if note != nil {
		n, err := checkpoint.ParseNote(note)
		if err != nil {
			return err
		}
		c, err := checkpoint.Parse(n.Text)
		if err != nil {
			return err
		}
		if h, err = parseHistory(c.Extensions[0]); err != nil {
			return err
		}
		size = c.Size
	}
	if rand.IntN(24) == 0 {
		h = append(h, fork{size, fmt.Sprintf("c%d.%d", client, rand.IntN(1000))})
	}
	next := size + 1 + rand.Int64N(3)
	req := l.requestOf(h, size, next, "history "+h.String())
	lines, err := w.Add(context.Background(), req.Bytes())
	if err != nil {
		if status := statusOf(err); status != 409 && status != 422 {
			return err
		}
		return nil
	}
	sig, err := checkpoint.ParseSignature(strings.TrimSuffix(string(lines), "\n"))
	if err != nil {
		return err
	}
	t, _ := sig.Time()
	fmt.Printf("given %d %d %d %s\n", i, next, t, h)
	return nil
}

func parseHistory(s string) (h history, err error) {
	for field := range strings.FieldsSeq(strings.TrimPrefix(s, "history ")) {
		at, label, _ := strings.Cut(field, "/")
		n, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			return nil, err
		}
		h = append(h, fork{n, label})
	}
	return h, nil
}

// runChild runs a child until it is killed and enters what was given.
func runChild(t *testing.T, c childConfig, ledgers []*ledger, after time.Duration) {
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
	if c.N == 0 {
		timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
		defer timer.Stop()
	}
	lines := bufio.NewReader(out)
	for {
		text, err := lines.ReadString('\n')
		if err != nil { // a part of a line is one that was cut off
			break
		}
		var i int
		var g given
		n, _ := fmt.Sscanf(text, "given %d %d %d", &i, &g.size, &g.time)
		if n != 3 {
			t.Errorf("child: %s", text)
			continue
		}
		if g.h, err = parseHistory(strings.SplitN(text, " ", 5)[4]); err != nil {
			t.Fatal(err)
		}
		ledgers[i].enter(g)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("child: %v", err)
	}
}

// TestKill kills a witness between storing a checkpoint and answering, and at any
// other moment, again and again. What was given fits together, whatever the
// witness did after its restarts.
func TestKill(t *testing.T) {
	rounds := 8
	if thorough() {
		rounds = 200
	}
	dir := filepath.Join(t.TempDir(), "w")
	if err := state.Create(dir, ""); err != nil {
		t.Fatal(err)
	}
	var ledgers []*ledger
	for i := range childLogs {
		ledgers = append(ledgers, &ledger{testLog: childLog(i)})
	}
	for round := range rounds {
		c := childConfig{Dir: dir}
		if round%2 == 0 {
			c.N = 1 + rand.IntN(20)
		}
		runChild(t, c, ledgers, 20*time.Millisecond+rand.N(60*time.Millisecond))
	}
	for _, l := range ledgers {
		if err := l.check(); err != nil {
			t.Error(err)
		}
		if len(l.all) == 0 {
			t.Errorf("%s: nothing was given", l.origin)
		}
		t.Logf("%s: %d cosignatures, size %d, %d histories", l.origin, len(l.all), l.newest().size, len(l.newest().h))
	}
}
