// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package replay_test

import (
	"errors"
	"strings"
	"testing"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/replay"
	"example.org/sumlog/witness/audit/report"
)

// TestRecords replays logs with entries that break the rules.
func TestRecords(t *testing.T) {
	good := string(madeRecord(1000))
	line := func(n int) string { return strings.SplitAfter(good, "\n")[n] }
	other := strings.ReplaceAll(good, "h1:", "h1:A")
	other = strings.ReplaceAll(other, "=\n", "\n")
	other = other[:strings.LastIndex(other, "h1:A")] + string(madeRecord(1001))[strings.LastIndex(string(madeRecord(1001)), "h1:"):]
	other = line(0) + strings.SplitAfter(other, "\n")[1]
	misbehaves := func(ids ...string) map[string]report.Result {
		m := make(map[string]report.Result)
		for _, id := range ids {
			m[id] = report.Misbehaviour
		}
		return m
	}
	warns := func(id string) map[string]report.Result { return map[string]report.Result{id: report.Warning} }
	rename := func(from, to string) string { return strings.ReplaceAll(good, from, to) }
	path := strings.Fields(good)[0]
	version := strings.Fields(good)[1]
	for _, tt := range []struct {
		name          string
		texts         []string
		want          map[string]report.Result
		bad, repeated int64
		kinds         []evidence.Kind
	}{
		{"good", []string{good}, nil, 0, 0, nil},
		{"CRLF", []string{strings.ReplaceAll(good, "\n", "\r\n")}, misbehaves("C1"), 1, 0, []evidence.Kind{evidence.Unsound}},
		{"extra line", []string{good + line(0)}, misbehaves("C1"), 1, 0, []evidence.Kind{evidence.Unsound}},
		{"missing line", []string{line(0)}, misbehaves("C1"), 1, 0, []evidence.Kind{evidence.Unsound}},
		{"empty", []string{""}, misbehaves("C1"), 1, 0, []evidence.Kind{evidence.Unsound}},
		{"short hash", []string{rename("h1:", "h1:A")}, misbehaves("C3"), 1, 0, []evidence.Kind{evidence.Unsound}},
		{"two bad", []string{"x\n", "x\n"}, misbehaves("C1"), 2, 0, []evidence.Kind{evidence.Unsound, evidence.Unsound}},
		{"repeat", []string{good, good}, misbehaves("C4"), 0, 1, []evidence.Kind{evidence.Unsound}},
		{"conflict", []string{good, other}, misbehaves("C4"), 0, 1, []evidence.Kind{evidence.Conflicts}},
		{"both", []string{good, other, good}, misbehaves("C4"), 0, 2, []evidence.Kind{evidence.Conflicts, evidence.Unsound}},
		{"all of it", []string{good, "x\n", good, rename("h1:", "h1:A")}, misbehaves("C1", "C3", "C4"), 2, 1,
			[]evidence.Kind{evidence.Unsound, evidence.Unsound, evidence.Unsound}},
		{"bad path", []string{rename(path, "Example.com")}, warns("C2"), 0, 0, nil},
		{"bad version", []string{rename(version, "1.0")}, warns("C2"), 0, 0, nil},
		{"future", []string{rename(path+" "+version, path+" v0.0.0-20990101000000-0123456789ab")}, warns("C6"), 0, 0, nil},
	} {
		for _, before := range []int64{0, 254, 700} {
			l := newLog(t, tlogclient.Tiles, before)
			for _, text := range tt.texts {
				l.Append([]byte(text))
			}
			size := before + int64(len(tt.texts))
			a := newAudit(t, l)
			r := a.mustRun(size)
			a.mustFind(tt.want)
			a.mustKeep(tt.kinds...)
			if !r.Sound || r.Bad != tt.bad || r.Repeated != tt.repeated {
				t.Errorf("%s after %d: %+v", tt.name, before, r)
			}
		}
	}
}

