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
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var small = Config{Quick: 4, Slow: 8, Queue: 16, Patience: time.Second, Wait: 100 * time.Second}

// A job is work that takes its time, or for ever.
type job struct {
	l      *Lanes
	place  *Place
	takes  time.Duration
	begun  atomic.Int32
	runs   atomic.Bool
	over   chan struct{} // closed when it is over
	err    error
	took   time.Duration
	finish context.CancelFunc
}

const forever = time.Duration(1 << 60)

// start starts work of client about subject, which is of host.
func start(t *testing.T, l *Lanes, client, host, subject string, takes time.Duration, wanted func() bool) *job {
	j := &job{l: l, takes: takes, over: make(chan struct{})}
	var ctx context.Context
	ctx, j.finish = context.WithCancel(t.Context())
	j.place = l.New(Work{Client: client, Host: host, Subject: subject, Wanted: wanted})
	began := time.Now()
	go func() {
		defer close(j.over)
		j.err = j.place.Do(ctx, func(ctx context.Context) error {
			j.begun.Add(1)
			j.runs.Store(true)
			defer j.runs.Store(false)
			select {
			case <-time.After(j.takes):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		j.took = time.Since(began)
	}()
	synctest.Wait()
	return j
}

// state says in a word how j fares.
func (j *job) state() string {
	select {
	default:
		if j.runs.Load() {
			return "runs"
		}
		return "waits"
	case <-j.over:
	}
	switch {
	case errors.Is(j.err, ErrFull):
		return "refused"
	case errors.Is(j.err, ErrGivenUp):
		return "given up"
	case j.err != nil:
		return "ended"
	}
	return "done"
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

// flood starts n jobs of one client that hang, each about something else.
func flood(t *testing.T, l *Lanes, client, host string, n int) (jobs []*job) {
	for i := range n {
		jobs = append(jobs, start(t, l, client, host, fmt.Sprint(client, host, i), forever, nil))
		time.Sleep(time.Millisecond) // for the order in which they came
	}
	return jobs
}

func finish(jobs ...*job) {
	for _, j := range jobs {
		j.finish()
		<-j.over
	}
	synctest.Wait()
}

// TestParts shows that neither a client nor a subject gets more than its part.
func TestParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small)
		a := flood(t, l, "a", "h", 13)
		if n, w, r := count(a, "runs"), count(a, "waits"), count(a, "refused"); n != 2 || w != 8 || r != 3 {
			t.Errorf("of 13: %d run, %d wait, %d are refused", n, w, r)
		}
		a[2].want(t, "refused") // the oldest that waited
		a[12].want(t, "waits")
		b := []*job{start(t, l, "b", "g", "s", forever, nil), start(t, l, "b", "g", "s", forever, nil), start(t, l, "c", "g", "s", forever, nil)}
		b[0].want(t, "runs")
		b[1].want(t, "waits")
		b[2].want(t, "waits")
		finish(b[0])
		b[1].want(t, "runs") // b and c take turns, and b's came first
		b[2].want(t, "waits")
		finish(b...)
		finish(a...)
	})
}

// TestNewcomer shows how long one waits behind a flood of what hangs: of another's
// not at all, of one's own, about another host, no longer than work stays in the
// quick lane. That goes on for as long as the flood.
func TestNewcomer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small)
		var hang []*job
		for range 20 {
			hang = append(hang, flood(t, l, "a", "h", 10)...)
			other := start(t, l, "b", "x", "x", time.Millisecond, nil)
			other.want(t, "runs")
			own := start(t, l, "a", "x", "x", time.Millisecond, nil)
			time.Sleep(time.Second + 10*time.Millisecond)
			own.want(t, "done")
		}
		if n := count(hang, "runs"); n > 6 {
			t.Errorf("%d of one client run, whose part is 2 and 4", n)
		}
		finish(hang...)
	})
}

// TestSlow shows that what is only slow is done, all of it and whatever the load:
// the more of it there is, the later.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := small
		c.Queue = 200
		l := New(c)
		var jobs []*job
		for i := range 100 {
			jobs = append(jobs, start(t, l, "a", "h", fmt.Sprint(i), 3*time.Second, nil))
		}
		for i, j := range jobs {
			<-j.over
			if j.err != nil {
				t.Fatalf("job %d: %v after %v", i, j.err, j.took)
			}
			if n := j.begun.Load(); n > 2 {
				t.Errorf("job %d was begun %d times", i, n)
			}
			if j.took > 90*time.Second { // 100 of 3 s, 4 at a time, and the quick lane
				t.Errorf("job %d took %v", i, j.took)
			}
		}
	})
}

// TestHostPart shows that one host leaves a part of the places, whoever asks.
func TestHostPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small)
		var jobs []*job
		for i := range 4 {
			jobs = append(jobs, start(t, l, fmt.Sprint(i), "h", fmt.Sprint(i), forever, nil))
		}
		jobs[2].want(t, "runs")
		jobs[3].want(t, "waits")
		other := start(t, l, "x", "g", "x", forever, nil)
		other.want(t, "runs")
		finish(append(jobs, other)...)
	})
}

