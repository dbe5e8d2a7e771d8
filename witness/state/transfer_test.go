// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

func export(t testing.TB, s *Store) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Export(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// resum gives an export a right last line.
func resum(export string) []byte {
	i := strings.LastIndex(strings.TrimSuffix(export, "\n"), "\n") + 1
	return fmt.Appendf([]byte(export[:i]), "%x\n", sha256.Sum256([]byte(export[:i])))
}

func TestTransfer(t *testing.T) {
	from := mustOpen(t, Config{Dir: mustCreate(t)})
	a, b, c := newTestLog("a.example"), newTestLog("b.example <&> \u2028"), newTestLog("c.example")
	b.QPD, b.Contact, b.Source = 7, "b@b.example", "flag"
	mustAdd(t, from, a, b, c)
	mustStep(t, from, a, fakeTree("x", 5), 100)
	mustStep(t, from, b, fakeTree("x", 0), 200)
	if err := from.SetDisabled(context.Background(), b.Origin, true); err != nil {
		t.Fatal(err)
	}
	file := export(t, from)
	into := mustOpen(t, Config{Dir: mustCreate(t)})
	if logs, heads, err := into.Import(context.Background(), bytes.NewReader(file)); logs != 3 || heads != 2 || err != nil {
		t.Fatalf("%d logs, %d heads, %v", logs, heads, err)
	}
	if got := export(t, into); !bytes.Equal(got, file) {
		t.Errorf("exported again:\n%s", got)
	}
	if logs, heads, err := into.Import(context.Background(), bytes.NewReader(file)); logs != 0 || heads != 0 || err != nil {
		t.Errorf("again: %d logs, %d heads, %v", logs, heads, err)
	}
	// Newer heads and times come; what is enabled here and disabled there is
	// disabled, and not the other way round.
	mustStep(t, from, a, fakeTree("x", 5), 150)
	if err := from.SetDisabled(context.Background(), b.Origin, false); err != nil {
		t.Fatal(err)
	}
	if err := from.SetDisabled(context.Background(), c.Origin, true); err != nil {
		t.Fatal(err)
	}
	if logs, heads, err := into.Import(context.Background(), bytes.NewReader(export(t, from))); logs != 0 || heads != 1 || err != nil {
		t.Errorf("newer: %d logs, %d heads, %v", logs, heads, err)
	}
	for _, want := range []struct {
		l        testLog
		time     int64
		disabled bool
	}{{a, 150, false}, {b, 200, true}, {c, 0, true}} {
		if e, _ := into.Entry(want.l.Origin); e.Time != want.time || e.Disabled != want.disabled {
			t.Errorf("%+v", e)
		}
	}
	if note, err := into.Note(a.Origin); err != nil || !bytes.Equal(note, a.note(fakeTree("x", 5))) {
		t.Errorf("%q %v", note, err)
	}
}

// TestImportOlder: nothing is rolled back, and nothing of a file comes in if a
// part of it may not.
func TestImportOlder(t *testing.T) {
	a, b := newTestLog("b.example"), newTestLog("a.example") // b is first in a file
	file := func(tree tlog.Tree, time int64, keys *testLog) []byte {
		s := mustOpen(t, Config{Dir: mustCreate(t)})
		l := a
		if keys != nil {
			l = *keys
			l.Origin = a.Origin
		}
		mustAdd(t, s, l, b)
		if time != 0 {
			mustStep(t, s, l, tree, time)
		}
		mustStep(t, s, b, fakeTree("x", 100), 1)
		return export(t, s)
	}
	other := newTestLog("other keys")
	s := mustOpen(t, Config{Dir: mustCreate(t)})
	mustAdd(t, s, a, b)
	mustStep(t, s, a, fakeTree("x", 5), 100)
	mustStep(t, s, b, fakeTree("x", 50), 1)
	before := export(t, s)
	for name, file := range map[string][]byte{
		"smaller":      file(fakeTree("x", 4), 200, nil),
		"another root": file(fakeTree("y", 5), 200, nil),
		"no head":      file(tlog.Tree{}, 0, nil),
		"another key":  file(fakeTree("x", 6), 200, &other),
	} {
		logs, heads, err := s.Import(context.Background(), bytes.NewReader(file))
		if logs != 0 || heads != 0 || !errors.Is(err, ErrUnsafe) || errors.Is(err, ErrKeys) != (name == "another key") {
			t.Errorf("%s: %d %d %v", name, logs, heads, err)
		}
		if got := export(t, s); !bytes.Equal(got, before) {
			t.Errorf("%s: left\n%s", name, got)
		}
	}
	// The same tree with an older time is not older.
	if _, heads, err := s.Import(context.Background(), bytes.NewReader(file(fakeTree("x", 5), 90, nil))); heads != 1 || err != nil {
		t.Errorf("%d heads, %v", heads, err)
	}
	if e, _ := s.Entry(a.Origin); e.Time != 100 {
		t.Errorf("%+v", e)
	}
	// A larger one keeps the later time.
	if _, heads, err := s.Import(context.Background(), bytes.NewReader(file(fakeTree("x", 8), 90, nil))); heads != 1 || err != nil {
		t.Errorf("%d heads, %v", heads, err)
	}
	if e, _ := s.Entry(a.Origin); e.Time != 100 || e.Tree.N != 8 {
		t.Errorf("%+v", e)
	}
}

// sample returns an export of three logs.
func sample(t testing.TB) string {
	s := mustOpen(t, Config{Dir: mustCreate(t)})
	a, b, c := newTestLog("a.example"), newTestLog("b.example"), newTestLog("c.example")
	b.QPD, b.Contact, b.Source, b.Disabled = 7, "b@b.example", "flag", true
	mustAdd(t, s, a, b, c)
	mustStep(t, s, a, fakeTree("x", 5), 100)
	mustStep(t, s, c, fakeTree("x", 6), 100)
	return string(export(t, s))
}

func TestImportBad(t *testing.T) {
	good := sample(t)
	s := mustOpen(t, Config{Dir: mustCreate(t)})
	refused := func(name string, file []byte) {
		t.Helper()
		if _, _, err := s.Import(context.Background(), bytes.NewReader(file)); err == nil {
			t.Errorf("%s was imported", name)
		}
		if n := len(s.Logs()); n != 0 {
			t.Fatalf("%s left %d logs", name, n)
		}
	}
	for i := range good {
		refused(fmt.Sprintf("cut at %d", i), []byte(good[:i]))
		bad := []byte(good)
		bad[i] ^= 1
		refused(fmt.Sprintf("with another byte at %d", i), bad)
	}
	lines := strings.SplitAfter(good, "\n")
	edit := func(old, new string) []byte {
		if !strings.Contains(good, old) {
			t.Fatalf("no %s", old)
		}
		return resum(strings.Replace(good, old, new, 1))
	}
	refused("more at the end", []byte(good+"x\n"))
	refused("twice", []byte(good+good))
	refused("out of order", resum(lines[0]+lines[2]+lines[1]+lines[3]+lines[4]))
	refused("a log twice", resum(lines[0]+lines[1]+lines[1]+lines[4]))
	refused("an unknown field", edit(`{"origin"`, `{"x":1,"origin"`))
	refused("a space", edit(`{"origin"`, `{ "origin"`))
	refused("no key", edit(`"keys":["`, `"keys":[],"x":["`))
	refused("a negative rate", edit(`"qpd":7`, `"qpd":-7`))
	refused("a time and no note", edit(`"qpd":7`, `"qpd":7,"time":5`))
	refused("a note and no time", edit(`,"time":100`, ``))
	refused("a negative time", edit(`,"time":100`, `,"time":-100`))
	refused("another size in the note", edit(`\n5\n`, `\n9\n`))
	refused("another origin", edit(`{"origin":"a.example"`, `{"origin":"a.exampld"`))
	refused("a long line", resum(lines[0]+strings.Replace(lines[1], `"a.example"`, `"`+strings.Repeat("a", maxExportLine)+`"`, 1)+lines[4]))
	if _, _, err := s.Import(context.Background(), strings.NewReader(good)); err != nil {
		t.Error(err)
	}
}

func FuzzImport(f *testing.F) {
	good := sample(f)
	f.Add(good)
	f.Add(exportHeader)
	f.Fuzz(func(t *testing.T, file string) {
		for _, file := range [][]byte{[]byte(file), resum(file)} {
			all, err := readExport(bytes.NewReader(file))
			if err != nil {
				continue
			}
			st := new(stored)
			for _, b := range all {
				st.rows = append(st.rows, &row{Entry: b.Entry})
				st.notes = append(st.notes, b.note)
				if err := b.Check(); err != nil {
					t.Error(err)
				}
			}
			var again bytes.Buffer
			if err := writeExport(&again, st); err != nil || !bytes.Equal(again.Bytes(), file) {
				t.Errorf("read %q, wrote %q: %v", file, again.Bytes(), err)
			}
		}
	})
}

func FuzzGuard(f *testing.F) {
	m := mark{"ID", 7, sha256.Sum256(nil)}
	f.Add(m.slot(), (mark{"ID", 8, digest{}}).slot())
	f.Add([]byte{}, m.slot())
	f.Fuzz(func(t *testing.T, a, b []byte) {
		file := make([]byte, 2*slotEvery)
		copy(file, a)
		copy(file[slotEvery:], b)
		m, err := parseGuard(file)
		if err != nil {
			return
		}
		if !bytes.Equal(m.slot(), file[:slotSize]) && !bytes.Equal(m.slot(), file[slotEvery:][:slotSize]) {
			t.Errorf("%q %q read as %v", a, b, m)
		}
	})
}
