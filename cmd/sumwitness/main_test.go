// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"example.org/sumlog/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"sumwitness": main,
		// poke URL: what -restart runs, there being no curl everywhere. It prints
		// the body.
		"poke": func() {
			resp, err := http.Get(os.Args[1])
			if err == nil && resp.StatusCode == http.StatusOK {
				_, err = io.Copy(os.Stdout, resp.Body)
			}
			if err != nil || resp.StatusCode != http.StatusOK {
				fmt.Fprintln(os.Stderr, "poke:", resp, err)
				os.Exit(1)
			}
		},
	})
}

// TestScripts runs the scripts in testdata against the real binary. Their
// commands, beside the usual ones:
//
//	serve DIR [FLAG...]   start sumwitness serve -dir DIR in the background, wait
//	                      until it is ready; sets $server to its URL, and
//	                      $announced to the one that it tells others
//	shutdown [CODE]       end it with SIGTERM; it must exit with CODE (0)
//	killed                end it with SIGKILL
//	died CODE             wait until it ended by itself; it must exit with CODE
//	hup                   send it SIGHUP
//	restarter             set $restart to a URL that kills and starts it
//	restarted             fail unless that was used
//	serverlog TEXT        wait until what it wrote has TEXT, and print it
//	get PATH [STATUS]     GET $server/PATH, or PATH if that is a URL; prints header
//	                      and body; fails unless it is STATUS (200)
//	until TEXT PATH       GET PATH until the answer has TEXT
//	log NAME [database]   make a log of that name, and serve it: sets $vkey_NAME
//	                      and $url_NAME, with dots as underscores
//	grow NAME SIZE        make it grow to SIZE
//	fork NAME SIZE        take its entries from SIZE on away: what grows there then
//	                      is another history
//	submit NAME [STATUS]  submit what NAME shows; fails unless the answer is STATUS
//	                      (200), or with STATUS refused, of 400 and above
//	pair CERT KEY SERIAL  write a certificate for 127.0.0.1 and its key
//	copy NAME DIR         copy the cosigned checkpoint of a log to where a monitor
//	                      has it below DIR
//	static DIR            serve the files in DIR; sets $static to the URL
//	bastion               start a bastion that the processes trust: sets $bastion
//	                      to its address
//	hang                  begin a request, and go no further with it
//	fails CODE COMMAND... COMMAND must exit with CODE
//	usage COMMAND...      COMMAND must exit with 2
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: func(e *testscript.Env) error { return setupScript(t, e) },
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"serve":     scriptServe,
			"shutdown":  scriptShutdown,
			"killed":    scriptKilled,
			"died":      scriptDied,
			"hup":       scriptHup,
			"restarter": scriptRestarter,
			"restarted": scriptRestarted,
			"serverlog": scriptServerLog,
			"get":       scriptGet,
			"until":     scriptUntil,
			"log":       scriptLog,
			"grow":      scriptGrow,
			"fork":      scriptFork,
			"submit":    scriptSubmit,
			"pair":      scriptPair,
			"copy":      scriptCopy,
			"static":    scriptStatic,
			"bastion":   scriptBastion,
			"hang":      scriptHang,
			"fails":     scriptFails,
			"usage":     scriptUsage,
		},
		// Of all of them: a server that starts where it should not is not waited
		// for.
		Deadline:            time.Now().Add(2 * time.Minute),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// TestTable checks that the table of settings and the commands fit together.
func TestTable(t *testing.T) {
	isSetting := func(name string) bool {
		return slices.ContainsFunc(settings, func(s cli.Setting[*call]) bool { return s.Name == name })
	}
	used := map[string]bool{}
	for _, cmd := range program.Commands {
		for _, name := range cmd.Flags {
			used[name] = true
			if !isSetting(name) {
				t.Errorf("%s has the flag -%s, which is no setting", cmd.Name, name)
			}
		}
		for name := range cmd.Usage {
			if !slices.Contains(cmd.Flags, name) {
				t.Errorf("%s says what -%s is, and does not have it", cmd.Name, name)
			}
		}
		var help bytes.Buffer
		if err := program.Help(cmd, &help); err != nil || !strings.HasPrefix(help.String(), "usage: sumwitness "+cmd.Name) {
			t.Errorf("help of %s: %v, %q", cmd.Name, err, help.String())
		}
		for line := range strings.Lines(help.String()) {
			if len(line) > 82 {
				t.Errorf("help of %s has a long line: %s", cmd.Name, line)
			}
		}
	}
	for _, s := range settings {
		if !used[s.Name] {
			t.Errorf("no command has the flag -%s", s.Name)
		}
	}
}