// TestLittle shows that a client that holds no more than twice as much as another
// would does not make room for that.
func TestLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small)
		var jobs []*job
		for i := range 8 {
			jobs = append(jobs, start(t, l, fmt.Sprint(i%4), fmt.Sprint(i%4), fmt.Sprint(i), forever, nil))
			time.Sleep(3 * time.Second)
		}
		b := start(t, l, "b", "b", "b", forever, nil)
		time.Sleep(10 * time.Second)
		b.want(t, "waits")
		if n := count(jobs, "runs"); n != 8 {
			t.Errorf("%d of 8 run", n)
		}
		finish(append(jobs, b)...)
	})
}

// TestHeld shows that a client that holds the slow lane makes room for another, for
// whom it is called off and not given up.
func TestHeld(t *testing.T) {
	for _, hosts := range []string{"hh", "gh"} { // one that holds its part, and two that hold all
		synctest.Test(t, func(t *testing.T) {
			l := New(small)
			var greedy []*job
			for i := range 8 {
				greedy = append(greedy, start(t, l, fmt.Sprint("a", i%2), hosts[i%2:i%2+1], fmt.Sprint(i), forever, nil))
				time.Sleep(3 * time.Second)
			}
			b := start(t, l, "b", "h", "other", 5*time.Second, nil)
			time.Sleep(7 * time.Second)
			b.want(t, "done")
			if n := count(greedy, "refused") + count(greedy, "given up"); n > 0 {
				t.Errorf("%d did not only make room", n)
			}
			finish(b)
			finish(greedy...)
		})
	}
}

// TestSilent shows that what makes room is what has been silent longest.
func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small)
		var greedy []*job
		for i := range 8 {
			greedy = append(greedy, start(t, l, fmt.Sprint("a", i%2), fmt.Sprint("h", i%2), fmt.Sprint(i), forever, nil))
			time.Sleep(2 * time.Second)
		}
		for _, j := range greedy {
			if j != greedy[4] && j != greedy[5] { // one of either client
				j.place.Heard()
			}
		}
		b := start(t, l, "b", "g", "other", forever, nil)
		time.Sleep(2 * time.Second)
		b.want(t, "runs")
		if n, all := count(greedy[4:6], "waits"), count(greedy, "waits"); n != 1 || all != 1 {
			t.Errorf("%d of the silent wait, of all %d", n, all)
		}
		finish(append(greedy, b)...)
	})
}

// TestNeighbours shows that what is slow of a client makes room for what is slow of the
// same client and about another host.
func TestNeighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small)
		jobs := flood(t, l, "a", "h", 8)
		time.Sleep(10 * time.Second)
		other := start(t, l, "a", "g", "x", 3*time.Second, nil)
		time.Sleep(6 * time.Second)
		other.want(t, "done")
		if n := count(jobs, "given up") + count(jobs, "refused"); n > 0 {
			t.Errorf("%d did not only make room", n)
		}
		finish(jobs...)
	})
}

// TestUnwanted shows that what nobody waits for is given up first.
func TestUnwanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small)
		var jobs []*job
		for i := range 4 {
			jobs = append(jobs, start(t, l, "a", "h", fmt.Sprint(i), forever, func() bool { return i != 2 }))
			time.Sleep(2 * time.Second)
		}
		j := start(t, l, "a", "h", "x", forever, nil)
		time.Sleep(2 * time.Second)
		j.want(t, "runs")
		jobs[2].want(t, "given up")
		jobs[0].want(t, "runs")
		finish(append(jobs, j)...)
	})
}

// TestWorking shows that what waits for nobody is not called off, in either lane.
func TestWorking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small)
		var jobs []*job
		for i := range 9 {
			if i == 8 { // b's, which finds no room in the slow lane
				i = 100
			}
			jobs = append(jobs, start(t, l, fmt.Sprint("a", i%2+i/100), fmt.Sprint("h", i%2+i/50), fmt.Sprint(i), forever, nil))
			jobs[len(jobs)-1].place.Working()
			time.Sleep(3 * time.Second)
		}
		time.Sleep(10 * time.Second)
		if n := count(jobs, "runs"); n != len(jobs) {
			t.Errorf("%d of %d run", n, len(jobs))
		}
		for _, j := range jobs {
			if n := j.begun.Load(); n != 1 {
				t.Errorf("work was begun %d times", n)
			}
		}
		finish(jobs...)
	})
}

// TestOffer shows that what waits behind a flood of one client comes sooner when
// another wants it too, and that nobody can make it come later by wanting it.
func TestOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small)
		jobs := flood(t, l, "a", "h", 8)
		j := jobs[3]
		j.want(t, "waits")
		j.place.Offer("b")
		j.want(t, "runs")
		mine := flood(t, l, "c", "h2", 2)[1]
		mine.place.Offer("a")
		if got := mine.place.names[byClient]; got != "c" {
			t.Errorf("it waits as %s's", got)
		}
		finish(jobs...)
		mine.finish()
	})
}

