// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/testauthority"
	"example.org/sumlog/witness/audit/report"
)

// A faultCase says what an audit makes of an authority with a fault.
type faultCase struct {
	fault testauthority.Fault
	id    string // of the check that finds it
	exit  int
	kind  evidence.Kind // "" if there is none

	// also are the ids of further checks that cannot but find something too. All
	// others must find nothing.
	also string

	after bool // only after an audit that saw what was there before
	small bool // in a small log of which everything is fetched
	entry bool // it is of an entry, and so for ever
}

// Where exit code 4 has no kind, nothing that the log signed contradicts what it
// says: no record shows that another one is not logged, or when one was.

var faultCases = []faultCase{
	{fault: testauthority.Fork, id: "A2", exit: 4, kind: "E1", after: true, also: "A4 A6 B1 W1"},
	{fault: testauthority.TwoFaced, id: "W3", exit: 4, kind: "E10", after: true, also: "A2 A4 A6 B1 W1"},
	{fault: testauthority.Equivocation, id: "A2", exit: 4, kind: "E2", after: true, also: "A4 A6 B1 W1"},
	{fault: testauthority.Rollback, id: "A3", exit: 5, after: true},
	{fault: testauthority.ArchiveFork, id: "A2", exit: 4, kind: "E1", also: "A4 W1"},
	{fault: testauthority.TreeHeadOther, id: "A4", exit: 4, kind: "E3", also: "A5"},
	{fault: testauthority.TreeHeadFork, id: "A4", exit: 4, kind: "E3", also: "A3 A5"},
	{fault: testauthority.ArchiveTreeHead, id: "A4", exit: 4, kind: "E3", also: "A2"},
	{fault: testauthority.ProxyFork, id: "A5", exit: 4, kind: "E1", also: "B2"},
	{fault: testauthority.ProxyFrozen, id: "A5", exit: 5},
	{fault: testauthority.LookupFork, id: "B5", exit: 4, kind: "E3", small: true},
	{fault: testauthority.ArchiveTime, id: "A4", exit: 4},
	{fault: testauthority.WitnessRollback, id: "W3", exit: 4, kind: "E9"},
	{fault: testauthority.StaleCosignatures, id: "A6", exit: 5},
	{fault: testauthority.FutureCosignature, id: "W2", exit: 5, also: "A6"},
	{fault: testauthority.BadCosignature, id: "W2", exit: 5, also: "W1"},
	{fault: testauthority.TooFew, id: "W1", exit: 5, also: "A6"},

	{fault: testauthority.Duplicate, id: "C4", exit: 4, kind: "E5", small: true, entry: true},
	{fault: testauthority.Conflict, id: "C4", exit: 4, kind: "E4", also: "D1", small: true, entry: true},
	{fault: testauthority.CRLF, id: "C1", exit: 4, kind: "E5", small: true, entry: true},
	{fault: testauthority.ExtraLine, id: "C1", exit: 4, kind: "E5", small: true, entry: true},
	{fault: testauthority.MissingLine, id: "C1", exit: 4, kind: "E5", small: true, entry: true},
	{fault: testauthority.NoNewline, id: "C1", exit: 4, kind: "E5", small: true, entry: true},
	{fault: testauthority.TwoSpaces, id: "C1", exit: 4, kind: "E5", small: true, entry: true},
	{fault: testauthority.OtherVersion, id: "C1", exit: 4, kind: "E5", small: true, entry: true},
	{fault: testauthority.BadHash, id: "C3", exit: 4, kind: "E5", small: true, entry: true},
	{fault: testauthority.Empty, id: "C1", exit: 4, kind: "E5", small: true, entry: true},
	{fault: testauthority.OddVersion, id: "C2", exit: 0, small: true, entry: true},
	{fault: testauthority.ModUnlikeZip, id: "D2", exit: 0, small: true},

	{fault: testauthority.WrongTile, id: "B2", exit: 4, kind: "E11"},
	{fault: testauthority.WrongUpper, id: "B2", exit: 4, kind: "E11", also: "B4"},
	{fault: testauthority.WrongDatabase, id: "B2", exit: 4, kind: "E11"},
	{fault: testauthority.WrongPartial, id: "B4", exit: 4, kind: "E11"},
	{fault: testauthority.WrongEdge, id: "B2", exit: 4, kind: "E11"},
	{fault: testauthority.WrongBundle, id: "B1", exit: 4},
	{fault: testauthority.WrongData, id: "B3", exit: 4, kind: "E11", small: true},
	{fault: testauthority.ProxyTile, id: "B2", exit: 4, kind: "E11"},
	{fault: testauthority.ProxyData, id: "B3", exit: 4, kind: "E11", small: true},
	{fault: testauthority.BundleGone, id: "B1", exit: 1},

	{fault: testauthority.LookupOther, id: "B5", exit: 4, kind: "E11", small: true},
	{fault: testauthority.LookupIndex, id: "B5", exit: 4, kind: "E11", small: true},
	{fault: testauthority.LookupAhead, id: "B5", exit: 4, kind: "E11", small: true},
	{fault: testauthority.ProxyLookup, id: "B5", exit: 4, kind: "E11", small: true},
	{fault: testauthority.ProxyIndex, id: "B5", exit: 4, kind: "E11", small: true},
	{fault: testauthority.ProxyGone, id: "B5", exit: 4, kind: "E11", small: true},
	{fault: testauthority.LookupGone, id: "B5", exit: 4, kind: "E11", small: true},
	{fault: testauthority.ListShort, id: "V1", exit: 4, kind: "E11", small: true},
	{fault: testauthority.ListPlain, id: "V1", exit: 4, kind: "E11", small: true},
	{fault: testauthority.ListExtra, id: "V1", exit: 4, small: true},
	{fault: testauthority.LatestOther, id: "V2", exit: 4, kind: "E11", small: true},
	{fault: testauthority.FeedGap, id: "V3", exit: 4, kind: "E11", small: true},
	{fault: testauthority.FeedTwice, id: "V3", exit: 4, kind: "E11", small: true},
	{fault: testauthority.FeedPage, id: "V3", exit: 4, kind: "E11"},
	{fault: testauthority.FeedTime, id: "V3", exit: 4, kind: "E11", small: true},
	{fault: testauthority.FeedOrder, id: "V3", exit: 4, kind: "E11", small: true},
	{fault: testauthority.FeedExtra, id: "V3", exit: 4, kind: "E11", small: true},
	{fault: testauthority.FeedShort, id: "V3", exit: 4, kind: "E11", small: true},
	{fault: testauthority.FeedEarly, id: "V3", exit: 4, small: true},
	{fault: testauthority.ZipOther, id: "D1", exit: 4, kind: "E11", small: true},
	{fault: testauthority.ZipGone, id: "D7", exit: 0, small: true},
	{fault: testauthority.ModOther, id: "D3", exit: 4, kind: "E11", also: "D2", small: true},
	{fault: testauthority.InfoOther, id: "D4", exit: 4, kind: "E11", small: true},
	{fault: testauthority.InfoCache, id: "D4", exit: 4, kind: "E11", small: true},
}