// TestWithoutC checks that what can be built without a C compiler, and then says
// that it lacks one, does not need one, and that a witness needs nothing of the
// server.
func TestWithoutC(t *testing.T) {
	for cgo, without := range map[string][]string{
		"0": {"github.com/mattn/go-sqlite3", "example.org/sumlog/witness/state"},
		"1": {"example.org/sumlog/log", "example.org/sumlog/index", "example.org/sumlog/mirror"},
	} {
		cmd := exec.Command("go", "list", "-deps", ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, pkg := range without {
			if strings.Contains(string(out), pkg+"\n") {
				t.Errorf("with CGO_ENABLED=%s, sumwitness imports %s", cgo, pkg)
			}
		}
		if !strings.Contains(string(out), "example.org/sumlog/witness/conform\n") {
			t.Errorf("no list of packages: %s", out)
		}
	}
}

// scriptKey is where a script keeps its state.
type scriptKey struct{}

type script struct {
	t        *testing.T
	server   atomic.Pointer[process] // nil: none runs
	restarts atomic.Int32
	logs     map[string]*testLog
	client   *http.Client
}

// A process is a running sumwitness serve.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

func setupScript(t *testing.T, env *testscript.Env) error {
	s := &script{t: t, logs: map[string]*testLog{}, client: &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true},
	}}
	env.Values[scriptKey{}] = s
	env.Defer(func() {
		if p := s.server.Load(); p != nil {
			p.cmd.Process.Kill()
			<-p.exited
		}
	})
	bin, err := exec.LookPath("sumwitness")
	env.Setenv("sumwitness", bin)
	env.Setenv("SUMWITNESS_LISTEN", "127.0.0.1:0")
	// With the race detector each of the many processes would sleep a second.
	env.Setenv("GORACE", "atexit_sleep_ms=0")
	return err
}

func stateOf(ts *testscript.TestScript) *script { return ts.Value(scriptKey{}).(*script) }

func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	if neg || len(args) < 1 || s.server.Load() != nil {
		ts.Fatalf("usage: serve DIR [FLAG...], one server at a time")
	}
	cmd := exec.Command(ts.Getenv("sumwitness"), append([]string{"serve", "-dir", args[0]}, args[1:]...)...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SUMWITNESS_LISTEN", "SUMWITNESS_LOG", "GORACE", "GOCOVERDIR"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	p, err := start(cmd)
	ts.Check(err)
	s.server.Store(p)
	ts.Setenv("pid", fmt.Sprint(cmd.Process.Pid))
	ts.Setenv("server", p.find(" on http", "\n", "http"))
	ts.Setenv("announced", p.find("url      ", "\n", ""))
	ts.Setenv("metrics", p.find("serving metrics addr=", "\n", ""))
}

// start starts a server and waits until it is ready.
func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, exited: make(chan struct{})}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	greeted := make(chan struct{})
	go func() {
		p.read(out, greeted)
		cmd.Wait()
		close(p.exited)
	}()
	select {
	case <-greeted:
		return p, nil
	case <-p.exited:
	case <-time.After(30 * time.Second):
		cmd.Process.Kill()
		<-p.exited
	}
	return nil, fmt.Errorf("sumwitness serve did not become ready: %s", p.text())
}

// find returns what stands between two texts in what the server wrote, after
// prefix.
func (p *process) find(from, to, prefix string) string {
	_, rest, ok := strings.Cut(p.text(), from)
	if !ok {
		return ""
	}
	value, _, _ := strings.Cut(rest, to)
	return prefix + value
}

