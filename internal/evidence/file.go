// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/record"
)

// MaxFile bounds a file: two notes, two of record, body, .info and transcript, in
// base64, proofs, and a few lines.
const MaxFile = 2*checkpoint.MaxNote + 2*(MaxRecord*4/3+checkpoint.MaxProof*48) + MaxBody*4/3 + 64<<10

const (
	header     = "sumlog evidence v1 "
	timeFormat = "2006-01-02T15:04:05Z"
	maxParts   = 10 // of a file, and one more than any has
	digestSize = 2*sha256.Size + 1
)

// Bytes returns the file.
func (e *Evidence) Bytes() []byte {
	var b bytes.Buffer
	f := e.form()
	fmt.Fprintf(&b, "%s%s\n", header, e.kind)
	for _, k := range e.keys[:f.keys] {
		fmt.Fprintf(&b, "%s %v\n", f.role, k)
	}
	if e.kind == Unsound {
		fmt.Fprintf(&b, "rule %s\n", e.rule)
	}
	b.WriteByte('\n')
	for i := range f.sides {
		e.writeSide(&b, i)
	}
	if e.hasProof() {
		writeHashes(&b, append([]tlog.Hash{e.root}, e.proof...))
		b.WriteByte('\n')
	}
	switch e.kind {
	case Contradicted:
		e.answer.write(&b)
	case Moved:
		e.tag.write(&b)
	case Stray:
		fmt.Fprintf(&b, "by %s\n\n", strconv.QuoteToASCII(e.by))
	case Refused:
		e.refusal.write(&b)
	}
	fmt.Fprintf(&b, "%x\n", sha256.Sum256(b.Bytes()))
	return b.Bytes()
}

// writeSide writes a head, and the record in it.
func (e *Evidence) writeSide(b *bytes.Buffer, i int) {
	h := e.heads[i]
	fmt.Fprintf(b, "%s\n%s\n", h.Text(), h.sig)
	if !e.form().records {
		return
	}
	n := e.entries[i]
	fmt.Fprintf(b, "index %d\nrecord %s\n", n.index, encode(n.text))
	writeHashes(b, n.proof)
	b.WriteByte('\n')
}

func writeHashes(b *bytes.Buffer, hashes []tlog.Hash) {
	for _, h := range hashes {
		fmt.Fprintf(b, "%v\n", h)
	}
}

func (a Answer) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "service %s\nurl %s\ntime %s\nstatus %d\n", a.Service, a.URL, a.Time.Format(timeFormat), a.Status)
	switch {
	case a.Service != Zip:
		fmt.Fprintf(b, "body %s\n\n", encode(a.Body))
	case a.H1 == [32]byte{}:
		fmt.Fprintf(b, "zip %x -\n\n", a.SHA256)
	default:
		fmt.Fprintf(b, "zip %x %s\n\n", a.SHA256, record.H1(a.H1))
	}
}

func (t Tag) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "url %s\ntime %s\ninfo %s\nrefs %s\n\n", t.URL, t.Time.Format(timeFormat), encode(t.Info), encode(t.Refs))
}

// Parse parses and verifies a file.
func Parse(file []byte) (*Evidence, error) {
	if len(file) > MaxFile {
		return nil, notProven("file: more than %d bytes", MaxFile)
	}
	kind, ok := bytes.CutPrefix(file, []byte(header))
	if !ok {
		return nil, notProven("no evidence: it does not begin with %q", header)
	}
	kind, _, _ = bytes.Cut(kind, []byte("\n"))
	if _, ok := forms[Kind(kind)]; !ok {
		return nil, notProven("file: the kind %.40q is not known", kind)
	}
	// First, because it is cheap, and most of what is broken is broken here.
	body := file[:max(0, len(file)-digestSize)]
	if want := fmt.Appendf(nil, "%x\n", sha256.Sum256(body)); !bytes.Equal(file[len(body):], want) {
		return nil, notProven("file: the last line is not the SHA-256 of what is before")
	}
	p := parser{parts: strings.SplitN(string(file), "\n\n", maxParts)}
	e, err := p.evidence()
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return nil, err
	}
	// Here everything that was skipped is compared.
	if !bytes.Equal(e.Bytes(), file) {
		return nil, notProven("file: not in its canonical form")
	}
	return e, nil
}

// A parser goes through the parts of a file. It may skip what an Evidence does not
// hold, and take what is not canonical: Parse compares the file with what becomes
// of it.
type parser struct{ parts []string }

// next returns the next part, "" after the last.
func (p *parser) next() string {
	if len(p.parts) == 0 {
		return ""
	}
	part := p.parts[0]
	p.parts = p.parts[1:]
	return part
}

// field takes a line that begins with name and a space from the front of part.
func field(part *string, name string) (string, error) {
	line, rest, _ := strings.Cut(*part, "\n")
	value, ok := strings.CutPrefix(line, name+" ")
	if !ok {
		return "", notProven("file: no line %q where one belongs", name)
	}
	*part = rest
	return value, nil
}

