// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/internal/testauthority"
)

// An auditor is a state and the keys that cosign.
type auditor struct {
	t     *testing.T
	key   *checkpoint.Key
	file  string
	state string
}

func newAuditor(t *testing.T, args ...string) *auditor {
	t.Helper()
	a := &auditor{t: t, file: filepath.Join(t.TempDir(), "key"), state: t.TempDir()}
	code, out := sumaudit(t, append([]string{"cosign", "-new", "-key", a.file, "-name", "audit.example.org"}, args...)...)
	var err error
	if a.key, err = checkpoint.ParseKey(strings.TrimSpace(out)); err != nil || code != 0 {
		t.Fatalf("exit %d: %v", code, err)
	}
	if fi, err := os.Stat(a.file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	return a
}

func (a *auditor) args(vkey, url string, more ...string) []string {
	return append([]string{"cosign", "-vkey", vkey, "-key", a.file, "-state", a.state, url}, more...)
}

// serveAudited starts the log with auditors.
func (d *deployment) serveAudited(auditors ...*auditor) {
	d.t.Helper()
	d.serve()
	d.log.kill()
	for _, a := range auditors {
		d.log.args = append(d.log.args, "-auditor", a.key.String())
	}
	d.log.start(d.t)
	eventually(d.t, "the log is ready", func() error { return status(d.url+"/readyz", 200) })
}

// audited returns the checkpoint that the log shows as audited, verified under a
// policy that asks for all witnesses given.
func (d *deployment) audited(auditors ...*auditor) (size int64, err error) {
	resp, err := rigClient.Get(d.url + "/checkpoint/audited")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	note, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", resp.Status, note)
	}
	text, err := os.ReadFile(d.policy)
	if err != nil {
		return 0, err
	}
	all := "group all all g"
	for i, a := range auditors {
		text = fmt.Appendf(text, "witness auditor%d %s\n", i, a.key)
		all += fmt.Sprintf(" auditor%d", i)
	}
	text = append(bytes.Replace(text, []byte("quorum g\n"), nil, 1), all+"\nquorum all\n"...)
	p, err := policy.Parse(text)
	if err != nil {
		return 0, err
	}
	if p, err = p.For(d.key); err != nil {
		return 0, err
	}
	n, err := checkpoint.ParseNote(note)
	if err != nil {
		return 0, err
	}
	r, err := p.Check(n)
	return r.Checkpoint.Size, err
}

func (d *deployment) wantAudited(size int64, auditors ...*auditor) {
	d.t.Helper()
	if got, err := d.audited(auditors...); err != nil || got != size {
		d.t.Errorf("size %d is audited, %v; want %d", got, err, size)
	}
}

// TestCosign has auditors, with keys of both kinds, cosign what a real log publishes
// under a quorum of real witnesses.
func TestCosign(t *testing.T) {
	a, b := newAuditor(t), newAuditor(t, "-mldsa")
	d := newDeployment(t)
	d.fill(20)
	d.serveAudited(a, b)
	if _, err := d.audited(); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("before there was any: %v", err)
	}
	once := func(a *auditor, wantCode int, want string, more ...string) {
		t.Helper()
		code, out := sumaudit(t, a.args(d.key.String(), d.url, append(more, "-once", "-policy", d.policy, "-sample", "5")...)...)
		if code != wantCode || !strings.Contains(out, want) || (want == "") != (out == "") {
			t.Errorf("exit %d, %q; want %d, %q", code, out, wantCode, want)
		}
	}
	once(a, 0, "cosigned size 20, ")
	d.wantAudited(20, a)
	once(a, 0, "") // nothing new
	once(b, 0, "cosigned size 20, ")
	d.wantAudited(20, a, b)

	// It follows, as a process, and ends as it is told.
	d.admit(25)
	follow := exec.Command("sumaudit", a.args(d.key.String(), d.url, "-interval", "1s", "-sample", "none")...)
	follow.Stderr = t.Output()
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{25, 30} {
		d.admit(size)
		eventually(t, "the newest size is audited", func() error {
			if got, err := d.audited(a); err != nil || got != size {
				return fmt.Errorf("size %d, %v", got, err)
			}
			return nil
		})
	}
	follow.Process.Signal(syscall.SIGTERM)
	ended := time.AfterFunc(10*time.Second, func() { follow.Process.Kill() })
	if err := follow.Wait(); err != nil || !ended.Stop() {
		t.Errorf("SIGTERM: %v", err)
	}
	// The log is started again, and another auditor is behind: what it says is taken,
	// and the newest is shown.
	d.log.kill()
	d.log.start(t)
	eventually(t, "the log is ready", func() error { return status(d.url+"/readyz", 200) })
	d.wantAudited(30, a)
	once(b, 0, "cosigned size 30, ")
	d.wantAudited(30, a, b)

	// A check that must be made and cannot.
	d.admit(31)
	once(b, 1, "not all could be checked", "-require", "D6")
	d.wantAudited(30, a, b)

	// The state is lost. What the log shows tells.
	a.state = t.TempDir()
	once(a, 1, "")
	d.wantAudited(30, a, b)
}

