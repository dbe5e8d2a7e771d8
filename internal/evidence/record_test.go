// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package evidence

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/record"
)

// recordText returns a record with hashes of its own.
func recordText(path, version, bytes string) string {
	r := record.Record{Path: []byte(path), Version: []byte(version), Zip: sha256.Sum256([]byte("zip " + bytes)), Mod: sha256.Sum256([]byte("mod " + bytes))}
	return string(r.Text())
}

// Where what is in a book.
const (
	atGood      = 0 // example.com/m@v1.0.0
	atConflict  = 3 // the same version with other hashes
	atRepeat    = 4 // the record at atGood again
	atCRLF      = 5
	atHash      = 6
	atEmpty     = 7
	atFramed    = 8  // looks like parts of a file
	atMod       = 9  // only its go.mod has another hash
	atSecond    = 10 // v1.0.0 of another module
	bookSize    = 20
	elsewhereAt = 2 // of the second book: the version at atGood with other hashes
)

// newBook returns a checksum database with all sorts of records. Its branches
// part at 15.
func newBook() *testLog {
	l := newLog("log.example/book", "book")
	good := recordText("example.com/m", "v1.0.0", "good")
	bad := func(r record.Record) string { r.Mod = [32]byte{1}; return string(r.Text()) }
	r, _ := record.Parse([]byte(good))
	for i := range bookSize {
		switch i {
		case atGood, atRepeat:
			l.add(good)
		case atConflict:
			l.add(recordText("example.com/m", "v1.0.0", "evil"))
		case atCRLF:
			l.add(strings.ReplaceAll(recordText("example.com/crlf", "v1.0.0", "x"), "\n", "\r\n"))
		case atHash:
			l.add(strings.ReplaceAll(recordText("example.com/hash", "v1.0.0", "x"), "h1:", "h2:"))
		case atEmpty:
			l.add("")
		case atFramed:
			l.add("x\n\nlog.example/book\n1\n\n— x\n\nindex 0\n")
		case atMod:
			l.add(bad(r))
		case atSecond:
			l.add(recordText("example.com/second", "v1.0.0", "x"))
		default:
			a := recordText("example.com/other", fmt.Sprintf("v1.%d.0", i), "a")
			if i < 15 {
				l.add(a)
			} else {
				l.add(a, recordText("example.com/other", fmt.Sprintf("v1.%d.0", i), "b"))
			}
		}
	}
	return l
}

// newOtherBook returns another database.
func newOtherBook() *testLog {
	l := newLog("a.example/other", "other book")
	for i := range 5 {
		if i == elsewhereAt {
			l.add(recordText("example.com/m", "v1.0.0", "other"))
		} else {
			l.add(recordText("example.com/m", fmt.Sprintf("v2.%d.0", i), "x"))
		}
	}
	return l
}

func recordSamples(t testing.TB) map[string]*Evidence {
	l, o := newBook(), newOtherBook()
	n, h := l.note(0, bookSize), l.treeHead(0, bookSize)
	m := make(map[string]*Evidence)
	for name, make := range map[string]func() (*Evidence, error){
		"E4":     func() (*Evidence, error) { return Conflict(l.proven(0, n, atConflict), l.proven(0, n, atGood)) },
		"E4-mod": func() (*Evidence, error) { return Conflict(l.proven(0, n, atGood), l.proven(0, n, atMod)) },
		"E4-heads": func() (*Evidence, error) {
			return Conflict(l.proven(0, h, atConflict), l.proven(1, l.note(1, 17), atGood))
		},
		"E4-index": func() (*Evidence, error) {
			return Conflict(l.proven(1, l.note(1, 17), 16), l.proven(0, l.note(0, 19), 16))
		},
		"E5":        func() (*Evidence, error) { return Malformed(l.proven(0, n, atCRLF)) },
		"E5-hash":   func() (*Evidence, error) { return Malformed(l.proven(0, h, atHash)) },
		"E5-empty":  func() (*Evidence, error) { return Malformed(l.proven(0, n, atEmpty)) },
		"E5-framed": func() (*Evidence, error) { return Malformed(l.proven(0, n, atFramed)) },
		"E5-repeat": func() (*Evidence, error) { return Repeat(l.proven(0, n, atRepeat), l.proven(0, n, atGood)) },
		"E6": func() (*Evidence, error) {
			return Disagree(l.proven(0, n, atGood), o.proven(0, o.treeHead(0, 5), elsewhereAt))
		},
	} {
		e, err := make()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		m[name] = e
	}
	return m
}

