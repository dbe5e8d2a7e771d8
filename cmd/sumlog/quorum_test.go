// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/testrace"
)

// sumwitness builds the real witness, once.
var sumwitness = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sumwitness")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "sumwitness")
	args := append([]string{"build", "-o", bin}, testrace.Flags()...)
	out, err := exec.Command("go", append(args, "example.org/sumlog/cmd/sumwitness")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
})

// A node is one witness, as a process that can be killed and started again.
type node struct {
	t    *testing.T
	name string
	dir  string
	addr string
	vkey string
	log  string // the vkey that it accepts
	cmd  *exec.Cmd
	out  bytes.Buffer
}

func newNode(t *testing.T, name, logKey string) *node {
	t.Helper()
	bin, err := sumwitness()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, name: name, dir: filepath.Join(t.TempDir(), name), log: logKey, addr: freeAddr(t)}
	out, err := exec.Command(bin, "init", "-dir", n.dir, "-name", name+".example.net").Output()
	if err != nil {
		t.Fatal(err)
	}
	n.vkey = strings.TrimSpace(string(out))
	t.Cleanup(n.kill)
	return n
}

// freeAddr returns an address that nobody listens on.
func freeAddr(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func (n *node) start() {
	n.t.Helper()
	bin, err := sumwitness()
	if err != nil {
		n.t.Fatal(err)
	}
	n.cmd = exec.Command(bin, "serve", "-dir", n.dir, "-listen", n.addr, "-log", n.log)
	n.cmd.Stderr = &n.out
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	n.cmd.Process.Kill()
	n.cmd.Wait()
	n.cmd = nil
}

// ready waits until the witness answers.
func (n *node) ready() {
	n.t.Helper()
	eventually(n.t, n.name+" is ready", func() error { return status("http://"+n.addr+"/readyz", 200) })
}

func status(url string, want int) error {
	resp, err := killClient.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != want {
		return fmt.Errorf("%s: %s %s", url, resp.Status, body)
	}
	return nil
}

// eventually waits for f to have nothing to say.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	limit := time.Now().Add(time.Minute)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%s: never: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A witnessed is a log with a policy, and its witnesses.
type witnessed struct {
	*kill
	dir    string
	key    *checkpoint.Key
	nodes  []*node
	policy string // file
	proc   *process
	url    string
}

// newWitnessed makes a log and three witnesses that know it, of which two must
// cosign. Nothing is started.
func newWitnessed(t *testing.T) *witnessed {
	w := &witnessed{kill: newKill(t, "off"), policy: filepath.Join(t.TempDir(), "policy")}
	bin, err := exec.LookPath("sumlog")
	if err != nil {
		t.Fatal(err)
	}
	w.dir = filepath.Join(t.TempDir(), "d")
	cmd := exec.Command(bin, "init", "-dir", w.dir, "-name", "sum.example.org", "-upstream", w.up.URL, "-sumdb", "off", "-private", "")
	cmd.Env = append(os.Environ(), "GOENV=off", "GOPROXY=off", "GOSUMDB=sum.golang.org")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	vkey := strings.TrimSpace(string(out))
	if w.key, err = checkpoint.ParseKey(vkey); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"w1", "w2", "w3"} {
		w.nodes = append(w.nodes, newNode(t, name, vkey))
	}
	w.writePolicy("group g 2 w1 w2 w3", "quorum g")
	w.args = []string{"serve", "-dir", w.dir, "-listen", "127.0.0.1:0", "-witness-policy", w.policy, "-publish-interval", "20ms"}
	t.Cleanup(w.stop)
	return w
}

