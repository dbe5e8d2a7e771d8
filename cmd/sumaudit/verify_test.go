// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	diff "github.com/google/go-cmp/cmp"

	"example.org/sumlog/internal/testauthority"
	"example.org/sumlog/witness/audit/gosum"
)

// A desk is an authority and a directory, which is the working directory.
type desk struct {
	testing.TB
	*testauthority.Authority
	url string
	out string // of the last command: stdout
	err string // and stderr
}

func newDesk(t testing.TB) *desk {
	a := testauthority.New(testauthority.Config{})
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	t.Chdir(t.TempDir())
	// What these tests say does not depend on whose machine they run on.
	for name, value := range map[string]string{
		"GOFLAGS": "-mod=mod -modcacherw", "GOENV": "off", "GOSUMDB": "off", "GONOSUMDB": "", "GOPRIVATE": "", "GOPROXY": srv.URL,
		"GOTOOLCHAIN": "local", "GOWORK": "off", "GOMODCACHE": filepath.Join(t.TempDir(), "mod"), "GONOPROXY": "", "GOINSECURE": "",
	} {
		t.Setenv(name, value)
	}
	d := &desk{TB: t, Authority: a, url: srv.URL}
	d.write("policy", a.Policy(2, ""))
	return d
}

func (d *desk) write(name, text string) {
	d.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		d.Fatal(err)
	}
}

func (d *desk) read(name string) string {
	d.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		d.Fatal(err)
	}
	return string(data)
}

// sum returns the go.sum lines of entries.
func (d *desk) sum(indexes ...int64) string {
	var b strings.Builder
	for _, i := range indexes {
		b.Write(d.Entry(i))
	}
	return b.String()
}

// run runs a command and returns its exit code.
func (d *desk) run(args ...string) int {
	var out, stderr bytes.Buffer
	code := program.Run(context.Background(), args, &out, &stderr)
	d.out, d.err = out.String(), stderr.String()
	return code
}

// want runs a command that has to end with this exit code.
func (d *desk) want(code int, args ...string) {
	d.Helper()
	if got := d.run(args...); got != code {
		d.Fatalf("exit code %d, want %d: %q\n%s%s", got, code, args, d.out, d.err)
	}
}

// says checks that the last command printed all of these.
func (d *desk) says(texts ...string) {
	d.Helper()
	for _, text := range texts {
		if !strings.Contains(d.out, text) && !strings.Contains(d.err, text) {
			d.Errorf("no %q in\n%s%s", text, d.out, d.err)
		}
	}
}

// online returns a command line with key and URL.
func (d *desk) online(args ...string) []string {
	return append([]string{args[0], "-vkey", d.VKey(), d.url}, args[1:]...)
}

// other returns text with another hash in its first line.
func other(text string) string {
	i := strings.Index(text, "h1:") + 3
	return text[:i] + strings.Repeat("A", 43) + "=" + text[i+44:]
}