func TestRules(t *testing.T) {
	s := recordSamples(t)
	for name, rule := range map[string]string{"E5": "C1", "E5-hash": "C3", "E5-empty": "C1", "E5-framed": "C1", "E5-repeat": "C4"} {
		if s[name].rule != rule || !bytes.Contains(s[name].Bytes(), []byte("\nrule "+rule+"\n\n")) {
			t.Errorf("%s: rule %s", name, s[name].rule)
		}
	}
	l, o := newBook(), newOtherBook()
	a := l.proven(0, l.note(0, bookSize), atGood)
	b := o.proven(0, o.treeHead(0, 5), elsewhereAt)
	x, err := Disagree(a, b)
	y, err2 := Disagree(b, a)
	if err != nil || err2 != nil || !bytes.Equal(x.Bytes(), y.Bytes()) {
		t.Errorf("two files for one claim: %v, %v", err, err2)
	}
}

// TestRecordRefusals has records that prove nothing together.
func TestRecordRefusals(t *testing.T) {
	l, o := newBook(), newOtherBook()
	n := l.note(0, bookSize)
	good, conflict, repeat := l.proven(0, n, atGood), l.proven(0, n, atConflict), l.proven(0, n, atRepeat)
	elsewhere := l.checkpoint(0, bookSize)
	elsewhere.Origin = "log.example/elsewhere"
	// The same public key under a name of the accuser's choice.
	renamed := newLog("b.example/renamed", "book")
	renamed.entries, renamed.hashes = l.entries, l.hashes
	// A witness has cosigned the tree, and vouches for no record in it.
	w := newCosigner(t, "witness.example/w", checkpoint.CosignatureEd25519)
	cosign := func(p Proven) Proven {
		p.Key, p.Note = w.Key(), cosigned(t, w, l.checkpoint(0, bookSize), 5)
		return p
	}
	with := func(p Proven, f func(p *Proven)) Proven {
		p.Proof = append([]tlog.Hash(nil), p.Proof...)
		f(&p)
		return p
	}
	for name, make := range map[string]func() (*Evidence, error){
		"E4 of a repeated record":    func() (*Evidence, error) { return Conflict(good, repeat) },
		"E4 of one record":           func() (*Evidence, error) { return Conflict(good, good) },
		"E4 of two versions":         func() (*Evidence, error) { return Conflict(good, l.proven(0, n, 1)) },
		"E4 of two modules":          func() (*Evidence, error) { return Conflict(good, l.proven(0, n, atSecond)) },
		"E4 of a malformed record":   func() (*Evidence, error) { return Conflict(good, l.proven(0, n, atCRLF)) },
		"E4 of two keys":             func() (*Evidence, error) { return Conflict(good, o.proven(0, o.treeHead(0, 5), elsewhereAt)) },
		"E4 of two origins":          func() (*Evidence, error) { return Conflict(good, l.proven(0, l.sign(elsewhere), atConflict)) },
		"E4 of a cosigner":           func() (*Evidence, error) { return Conflict(cosign(good), cosign(conflict)) },
		"E5 of a cosigner":           func() (*Evidence, error) { return Malformed(cosign(l.proven(0, n, atCRLF))) },
		"E6 of a cosigner":           func() (*Evidence, error) { return Disagree(cosign(good), o.proven(0, o.treeHead(0, 5), elsewhereAt)) },
		"E5 of a good record":        func() (*Evidence, error) { return Malformed(good) },
		"E5 of one index":            func() (*Evidence, error) { return Repeat(good, good) },
		"E5 of one index, two trees": func() (*Evidence, error) { return Repeat(good, l.proven(0, l.note(0, 7), atGood)) },
		"E5 of a conflict":           func() (*Evidence, error) { return Repeat(good, conflict) },
		"E5 of two origins":          func() (*Evidence, error) { return Repeat(good, l.proven(0, l.sign(elsewhere), atRepeat)) },
		"E6 of one log":              func() (*Evidence, error) { return Disagree(good, conflict) },
		"E6 of one public key": func() (*Evidence, error) {
			return Disagree(good, renamed.proven(0, renamed.note(0, bookSize), atConflict))
		},
		"E6 of the same record": func() (*Evidence, error) { return Disagree(good, good) },
		"another record":        func() (*Evidence, error) { return Malformed(with(good, func(p *Proven) { p.Record = []byte("x") })) },
		"another index":         func() (*Evidence, error) { return Conflict(good, with(conflict, func(p *Proven) { p.Index++ })) },
		"a negative index":      func() (*Evidence, error) { return Conflict(good, with(conflict, func(p *Proven) { p.Index = -1 })) },
		"an index past the end": func() (*Evidence, error) {
			return Conflict(good, with(conflict, func(p *Proven) { p.Index = bookSize }))
		},
		"another proof": func() (*Evidence, error) {
			return Conflict(good, with(conflict, func(p *Proven) { p.Proof[1][0] ^= 1 }))
		},
		"a shorter proof": func() (*Evidence, error) {
			return Conflict(good, with(conflict, func(p *Proven) { p.Proof = p.Proof[1:] }))
		},
		"a long proof": func() (*Evidence, error) {
			return Malformed(with(good, func(p *Proven) { p.Proof = make([]tlog.Hash, 64) }))
		},
		"a long record": func() (*Evidence, error) {
			return Malformed(with(good, func(p *Proven) { p.Record = make([]byte, MaxRecord+1) }))
		},
		"not signed": func() (*Evidence, error) {
			return Malformed(with(l.proven(0, n, atCRLF), func(p *Proven) { p.Note.Signatures = nil }))
		},
		"signed by another": func() (*Evidence, error) {
			return Malformed(with(l.proven(0, n, atCRLF), func(p *Proven) { p.Key = o.key }))
		},
		"not a checkpoint": func() (*Evidence, error) {
			return Malformed(with(l.proven(0, n, atCRLF), func(p *Proven) { p.Note.Text = "x\n" }))
		},
		"a good record, as CRLF": func() (*Evidence, error) { return Malformed(l.proven(0, n, 1)) },
	} {
		if e, err := make(); !errors.Is(err, ErrNotProven) || e != nil {
			t.Errorf("%s: %v %v", name, e, err)
		}
	}
}