// writePolicy writes a policy of all nodes.
func (w *witnessed) writePolicy(lines ...string) {
	var b strings.Builder
	for _, n := range w.nodes {
		fmt.Fprintf(&b, "witness %s %s http://%s/\n", n.name, n.vkey, n.addr)
	}
	for _, line := range lines {
		fmt.Fprintln(&b, line)
	}
	if err := os.WriteFile(w.policy, []byte(b.String()), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// serve starts the log and waits until it serves.
func (w *witnessed) serve(flags ...string) {
	w.t.Helper()
	all := w.args
	w.args = append(append([]string{}, all...), flags...)
	defer func() { w.args = all }()
	p, urls := w.start()
	url, ok := <-urls
	if !ok {
		w.t.Fatalf("log ended: %s", p.text())
	}
	w.proc, w.url = p, url
}

func (w *witnessed) stop() {
	if w.proc == nil {
		return
	}
	w.proc.cmd.Process.Kill()
	<-w.proc.exited
	w.proc = nil
}

// admit asks for the next module that is not logged yet.
func (w *witnessed) admit() (path string, err error) {
	path = "/lookup/" + killPath(w.next.Add(1))
	body, err := fetchOK(w.url + path)
	if err == nil {
		w.ack(path, body)
	}
	return path, err
}

// cosigners returns the names of those whose cosignatures are on the published
// checkpoint.
func (w *witnessed) cosigners() (names []string, err error) {
	text, err := fetchOK(w.url + "/checkpoint")
	if err != nil {
		return nil, err
	}
	n, err := checkpoint.ParseNote([]byte(text))
	if err != nil {
		return nil, err
	}
	for _, node := range w.nodes {
		k, err := checkpoint.ParseKey(node.vkey)
		if err != nil {
			return nil, err
		}
		if _, err := n.Verify(k); err == nil {
			names = append(names, node.name)
		}
	}
	return names, nil
}

// TestQuorum takes witnesses away and brings them back under a log that needs
// two of three.
func TestQuorum(t *testing.T) {
	t.Parallel()
	w := newWitnessed(t)
	for _, n := range w.nodes {
		n.start()
		n.ready()
	}
	// At this interval one that follows another at once shows that a burst may.
	w.serve("-metrics", "127.0.0.1:0", "-publish-interval", "10s")
	first, err := w.admit()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for range 10 {
		if _, err := w.admit(); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begin); took > 90*time.Second {
		t.Errorf("10 admissions took %v", took)
	}
	eventually(t, "all three cosign", func() error {
		if names, err := w.cosigners(); len(names) != 3 {
			return fmt.Errorf("cosigned by %q: %v", names, err)
		}
		return nil
	})
	for _, path := range []string{"/readyz", "/readyz?admit"} {
		if text, err := fetchOK(w.url + path); err != nil || text != "ok\n" {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
	w.wantMetrics("sumlog_ready 1", "sumlog_admits 1", "sumlog_time_ahead_seconds 0")

	// One down: nothing changes for the go command.
	w.nodes[0].kill()
	if _, err := w.admit(); err != nil {
		t.Errorf("one witness down: %v", err)
	}
	w.goDownload("example.com/m900@v1.0.0")

	// Two down: old answers go on, new admissions are refused, the first and the next.
	w.nodes[1].kill()
	const why = "no quorum of witnesses (w1: unreachable; w2: unreachable)"
	for range 2 {
		resp, err := killClient.Get(w.url + "/lookup/" + killPath(w.next.Add(1)))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(text), why) {
			t.Errorf("two witnesses down, new admission: %s, Retry-After %q: %s", resp.Status, resp.Header.Get("Retry-After"), text)
		}
	}
	if err := status(w.url+first, 200); err != nil {
		t.Errorf("two witnesses down: %v", err)
	}
	if text, err := fetchOK(w.url + "/readyz"); err != nil || text != "ok\nnew versions cannot be published: "+why+"\n" {
		t.Errorf("two witnesses down: /readyz: %q, %v", text, err)
	}
	if err := status(w.url+"/readyz?admit", 503); err != nil || !strings.Contains(w.get("/readyz?admit"), why) {
		t.Errorf("two witnesses down: /readyz?admit: %v", err)
	}
	w.wantMetrics("sumlog_ready 1", "sumlog_admits 0")
	before, err := fetchOK(w.url + "/checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	if names, err := w.cosigners(); err != nil || len(names) < 2 {
		t.Errorf("served without a quorum: cosigned by %q: %v", names, err)
	}

	// Back up: it catches up alone.
	w.nodes[0].start()
	eventually(t, "/readyz?admit says yes", func() error { return status(w.url+"/readyz?admit", 200) })
	if after, _ := fetchOK(w.url + "/checkpoint"); after == before {
		t.Error("checkpoint did not move on")
	}
}

// get returns what is answered, whatever it is.
func (w *witnessed) get(path string) string {
	w.t.Helper()
	resp, err := killClient.Get(w.url + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// metrics returns what the log says of itself.
func (w *witnessed) metrics() string {
	w.t.Helper()
	addr := regexp.MustCompile(`serving metrics addr=(\S+)`).FindStringSubmatch(w.proc.text())
	if addr == nil {
		w.t.Fatalf("no address of metrics in %s", w.proc.text())
	}
	text, err := fetchOK("http://" + addr[1] + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

// wantMetrics wants lines, and an age of cosignatures of less than a minute.
func (w *witnessed) wantMetrics(lines ...string) {
	w.t.Helper()
	text := w.metrics()
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			w.t.Errorf("no metric %q in\n%s", line, text)
		}
	}
	if !regexp.MustCompile(`(?m)^sumlog_cosignature_age_seconds [1-5]?[0-9](\.[0-9]+)?$`).MatchString(text) {
		w.t.Errorf("age of cosignatures in\n%s", text)
	}
}

// goDownload downloads a module with the go command, verified.
func (w *witnessed) goDownload(m string) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "go", "mod", "download", m)
	cmd.Dir = w.t.TempDir()
	cmd.Env = append(os.Environ(), "GOENV=off", "GOFLAGS=-modcacherw", "GOPATH="+w.t.TempDir(), "GOMODCACHE="+w.t.TempDir(),
		"GOTOOLCHAIN=local", "GOPROXY="+w.url, "GONOPROXY=none", "GOSUMDB="+w.key.String(), "GONOSUMDB=none", "GOPRIVATE=")
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Errorf("go mod download %s: %v\n%s", m, err, out)
	}
}

// TestPolicyReload edits the policy under a running log.
func TestPolicyReload(t *testing.T) {
	t.Parallel()
	w := newWitnessed(t)
	w.nodes[0].start()
	w.nodes[0].ready()
	w.writePolicy("quorum w1")
	w.serve()
	if _, err := w.admit(); err != nil {
		t.Fatal(err)
	}
	w.nodes[1].start()
	w.nodes[1].ready()
	if err := os.WriteFile(w.policy, []byte("quorum nobody\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	hup(t, w)
	eventually(t, "a broken policy is reported", func() error {
		if !strings.Contains(w.proc.text(), "not reloaded") {
			return errors.New(w.proc.text())
		}
		return nil
	})
	w.writePolicy("group g all w1 w2", "quorum g")
	hup(t, w)
	eventually(t, "the second witness cosigns", func() error {
		if names, err := w.cosigners(); len(names) != 2 {
			return fmt.Errorf("%q %v", names, err)
		}
		return nil
	})
	if _, err := w.admit(); err != nil {
		t.Fatal(err)
	}
}

// TestPolicyDropped refuses a log that was published with cosignatures and
// would go on without.
func TestPolicyDropped(t *testing.T) {
	t.Parallel()
	w := newWitnessed(t)
	for _, n := range w.nodes[:2] {
		n.start()
		n.ready()
	}
	w.serve()
	if _, err := w.admit(); err != nil {
		t.Fatal(err)
	}
	w.stop()
	bin, _ := exec.LookPath("sumlog")
	cmd := exec.Command(bin, "serve", "-dir", w.dir, "-listen", "127.0.0.1:0")
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 || !strings.Contains(string(out), "-witness-policy") {
		t.Errorf("without the policy: %v\n%s", err, out)
	}
	w.writePolicy("quorum none")
	w.serve()
	if _, err := w.admit(); err != nil {
		t.Error(err)
	}
}

// TestImportWitnessed imports under the policy in DIR/sumlog.toml, as a server
// would publish.
func TestImportWitnessed(t *testing.T) {
	t.Parallel()
	w := newWitnessed(t)
	for _, n := range w.nodes {
		n.start()
		n.ready()
	}
	settings, err := os.OpenFile(filepath.Join(w.dir, "sumlog.toml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(settings, "witness-policy = %q\n", w.policy); err != nil {
		t.Fatal(err)
	}
	if err := settings.Close(); err != nil {
		t.Fatal(err)
	}
	var sums strings.Builder
	for i := range int64(40) {
		path, version, _ := strings.Cut(killPath(i), "@")
		hash, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("module " + path + "\n")), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&sums, "%s %s/go.mod %s\n", path, version, hash)
	}
	file := filepath.Join(t.TempDir(), "go.sum")
	if err := os.WriteFile(file, []byte(sums.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	bin, err := exec.LookPath("sumlog")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "import", "-dir", w.dir, file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "40 new") {
		t.Fatalf("%v\n%s", err, out)
	}
	w.serve()
	names, err := w.cosigners()
	if err != nil || len(names) < 2 {
		t.Errorf("cosigned by %q: %v", names, err)
	}
	w.consistent()
}

// TestRolledBack puts a whole older data directory back, the guard in it too.
// The witnesses have seen more.
func TestRolledBack(t *testing.T) {
	t.Parallel()
	w := newWitnessed(t)
	for _, n := range w.nodes {
		n.start()
		n.ready()
	}
	w.serve()
	if _, err := w.admit(); err != nil {
		t.Fatal(err)
	}
	w.stop()
	older := filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(older, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	w.serve()
	for range 3 {
		if _, err := w.admit(); err != nil {
			t.Fatal(err)
		}
	}
	w.stop()
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(w.dir, os.DirFS(older)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(w.dir, "key"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, urls := w.start()
	go func() {
		for range urls {
		}
	}()
	select {
	case err := <-p.exited:
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 {
			t.Errorf("%v, want exit code 3\n%s", err, p.text())
		}
	case <-time.After(time.Minute):
		p.cmd.Process.Kill()
		<-p.exited
		t.Fatalf("an older directory was served: %s", p.text())
	}
	found, _ := filepath.Glob(filepath.Join(w.dir, "evidence", "ahead-*.txt"))
	if len(found) != 1 || !strings.Contains(p.text(), "older copy") {
		t.Errorf("evidence %q, said:\n%s", found, p.text())
	}
	checkEvidence(t, w.dir)

	// It is not forgotten where nobody is asked any more.
	none := filepath.Join(t.TempDir(), "none")
	if err := os.WriteFile(none, []byte("quorum none\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check"}, {"serve", "-witness-policy", none, "-listen", "127.0.0.1:0"}} {
		cmd := exec.Command(p.cmd.Path, append(args, "-dir", w.dir)...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(string(out), "kept as evidence") {
			t.Errorf("%q: exit code %d, %s", args, code, out)
		}
	}
}

// TestBadWitnesses has witnesses of every bad kind beside two good ones.
func TestBadWitnesses(t *testing.T) {
	t.Parallel()
	w := newWitnessed(t)
	for _, n := range w.nodes[:2] {
		n.start()
		n.ready()
	}
	gone := make(chan struct{})
	bad := map[string]http.HandlerFunc{
		"garbage": func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, "\x00\xffnothing\n") },
		"hangs": func(rw http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-gone:
			}
		},
		"conflict": func(rw http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				http.NotFound(rw, r)
				return
			}
			rw.Header().Set("Content-Type", "text/x.tlog.size")
			rw.WriteHeader(http.StatusConflict)
			io.WriteString(rw, "4611686018427387904\n")
		},
		"large": func(rw http.ResponseWriter, r *http.Request) { rw.Write(bytes.Repeat([]byte("— a b\n"), 10<<20/8)) },
	}
	var lines []string
	for name, h := range bad {
		srv := httptest.NewServer(h)
		defer srv.Close()
		lines = append(lines, fmt.Sprintf("witness %s %s %s", name, fakeKey(t, name).Key(), srv.URL))
	}
	liar := fakeKey(t, "liar")
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			http.NotFound(rw, r)
			return
		}
		s, err := liar.Cosign(checkpoint.Checkpoint{Origin: "sum.example.org", Size: 1 << 30, Root: tlog.Hash{1}}, time.Now().Unix())
		if err != nil {
			t.Error(err)
		}
		io.WriteString(rw, s.String())
	}))
	defer srv.Close()
	lines = append(lines, fmt.Sprintf("witness liar %s %s", liar.Key(), srv.URL))
	defer close(gone) // before the servers wait for their requests
	w.writePolicy(append(lines, "group g all w1 w2", "quorum g")...)
	w.serve("-metrics", "127.0.0.1:0")
	for range 3 {
		if _, err := w.admit(); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"garbage", "hangs", "conflict", "large", "liar"} {
		eventually(t, "metrics name "+name, func() error {
			text := w.metrics()
			for line := range strings.Lines(text) {
				if strings.Contains(line, `witness="`+name+`"`) && strings.Contains(line, "requests") &&
					!strings.Contains(line, `"ok"`) && !strings.HasSuffix(line, " 0\n") {
					return nil
				}
			}
			return errors.New(text)
		})
	}
}

