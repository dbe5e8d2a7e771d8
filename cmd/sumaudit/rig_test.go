// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/internal/testrace"
	"example.org/sumlog/log"
	"example.org/sumlog/log/quorum"
)

// builtDir is where the real programs beside this one are built.
var builtDir string

// built builds them, once.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sumaudit")
	if err != nil {
		return "", err
	}
	builtDir = dir
	args := append([]string{"build", "-o", dir}, testrace.Flags()...)
	args = append(args, "example.org/sumlog/cmd/sumlog", "example.org/sumlog/cmd/sumwitness")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

// bin returns the path of a real program.
func bin(t testing.TB, name string) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// A generated module is number i of a world of as many as are wanted, of which
// each has its go.mod and nothing else.
func generated(i int64) module.Version {
	return module.Version{Path: fmt.Sprintf("example.com/m%d", i/4), Version: fmt.Sprintf("v1.%d.%d", i%4, i%7)}
}

func generatedMod(m module.Version) []byte { return fmt.Appendf(nil, "module %s\n", m.Path) }

// generatedRecord returns the record of a generated module.
func generatedRecord(m module.Version) (log.Record, error) {
	open := func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(generatedMod(m))), nil }
	zip, err := dirhash.Hash1([]string{m.String() + "/go.mod"}, open)
	if err != nil {
		return log.Record{}, err
	}
	mod, err := dirhash.Hash1([]string{"go.mod"}, open)
	return log.Record{Module: m, Zip: zip, Mod: mod}, err
}

// serveGenerated is a module proxy of all generated modules.
func serveGenerated(w http.ResponseWriter, r *http.Request) {
	path, file, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/@v/")
	n, err := strconv.ParseInt(strings.TrimPrefix(path, "example.com/m"), 10, 64)
	if !ok || err != nil {
		http.NotFound(w, r)
		return
	}
	if file == "list" {
		for i := range int64(4) {
			fmt.Fprintln(w, generated(4*n+i).Version)
		}
		return
	}
	ext := filepath.Ext(file)
	m := module.Version{Path: path, Version: strings.TrimSuffix(file, ext)}
	switch ext {
	case ".info":
		fmt.Fprintf(w, `{"Version":%q,"Time":"2026-01-02T03:04:05Z"}`, m.Version)
	case ".mod":
		w.Write(generatedMod(m))
	case ".zip":
		z := zip.NewWriter(w)
		if f, err := z.Create(m.String() + "/go.mod"); err == nil {
			f.Write(generatedMod(m))
		}
		z.Close()
	default:
		http.NotFound(w, r)
	}
}

// A deployment is a real sumlog with three real witnesses, of which two must
// cosign.
type deployment struct {
	t      testing.TB
	dir    string
	key    *checkpoint.Key
	policy string // file
	url    string
	up     *httptest.Server
	nodes  []*daemon
	log    *daemon
	size   int64
}

