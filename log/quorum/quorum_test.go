// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package quorum

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/policy"
)

// values returns the metrics by name and label values.
func values(t testing.TB, q *Quorum) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(q.Collector()); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			name := strings.TrimPrefix(f.GetName(), "sumlog_witness_")
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetValue())
			}
			slices.Reverse(labels) // witness, then outcome
			key := name + " " + strings.Join(labels, " ")
			out[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

func TestCosign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, ws := start(t, allOfThree)
		l := newLog(100)
		begin := time.Now().Unix()
		for i, size := range []int64{0, 1, 7, 7, 64, 100} {
			note, err := q.Cosign(t.Context(), l.request(size), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := cosigned(t, ws, note, l.checkpoint(size)); got != "a b c" {
				t.Errorf("size %d: cosigned by %q", size, got)
			}
			old := []int64{0, 0, 1, 7, 7, 64}[i]
			for _, w := range ws {
				if got := w.asked(); !slices.Equal(got, []int64{old}) {
					t.Errorf("size %d: %s was asked with the sizes %d, want %d once", size, w.name, got, old)
				}
			}
			met, oldest := q.Met(note)
			if !met || oldest.Unix() != time.Now().Unix() {
				t.Errorf("Met = %v, %v", met, oldest)
			}
		}
		if time.Now().Unix() != begin {
			t.Error("it waited for something")
		}
		for key, want := range map[string]float64{
			"requests_total a ok": 6, "requests_total b conflict": 0, "size c": 100, "up a": 1,
			"request_seconds b": 6, "last_success_time_seconds c": float64(begin),
		} {
			if got, ok := values(t, q)[key]; !ok || got != want {
				t.Errorf("%s = %v, %v, want %v", key, got, ok, want)
			}
		}
	})
}

func TestConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		q, ws := start(t, allOfThree)
		ws[0].holds(l, 33)
		ws[1].holds(l, 50)
		round := func(size int64, want ...[]int64) {
			t.Helper()
			note, err := q.Cosign(t.Context(), l.request(size), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := cosigned(t, ws, note, l.checkpoint(size)); got != "a b c" {
				t.Errorf("cosigned by %q", got)
			}
			for i, w := range ws {
				if got := w.asked(); !slices.Equal(got, want[i]) {
					t.Errorf("%s was asked with %d, want %d", w.name, got, want[i])
				}
			}
		}
		round(50, []int64{0, 33}, []int64{0, 50}, []int64{0})
		round(51, []int64{50}, []int64{50}, []int64{50})
		// A witness that was rolled back, and one that somebody else feeds.
		ws[0].holds(l, 5)
		ws[2].holds(l, 60)
		round(60, []int64{51, 5}, []int64{51}, []int64{51, 60})
		v := values(t, q)
		if v["requests_total a conflict"] != 2 || v["requests_total a ok"] != 3 || v["size a"] != 60 {
			t.Errorf("%v", v)
		}
	})
}

// A proof is made once for all that want it. One that cannot be made is no
// witness's fault.
func TestProve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		q, ws := start(t, allOfThree)
		for _, w := range ws {
			w.holds(l, 9)
		}
		r := l.request(50)
		prove, n := r.Prove, 0
		r.Prove = func(old int64) ([]tlog.Hash, error) {
			n++
			return nil, errors.New("no tiles")
		}
		_, err := q.Cosign(t.Context(), r, nil)
		if !errors.Is(err, ErrQuorum) || !strings.Contains(err.Error(), ": proof from size 9: no tiles") || n != 1 {
			t.Errorf("%d proofs, %v", n, err)
		}
		if _, rest := q.members[0].leave(); !rest.IsZero() {
			t.Error("a witness is left alone for what is not its fault")
		}
		synctest.Wait()
		var made atomic.Int32
		r.Prove = func(old int64) ([]tlog.Hash, error) {
			made.Add(1)
			return prove(old)
		}
		if _, err := q.Cosign(t.Context(), r, nil); err != nil || made.Load() != 1 {
			t.Errorf("%d proofs, %v", made.Load(), err)
		}
	})
}

func TestCosignRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, fork := newLog(100), newLog(10)
		q, ws := start(t, allOfThree)
		foreign := l.checkpoint(50)
		foreign.Origin = "other.example"
		unsigned := l.sign(l.checkpoint(50))
		unsigned.Signatures[0].Bytes[5] ^= 1
		for name, r := range map[string]Request{
			"no note":         {Note: []byte("x")},
			"another origin":  {Note: l.sign(foreign).Bytes()},
			"a bad signature": {Note: unsigned.Bytes()},
		} {
			if _, err := q.Cosign(t.Context(), r, nil); err == nil || errors.Is(err, ErrQuorum) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := q.Cosign(t.Context(), l.request(50), nil); err != nil {
			t.Fatal(err)
		}
		ws[0].asked()
		for name, r := range map[string]Request{
			"a smaller one":            l.request(49),
			"another of the same size": fork.request(50),
		} {
			_, err := q.Cosign(t.Context(), r, nil)
			synctest.Wait()
			if err == nil || errors.Is(err, ErrQuorum) || len(ws[0].asked()) > 0 {
				t.Errorf("%s: %v", name, err)
			}
		}
		// Other signatures are not sent on, and not returned: add checks it.
		n := must(checkpoint.ParseNote(l.request(50).Note))
		n.Signatures = append([]checkpoint.Signature{must(newWitness("x", false).cosigner.Cosign(l.checkpoint(50), 9))}, n.Signatures...)
		note, err := q.Cosign(t.Context(), Request{Note: n.Bytes()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := cosigned(t, ws, note, l.checkpoint(50)); got != "a b c" {
			t.Errorf("cosigned by %q", got)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		q, ws := start(t, oneOfThree)
		ws[0].set(hang)
		ws[1].set(hang)
		begin := time.Now()
		if _, err := q.Cosign(t.Context(), l.request(50), func([]byte) { t.Error("late was called") }); err != nil {
			t.Fatal(err)
		}
		q.Close()
		if d := time.Since(begin); d > 0 {
			t.Errorf("Close took %v", d)
		}
		if _, err := q.Cosign(t.Context(), l.request(50), nil); !errors.Is(err, errClosed) {
			t.Errorf("Cosign: %v", err)
		}
		if _, err := q.Seen(t.Context(), nil); !errors.Is(err, errClosed) {
			t.Errorf("Seen: %v", err)
		}

		// One that waits is told.
		q, ws = start(t, allOfThree)
		ws[0].set(hang)
		done := make(chan error)
		go func() {
			_, err := q.Cosign(context.Background(), l.request(50), nil)
			done <- err
		}()
		synctest.Wait()
		q.Close()
		if err := <-done; !errors.Is(err, errClosed) {
			t.Errorf("Cosign: %v", err)
		}
	})
}

func TestMet(t *testing.T) {
	l := newLog(100)
	q, ws := start(t, twoOfThree)
	cp := l.checkpoint(50)
	note := func(times ...int64) []byte {
		n := l.sign(cp)
		for i, at := range times {
			if at > 0 {
				n.Signatures = append(n.Signatures, must(ws[i].cosigner.Cosign(cp, at)))
			}
		}
		return n.Bytes()
	}
	for _, tt := range []struct {
		note   []byte
		met    bool
		oldest int64
	}{
		{note(), false, 0},
		{note(7), false, 0},
		{note(7, 9), true, 7},
		{note(9, 0, 7), true, 7},
		{note(3, 9, 7), true, 7},
		{note(9, 9, 1), true, 9},
		{[]byte("x"), false, 0},
	} {
		met, oldest := q.Met(tt.note)
		if met != tt.met || met && oldest.Unix() != tt.oldest || !met && !oldest.IsZero() {
			t.Errorf("%.200q: Met = %v, %v, want %v, %d", tt.note, met, oldest, tt.met, tt.oldest)
		}
	}
	forged := l.sign(cp)
	forged.Signatures[0].Bytes[0] ^= 1
	forged.Signatures = append(forged.Signatures, must(checkpoint.ParseNote(note(7, 9))).Signatures[1:]...)
	if met, _ := q.Met(forged.Bytes()); met {
		t.Error("a note that the log did not sign is good")
	}
}

func TestNewRefuses(t *testing.T) {
	l := newLog(100)
	a, b := newWitness("a", false).cosigner.Key(), newWitness("b", false).cosigner.Key()
	many := func(n int, pq bool) string {
		var s strings.Builder
		for i := range n {
			fmt.Fprintf(&s, "witness w%d %v https://w.example/%d\n", i, newWitness(fmt.Sprint("w", i), pq).cosigner.Key(), i)
		}
		return s.String() + "quorum none\n"
	}
	for want, lines := range map[string]string{
		"":                            fmt.Sprintf("witness a %v https://w.example/\nwitness b %v http://127.0.0.1:1/x\nquorum none\n", a, b),
		"witness b: it has no URL":    fmt.Sprintf("witness a %v https://w.example\nwitness b %v\nquorum a\n", a, b),
		"ftp":                         fmt.Sprintf("witness a %v ftp://w.example\nquorum a\n", a),
		"https:w.example":             fmt.Sprintf("witness a %v https:w.example\nquorum a\n", a),
		"w.example/a":                 fmt.Sprintf("witness a %v w.example/a\nquorum a\n", a),
		"https://u:p@w.example":       fmt.Sprintf("witness a %v https://u:p@w.example\nquorum a\n", a),
		"https://w.example/?x":        fmt.Sprintf("witness a %v https://w.example/?x\nquorum a\n", a),
		"https://w.example/#x":        fmt.Sprintf("witness a %v https://w.example/#x\nquorum a\n", a),
		"invalid":                     fmt.Sprintf("witness a %v https://w.example:x/\nquorum a\n", a),
		"log.example is none of them": fmt.Sprintf("log %v\nquorum none\n", must(checkpoint.NewKey("log.example", checkpoint.Ed25519, b.Public()))),
		"of 40 witnesses do not fit":  many(40, true),
		"of 100 witnesses do not fit": many(100, false),
	} {
		p, err := policy.Parse([]byte(lines))
		if err != nil {
			t.Fatal(err)
		}
		q, err := New(Config{Policy: p, Log: l.key})
		if q != nil {
			q.Close()
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", want, err)
		}
	}
	// As many as fit give a note that can be read.
	for _, pq := range []bool{true, false} {
		n := map[bool]int{true: 38, false: 99}[pq]
		p := must(policy.Parse([]byte(many(n, pq))))
		q, err := New(Config{Policy: p, Log: l.key})
		if err != nil {
			t.Fatal(err)
		}
		q.Close()
		note := l.sign(l.checkpoint(50))
		for i := range n {
			note.Signatures = append(note.Signatures, must(newWitness(fmt.Sprint("w", i), pq).cosigner.Cosign(l.checkpoint(50), 1)))
		}
		if _, err := checkpoint.ParseNote(note.Bytes()); err != nil {
			t.Error(err)
		}
	}
}

// What is known of witnesses that stay is kept.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		ws := []*fakeWitness{newWitness("a", false), newWitness("b", true), newWitness("c", false), newWitness("d", false)}
		q := startWith(t, ws, "group g all a b c\nquorum g\n")
		if _, err := q.Cosign(t.Context(), l.request(50), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, w := range ws {
			w.asked()
		}
		// a stays, b is renamed, c goes, d stays without being in the quorum.
		const base = "http://witness.example/"
		file := fmt.Sprintf("witness a %v %sa/\nwitness bee %v %sb\nwitness d %v %sd\ngroup g all a bee\nquorum g\n",
			ws[0].cosigner.Key(), base, ws[1].cosigner.Key(), base, ws[3].cosigner.Key(), base)
		if err := q.Reload(must(policy.Parse([]byte(file)))); err != nil {
			t.Fatal(err)
		}
		if err := q.Reload(must(policy.Parse([]byte(strings.ReplaceAll(file, "http:", "gopher:"))))); err == nil {
			t.Error("a bad policy was taken")
		}
		note, err := q.Cosign(t.Context(), l.request(60), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := cosigned(t, ws, note, l.checkpoint(60)); got != "a b" && got != "a b d" {
			t.Errorf("cosigned by %q", got)
		}
		synctest.Wait()
		for i, want := range [][]int64{{50}, {50}, nil, {50}} {
			if got := ws[i].asked(); !slices.Equal(got, want) {
				t.Errorf("%s was asked with %d, want %d", ws[i].name, got, want)
			}
		}
		v := values(t, q)
		for key, want := range map[string]float64{"requests_total a ok": 2, "size a": 60, "requests_total bee ok": 1, "size bee": 60, "requests_total d ok": 2} {
			if v[key] != want {
				t.Errorf("%s = %v, want %v", key, v[key], want)
			}
		}
		for key := range v {
			if strings.HasSuffix(key, " b") || strings.HasSuffix(key, " c") || strings.Contains(key, " b ") || strings.Contains(key, " c ") {
				t.Errorf("%s is still there", key)
			}
		}

		// At another place nothing is known of a witness.
		if err := q.Reload(must(policy.Parse([]byte(strings.ReplaceAll(file, "/a/", "/a//"))))); err != nil {
			t.Fatal(err)
		}
		if err := q.Reload(must(policy.Parse([]byte(strings.ReplaceAll(file, "witness.example/a/", "elsewhere.example/a"))))); err != nil {
			t.Fatal(err)
		}
		if _, err := q.Cosign(t.Context(), l.request(70), nil); err != nil {
			t.Fatal(err)
		}
		if got := ws[0].asked(); !slices.Equal(got, []int64{0, 60}) {
			t.Errorf("asked with %d", got)
		}
	})
}

// A witness that has left the policy is not late.
func TestReloadWhileAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		q, ws := start(t, oneOfThree)
		ws[2].set(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			fmt.Fprint(w, must(ws[2].cosigner.Cosign(l.checkpoint(50), time.Now().Unix())))
		})
		if _, err := q.Cosign(t.Context(), l.request(50), nil); err != nil {
			t.Fatal(err)
		}
		if err := q.Reload(policyOf(t, "http://witness.example", ws[:2], "group g all a b\nquorum g\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := q.Cosign(t.Context(), l.request(50), func([]byte) { t.Error("late was called") }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
	})
}
