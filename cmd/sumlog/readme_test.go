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
	"testing"

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
