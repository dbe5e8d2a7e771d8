// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/internal/testauthority"
	"example.org/sumlog/witness/audit/report"
	"example.org/sumlog/witness/audit/state"
)

// A rig is an authority and how it is audited.
type rig struct {
	*testauthority.Authority
	t *testing.T
	c Config

	// Before is called before each answer; if it returns a body, that is it.
	mu     sync.Mutex
	before func(path string) []byte
}

// intercept calls f before each answer from now on.
func (r *rig) intercept(f func(path string) []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = f
}

func (r *rig) intercepted(path string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.before == nil {
		return nil
	}
	return r.before(path)
}

func newRig(t *testing.T, sizes ...int64) *rig {
	a := testauthority.New(testauthority.Config{Sizes: sizes})
	r := &rig{Authority: a, t: t}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if body := r.intercepted(req.URL.Path); body != nil {
			w.Write(body)
			return
		}
		a.ServeHTTP(w, req)
	}))
	t.Cleanup(srv.Close)
	p, err := policy.Parse([]byte(a.Policy(2, "")))
	if err != nil {
		t.Fatal(err)
	}
	r.c = Config{URL: srv.URL, Key: a.Key(), State: t.TempDir(), Policy: p, Sample: 5}
	return r
}

// audit audits and wants a result, with evidence of these kinds among others, or
// none.
func (r *rig) audit(want report.Result, kinds ...string) *Result {
	r.t.Helper()
	res, err := Run(r.t.Context(), r.c)
	if err != nil {
		r.t.Fatal(err)
	}
	if res.Result != want {
		r.t.Errorf("result %s, want %s", res.Result, want)
	}
	var found []string
	for _, c := range res.Checks {
		for _, f := range c.Findings {
			r.t.Logf("%s %s: %s", c.ID, f.Result, f.Text)
			if f.Evidence == "" {
				continue
			}
			if _, err := os.Stat(f.Evidence); err != nil {
				r.t.Error(err)
			}
			kind, _, _ := strings.Cut(filepath.Base(f.Evidence), "-")
			found = append(found, kind)
		}
	}
	if len(kinds) == 0 && len(found) > 0 {
		r.t.Errorf("evidence of kinds %q", found)
	}
	for _, kind := range kinds {
		if !slices.Contains(found, kind) {
			r.t.Errorf("evidence of kinds %q, want %s too", found, kind)
		}
	}
	return res
}

// check returns the state of a check.
func check(t *testing.T, r *Result, id string) report.Data {
	t.Helper()
	i := slices.IndexFunc(r.Checks, func(d report.Data) bool { return d.ID == id })
	if i < 0 {
		t.Fatalf("no check %s", id)
	}
	return r.Checks[i]
}

func TestSound(t *testing.T) {
	r := newRig(t)
	res := r.audit(report.OK)
	if res.From != 0 || res.Head.Size != 600 || res.Tree.Tree() != r.Tree(600) {
		t.Errorf("%+v", res.Summary)
	}
	r.Grow(100)
	r.Publish()
	res = r.audit(report.OK)
	if d := check(t, res, "B1"); res.From != 600 || res.Head.Size != 700 || d.Checked != 100 {
		t.Errorf("from %d to %d, %d entries replayed", res.From, res.Head.Size, d.Checked)
	}
	// Nothing new.
	if res = r.audit(report.OK); res.From != 700 {
		t.Errorf("from %d", res.From)
	}
}

// TestEveryCheck has each check in the report, made or not, and no other.
func TestEveryCheck(t *testing.T) {
	r := newRig(t)
	r.c.Sample = -1
	res := r.audit(report.OK)
	var have []string
	for _, c := range res.Checks {
		have = append(have, c.ID)
		if c.Result == report.Skipped && c.Skipped == "" {
			t.Errorf("%s was not made, and the report does not say why", c.ID)
		}
		if c.What == "" {
			t.Errorf("%s does not say what it is", c.ID)
		}
	}
	if !slices.Equal(have, ids) {
		t.Errorf("checks %q\nwant   %q", have, ids)
	}
}

// TestBadEntry is found once, and reported by every audit from then on.
func TestBadEntry(t *testing.T) {
	r := newRig(t)
	r.audit(report.OK)
	r.Break(testauthority.Conflict)
	for range 2 {
		res := r.audit(report.Misbehaviour, "E4")
		if d := check(t, res, "C4"); d.Counts[report.Misbehaviour] != 1 {
			t.Errorf("%+v", d)
		}
		r.Grow(10)
		r.Publish()
	}
	if res := r.audit(report.Misbehaviour, "E4"); res.From <= 600 {
		t.Errorf("replayed from %d again", res.From)
	}
}