func TestVerify(t *testing.T) {
	d := newDesk(t)
	d.write("go.sum", d.sum(0, 1, 5, 6, 7, 300, 599))
	d.want(0, d.online("verify")...)
	d.says("sound: 14 ok; proven at size 600 of " + d.VKey())
	d.want(0, d.online("verify", "go.sum", "-policy", "policy")...)
	d.says("cosigned by 3 known witnesses")
	d.want(0, d.online("verify", "-v")...)
	d.says("go.sum:2: ok: example.com/Tools/g0@v1.0.0/go.mod is at 0\n")

	for _, c := range []struct {
		name, sum    string
		code         int // without -require-logged
		required     int
		says         string
		private      string
		neverAskedOf string
	}{
		{"mismatch", other(d.sum(1)), 3, 3, "go.sum:1: mismatch: example.com/Tools/g0@v1.0.1 has h1:AAAA", "", ""},
		{"mismatch of go.mod", strings.Replace(d.sum(3), "/go.mod h1:", "/go.mod h1:A", 1), 3, 3, "go.sum:2: mismatch: ", "", ""},
		{"not logged", d.sum(1) + "example.com/none v1.0.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 1, 3, "go.sum:3: not-logged: example.com/none@v1.0.0", "", ""},
		{"private", "example.com/none v1.0.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 0, 3, "go.sum:1: private: example.com/none@v1.0.0", "example.com/n*", "example.com/none"},
		{"unknown hash", "example.com/none v1.0.0 h2:AAAA\n", 0, 3, "go.sum:1: unknown-hash: example.com/none@v1.0.0: ", "", "example.com/none"},
		{"malformed", "<<<<<<< HEAD\n" + d.sum(1), 1, 1, "go.sum:1: malformed: 2 fields", "", ""},
		{"no path", "../.. v1.0.0 h1:AAAA\n", 1, 1, "go.sum:1: malformed: ", "", ""},
		{"CRLF", strings.ReplaceAll(d.sum(1), "\n", "\r\n"), 0, 0, "sound: 2 ok", "", ""},
		{"no newline", strings.TrimSuffix(d.sum(1), "\n"), 0, 0, "sound: 2 ok", "", ""},
		{"empty", "", 1, 1, "nothing was verified: there is no line in go.sum\nsumaudit: hint: an empty go.sum is right", "", ""},
		{"terminal", "\x1b[2J v1.0.0 h1:AAAA\n", 1, 1, "go.sum:1: malformed: ", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := *d
			e.TB = t
			var mu sync.Mutex
			asked := ""
			e.Tamper(func(path string, _ url.Values, status int, body []byte) (int, []byte) {
				mu.Lock()
				defer mu.Unlock()
				asked += path + "\n"
				return status, body
			})
			defer e.Mend()
			e.write("go.sum", c.sum)
			args := e.online("verify", "-private", cmp.Or(c.private, "none.invalid"))
			e.want(c.code, args...)
			e.says(c.says)
			e.want(c.required, append(args, "-require-logged")...)
			if c.neverAskedOf != "" && strings.Contains(asked, c.neverAskedOf) {
				t.Errorf("asked for %s", asked)
			}
			if strings.Contains(e.out, "\x1b") {
				t.Errorf("an escape reaches the terminal: %q", e.out)
			}
		})
	}
}

// What gosumcheck understands, and where the database is by default.
func TestVerifyLikeOthers(t *testing.T) {
	d := newDesk(t)
	d.write("go.sum", d.sum(2, 3))
	d.want(0, "verify", "-h", "8", "-k", d.VKey(), "-u", d.url, "-v", "go.sum")
	d.says("go.sum:1: ok: ")
	d.want(2, "verify", "-h", "7", "-k", d.VKey(), "-u", d.url, "go.sum")
	d.want(2, "verify", "-vkey", d.VKey(), "-k", d.VKey(), d.url, "go.sum")
	d.want(2, "verify")
	d.says("GOSUMDB is off")
	t.Setenv("GOSUMDB", d.VKey()+" "+d.url)
	d.want(0, "verify")
	t.Setenv("GOSUMDB", d.VKey())
	d.want(0, "verify") // by GOPROXY, below /sumdb/NAME
	t.Setenv("GONOSUMDB", "example.com")
	d.want(0, "verify")
	d.says("4 private")
	d.want(0, "verify", "-policy", "policy", d.url, "-private", "none.invalid")
	d.says("4 ok")
}

func TestVerifyPolicy(t *testing.T) {
	d := newDesk(t)
	d.write("go.sum", d.sum(2, 3))
	d.Break(testauthority.TooFew)
	d.want(5, d.online("verify", "-policy", "policy")...)
	d.says("the checkpoint does not count")
	d.want(5, d.online("bundle", "-policy", "policy", "-o", "b")...)
	d.want(0, d.online("bundle", "-o", "b")...)
	d.want(5, "verify", "-vkey", d.VKey(), "-bundle", "b", "-policy", "policy")
	d.write("go.sum", other(d.sum(2)))
	d.want(3, d.online("verify", "-policy", "policy")...)

	d = newDesk(t)
	d.write("go.sum", d.sum(2, 3))
	d.Break(testauthority.StaleCosignatures)
	d.want(0, d.online("verify", "-policy", "policy")...)
	d.want(5, d.online("verify", "-policy", "policy", "-max-age", "24h")...)
	d.want(0, d.online("verify", "-policy", "policy", "-max-age", "100h")...)
}

// A log that shows another history than before, or less of it.
func TestVerifyFork(t *testing.T) {
	d := newDesk(t)
	d.write("go.sum", d.sum(2, 3))
	d.want(0, d.online("verify", "-state", "state")...)
	d.Break(testauthority.Fork)
	d.want(4, d.online("verify", "-state", "state")...)
	_, path, _ := strings.Cut(strings.TrimSpace(d.out), "evidence: ")
	d.want(4, "evidence", "-vkey", d.VKey(), path)
	d.says("PROVEN")
	d.want(0, d.online("verify")...) // it remembers nothing

	d = newDesk(t)
	d.write("go.sum", d.sum(2, 3))
	d.want(0, d.online("verify", "-state", "state")...)
	d.Break(testauthority.Rollback)
	d.want(5, d.online("verify", "-state", "state")...)

	d = newDesk(t)
	d.write("go.sum", d.sum(2, 3))
	d.Break(testauthority.TreeHeadOther)
	d.want(4, d.online("verify")...)
	_, path, _ = strings.Cut(strings.TrimSpace(d.out), "evidence: ")
	d.want(4, "evidence", path)
	d.says("E3")
}

// Lookups that contradict the log.
func TestVerifyLies(t *testing.T) {
	d := newDesk(t)
	d.write("go.sum", d.sum(testauthority.Victim))
	good := strings.Split(string(d.Entry(testauthority.Victim)), "\n")[0]
	d.Tamper(func(path string, _ url.Values, status int, body []byte) (int, []byte) {
		if strings.Contains(path, "/lookup/") {
			body = bytes.Replace(body, []byte(good), []byte(other(good)), 1)
		}
		return status, body
	})
	d.want(4, d.online("verify")...)
	_, path, _ := strings.Cut(d.out, "evidence: ")
	path, _, _ = strings.Cut(path, "\n")
	d.want(0, "evidence", "-vkey", d.VKey(), path)
	d.says("OBSERVATION", "E11")
	d.Mend()
	d.Break(testauthority.LookupOther)
	d.want(4, d.online("verify")...)
	d.Mend()
	// The record of another version, which is logged; and a false index, in the log
	// and beyond it. They do not keep other lines from being verified.
	record, head := d.Entry(testauthority.Victim), d.TreeHead(600).Bytes()
	for _, c := range []struct {
		answer string
		code   int
		says   []string
	}{
		{fmt.Sprintf("8\n%s\n%s", d.Entry(8), head), 1, []string{"the lookup's record at 8 is that of " + d.Module(8).Version().String()}},
		{fmt.Sprintf("8\n%s\n%s", record, head), 4, []string{"the lookup's record is not the one at 8"}},
		{fmt.Sprintf("599\n%s\n%s", record, head), 4, []string{"the lookup's record is not the one at 599"}},
		{fmt.Sprintf("600\n%s\n%s", record, head), 4, []string{"which no head has"}},
		{fmt.Sprintf("%d\n%s\n%s", 1<<50, record, head), 4, []string{"which no head has"}},
	} {
		d.write("two.sum", d.sum(testauthority.Victim, 20))
		d.Tamper(func(path string, _ url.Values, status int, body []byte) (int, []byte) {
			if strings.HasSuffix(path, "/lookup/example.com/!tools/g1@v1.0.1") {
				body = []byte(c.answer)
			}
			return status, body
		})
		d.want(c.code, d.online("verify", "two.sum")...)
		d.says(append(c.says, "incomplete: 2 ok, 2 unchecked")...)
		d.Mend()
		if c.code == 1 {
			continue
		}
		_, path, _ = strings.Cut(d.out, "evidence: ")
		path, _, _ = strings.Cut(path, "\n")
		d.want(0, "evidence", "-vkey", d.VKey(), path)
		d.says("OBSERVATION", "E11", "/lookup/example.com/%21tools/g1@v1.0.1")
	}
	d.Break(testauthority.LookupGone)
	d.want(1, d.online("verify")...)
	d.says("not-logged: ")
	d.Mend()
	d.Tamper(func(path string, _ url.Values, status int, body []byte) (int, []byte) {
		if strings.Contains(path, "/lookup/") {
			body = bytes.Replace(body, []byte("\n\ngo.sum database tree\n6"), []byte("\n\ngo.sum database tree\n7"), 1)
		}
		return status, body
	})
	d.want(1, d.online("verify")...)
	d.says("bad signature")
}

// A record that go commands would not read.
func TestVerifyMalformedRecord(t *testing.T) {
	d := newDesk(t)
	d.Break(testauthority.TwoSpaces)
	for i := d.Size() - 1; ; i-- {
		if m := d.Module(i).Version(); strings.Contains(string(d.Entry(i)), "  ") {
			d.write("go.sum", fmt.Sprintf("%s %s h1:AAAA\n", m.Path, m.Version))
			break
		}
	}
	d.want(4, d.online("verify")...)
	_, path, _ := strings.Cut(d.out, "evidence: ")
	path, _, _ = strings.Cut(path, "\n")
	d.want(4, "evidence", "-vkey", d.VKey(), path)
	d.says("PROVEN", "E5")
}

func TestVerifyMachine(t *testing.T) {
	d := newDesk(t)
	d.write("go.sum", d.sum(1)+other(d.sum(2))+"x v1.0.0 h1:AAAA\n")
	d.want(3, d.online("verify", "-json", "-sarif", "out.sarif")...)
	var r gosum.Report
	if err := json.Unmarshal([]byte(d.out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Outcome != gosum.Different || r.Exceptions != 2 || r.Size != 600 || len(r.Lines) != 5 || r.Bundle != "" {
		t.Errorf("report %+v", r)
	}
	d.want(3, d.online("verify", "-sarif", "-")...)
	if d := diff.Diff(d.read("out.sarif"), d.out); d != "" {
		t.Error(d)
	}
	var sarif struct {
		Version string
		Runs    []struct {
			Results []struct {
				RuleID, Level string
				Locations     []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(d.out), &sarif); err != nil {
		t.Fatal(err)
	}
	if sarif.Version != "2.1.0" || len(sarif.Runs) != 1 || len(sarif.Runs[0].Results) != 2 {
		t.Fatalf("%+v", sarif)
	}
	first := sarif.Runs[0].Results[0]
	if at := first.Locations[0].PhysicalLocation; first.RuleID != "mismatch" || first.Level != "error" || at.ArtifactLocation.URI != "go.sum" || at.Region.StartLine != 3 {
		t.Errorf("%+v", first)
	}
}

// buildUser makes a module that imports others, builds it, and vendors them.
func buildUser(d *desk) {
	d.Helper()
	two := d.Module(13) // /v2
	d.write("go.mod", fmt.Sprintf("module example.com/user\n\ngo 1.20\n\nrequire (\n\t%s %s\n\t%s %s\n\texample.com/old v1.0.0\n)\n\nreplace example.com/old => %s %s\n",
		d.Module(3).Path, d.Module(3).V, two.Path, two.V, d.Module(9).Path, d.Module(9).V))
	d.write("main.go", fmt.Sprintf("package main\n\nimport (\n\t_ %q\n\t_ %q\n\t_ \"example.com/old\"\n)\n\nfunc main() {}\n", d.Module(3).Path, two.Path))
	d.write("go.sum", d.sum(3, 9, 13))
	for _, args := range [][]string{{"build", "-o", "user"}, {"mod", "vendor"}} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			d.Fatalf("%v: %s", err, out)
		}
	}
}

func TestVerifyBuilt(t *testing.T) {
	d := newDesk(t)
	buildUser(d)
	d.want(0, d.online("verify", "-binary", "user", "-v")...)
	d.says("user: toolchain: go@1.", "user: note: example.com/user", "the main module",
		"user: ok: "+d.Module(3).Version().String(), "user: ok: "+d.Module(9).Version().String(), "3 ok")

	cache := os.Getenv("GOMODCACHE")
	d.want(0, d.online("verify", "-cache")...)
	d.says("9 ok")
	dir := filepath.Join(cache, "example.com", "!tools", "g0@v1.1.0")
	if err := os.WriteFile(filepath.Join(dir, "more.go"), []byte("package m\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mod := filepath.Join(cache, "cache", "download", "example.com", "!tools", "g0", "@v", "v1.1.0.mod")
	d.write(mod, d.read(mod)+"// more\n")
	d.want(3, d.online("verify", "-cache", cache)...)
	d.says(dir+": mismatch: ", mod+": mismatch: ", "2 mismatch")

	testVendor(d)
}

// command runs a command of go or git.
func (d *desk) command(dir string, args ...string) {
	d.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		d.Fatalf("%q: %v: %s", args, err, out)
	}
}

// buildLocal writes a workspace with a module that is built with another member, with a
// module that a directory replaces, one that a version replaces, and one that is logged.
func buildLocal(d *desk) {
	d.Helper()
	for _, name := range []string{"local", "member"} {
		if err := os.Mkdir(name, 0o755); err != nil {
			d.Fatal(err)
		}
		d.write(filepath.Join(name, "go.mod"), "module example.com/"+name+"\n\ngo 1.21\n")
		d.write(filepath.Join(name, "m.go"), "package m\n")
	}
	if err := os.Mkdir("user", 0o755); err != nil {
		d.Fatal(err)
	}
	d.write("go.work", "go 1.21\n\nuse (\n\t./user\n\t./member\n)\n")
	d.write("user/go.mod", fmt.Sprintf("module example.com/user\n\ngo 1.21\n\nrequire (\n\t%s %s\n\texample.com/local v1.0.0\n\texample.com/old v1.0.0\n)\n\n"+
		"replace (\n\texample.com/local => ../local\n\texample.com/old => %s %s\n)\n",
		d.Module(3).Path, d.Module(3).V, d.Module(9).Path, d.Module(9).V))
	d.write("user/go.sum", d.sum(3, 9))
	d.write("user/main.go", fmt.Sprintf("package main\n\nimport (\n\t_ %q\n\t_ \"example.com/local\"\n\t_ \"example.com/member\"\n\t_ \"example.com/old\"\n)\n\nfunc main() {}\n", d.Module(3).Path))
	d.Setenv("GOWORK", filepath.Join(d.wd(), "go.work"))
	d.command("user", "go", "build", "-o", "../bin")
	d.Setenv("GOWORK", "off")
}

func (d *desk) wd() string {
	d.Helper()
	dir, err := os.Getwd()
	if err != nil {
		d.Fatal(err)
	}
	return dir
}

// TestVerifyLocal has what no log can have: it is said, and only an error where
// everything has to be logged.
func TestVerifyLocal(t *testing.T) {
	d := newDesk(t)
	d.Setenv("GOFLAGS", "-modcacherw")
	buildLocal(d)
	d.want(0, d.online("verify", "-binary", "bin", "-v", "-report", "r.json")...)
	d.says("bin: note: example.com/user@(devel): the main module", `bin: note: example.com/local@v1.0.0: replaced by the directory "./local"`,
		"bin: note: example.com/member@(devel): built from a directory", "bin: ok: "+d.Module(3).Version().String(),
		"bin: ok: "+d.Module(9).Version().String(), "sound: 2 ok, 3 note, 1 toolchain; ")
	d.want(0, "verify", "-vkey", d.VKey(), "-again", "r.json")
	d.want(3, d.online("verify", "-binary", "bin", "-require-logged", "-sarif", "out.sarif")...)
	if n := strings.Count(d.read("out.sarif"), `"level": "error",`); n < 3 {
		t.Errorf("%d errors in\n%s", n, d.read("out.sarif"))
	}

	// The vendor directory of it, without the member.
	d.write("user/main.go", strings.Replace(d.read("user/main.go"), "\t_ \"example.com/member\"\n", "", 1))
	d.command("user", "go", "mod", "vendor")
	d.want(0, d.online("verify", "-vendor", "user/vendor", "-report", "r.json")...)
	d.says(`note: example.com/local: replaced by the directory "../local"`, "sound: 2 ok, 1 note; ")
	d.want(0, "verify", "-vkey", d.VKey(), "-again", "r.json")
	d.want(3, d.online("verify", "-vendor", "user/vendor", "-require-logged")...)
	old := filepath.Join("user", "vendor", "example.com", "old", "m.go")
	d.write(old, d.read(old)+"// more\n")
	d.want(3, d.online("verify", "-vendor", "user/vendor")...)
	d.says(old + ": mismatch: ")

	// What is built from it has versions without hashes, which a log could have.
	d.command("user", "go", "build", "-mod=vendor", "-o", "../vendored")
	d.want(1, d.online("verify", "-binary", "vendored")...)
	d.says("vendored: unchecked: " + d.Module(3).Version().String() + ": no hash of it is recorded")
}

// TestVerifyStamped has main modules with versions that go commands make up from the
// state of a repository.
func TestVerifyStamped(t *testing.T) {
	d := newDesk(t)
	for name, value := range map[string]string{
		"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@m.example",
		"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@m.example", "GOFLAGS": "-modcacherw -buildvcs=true",
	} {
		d.Setenv(name, value)
	}
	d.write("go.mod", fmt.Sprintf("module example.com/user\n\ngo 1.21\n\nrequire %s %s\n", d.Module(3).Path, d.Module(3).V))
	d.write("go.sum", d.sum(3))
	d.write("main.go", fmt.Sprintf("package main\n\nimport _ %q\n\nfunc main() {}\n", d.Module(3).Path))
	d.write(".gitignore", "bin\npolicy\n")
	d.command(".", "git", "init", "-q")
	d.command(".", "git", "add", ".")
	d.command(".", "git", "commit", "-qm", "x")
	for _, want := range []string{"v0.0.0-", "v1.2.3:", "v1.2.3+dirty:"} {
		switch want {
		case "v1.2.3:":
			d.command(".", "git", "tag", "v1.2.3")
		case "v1.2.3+dirty:":
			d.write("main.go", d.read("main.go")+"// more\n")
		}
		d.command(".", "go", "build", "-o", "bin")
		d.want(0, d.online("verify", "-binary", "bin")...)
		d.says("bin: note: example.com/user@"+want, "sound: 1 ok, 1 note, 1 toolchain; ")
		d.want(3, d.online("verify", "-binary", "bin", "-require-logged")...)
	}
}

func testVendor(d *desk) {
	vendored := func(m testauthority.Module) string {
		return filepath.Join("vendor", filepath.FromSlash(m.Path), "m.go")
	}
	d.want(0, d.online("verify", "-vendor")...)
	d.says("3 ok")
	d.want(0, d.online("verify", "-vendor", "-modcache-dir", d.TempDir())...) // from the URL
	d.says("3 ok")
	d.want(0, d.online("bundle", "-o", "b")...)
	d.want(0, "verify", "-vendor", "-vkey", d.VKey(), "-bundle", "b")

	first := vendored(d.Module(3))
	text := d.read(first)
	d.write(first, strings.Replace(text, "Package", "package", 1))
	d.want(3, d.online("verify", "-vendor")...)
	d.says(first + ": mismatch: " + d.Module(3).Version().String() + ": not the file of the logged zip")
	if err := os.Remove(first); err != nil {
		d.Fatal(err)
	}
	d.want(3, d.online("verify", "-vendor")...)
	d.says(first + ": mismatch: " + d.Module(3).Version().String() + ": missing")
	d.write(first, text)
	extra := filepath.Join(filepath.Dir(first), "n.go")
	d.write(extra, "package m\n")
	d.want(3, d.online("verify", "-vendor")...)
	d.says(extra + ": mismatch: " + d.Module(3).Version().String() + ": not in the logged zip")
	d.want(3, d.online("verify", "-vendor", "-report", "r.json")...)
	d.want(3, "verify", "-vkey", d.VKey(), "-again", "r.json")
	if err := os.Remove(extra); err != nil {
		d.Fatal(err)
	}
	d.write("vendor/stray.go", "package p\n")
	d.want(3, d.online("verify", "-vendor")...)
	d.says("vendor/stray.go: mismatch: of none of the modules")
}

// In a network namespace without interfaces, nothing is missed.
func TestOfflineNamespace(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("network namespaces are of Linux")
	}
	if out, err := exec.Command("unshare", "-rn", "true").CombinedOutput(); err != nil {
		t.Skipf("this machine makes no network namespace: %v: %s", err, out)
	}
	d := newDesk(t)
	var sum strings.Builder
	for i := range int64(500) {
		sum.Write(d.Entry(i))
	}
	d.write("go.sum", sum.String())
	d.want(0, d.online("bundle", "-o", "b")...)
	d.want(0, d.online("verify", "-report", "r.json")...)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The test binary is sumaudit under that name.
	if err := os.Symlink(exe, "sumaudit"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"verify", "-vkey", d.VKey(), "-policy", "policy", "-private", "none.invalid", "-bundle", "b"},
		{"verify", "-vkey", d.VKey(), "-again", "r.json"},
	} {
		out, err := exec.Command("unshare", append([]string{"-rn", "./sumaudit"}, args...)...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "sound: 1000 ok") {
			t.Errorf("%q: %v: %s", args, err, out)
		}
	}
}

// A log that is not there, or that fails at every lookup, costs no more than a few
// requests.
func TestVerifyDown(t *testing.T) {
	d := newDesk(t)
	d.write("go.sum", d.sum(0))
	d.want(1, "verify", "-vkey", d.VKey(), "http://127.0.0.1:1", "-private", "none.invalid")
	var sum strings.Builder
	for i := range int64(100) {
		sum.Write(d.Entry(i))
	}
	d.write("go.sum", sum.String())
	var lookups atomic.Int64
	d.Tamper(func(path string, _ url.Values, status int, body []byte) (int, []byte) {
		if strings.Contains(path, "/lookup/") {
			lookups.Add(1)
			return http.StatusForbidden, []byte("no\n")
		}
		return status, body
	})
	d.want(1, d.online("verify")...)
	if n := lookups.Load(); n > 30 {
		t.Errorf("%d lookups", n)
	}
}
