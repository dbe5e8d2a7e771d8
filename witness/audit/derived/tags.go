// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/witness/audit/report"
)

// An origin is where a .info says that a version comes from.
type origin struct {
	VCS, URL, Hash, Ref string
}

const (
	gitTime = time.Minute
	maxRefs = 64 << 10
)

// tag asks the repository whether the tag of e is where the .info says (D6).
func (a *auditor) tag(ctx context.Context, e entry, an answer, o origin) {
	if o.VCS != "git" || !strings.HasPrefix(o.Ref, "refs/tags/") || !isHash(o.Hash) {
		return // a commit without a tag, or nothing that git can be asked
	}
	if err := o.check(); err != nil {
		warn(a.d6, e, "%s: not asked about its tag: %v", e, err)
		return
	}
	t := evidence.Tag{URL: a.observed(an, evidence.Info).URL, Time: a.now(), Info: an.body}
	refs, err := lsRemote(ctx, o)
	if err != nil {
		a.failed(ctx, a.d6, e.Index, "%s: %v", e, err)
		return
	}
	t.Refs = refs
	a.d6.Add(1)
	at := commits(refs, o.Ref)
	for _, h := range at {
		if h == o.Hash {
			return
		}
	}
	// What an author does to his tags is not the log's misbehaviour.
	f := report.Finding{Result: report.Warning, Index: &e.Index, Text: fmt.Sprintf("%s: %s of %s was at %s, and is at %s", e, o.Ref, o.URL, o.Hash, strings.Join(at, ", "))}
	if len(at) == 0 {
		f.Text = fmt.Sprintf("%s: %s of %s was at %s, and is gone", e, o.Ref, o.URL, o.Hash)
	}
	if !a.full(a.d6) {
		f.Evidence, err = a.moved(ctx, e, t)
		if err != nil {
			f.Text += fmt.Sprintf(" (no evidence was made: %v)", err)
		}
	}
	a.d6.Find(f)
}

func (a *auditor) moved(ctx context.Context, e entry, t evidence.Tag) (string, error) {
	p, err := a.prove(ctx, e)
	if err != nil {
		return "", err
	}
	ev, err := evidence.TagMoved(p, t)
	if err != nil {
		return "", err
	}
	return a.c.Keep(ev)
}

var (
	hexHash = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	tagName = regexp.MustCompile(`^refs/tags/[0-9A-Za-z_.+/~-]+$`)
)

func isHash(s string) bool { return hexHash.MatchString(s) }

// check reports why git is not asked. The URL comes from the mirror: it must not
// be an option of git or ssh, nor a way into the network of who audits. A name can
// still lead there, which takes as much as making somebody clone it.
func (o origin) check() error {
	if !tagName.MatchString(o.Ref) {
		return fmt.Errorf("reference %.100q", o.Ref)
	}
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme == "" || strings.ContainsAny(o.URL, " \t\r\n\x00") || strings.HasPrefix(u.Host, "-") || u.User != nil && strings.HasPrefix(u.User.Username(), "-") {
		return fmt.Errorf("repository %.100q", o.URL)
	}
	if os.Getenv("GIT_ALLOW_PROTOCOL") != "" {
		return nil // whoever audits says what git may use
	}
	if u.Scheme != "https" && u.Scheme != "ssh" {
		return fmt.Errorf("repository %.100q: not https or ssh", o.URL)
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil || !strings.Contains(strings.TrimSuffix(host, "."), ".") {
		return fmt.Errorf("repository %.100q: not a public name", o.URL)
	}
	return nil
}

// lsRemote returns what git says of the tag of o.
func lsRemote(ctx context.Context, o origin) ([]byte, error) {
	// Not in a repository, whose configuration would count.
	dir, err := os.MkdirTemp("", "sumaudit-git-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, gitTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", "ls-remote", "--", o.URL, o.Ref, o.Ref+"^{}")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=true", "SSH_ASKPASS_REQUIRE=never", "GIT_CEILING_DIRECTORIES="+dir, "LC_ALL=C")
	for name, value := range map[string]string{"GIT_ALLOW_PROTOCOL": "https:ssh", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"} {
		if os.Getenv(name) == "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	out, errs := &limited{left: maxRefs, cancel: cancel}, &limited{left: 4 << 10}
	cmd.Stdout, cmd.Stderr = out, errs
	// git works through children, which a signal to it alone does not end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	switch {
	case out.over:
		return nil, errors.New("git ls-remote: too long an answer")
	case err != nil:
		line, _, _ := strings.Cut(strings.TrimSpace(string(errs.data)), "\n")
		return nil, fmt.Errorf("git ls-remote: %v: %.200s", err, line)
	}
	return out.data, nil
}

// A limited buffer keeps what fits. (It is no bytes.Buffer, whose ReadFrom would be
// preferred to Write.)
type limited struct {
	data   []byte
	left   int
	over   bool
	cancel func() // called when there is more, if not nil
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	l.data = append(l.data, p[:n]...)
	if n < len(p) {
		l.over = true
		if l.cancel != nil {
			l.cancel()
		}
	}
	return len(p), nil
}

// commits returns the commits that the lines of git ls-remote give for a tag: of an
// annotated tag what it points at, and the tag itself, since either may have been
// noted.
func commits(refs []byte, ref string) []string {
	var at []string
	for line := range strings.Lines(string(refs)) {
		hash, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if ok && isHash(hash) && (name == ref || name == ref+"^{}") {
			at = append(at, hash)
		}
	}
	return at
}
