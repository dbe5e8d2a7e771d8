// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package gosum

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/internal/sumfile"
	"example.org/sumlog/witness/audit/bundle"
)

// Format is the first word of every report.
const Format = "sumlog go.sum report v1"

// MaxReport bounds a report.
const MaxReport = bundle.MaxFile + 2*sumfile.MaxFile

// ErrReport is wrapped by the errors about a report that does not hold.
var ErrReport = errors.New("the report does not hold")

// A Report is what came of a verification: JSON, in the one encoding that [Report.Bytes]
// gives it. With the bundle it can be verified again by anybody who has nothing but
// the key. It is not signed: who needs to know who made it, and when, keeps it where
// that is known.
type Report struct {
	Format        string        `json:"format"`
	Tool          string        `json:"tool"`
	Time          time.Time     `json:"time"`
	Log           string        `json:"log"` // VKEY
	URL           string        `json:"url,omitempty"`
	Checkpoint    string        `json:"checkpoint"` // the note
	Size          int64         `json:"size"`
	Cosignatures  []Cosignature `json:"cosignatures,omitempty"` // that the policy knows
	Policy        string        `json:"policy,omitempty"`       // the file
	MaxAge        string        `json:"max_age,omitempty"`
	Untrusted     string        `json:"untrusted,omitempty"` // why the checkpoint does not count
	Private       string        `json:"private,omitempty"`   // patterns
	RequireLogged bool          `json:"require_logged,omitempty"`
	Inputs        []Input       `json:"inputs"`
	Lines         []Item        `json:"lines"`
	Exceptions    int           `json:"exceptions"` // lines that are not ok
	Evidence      []string      `json:"evidence,omitempty"`
	Outcome       Outcome       `json:"outcome"`
	Bundle        string        `json:"bundle,omitempty"` // a file of package bundle
}

// A Cosignature is that of one witness.
type Cosignature struct {
	Witness string    `json:"witness"`
	Time    time.Time `json:"time"`
}

// The kinds of inputs.
const (
	KindSum    = "go.sum"
	KindCache  = "cache"
	KindVendor = "vendor"
	KindBinary = "binary"
)

// An Input is what was verified.
type Input struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Size   int64  `json:"size,omitempty"`   // of a file
	SHA256 string `json:"sha256,omitempty"` // of a file
}

// Fill sets what follows from lines.
func (r *Report) Fill(lines []Item) {
	r.Lines = lines
	r.Exceptions = len(lines) - Counts(lines)[OK]
	r.Outcome = Conclude(lines, r.RequireLogged)
}

// Trusted sets what came of [Trust.Check] of the checkpoint.
func (r *Report) Trusted(cosignatures []policy.Cosignature, err error) {
	r.Cosignatures, r.Untrusted = nil, ""
	for _, c := range cosignatures {
		r.Cosignatures = append(r.Cosignatures, Cosignature{c.Witness, c.Time.UTC()})
	}
	if err != nil {
		r.Untrusted = err.Error()
	}
}

// Bytes returns the report as JSON.
func (r *Report) Bytes() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(r)
	return b.Bytes(), err
}

// Again parses a report and verifies it: each verdict follows from its line and the
// bundle, and what it says of the checkpoint from its policy; and it is about
// something: inputs of one kind, with lines such as these can have. Whether the checkpoint
// counts is then up to t, and only where that has no policy to the report's. What
// the report says of lines that it could not prove stays its word.
func Again(file []byte, t Trust) (*Report, error) {
	if t.Key == nil && t.Policy == nil {
		// The report's own policy says nothing of whom to trust.
		return nil, fmt.Errorf("%w: there is none", ErrKey)
	}
	r, b, err := parseReport(file)
	if err != nil {
		return nil, err
	}
	note, err := checkpoint.ParseNote(b.Newest().Note)
	if err != nil {
		return nil, err
	}
	if _, err := t.Check(b.Key(), note); errors.Is(err, ErrKey) {
		return nil, err
	}
	own, err := r.trust(b.Key())
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrReport, err)
	}
	if err := r.follows(file, b, note, own); err != nil {
		return nil, err
	}
	if t.Policy == nil {
		t.Policy = own.Policy
	}
	if t.MaxAge == 0 {
		t.MaxAge, t.Now = own.MaxAge, own.Now
	}
	cosignatures, err := t.Check(b.Key(), note)
	if err != nil && !errors.Is(err, policy.ErrQuorum) && !errors.Is(err, ErrTooOld) {
		return nil, err
	}
	r.Trusted(cosignatures, err)
	return r, nil
}

// trust returns whom who made the report has trusted.
func (r *Report) trust(key *checkpoint.Key) (t Trust, err error) {
	// Fresh it was when the report was made.
	t.Key, t.Now = key, r.Time
	if r.Policy != "" {
		if t.Policy, err = policy.Parse([]byte(r.Policy)); err != nil {
			return t, err
		}
	}
	if r.MaxAge != "" {
		t.MaxAge, err = time.ParseDuration(r.MaxAge)
	}
	return t, err
}

// follows reports whether file, which is r, is what comes of its lines, its bundle and
// its policy.
func (r *Report) follows(file []byte, b *bundle.Bundle, note checkpoint.Note, own Trust) error {
	var claims []Claim
	for _, i := range r.Lines {
		claims = append(claims, i.Claim)
	}
	again := *r
	again.Trusted(own.Check(b.Key(), note))
	again.Log = b.Key().String()
	again.Checkpoint, again.Size = string(b.Newest().Note), b.Newest().Size
	again.Fill(Judge(claims, r.Private, &recorded{FromBundle(b), r.Lines, 0}))
	data, err := again.Bytes()
	if err == nil && !bytes.Equal(data, file) {
		err = fmt.Errorf("%w: %s", ErrReport, difference(r, &again))
	}
	return err
}

