// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package quorum

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.org/sumlog/internal/checkpoint"
)

// shows returns what Seen returned, checked, as "WITNESS SIZE" words.
func shows(t *testing.T, seen []Seen, logs ...*fakeLog) string {
	t.Helper()
	var out []string
	for _, s := range seen {
		if !slices.ContainsFunc(logs, func(l *fakeLog) bool { return l.checkpoint(s.Checkpoint.Size).Root == s.Checkpoint.Root }) {
			t.Errorf("root %v at size %d", s.Checkpoint.Root, s.Checkpoint.Size)
		}
		n, err := checkpoint.ParseNote(s.Note)
		if err != nil || n.Text != s.Checkpoint.Text() {
			t.Errorf("%v: note %q", err, s.Note)
		} else if _, err := n.Verify(logs[0].key); err != nil {
			t.Error(err)
		}
		out = append(out, fmt.Sprint(s.Witness, " ", s.Checkpoint.Size))
	}
	return strings.Join(out, ", ")
}

func TestSeen(t *testing.T) {
	l, fork := newLog(100), newLog(10)
	foreign := l.checkpoint(90)
	foreign.Origin = "other.example"
	other := must(newWitness("x", false).cosigner.Cosign(l.checkpoint(90), 1))
	for _, tt := range []struct {
		name, policy string
		set          func(a, b, c *fakeWitness)
		want         string
		took         time.Duration
		missing      string // with a time limit of 30 s
	}{
		{"nothing yet", allOfThree, func(a, b, c *fakeWitness) {}, "", 0, ""},
		{"one knows", allOfThree, func(a, b, c *fakeWitness) { b.holds(l, 7) }, "b 7", 0, ""},
		{"all, one a fork", allOfThree, func(a, b, c *fakeWitness) { a.holds(l, 9); b.holds(fork, 30); c.holds(l, 90) }, "a 9, b 30, c 90", 0, ""},
		{"down for the others", twoOfThree, func(a, b, c *fakeWitness) { a.badView = down; c.holds(l, 3) }, "c 3", 0, ""},
		{"hanging for the others", twoOfThree, func(a, b, c *fakeWitness) { a.badView = hang; c.holds(l, 3) }, "c 3", grace, ""},
		{"a moment late", oneOfThree, func(a, b, c *fakeWitness) {
			c.badView = func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(grace / 2)
				w.Write(l.sign(l.checkpoint(44)).Bytes())
			}
		}, "c 44", grace / 2, ""},
		{"down and up", allOfThree, func(a, b, c *fakeWitness) {
			up := time.Now().Add(5 * time.Second)
			a.holds(l, 8)
			view := a.note
			a.badView = func(w http.ResponseWriter, r *http.Request) {
				if time.Now().Before(up) {
					down(w, r)
				}
				w.Write(view)
			}
		}, "a 8", 7 * time.Second, ""},
		{"asks for time", allOfThree, func(a, b, c *fakeWitness) {
			up := time.Now().Add(20 * time.Second)
			a.badView = func(w http.ResponseWriter, r *http.Request) {
				if time.Now().Before(up) {
					status(429, "Retry-After", "26")(w, r)
				} else {
					http.NotFound(w, r)
				}
			}
		}, "", 26 * time.Second, ""},
		{"down where it is needed", allOfThree, func(a, b, c *fakeWitness) { a.badView = down; b.holds(l, 5) }, "b 5", 30 * time.Second, "a: unreachable"},
		{"hanging where it is needed", allOfThree, func(a, b, c *fakeWitness) { a.badView = hang }, "", 30 * time.Second, "a: timeout"},
		{"garbage", allOfThree, func(a, b, c *fakeWitness) { a.badView = body("<html>") }, "", 30 * time.Second, "a: garbage: what it shows: malformed"},
		{"10 MB", allOfThree, func(a, b, c *fakeWitness) { a.badView = body(strings.Repeat("x", 10<<20)) }, "", 30 * time.Second, "a: garbage: more than"},
		{"another log's", allOfThree, func(a, b, c *fakeWitness) { a.badView = body(string(l.sign(foreign).Bytes())) }, "", 30 * time.Second, "a: garbage: what it shows: checkpoint: origin"},
		{"not signed by the log", allOfThree, func(a, b, c *fakeWitness) {
			a.badView = body(string(checkpoint.Note{Text: l.checkpoint(90).Text(), Signatures: []checkpoint.Signature{other}}.Bytes()))
		}, "", 30 * time.Second, "a: garbage: what it shows: no signature"},
		{"an error", allOfThree, func(a, b, c *fakeWitness) { a.badView = status(500) }, "", 30 * time.Second, "a: refused: 500"},
		{"none needed, one hanging", "quorum none\n", func(a, b, c *fakeWitness) { a.badView = hang; b.holds(l, 6) }, "b 6", grace, ""},
		{"none needed", "quorum none\n", func(a, b, c *fakeWitness) { b.holds(l, 6) }, "b 6", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, ws := start(t, tt.policy)
				tt.set(ws[0], ws[1], ws[2])
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				begin := time.Now()
				seen, err := q.Seen(ctx, nil)
				if got := shows(t, seen, l, fork); got != tt.want {
					t.Errorf("seen %q, want %q", got, tt.want)
				}
				if d := time.Since(begin); d != tt.took {
					t.Errorf("it took %v, want %v", d, tt.took)
				}
				if tt.missing == "" && err != nil || tt.missing != "" && (!errors.Is(err, ErrQuorum) || !strings.Contains(err.Error(), tt.missing)) {
					t.Errorf("err = %v, want %q", err, tt.missing)
				}
			})
		})
	}
}

