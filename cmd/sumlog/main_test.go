// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/testupstream"
	"example.org/sumlog/mirror/upstream"
)

func TestMain(m *testing.M) {
	// With the race detector each of the many processes would sleep a second
	// when it ends.
	if os.Getenv("GORACE") == "" {
		os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	testscript.Main(m, map[string]func(){"sumlog": main})
}

// TestScripts runs the scripts in testdata, in which the real go command talks
// to the real server. Their commands, beside the usual ones:
//
//	serve DIR [FLAG...]   start sumlog serve -dir DIR in the background, wait
//	                      until it is ready; sets $server to its URL
//	shutdown [CODE]       end it with SIGTERM; it must exit with CODE (0)
//	died CODE             wait until it ended by itself; it must exit with CODE
//	serverlog             print what it wrote, for stdout to look at
//	goenv DIR             set GOPROXY and the like as sumlog env -json says
//	freshcache            begin a new, empty module cache
//	get PATH [STATUS]     GET $server/PATH; prints the body; fails unless it is
//	                      STATUS (200)
//	post PATH FILE STATUS post the FILE to $server/PATH; the answer must be STATUS
//	sumaudit CODE ARG...  run sumaudit, which must exit with CODE; in the last ARG
//	                      * stands for what makes it the name of one file
//	gosumcheck FILE       run golang.org/x/mod/gosumcheck on a go.sum, against
//	                      the server
//	fails CODE COMMAND... COMMAND must exit with CODE
//	usage COMMAND...      COMMAND must exit with 2
//	upstream ...          see cmdUpstream
//
// Whatever a script leaves as evidence is verified at its end.
func TestScripts(t *testing.T) {
	testscript.Run(t, params("testdata/script", func(e *testscript.Env) error {
		e.Defer(func() { checkEvidence(t, e.WorkDir) })
		return setupScript(e)
	}))
}

func params(dir string, setup func(*testscript.Env) error) testscript.Params {
	return testscript.Params{
		Dir:   dir,
		Setup: setup,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"upstream":   cmdUpstream,
			"serve":      scriptServe,
			"shutdown":   scriptShutdown,
			"died":       scriptDied,
			"serverlog":  scriptLog,
			"goenv":      scriptGoEnv,
			"freshcache": scriptFreshCache,
			"get":        scriptGet,
			"post":       scriptPost,
			"gosumcheck": scriptGoSumCheck,
			"sumaudit":   scriptSumAudit,
			"fails":      scriptFails,
			"usage":      scriptUsage,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	}
}

// TestReal runs the scripts that need the world: the upstream and the checksum
// database that go env names.
func TestReal(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it downloads some 60 MB")
	}
	env, err := goEnv(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := reach(env["GOPROXY"], env["GOSUMDB"]); err != nil {
		t.Skipf("the upstream of go env GOPROXY cannot be reached: %v", err)
	}
	testscript.Run(t, params("testdata/real", func(e *testscript.Env) error {
		if err := setupScript(e); err != nil {
			return err
		}
		for name, value := range env {
			e.Setenv(name, value)
		}
		for _, name := range worldVars {
			e.Setenv(name, os.Getenv(name))
		}
		return nil
	}))
}

// TestWithoutC checks that what can be built without a C compiler, and then says
// that it lacks one, does not need one.
func TestWithoutC(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, pkg := range []string{"github.com/mattn/go-sqlite3", "example.org/sumlog/index"} {
		if strings.Contains(string(out), pkg+"\n") {
			t.Errorf("without cgo, sumlog imports %s", pkg)
		}
	}
	if !strings.Contains(string(out), "example.org/sumlog/log\n") {
		t.Errorf("no list of packages: %s", out)
	}
}

// worldVars say how the world is reached from here.
var worldVars = []string{
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
}

// reach asks the first upstream whether it carries the database.
func reach(list, sumdb string) error {
	l, err := upstream.ParseList(list)
	if err != nil {
		return err
	}
	spec, err := upstream.ParseSpec(sumdb)
	if err != nil {
		return err
	}
	if len(l.Entries) == 0 || spec.Off {
		return fmt.Errorf("GOPROXY is %q and GOSUMDB is %q", list, sumdb)
	}
	client := http.Client{Timeout: 20 * time.Second}
	resp, err := client.Get(l.Entries[0].URL.String() + "/sumdb/" + spec.Name + "/supported")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it says %s of the database %s", resp.Status, spec.Name)
	}
	return nil
}

// scriptKey is where a script keeps its state.
type scriptKey struct{}

type script struct {
	upstreams map[string]*testupstream.Server
	server    *process
	caches    int
}

// A process is a running sumlog serve.
type process struct {
	cmd    *exec.Cmd
	url    string
	exited chan error

	mu  sync.Mutex
	log bytes.Buffer
}