// A daemon is a server that runs as a process.
type daemon struct {
	name   string
	args   []string
	cmd    *exec.Cmd
	vkey   string
	addr   string
	exited chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

func newDeployment(t testing.TB) *deployment {
	a := &deployment{t: t, dir: filepath.Join(t.TempDir(), "d"), policy: filepath.Join(t.TempDir(), "policy")}
	a.up = httptest.NewServer(http.HandlerFunc(serveGenerated))
	t.Cleanup(a.up.Close)
	vkey := a.run("sumlog", "init", "-dir", a.dir, "-name", "sum.example.org", "-upstream", a.up.URL, "-sumdb", "off", "-private", "")
	var err error
	if a.key, err = checkpoint.ParseKey(vkey); err != nil {
		t.Fatal(err)
	}
	var policy strings.Builder
	for _, name := range []string{"w1", "w2", "w3"} {
		dir := filepath.Join(t.TempDir(), name)
		p := &daemon{name: name, vkey: a.run("sumwitness", "init", "-dir", dir, "-name", name+".example.net"), addr: freeAddr(t)}
		p.args = []string{bin(t, "sumwitness"), "serve", "-dir", dir, "-listen", p.addr, "-log", vkey}
		fmt.Fprintf(&policy, "witness %s %s http://%s/\n", name, p.vkey, p.addr)
		a.nodes = append(a.nodes, p)
		p.start(t)
		eventually(t, name+" is ready", func() error { return status("http://"+p.addr+"/readyz", 200) })
	}
	policy.WriteString("group g 2 w1 w2 w3\nquorum g\n")
	if err := os.WriteFile(a.policy, []byte(policy.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return a
}

// run runs a program and returns what it printed.
func (a *deployment) run(name string, args ...string) string {
	a.t.Helper()
	cmd := exec.Command(bin(a.t, name), args...)
	cmd.Env = append(os.Environ(), "GOENV=off", "GOPROXY=off", "GOSUMDB=sum.golang.org", "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		a.t.Fatalf("%s %q: %v", name, args, err)
	}
	return strings.TrimSpace(string(out))
}

// fill appends generated records up to the size, under the policy, as a server
// would: without fetching anything.
func (a *deployment) fill(size int64) {
	a.t.Helper()
	text, err := os.ReadFile(a.policy)
	if err != nil {
		a.t.Fatal(err)
	}
	p, err := policy.Parse(text)
	if err != nil {
		a.t.Fatal(err)
	}
	q, err := quorum.New(quorum.Config{Policy: p, Log: a.key})
	if err != nil {
		a.t.Fatal(err)
	}
	l, err := log.Open(log.Config{Dir: a.dir, Witnesses: q, Interval: 100 * time.Millisecond})
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			a.t.Error(err)
		}
	}()
	if err := l.Start(noNames{}); err != nil {
		a.t.Fatal(err)
	}
	var work sync.WaitGroup
	var next atomic.Int64
	next.Store(a.size)
	for range log.MaxUnpublished - 100 {
		work.Go(func() {
			for i := next.Add(1) - 1; i < size; i = next.Add(1) - 1 {
				r, err := generatedRecord(generated(i))
				if err == nil {
					_, err = l.Append(a.t.Context(), r)
				}
				if err != nil {
					a.t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	work.Wait()
	a.size = size
}

// noNames is the index of a log of which nothing is asked for twice.
type noNames struct{}

func (noNames) Find(module.Version) (log.Entry, bool, error) { return log.Entry{}, false, nil }
func (noNames) Publish(*log.Publication) error               { return nil }

// serve starts the log.
func (a *deployment) serve(flags ...string) {
	a.t.Helper()
	addr := freeAddr(a.t)
	args := []string{bin(a.t, "sumlog"), "serve", "-dir", a.dir, "-listen", addr, "-witness-policy", a.policy, "-publish-interval", "50ms"}
	a.log = &daemon{name: "sumlog", args: append(args, flags...)}
	a.log.start(a.t)
	a.url = "http://" + addr
	eventually(a.t, "the log is ready", func() error { return status(a.url+"/readyz", 200) })
}

// admit has the log admit generated modules up to the size, by lookups.
func (a *deployment) admit(size int64) {
	a.t.Helper()
	var work sync.WaitGroup
	var next atomic.Int64
	next.Store(a.size)
	for range 200 {
		work.Go(func() {
			for i := next.Add(1) - 1; i < size; i = next.Add(1) - 1 {
				eventually(a.t, "a module is admitted", func() error {
					return status(a.url+"/lookup/"+generated(i).String(), 200)
				})
			}
		})
	}
	work.Wait()
	a.size = size
}

// audit runs the command as it is run outside, and returns its exit code.
func (a *deployment) audit(args ...string) (code int, stdout string) {
	a.t.Helper()
	return sumaudit(a.t, append([]string{"log", "-vkey", a.key.String(), "-policy", a.policy, a.url}, args...)...)
}

// sumaudit runs the program within this process.
func sumaudit(t testing.TB, args ...string) (code int, stdout string) {
	t.Helper()
	var out, talk bytes.Buffer
	code = program.Run(t.Context(), args, &out, &talk)
	if talk.Len() > 0 {
		t.Logf("stderr: %s", talk.Bytes())
	}
	return code, out.String()
}

func (p *daemon) start(t testing.TB) {
	t.Helper()
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	p.cmd.Env = append(os.Environ(), "GOENV=off", "GOPROXY=off", "GOSUMDB=sum.golang.org")
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.exited = make(chan struct{})
	go func() {
		defer close(p.exited)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			p.mu.Lock()
			fmt.Fprintln(&p.out, lines.Text())
			p.mu.Unlock()
		}
		p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", p.name, p.text())
		}
	})
}

func (p *daemon) kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

func (p *daemon) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// freeAddr returns an address that nobody listens on.
func freeAddr(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

var rigClient = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 200}}

func status(url string, want int) error {
	req, err := http.NewRequestWithContext(context.Background(), "GET", url, nil)
	if err != nil {
		return err
	}
	resp, err := rigClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode != want {
		return fmt.Errorf("%s: %s %s", url, resp.Status, body)
	}
	return nil
}

// eventually waits for f to have nothing to say.
func eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	limit := time.Now().Add(time.Minute)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			t.Errorf("%s: never: %v", what, err)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
