// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package gosum

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/sumlog/internal/testauthority"
)

// A report cannot give its own verdict, and is not about whom one does not trust.
func TestAgain(t *testing.T) {
	a := testauthority.New(testauthority.Config{Sizes: []int64{11}})
	s, err := Prove(t.Context(), Config{Site: open(t, a), Trust: Trust{Key: a.Key()}}, versions(a, 2))
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	claims, err := Parse("go.sum", slices.Concat(a.Entry(0), a.Entry(1)))
	if err != nil {
		t.Fatal(err)
	}
	r := &Report{
		Format: Format, Time: time.Unix(0, 0).UTC(), Inputs: []Input{{Kind: KindSum, Name: "go.sum", SHA256: strings.Repeat("00", 32)}},
		Log: a.VKey(), Checkpoint: string(s.Head.Note), Size: 11, Bundle: string(b.Bytes()),
	}
	again := func(trust Trust) error {
		r.Fill(Judge(claims, "", s))
		file, err := r.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		_, err = Again(file, trust)
		return err
	}
	if err := again(Trust{Key: a.Key()}); err != nil {
		t.Error(err)
	}
	other := testauthority.New(testauthority.Config{Name: "other.example"})
	if err := again(Trust{Key: other.Key()}); !errors.Is(err, ErrKey) || errors.Is(err, ErrReport) {
		t.Errorf("of another log: %v", err)
	}
	r.Policy = "log " + a.VKey() + "\nquorum none\n"
	if err := again(Trust{}); !errors.Is(err, ErrKey) {
		t.Errorf("by nothing but the report's policy: %v", err)
	}
	r.Policy = ""
	claims[0].Hash, claims[0].Given = "h1:", OK
	if err := again(Trust{Key: a.Key()}); !errors.Is(err, ErrReport) {
		t.Errorf("a verdict that is given: %v", err)
	}
	claims[0].Given = "fine"
	if err := again(Trust{Key: a.Key()}); !errors.Is(err, ErrReport) {
		t.Errorf("an unknown verdict: %v", err)
	}
}

