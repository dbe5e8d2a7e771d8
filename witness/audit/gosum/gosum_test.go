// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package gosum

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/internal/record"
	"example.org/sumlog/internal/sumfile"
	"example.org/sumlog/internal/testauthority"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/bundle"
	"example.org/sumlog/witness/audit/site"
)

func TestParse(t *testing.T) {
	const file = "m.example/a v1.0.0 h1:A=\nm.example/a v1.0.0/go.mod h1:B=\n\nm.example/b v1.0.0-rc.1+incompatible h2:C\nm.example/c v1.0.0\nm.example/e v1.0.0 h1:E=\n"
	claims, err := Parse("f", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	want := []Claim{
		{File: "f", Line: 1, Path: "m.example/a", Version: "v1.0.0", Hash: "h1:A="},
		{File: "f", Line: 2, Path: "m.example/a", Version: "v1.0.0", Mod: true, Hash: "h1:B="},
		{File: "f", Line: 4, Path: "m.example/b", Version: "v1.0.0-rc.1+incompatible", Hash: "h2:C"},
		{File: "f", Line: 5, Given: Malformed, Why: "2 fields, where a line has module, version and hash"},
		{File: "f", Line: 6, Path: "m.example/e", Version: "v1.0.0", Hash: "h1:E="},
	}
	if d := cmp.Diff(want, claims); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]module.Version{{Path: "m.example/a", Version: "v1.0.0"}}, Modules(claims, "m.example/e")); d != "" {
		t.Error(d)
	}
	if _, err := Parse("f", []byte(strings.Repeat("x\n", sumfile.MaxLines+1))); err == nil || !strings.HasPrefix(err.Error(), "f: ") {
		t.Errorf("lines without end: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("m.example/a v1.0.0 h1:A=\nm.example/a v1.0.0/go.mod h1:B=\n"))
	f.Add([]byte("m.example/a v1.0.0/go.mod h9\n\x00 \xff x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		claims, err := Parse("f", data)
		if err != nil {
			return
		}
		for _, m := range Modules(claims, "") {
			if _, err := module.EscapePath(m.Path); err != nil {
				t.Fatalf("asks for %v: %v", m, err)
			}
		}
		for _, i := range Judge(claims, "", finder{}) {
			if i.Verdict == OK || i.Line < 1 || i.String() == "" {
				t.Fatalf("%+v", i)
			}
		}
	})
}

// A finder has records that were made up.
type finder map[string]record.Record

func (f finder) Find(path, version string) (bundle.Entry, Verdict, string) {
	r, ok := f[path+"@"+version]
	if !ok {
		return bundle.Entry{}, NotLogged, "no"
	}
	return bundle.Entry{Index: 7, Record: r}, OK, ""
}

func TestJudge(t *testing.T) {
	f := finder{"m.example/a@v1.0.0": {Zip: [32]byte{1}, Mod: [32]byte{2}}}
	zip, mod := record.H1([32]byte{1}), record.H1([32]byte{2})
	a := Claim{Path: "m.example/a", Version: "v1.0.0", Hash: zip}
	for _, c := range []struct {
		change  func(*Claim)
		private string
		want    Verdict
	}{
		{func(*Claim) {}, "", OK},
		{func(c *Claim) { c.Mod, c.Hash = true, mod }, "", OK},
		{func(c *Claim) { c.Mod = true }, "", Mismatch},
		{func(c *Claim) { c.Hash = mod }, "", Mismatch},
		{func(c *Claim) { c.Hash = strings.TrimSuffix(zip, "=") }, "", Mismatch},
		{func(c *Claim) { c.Hash = "h1:" }, "", Mismatch},
		{func(c *Claim) { c.Hash = "H1:" + zip[3:] }, "", UnknownHash},
		{func(c *Claim) { c.Hash = "" }, "", Unchecked},
		{func(c *Claim) { c.Version = "v1.0.1" }, "", NotLogged},
		{func(c *Claim) { c.Version = "v1.0.1" }, "m.example", Private},
		{func(c *Claim) { c.Hash = mod }, "*.example/a,x", Private},
		{func(c *Claim) { c.Given = Mismatch }, "m.example", Mismatch},
	} {
		claim := a
		c.change(&claim)
		got := Judge([]Claim{claim}, c.private, f)[0]
		if got.Verdict != c.want || got.String() == "" {
			t.Errorf("%+v: %v, want %s", claim, got, c.want)
		}
	}
}

func TestConclude(t *testing.T) {
	for v, want := range map[Verdict][2]Outcome{
		OK: {Sound, Sound}, Toolchain: {Sound, Sound}, Note: {Sound, Different}, Private: {Sound, Different}, UnknownHash: {Sound, Different},
		NotLogged: {Incomplete, Different}, Malformed: {Incomplete, Incomplete}, Unchecked: {Incomplete, Incomplete}, Mismatch: {Different, Different},
	} {
		for i, required := range []bool{false, true} {
			items := []Item{{Verdict: OK}, {Verdict: v}, {Verdict: OK}}
			if got := Conclude(items, required); got != want[i] {
				t.Errorf("%s, all required %v: %s, want %s", v, required, got, want[i])
			}
		}
		if !slices.Contains(Verdicts, v) {
			t.Errorf("%s is not listed", v)
		}
	}
	if Conclude(nil, false) != Incomplete || Conclude(nil, true) != Incomplete {
		t.Error("nothing was checked, and it is sound")
	}
	if Conclude([]Item{{Verdict: Mismatch}, {Verdict: Unchecked}}, false) != Different {
		t.Error("what could not be checked hides a mismatch")
	}
}

func TestTrust(t *testing.T) {
	a := testauthority.New(testauthority.Config{})
	b := testauthority.New(testauthority.Config{Name: "other.example"})
	pol := func(text string) *policy.Policy {
		p, err := policy.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	two := pol(a.Policy(2, ""))
	now := time.Unix(1_700_000_000, 0)
	both := a.Cosigned(300, now.Add(-time.Hour), 0, 1)
	for name, c := range map[string]struct {
		trust Trust
		key   *checkpoint.Key
		note  checkpoint.Note
		want  error
	}{
		"nobody":               {Trust{}, a.Key(), both, ErrKey},
		"key":                  {Trust{Key: a.Key()}, a.Key(), both, nil},
		"other key":            {Trust{Key: b.Key()}, a.Key(), both, ErrKey},
		"not its signature":    {Trust{Key: b.Key()}, b.Key(), both, tlogclient.ErrHead},
		"policy":               {Trust{Policy: two}, a.Key(), both, nil},
		"key and policy":       {Trust{Key: a.Key(), Policy: two}, a.Key(), both, nil},
		"policy of another":    {Trust{Policy: pol(b.Policy(2, ""))}, a.Key(), both, ErrKey},
		"policy without logs":  {Trust{Policy: pol("quorum none\n")}, a.Key(), both, ErrKey},
		"none needed":          {Trust{Key: a.Key(), Policy: pol("quorum none\n")}, a.Key(), both, nil},
		"too few":              {Trust{Policy: two}, a.Key(), a.Cosigned(300, now, 2), policy.ErrQuorum},
		"tree head":            {Trust{Key: a.Key()}, a.Key(), a.TreeHead(300), nil},
		"tree head, policy":    {Trust{Policy: two}, a.Key(), a.TreeHead(300), policy.ErrQuorum},
		"tree head, no quorum": {Trust{Key: a.Key(), Policy: pol("quorum none\n")}, a.Key(), a.TreeHead(300), nil},
		"fresh":                {Trust{Policy: two, MaxAge: time.Hour, Now: now}, a.Key(), both, nil},
		"old":                  {Trust{Policy: two, MaxAge: time.Hour, Now: now.Add(time.Second)}, a.Key(), both, ErrTooOld},
		"no head":              {Trust{Key: a.Key()}, a.Key(), a.Sign("sum.example.com/test\nx\n"), tlogclient.ErrHead},
	} {
		if _, err := c.trust.Check(c.key, c.note); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := (Trust{Key: a.Key()}).Check(a.Key(), a.Sign("other.example\n300\n"+a.Tree(300).Hash.String()+"\n")); err == nil {
		t.Error("a head of another origin counts")
	}
}

func open(t testing.TB, a *testauthority.Authority) *site.Site { return openBehind(t, a, a) }

func openBehind(t testing.TB, a *testauthority.Authority, handler http.Handler) *site.Site {
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
	t.Cleanup(h.Close)
	s, err := site.Open(t.Context(), site.Config{HTTP: h, URL: srv.URL, Key: a.Key(), Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func versions(a *testauthority.Authority, n int64) (mods []module.Version) {
	for i := range n {
		mods = append(mods, a.Module(i).Version())
	}
	return mods
}

// Records that were admitted by the lookups themselves, and a checkpoint that is
// behind.
func TestProveWhileGrowing(t *testing.T) {
	a := testauthority.New(testauthority.Config{Sizes: []int64{5, 300}})
	// Shown anew after the head was read, and before the lookups.
	grow := false
	st := openBehind(t, a, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.ServeHTTP(w, r)
		if grow && strings.HasSuffix(r.URL.Path, "/checkpoint") {
			a.Show(1)
		}
	}))
	a.Show(0)
	st2, err := Prove(t.Context(), Config{Site: st, Trust: Trust{Key: a.Key()}}, versions(a, 5))
	if err != nil || st2.Head.Size != 5 {
		t.Fatalf("%+v, %v", st2, err)
	}
	grow = true
	s, err := Prove(t.Context(), Config{Site: st, Trust: Trust{Key: a.Key()}, Known: st2.Newest}, versions(a, 10))
	if err != nil || s.Head.Size != 300 || s.Head.Origin != a.Name() {
		t.Fatalf("%v, %v", s, err)
	}
	b, err := s.Bundle()
	if err != nil || len(b.Records()) != 10 {
		t.Fatal(err)
	}
	i, leaf, proof, err := s.Inclusion(a.Module(4).Path, a.Module(4).V)
	if err != nil || tlog.CheckRecord(proof, s.Head.Size, s.Head.Root, i, leaf) != nil {
		t.Errorf("no inclusion proof: %v", err)
	}
	// The checkpoint stays behind: the lookups' head is all there is.
	old := a.Checkpoint(5).Bytes()
	a.Tamper(func(path string, _ url.Values, status int, body []byte) (int, []byte) {
		if strings.HasSuffix(path, "checkpoint") {
			body = old
		}
		return status, body
	})
	if s, err = Prove(t.Context(), Config{Site: st, Trust: Trust{Key: a.Key()}}, versions(a, 10)); err != nil || s.Head.Size != 300 {
		t.Fatalf("%v", err)
	}
	if s.Head.Origin != tlogclient.DatabaseOrigin {
		t.Errorf("proven under a head of %q", s.Head.Origin)
	}
	pol, err := policy.Parse([]byte(a.Policy(2, "")))
	if err != nil {
		t.Fatal(err)
	}
	s, err = Prove(t.Context(), Config{Site: st, Trust: Trust{Key: a.Key(), Policy: pol}}, versions(a, 10))
	if err != nil || !errors.Is(s.Untrusted, policy.ErrQuorum) {
		t.Errorf("under a tree head: %v", err)
	}
}

func TestProveSeen(t *testing.T) {
	a := testauthority.New(testauthority.Config{})
	st := open(t, a)
	var saw []tlogclient.Head
	cfg := Config{Site: st, Trust: Trust{Key: a.Key()}, Saw: func(h tlogclient.Head) error { saw = append(saw, h); return nil }}
	s, err := Prove(t.Context(), cfg, versions(a, 3))
	if err != nil || len(saw) != 2 { // the checkpoint and the tree head
		t.Fatalf("%d heads, %v", len(saw), err)
	}
	a.Break(testauthority.Fork)
	saw, cfg.Known = nil, s.Newest
	_, err = Prove(t.Context(), cfg, versions(a, 3))
	fork, ok := errors.AsType[*tlogclient.ForkError](err)
	if !ok || len(fork.Proof) == 0 {
		t.Errorf("%v", err)
	}
	if len(saw) == 0 {
		t.Error("the other head is forgotten")
	}
}

func TestProveCancelled(t *testing.T) {
	a := testauthority.New(testauthority.Config{})
	st := open(t, a)
	ctx, cancel := context.WithCancel(t.Context())
	cfg := Config{Site: st, Trust: Trust{Key: a.Key()}, Progress: func(int64, int64) { cancel() }}
	if _, err := Prove(ctx, cfg, versions(a, 100)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A part of the Go team's database, as a go command recorded it: its head, two
// lookups, which have heads of their own, and the tiles that it takes to prove them.
func TestRecordedDatabase(t *testing.T) {
	key, err := checkpoint.ParseKey("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")
	if err != nil {
		t.Fatal(err)
	}
	h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
	defer h.Close()
	st, err := site.Open(t.Context(), site.Config{HTTP: h, URL: "testdata/sum.golang.org", Key: key})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("testdata/go.sum")
	if err != nil {
		t.Fatal(err)
	}
	claims, err := Parse("go.sum", data)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Prove(t.Context(), Config{Site: st, Trust: Trust{Key: key}}, Modules(claims, ""))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Heads) < 2 {
		t.Errorf("%d heads", len(s.Heads))
	}
	for _, i := range Judge(claims, "", s) {
		if i.Verdict != OK {
			t.Error(i)
		}
	}
	b, err := s.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	if b, err = bundle.Parse(b.Bytes()); err != nil || len(b.Records()) != 2 {
		t.Error(err)
	}
	claims[0].Hash = claims[1].Hash
	if i := Judge(claims[:1], "", FromBundle(b))[0]; i.Verdict != Mismatch {
		t.Error(i)
	}
}