func setupScript(env *testscript.Env) error {
	s := &script{upstreams: map[string]*testupstream.Server{}}
	env.Values[scriptKey{}] = s
	env.Defer(func() {
		if s.server != nil {
			s.server.cmd.Process.Kill()
			<-s.server.exited
		}
		for _, u := range s.upstreams {
			u.Stop()
		}
	})
	home := filepath.Join(env.WorkDir, ".home")
	env.Setenv("HOME", home)
	env.Setenv("GOENV", "off")
	env.Setenv("GOFLAGS", "-modcacherw -mod=mod")
	env.Setenv("GOTOOLCHAIN", "local")
	env.Setenv("GOTELEMETRY", "off")
	env.Setenv("GOWORK", "off")
	env.Setenv("GOPROXY", "off")
	env.Setenv("GORACE", os.Getenv("GORACE"))
	env.Setenv("GOMODCACHE", filepath.Join(env.WorkDir, ".cache0"))
	// Compiled packages of one test are no use to another, but the standard
	// library is.
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		return err
	}
	env.Setenv("GOCACHE", strings.TrimSpace(string(cache)))
	sumlog, err := exec.LookPath("sumlog")
	if err != nil {
		return err
	}
	env.Setenv("sumlog", sumlog) // for scripts that change PATH
	return os.MkdirAll(home, 0o755)
}

func state(ts *testscript.TestScript) *script { return ts.Value(scriptKey{}).(*script) }

func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	s := state(ts)
	if neg || len(args) < 1 || s.server != nil {
		ts.Fatalf("usage: serve DIR [FLAG...], one server at a time")
	}
	bin, err := exec.LookPath("sumlog")
	ts.Check(err)
	cmd := exec.Command(bin, append([]string{"serve", "-dir", args[0], "-listen", "127.0.0.1:0"}, args[1:]...)...)
	cmd.Dir = ts.MkAbs(".")
	vars := []string{"HOME", "PATH", "GOENV", "GOPROXY", "GOSUMDB", "GOPRIVATE", "SUMLOG_UPSTREAM", "NETRC", "GOAUTH", "GORACE", "GOCOVERDIR", "TMPDIR"}
	for _, name := range append(vars, worldVars...) {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	p := &process{cmd: cmd, exited: make(chan error, 1)}
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	cmd.Stderr = cmd.Stdout
	ts.Check(cmd.Start())
	s.server = p
	urls := make(chan string, 1)
	go func() {
		p.read(out, urls)
		p.exited <- cmd.Wait()
		close(p.exited)
		close(urls)
	}()
	url, ok := <-urls
	if !ok {
		s.server = nil
		ts.Fatalf("sumlog serve ended: %s", p.text())
	}
	p.url = url
	ts.Setenv("server", url)
	ts.Setenv("addr", strings.TrimPrefix(url, "http://"))
	if status, body := httpGet(ts, url+"/readyz"); status != http.StatusOK {
		ts.Fatalf("/readyz: %d %s", status, body)
	}
}

// startServer starts sumlog with args outside a script. The URL comes once it
// serves, or the channel is closed.
func startServer(t *testing.T, most int, args []string) (*process, <-chan string) {
	t.Helper()
	bin, err := exec.LookPath("sumlog")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	if most > 0 {
		cmd = exec.Command("sh", append([]string{"-c", `ulimit -n "$0" && exec "$@"`, fmt.Sprint(most), bin}, args...)...)
	}
	cmd.Env = append(os.Environ(), "GOENV=off", "GOPROXY=off", "GOSUMDB=sum.golang.org")
	p := &process{cmd: cmd, exited: make(chan error, 1)}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	urls := make(chan string, 1)
	go func() {
		p.read(out, urls)
		p.exited <- cmd.Wait()
		close(urls)
	}()
	return p, urls
}

// serveNew starts a server of a new log, which the test's end ends, and returns
// its URL. Flags follow those that are always needed.
func serveNew(t *testing.T, flags ...string) string {
	t.Helper()
	args := []string{"serve", "-init", "-name", "sum.example.org", "-listen", "127.0.0.1:0",
		"-dir", filepath.Join(t.TempDir(), "d"), "-private", ""}
	p, urls := startServer(t, 0, append(args, flags...))
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("the server said:\n%s", p.text())
		}
	})
	url, ok := <-urls
	if !ok {
		t.Fatalf("server ended: %s", p.text())
	}
	return url
}