// TestQueueWait shows that nothing waits for ever, and nothing for who has gone.
func TestQueueWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Quick: 1, Slow: 1, Queue: 4, Patience: time.Hour, Wait: 20 * time.Second})
		first := start(t, l, "a", "h", "1", forever, nil)
		gone := start(t, l, "b", "h", "2", forever, nil)
		gone.finish()
		gone.want(t, "ended")
		late := start(t, l, "b", "h", "2", forever, nil)
		time.Sleep(21 * time.Second)
		late.want(t, "refused")
		first.want(t, "runs")
		finish(first)
		last := start(t, l, "b", "h", "3", forever, nil)
		last.want(t, "runs")
		finish(last)
	})
}

// TestError shows that an error that is no end of the context is reported, though the
// work was called off.
func TestError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Quick: 1, Slow: 1, Queue: 4, Patience: time.Second, Wait: 20 * time.Second})
		first := start(t, l, "a", "h", "1", forever, nil)
		time.Sleep(2 * time.Second)
		grave := errors.New("another hash")
		err := l.New(Work{Client: "a"}).Do(t.Context(), func(ctx context.Context) error {
			<-ctx.Done()
			return grave
		})
		if err != grave {
			t.Errorf("Do = %v", err)
		}
		finish(first)
	})
}

// TestHosts shows that work about one host is not refused for, or behind, a flood of
// the same client's about another.
func TestHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small)
		jobs := flood(t, l, "a", "h", 8)
		other := start(t, l, "a", "other", "x", time.Second/2, nil)
		jobs = append(jobs, flood(t, l, "a", "h", 20)...)
		other.want(t, "waits")
		time.Sleep(2 * time.Second)
		other.want(t, "done")
		finish(jobs...)
	})
}

// TestMoments shows what becomes of work at moments that are hard to hit: it found
// room by what took its place in the queue, or its time in the quick lane is over
// before it began.
func TestMoments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := small
		c.Queue = 1
		l := New(c)
		place := func(client string, in *lane) *Place {
			p := l.New(Work{Client: client, Host: client, Subject: fmt.Sprint(len(l.slow.places))})
			if in != nil {
				p.cancel = func(error) {}
				l.put(p, in)
			}
			return p
		}
		for i := range l.slow.size {
			place(fmt.Sprint("a", i%2), &l.slow)
		}
		b := place("b", nil)
		l.line(b, &l.second)
		l.claim(b)
		if err := <-b.entered; err != ErrFull {
			t.Errorf("it entered with %v", err)
		}
		if n := len(l.slow.places); n != l.slow.size {
			t.Errorf("%d places of %d are held", n, l.slow.size)
		}
		early := place("a0", &l.quick)
		early.cancel = nil
		early.timer = time.AfterFunc(time.Hour, func() {})
		l.move(early)
		if early.in != &l.quick {
			t.Error("what has not begun was moved to where there is no room")
		}
		l.drop(early)
	})
}

// TestAtRandom has many come, hang, make progress, leave, and end late when they are
// called off: no lane ever has more than its size, and in the end all are empty.
func TestAtRandom(t *testing.T) {
	few := small
	few.Queue = 3 // what makes room is refused, or refuses others
	for _, c := range []Config{small, few} {
		synctest.Test(t, func(t *testing.T) { testAtRandom(t, New(c)) })
	}
}

func testAtRandom(t *testing.T, l *Lanes) {
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
	for range 1000 {
		wg.Go(func() {
			time.Sleep(rand.N(time.Minute))
			ctx, cancel := context.WithTimeout(t.Context(), rand.N(time.Minute))
			defer cancel()
			wanted := rand.N(4) > 0
			p := l.New(Work{Client: fmt.Sprint(rand.N(5)), Host: fmt.Sprint(rand.N(3)), Subject: fmt.Sprint(rand.N(20)), Wanted: func() bool { return wanted }})
			p.Do(ctx, func(ctx context.Context) error {
				for range rand.N(20) {
					select {
					case <-ctx.Done():
						time.Sleep(rand.N(5 * time.Second))
						return ctx.Err()
					case <-time.After(rand.N(time.Second)):
					}
					switch rand.N(10) {
					case 0:
						PlaceOf(ctx).Working()
					case 1:
						p.Offer(fmt.Sprint(rand.N(5)))
					case 2, 3, 4:
						PlaceOf(ctx).Heard()
					case 5:
						p.Leave()
					}
				}
				return nil
			})
		})
	}
	wg.Wait()
	close(stop)
	<-ended
	if len(l.quick.places)+len(l.slow.places)+len(l.queue.places)+len(l.first.order)+len(l.second.lists)+len(l.slow.counts[byClient])+len(l.queue.counts[bySubject]) > 0 {
		t.Error("something is left")
	}
}
