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
	"testing"
	"testing/synctest"
	"time"
)

// A quorum that nobody is needed for is met at once, and what comes later is
// late.
func TestNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		q, ws := start(t, "quorum none\n")
		ws[0].set(hang)
		slow := make(chan bool)
		ws[1].set(func(w http.ResponseWriter, r *http.Request) {
			<-slow
			ws[1].set(nil)
			fmt.Fprint(w, must(ws[1].cosigner.Cosign(l.checkpoint(50), 77)))
		})
		var late []string
		note, err := q.Cosign(t.Context(), l.request(50), func(note []byte) {
			late = append(late, cosigned(t, ws, note, l.checkpoint(50)))
		})
		if err != nil {
			t.Fatal(err)
		}
		first := cosigned(t, ws, note, l.checkpoint(50))
		if met, oldest := q.Met(l.sign(l.checkpoint(50)).Bytes()); !met || !oldest.Equal(time.Now()) {
			t.Errorf("without cosignatures: Met = %v, %v", met, oldest)
		}
		synctest.Wait()
		close(slow)
		synctest.Wait()
		if got := first + "|" + strings.Join(late, "|"); got != "|c|b c" && got != "c|b c" {
			t.Errorf("collected %q", got)
		}
		time.Sleep(time.Minute)
		if len(ws[0].asked()) != 1 {
			t.Error("the hanging one was not asked once")
		}
	})
}

func TestLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		q, ws := start(t, oneOfThree)
		after := func(w *fakeWitness, d time.Duration) {
			w.set(func(rw http.ResponseWriter, r *http.Request) {
				select {
				case <-time.After(d):
					fmt.Fprint(rw, must(w.cosigner.Cosign(l.checkpoint(50), time.Now().Unix())))
				case <-r.Context().Done():
				}
			})
		}
		after(ws[0], 3*time.Second)
		after(ws[1], 9*time.Second)
		var late []string
		begin := time.Now()
		note, err := q.Cosign(t.Context(), l.request(50), func(note []byte) {
			late = append(late, fmt.Sprint(cosigned(t, ws, note, l.checkpoint(50)), " after ", time.Since(begin)))
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := cosigned(t, ws, note, l.checkpoint(50)); got != "c" {
			t.Errorf("cosigned by %q", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		want := []string{"a c after 3s", "a b c after 9s"}
		if !slices.Equal(late, want) {
			t.Errorf("late %q, want %q", late, want)
		}
	})
}

// Once the next round has begun, nothing of the one before comes, and the slow
// witness turns to the new round when it is done.
func TestLateEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		q, ws := start(t, oneOfThree)
		slow := func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			conflictWith(20)(w, r)
		}
		ws[0].holds(l, 20)
		ws[0].set(slow)
		ws[1].set(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			fmt.Fprint(w, must(ws[1].cosigner.Cosign(l.checkpoint(50), time.Now().Unix())))
		})
		over := false
		if _, err := q.Cosign(t.Context(), l.request(50), func([]byte) {
			if over {
				t.Error("late was called after the next round had begun")
			}
		}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		over = true
		time.Sleep(time.Second)
		ws[0].set(nil)
		ws[0].asked()
		ws[1].set(nil)
		ws[1].holds(l, 50)
		got := ""
		if _, err := q.Cosign(t.Context(), l.request(60), func(note []byte) { got = cosigned(t, ws, note, l.checkpoint(60)) }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if n := len(ws[0].asked()); n != 0 {
			t.Errorf("asked %d times while still under way", n)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if olds := ws[0].asked(); !slices.Equal(olds, []int64{20}) || got != "a b c" {
			t.Errorf("asked with %d, collected %q", olds, got)
		}
	})
}

// A slow witness that answers to the round before counts in one over the same
// text, and is not asked again.
func TestSameTextAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		q, ws := start(t, allOfThree)
		ws[0].set(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(8 * time.Second)
			fmt.Fprint(w, must(ws[0].cosigner.Cosign(l.checkpoint(50), time.Now().Unix())))
		})
		begin := time.Now()
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			_, err := q.Cosign(ctx, l.request(50), nil)
			cancel()
			if !errors.Is(err, ErrQuorum) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "met: a: no answer yet") {
				t.Fatalf("Cosign: %v", err)
			}
		}
		note, err := q.Cosign(t.Context(), l.request(50), nil)
		if err != nil || time.Since(begin) != 8*time.Second {
			t.Fatalf("after %v: %v", time.Since(begin), err)
		}
		if got := cosigned(t, ws, note, l.checkpoint(50)); got != "a b c" {
			t.Errorf("cosigned by %q", got)
		}
		for _, w := range ws {
			if n := len(w.asked()); n != 1 {
				t.Errorf("%s was asked %d times", w.name, n)
			}
		}
		// A round that was met is done: the next asks all for fresh ones.
		ws[0].set(nil)
		ws[0].holds(l, 50)
		time.Sleep(time.Second)
		if _, err := q.Cosign(t.Context(), l.request(50), nil); err != nil {
			t.Fatal(err)
		}
		for _, w := range ws {
			if n := len(w.asked()); n != 1 && w != ws[0] {
				t.Errorf("%s was asked %d times for a fresh one", w.name, n)
			}
		}
	})
}