// TestLargest has the largest record, in a file that is not too large, and a larger
// one.
func TestLargest(t *testing.T) {
	l := newBook()
	l.add(strings.Repeat("x", MaxRecord))
	l.add(strings.Repeat("x", MaxRecord+1))
	e, err := Malformed(l.proven(0, l.note(0, bookSize+2), bookSize))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(e.Bytes()); err != nil {
		t.Error(err)
	}
	if _, err := Malformed(l.proven(0, l.note(0, bookSize+2), bookSize+1)); !errors.Is(err, ErrNotProven) {
		t.Errorf("%v", err)
	}
}

// TestRecordForged has files in good form that prove nothing.
func TestRecordForged(t *testing.T) {
	s := recordSamples(t)
	rewrite := func(name string, f func(e *Evidence)) []byte {
		c := *s[name]
		f(&c)
		return c.Bytes()
	}
	swap := func(e *Evidence) {
		e.heads[0], e.heads[1] = e.heads[1], e.heads[0]
		e.entries[0], e.entries[1] = e.entries[1], e.entries[0]
	}
	for name, file := range map[string][]byte{
		"order":                 rewrite("E4", swap),
		"order at one index":    rewrite("E4-index", swap),
		"order of a repetition": rewrite("E5-repeat", swap),
		"order of logs":         rewrite("E6", func(e *Evidence) { swap(e); e.keys[0], e.keys[1] = e.keys[1], e.keys[0] }),
		"keys the other way":    rewrite("E6", func(e *Evidence) { e.keys[0], e.keys[1] = e.keys[1], e.keys[0] }),
		"one side twice":        rewrite("E4", func(e *Evidence) { e.heads[1], e.entries[1] = e.heads[0], e.entries[0] }),
		"E4 as E5":              rewrite("E4", func(e *Evidence) { e.kind, e.rule = Unsound, repeated }),
		"E5 as E4":              rewrite("E5-repeat", func(e *Evidence) { e.kind, e.rule = Conflicts, "" }),
		"C1 as C3":              rewrite("E5", func(e *Evidence) { e.rule = "C3" }),
		"C3 as C1":              rewrite("E5-hash", func(e *Evidence) { e.rule = "C1" }),
		"C2":                    rewrite("E5", func(e *Evidence) { e.rule = "C2" }),
		"no rule":               rewrite("E5", func(e *Evidence) { e.rule = "" }),
		"C1 as C4":              rewrite("E5", func(e *Evidence) { e.rule = repeated; e.heads[1], e.entries[1] = e.heads[0], e.entries[0] }),
		"another index":         rewrite("E5", func(e *Evidence) { e.entries[0].index++ }),
		"two lines of keys":     bytes.Replace(s["E5"].Bytes(), []byte("\nlog "), []byte("\n"+"log "+s["E5"].keys[0].String()+"\nlog "), 1),
		"a wrapped record":      bytes.Replace(s["E5"].Bytes(), []byte("\nrecord "), []byte("\nrecord\n"), 1),
		"base64 on two lines":   wrapped(s["E5"].Bytes(), "\n"),
		"base64 with CR":        wrapped(s["E5"].Bytes(), "\r"),
		"a longer index":        bytes.Replace(s["E5"].Bytes(), []byte("\nindex "), []byte("\nindex 0"), 1),
		"a signed index":        bytes.Replace(s["E5"].Bytes(), []byte("\nindex "), []byte("\nindex +"), 1),
		"a part more":           bytes.Replace(s["E5"].Bytes(), []byte("\n\nindex "), []byte("\n\nx\n\nindex "), 1),
		"E5 without a record":   rewrite("E5", func(e *Evidence) { e.kind = Equivocation }),
	} {
		if e, err := Parse(resum(file)); !errors.Is(err, ErrNotProven) {
			t.Errorf("%s: %v %v", name, e, err)
		}
	}
}

