// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package lanes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var small = Config{Quick: 4, Slow: 8, Queue: 8, Patience: time.Second, Wait: 20 * time.Second}

// A job is work in a lane, or on its way there.
type job struct {
	ctx   context.Context
	place *Place
	err   error
	in    chan struct{} // closed when it is known
}

// enter starts work that is done when the test says so.
func enter(t *testing.T, l *Lanes, client, subject string) *job {
	j := &job{in: make(chan struct{})}
	go func() {
		defer close(j.in)
		j.ctx, j.place, j.err = l.Enter(t.Context(), Work{Client: client, Host: "h" + client, Subject: subject})
	}()
	synctest.Wait()
	return j
}

// state says in a word how j fares.
func (j *job) state() string {
	select {
	default:
		return "waits"
	case <-j.in:
	}
	switch {
	case errors.Is(j.err, ErrFull):
		return "refused"
	case j.err != nil:
		return j.err.Error()
	case context.Cause(j.ctx) == ErrGivenUp:
		return "given up"
	case j.ctx.Err() != nil:
		return "ended"
	}
	return "runs"
}

func (j *job) want(t *testing.T, state string) {
	t.Helper()
	synctest.Wait()
	if got := j.state(); got != state {
		t.Errorf("work %s, want that it %s", got, state)
	}
}

func count(jobs []*job, state string) (n int) {
	for _, j := range jobs {
		if j.state() == state {
			n++
		}
	}
	return n
}

// flood enters n silent jobs of one client, each about something else.
func flood(t *testing.T, l *Lanes, client string, n int) (jobs []*job) {
	for i := range n {
		jobs = append(jobs, enter(t, l, client, fmt.Sprint(client, i)))
		time.Sleep(time.Millisecond) // for the order in which they came
	}
	return jobs
}

// TestParts shows that neither a client nor a subject gets more than its part.
func TestParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small)
		a := flood(t, l, "a", 9)
		if n, w, r := count(a, "runs"), count(a, "waits"), count(a, "refused"); n != 2 || w != 4 || r != 3 {
			t.Errorf("of 9: %d run, %d wait, %d are refused", n, w, r)
		}
		a[2].want(t, "refused") // the oldest that waited
		a[8].want(t, "waits")
		b := []*job{enter(t, l, "b", "s"), enter(t, l, "b", "s"), enter(t, l, "c", "s")}
		b[0].want(t, "runs")
		b[1].want(t, "waits")
		b[2].want(t, "waits")
		b[0].place.End()
		b[2].want(t, "waits") // b and c take turns, and b's came first
		b[1].want(t, "runs")
	})
}

// TestHosts shows that work about one host is not refused for, or behind, a flood of
// the same client's about another.
func TestHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small)
		flood(t, l, "a", 5)
		other := &job{in: make(chan struct{})}
		go func() {
			defer close(other.in)
			other.ctx, other.place, other.err = l.Enter(t.Context(), Work{Client: "a", Host: "other", Subject: "x"})
		}()
		synctest.Wait()
		flood(t, l, "a", 20)
		other.want(t, "waits")
		time.Sleep(time.Second)
		other.want(t, "runs")
		time.Sleep(time.Minute) // until nothing of the flood waits any more
	})
}

// TestNewcomer shows how long one waits behind a flood of what hangs: of another's
// not at all, of one's own no longer than work stays in the quick lane. That goes
// on for as long as the flood.
func TestNewcomer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small)
		var hang []*job
		for range 20 {
			hang = append(hang, flood(t, l, "a", 10)...)
			other := enter(t, l, "b", "x")
			other.want(t, "runs")
			other.place.End()
			own := enter(t, l, "a", "x")
			time.Sleep(time.Second + 10*time.Millisecond)
			own.want(t, "runs")
			own.place.End()
		}
		if n := count(hang, "runs"); n > 6 {
			t.Errorf("%d of one client run, whose part is 2 and 4", n)
		}
		if n := count(hang, "given up"); n == 0 {
			t.Error("nothing made room")
		}
		for count(hang, "runs")+count(hang, "waits") > 0 {
			for _, j := range hang {
				if j.state() == "runs" {
					j.place.End()
				}
			}
			synctest.Wait()
		}
		enter(t, l, "a", "y").want(t, "runs")
	})
}