// scriptRestarter makes a URL at which the running server is killed hard and
// started again, on the same port.
func scriptRestarter(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	if neg || len(args) > 0 || s.server.Load() == nil {
		ts.Fatalf("usage: restarter, of a running server")
	}
	listen := "SUMWITNESS_LISTEN=" + strings.TrimPrefix(ts.Getenv("server"), "http://")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		old := s.server.Load()
		old.cmd.Process.Kill()
		<-old.exited
		cmd := exec.Command(old.cmd.Path, old.cmd.Args[1:]...)
		cmd.Dir, cmd.Env = old.cmd.Dir, append(old.cmd.Env, listen)
		p, err := start(cmd)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		s.server.Store(p)
		s.restarts.Add(1)
	}))
	ts.Defer(srv.Close)
	ts.Setenv("restart", srv.URL)
}

// scriptRestarted checks that the server was restarted.
func scriptRestarted(ts *testscript.TestScript, neg bool, args []string) {
	if stateOf(ts).restarts.Load() == 0 {
		ts.Fatalf("the server was not restarted")
	}
}

// read keeps what the server writes, and tells of the end of its greeting.
func (p *process) read(r io.Reader, greeted chan<- struct{}) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		p.mu.Lock()
		p.log.WriteString(line)
		p.mu.Unlock()
		if err != nil {
			return
		}
		if strings.HasPrefix(line, "contact  ") {
			close(greeted)
		}
	}
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func scriptShutdown(ts *testscript.TestScript, neg bool, args []string) {
	want := "0"
	if len(args) == 1 {
		want = args[0]
	}
	signalServer(ts, neg || len(args) > 1, syscall.SIGTERM)
	endServer(ts, 10*time.Second, want)
}

func scriptKilled(ts *testscript.TestScript, neg bool, args []string) {
	signalServer(ts, neg || len(args) > 0, syscall.SIGKILL)
	endServer(ts, 10*time.Second, "-1")
}

func scriptHup(ts *testscript.TestScript, neg bool, args []string) {
	signalServer(ts, neg || len(args) > 0, syscall.SIGHUP)
}

func signalServer(ts *testscript.TestScript, wrong bool, sig syscall.Signal) {
	p := stateOf(ts).server.Load()
	if wrong || p == nil {
		ts.Fatalf("wrong arguments, or no running server")
	}
	ts.Check(p.cmd.Process.Signal(sig))
}

func scriptDied(ts *testscript.TestScript, neg bool, args []string) {
	if neg || stateOf(ts).server.Load() == nil || len(args) != 1 {
		ts.Fatalf("usage: died CODE, of a running server")
	}
	endServer(ts, 30*time.Second, args[0])
}

// endServer waits for the server's end, which must come in time.
func endServer(ts *testscript.TestScript, limit time.Duration, want string) {
	p := stateOf(ts).server.Load()
	select {
	case <-p.exited:
	case <-time.After(limit):
		ts.Fatalf("the server did not end within %v", limit)
	}
	stateOf(ts).server.Store(nil)
	ts.Logf("[server]\n%s", p.text())
	if got := fmt.Sprint(p.cmd.ProcessState.ExitCode()); got != want {
		ts.Fatalf("the server exited with %s, want %s", got, want)
	}
}

func scriptServerLog(ts *testscript.TestScript, neg bool, args []string) {
	p := stateOf(ts).server.Load()
	if neg || p == nil || len(args) != 1 {
		ts.Fatalf("usage: serverlog TEXT, of a running server")
	}
	await(ts, args[0], p.text)
}

// await waits until what get returns has text, and prints it.
func await(ts *testscript.TestScript, text string, get func() string) {
	deadline := time.Now().Add(20 * time.Second)
	for {
		got := get()
		if strings.Contains(got, text) {
			io.WriteString(ts.Stdout(), got)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no %q in time, but %s", text, got)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func scriptPair(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: pair CERT KEY SERIAL")
	}
	serial, err := strconv.ParseInt(args[2], 10, 64)
	ts.Check(err)
	ts.Check(makePair(ts.MkAbs(args[0]), ts.MkAbs(args[1]), serial))
}

func scriptFails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fails CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		ts.Fatalf("it did not fail: %v", err)
	}
	if got := fmt.Sprint(exit.ExitCode()); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

func scriptUsage(ts *testscript.TestScript, neg bool, args []string) {
	scriptFails(ts, neg, append([]string{"2"}, args...))
}
