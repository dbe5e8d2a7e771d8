// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/testauthority"
	"example.org/sumlog/witness/audit/report"
)

// A goCommand is a machine with a stock go command, which remembers what it saw.
type goCommand struct {
	t   *testing.T
	r   *faultRig
	dir string // GOPATH
}

func newGoCommand(t *testing.T, r *faultRig) *goCommand {
	return &goCommand{t, r, t.TempDir()}
}

// download has the go command download the module of entry i, and returns what it
// says.
func (g *goCommand) download(i int64) (said string, err error) {
	g.t.Helper()
	m := g.r.a.Module(i)
	cmd := exec.Command("go", "mod", "download", m.Path+"@"+m.V)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "GOENV=off", "GOPATH="+g.dir, "GOMODCACHE=", "GOPROXY="+g.r.url, "GOSUMDB="+g.r.a.VKey(),
		"GOPRIVATE=", "GONOPROXY=none", "GONOSUMDB=none", "GOFLAGS=-modcacherw", "GOTOOLCHAIN=local", "GO111MODULE=on", "GOWORK=off")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		g.t.Fatal(err)
	}
	return out.String(), err
}

// TestGoCommand has the stock go command judge the faults that it can see. What it
// says of a fork is evidence.
func TestGoCommand(t *testing.T) {
	for _, c := range []struct {
		fault  testauthority.Fault
		says   string
		proven bool
	}{
		{"", "", false},
		{testauthority.Fork, "misbehavior", true},
		{testauthority.Equivocation, "misbehavior", true},
		{testauthority.TreeHeadOther, "misbehavior", true},
		{testauthority.LookupOther, "cannot authenticate record", false},
		{testauthority.LookupIndex, "cannot authenticate record", false},
		{testauthority.WrongEdge, "inconsistent tile", false},
		{testauthority.ZipOther, "SECURITY ERROR", false},
		{testauthority.ModOther, "SECURITY ERROR", false},
	} {
		t.Run(string(c.fault), func(t *testing.T) {
			t.Parallel()
			r := newFaultRig(t, testauthority.Config{})
			g := newGoCommand(t, r)
			if c.proven {
				if out, err := g.download(3); err != nil {
					t.Fatalf("before there was a fault: %v: %s", err, out)
				}
			}
			if c.fault != "" {
				r.a.Break(c.fault)
			}
			out, err := g.download(testauthority.Victim)
			if (err != nil) != (c.says != "") || !strings.Contains(out, c.says) {
				t.Fatalf("%v: %s; want %q", err, out, c.says)
			}
			file := filepath.Join(t.TempDir(), "error.txt")
			if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
				t.Fatal(err)
			}
			code, said := sumaudit(t, "evidence", "-vkey", r.a.VKey(), file)
			if proven := code == exitMisbehaviour && strings.HasPrefix(said, "PROVEN"); proven != c.proven {
				t.Errorf("exit %d, %q of %s", code, said, out)
			}
		})
	}
}