// TestCosignFork has a log fork behind what was cosigned. The audit begins anew,
// with no memory but the cosigner's own.
func TestCosignFork(t *testing.T) {
	for _, fault := range []testauthority.Fault{testauthority.Fork, testauthority.Equivocation} {
		r := newFaultRig(t, testauthority.Config{})
		a := newAuditor(t)
		args := a.args(r.a.VKey(), r.url, "-once", "-sample", "none")
		// The log takes no cosignatures, which is nothing to do with the rest.
		if code, out := sumaudit(t, args...); code != 1 || out != "" {
			t.Fatalf("exit %d, %q", code, out)
		}
		if err := os.RemoveAll(filepath.Join(a.state, "logs")); err != nil {
			t.Fatal(err)
		}
		r.a.Break(fault)
		code, out := sumaudit(t, args...)
		path, ok := strings.CutPrefix(strings.TrimSpace(out), "evidence: ")
		if code != exitMisbehaviour || !ok {
			t.Errorf("%s: exit %d, %q", fault, code, out)
			continue
		}
		if code, out := sumaudit(t, "evidence", "-vkey", r.a.VKey(), path); code != exitMisbehaviour || !strings.HasPrefix(out, "PROVEN") {
			t.Errorf("%s: exit %d, %q", fault, code, out)
		}
	}
}

// TestCosignVanished withdraws a service: what was audited once is not cosigned
// without it, until it is there again or the operator begins anew.
func TestCosignVanished(t *testing.T) {
	withoutRace(t)
	t.Parallel()
	for _, what := range []string{"/index", "/checkpoints", "/lookup/", "/@v/"} {
		r := newFaultRig(t, testauthority.Config{Sizes: []int64{5, 20, 40, 60}})
		gone := false
		r.front(func(w http.ResponseWriter, path string, _ url.Values) bool {
			if path == "/audited/add-checkpoint" {
				return true // taken
			}
			if gone && strings.Contains(path, what) {
				w.WriteHeader(http.StatusNotFound)
				return true
			}
			return false
		})
		a := newAuditor(t)
		audit := func(size int64) {
			t.Helper()
			code, out := sumaudit(t, a.args(r.a.VKey(), r.url, "-once", "-sample", "all")...)
			if code != 0 || !strings.HasPrefix(out, fmt.Sprintf("cosigned size %d, ", size)) {
				t.Errorf("%s: exit %d, %q; want size %d", what, code, out, size)
			}
		}
		held := func() {
			t.Helper()
			r.a.Grow(20)
			r.a.Publish()
			gone = true
			code, out := sumaudit(t, a.args(r.a.VKey(), r.url, "-once", "-sample", "all")...)
			if code != 1 || strings.Contains(out, "cosigned size") || !strings.Contains(out, "at an earlier audit") {
				t.Errorf("%s has vanished: exit %d, %q", what, code, out)
			}
		}
		audit(60)
		held()
		gone = false
		audit(80)
		held()
		files, err := filepath.Glob(filepath.Join(a.state, "logs", "*", "progress.json"))
		if err != nil || len(files) != 1 || os.Remove(files[0]) != nil {
			t.Fatalf("%q, %v", files, err)
		}
		audit(100)
	}
}
