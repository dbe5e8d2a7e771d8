// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// TestHold takes turns: a burst at once, then one in an interval, and again after a
// pause. One size costs one turn, however often it is tried.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(Config{Interval: time.Second}, nil)
		var size int64
		turn := func() time.Duration {
			size++
			begin := time.Now()
			for d := l.hold(size); d > 0; d = l.hold(size) {
				time.Sleep(d)
			}
			return time.Since(begin).Round(time.Millisecond)
		}
		turns := func(n int, want time.Duration) {
			t.Helper()
			for range n {
				if got := turn(); got != want {
					t.Errorf("size %d waited %v, want %v", size, got, want)
				}
			}
		}
		turns(Burst, 0)
		turns(3, time.Second)
		for range 2 * Burst {
			if d := l.hold(size); d != 0 {
				t.Errorf("the same size waits %v", d)
			}
		}
		time.Sleep(5 * time.Second)
		turns(5, 0)
		turns(1, time.Second)
		time.Sleep(time.Hour)
		turns(Burst, 0)
		turns(1, time.Second)

		l = newLog(Config{}, nil)
		turns(3*Burst, 0)
	})
}

// TestBurst publishes as many as may follow each other at once, and holds the next.
func TestBurst(t *testing.T) {
	a := newWitness(t, "a")
	l := startSlow(t, a)
	defer closeLog(t, l)
	for i := range Burst {
		if _, err := l.Append(t.Context(), record(i)); err != nil {
			t.Fatal(err)
		}
	}
	held := make(chan error, 1)
	go func() {
		_, err := l.Append(t.Context(), record(Burst))
		held <- err
	}()
	eventually(t, "the next is on its way", func() bool { return l.onTheWay(record(Burst)) })
	asked, _ := a.requests()
	for range 20 { // as a late cosignature would
		l.wake()
		time.Sleep(time.Millisecond)
	}
	if n, _ := a.requests(); n != asked || l.Published().Size != Burst {
		t.Errorf("published size %d, %d more requests", l.Published().Size, n-asked)
	}
	l.rate.SetLimit(rate.Inf) // an hour later
	l.wake()
	if err := <-held; err != nil {
		t.Error(err)
	}
}

// TestRetryRate has a publication fail some times, and a log that does not grow
// cosigned again: neither takes the turn of another publication.
func TestRetryRate(t *testing.T) {
	a := newWitness(t, "a")
	l := startSlow(t, a)
	defer closeLog(t, l)
	eventually(t, "it is cosigned", func() bool { _, ok := l.CosignatureAge(); return ok })
	a.set(func() { a.down = true })
	go l.Append(t.Context(), record(0))
	eventually(t, "it is refused", func() bool { return l.Admits() != nil })
	eventually(t, "it is tried again", func() bool { return a.attempts() >= 5 })
	a.set(func() { a.down = false })
	eventually(t, "it is published", func() bool { return l.Published().Size == 1 })
	if n := l.rate.Tokens(); n < Burst-1.5 {
		t.Errorf("%v turns are left of %d", n, Burst)
	}
}

// startSlow starts a log that has a burst, and then an hour from one publication to
// the next.
func startSlow(t *testing.T, ws ...*witness) *Log {
	t.Helper()
	l, err := openWitnessed(t, newDir(t), 1, nil, ws...)
	if err != nil {
		t.Fatal(err)
	}
	l.rate.SetLimit(rate.Every(time.Hour))
	if err := l.startForTest(t); err != nil {
		t.Fatal(err)
	}
	return l
}