// One that fails the round before is asked again, and the round goes on.
func TestSameTextAgainAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		q, ws := start(t, allOfThree)
		ws[0].set(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			status(500)(w, r)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := q.Cosign(ctx, l.request(50), nil); !errors.Is(err, ErrQuorum) {
			t.Fatal(err)
		}
		ws[0].set(nil)
		if _, err := q.Cosign(t.Context(), l.request(50), nil); err != nil {
			t.Error(err)
		}
	})
}

// What a failed round has collected is used for a while.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		q, ws := start(t, allOfThree)
		ws[2].set(down)
		fails := func(text int64, asked int) {
			t.Helper()
			if _, err := q.Cosign(t.Context(), l.request(text), nil); !errors.Is(err, ErrQuorum) {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := len(ws[0].asked()); n != asked {
				t.Errorf("asked %d times, want %d", n, asked)
			}
		}
		fails(50, 1)
		fails(50, 0)
		time.Sleep(maxKept - time.Nanosecond)
		fails(50, 0)
		time.Sleep(time.Nanosecond)
		fails(50, 1)
		fails(60, 1)
	})
}

// A failing witness is left alone for longer and longer while the others
// suffice, and asked where they do not.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		q, ws := start(t, twoOfThree)
		ws[1].set(down)
		begin := time.Now()
		var at []time.Duration
		for time.Since(begin) < 5*time.Minute {
			if _, err := q.Cosign(t.Context(), l.request(50), nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if len(ws[1].asked()) > 0 {
				at = append(at, time.Since(begin))
			}
			time.Sleep(time.Second)
		}
		if got, want := fmt.Sprint(at), "[0s 1s 3s 7s 15s 31s 1m3s 2m3s 3m3s 4m3s]"; got != want {
			t.Errorf("asked at %s, want %s", got, want)
		}

		// Now it is needed, within the same round, as another one fails.
		ws[2].set(down)
		ws[1].set(nil)
		note, err := q.Cosign(t.Context(), l.request(50), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := cosigned(t, ws, note, l.checkpoint(50)); got != "a b" {
			t.Errorf("cosigned by %q", got)
		}
		// All is forgotten once it has cosigned.
		synctest.Wait()
		ws[1].set(down)
		ws[2].set(nil)
		time.Sleep(2 * time.Minute)
		ws[1].asked()
		for range 3 {
			if _, err := q.Cosign(t.Context(), l.request(50), nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if n := len(ws[1].asked()); n != 2 {
			t.Errorf("asked %d times in three seconds, want 2", n)
		}
	})
}

// A witness that asks for time is not asked before, not even where it is needed.
func TestRetryAfter(t *testing.T) {
	for _, tt := range []struct {
		header string
		wait   time.Duration
	}{
		{"30", 30 * time.Second},
		{"86400", maxWait},
		{"99999999999999", maxWait},
		{"9223372036854775807", maxWait},
		{"date 45s", 45 * time.Second},
		{"date 240h", maxWait},
		{"date -45s", 0},
		{"soon", 0},
		{"-5", 0},
		{"99999999999999999999999", maxWait},
	} {
		t.Run(tt.header, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLog(100)
				q, ws := start(t, allOfThree)
				header := tt.header
				if s, ok := strings.CutPrefix(header, "date "); ok {
					header = time.Now().Add(must(time.ParseDuration(s))).UTC().Format(http.TimeFormat)
				}
				ws[1].set(status(http.StatusTooManyRequests, "Retry-After", header))
				cosign := func() *MissingError {
					t.Helper()
					_, err := q.Cosign(t.Context(), l.request(50), nil)
					var missing *MissingError
					if !errors.As(err, &missing) {
						t.Fatal(err)
					}
					return missing
				}
				if got := cosign().RetryAfter; got != tt.wait {
					t.Errorf("RetryAfter = %v, want %v", got, tt.wait)
				}
				if tt.wait == 0 {
					return
				}
				ws[1].set(nil)
				ws[1].asked()
				time.Sleep(tt.wait - time.Second)
				missing := cosign()
				if missing.RetryAfter != time.Second || len(ws[1].asked()) > 0 || !strings.Contains(missing.Error(), "b: rate_limited: it is asked again in 1s") {
					t.Errorf("%v, RetryAfter %v", missing, missing.RetryAfter)
				}
				time.Sleep(time.Second)
				if _, err := q.Cosign(t.Context(), l.request(50), nil); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// RetryAfter is about the quorum, not about one witness.
func TestRetryAfterOfQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(100)
		q, ws := start(t, twoOfThree)
		for i, wait := range []string{"20", "40", "60"} {
			ws[i].set(status(http.StatusServiceUnavailable, "Retry-After", wait))
		}
		if _, err := q.Cosign(t.Context(), l.request(50), nil); !errors.Is(err, ErrQuorum) {
			t.Fatal(err)
		}
		synctest.Wait()
		var missing *MissingError
		if _, err := q.Cosign(t.Context(), l.request(50), nil); !errors.As(err, &missing) || missing.RetryAfter != 40*time.Second || len(missing.Reasons) != 3 || missing.Public() != "a: rate limited; b: rate limited; c: rate limited" {
			t.Errorf("%v: %+v", err, missing)
		}
		// Now a may be asked, and c may not. That a asks for 20 s again may be known
		// already when there is nothing more to wait for.
		time.Sleep(30 * time.Second)
		_, err := q.Cosign(t.Context(), l.request(50), nil)
		if !errors.As(err, &missing) || missing.RetryAfter != 10*time.Second && missing.RetryAfter != 20*time.Second {
			t.Errorf("%v: %+v", err, missing)
		}
	})
}
