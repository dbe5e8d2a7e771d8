// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/sumlog/internal/policy"
)

// policyLine is one line of a policy, in a block of README.md.
var policyLine = regexp.MustCompile(`^    (log|witness|group|quorum) `)

// readmePolicies returns the policies that README.md shows, whole or not.
func readmePolicies(t *testing.T) (all []string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(text), "\n\n") {
		if !policyLine.MatchString(block) {
			continue
		}
		var b strings.Builder
		for line := range strings.Lines(block + "\n") {
			b.WriteString(strings.TrimPrefix(line, "    "))
		}
		all = append(all, b.String())
	}
	return all
}

// TestReadmePolicies takes each policy in README.md as it is written, and then with
// the keys and URLs of a log and witnesses that are here: those without a log for the
// server, those with one for an auditor.
func TestReadmePolicies(t *testing.T) {
	t.Parallel()
	audit, err := buildSumAudit()
	if err != nil {
		t.Fatal(err)
	}
	w := newWitnessed(t)
	for _, n := range w.nodes {
		n.start()
		n.ready()
	}
	var ofServers, ofAuditors int
	for _, text := range readmePolicies(t) {
		p, err := policy.Parse([]byte(text))
		if err != nil {
			t.Errorf("%v, of\n%s", err, text)
			continue
		}
		if len(p.Logs) == 0 {
			ofServers++
			w.serveUnder(text)
			continue
		}
		ofAuditors++
		w.auditUnder(audit, w.local(text, w.nodes), 0)
		if len(p.Witnesses) > 0 { // whose cosignatures nothing here has
			w.auditUnder(audit, w.local(text, nil), 5)
		}
	}
	if ofServers == 0 || ofAuditors < 2 {
		t.Errorf("%d policies for servers and %d for auditors", ofServers, ofAuditors)
	}
}

// serveUnder has the server publish under a policy.
func (w *witnessed) serveUnder(text string) {
	w.t.Helper()
	w.stop()
	if err := os.WriteFile(w.policy, []byte(w.local(text, w.nodes)), 0o644); err != nil {
		w.t.Fatal(err)
	}
	w.serve()
	if _, err := w.admit(); err != nil {
		w.t.Errorf("%v, under\n%s", err, text)
	}
	if names, err := w.cosigners(); err != nil || len(names) < 2 {
		w.t.Errorf("cosigned by %q, %v", names, err)
	}
}

// local puts into a policy the key and URL of the log that is here, and those of the
// nodes.
func (w *witnessed) local(text string, nodes []*node) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case f[0] == "log":
			f[1], f[2] = w.key.String(), w.url
		case f[0] == "witness" && len(nodes) > 0:
			f[2] = nodes[0].vkey
			if len(f) > 3 {
				f[3] = "http://" + nodes[0].addr
			}
			nodes = nodes[1:]
		}
		b.WriteString(strings.Join(f, " ") + "\n")
	}
	return b.String()
}

// auditUnder has an auditor look at the log, and at a go.sum, under a policy.
func (w *witnessed) auditUnder(audit, text string, code int) {
	w.t.Helper()
	dir := w.t.TempDir()
	body, err := fetchOK(w.url + "/lookup/" + killPath(w.next.Load()))
	if err != nil {
		w.t.Fatal(err)
	}
	_, record, _ := strings.Cut(body, "\n")
	record, _, _ = strings.Cut(record, "\n\n")
	for name, text := range map[string]string{"policy.txt": text, "go.sum": record + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"log", "-policy", "policy.txt", "-vkey", w.key.String(), w.url},
		{"verify", "-policy", "policy.txt"},
	} {
		cmd := exec.Command(audit, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOENV=off", "GOPROXY=off", "GOSUMDB=off")
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != code {
			w.t.Errorf("%q: exit code %d, want %d: %s, under\n%s", args, got, code, out, text)
		}
	}
}

// recipe returns the lines of the code below a heading of the README, by the comment
// in front of them, with the places of a machine in a directory of the test.
func recipe(t *testing.T, heading, dir string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n"+heading+"\n")
	section, _, _ = strings.Cut(section, "\n#")
	if !ok {
		t.Fatalf("README.md has no %s", heading)
	}
	places := strings.NewReplacer("/var/lib/", dir+"/lib/", "/backup/", dir+"/backup/", "/tmp/", dir+"/tmp/", ":8079", ":0", ":8070", ":0")
	steps := make(map[string][]string)
	step := ""
	for line := range strings.Lines(section) {
		line, code := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "    ")
		if comment, ok := strings.CutPrefix(line, "# "); code && ok {
			step, _, _ = strings.Cut(comment, ",")
		} else if code && line != "" {
			steps[step] = append(steps[step], places.Replace(line))
		}
	}
	return steps
}

// TestBackupRecipe runs the README's recipe as it stands: backup beside a running
// server, a drill beside it too, and the restore.
func TestBackupRecipe(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"lib", "backup", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	steps := recipe(t, "### Backup, restore, drill", dir)
	if len(steps["backup"]) != 1 || len(steps["drill"]) != 3 || len(steps["restore"]) != 2 {
		t.Fatalf("the recipe has other steps: %q", steps)
	}
	live := filepath.Join(dir, "lib/sumlog")
	run(t, "", "sumlog init -dir "+live+" -name sum.test -guard "+filepath.Join(dir, "guard")+" -upstream off -sumdb off -private ''")
	server := background(t, "sumlog serve -dir "+live+" -listen 127.0.0.1:0", "sumlog: verifier key")
	backup := background(t, steps["backup"][0], "backed up: ")
	out := backup.text()
	size := strings.TrimSpace(out[strings.LastIndex(out, " ")+1:])

	drill := steps["drill"]
	run(t, "", "SIZE="+size+"; "+drill[0])
	run(t, "", drill[1])
	end(t, background(t, drill[2], "sumlog: verifier key"))

	end(t, backup)
	end(t, server)
	if err := os.RemoveAll(live); err != nil {
		t.Fatal(err)
	}
	restore := steps["restore"]
	if said := run(t, size+"\n", restore[0]); !strings.Contains(said, "Is the old directory really lost?") {
		t.Errorf("restore said %s", said)
	}
	end(t, background(t, restore[1]+" -listen 127.0.0.1:0", "sumlog: verifier key"))
}

// run runs a line of a shell to its end and returns what it wrote.
func run(t *testing.T, stdin, line string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", line)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// background starts a line of a shell and waits until it wrote something.
func background(t *testing.T, line, until string) *process {
	t.Helper()
	p := &process{cmd: exec.Command("sh", "-c", "exec "+line), exited: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	go func() { p.exited <- p.cmd.Wait() }()
	for end := time.Now().Add(time.Minute); !strings.Contains(p.text(), until); time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-p.exited:
			t.Fatalf("%s: %v\n%s", line, err, p.text())
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %s", line, p.text())
		}
	}
	return p
}

// end ends what background started. It must exit with 0.
func end(t *testing.T, p *process) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-p.exited; err != nil {
		t.Errorf("%q: %v\n%s", p.cmd.Args, err, p.text())
	}
}

// Write keeps what the process writes.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}