// TestRepeatedLater finds what is only seen beside the records of an earlier
// replay, and does not forget what was found.
func TestRepeatedLater(t *testing.T) {
	for _, first := range []int64{300, 512} {
		l := newLog(t, tlogclient.Tiles, first)
		a := newAudit(t, l)
		store := new(names)
		a.config.Names = store
		a.config.From = a.mustRun(first).Snapshot

		l.Append(madeRecord(7), []byte("x\n"))
		grow(l, first, first+8)
		size := first + 10
		r := a.mustRun(size)
		a.mustFind(map[string]report.Result{"C1": report.Misbehaviour, "C4": report.Misbehaviour})
		a.mustKeep(evidence.Unsound, evidence.Unsound)
		if f := a.check("C4").Findings[0]; *f.Index != first || !strings.Contains(f.Text, "entry 7") || f.Evidence == "" {
			t.Errorf("found %+v", f)
		}
		if r.Bad != 1 || r.Repeated != 1 {
			t.Errorf("%+v", r)
		}

		// These are in the bundle that is read again.
		a.config.From = r.Snapshot
		grow(l, first+8, first+108)
		r = a.mustRun(size + 100)
		a.mustFind(map[string]report.Result{"C1": report.Misbehaviour, "C4": report.Misbehaviour})
		a.mustKeep()
		if r.Bad != 1 || r.Repeated != 1 {
			t.Errorf("%+v", r)
		}

		a.config.From = r.Snapshot
		l.Append(madeRecord(7))
		r = a.mustRun(size + 101)
		a.mustKeep(evidence.Unsound)
		if r.Bad != 1 || r.Repeated != 2 {
			t.Errorf("%+v", r)
		}
	}
}

// TestMany finds more than is reported one by one.
func TestMany(t *testing.T) {
	l := newLog(t, tlogclient.Tiles, 300)
	const more = report.MaxFindings + 7
	for range more {
		l.Append([]byte("x\n"), []byte("y\n"))
	}
	grow(l, 100, 100+more)
	a := newAudit(t, l)
	r := a.mustRun(300 + 3*more)
	a.mustFind(map[string]report.Result{"C1": report.Misbehaviour, "C4": report.Misbehaviour})
	if r.Bad != 2*more || r.Repeated != more || a.check("C1").Counts[report.Misbehaviour] != 2*more || a.check("C4").Counts[report.Misbehaviour] != more {
		t.Errorf("%+v, %+v", r, a.report.Checks())
	}
	if len(a.kept) != 2*report.MaxFindings {
		t.Errorf("%d files of evidence", len(a.kept))
	}

	defer replay.SetMaxHits(10)()
	a = newAudit(t, l)
	if r := a.mustRun(300 + 3*more); r.Repeated >= 10 {
		t.Errorf("%+v", r)
	}
	if got := a.check("C4").Counts[report.Failed]; got != 1 {
		t.Errorf("%+v", a.check("C4"))
	}
}

// TestCollision shows that equal fingerprints are not believed.
func TestCollision(t *testing.T) {
	l := newLog(t, tlogclient.Tiles, 300)
	a := newAudit(t, l)
	store := new(names)
	a.config.Names = store
	first := a.mustRun(300)
	grow(l, 300, 600)
	b := newAudit(t, l)
	b.config.Names = new(names)
	b.mustRun(600)

	for i := range 20 {
		store.all[11+i] = b.config.Names.(*names).all[599-i]
	}
	a.config.From = first.Snapshot
	r := a.mustRun(600)
	a.mustFind(nil)
	if r.Repeated != 0 {
		t.Errorf("%+v", r)
	}
	again := 0
	for _, path := range l.Reads() {
		if path == "tile/entries/000" {
			again++
		}
	}
	if again < 3 { // twice replayed, and once for the collision
		t.Error("the entries were not compared")
	}
}

// TestReadAgain checks that entries that were read again are the same.
func TestReadAgain(t *testing.T) {
	for name, index := range map[string]int64{"000": 7, "003.p/32": 790} {
		l := newLog(t, tlogclient.Tiles, 799)
		l.Append(madeRecord(index))
		times := 0
		l.Fault(func(p string, data []byte) ([]byte, error) {
			if p == "tile/entries/"+name {
				if times++; times > 1 {
					return change(data, index), nil
				}
			}
			return data, nil
		})
		a := newAudit(t, l)
		if r, err := a.run(800); !errors.Is(err, tlogclient.ErrUnproven) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}