// Who is missing is told as soon as it is known, long before they are given up, and
// nobody is while the quorum can still be met by those who have not answered.
func TestSeenMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, ws := start(t, twoOfThree)
		ws[0].badView = down
		ws[1].badView = func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(2500 * time.Millisecond)
			down(w, r)
		}
		ws[2].badView = hang
		ctx, cancel := context.WithTimeout(t.Context(), 2900*time.Millisecond)
		defer cancel()
		begin := time.Now()
		var told []string
		if _, err := q.Seen(ctx, func(e *MissingError) {
			told = append(told, fmt.Sprintf("%v %s", time.Since(begin), e.Public()))
		}); !errors.Is(err, ErrQuorum) {
			t.Error(err)
		}
		if want := []string{"2.5s a: unreachable; b: unreachable"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}

// What was seen saves a conflict.
func TestSeenSizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		q, ws := start(t, allOfThree)
		ws[0].holds(l, 33)
		if _, err := q.Seen(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := q.Cosign(t.Context(), l.request(50), nil); err != nil {
			t.Fatal(err)
		}
		if olds := ws[0].asked(); !slices.Equal(olds, []int64{33}) {
			t.Errorf("asked with %d", olds)
		}
		// What it shows may be an hour old, and says less than what it answered.
		ws[0].badView = body(string(l.sign(l.checkpoint(33)).Bytes()))
		if _, err := q.Seen(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if v := values(t, q)["size a"]; v != 50 {
			t.Errorf("size %v", v)
		}
	})
}

// A log that was rolled back or runs twice is told so, once the witness shows
// what the log has signed.
func TestAhead(t *testing.T) {
	l, fork := newLog(100), newLog(10)
	foreign := l.checkpoint(90)
	foreign.Origin = "other.example"
	forged := l.sign(l.checkpoint(90))
	forged.Signatures[0].Bytes[9] ^= 1
	for _, tt := range []struct {
		name string
		set  func(a *fakeWitness)
		size int64 // of what is shown, when that is a proof
	}{
		{"larger", func(a *fakeWitness) { a.holds(l, 90) }, 90},
		{"larger by one", func(a *fakeWitness) { a.holds(l, 51) }, 51},
		{"larger, a fork", func(a *fakeWitness) { a.holds(fork, 90) }, 90},
		{"of the same size, a fork", func(a *fakeWitness) { a.holds(fork, 50) }, 50},
		{"smaller, a fork", func(a *fakeWitness) { a.holds(fork, 30) }, 30},

		{"a bare claim", func(a *fakeWitness) { a.bad = conflictWith(90) }, 0},
		{"a bare refusal", func(a *fakeWitness) { a.holds(l, 30); a.bad = status(422) }, 0},
		{"a bare refusal at the same size", func(a *fakeWitness) { a.holds(l, 50); a.bad = status(422) }, 0},
		{"a bare refusal, nothing seen", func(a *fakeWitness) { a.holds(l, 0); a.bad = status(422) }, 0},
		{"signed by somebody else", func(a *fakeWitness) { a.bad, a.badView = conflictWith(90), body(string(forged.Bytes())) }, 0},
		{"of another log", func(a *fakeWitness) { a.bad, a.badView = conflictWith(90), body(string(l.sign(foreign).Bytes())) }, 0},
		{"garbage for a proof", func(a *fakeWitness) { a.bad, a.badView = conflictWith(90), body("90\n") }, 0},
		{"10 MB for a proof", func(a *fakeWitness) { a.bad, a.badView = conflictWith(90), body(strings.Repeat("90\n", 3<<20)) }, 0},
		{"an old one for a proof", func(a *fakeWitness) { a.holds(l, 40); a.bad = conflictWith(90) }, 0},
		{"hanging", func(a *fakeWitness) { a.bad, a.badView = conflictWith(90), hang }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, ws := start(t, allOfThree)
				tt.set(ws[0])
				_, err := q.Cosign(t.Context(), l.request(50), nil)
				var a *AheadError
				if !errors.As(err, &a) {
					if tt.size > 0 || !errors.Is(err, ErrQuorum) || !strings.Contains(err.Error(), "a: ahead: it has seen ") {
						t.Errorf("err = %v", err)
					}
				} else if a.Checkpoint.Size != tt.size || a.Witness != "a" || string(a.Note) != string(ws[0].note) {
					t.Errorf("%+v, want size %d", a, tt.size)
				}
				if got := values(t, q)["requests_total a ahead"]; got != 1 {
					t.Errorf("%v claims are counted", got)
				}
			})
		})
	}
}