// wrapped puts something into the base64 of a record, which decoders skip.
func wrapped(file []byte, s string) []byte {
	i := bytes.Index(file, []byte("\nrecord ")) + len("\nrecord ") + 8
	return append(append(bytes.Clone(file[:i]), s...), file[i:]...)
}

// TestRecordModel draws two records of a log with a few of everything: evidence
// comes out exactly where they exclude each other.
func TestRecordModel(t *testing.T) {
	l := newBook()
	rapid.Check(t, func(t *rapid.T) {
		side := func(name string) (Proven, int) {
			branch := rapid.IntRange(0, 1).Draw(t, name+" branch")
			size := rapid.Int64Range(1, bookSize).Draw(t, name+" size")
			n := l.note(branch, size)
			if rapid.Bool().Draw(t, name+" tree head") {
				n = l.treeHead(branch, size)
			}
			return l.proven(branch, n, rapid.Int64Range(0, size-1).Draw(t, name)), branch
		}
		p, _ := side("p")
		q, _ := side("q")
		r, err := record.Parse(p.Record)
		s, err2 := record.Parse(q.Record)
		good := err == nil && err2 == nil && string(r.Path)+"@"+string(r.Version) == string(s.Path)+"@"+string(s.Version)
		differ := good && (r.Zip != s.Zip || r.Mod != s.Mod)
		for _, c := range []struct {
			name string
			make func() (*Evidence, error)
			want bool
		}{
			{"conflict", func() (*Evidence, error) { return Conflict(p, q) }, differ},
			{"repeat", func() (*Evidence, error) { return Repeat(p, q) }, good && !differ && p.Index != q.Index},
			{"malformed", func() (*Evidence, error) { return Malformed(p) }, err != nil},
		} {
			e, err := c.make()
			if (err == nil) != c.want {
				t.Fatalf("%s of %q at %d and %q at %d: %v %v", c.name, p.Record, p.Index, q.Record, q.Index, e, err)
			}
			if err != nil {
				continue
			}
			if again, err := Parse(e.Bytes()); err != nil || again.String() != e.String() {
				t.Fatalf("%v %v", again, err)
			}
		}
	})
}