// read keeps what the server writes and finds its URL therein.
func (p *process) read(r io.Reader, urls chan<- string) {
	lines := bufio.NewReader(r)
	url := ""
	for {
		line, err := lines.ReadString('\n')
		p.mu.Lock()
		p.log.WriteString(line)
		p.mu.Unlock()
		if err != nil {
			return
		}
		// They are printed once the server is ready.
		if rest, ok := strings.CutPrefix(line, "export GOPROXY='"); ok {
			url, _, _ = strings.Cut(rest, "'")
		}
		if strings.HasPrefix(line, "export GOSUMDB='") {
			urls <- url
		}
	}
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func scriptShutdown(ts *testscript.TestScript, neg bool, args []string) {
	p := state(ts).server
	if neg || p == nil || len(args) > 1 {
		ts.Fatalf("usage: shutdown [CODE], of a running server")
	}
	want := "0"
	if len(args) == 1 {
		want = args[0]
	}
	ts.Check(p.cmd.Process.Signal(syscall.SIGTERM))
	endServer(ts, 10*time.Second, want)
}

func scriptDied(ts *testscript.TestScript, neg bool, args []string) {
	if neg || state(ts).server == nil || len(args) != 1 {
		ts.Fatalf("usage: died CODE, of a running server")
	}
	p := state(ts).server
	endServer(ts, time.Minute, args[0])
	io.WriteString(ts.Stdout(), p.text()) // whole, now that it has ended
}

// endServer waits for the server's end, which must come in time.
func endServer(ts *testscript.TestScript, limit time.Duration, want string) {
	p := state(ts).server
	select {
	case <-p.exited:
	case <-time.After(limit):
		ts.Fatalf("the server did not end within %v", limit)
	}
	state(ts).server = nil
	ts.Logf("[server]\n%s", p.text())
	if got := fmt.Sprint(p.cmd.ProcessState.ExitCode()); got != want {
		ts.Fatalf("the server exited with %s, want %s", got, want)
	}
}

func scriptLog(ts *testscript.TestScript, neg bool, args []string) {
	p := state(ts).server
	if neg || p == nil || len(args) > 0 {
		ts.Fatalf("usage: serverlog, of a running server")
	}
	io.WriteString(ts.Stdout(), p.text())
}

func scriptGoEnv(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: goenv DIR")
	}
	out, err := exec.Command("sumlog", "env", "-json", "-dir", ts.MkAbs(args[0]), "-url", ts.Getenv("server")).Output()
	ts.Check(err)
	var env map[string]string
	ts.Check(json.Unmarshal(out, &env))
	for name, value := range env {
		ts.Setenv(name, value)
	}
	ts.Setenv("vkey", env["GOSUMDB"])
}

func scriptFreshCache(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: freshcache")
	}
	s := state(ts)
	s.caches++
	ts.Setenv("GOMODCACHE", filepath.Join(ts.Getenv("WORK"), fmt.Sprintf(".cache%d", s.caches)))
	// The go command remembers a database's newest head elsewhere.
	ts.Setenv("GOPATH", filepath.Join(ts.Getenv("WORK"), fmt.Sprintf(".gopath%d", s.caches)))
}

func scriptGet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: get PATH [STATUS]")
	}
	want := "200"
	if len(args) == 2 {
		want = args[1]
	}
	status, body := httpGet(ts, ts.Getenv("server")+args[0])
	io.WriteString(ts.Stdout(), body)
	if fmt.Sprint(status) != want {
		ts.Fatalf("GET %s: %d, want %s: %s", args[0], status, want, body)
	}
}

func scriptPost(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: post PATH FILE STATUS")
	}
	resp, err := http.Post(ts.Getenv("server")+args[0], "text/plain", strings.NewReader(ts.ReadFile(args[1])))
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if fmt.Sprint(resp.StatusCode) != args[2] {
		ts.Fatalf("POST %s: %d, want %s: %s", args[0], resp.StatusCode, args[2], body)
	}
}

// buildGoSumCheck builds the checker, which is in this module's graph.
var buildGoSumCheck = sync.OnceValues(func() (string, error) { return buildBeside("golang.org/x/mod/gosumcheck") })

var buildSumAudit = sync.OnceValues(func() (string, error) { return buildBeside("example.org/sumlog/cmd/sumaudit") })

// buildBeside builds a command beside those of the scripts, which go away with the
// test.
func buildBeside(pkg string) (string, error) {
	sumlog, err := exec.LookPath("sumlog")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(filepath.Dir(sumlog), path.Base(pkg))
	out, err := exec.Command("go", "build", "-o", bin, pkg).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
}

func scriptSumAudit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: sumaudit CODE ARG...")
	}
	bin, err := buildSumAudit()
	ts.Check(err)
	args = slices.Clone(args)
	last := len(args) - 1
	if strings.Contains(args[last], "*") {
		found, err := filepath.Glob(ts.MkAbs(args[last]))
		ts.Check(err)
		if len(found) != 1 {
			ts.Fatalf("%s is %q", args[last], found)
		}
		args[last] = found[0]
	}
	code := "0"
	if exit, ok := errors.AsType[*exec.ExitError](ts.Exec(bin, args[1:]...)); ok {
		code = fmt.Sprint(exit.ExitCode())
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

// checkEvidence verifies all evidence below dir.
func checkEvidence(t *testing.T, dir string) {
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(filepath.Dir(name)) != evidenceDir {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := evidence.Parse(data); err != nil {
			t.Errorf("%s: %v:\n%s", name, err, data)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func scriptGoSumCheck(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: gosumcheck FILE")
	}
	bin, err := buildGoSumCheck()
	ts.Check(err)
	ts.Check(ts.Exec(bin, "-k", ts.Getenv("GOSUMDB"), "-u", ts.Getenv("server"), ts.MkAbs(args[0])))
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

func httpGet(ts *testscript.TestScript, url string) (status int, body string) {
	resp, err := http.Get(url)
	ts.Check(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	ts.Check(err)
	return resp.StatusCode, string(data)
}