// A claim does not stop the others; a proof does, though the quorum was met,
// in the next round at the latest, and not for ever.
func TestAheadLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		q, ws := start(t, twoOfThree)
		ws[0].holds(l, 70)
		view := ws[0].note
		ws[0].badView = func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			w.Write(view)
		}
		if _, err := q.Cosign(t.Context(), l.request(50), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		ws[1].asked()
		var a *AheadError
		if _, err := q.Cosign(t.Context(), l.request(60), nil); !errors.As(err, &a) || a.Checkpoint.Size != 70 {
			t.Fatalf("the next round: %v", err)
		}
		synctest.Wait()
		if olds := ws[1].asked(); len(olds) > 0 {
			t.Error("a checkpoint was shown though it was known that it must not exist")
		}
		// It is left alone now, and the others suffice.
		if _, err := q.Cosign(t.Context(), l.request(60), nil); err != nil {
			t.Error(err)
		}
		// The log's owner finds that it did sign it, and goes on from there.
		time.Sleep(20 * time.Second)
		if _, err := q.Cosign(t.Context(), l.request(70), nil); err != nil {
			t.Error(err)
		}
		time.Sleep(20 * time.Second)
		if _, err := q.Cosign(t.Context(), l.request(80), nil); err != nil {
			t.Error(err)
		}
	})
}

// A proof that was asked for in the round before ends this one as soon as it
// comes.
func TestAheadOfRoundBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		q, ws := start(t, allOfThree)
		ws[0].holds(l, 70)
		view := ws[0].note
		ws[0].badView = func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			w.Write(view)
		}
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := q.Cosign(ctx, l.request(50), nil); !errors.Is(err, ErrQuorum) {
			t.Fatal(err)
		}
		var a *AheadError
		if _, err := q.Cosign(t.Context(), l.request(60), nil); !errors.As(err, &a) || time.Since(begin) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

// Two keys of one witness are one witness behind one URL: the second to ask
// finds what the first has left there. That is no rollback.
func TestTwoKeysOneWitness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		a, b := newWitness("a", false), newWitness("b", true)
		q := startWith(t, []*fakeWitness{a, b}, "group g all a b\nquorum g\n")
		shared := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				a.mu.Lock()
				defer a.mu.Unlock()
				w.Write(a.note)
				return
			}
			req := must(checkpoint.ParseAddRequest(must(io.ReadAll(r.Body))))
			cp := must(checkpoint.Parse(must(checkpoint.ParseNote(req.Note)).Text))
			rec := &recorder{ResponseWriter: w}
			a.add(rec, req)
			if rec.status == 0 {
				io.WriteString(w, must(b.cosigner.Cosign(cp, time.Now().Unix())).String())
			}
		})
		q.client.Transport = network{"a": shared, "b": shared}
		for _, size := range []int64{10, 20, 20, 30} {
			note, err := q.Cosign(t.Context(), l.request(size), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := cosigned(t, []*fakeWitness{a, b}, note, l.checkpoint(size)); got != "a b" {
				t.Errorf("cosigned by %q", got)
			}
		}
	})
}

// A recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}