// A faultRig is an authority, and an auditor of it who remembers.
type faultRig struct {
	t      *testing.T
	a      *testauthority.Authority
	url    string
	policy string // file
	state  string // directory
}

func newFaultRig(t *testing.T, c testauthority.Config) *faultRig {
	t.Helper()
	r := &faultRig{t: t, a: testauthority.New(c), policy: filepath.Join(t.TempDir(), "policy"), state: t.TempDir()}
	s := httptest.NewServer(r.a)
	t.Cleanup(s.Close)
	r.url = s.URL
	if err := os.WriteFile(r.policy, []byte(r.a.Policy(2, "")), 0o644); err != nil {
		t.Fatal(err)
	}
	return r
}

// audit has the log audited, and returns the exit code and the report by check.
func (r *faultRig) audit(args ...string) (code int, checks map[string]report.Data) {
	r.t.Helper()
	return r.run("log", args...)
}

// run runs a command that reports.
func (r *faultRig) run(command string, args ...string) (code int, checks map[string]report.Data) {
	r.t.Helper()
	code, out := sumaudit(r.t, append([]string{command, "-vkey", r.a.VKey(), "-policy", r.policy,
		"-state", r.state, "-json", r.url}, args...)...)
	var s report.Summary
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		r.t.Fatalf("exit %d and no report: %v: %q", code, err, out)
	}
	checks = map[string]report.Data{}
	for _, c := range s.Checks {
		checks[c.ID] = c
	}
	return code, checks
}

