// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// A serving is a child process that serves HTTP on 127.0.0.1.
type serving struct {
	cmd  *exec.Cmd
	addr string // host:port
	tail *lastLines
	stop chan struct{}
	end  chan struct{} // closed when its output ends
	work sync.WaitGroup
	peak atomic.Int64 // of its anonymous memory, in bytes, as sampled
}

// start runs a server and waits until it has said where it listens. mark is
// what stands before its address in a line of its output.
func start(ctx context.Context, cmd *exec.Cmd, mark string) (*serving, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	// Should this process be killed, its children must not stay.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &serving{cmd: cmd, tail: &lastLines{}, stop: make(chan struct{}), end: make(chan struct{})}
	found := make(chan string, 1)
	s.work.Go(func() {
		defer close(s.end)
		defer close(found)
		s.read(out, mark, found)
	})
	select {
	case addr, ok := <-found:
		if ok {
			s.addr = addr
			s.work.Go(s.sample)
			return s, nil
		}
	case <-ctx.Done():
	case <-time.After(2 * time.Minute):
	}
	s.close()
	return nil, fmt.Errorf("%s did not start: %s", cmd.Args[0], s.tail)
}

// read looks for the address and keeps the last lines for error messages.
func (s *serving) read(out io.Reader, mark string, found chan<- string) {
	for sc := bufio.NewScanner(out); sc.Scan(); {
		s.tail.add(sc.Text())
		if _, rest, ok := strings.Cut(sc.Text(), mark); ok && mark != "" {
			mark = ""
			addr, _, _ := strings.Cut(rest, "'")
			found <- addr
		}
	}
	io.Copy(io.Discard, out)
}

// sample notes how much anonymous memory the process has at most.
func (s *serving) sample() {
	for {
		if n, err := s.anonymous(); err == nil && n > s.peak.Load() {
			s.peak.Store(n)
		}
		select {
		case <-s.stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// close ends the process and waits for it.
func (s *serving) close() error {
	close(s.stop)
	s.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(15*time.Second, func() { s.cmd.Process.Kill() })
	defer timer.Stop()
	s.work.Wait() // ends with its output
	return s.cmd.Wait()
}

// wait waits until a process that ends by itself has ended.
func (s *serving) wait() error {
	<-s.end
	close(s.stop)
	s.work.Wait()
	return s.cmd.Wait()
}

func (s *serving) url() string { return "http://" + s.addr }

// get returns the body of a path.
func (s *serving) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", s.url()+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, body)
	}
	return body, err
}

// ready waits until the server serves.
func (s *serving) ready(ctx context.Context) error {
	for {
		_, err := s.get(ctx, "/readyz")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// cpu returns the CPU time, user and system, of the process so far. /proc has it
// in steps of 10 ms only, so it comes from the process's CPU clock, whose number
// is made as clock_getcpuclockid(3) makes it.
func (s *serving) cpu() (time.Duration, error) {
	const sched = 2
	clock := int32(^s.cmd.Process.Pid)<<3 | sched
	var ts syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("CPU clock of process %d: %w", s.cmd.Process.Pid, errno)
	}
	return time.Duration(ts.Nano()), nil
}

// anonymous returns the anonymous memory of the process in bytes.
func (s *serving) anonymous() (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("/proc/PID/status: no RssAnon")
}

// serve starts sumlog on dir. args are further flags.
func (b *bench) serve(dir string, args ...string) (*serving, error) {
	return b.startServe(b.serveCommand(dir, args...))
}

// serveMark is what stands before the address that sumlog serve prints.
const serveMark = "export GOPROXY='http://"

func (b *bench) serveCommand(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(b.sumlog, append([]string{"serve", "-dir", dir, "-listen", "127.0.0.1:0"}, args...)...)
	cmd.Env = environment()
	return cmd
}

// startServe starts sumlog serve and waits until it serves.
func (b *bench) startServe(cmd *exec.Cmd) (*serving, error) {
	s, err := start(b.ctx, cmd, serveMark)
	if err != nil {
		return nil, err
	}
	if err := s.ready(b.ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// environment is this process's without what would change what is measured.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SUMLOG_") && !strings.HasPrefix(v, "SUMWITNESS_") && !strings.HasPrefix(v, "SUMAUDIT_") {
			env = append(env, v)
		}
	}
	return env
}

// cpuTime returns the CPU time, user and system, of this process so far.
func cpuTime() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		panic(err) // only a bad argument
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// lastLines keeps the end of a process's output.
type lastLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *lastLines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	l.lines = l.lines[max(0, len(l.lines)-5):]
}

func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "; ")
}