// fetch returns what the authority answers.
func (r *faultRig) fetch(path string) ([]byte, error) {
	resp, err := rigClient.Get(r.url + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return b.Bytes(), nil
}

// TestModuleClient has golang.org/x/mod's client judge every fault. Which it sees is
// not decided here; what it calls misbehaviour is evidence, and the auditor finds
// misbehaviour where it finds anything.
func TestModuleClient(t *testing.T) {
	saw := map[testauthority.Fault]bool{}
	for _, c := range faultCases {
		r := newFaultRig(t, testauthority.Config{})
		client := testauthority.NewClient(r.a.VKey(), r.fetch)
		look := func(i int64) error {
			m := r.a.Module(i)
			lines, err := sumdb.NewClient(client).Lookup(m.Path, m.V)
			if err == nil && !bytes.HasPrefix(r.a.Entry(i), []byte(lines[0]+"\n")) {
				err = fmt.Errorf("lines %q", lines)
			}
			return err
		}
		if c.after {
			if err := look(3); err != nil {
				t.Fatalf("%s: before there was a fault: %v", c.fault, err)
			}
		}
		r.a.Break(c.fault)
		err := look(testauthority.Victim)
		if err == nil {
			continue
		}
		saw[c.fault] = true
		if c.exit == 0 {
			t.Errorf("%s: the client sees what the auditor lets pass: %v", c.fault, err)
		}
		if client.Said() == "" {
			continue
		}
		file := filepath.Join(t.TempDir(), "error.txt")
		if err := os.WriteFile(file, []byte(client.Said()), 0o644); err != nil {
			t.Fatal(err)
		}
		if code, out := sumaudit(t, "evidence", "-vkey", r.a.VKey(), file); code != exitMisbehaviour || !strings.HasPrefix(out, "PROVEN") {
			t.Errorf("%s: exit %d, %q of %s", c.fault, code, out, client.Said())
		}
	}
	for _, f := range []testauthority.Fault{testauthority.Fork, testauthority.Equivocation, testauthority.TreeHeadOther,
		testauthority.LookupOther, testauthority.LookupIndex, testauthority.LookupGone, testauthority.WrongEdge} {
		if !saw[f] {
			t.Errorf("the client does not see the fault %s", f)
		}
	}
}

// TestSplitView shows the go command of one machine another history than the rest
// of the world. It cannot see that, and client can, whoever of the two was shown more,
// with only what is on that machine.
func TestSplitView(t *testing.T) {
	for _, c := range []struct {
		name    string
		fork    int64 // where the history begins that this machine is shown
		more    int64 // how many more entries than the world it is shown
		growing int64 // how many more the world is shown then
		asks    int64 // the entry that the go command asks for
		exit    int
	}{
		{"none", 600, 0, 0, 570, 0},
		{"none, and behind", 600, 0, 10, 570, 0},
		{"same size", 560, 0, 0, 570, exitMisbehaviour},
		{"larger", 560, 10, 0, 570, exitMisbehaviour},
		{"smaller", 560, 0, 10, 570, exitMisbehaviour},
		{"from the beginning", 1, 3, 0, 9, exitMisbehaviour},
		{"of the last entry", 599, 1, 700, 599, exitMisbehaviour},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			world, here := newFaultRig(t, testauthority.Config{}), newFaultRig(t, testauthority.Config{})
			if c.fork < 600 {
				here.a.Become(world.a.Fork(c.fork))
			}
			if c.more > 0 {
				here.a.Grow(c.more)
				here.a.Publish()
			}
			g := newGoCommand(t, here)
			if out, err := g.download(c.asks); err != nil {
				t.Fatalf("the go command sees it: %v: %s", err, out)
			}
			if c.growing > 0 {
				world.a.Grow(c.growing)
				world.a.Publish()
			}
			code, checks := world.run("client", "-gopath", g.dir)
			if code != c.exit {
				t.Errorf("exit %d, want %d: %+v", code, c.exit, checks)
			}
			if c.exit != 0 {
				world.checkAny(checks)
			}
		})
	}
}

// TestGossipWitness has a witness show that it cosigned another history.
func TestGossipWitness(t *testing.T) {
	t.Parallel()
	r := newFaultRig(t, testauthority.Config{})
	witness := func(n int) string { return fmt.Sprintf("witness:%s/witness/%d", r.url, n) }
	if code, checks := r.run("gossip", witness(0), witness(1), witness(2)); code != 0 {
		t.Errorf("before there was a fault: exit %d, %+v", code, checks)
	}
	r.a.Break(testauthority.Monitor)
	code, checks := r.run("gossip", witness(0), witness(1), witness(2))
	if code != exitMisbehaviour {
		t.Errorf("exit %d, %+v", code, checks)
	}
	r.checkAny(checks)
	r.checkEvidence(checks["A5"], "E1", r.a.VKey())
	// Its own earlier cosignature of the true history is needed for that.
	r.checkEvidence(checks["W3"], "E10", r.a.Witness(0).Key().String())
}

// checkAny wants evidence that the log has two histories.
func (r *faultRig) checkAny(checks map[string]report.Data) {
	r.t.Helper()
	for _, d := range checks {
		for _, f := range d.Findings {
			if kind, _, _ := strings.Cut(filepath.Base(f.Evidence), "-"); kind == "E1" || kind == "E2" || kind == "E3" {
				verdictOf(r.t, f.Evidence, evidence.Kind(kind), r.a.VKey())
				return
			}
		}
	}
	r.t.Errorf("no evidence of two histories: %+v", checks)
}