// files returns the evidence there is.
func (r *faultRig) files() []string {
	r.t.Helper()
	list, err := filepath.Glob(filepath.Join(r.state, "evidence", "*"))
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

// red reports whether a check found something.
func red(d report.Data) bool { return len(d.Findings) > 0 }

// TestFaults makes one fault after the other, and has the command find it, write
// the evidence, and verify that.
func TestFaults(t *testing.T) {
	tried := map[testauthority.Fault]bool{}
	for _, c := range faultCases {
		tried[c.fault] = true
		t.Run(string(c.fault), func(t *testing.T) {
			t.Parallel()
			config, sample := testauthority.Config{}, "none"
			if c.small {
				config.Sizes, sample = []int64{5, 20, 40, 60}, "all"
			}
			if c.fault == testauthority.FeedPage {
				config.Sizes = []int64{300, 2100} // more than a page
			}
			r := newFaultRig(t, config)
			if c.after {
				if code, checks := r.audit("-sample", sample); code != 0 {
					t.Fatalf("exit %d before there was a fault: %v", code, checks)
				}
			}
			r.a.Break(c.fault)
			code, checks := r.audit("-sample", sample)
			if c.after {
				if again, _ := r.audit("-sample", sample); again != code {
					t.Errorf("exit %d, and then %d", code, again)
				}
			}
			if code != c.exit {
				t.Errorf("exit %d, want %d", code, c.exit)
			}
			if !red(checks[c.id]) {
				t.Errorf("check %s found nothing: %+v", c.id, checks[c.id])
			}
			for id, d := range checks {
				if red(d) && id != c.id && !slices.Contains(strings.Fields(c.also), id) {
					t.Errorf("check %s found something too: %+v", id, d)
				}
			}
			accused := r.a.VKey()
			if c.kind == "E9" || c.kind == "E10" {
				accused = r.a.Witness(0).Key().String()
			}
			r.checkEvidence(checks[c.id], c.kind, accused)
		})
	}
	for _, f := range testauthority.Faults() {
		if !tried[f] && f != testauthority.Monitor { // see TestGossipWitness
			t.Errorf("nothing tries the fault %s", f)
		}
	}
}

// checkEvidence has the command verify the evidence that a check found of a kind
// against those keys; the kind "" wants none at all.
func (r *faultRig) checkEvidence(d report.Data, kind evidence.Kind, accused string) {
	t := r.t
	t.Helper()
	if kind == "" {
		if files := r.files(); len(files) > 0 {
			t.Errorf("there is evidence: %q", files)
		}
		return
	}
	i := slices.IndexFunc(d.Findings, func(f report.Finding) bool {
		return strings.HasPrefix(filepath.Base(f.Evidence), string(kind)+"-")
	})
	if i < 0 {
		t.Errorf("no evidence of kind %s: %+v", kind, d.Findings)
		return
	}
	file := d.Findings[i].Evidence
	if !slices.Contains(r.files(), file) {
		t.Errorf("%s is not one of %q", file, r.files())
	}
	verdictOf(t, file, kind, accused)
	flipFile(t, file, kind)
}

// verdictOf has the command verify a file, with the accused key and without.
func verdictOf(t *testing.T, file string, kind evidence.Kind, accused string) {
	t.Helper()
	wantCode, wantWord := exitMisbehaviour, "PROVEN "
	if kind == "E11" || kind == "E14" {
		wantCode, wantWord = 0, "OBSERVATION "
	}
	for _, args := range [][]string{{"evidence", file}, {"evidence", "-vkey", accused, file}} {
		code, out := sumaudit(t, args...)
		if code != wantCode || !strings.HasPrefix(out, wantWord) {
			t.Errorf("%q: exit %d, %q; want %d, %s", args, code, out, wantCode, wantWord)
		}
		for _, vkey := range strings.Fields(accused) {
			if !strings.Contains(out, vkey) {
				t.Errorf("%q: %q, without %s", args, out, vkey)
			}
		}
	}
	if wantCode == 0 {
		return // it accuses nobody
	}
	other := testauthority.New(testauthority.Config{Name: "other.example.com", Sizes: []int64{1}}).VKey()
	if code, out := sumaudit(t, "evidence", "-vkey", other, file); code != 1 || !strings.HasPrefix(out, "NOT-PROVEN ") {
		t.Errorf("evidence against another key: exit %d, %q", code, out)
	}
}

// flipped has the kinds of which every byte of a file was flipped.
var flipped sync.Map

// flipFile flips bytes of a file, each of them for the first file of a kind that is
// not long, and has nothing of it be proven.
func flipFile(t *testing.T, file string, kind evidence.Kind) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	step := len(data)/16 + 1
	if len(data) < 16<<10 {
		if _, done := flipped.LoadOrStore(kind, true); !done {
			step = 1
		}
	}
	for i := 0; i < len(data); i += step {
		data[i] ^= 1
		if e, err := evidence.Parse(data); err == nil {
			t.Errorf("%s with byte %d flipped: %v", filepath.Base(file), i, e)
		}
		data[i] ^= 1
	}
	data[len(data)/2] ^= 1
	bad := filepath.Join(t.TempDir(), "bad.txt")
	if err := os.WriteFile(bad, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, out := sumaudit(t, "evidence", bad); code != 1 || !strings.HasPrefix(out, "NOT-PROVEN") {
		t.Errorf("a flipped byte: exit %d, %q", code, out)
	}
}

// TestForks forks at every kind of size: at the edges of tiles, within full ones and
// partial ones, below and beyond what was published.
func TestForks(t *testing.T) {
	for _, at := range []int64{1, 4, 5, 6, 255, 256, 257, 299, 300, 511, 512, 513, 599} {
		for _, more := range []int64{0, 1, 425} {
			t.Run(fmt.Sprintf("%d,%d", at, more), func(t *testing.T) {
				t.Parallel()
				r := newFaultRig(t, testauthority.Config{})
				if code, checks := r.audit("-sample", "none"); code != 0 {
					t.Fatalf("exit %d before there was a fault: %v", code, checks)
				}
				b := r.a.Fork(at)
				if more > 0 {
					b.Grow(more)
					b.Publish()
				}
				r.a.Become(b)
				kind := evidence.Kind("E1")
				if more == 0 {
					kind = "E2"
				}
				code, checks := r.audit("-sample", "none")
				if code != exitMisbehaviour || !red(checks["A2"]) {
					t.Errorf("exit %d, %+v", code, checks["A2"])
				}
				r.checkEvidence(checks["A2"], kind, r.a.VKey())
			})
		}
	}
}

// TestForkBack shows less than before, and of another history: the tiles that prove
// it are only with the auditor.
func TestForkBack(t *testing.T) {
	for _, at := range []int64{1, 255, 256, 257, 298, 299} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			r := newFaultRig(t, testauthority.Config{})
			if code, checks := r.audit("-sample", "none"); code != 0 {
				t.Fatalf("exit %d before there was a fault: %v", code, checks)
			}
			r.a.Become(r.a.Fork(at))
			r.a.Show(2) // of size 300
			code, checks := r.audit("-sample", "none")
			if code != exitMisbehaviour || !red(checks["A2"]) {
				t.Errorf("exit %d, %+v", code, checks["A2"])
			}
			r.checkEvidence(checks["A2"], "E1", r.a.VKey())
		})
	}
}

