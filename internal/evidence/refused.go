// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package evidence

import (
	"bytes"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.org/sumlog/internal/record"
)

// A Refusal is what somebody was given that is not what a record says.
type Refusal struct {
	Record   []byte // the one that stands
	Index    int64  // of it in the log of who made the file; -1: not in it, or not yet
	Zip, Mod string // the hashes of what was given, h1:…; "": none was
	Invalid  string // why the zip that was given can be no module's, and so has no hash
	Source   string // who gave it; "": not known
	Time     time.Time
}

// maxInvalid is more than what is wrong with three files of a zip.
const maxInvalid = 4 << 10

// Refuse returns the observation that somebody gives what is not what a record says
// (E17). User and password are taken out of a URL.
func Refuse(r Refusal) (*Evidence, error) {
	if u, err := url.Parse(r.Source); err == nil && u.User != nil {
		u.User = nil
		r.Source = u.String()
	}
	r.Record = bytes.Clone(r.Record)
	r.Time = r.Time.UTC().Truncate(time.Second)
	e := &Evidence{kind: Refused, refusal: r}
	return e.proven(nil)
}

// checkRefusal verifies that what was given is not what the record says.
func (e *Evidence) checkRefusal() error {
	r := e.refusal
	rec, err := record.Parse(r.Record)
	if err != nil {
		return notProven("record: %v", err)
	}
	if r.Index < -1 {
		return notProven("index %d", r.Index)
	}
	if err := observedAt(r.Time); err != nil {
		return err
	}
	// Who is given the file need not know the password.
	if u, err := url.Parse(r.Source); len(r.Source) > maxName || err == nil && u.User != nil {
		return notProven("source: too long, or with a user")
	}
	var given []string
	for _, h := range []struct {
		what, given string
		logged      [32]byte
	}{{"zip", r.Zip, rec.Zip}, {"go.mod", r.Mod, rec.Mod}} {
		if h.given == "" {
			continue
		}
		sum, ok := record.ParseH1(h.given)
		if !ok {
			return notProven("%.200q is no hash", h.given)
		}
		if sum != h.logged {
			given = append(given, fmt.Sprintf("a %s with hash %s", h.what, h.given))
		}
	}
	if len(r.Invalid) > maxInvalid || r.Invalid != "" && r.Zip != "" {
		return notProven("invalid: too long, or with a hash")
	}
	if r.Invalid != "" {
		given = append(given, fmt.Sprintf("a zip that can be no module's (%.500q)", r.Invalid))
	}
	if len(given) == 0 {
		return notProven("what was given is what the record says")
	}
	e.why = strings.Join(given, ", and ")
	return nil
}

func (r Refusal) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "record %s\n", encode(r.Record))
	if r.Index >= 0 {
		fmt.Fprintf(b, "index %d\n", r.Index)
	}
	if r.Zip != "" {
		fmt.Fprintf(b, "zip %s\n", r.Zip)
	}
	if r.Mod != "" {
		fmt.Fprintf(b, "mod %s\n", r.Mod)
	}
	if r.Invalid != "" {
		fmt.Fprintf(b, "invalid %s\n", strconv.QuoteToASCII(r.Invalid))
	}
	fmt.Fprintf(b, "source %s\ntime %s\n\n", strconv.QuoteToASCII(r.Source), r.Time.Format(timeFormat))
}

func parseRefusal(part string) (r Refusal, err error) {
	if r.Record, err = bytesField(&part, "record"); err != nil {
		return r, err
	}
	r.Index = -1
	if strings.HasPrefix(part, "index ") {
		if r.Index, err = intField(&part, "index"); err != nil {
			return r, err
		}
	}
	if strings.HasPrefix(part, "zip ") {
		r.Zip, _ = field(&part, "zip")
	}
	if strings.HasPrefix(part, "mod ") {
		r.Mod, _ = field(&part, "mod")
	}
	if strings.HasPrefix(part, "invalid ") {
		if r.Invalid, err = quotedField(&part, "invalid"); err != nil {
			return r, err
		}
	}
	if r.Source, err = quotedField(&part, "source"); err != nil {
		return r, err
	}
	r.Time, err = timeField(&part)
	return r, err
}

func (e *Evidence) refusalString() string {
	r, where, who := e.refusal, "not in the log yet", "somebody"
	if r.Index >= 0 {
		where = fmt.Sprintf("logged at index %d", r.Index)
	}
	if r.Source != "" {
		who = fmt.Sprintf("%.500q", r.Source)
	}
	return fmt.Sprintf("%s: for %s, %s, %s has given at %s %s", e.kind, describe(r.Record), where, who, r.Time.Format(timeFormat), e.why)
}
