// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/testauthority"
	"example.org/sumlog/witness/audit/report"
)

// A repository made by git, in which a file can be committed and tagged.
type repository struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T) repository {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git")
	}
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_SYSTEM", os.DevNull)
	r := repository{t, t.TempDir()}
	r.git("init", "-q")
	return r
}

func (r repository) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...)
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit makes a commit and returns it.
func (r repository) commit(content string) string {
	if err := os.WriteFile(filepath.Join(r.dir, "a"), []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
	r.git("add", "a")
	r.git("commit", "-q", "-m", content)
	return r.git("rev-parse", "HEAD")
}

func TestTags(t *testing.T) {
	repo := newRepository(t)
	url := "file://" + repo.dir
	t.Setenv("GIT_ALLOW_PROTOCOL", "file")
	one := repo.commit("one")
	two := repo.commit("two")
	repo.git("tag", "v1.0.0", one)
	repo.git("tag", "-a", "-m", "annotated", "v1.0.1", two)
	repo.git("tag", "v1.1.0", two)

	for name, test := range map[string]struct {
		entry   int64 // 0 is v1.0.0, 1 is v1.0.1, 3 is v1.1.0
		origin  testauthority.Origin
		want    report.Result
		checked int64
		kind    evidence.Kind
		text    string
	}{
		"same":      {0, testauthority.Origin{VCS: "git", URL: url, Hash: one, Ref: "refs/tags/v1.0.0"}, report.OK, 1, "", ""},
		"annotated": {1, testauthority.Origin{VCS: "git", URL: url, Hash: two, Ref: "refs/tags/v1.0.1"}, report.OK, 1, "", ""},
		"moved":     {3, testauthority.Origin{VCS: "git", URL: url, Hash: one, Ref: "refs/tags/v1.1.0"}, report.Warning, 1, evidence.Moved, "is at " + two},
		"moved annotated": {
			1, testauthority.Origin{VCS: "git", URL: url, Hash: one, Ref: "refs/tags/v1.0.1"}, report.Warning, 1, evidence.Moved, "is at",
		},
		"gone":    {0, testauthority.Origin{VCS: "git", URL: url, Hash: one, Ref: "refs/tags/sub/v1.0.0"}, report.Warning, 1, "", "is gone"},
		"no tag":  {0, testauthority.Origin{VCS: "git", URL: url, Hash: one}, report.Skipped, 0, "", ""},
		"no git":  {0, testauthority.Origin{VCS: "hg", URL: url, Hash: one, Ref: "refs/tags/v1.0.0"}, report.Skipped, 0, "", ""},
		"unasked": {0, testauthority.Origin{VCS: "git", URL: url, Hash: one, Ref: "refs/tags/v1.0.0 --upload-pack=x"}, report.Warning, 0, "", "not asked"},
		"none":    {0, testauthority.Origin{VCS: "git", URL: url + "x", Hash: one, Ref: "refs/tags/v1.0.0"}, report.Failed, 0, "", "git ls-remote"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, testauthority.Config{Sizes: []int64{8}})
			r.a.SetOrigin(r.a.Module(test.entry), test.origin)
			res := r.audit(func(c *Config) { c.Tags = true })
			d := res.checks["D6"]
			if d.Result != test.want || d.Checked != test.checked || test.text != "" && !strings.Contains(d.Findings[0].Text, test.text) {
				t.Errorf("%+v", d)
			}
			if test.kind == "" && len(res.files) > 0 || test.kind != "" && (len(res.files) != 1 || res.files[0].Kind() != test.kind) {
				t.Errorf("%v", res.files)
			}
		})
	}
}

// What a mirror says must not make git do anything but ask a public host.
func TestOrigin(t *testing.T) {
	t.Setenv("GIT_ALLOW_PROTOCOL", "")
	for url, ok := range map[string]bool{
		"https://example.com/a.git":       true,
		"https://example.com:8443/a":      true,
		"ssh://git@example.com/a":         true,
		"http://example.com/a":            false,
		"git://example.com/a":             false,
		"file:///etc":                     false,
		"ext::sh -c id":                   false,
		"ext::sh":                         false,
		"/etc":                            false,
		"example.com:a":                   false,
		"--upload-pack=id":                false,
		"ssh://-oProxyCommand=id/a":       false,
		"ssh://-oProxyCommand=id@x.com/a": false,
		"ssh://-oProxyCommand=x.com/a":    false,
		"https://127.0.0.1/a":             false,
		"https://[::1]/a":                 false,
		"https://169.254.169.254/latest":  false,
		"https://localhost/a":             false,
		"https://localhost./a":            false,
		"https://intranet:443/a":          false,
		"https:///a":                      false,
		"https://example.com/a\nb":        false,
		"":                                false,
	} {
		err := origin{URL: url, Ref: "refs/tags/v1.0.0"}.check()
		if (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
	}
	for ref, ok := range map[string]bool{
		"refs/tags/v1.0.0": true, "refs/tags/sub/v1.0.0-rc.1+incompatible": true,
		"refs/tags/*": false, "refs/heads/main": false, "--x": false, "refs/tags/a b": false, "refs/tags/": false, "refs/tags/a\n": false,
	} {
		if err := (origin{URL: "https://example.com/a", Ref: ref}).check(); (err == nil) != ok {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

// A repository that says too much is left.
func TestLimited(t *testing.T) {
	ended := false
	l := &limited{left: 4, cancel: func() { ended = true }}
	l.Write([]byte("abc"))
	if ended || l.over {
		t.Error("ended too early")
	}
	if n, err := l.Write([]byte("def")); n != 3 || err != nil || !ended || !l.over || string(l.data) != "abcd" {
		t.Errorf("%d %v %+v", n, err, l)
	}
}

func FuzzCommits(f *testing.F) {
	a, b := strings.Repeat("a", 40), strings.Repeat("b", 64)
	f.Add(a+"\trefs/tags/v1.0.0\n"+b+"\trefs/tags/v1.0.0^{}\n", "refs/tags/v1.0.0")
	f.Add("\t\n", "")
	f.Fuzz(func(t *testing.T, refs, ref string) {
		for _, h := range commits([]byte(refs), ref) {
			if !isHash(h) || !strings.Contains(refs, h+"\t"+ref) {
				t.Errorf("%q", h)
			}
		}
	})
}