// TestMovedTag moves the tag of a module in its repository, and then removes it,
// of which no evidence is made: nobody can show that something is not there.
func TestMovedTag(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	repository := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir = repository
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q")
	git("commit", "-q", "--allow-empty", "-m", "one")
	git("tag", "v1.0.1")
	t.Setenv("GIT_ALLOW_PROTOCOL", "file")
	r := newFaultRig(t, testauthority.Config{Sizes: []int64{5, 20}})
	r.a.SetOrigin(r.a.Module(testauthority.Victim), testauthority.Origin{
		VCS: "git", URL: "file://" + repository, Ref: "refs/tags/v1.0.1", Hash: git("rev-parse", "HEAD")})
	if code, checks := r.audit("-sample", "all", "-tags"); code != 0 || checks["D6"].Checked != 1 || red(checks["D6"]) {
		t.Errorf("before the tag moved: exit %d, %+v", code, checks["D6"])
	}
	git("commit", "-q", "--allow-empty", "-m", "two")
	git("tag", "-f", "v1.0.1")
	code, checks := r.audit("-sample", "all", "-tags")
	if code != 0 || !red(checks["D6"]) {
		t.Errorf("after the tag moved: exit %d, %+v", code, checks["D6"])
	}
	r.checkEvidence(checks["D6"], "E14", r.a.VKey())
	git("tag", "-d", "v1.0.1")
	if code, checks := r.audit("-sample", "all", "-tags"); code != 0 || !red(checks["D6"]) {
		t.Errorf("without the tag: exit %d, %+v", code, checks["D6"])
	}
}