func parseReport(file []byte) (*Report, *bundle.Bundle, error) {
	if len(file) > MaxReport {
		return nil, nil, fmt.Errorf("%w: more than %d bytes", ErrReport, MaxReport)
	}
	r := new(Report)
	d := json.NewDecoder(bytes.NewReader(file))
	d.DisallowUnknownFields()
	if err := d.Decode(r); err != nil {
		return nil, nil, fmt.Errorf("%w: %v", ErrReport, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, nil, fmt.Errorf("%w: something follows it", ErrReport)
	}
	if r.Format != Format || r.Bundle == "" {
		return nil, nil, fmt.Errorf("%w: it is not %q with a bundle", ErrReport, Format)
	}
	if err := r.checkInputs(); err != nil {
		return nil, nil, err
	}
	for _, l := range r.Lines {
		if err := r.checkLine(l.Claim); err != nil {
			return nil, nil, err
		}
	}
	b, err := bundle.Parse([]byte(r.Bundle))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	return r, b, nil
}

// mayGive are the verdicts that can be given of a line of each kind of input. A
// report with others would say of a line that is not what is logged that it is
// something else.
var mayGive = map[string][]Verdict{
	KindSum:    {Malformed},
	KindCache:  {Malformed, Unchecked},
	KindVendor: {Mismatch, NotLogged, Malformed, Unchecked, Private, Note},
	KindBinary: {Malformed, Unchecked, Note, Toolchain},
}

// checkInputs reports whether r says what it is about, as a run does: which has
// inputs, of one kind, and the digests of those that are files.
func (r *Report) checkInputs() error {
	if len(r.Inputs) == 0 {
		return fmt.Errorf("%w: it has no inputs", ErrReport)
	}
	kind := r.Inputs[0].Kind
	want := 0
	if kind == KindSum || kind == KindBinary {
		want = 32
	}
	for _, in := range r.Inputs {
		if mayGive[in.Kind] == nil || in.Kind != kind {
			return fmt.Errorf("%w: an input of the kind %q", ErrReport, in.Kind)
		}
		if sum, err := hex.DecodeString(in.SHA256); err != nil || len(sum) != want {
			return fmt.Errorf("%w: %q is no SHA-256 of a %s", ErrReport, in.SHA256, kind)
		}
	}
	return nil
}

// checkLine reports whether c is of one of the inputs, and one that such an input can
// have.
func (r *Report) checkLine(c Claim) error {
	kind := r.Inputs[0].Kind
	if !slices.ContainsFunc(r.Inputs, func(in Input) bool { return in.has(c.File) }) {
		return fmt.Errorf("%w: a line of %q, which is no input", ErrReport, c.File)
	}
	if c.Given != "" && !slices.Contains(mayGive[kind], c.Given) {
		return fmt.Errorf("%w: %q is given of a line of a %s", ErrReport, c.Given, kind)
	}
	if (c.Given == Note || c.Given == Toolchain) && c.Hash != "" {
		return fmt.Errorf("%w: %q is given of a line with a hash", ErrReport, c.Given)
	}
	if kind != KindSum || c.Path == "" && c.Given == Malformed {
		return nil
	}
	// Of a line that is whole it is known whether it is malformed.
	l := sumfile.Line{Number: c.Line, Path: c.Path, Version: c.Version, Mod: c.Mod, Hash: c.Hash}
	l.Err = l.Check()
	is := claimOf(l)
	if is.File = c.File; is != c {
		return fmt.Errorf("%w: %s is not as it says %q", ErrReport, c.Where(), c.Given)
	}
	return nil
}

// has reports whether there can be a claim about a file in the input.
func (in Input) has(file string) bool {
	if in.Kind == KindSum || in.Kind == KindBinary {
		return file == in.Name
	}
	below, err := filepath.Rel(in.Name, file)
	return err == nil && filepath.IsLocal(below)
}

// recorded takes from the report what no bundle can say: why something was not
// proven.
type recorded struct {
	Finder
	lines []Item
	next  int
}

func (f *recorded) Find(path, version string) (e bundle.Entry, v Verdict, reason string) {
	if e, v, reason = f.Finder.Find(path, version); v == OK {
		return e, v, reason
	}
	for ; f.next < len(f.lines); f.next++ {
		i := f.lines[f.next]
		if i.Path == path && i.Version == version && (i.Verdict == NotLogged || i.Verdict == Unchecked) && i.Hash != "" {
			f.next++
			return e, i.Verdict, i.Reason
		}
	}
	return e, v, reason
}

func difference(r, again *Report) string {
	for i := range r.Lines {
		if x, y := r.Lines[i].String(), again.Lines[i].String(); x != y {
			return fmt.Sprintf("it says %q, and by its bundle it is %q", x, y)
		}
	}
	switch {
	case r.Outcome != again.Outcome:
		return fmt.Sprintf("it says %s, and its lines are %s", r.Outcome, again.Outcome)
	case r.Untrusted != again.Untrusted:
		return fmt.Sprintf("of its checkpoint it says %q, and it is %q", r.Untrusted, again.Untrusted)
	}
	return "it does not follow from its lines and its bundle"
}