// TestProgress shows that nothing is given up that makes progress, or that waits
// for nobody, and that the quick lane waits for it.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small)
		var busy []*job
		for i := range 4 {
			j := enter(t, l, "a", fmt.Sprint(i))
			busy = append(busy, j)
			if i%2 == 0 {
				j.place.Working()
			} else {
				go func() {
					for {
						j.place.Heard()
						select {
						case <-j.ctx.Done():
							return
						case <-time.After(time.Second / 2):
						}
					}
				}()
			}
			time.Sleep(2 * time.Second)
		}
		more := flood(t, l, "a", 3)
		time.Sleep(5 * time.Second)
		for _, j := range busy {
			j.want(t, "runs")
		}
		if n := count(more, "runs"); n != 2 {
			t.Errorf("%d run in the quick lane, want 2", n)
		}
		// But not for ever for what is silent.
		time.Sleep(8 * time.Second)
		more[0].want(t, "given up")
		for _, j := range busy {
			j.want(t, "runs")
			j.place.End()
		}
	})
}

// TestUnwanted shows that what nobody waits for is given up first.
func TestUnwanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small)
		var jobs []*job
		for i := range 4 {
			ctx, p, err := l.Enter(t.Context(), Work{Client: "a", Host: "h", Subject: fmt.Sprint(i), Wanted: func() bool { return i != 2 }})
			if err != nil {
				t.Fatal(err)
			}
			in := make(chan struct{})
			close(in)
			jobs = append(jobs, &job{ctx, p, err, in})
			time.Sleep(2 * time.Second)
		}
		j := enter(t, l, "a", "x")
		time.Sleep(2 * time.Second)
		j.want(t, "runs")
		jobs[2].want(t, "given up")
		jobs[0].want(t, "runs")
	})
}

// TestQueueWait shows that nothing waits for ever, and nothing for who has gone.
func TestQueueWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Quick: 1, Slow: 1, Queue: 4, Patience: time.Hour, Wait: 20 * time.Second})
		first := enter(t, l, "a", "1")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := l.Enter(ctx, Work{Client: "b"}); !errors.Is(err, context.Canceled) {
			t.Errorf("Enter = %v", err)
		}
		late := enter(t, l, "b", "2")
		time.Sleep(21 * time.Second)
		late.want(t, "refused")
		first.want(t, "runs")
		first.place.End()
		first.place.End()
		enter(t, l, "b", "3").want(t, "runs")
	})
}

// TestAtRandom has many come, hang, make progress, leave: no lane ever has more
// than its size, and in the end all are empty.
func TestAtRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small)
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
				l.mu.Lock()
				for _, lane := range []*lane{&l.quick, &l.slow, &l.queue} {
					most := 0
					for _, n := range lane.counts[byClient] {
						most = max(most, n)
					}
					if len(lane.places) > lane.size || most > byClient.part(lane.size) {
						t.Errorf("%d of %d places are held, %d of them by one", len(lane.places), lane.size, most)
					}
				}
				l.mu.Unlock()
			}
		}()
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				time.Sleep(rand.N(time.Minute))
				ctx, cancel := context.WithTimeout(t.Context(), rand.N(time.Minute))
				defer cancel()
				ctx, p, err := l.Enter(ctx, Work{Client: fmt.Sprint(rand.N(5)), Host: fmt.Sprint(rand.N(3)), Subject: fmt.Sprint(rand.N(20))})
				if err != nil {
					return
				}
				defer p.End()
				for range rand.N(20) {
					select {
					case <-ctx.Done():
						return
					case <-time.After(rand.N(time.Second)):
					}
					if rand.N(2) == 0 {
						PlaceOf(ctx).Heard()
					}
				}
			})
		}
		wg.Wait()
		close(stop)
		<-ended
		if len(l.quick.places)+len(l.slow.places)+len(l.queue.places)+len(l.waiting.order)+len(l.waiting.lists)+len(l.slow.counts[byClient])+len(l.queue.counts[bySubject]) > 0 {
			t.Error("something is left")
		}
	})
}
