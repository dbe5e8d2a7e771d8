// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHangingWitness signals a log whose only witness hangs, while it starts and
// while an admission waits for the witness.
func TestHangingWitness(t *testing.T) {
	t.Parallel()
	w := newWitnessed(t)
	n := w.nodes[0]
	n.start()
	n.ready()
	w.writePolicy("quorum w1")
	w.serve()
	if _, err := w.admit(); err != nil {
		t.Fatal(err)
	}
	n.kill()
	// Nobody accepts here what the kernel does.
	ln, err := net.Listen("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()

	// A tail that waits for the witness makes the next start long.
	go w.admit()
	eventually(t, "an entry is not published", func() error { return integrated(w.dir, 2) })
	w.terminate(w.proc)

	w.args = append(w.args, "-metrics", "127.0.0.1:0")
	p := w.starting()
	w.terminate(p)

	p = w.starting()
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it serves", func() error {
		select {
		case err := <-p.exited:
			p.exited <- err
			t.Fatalf("SIGHUP ended the start: %v\n%s", err, p.text())
		default:
		}
		if !strings.Contains(p.text(), "policy reloaded") {
			return fmt.Errorf("not reloaded: %s", p.text())
		}
		return nil
	})
	w.terminate(p)
}

// starting starts the log and returns while it still starts.
func (w *witnessed) starting() *process {
	w.t.Helper()
	p, _ := w.start()
	w.proc = p
	eventually(w.t, "it starts", func() error {
		if !strings.Contains(p.text(), "serving metrics") {
			return fmt.Errorf("said: %s", p.text())
		}
		return nil
	})
	return p
}

// terminate sends SIGTERM and wants an end in time.
func (w *witnessed) terminate(p *process) {
	w.t.Helper()
	w.proc = nil
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		w.t.Fatal(err)
	}
	begin := time.Now()
	select {
	case err := <-p.exited:
		if err != nil {
			w.t.Errorf("SIGTERM: %v\n%s", err, p.text())
		}
		w.t.Logf("ended after %v", time.Since(begin).Round(10*time.Millisecond))
	case <-time.After(10 * time.Second):
		w.t.Errorf("not ended within 10 s of SIGTERM\n%s", p.text())
		p.cmd.Process.Kill()
		<-p.exited
	}
}

// integrated reports why the tree in dir has not n entries.
func integrated(dir string, n int) error {
	data, err := os.ReadFile(filepath.Join(dir, "log/.state/treeState"))
	if err != nil {
		return err
	}
	var state struct{ Size int }
	if err := json.Unmarshal(data, &state); err != nil || state.Size != n {
		return fmt.Errorf("size %d, want %d: %v", state.Size, n, err)
	}
	return nil
}
