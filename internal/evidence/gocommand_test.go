// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// A forked is what an x/mod client sees that has seen one branch of a log and is now
// shown another.
type forked struct {
	log          *testLog
	known, shown checkpoint.Note
	branch       int
	said         string
}

func (f *forked) ReadRemote(path string) ([]byte, error) {
	if strings.HasPrefix(path, "/lookup/") {
		f.branch = 1
		return lookupText(f.log, atGood, f.shown), nil
	}
	tile, err := tlog.ParseTilePath(strings.TrimPrefix(path, "/"))
	if err != nil {
		return nil, err
	}
	return tlog.ReadTileData(tile, f.log.hashes[f.branch])
}

func (f *forked) ReadConfig(file string) ([]byte, error) {
	if file == "key" {
		return []byte(f.log.key.String()), nil
	}
	return f.known.Bytes(), nil
}

func (f *forked) WriteConfig(string, []byte, []byte) error { return nil }
func (f *forked) ReadCache(string) ([]byte, error)         { return nil, fs.ErrNotExist }
func (f *forked) WriteCache(string, []byte)                {}
func (f *forked) Log(string)                               {}
func (f *forked) SecurityError(msg string)                 { f.said = msg }

// clientText returns what the go command's client says of two heads.
func clientText(t testing.TB, known, shown checkpoint.Note) string {
	f := &forked{log: newBook(), known: known, shown: shown}
	_, err := sumdb.NewClient(f).Lookup("example.com/m", "v1.0.0")
	if err == nil || f.said == "" {
		t.Fatalf("the client does not see a fork: %v, %q", err, f.said)
	}
	return "go: " + f.said + "\n"
}

// equalText returns what the go command prints of two heads of one size. A client
// that keeps tiles in memory, as one that lives as long as a test does, finds them
// inconsistent before it comes to that.
func equalText(known, shown checkpoint.Note, root tlog.Hash) string {
	indent := func(n checkpoint.Note) string { return strings.ReplaceAll(string(n.Bytes()), "\n", "\n\t") }
	return fmt.Sprintf("go: SECURITY ERROR\ngo.sum database server misbehavior detected!\n\nold database:\n\t%s\nnew database:\n\t%s\nproof of misbehavior:\n\t%v\n",
		indent(known), indent(shown), root)
}

// pasted returns a text as people hand it over.
func pasted(text string) map[string]string {
	lines := func(f func(i int, line string) string) string {
		var b strings.Builder
		i := 0
		for line := range strings.Lines(text) {
			b.WriteString(f(i, line))
			i++
		}
		return b.String()
	}
	return map[string]string{
		"in other output":  "go: downloading x\n" + text + "exit status 1\n",
		"spaces for tabs":  strings.ReplaceAll(text, "\t", "        "),
		"no indentation":   strings.ReplaceAll(text, "\t", ""),
		"line ends of DOS": strings.ReplaceAll(text, "\n", "\r\n"),
		"quoted":           lines(func(_ int, s string) string { return "> " + s }),
		"in a mail": lines(func(_ int, s string) string {
			return "│ " + strings.TrimRight(s, "\t\n") + "\n"
		}),
		"with times": lines(func(i int, s string) string { return fmt.Sprintf("2026-03-04T12:00:%02d.000Z ", i) + s }),
		"the second": strings.Replace(text, "— ", "- ", 1) + text,
		"twice":      text + text,
	}
}

