// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.org/sumlog/internal/checkpoint"
)

// TestAll uses every command as it is meant, on a real authority with real
// witnesses, beside a real go command.
func TestAll(t *testing.T) {
	t.Parallel()
	a := newDeployment(t)
	a.fill(600)
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	vkey := a.key.String()
	do := func(want int, args ...string) string {
		t.Helper()
		code, out := sumaudit(t, args...)
		if code != want {
			t.Errorf("%q: exit code %d, want %d\n%s", args, code, want, out)
		}
		return out
	}

	auditor := strings.TrimSpace(do(0, "cosign", "-new", "-key", file("auditor"), "-name", "audit.example.org"))
	a.serve("-auditor", auditor)

	// What a go command downloads is what is logged.
	gopath, modcache := a.download(dir, 5)
	sums := file("go.sum")
	do(0, "verify", "-vkey", vkey, "-policy", a.policy, "-state", file("state"), "-require-logged", a.url, sums)
	do(0, "verify", "-vkey", vkey, "-cache", a.url, modcache)
	do(0, "bundle", "-vkey", vkey, "-policy", a.policy, "-o", file("bundle"), a.url, sums)
	do(0, "verify", "-vkey", vkey, "-policy", a.policy, "-bundle", file("bundle"), "-require-logged", sums)

	// One proof, made here and as the log serves it.
	m := generated(4)
	do(0, "prove", "-vkey", vkey, "-o", file("proof"), a.url, m.String())
	do(0, "prove", "-vkey", vkey, "-policy", a.policy, "-check", file("proof"), m.String())
	served, err := a.get("/" + m.Path + "/@v/" + m.Version + ".tlog-proof")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("served"), []byte(served), 0o644); err != nil {
		t.Fatal(err)
	}
	do(0, "prove", "-vkey", vkey, "-policy", a.policy, "-check", file("served"), m.String())

	// What this machine, the witnesses and a proxy have seen is one tree.
	do(0, "client", "-vkey", vkey, "-policy", a.policy, "-gopath", gopath, "-modcache", modcache, a.url)
	gossip := []string{"gossip", "-vkey", vkey, "-policy", a.policy, a.url, a.url + "/sumdb/" + a.key.Name(),
		filepath.Join(gopath, "pkg", "sumdb", a.key.Name(), "latest")}
	for _, w := range a.nodes {
		gossip = append(gossip, "witness:http://"+w.addr)
	}
	do(0, gossip...)

	// The auditing cosigner: once as it is, and once after the log has grown.
	key, err := checkpoint.ParseKey(auditor)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{a.size, a.size + 20} {
		if size > a.size {
			a.admit(size)
		}
		do(0, "cosign", "-vkey", vkey, "-key", file("auditor"), "-state", file("cosigner"), "-policy", a.policy, "-sample", "10", "-once", a.url)
		text, err := a.get("/checkpoint/audited")
		if err != nil {
			t.Fatal(err)
		}
		n, err := checkpoint.ParseNote([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Verify(key); err != nil {
			t.Errorf("%v: %s", err, text)
		}
		if c, err := checkpoint.Parse(n.Text); err != nil || c.Size != size {
			t.Errorf("%v: audited size %d, want %d", err, c.Size, size)
		}
		if _, err := n.Verify(a.key); err != nil {
			t.Errorf("%v: %s", err, text)
		}
	}

	// Without the log, what needs none.
	a.log.kill()
	do(0, "verify", "-vkey", vkey, "-policy", a.policy, "-bundle", file("bundle"), sums)
	do(1, "verify", "-vkey", vkey, a.url, sums)
	do(1, "log", "-vkey", vkey, a.url)
}

// download has the go command download the first n modules, in dir.
func (a *deployment) download(dir string, n int64) (gopath, modcache string) {
	a.t.Helper()
	var mod strings.Builder
	mod.WriteString("module example.net/main\n\ngo 1.21\n")
	for i := range n {
		m := generated(4 * i)
		fmt.Fprintf(&mod, "require %s %s\n", m.Path, m.Version)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod.String()), 0o644); err != nil {
		a.t.Fatal(err)
	}
	gopath, modcache = filepath.Join(dir, "gopath"), filepath.Join(dir, "gopath", "pkg", "mod")
	cmd := exec.Command("go", "mod", "download")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOENV=off", "GOFLAGS=-modcacherw", "GOPATH="+gopath, "GOMODCACHE="+modcache, "GOTOOLCHAIN=local",
		"GOWORK=off", "GOPROXY="+a.url, "GONOPROXY=none", "GOSUMDB="+a.key.String(), "GONOSUMDB=none", "GOPRIVATE=")
	if out, err := cmd.CombinedOutput(); err != nil {
		a.t.Fatalf("go mod download: %v\n%s", err, out)
	}
	return gopath, modcache
}

// get returns what the log answers.
func (a *deployment) get(path string) (string, error) {
	resp, err := rigClient.Get(a.url + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, body)
	}
	return string(body), err
}
