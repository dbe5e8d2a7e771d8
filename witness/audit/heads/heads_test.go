// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package heads

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"
	"example.org/sumlog/witness/audit/report"
)

// now is when all tests take place.
var now = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

func ago(d time.Duration) int64 { return now.Add(-d).Unix() }

// A rig is a set of heads of a log, and what it reports.
type rig struct {
	t        *testing.T
	log      *tlogtest.Log
	report   report.Report
	set      *Set
	evidence []*evidence.Evidence
}

func open(t *testing.T, l *tlogtest.Log) *tlogclient.Log {
	t.Helper()
	c, err := tlogclient.New(tlogclient.Config{Source: l, Layout: l.Layout, Keys: []*checkpoint.Key{l.Key}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newLog(t *testing.T, n int64) *tlogtest.Log {
	l := tlogtest.New(t, "log.example/x", tlogclient.Tiles)
	l.Grow("main", n)
	return l
}

func newRig(t *testing.T, l *tlogtest.Log, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, log: l}
	c := Config{
		Key: l.Key, Log: open(t, l), Report: &r.report, Now: func() time.Time { return now },
		Keep: func(e *evidence.Evidence) (string, error) {
			if _, err := evidence.Parse(e.Bytes()); err != nil {
				t.Errorf("evidence: %v\n%s", err, e.Bytes())
			}
			r.evidence = append(r.evidence, e)
			return fmt.Sprintf("file%d", len(r.evidence)), nil
		},
	}
	if change != nil {
		change(&c)
	}
	var err error
	if r.set, err = New(c); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) add(place Place, source string, note []byte) { r.set.Add(place, source, note, nil) }

func (r *rig) check(roots map[int64]tlog.Hash) {
	r.t.Helper()
	if err := r.set.Check(r.t.Context(), roots); err != nil {
		r.t.Error(err)
	}
}

// want checks the results of all checks, those not named being ok or skipped, and
// the evidence.
func (r *rig) want(results map[string]report.Result, kinds ...evidence.Kind) {
	r.t.Helper()
	for _, d := range r.report.Checks() {
		want, ok := results[d.ID]
		if !ok && (d.Result == report.OK || d.Result == report.Skipped) {
			continue
		}
		if d.Result != want {
			r.t.Errorf("%s: %s, want %s: %+v", d.ID, d.Result, want, d.Findings)
		}
		for _, f := range d.Findings {
			if (f.Result == report.Misbehaviour) != (f.Evidence != "") {
				r.t.Errorf("%s: %+v", d.ID, f)
			}
		}
	}
	var got []evidence.Kind
	for _, e := range r.evidence {
		got = append(got, e.Kind())
	}
	if !slices.Equal(got, kinds) {
		r.t.Errorf("evidence %v, want %v", got, kinds)
	}
}

// data returns the state of a check.
func (r *rig) data(id string) report.Data { return r.report.Check(id, "", "").Data() }

// database returns the log as a checksum database.
func database(l *tlogtest.Log, n int64) *tlogtest.Log {
	d := l.Fork(n)
	d.Layout, d.Origin = tlogclient.Database, tlogclient.DatabaseOrigin
	return d
}

func TestSound(t *testing.T) {
	l := newLog(t, 700)
	r := newRig(t, l, witnessed(t))
	r.add(Known, "state", l.Head(10).Note)
	for n := int64(0); n <= 700; n += 100 {
		r.add(Archived, "archive", cosign(t, l.Sign(l.Tree(n)), ago(time.Hour)+n, 1, 3))
		r.add(Archived, "archive", database(l, n).Head(n).Note)
	}
	r.add(Elsewhere, "proxy", database(l, 650).Head(650).Note)
	r.add(Shown, "/latest", database(l, 700).Head(700).Note)
	r.add(Shown, "/checkpoint", cosign(t, l.Sign(l.Tree(700)), ago(time.Minute), 1, 2))
	r.add(Shown, "/checkpoint", cosign(t, l.Sign(l.Tree(700)), ago(time.Minute), 1, 2))
	if h, ok := r.set.Newest(); !ok || h.Origin != l.Origin || h.Size != 700 {
		t.Errorf("newest: %+v", h)
	}
	if got, want := r.set.Sizes(), []int64{10, 100, 200, 300, 400, 500, 600, 650, 700}; !slices.Equal(got, want) {
		t.Errorf("sizes %v, want %v", got, want)
	}
	r.check(nil)
	r.want(nil)
	for id, n := range map[string]int64{"A1": 21, "A2": 10, "A3": 1, "A4": 9, "A5": 0, "A6": 1, "A7": 20, "W1": 9, "W2": 18, "W3": 18} {
		if d := r.data(id); d.Checked != n && id != "A5" || (d.Result == report.Skipped) != (n == 0) && id != "A5" {
			t.Errorf("%s: made on %d, want %d; %+v", id, d.Checked, n, d)
		}
	}
}

// TestAlone says what is not checked where there is only one note.
func TestAlone(t *testing.T) {
	l := newLog(t, 3)
	r := newRig(t, l, nil)
	r.add(Shown, "/checkpoint", cosign(t, l.Head(3).Note, 77, 5))
	r.check(nil)
	r.want(nil)
	for _, id := range []string{"A3", "A4", "A5", "A6", "W1", "W2", "W3"} {
		if d := r.data(id); d.Result != report.Skipped || d.Skipped == "" {
			t.Errorf("%s: %+v", id, d)
		}
	}
	if d := r.data("A7"); !strings.Contains(d.Skipped, "w5.example+") {
		t.Errorf("A7: %+v", d)
	}
	r = newRig(t, l, nil)
	r.check(nil)
	if _, ok := r.set.Newest(); ok || r.set.Sizes() != nil {
		t.Error("a head out of nothing")
	}
}

// TestForks has the log sign two trees, in all relations of two heads.
func TestForks(t *testing.T) {
	const n = 700
	for _, m := range []int64{1, 2, 3, 255, 256, 257, 512, 699} {
		l := newLog(t, n)
		fork := l.Fork(m - 1)
		fork.Grow("other", n+50)
		is := func(id string) map[string]report.Result { return map[string]report.Result{id: report.Misbehaviour} }
		for _, c := range []struct {
			name  string
			place Place
			log   *tlogtest.Log // that made the note
			size  int64
			check string
			kind  evidence.Kind
		}{
			{"known", Known, fork, m, "A2", evidence.Fork},
			{"archived", Archived, fork, m, "A2", evidence.Fork},
			{"elsewhere", Elsewhere, fork, m, "A5", evidence.Fork},
			{"same size", Elsewhere, fork, n, "A5", evidence.Equivocation},
			{"both shown", Shown, fork, n, "A2", evidence.Equivocation},
			{"tree head", Shown, database(fork, m), m, "A4", evidence.Discord},
			{"tree head of the same size", Shown, database(fork, n), n, "A4", evidence.Discord},
			{"larger, with its tiles", Elsewhere, fork, n + 50, "A5", evidence.Fork},
			{"larger tree head, with its tiles", Elsewhere, database(fork, n+50), n + 50, "A5", evidence.Discord},
		} {
			t.Run(fmt.Sprintf("%s/%d", c.name, m), func(t *testing.T) {
				r := newRig(t, l, nil)
				r.add(Shown, "/checkpoint", l.Head(n).Note)
				r.set.Add(c.place, "there", c.log.Head(c.size).Note, open(t, c.log))
				r.check(nil)
				r.want(is(c.check), c.kind)
				if r.evidence != nil && r.evidence[0].Key().String() != l.Key.String() {
					t.Errorf("accused: %v", r.evidence[0].Key())
				}
			})
		}
	}
}

// TestLike has both notes of a log at hand, and accuses with the one that is of the
// same kind as what somebody else was shown.
func TestLike(t *testing.T) {
	l := newLog(t, 300)
	fork := l.Fork(100)
	fork.Grow("other", 300)
	for kind, note := range map[evidence.Kind][]byte{evidence.Fork: fork.Head(200).Note, evidence.Equivocation: database(fork, 300).Head(300).Note} {
		r := newRig(t, l, nil)
		r.add(Shown, "/checkpoint", l.Head(300).Note)
		r.add(Shown, "/latest", database(l, 300).Head(300).Note)
		r.add(Elsewhere, "go command", note)
		r.check(nil)
		r.want(map[string]report.Result{"A5": report.Misbehaviour}, kind)
	}
}

// TestVantage has only the log that the newest head came with hold its tiles.
func TestVantage(t *testing.T) {
	l := newLog(t, 300)
	behind := l.Fork(200)
	r := newRig(t, behind, nil)
	r.set.Add(Shown, "https://one.example", behind.Head(200).Note, open(t, behind))
	r.set.Add(Shown, "https://two.example", l.Head(300).Note, open(t, l))
	for n := int64(1); n <= 2*maxTries; n++ {
		r.add(Archived, "archive", l.Head(n).Note)
	}
	r.check(nil)
	r.want(nil)
	if d := r.data("A2"); d.Checked != 2+2*maxTries {
		t.Errorf("%+v", d)
	}
}

// TestTiles has a tree shown by several, of whom one has its tiles.
func TestTiles(t *testing.T) {
	l := newLog(t, 300)
	fork := l.Fork(100)
	fork.Grow("other", 400)
	last := [2]map[string]report.Result{
		{"A3": report.Stale, "A5": report.Stale},
		{"A2": report.Misbehaviour, "A5": report.Misbehaviour},
	}
	for tiles, want := range last {
		for order := range 3 {
			r := newRig(t, l, nil)
			r.add(Shown, "/checkpoint", l.Head(300).Note)
			for i := range 3 {
				var log *tlogclient.Log
				if tiles == 1 && i == order {
					log = open(t, fork)
				}
				place := []Place{Elsewhere, Known, Elsewhere}[i]
				r.set.Add(place, fmt.Sprint(i), fork.Head(400).Note, log)
			}
			r.check(nil)
			if tiles == 0 {
				r.want(want)
			} else {
				r.want(want, evidence.Fork, evidence.Fork)
			}
		}
	}
}

// TestUnproven shows that nobody is accused without a proof.
func TestUnproven(t *testing.T) {
	l := newLog(t, 300)
	fork := l.Fork(100)
	fork.Grow("other", 400)
	gone := errors.New("gone")
	broken := func(string, []byte) ([]byte, error) { return nil, gone }
	wrong := func(_ string, data []byte) ([]byte, error) { data[0] ^= 1; return data, nil }
	for name, fault := range map[string]func(string, []byte) ([]byte, error){"broken": broken, "wrong": wrong} {
		r := newRig(t, l, nil)
		r.add(Shown, "/checkpoint", l.Head(300).Note)
		r.add(Known, "state", fork.Head(200).Note)
		r.add(Archived, "archive", l.Head(50).Note)
		l.Fault(fault)
		r.check(nil)
		l.Fault(nil)
		t.Log(name)
		r.want(map[string]report.Result{"A2": report.Failed})
	}
	for place, id := range map[Place]string{Known: "A3", Elsewhere: "A5"} {
		r := newRig(t, l, nil)
		r.add(Shown, "/checkpoint", l.Head(300).Note)
		r.add(place, "there", fork.Head(400).Note) // and no tiles
		r.check(nil)
		r.want(map[string]report.Result{id: report.Stale})
	}
}

// TestSmaller has the log show less than before, of the same tree.
func TestSmaller(t *testing.T) {
	l := newLog(t, 300)
	before := l.Head(300).Note
	l.Show(200)
	for place, id := range map[Place]string{Known: "A3", Elsewhere: "A5", Archived: ""} {
		for _, tiles := range []bool{false, true} {
			r := newRig(t, l, nil)
			r.add(Shown, "/checkpoint", l.Head(200).Note)
			full := l.Fork(300)
			if tiles {
				r.set.Add(place, "there", before, open(t, full))
			} else {
				r.add(place, "there", before)
			}
			r.check(nil)
			if id == "" {
				r.want(nil)
				continue
			}
			r.want(map[string]report.Result{id: report.Stale})
			if text := r.data(id).Findings[0].Text; strings.Contains(text, "; it holds this one") != tiles {
				t.Error(text)
			}
		}
	}
	r := newRig(t, l, nil)
	r.add(Shown, "/checkpoint", l.Head(200).Note)
	r.add(Shown, "/checkpoint", l.Head(199).Note)
	r.check(nil)
	r.want(map[string]report.Result{"A3": report.Stale})
}

// TestRoots uses the roots of a replay, where they are of the same tree.
func TestRoots(t *testing.T) {
	l := newLog(t, 300)
	r := newRig(t, l, nil)
	r.add(Shown, "/checkpoint", l.Head(300).Note)
	r.add(Known, "state", l.Head(200).Note)
	l.Reads()
	r.check(map[int64]tlog.Hash{200: l.Tree(200).Hash, 300: l.Tree(300).Hash})
	r.want(nil)
	if reads := l.Reads(); len(reads) > 0 {
		t.Errorf("read %v", reads)
	}
	// A replay that went wrong accuses nobody.
	for _, roots := range []map[int64]tlog.Hash{{200: {1}, 300: l.Tree(300).Hash}, {200: {1}, 300: {1}}, {200: {1}}} {
		r := newRig(t, l, nil)
		r.add(Shown, "/checkpoint", l.Head(300).Note)
		r.add(Known, "state", l.Head(200).Note)
		r.check(roots)
		r.want(nil)
	}
	// And acquits nobody.
	fork := l.Fork(100)
	fork.Grow("other", 300)
	r = newRig(t, l, nil)
	r.add(Shown, "/checkpoint", l.Head(300).Note)
	r.add(Known, "state", fork.Head(200).Note)
	r.check(map[int64]tlog.Hash{200: fork.Tree(200).Hash, 300: fork.Tree(300).Hash})
	r.want(map[string]report.Result{"A2": report.Misbehaviour}, evidence.Fork)
}

// TestNotes adds what is no head.
func TestNotes(t *testing.T) {
	l := newLog(t, 3)
	stranger := tlogtest.New(t, "log.example/x", tlogclient.Tiles)
	other := l.Fork(3)
	other.Origin = "log.example/y"
	for name, note := range map[string][]byte{
		"nothing":      nil,
		"garbage":      []byte("<html>"),
		"other key":    stranger.Head(0).Note,
		"other origin": other.Sign(l.Tree(3)),
		"broken":       []byte(strings.Replace(string(l.Head(3).Note), "\n3\n", "\n4\n", 1)),
		"too large":    l.Sign(tlog.Tree{N: tlogclient.MaxSize + 1}),
	} {
		r := newRig(t, l, nil)
		if _, ok := r.set.Add(Shown, "/checkpoint", note, nil); ok {
			t.Errorf("%s: is a head", name)
		}
		r.check(nil)
		r.want(map[string]report.Result{"A1": report.Failed})
		if d := r.data("A1"); len(d.Findings) != 1 || !strings.HasPrefix(d.Findings[0].Text, "/checkpoint: ") {
			t.Errorf("%s: %+v", name, d)
		}
	}
	// Another key under the same name.
	r := newRig(t, l, nil)
	_, lines, _ := strings.Cut(string(stranger.Sign(l.Tree(3))), "\n\n")
	r.add(Shown, "/checkpoint", append(l.Head(3).Note, lines...))
	r.check(nil)
	r.want(map[string]report.Result{"A7": report.Warning})
}

func FuzzAdd(f *testing.F) {
	t := &testing.T{}
	l := tlogtest.New(f, "log.example/x", tlogclient.Tiles)
	l.Grow("main", 3)
	f.Add(l.Head(3).Note)
	f.Add(cosign(t, l.Head(3).Note, 5, 1, 2))
	f.Add([]byte("log.example/x\n3\n\n"))
	client, err := tlogclient.New(tlogclient.Config{Source: l, Layout: l.Layout, Keys: []*checkpoint.Key{l.Key}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, note []byte) {
		c := Config{Key: l.Key, Log: client, Report: new(report.Report)}
		witnessed(t)(&c)
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, place := range []Place{Shown, Known, Archived, Elsewhere} {
			if h, ok := s.Add(place, "fuzz", note, nil); ok && h.Tree() != l.Tree(h.Size) {
				t.Errorf("%+v is a head", h)
			}
		}
		if err := s.Check(t.Context(), nil); err != nil {
			t.Error(err)
		}
		if r := c.Report.Result(); r == report.Misbehaviour {
			t.Errorf("somebody is accused: %+v", c.Report.Checks())
		}
	})
}
