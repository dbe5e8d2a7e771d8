// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package quorum

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"example.org/sumlog/internal/checkpoint"
)

// respond answers with a body that depends on the checkpoint asked about.
func respond(f func(w http.ResponseWriter, cp checkpoint.Checkpoint)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { f(w, newLog(100).checkpoint(50)) }
}

func body(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) }
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		http.Error(w, "no\r\nmore", code)
	}
}

// timeless cosigns at a time at which Cosigner refuses to.
func timeless(cp checkpoint.Checkpoint) checkpoint.Signature {
	c := newWitness("b", true).cosigner
	return must(c.CosignSubtree(checkpoint.Subtree{Origin: cp.Origin, End: cp.Size, Hash: cp.Root}))
}

// evil says what the witness b may do wrong when it is asked for size 50, and
// how the metrics count it.
var evil = map[string]struct {
	bad  http.HandlerFunc
	want outcome
	n    int // requests
}{
	"down":            {down, unreachable, 1},
	"hangs":           {hang, timedOut, 1},
	"an empty answer": {body(""), garbage, 1},
	"garbage":         {body("<html>\n"), garbage, 1},
	"binary":          {body("\xff\x00\xfe"), garbage, 1},
	"no newline": {respond(func(w http.ResponseWriter, cp checkpoint.Checkpoint) {
		io.WriteString(w, strings.TrimSuffix(must(newWitness("b", true).cosigner.Cosign(cp, time.Now().Unix())).String(), "\n"))
	}), garbage, 1},
	"an empty line behind": {respond(func(w http.ResponseWriter, cp checkpoint.Checkpoint) {
		fmt.Fprint(w, must(newWitness("b", true).cosigner.Cosign(cp, time.Now().Unix())), "\n")
	}), garbage, 1},
	"too many lines": {respond(func(w http.ResponseWriter, cp checkpoint.Checkpoint) {
		fmt.Fprint(w, must(newWitness("b", true).cosigner.Cosign(cp, time.Now().Unix())), strings.Repeat("— x AAAAAAA=\n", 100))
	}), garbage, 1},
	"10 MB": {body(strings.Repeat("— x AAAAAAA=\n", 10<<20/16)), garbage, 1},
	"10 MB 409": {func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/x.tlog.size")
		w.WriteHeader(409)
		io.WriteString(w, strings.Repeat("1", 10<<20))
	}, garbage, 1},
	"a redirect": {status(307, "Location", "http://witness.example/a/add-checkpoint"), refused, 1},
	"201":        {status(201), refused, 1},
	"400":        {status(400), refused, 1},
	"403":        {status(403), refused, 1},
	"404":        {status(404), refused, 1},
	"500":        {status(500), refused, 1},
	"503":        {status(503), refused, 1},
	"429":        {status(429), rateLimited, 1},
	"429, later": {status(429, "Retry-After", "30"), rateLimited, 1},
	"503, later": {status(503, "Retry-After", "30"), rateLimited, 1},
	"422":        {status(422), ahead, 1},

	"409 with the size that it was asked with": {conflictWith(0), conflict, 1},
	"409 for ever": {func(w http.ResponseWriter, r *http.Request) {
		old := must(checkpoint.ParseAddRequest(must(io.ReadAll(r.Body)))).Old
		conflictWith(old+1)(w, r)
	}, conflict, 3},
	"409 without a content type": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(409); io.WriteString(w, "3\n") }, garbage, 1},
	"409 of a leading zero":      {conflictBody("03\n"), garbage, 1},
	"409 without a newline":      {conflictBody("3"), garbage, 1},
	"409 with two lines":         {conflictBody("3\n\n"), garbage, 1},
	"409 with a sign":            {conflictBody("-3\n"), garbage, 1},
	"409 too large":              {conflictBody("9223372036854775808\n"), garbage, 1},
	"409 empty":                  {conflictBody(""), garbage, 1},
	"409 with a claim":           {conflictWith(51), ahead, 1},

	"another text": {respond(func(w http.ResponseWriter, cp checkpoint.Checkpoint) {
		cp.Size--
		fmt.Fprint(w, must(newWitness("b", true).cosigner.Cosign(cp, time.Now().Unix())))
	}), badSignature, 1},
	"another key": {respond(func(w http.ResponseWriter, cp checkpoint.Checkpoint) {
		fmt.Fprint(w, must(newWitness("x", true).cosigner.Cosign(cp, time.Now().Unix())))
	}), badSignature, 1},
	"another witness's": {respond(func(w http.ResponseWriter, cp checkpoint.Checkpoint) {
		fmt.Fprint(w, must(newWitness("a", false).cosigner.Cosign(cp, time.Now().Unix())))
	}), badSignature, 1},
	"another key under its name": {respond(func(w http.ResponseWriter, cp checkpoint.Checkpoint) {
		s, k := must(newWitness("x", true).cosigner.Cosign(cp, time.Now().Unix())), newWitness("b", true).cosigner.Key()
		s.Name, s.ID = k.Name(), k.ID()
		fmt.Fprint(w, s)
	}), badSignature, 1},
	"a bad line after a good one": {respond(func(w http.ResponseWriter, cp checkpoint.Checkpoint) {
		s := must(newWitness("b", true).cosigner.Cosign(cp, time.Now().Unix()))
		fmt.Fprint(w, s)
		s.Bytes = slices.Clone(s.Bytes)
		s.Bytes[20] ^= 1
		fmt.Fprint(w, s)
	}), badSignature, 1},
	"without a time": {respond(func(w http.ResponseWriter, cp checkpoint.Checkpoint) { fmt.Fprint(w, timeless(cp)) }), badSignature, 1},
	"of the far future": {respond(func(w http.ResponseWriter, cp checkpoint.Checkpoint) {
		fmt.Fprint(w, must(newWitness("b", true).cosigner.Cosign(cp, time.Now().Add(maxFuture+time.Second).Unix())))
	}), badSignature, 1},
}