// TestGoneBack shows less than before: that is no fork, and nothing is forgotten.
func TestGoneBack(t *testing.T) {
	r := newRig(t)
	r.audit(report.OK)
	r.Break(testauthority.Rollback)
	for range 2 {
		res := r.audit(report.Stale)
		if d := check(t, res, "B1"); d.Result != report.Skipped || d.Skipped == "" {
			t.Errorf("replayed: %+v", d)
		}
	}
}

// TestForked shows another history than before. It stays known.
func TestForked(t *testing.T) {
	r := newRig(t)
	honest := r.Clone()
	r.audit(report.OK)
	r.Break(testauthority.Fork)
	r.audit(report.Misbehaviour, "E1")
	honest.Grow(20)
	honest.Publish()
	r.Become(honest)
	r.audit(report.Misbehaviour, "E1")
}

// TestSameSize shows another tree of the size that was audited.
func TestSameSize(t *testing.T) {
	r := newRig(t)
	r.audit(report.OK)
	r.Break(testauthority.Equivocation)
	r.audit(report.Misbehaviour, "E2")
}

// TestDamaged costs a whole replay.
func TestDamaged(t *testing.T) {
	r := newRig(t)
	r.audit(report.OK)
	files, err := filepath.Glob(filepath.Join(r.c.State, "logs", "*", "names"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	progress := filepath.Join(filepath.Dir(files[0]), "progress.json")
	edit := func(from, to string) error {
		text, err := os.ReadFile(progress)
		if err == nil && !strings.Contains(string(text), from) {
			err = fmt.Errorf("no %s in %s", from, text)
		}
		if err != nil {
			return err
		}
		return os.WriteFile(progress, []byte(strings.Replace(string(text), from, to, 1)), 0o644)
	}
	for _, damage := range []func(name string) error{
		func(string) error { return edit(`"root":"`, `"root":"AAAA`) },
		func(string) error {
			return edit(`"edges":[[`, `"edges":[["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",`)
		},
		func(string) error { return edit(`"Next":`, `"Next":-`) },
		func(name string) error { return os.Truncate(name, 24) },
		func(name string) error { return os.WriteFile(name, make([]byte, 600*8), 0o644) },
		func(string) error { return os.WriteFile(progress, []byte("{}"), 0o644) },
		func(string) error { // no names, and their right hash
			text, err := os.ReadFile(progress)
			if err != nil {
				return err
			}
			names := regexp.MustCompile(`"Names":[0-9]+,"SHA256":"[0-9a-f]+"`)
			none := fmt.Appendf(nil, `"Names":0,"SHA256":"%x"`, sha256.Sum256(nil))
			return os.WriteFile(progress, names.ReplaceAll(text, none), 0o644)
		},
	} {
		if err := damage(files[0]); err != nil {
			t.Fatal(err)
		}
		r.Grow(10)
		r.Publish()
		if res := r.audit(report.OK); res.From != 0 {
			t.Errorf("from %d", res.From)
		}
		if res := r.audit(report.OK); res.From != res.Head.Size {
			t.Errorf("from %d", res.From)
		}
	}
}

func TestUnsound(t *testing.T) {
	r := newRig(t)
	r.Break(testauthority.WrongBundle)
	for range 2 {
		res := r.audit(report.Misbehaviour)
		if d := check(t, res, "B1"); d.Result != report.Misbehaviour || res.From != 0 {
			t.Errorf("from %d: %+v", res.From, d)
		}
	}
	r.Mend()
	if res := r.audit(report.OK); res.From != 0 {
		t.Errorf("from %d", res.From)
	}
}

func TestLocked(t *testing.T) {
	r := newRig(t)
	s, err := state.Open(r.c.State, r.Key())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	res, err := Run(t.Context(), r.c)
	if !errors.Is(err, durable.ErrLocked) || res.Result != report.Failed {
		t.Errorf("%v, %s", err, res.Result)
	}
}

func TestEnded(t *testing.T) {
	r := newRig(t)
	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	r.intercept(func(path string) []byte {
		if strings.HasPrefix(path, "/tile/entries/") {
			cancel(stop)
		}
		return nil
	})
	res, err := Run(ctx, r.c)
	if !errors.Is(err, stop) || res.Result != report.Failed {
		t.Errorf("%v, %s", err, res.Result)
	}
	r.intercept(nil)
	if res := r.audit(report.OK); res.From != 0 {
		t.Errorf("from %d", res.From)
	}
}

func TestRequire(t *testing.T) {
	r := newRig(t)
	r.c.Require = []string{"B1", "D1"}
	r.audit(report.OK)
	r.c.Sample = 0
	res := r.audit(report.Failed)
	if d := check(t, res, "D1"); d.Result != report.Failed {
		t.Errorf("%+v", d)
	}
	if d := check(t, res, "B1"); d.Result != report.OK {
		t.Errorf("%+v", d)
	}
}

func TestMerge(t *testing.T) {
	finding := func(text string) report.Finding { return report.Finding{Result: report.Misbehaviour, Text: text} }
	var many []report.Finding
	for range report.MaxFindings {
		many = append(many, finding("old"))
	}
	old := []report.Data{{ID: "C4", Result: report.Misbehaviour, Checked: 500, Counts: map[report.Result]int64{report.Misbehaviour: 30}, Findings: many}}
	now := []report.Data{
		{ID: "B1", Result: report.OK, Checked: 7},
		{ID: "C4", Result: report.Warning, Checked: 7, Counts: map[report.Result]int64{report.Warning: 1}, Findings: []report.Finding{{Result: report.Warning}}},
	}
	all := merge(old, now)
	if len(all) != 2 || all[1].Result != report.Misbehaviour || all[1].Checked != 7 || len(all[1].Findings) != report.MaxFindings ||
		all[1].Counts[report.Misbehaviour] != 30 || all[1].Counts[report.Warning] != 1 || len(old[0].Counts) != 1 {
		t.Errorf("%+v", all)
	}
	if found := entryFindings(all); len(found) != 1 || found[0].ID != "C4" {
		t.Errorf("%+v", found)
	}
	if all := merge(old, now[:1]); len(all) != 2 || all[1].Checked != 0 || all[1].Result != report.Misbehaviour {
		t.Errorf("%+v", all)
	}
}

func TestPick(t *testing.T) {
	var list []int64
	for i := range int64(1000) {
		list = append(list, i)
	}
	for _, n := range []int{2, 64, 999, 1000, 2000} {
		some := pick(list, n)
		if len(some) != min(n, 1000) || some[0] != 0 || some[len(some)-1] != 999 || !slices.IsSorted(some) || len(slices.Compact(slices.Clone(some))) != len(some) {
			t.Errorf("%d: %v", n, some)
		}
	}
	if slices.Equal(pick(list, 64), pick(list, 64)) {
		t.Error("the same sizes twice")
	}
	if got := pick(nil, 5); len(got) != 0 {
		t.Error(got)
	}
}

// TestForget keeps no more heads than it needs, and those that are odd.
func TestForget(t *testing.T) {
	r := newRig(t)
	heads := func() int {
		files, err := filepath.Glob(filepath.Join(r.c.State, "logs", "*", "heads", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	for range 4 {
		r.audit(report.OK)
		r.Grow(5)
		r.Publish()
	}
	if n := heads(); n != 2 {
		t.Errorf("%d heads kept, want the newest checkpoint and tree head", n)
	}
	r.Break(testauthority.TreeHeadOther)
	r.audit(report.Misbehaviour, "E3")
	r.Mend()
	r.Grow(5)
	r.Publish()
	r.audit(report.Misbehaviour, "E3")
	if n := heads(); n < 4 {
		t.Errorf("%d heads kept", n)
	}
}

func TestPassword(t *testing.T) {
	r := newRig(t)
	r.c.URL = strings.Replace(r.c.URL, "http://", "http://user:secret@", 1)
	if res := r.audit(report.OK); strings.Contains(res.URL, "secret") {
		t.Errorf("URL %s", res.URL)
	}
	r.c.URL += "/nothing"
	res, err := Run(t.Context(), r.c)
	if err == nil || strings.Contains(err.Error()+res.URL, "secret") {
		t.Errorf("URL %s, error %v", res.URL, err)
	}
}

// TestArchiveForked finds a head that is only in the archive.
func TestArchiveForked(t *testing.T) {
	r := newRig(t)
	r.Break(testauthority.ArchiveFork)
	res := r.audit(report.Misbehaviour, "E1")
	if d := check(t, res, "A2"); d.Result != report.Misbehaviour {
		t.Errorf("%+v", d)
	}
}

// TestMeanwhile audits a log that publishes while it is audited.
func TestMeanwhile(t *testing.T) {
	r := newRig(t)
	before := r.Published().Checkpoint
	r.Grow(5)
	r.Publish()
	n := 0
	// The first two readings of the checkpoint come before a publication that
	// the tree head is already of; another one is made before the archive is read.
	r.intercept(func(path string) []byte {
		switch {
		case path == "/checkpoint":
			if n++; n <= 2 {
				return before
			}
		case path == "/checkpoints" && n == 3:
			n++
			r.Grow(5)
			r.Publish()
		}
		return nil
	})
	res := r.audit(report.OK)
	if res.Tree.Origin != r.Name() || res.Head.Size != 605 {
		t.Errorf("audited a head of %s, size %d", res.Tree.Origin, res.Head.Size)
	}
	// Shown: two checkpoints and tree heads, and one through the proxy; archived: of
	// five sizes.
	if d := check(t, res, "A1"); d.Checked != 2+2+1+2*5 {
		t.Errorf("%d heads", d.Checked)
	}
}

// TestLongArchive stops in an archive that does not end.
func TestLongArchive(t *testing.T) {
	defer func(n int) { maxArchive = n }(maxArchive)
	maxArchive = 2
	r := newRig(t)
	res := r.audit(report.OK)
	if d := check(t, res, "A2"); !strings.Contains(d.Skipped, "only 2 lines") {
		t.Errorf("%+v", d)
	}
}

// TestOnlyNew counts what audits of all records ask for, one after the other, in one
// process and over restarts.
func TestOnlyNew(t *testing.T) {
	t.Chdir(t.TempDir()) // where evidence goes without a state
	for _, kept := range []string{"state", "memory"} {
		r := newRig(t, 5, 20, 40, 60)
		r.c.Sample, r.c.OnlyNew, r.c.Require = -1, true, []string{"B3", "B5", "D1", "D3", "D4", "V1", "V2"}
		if kept == "memory" {
			memory, err := state.Open("", r.c.Key)
			if err != nil {
				t.Fatal(err)
			}
			defer memory.Close()
			r.c.State, r.c.Memory = "", memory
		}
		var mu sync.Mutex
		var asked []string // bytes, lists, lookups
		entries := 0       // files of them, of which some are read to compare the feed with
		r.intercept(func(path string) []byte {
			mu.Lock()
			defer mu.Unlock()
			for _, part := range []string{"/lookup/", "/@v/", "/@latest", "/tile/8/data/"} {
				if strings.Contains(path, part) {
					asked = append(asked, path)
				}
			}
			if strings.Contains(path, "/tile/entries/") {
				entries++
			}
			return nil
		})
		round := func(want report.Result, kinds ...string) []string {
			t.Helper()
			asked, entries = nil, 0
			r.audit(want, kinds...)
			return asked
		}
		if n := len(round(report.OK)); n < 60*8 {
			t.Errorf("%s: %d requests at first", kept, n)
		}
		if again := round(report.OK); len(again) > 0 || entries > 15 {
			t.Errorf("%s: nothing is new, and %d requests: %.50q", kept, len(again)+entries, again)
		}
		r.Grow(1)
		r.Publish()
		m := r.Module(60)
		fresh := round(report.OK)
		if n := len(fresh); n < 10 || n > 15 || entries > 20 {
			t.Errorf("%s: one record is new, and %d requests: %.50q", kept, n+entries, fresh)
		}
		for _, path := range fresh {
			if !strings.Contains(path, m.V) && !strings.Contains(path, "/@v/list") && !strings.Contains(path, "/000.p/61") {
				t.Errorf("%s: asked for %s again", kept, path)
			}
		}
		// What is wrong is looked for until it is right.
		r.Grow(1)
		r.Publish()
		m = r.Module(61)
		r.Tamper(func(path string, _ url.Values, status int, body []byte) (int, []byte) {
			if strings.HasSuffix(path, "@v/"+m.V+".mod") && strings.Contains(path, strings.ToLower(m.Path[len(m.Path)-3:])) {
				body = []byte("module other\n")
			}
			return status, body
		})
		for range 2 {
			if n := len(round(report.Misbehaviour, "E11")); n == 0 || n > 20 {
				t.Errorf("%s: %d requests where one record is new", kept, n)
			}
		}
		r.Mend()
		round(report.OK)
		if again := round(report.OK); len(again) > 0 {
			t.Errorf("%s: nothing is new, and %d requests", kept, len(again))
		}
	}
}

// TestOnlyNewRequired has a check that never could be made stay a failure when nothing
// is new, and one that was made not.
func TestOnlyNewRequired(t *testing.T) {
	r := newRig(t, 5, 20)
	r.c.Sample, r.c.OnlyNew = -1, true
	r.Tamper(func(path string, _ url.Values, status int, body []byte) (int, []byte) {
		if strings.HasPrefix(path, "/lookup/") {
			return http.StatusNotFound, nil
		}
		return status, body
	})
	for id, want := range map[string]report.Result{"B5": report.Failed, "D3": report.OK, "V2": report.OK} {
		r.c.State, r.c.Require = t.TempDir(), []string{id}
		r.audit(want)
		r.audit(want)
	}
}
