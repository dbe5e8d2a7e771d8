// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package evidence

import (
	"errors"
	"strings"
	"testing"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/record"
)

// refusal returns what somebody was given beside a record of newServed.
func refusal() Refusal {
	return Refusal{
		Record: []byte(newServed().entries[0][7]), Index: 7, Zip: record.H1([32]byte{1}),
		Source: "https://proxy.example/a b/\"\u00e9", Time: noon,
	}
}

// serverSamples returns one evidence of each form that only a server makes.
func serverSamples(t testing.TB) map[string]*Evidence {
	l := newTestLog(30, 7)
	stray, err := StrayHead(l.key, l.note(1, 25), l.note(0, 11), "witness bob\x00")
	if err != nil {
		t.Fatal(err)
	}
	served := newServed()
	smaller, err := StrayHead(served.key, served.treeHead(0, 10), served.note(0, 25), "database")
	if err != nil {
		t.Fatal(err)
	}
	refused, err := Refuse(refusal())
	if err != nil {
		t.Fatal(err)
	}
	r := refusal()
	r.Index, r.Mod, r.Source, r.Time = -1, record.H1([32]byte{2}), "", noon.In(time.FixedZone("", 3600)).Add(time.Millisecond)
	both, err := Refuse(r)
	if err != nil {
		t.Fatal(err)
	}
	r = refusal()
	r.Zip, r.Invalid = "", "a?b.go: malformed \"path\"\n"
	invalid, err := Refuse(r)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*Evidence{"E16": stray, "E16-smaller": smaller, "E17": refused, "E17-both": both, "E17-invalid": invalid}
}

func TestStrayHead(t *testing.T) {
	l, other := newTestLog(30, 7), newServed()
	unnamed := l.treeHead(0, 11) // not of the log's origin, which is not its key's name
	for name, tt := range map[string]struct {
		stray, known checkpoint.Note
		by           string
	}{
		"one size":    {l.note(1, 25), l.note(0, 25), "x"},
		"one tree":    {l.note(0, 25, "x"), l.note(0, 25), "x"},
		"nobody":      {l.note(1, 25), l.note(0, 11), ""},
		"a long name": {l.note(1, 25), l.note(0, 11), strings.Repeat("x", maxName+1)},
		"strangers":   {other.note(0, 25), l.note(0, 11), "x"},
		"another log": {l.note(1, 25), unnamed, "x"},
		"unsigned":    {checkpoint.Note{Text: l.note(0, 11).Text}, l.note(1, 25), "x"},
	} {
		if e, err := StrayHead(l.key, tt.stray, tt.known, tt.by); !errors.Is(err, ErrNotProven) {
			t.Errorf("%s: %v %v", name, e, err)
		}
	}
	cosigner := newCosigner(t, "w.example", checkpoint.CosignatureEd25519)
	a, b := cosigned(t, cosigner, l.checkpoint(1, 25), 1), cosigned(t, cosigner, l.checkpoint(0, 11), 2)
	if e, err := StrayHead(cosigner.Key(), a, b, "x"); !errors.Is(err, ErrNotProven) {
		t.Errorf("of a cosigner: %v %v", e, err)
	}
}

func TestRefuse(t *testing.T) {
	rec, _ := record.Parse(refusal().Record)
	for name, change := range map[string]func(*Refusal){
		"nothing":            func(r *Refusal) { r.Zip = "" },
		"what the record is": func(r *Refusal) { r.Zip, r.Mod = record.H1(rec.Zip), record.H1(rec.Mod) },
		"no hash":            func(r *Refusal) { r.Zip = "h1:x" },
		"another no hash":    func(r *Refusal) { r.Mod = "h1:x\n" },
		"no record":          func(r *Refusal) { r.Record = nil },
		"index":              func(r *Refusal) { r.Index = -2 },
		"a long source":      func(r *Refusal) { r.Source = strings.Repeat("x", maxName+1) },
		"no time":            func(r *Refusal) { r.Time = time.Time{} },
		"a late time":        func(r *Refusal) { r.Time = noon.AddDate(9000, 0, 0) },
	} {
		r := refusal()
		change(&r)
		if e, err := Refuse(r); !errors.Is(err, ErrNotProven) {
			t.Errorf("%s: %v %v", name, e, err)
		}
	}
	// A go.mod that is right is no reason to say nothing of the zip.
	r := refusal()
	r.Mod, r.Source = record.H1(rec.Mod), "https://u:secret@proxy.example/m"
	e, err := Refuse(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"example.com/M@v1.7.0", "logged at index 7", "a zip with hash " + r.Zip, "2026-03-04T12:00:00Z", `"https://proxy.example/m"`} {
		if !strings.Contains(e.String(), text) {
			t.Errorf("no %s in %s", text, e)
		}
	}
	if strings.Contains(e.String(), "a go.mod with") || len(e.Accused()) != 0 {
		t.Errorf("accuses: %s", e)
	}
}

func TestServerForged(t *testing.T) {
	s := serverSamples(t)
	file := func(name, old, new string) []byte { return rewritten(t, s[name], old, new) }
	for name, f := range map[string][]byte{
		"other quotes":      file("E16", `by "witness bob\x00"`, "by `witness bob`"),
		"another escape":    file("E16", `\x00`, `\000`),
		"nobody":            file("E16", "by ", "of "),
		"index -1":          file("E17-both", "\nzip ", "\nindex -1\nzip "),
		"index with sign":   file("E17", "index 7", "index +7"),
		"lines in disorder": file("E17-both", "\nzip ", "\nmod "),
		"a line more":       file("E17", "\ntime ", "\nmore x\ntime "),
		"a line at the end": file("E17", "00Z\n", "00Z\nmore x\n"),
		"a key":             file("E17", "E17\n", "E17\nlog x\n"),
		"a password":        file("E17", "//proxy", "//u:secret@proxy"),
		"a part more":       file("E17", "\n\n", "\n\nx\n\n"),
		"not ASCII":         file("E17", `\u00e9`, "\u00e9"),
	} {
		if e, err := Parse(f); !errors.Is(err, ErrNotProven) {
			t.Errorf("%s: %v %v", name, e, err)
		}
	}
}

// TestNoEvidence says of what is no evidence that it is none.
func TestNoEvidence(t *testing.T) {
	for file, want := range map[string]string{
		"":                            "no evidence: it does not begin with",
		"hello\n":                     "no evidence: it does not begin with",
		"sumlog evidence v2 E1\n":     "no evidence: it does not begin with",
		"sumlog evidence v1 ahead\n":  `the kind "ahead" is not known`,
		"sumlog evidence v1 E1":       "the last line is not the SHA-256",
		"sumlog evidence v1 E1\nlog ": "the last line is not the SHA-256",
	} {
		if _, err := Parse([]byte(file)); !errors.Is(err, ErrNotProven) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", file, err)
		}
	}
}