func fakeKey(t *testing.T, name string) *checkpoint.Cosigner {
	t.Helper()
	seed := bytes.Repeat([]byte(name), 32)[:32]
	c, err := checkpoint.NewCosigner(name+".example.net", ed25519.NewKeyFromSeed(seed))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestChaos kills the log and its witnesses at random. In the end everything
// starts, whatever was acknowledged is there, and no two checkpoints contradict
// each other.
func TestChaos(t *testing.T) {
	t.Parallel()
	rounds := 6
	if os.Getenv("CI") == "true" {
		rounds = 100
	}
	w := newWitnessed(t)
	for _, n := range w.nodes {
		n.start()
		n.ready()
	}
	for range rounds {
		w.chaos()
	}
	for _, n := range w.nodes {
		n.kill()
		n.start()
		n.ready()
	}
	w.kill.finish()
	w.serve()
	if _, err := w.admit(); err != nil {
		t.Fatal(err)
	}
	w.consistent()
	t.Logf("%d rounds, %d acknowledged admissions", rounds, len(w.acked))
}

// chaos is one round: the log runs under load while witnesses die and come back,
// and is killed.
func (w *witnessed) chaos() {
	p, urls := w.start()
	stop := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		url, ok := <-urls
		if !ok {
			return
		}
		for range 4 {
			work.Go(func() { w.load(url, stop) })
		}
	})
	w.first()
	limit := time.After(200*time.Millisecond + rand.N(900*time.Millisecond))
	for running := true; running; {
		n := w.nodes[rand.IntN(len(w.nodes))]
		if n.cmd == nil {
			n.start()
		} else if rand.IntN(2) == 0 {
			n.kill()
		}
		select {
		case err := <-p.exited:
			w.t.Fatalf("log ended by itself: %v\n%s", err, p.text())
		case <-limit:
			running = false
		case <-time.After(rand.N(200 * time.Millisecond)):
		}
	}
	p.cmd.Process.Kill()
	<-p.exited
	close(stop)
	work.Wait()
}