func (p *parser) evidence() (*Evidence, error) {
	e, err := p.header()
	if err != nil {
		return nil, err
	}
	f := e.form()
	for i := range f.sides {
		if err := p.side(e, i); err != nil {
			return nil, err
		}
	}
	if e.hasProof() {
		hashes, err := parseHashes(p.next())
		if err != nil || len(hashes) == 0 {
			return nil, notProven("file: no proof where it belongs: %v", err)
		}
		e.root, e.proof = hashes[0], hashes[1:]
	}
	switch e.kind {
	case Contradicted:
		e.answer, err = parseAnswer(p.next())
	case Moved:
		e.tag, err = parseTag(p.next())
	case Stray:
		part := p.next()
		e.by, err = quotedField(&part, "by")
	case Refused:
		e.refusal, err = parseRefusal(p.next())
	}
	return e, err
}

func (p *parser) header() (*Evidence, error) {
	part := p.next()
	line, rest, _ := strings.Cut(part, "\n")
	e := &Evidence{kind: Kind(strings.TrimPrefix(line, header))}
	f := e.form()
	for i := range f.keys {
		vkey, err := field(&rest, f.role)
		if err != nil {
			return nil, err
		}
		if e.keys[i], err = checkpoint.ParseKey(vkey); err != nil {
			return nil, notProven("%v", err)
		}
	}
	var err error
	if e.kind == Unsound {
		e.rule, err = field(&rest, "rule")
	}
	return e, err
}

func (p *parser) side(e *Evidence, i int) error {
	text, line := p.next(), p.next()
	n, err := checkpoint.ParseNote([]byte(text + "\n\n" + line + "\n"))
	if err != nil {
		return notProven("%v", err)
	}
	key := e.keys[min(i, e.form().keys-1)]
	if e.heads[i], err = newHead(key, n); err != nil {
		return err
	}
	if !e.form().records {
		return nil
	}
	if e.entries[i], err = parseEntry(p.next()); err != nil {
		return err
	}
	return e.entries[i].in(e.heads[i])
}

func parseEntry(part string) (n entry, err error) {
	if n.index, err = intField(&part, "index"); err != nil {
		return n, err
	}
	if n.text, err = bytesField(&part, "record"); err != nil {
		return n, err
	}
	if part != "" {
		n.proof, err = parseHashes(part)
	}
	return n, err
}

func intField(part *string, name string) (int64, error) {
	value, err := field(part, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, notProven("file: %s %.24q", name, value)
	}
	return n, nil
}

func bytesField(part *string, name string) ([]byte, error) {
	value, err := field(part, name)
	if err != nil {
		return nil, err
	}
	b, err := strict.DecodeString(value)
	if err != nil {
		return nil, notProven("file: %s is not base64", name)
	}
	return b, nil
}

func timeField(part *string) (time.Time, error) {
	value, err := field(part, "time")
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(timeFormat, value)
	if err != nil {
		return time.Time{}, notProven("file: time %.40q", value)
	}
	return t, nil
}

func parseHashes(part string) (hashes []tlog.Hash, err error) {
	// The root before a proof, and one more, which then is no hash.
	for _, line := range strings.SplitN(part, "\n", checkpoint.MaxProof+2) {
		h, err := tlog.ParseHash(line)
		if err != nil {
			return nil, notProven("%v", err)
		}
		hashes = append(hashes, h)
	}
	return hashes, nil
}

func parseAnswer(part string) (a Answer, err error) {
	service, err := field(&part, "service")
	if err != nil {
		return a, err
	}
	a.Service = Service(service)
	if a.URL, err = field(&part, "url"); err != nil {
		return a, err
	}
	if a.Time, err = timeField(&part); err != nil {
		return a, err
	}
	status, err := intField(&part, "status")
	if err != nil {
		return a, err
	}
	a.Status = int(status)
	if a.Service == Zip {
		return a, a.parseZip(&part)
	}
	a.Body, err = bytesField(&part, "body")
	return a, err
}

func (a *Answer) parseZip(part *string) error {
	value, err := field(part, "zip")
	if err != nil {
		return err
	}
	digest, h1, _ := strings.Cut(value, " ")
	sum, err := hex.DecodeString(digest)
	if err != nil || len(sum) != len(a.SHA256) {
		return notProven("file: zip %.80q", value)
	}
	a.SHA256 = [32]byte(sum)
	if h1 == "-" {
		return nil
	}
	var ok bool
	if a.H1, ok = record.ParseH1(h1); !ok {
		return notProven("file: zip %.200q", value)
	}
	return nil
}

func parseTag(part string) (t Tag, err error) {
	if t.URL, err = field(&part, "url"); err != nil {
		return t, err
	}
	if t.Time, err = timeField(&part); err != nil {
		return t, err
	}
	if t.Info, err = bytesField(&part, "info"); err != nil {
		return t, err
	}
	t.Refs, err = bytesField(&part, "refs")
	return t, err
}
