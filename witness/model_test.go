// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/witness/state"
)

// A given is a cosignature that was given, and of what.
type given struct {
	size int64
	h    history
	time int64
}

// A ledger has all cosignatures that were given for one log.
type ledger struct {
	*testLog
	mu  sync.Mutex
	all []given
}

func (l *ledger) enter(g given) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, g)
}

// newest returns what a client knows of the log.
func (l *ledger) newest() (g given) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.all {
		if x.size >= g.size {
			g = x
		}
	}
	return g
}

// check computes from the entries, and without any proof, that all trees that
// were cosigned are beginnings of one: the largest. A larger tree has no smaller
// time.
func (l *ledger) check() error {
	largest := l.newest()
	slices.SortStableFunc(l.all, func(a, b given) int { return cmp.Compare(a.h.String(), b.h.String()) }) // treeOf is fast then
	last := make(map[int64]int64)                                                                         // times by size
	for _, g := range l.all {
		if got, want := l.treeOf(g.h, g.size), l.treeOf(largest.h, g.size); got != want {
			return fmt.Errorf("%s: cosigned size %d of history %v and size %d of %v", l.origin, g.size, g.h, largest.size, largest.h)
		}
		last[g.size] = max(last[g.size], g.time)
	}
	for size, t := range last {
		for other, u := range last {
			if other > size && u < t {
				return fmt.Errorf("%s: size %d is cosigned at %d, and size %d at %d", l.origin, size, t, other, u)
			}
		}
	}
	return nil
}

// A move is what a client does.
type move struct {
	log   int
	kind  int
	steps int64
	label string
}

const (
	grow = iota
	forkAhead
	forkBehind
	stale
	refresh
	sameSize
	kinds
)

// request makes a move into a request, given what is known of the log now.
func (m move) request(l *ledger) (checkpoint.AddRequest, given) {
	old := l.newest()
	g := given{size: old.size + m.steps, h: old.h}
	forked := func(at int64) history { return append(old.h[:len(old.h):len(old.h)], fork{at, m.label}) }
	switch m.kind {
	case forkAhead: // excludes what others make of the same tree
		g.h = forked(old.size)
	case forkBehind:
		g.h = branch(max(1, old.size-m.steps))
	case stale:
		old.size = max(0, old.size-m.steps)
	case refresh:
		g.size = old.size
	case sameSize:
		g.size, g.h = old.size, branch(max(1, old.size-m.steps))
	}
	return l.requestOf(g.h, old.size, g.size), g
}

// play has a client make the move.
func (m move) play(t *rapid.T, w *Witness, l *ledger) {
	req, g := m.request(l)
	lines, err := w.Add(t.Context(), req.Bytes())
	if err != nil {
		if status := statusOf(err); status != http.StatusConflict && status != http.StatusUnprocessableEntity {
			t.Errorf("%+v: %v", m, err)
		}
		return
	}
	sig, err := checkpoint.ParseSignature(strings.TrimSuffix(string(lines), "\n"))
	if err != nil {
		t.Errorf("%q: %v", lines, err)
	}
	if text, _, _ := strings.Cut(string(req.Note), "\n\n"); m.steps == 1 && !w.keys[0].Verify(text+"\n", sig.Bytes) {
		t.Errorf("%+v: bad cosignature", m)
	}
	g.time, _ = sig.Time()
	l.enter(g)
}

// TestModel lets up to 32 clients submit at once what grows, forks, is stale or known
// already, to up to 100 logs, again and again, with clocks that jump and restarts
// in between. All cosignatures that were ever given for a log are consistent.
func TestModel(t *testing.T) {
	rounds, want := 0, 100
	switch {
	case os.Getenv("SUMLOG_LONG") != "" || thorough() && !withRace():
		want = 10_000
	case thorough():
		want = 2_000 // minutes would go by
	}
	for i := 0; rounds < want; i++ {
		dir := memoryDir(t)
		if i%8 == 7 {
			dir = t.TempDir()
		}
		r := newRigIn(t, dir)
		check := 0
		rapid.Check(t, func(t *rapid.T) {
			check++
			rounds += checkModel(t, r, fmt.Sprintf("%d.example", check))
		})
	}
	t.Logf("%d rounds", rounds)
}

// checkModel plays a few rounds with new logs.
func checkModel(t *rapid.T, r *rig, name string) (rounds int) {
	logs := make([]*ledger, rapid.SampledFrom([]int{1, 3, 10, 100}).Draw(t, "logs"))
	var configs []state.Log
	for i := range logs {
		logs[i] = &ledger{testLog: newTestLog(fmt.Sprintf("%d.%s", i, name))}
		configs = append(configs, logs[i].config())
	}
	if _, errs := r.w.AddLogs(configs); errs != nil {
		t.Fatal(errs)
	}
	moves := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) move {
		return move{
			log:   rapid.IntRange(0, len(logs)-1).Draw(t, "log"),
			kind:  rapid.IntRange(0, kinds-1).Draw(t, "kind"),
			steps: rapid.Int64Range(1, 9).Draw(t, "steps"),
			label: rapid.StringMatching("[a-d]").Draw(t, "label"),
		}
	}), 2, 32)
	rounds = rapid.IntRange(1, 4).Draw(t, "rounds")
	for range rounds {
		var wg sync.WaitGroup
		for _, m := range moves.Draw(t, "moves") {
			wg.Go(func() { m.play(t, r.w, logs[m.log]) })
		}
		wg.Wait()
		r.clock.Add(rapid.Int64Range(-2, 5).Draw(t, "time"))
		if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
			r.restart()
		}
	}
	for _, l := range logs {
		if err := l.check(); err != nil {
			t.Fatal(err)
		}
		want := tlog.Tree{}
		if len(l.all) > 0 {
			want = l.treeOf(l.newest().h, l.newest().size)
		}
		if head := r.head(l.testLog); head != want {
			t.Fatalf("%s: at %v, not %v", l.origin, head, want)
		}
	}
	return rounds
}