// consistent holds everything that was ever signed against the log: the archive,
// with a quorum on each line that is not the first, and what the witnesses have.
func (w *witnessed) consistent() {
	w.t.Helper()
	verifier, err := note.NewVerifier(w.key.String())
	if err != nil {
		w.t.Fatal(err)
	}
	root := w.roots()
	lines, err := fetchOK(w.url + "/checkpoints?after=0&limit=100000")
	if err != nil {
		w.t.Fatal(err)
	}
	checked := 0
	for line := range strings.Lines(lines) {
		var p struct{ Checkpoint string }
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			w.t.Fatal(err)
		}
		n, err := note.Open([]byte(p.Checkpoint), note.VerifierList(verifier))
		if err != nil {
			w.t.Fatal(err)
		}
		if len(n.UnverifiedSigs) < 2 {
			w.t.Errorf("published with %d cosignatures:\n%s", len(n.UnverifiedSigs), p.Checkpoint)
		}
		w.matches(n.Text, root)
		checked++
	}
	if checked == 0 {
		w.t.Error("nothing was published")
	}
	for _, node := range w.nodes {
		text, err := fetchOK("http://" + node.addr + "/" + originHash(w.key.Name()) + "/checkpoint")
		if err != nil {
			w.t.Error(err)
			continue
		}
		n, err := note.Open([]byte(text), note.VerifierList(verifier))
		if err != nil {
			w.t.Fatal(err)
		}
		w.matches(n.Text, root)
	}
}