func TestParseSecurityError(t *testing.T) {
	l, o := newBook(), newOtherBook()
	for _, c := range []struct {
		known, shown int64
		kind         Kind
	}{
		{17, 19, Fork},
		{16, 19, Fork}, // its root is not in the proof
		{18, 18, Equivocation},
	} {
		var text string
		if c.known == c.shown {
			text = equalText(l.treeHead(0, c.known), l.treeHead(1, c.shown), l.root(1, c.shown))
		} else {
			text = clientText(t, l.treeHead(0, c.known), l.treeHead(1, c.shown))
		}
		want, err := ParseSecurityError(text, l.key)
		if err != nil || want.Kind() != c.kind || want.Origin() != databaseOrigin {
			t.Fatalf("%d, %d: %v %v of\n%s", c.known, c.shown, want, err, text)
		}
		if again, err := Parse(want.Bytes()); err != nil || again.String() != want.String() {
			t.Errorf("%d, %d: %v %v", c.known, c.shown, again, err)
		}
		for name, pasted := range pasted(text) {
			e, err := ParseSecurityError(pasted, l.key)
			if err != nil || string(e.Bytes()) != string(want.Bytes()) {
				t.Errorf("%d, %d, %s: %v %v of\n%s", c.known, c.shown, name, e, err, pasted)
			}
		}
		if !IsSecurityError([]byte(text)) {
			t.Error("not recognised")
		}
		for name, bad := range map[string]string{
			"empty":          "",
			"cut":            text[:strings.LastIndex(text, "— ")],
			"no signatures":  strings.ReplaceAll(text, "— ", ""),
			"too long":       text + strings.Repeat("\n", MaxFile),
			"many headings":  strings.Repeat("old database:\n", maxReports) + text,
			"no headings":    strings.ReplaceAll(text, "database:", ""),
			"headings alone": "old database:\nnew database:\nproof of misbehavior:\n",
			"the same twice": equalText(l.treeHead(0, c.known), l.treeHead(0, c.known), l.root(0, c.known)),
			"one history":    equalText(l.treeHead(0, 15), l.treeHead(1, 19), l.root(0, 15)),
		} {
			if e, err := ParseSecurityError(bad, l.key); !errors.Is(err, ErrNotProven) {
				t.Errorf("%d, %d, %s: %v %v", c.known, c.shown, name, e, err)
			}
		}
		if e, err := ParseSecurityError(text, o.key); !errors.Is(err, ErrNotProven) {
			t.Errorf("another key: %v %v", e, err)
		}
		for i := range len(text) {
			bad := flipped([]byte(text), i)
			if e, err := ParseSecurityError(string(bad), l.key); err == nil && string(e.Bytes()) != string(want.Bytes()) {
				t.Errorf("byte %d: %v", i, e)
			}
		}
	}
}

// TestSignatures has notes with more signatures than one, of which a bad one comes
// first: a client takes such.
func TestSignatures(t *testing.T) {
	l := newBook()
	text := clientText(t, l.treeHead(0, 17), l.treeHead(1, 19))
	sig := l.treeHead(1, 17).Signatures[1].String()
	text = strings.Replace(text, "\t— ", "\t— x bad\n\t"+sig+"\t— ", 2)
	if e, err := ParseSecurityError(text, l.key); err != nil || e.Kind() != Fork {
		t.Errorf("%v %v", e, err)
	}
}

func FuzzParseSecurityError(f *testing.F) {
	l := newBook()
	text := clientText(f, l.treeHead(0, 17), l.treeHead(1, 19))
	f.Add(text)
	f.Add(clientText(f, l.treeHead(0, 16), l.treeHead(1, 19)))
	f.Add(equalText(l.treeHead(0, 18), l.treeHead(1, 18), l.root(1, 18)))
	f.Add("> " + strings.ReplaceAll(text, "\n", "\n> "))
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParseSecurityError(text, l.key)
		if err != nil {
			if !errors.Is(err, ErrNotProven) {
				t.Error(err)
			}
			return
		}
		if again, err := Parse(e.Bytes()); err != nil || again.String() != e.String() {
			t.Errorf("%v %v", again, err)
		}
	})
}

// TestLongReport has a report with a note that no file can hold. It is refused before
// its signatures are looked at: a hundred of them over megabytes, in each of several
// reports that lie in one another, would take minutes.
func TestLongReport(t *testing.T) {
	l := newBook()
	for _, tt := range []struct {
		extension string
		ok        bool
	}{{"x", true}, {strings.Repeat("x", checkpoint.MaxNote), false}} {
		n := l.note(0, 17, tt.extension)
		r := report{text: string(n.Bytes()) + newHeading + "\n"}
		if _, err := r.note(l.key, newHeading); (err == nil) != tt.ok {
			t.Errorf("extension of %d bytes: %v", len(tt.extension), err)
		}
	}
}