// What a forger could write to make a report say less than is the case.
func TestAgainWeakened(t *testing.T) {
	a := testauthority.New(testauthority.Config{Sizes: []int64{11}})
	s, err := Prove(t.Context(), Config{Site: open(t, a), Trust: Trust{Key: a.Key()}}, versions(a, 2))
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	given := func(v Verdict) func(*Report, []Claim) []Claim {
		return func(_ *Report, claims []Claim) []Claim {
			claims[0].Given, claims[0].Why = v, "so"
			return claims
		}
	}
	for name, c := range map[string]struct {
		change func(*Report, []Claim) []Claim
		holds  bool
	}{
		"as it was":     {func(_ *Report, claims []Claim) []Claim { return claims }, true},
		"no line":       {func(*Report, []Claim) []Claim { return nil }, true},
		"no input":      {func(r *Report, claims []Claim) []Claim { r.Inputs = nil; return claims }, false},
		"nothing":       {func(r *Report, _ []Claim) []Claim { r.Inputs = nil; return nil }, false},
		"unknown kind":  {func(r *Report, claims []Claim) []Claim { r.Inputs[0].Kind = "other"; return claims }, false},
		"no digest":     {func(r *Report, claims []Claim) []Claim { r.Inputs[0].SHA256 = ""; return claims }, false},
		"of no input":   {func(_ *Report, claims []Claim) []Claim { claims[0].File = "other.sum"; return claims }, false},
		"note":          {given(Note), false},
		"private":       {given(Private), false},
		"unchecked":     {given(Unchecked), false},
		"malformed":     {given(Malformed), false}, // and is not
		"not malformed": {func(_ *Report, claims []Claim) []Claim { claims[0].Path = ".."; return claims }, false},
		"another kind too": {func(r *Report, claims []Claim) []Claim {
			r.Inputs = append(r.Inputs, Input{Kind: KindVendor, Name: "."})
			return claims
		}, false},
		"vendor": {func(r *Report, claims []Claim) []Claim {
			r.Inputs = []Input{{Kind: KindVendor, Name: "."}}
			claims[0].Given, claims[0].Why = Note, "so"
			return claims
		}, false},
		"a directory in vendor": {func(r *Report, claims []Claim) []Claim {
			r.Inputs = []Input{{Kind: KindVendor, Name: "vendor"}}
			return []Claim{{File: "vendor/modules.txt", Path: claims[0].Path, Given: Note, Why: "so"}}
		}, true},
		"toolchain in vendor": {func(r *Report, claims []Claim) []Claim {
			r.Inputs = []Input{{Kind: KindVendor, Name: "vendor"}}
			return []Claim{{File: "vendor/modules.txt", Path: claims[0].Path, Given: Toolchain, Why: "so"}}
		}, false},
		"really vendor": {func(r *Report, claims []Claim) []Claim {
			r.Inputs = []Input{{Kind: KindVendor, Name: "x/../vendor/"}}
			claims[0].Given, claims[0].Why = Mismatch, "so"
			for i := range claims {
				claims[i].File = "vendor/modules.txt"
			}
			return claims
		}, true},
	} {
		claims, err := Parse("go.sum", slices.Concat(a.Entry(0), a.Entry(1), []byte("<<<<\n.. v1.0.0 h1:x\n")))
		if err != nil {
			t.Fatal(err)
		}
		r := &Report{
			Format: Format, Inputs: []Input{{Kind: KindSum, Name: "go.sum", SHA256: strings.Repeat("00", 32)}},
			Log: a.VKey(), Checkpoint: string(s.Head.Note), Size: 11, Bundle: string(b.Bytes()),
		}
		claims = c.change(r, claims)
		r.Fill(Judge(claims, "", s))
		file, err := r.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		_, err = Again(file, Trust{Key: a.Key()})
		if c.holds && err != nil || !c.holds && !errors.Is(err, ErrReport) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzAgain(f *testing.F) {
	a := testauthority.New(testauthority.Config{Sizes: []int64{11}})
	s, err := Prove(f.Context(), Config{Site: open(f, a), Trust: Trust{Key: a.Key()}}, versions(a, 2))
	if err != nil {
		f.Fatal(err)
	}
	b, err := s.Bundle()
	if err != nil {
		f.Fatal(err)
	}
	claims, err := Parse("go.sum", slices.Concat(a.Entry(0), a.Entry(1), []byte("x\nexample.com/none v1.0.0 h1:x\n")))
	if err != nil {
		f.Fatal(err)
	}
	r := &Report{
		Format: Format, Time: time.Unix(0, 0).UTC(), Inputs: []Input{{Kind: KindSum, Name: "go.sum", SHA256: strings.Repeat("00", 32)}},
		Log: a.VKey(), Checkpoint: string(s.Head.Note), Size: 11, Bundle: string(b.Bytes()),
	}
	r.Fill(Judge(claims, "", s))
	file, err := r.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	trust := Trust{Key: a.Key()}
	if _, err := Again(file, trust); err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte(`{"format":"sumlog go.sum report v1","lines":[{"verdict":"ok"},{"verdict":"mismatch","logged":"x"}],"bundle":"x"}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := Again(file, trust)
		if err != nil {
			return
		}
		for _, i := range r.Lines {
			if i.Verdict == OK && (i.Index == nil || !strings.Contains(r.Bundle, i.Hash)) {
				t.Fatalf("%+v", i)
			}
		}
	})
}

// What SARIF 2.1.0 requires, of where things are too.
func TestSARIF(t *testing.T) {
	dir := filepath.FromSlash("/a b/here")
	r := &Report{Tool: "sumaudit test", Lines: []Item{
		{Claim: Claim{File: "go.sum", Line: 3, Path: "m.example/a", Version: "v1.0.0"}, Verdict: Mismatch},
		{Claim: Claim{File: filepath.Join(dir, "x", "100%.sum")}, Verdict: NotLogged},
		{Claim: Claim{File: filepath.Join("..", "there", "go.sum"), Line: 1}, Verdict: Malformed},
		{Claim: Claim{File: filepath.FromSlash("/mod/é@v1.0.0")}, Verdict: Private},
		{Claim: Claim{File: "./a:b"}, Verdict: Note},
	}}
	data, err := r.SARIF(dir)
	if err != nil {
		t.Fatal(err)
	}
	var log map[string]any
	if err := json.Unmarshal(data, &log); err != nil {
		t.Fatal(err)
	}
	at := func(v any, path ...any) any {
		t.Helper()
		for _, p := range path {
			switch p := p.(type) {
			case string:
				v = v.(map[string]any)[p]
			case int:
				v = v.([]any)[p]
			}
		}
		if v == nil || v == "" {
			t.Fatalf("no %v", path)
		}
		return v
	}
	if at(log, "version") != "2.1.0" || len(at(log, "runs").([]any)) != 1 {
		t.Errorf("%s", data)
	}
	driver := at(log, "runs", 0, "tool", "driver")
	at(driver, "name")
	rules := at(driver, "rules").([]any)
	for i := range rules {
		at(rules, i, "id")
		at(rules, i, "shortDescription", "text")
	}
	results := at(log, "runs", 0, "results").([]any)
	want := []string{"go.sum", "x/100%25.sum", "file:///a%20b/there/go.sum", "file:///mod/%C3%A9@v1.0.0", "./a:b"}
	if len(results) != len(want) {
		t.Fatalf("%d results", len(results))
	}
	for i, res := range results {
		at(res, "message", "text")
		if at(res, "ruleId") != at(rules, int(at(res, "ruleIndex").(float64)), "id") {
			t.Errorf("result %d is of another rule: %v", i, res)
		}
		// "none" says that no severity applies, which is not so of what fails.
		if (at(res, "level") == "none") != (at(res, "kind") != "fail") {
			t.Errorf("result %d: level %v of kind %v", i, at(res, "level"), at(res, "kind"))
		}
		uri := at(res, "locations", 0, "physicalLocation", "artifactLocation", "uri").(string)
		if uri != want[i] {
			t.Errorf("result %d is at %s, want %s", i, uri, want[i])
		}
		if region, ok := at(res, "locations", 0, "physicalLocation").(map[string]any)["region"]; ok && at(region, "startLine").(float64) < 1 {
			t.Errorf("result %d: %v", i, region)
		}
	}
}