func conflictBody(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/x.tlog.size")
		w.WriteHeader(http.StatusConflict)
		io.WriteString(w, s)
	}
}

// Whatever one of three does wrong, the others suffice for a quorum of two, at
// once; and where all are needed, the error says who failed and how, in one
// line.
func TestEvil(t *testing.T) {
	for name, e := range evil {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLog(100)
				q, ws := start(t, twoOfThree)
				ws[1].set(e.bad)
				begin := time.Now()
				note, err := q.Cosign(t.Context(), l.request(50), func([]byte) { t.Error("late was called") })
				if err != nil {
					t.Fatal(err)
				}
				if got := cosigned(t, ws, note, l.checkpoint(50)); got != "a c" {
					t.Errorf("cosigned by %q", got)
				}
				if d := time.Since(begin); d > time.Millisecond {
					t.Errorf("it took %v", d)
				}
				time.Sleep(time.Minute)
				v := values(t, q)
				if got := v["requests_total b "+string(e.want)]; got != float64(e.n) || v["up b"] != 0 || v["up a"] != 1 {
					t.Errorf("%v requests are counted as %s, up %v: %v", got, e.want, v["up b"], v)
				}
				if n := len(ws[1].asked()); n != e.n {
					t.Errorf("%d requests, want %d", n, e.n)
				}

				q, ws = start(t, allOfThree)
				ws[1].set(e.bad)
				begin = time.Now()
				note, err = q.Cosign(t.Context(), l.request(50), nil)
				var missing *MissingError
				if note != nil || !errors.Is(err, ErrQuorum) || !errors.As(err, &missing) || len(missing.Reasons) != 1 {
					t.Fatalf("Cosign = %q, %v", note, err)
				}
				want := "quorum of witnesses not met: b: " + string(e.want) + ": "
				if !strings.HasPrefix(err.Error(), want) || strings.ContainsAny(err.Error(), "\r\n\x00") || len(err.Error()) > 300 {
					t.Errorf("%q", err)
				}
				if d := time.Since(begin); d > timeout+time.Millisecond {
					t.Errorf("it took %v", d)
				}
			})
		})
	}
}

// What looks like evil and is not.
func TestTolerated(t *testing.T) {
	for name, bad := range map[string]http.HandlerFunc{
		"unknown lines beside": respond(func(w http.ResponseWriter, cp checkpoint.Checkpoint) {
			fmt.Fprint(w, must(newWitness("x", false).cosigner.Cosign(cp, 1)))
			fmt.Fprint(w, must(newWitness("b", true).cosigner.Cosign(cp, time.Now().Unix())))
			fmt.Fprint(w, must(newWitness("y", true).cosigner.Cosign(cp, 1)))
		}),
		"twice": respond(func(w http.ResponseWriter, cp checkpoint.Checkpoint) {
			s := must(newWitness("b", true).cosigner.Cosign(cp, time.Now().Unix()))
			fmt.Fprintf(w, "%v%v", s, s)
		}),
		"a clock that is a little ahead": respond(func(w http.ResponseWriter, cp checkpoint.Checkpoint) {
			fmt.Fprint(w, must(newWitness("b", true).cosigner.Cosign(cp, time.Now().Add(maxFuture).Unix())))
		}),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLog(100)
				q, ws := start(t, allOfThree)
				ws[1].set(bad)
				note, err := q.Cosign(t.Context(), l.request(50), nil)
				if err != nil {
					t.Fatal(err)
				}
				if got := cosigned(t, ws, note, l.checkpoint(50)); got != "a b c" {
					t.Errorf("cosigned by %q", got)
				}
			})
		})
	}
}

// Any mixture of behaviours under any threshold: it is met if and only if the
// good ones are enough, and what comes out is what the policy accepts.
func TestMixtures(t *testing.T) {
	behaviours := []string{"", "", ""}
	for name := range evil {
		behaviours = append(behaviours, name)
	}
	slices.Sort(behaviours)
	l := newLog(100)
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(rt, "n")
		k := rapid.IntRange(1, n).Draw(rt, "k")
		var ws []*fakeWitness
		var names []string
		good := 0
		for i := range n {
			w := newWitness(fmt.Sprint("w", i), false)
			b := rapid.SampledFrom(behaviours).Draw(rt, w.name)
			if b == "" {
				good++
			}
			w.bad = evil[b].bad
			ws, names = append(ws, w), append(names, w.name)
		}
		synctest.Test(t, func(t *testing.T) {
			p := fmt.Sprintf("group g %d %s\nquorum g\n", k, strings.Join(names, " "))
			q := startWith(t, ws, p)
			note, err := q.Cosign(t.Context(), l.request(50), nil)
			if (err == nil) != (good >= k) {
				rt.Fatalf("%d of %d good, %d wanted: %v", good, n, k, err)
			}
			if err != nil {
				return
			}
			parsed := must(checkpoint.ParseNote(note))
			if _, err := must(policyOf(t, "", ws, p).For(l.key)).Check(parsed); err != nil {
				rt.Fatal(err)
			}
		})
	})
}