// TestPublic has the record of a version differ from that of another database.
func TestPublic(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		salt string
		exit int
	}{{"", 0}, {" other", exitMisbehaviour}} {
		r := newFaultRig(t, testauthority.Config{Sizes: []int64{5, 20}})
		public := testauthority.New(testauthority.Config{Name: "public.example.com", Sizes: []int64{12}, Salt: c.salt})
		s := httptest.NewServer(public)
		defer s.Close()
		code, checks := r.audit("-sample", "all", "-private", "none.invalid", "-public", public.VKey()+" "+s.URL)
		if code != c.exit || red(checks["D9"]) != (c.exit != 0) || checks["D9"].Checked != 12 {
			t.Errorf("contents%q: exit %d, %+v", c.salt, code, checks["D9"])
		}
		if c.exit == 0 {
			continue
		}
		r.checkEvidence(checks["D9"], "E6", r.a.VKey()+" "+public.VKey())
	}
}

// TestLater has faults of entries come after an audit that found nothing, and be
// found by all audits from then on: what is logged stays logged.
func TestLater(t *testing.T) {
	withoutRace(t)
	for _, c := range faultCases {
		if !c.entry {
			continue
		}
		t.Run(string(c.fault), func(t *testing.T) {
			t.Parallel()
			r := newFaultRig(t, testauthority.Config{Sizes: []int64{5, 20, 40, 60}})
			if code, checks := r.audit(); code != 0 {
				t.Fatalf("exit %d before there was a fault: %v", code, checks)
			}
			r.a.Break(c.fault)
			for i, change := range []func(){
				func() {},
				func() { r.a.Grow(300); r.a.Publish() },
				func() {
					if err := os.RemoveAll(filepath.Join(r.state, "logs")); err != nil {
						t.Error(err)
					}
				},
			} {
				change()
				code, checks := r.audit()
				if code != c.exit || !red(checks[c.id]) {
					t.Errorf("audit %d: exit %d, %+v", i, code, checks[c.id])
				}
				r.checkEvidence(checks[c.id], c.kind, r.a.VKey())
			}
		})
	}
}