// roots computes roots from the entries that the log serves.
func (w *witnessed) roots() func(size int64) tlog.Hash {
	w.t.Helper()
	text, err := fetchOK(w.url + "/checkpoint")
	if err != nil {
		w.t.Fatal(err)
	}
	body, _, _ := strings.Cut(text, "\n\n")
	c, err := checkpoint.Parse(body + "\n")
	if err != nil {
		w.t.Fatal(err)
	}
	var hashes []tlog.Hash
	stored := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = hashes[x]
		}
		return out, nil
	})
	for n := int64(0); n*256 < c.Size; n++ {
		path := fmt.Sprintf("/tile/entries/%03d", n)
		if width := c.Size - n*256; width < 256 {
			path += fmt.Sprintf(".p/%d", width)
		}
		bundle, err := fetchOK(w.url + path)
		if err != nil {
			w.t.Fatal(err)
		}
		for i := n * 256; len(bundle) > 0; i++ {
			end := 2 + int(bundle[0])<<8 + int(bundle[1])
			more, err := tlog.StoredHashes(i, []byte(bundle[2:end]), stored)
			if err != nil {
				w.t.Fatal(err)
			}
			hashes, bundle = append(hashes, more...), bundle[end:]
		}
	}
	return func(size int64) tlog.Hash {
		if size > c.Size {
			w.t.Errorf("size %d was signed, and the log has %d", size, c.Size)
			return tlog.Hash{}
		}
		h, err := tlog.TreeHash(size, stored)
		if err != nil {
			w.t.Fatal(err)
		}
		return h
	}
}

// originHash is how witnesses name a log in paths.
func originHash(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(sum[:])
}

// hup has the log read its policy again.
func hup(t *testing.T, w *witnessed) {
	t.Helper()
	if err := w.proc.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

func (w *witnessed) matches(text string, root func(int64) tlog.Hash) {
	c, err := checkpoint.Parse(text)
	if err != nil {
		w.t.Fatal(err)
	}
	if have := root(c.Size); have != c.Root {
		w.t.Errorf("signed at size %d: %v; the log has %v", c.Size, c.Root, have)
	}
}
