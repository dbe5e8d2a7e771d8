// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// raceCases are those of requests at the same time.
func raceCases() []Case {
	return []Case{
		{"race-one-wins", addRule + "comparing the old size and recording the new one is one step: of many updates from one size, one is cosigned and all others are 409", onGrown(raceOneWins)},
		{"race-no-rollback", addRule + "a smaller update that was checked before a larger one was recorded does not roll it back", onGrown(raceRollback)},
		{"race-refresh", addRule + "a refresh that was checked before an update was recorded does not undo it", onGrown(raceRefresh)},
	}
}

// racers are the requests of a race.
const racers = 64

// race submits all at once and returns the answers in their order. The witness is
// then taken to be at the largest size that it cosigned.
func (r *run) race(ctx context.Context, all []submission) ([]answer, error) {
	answers, errs := make([]answer, len(all)), make([]error, len(all))
	start := make(chan struct{})
	var ready, done sync.WaitGroup
	for i, s := range all {
		body := s.body()
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-start
			answers[i], errs[i] = r.client.post(ctx, "add-checkpoint", body)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	for i, a := range answers {
		if errs[i] != nil {
			return nil, errs[i]
		}
		if a.status == http.StatusOK {
			r.size = max(r.size, all[i].size)
		}
	}
	return answers, nil
}

// settled checks that the witness is at the largest size that it cosigned.
func (r *run) settled(ctx context.Context) error {
	want := r.size
	a, err := r.send(ctx, r.elsewhere())
	if err != nil {
		return err
	}
	if got, err := conflictSize(a); err != nil || got != want {
		return fmt.Errorf("size %d was cosigned, and the witness says: %v", want, a)
	}
	_, err = r.accepted(ctx, r.again())
	return err
}

func raceOneWins(ctx context.Context, r *run) error {
	for range 3 {
		old := r.size
		var all []submission
		for i := range racers {
			all = append(all, r.from(old, old+1+int64(i%(racers/2))))
		}
		answers, err := r.race(ctx, all)
		if err != nil {
			return err
		}
		won := 0
		for i, a := range answers {
			switch a.status {
			case http.StatusOK:
				won++
				if _, err := r.verified(a, all[i].note.Text); err != nil {
					return err
				}
			case http.StatusConflict:
			default:
				return fmt.Errorf("%v, want 200 or 409", a)
			}
		}
		if won != 1 {
			return fmt.Errorf("%d of %d updates from size %d were cosigned, want 1", won, racers, old)
		}
		if err := r.settled(ctx); err != nil {
			return err
		}
	}
	return nil
}

func raceRollback(ctx context.Context, r *run) error {
	for range 8 {
		old := r.size
		larger, smaller := r.from(old, old+50), r.from(old, old+1)
		all := slices.Concat(slices.Repeat([]submission{larger}, 8), slices.Repeat([]submission{smaller}, 8))
		if _, err := r.race(ctx, all); err != nil {
			return err
		}
		if r.size == old {
			return fmt.Errorf("none of two updates from size %d was cosigned", old)
		}
		if err := r.settled(ctx); err != nil {
			return err
		}
	}
	return nil
}

func raceRefresh(ctx context.Context, r *run) error {
	for range 8 {
		old := r.size
		all := slices.Insert(slices.Repeat([]submission{r.again()}, 15), 8, r.from(old, old+3))
		answers, err := r.race(ctx, all)
		if err != nil {
			return err
		}
		if a := answers[8]; a.status != http.StatusOK {
			return fmt.Errorf("%v for the only update, amid refreshes, want 200", a)
		}
		if err := r.settled(ctx); err != nil {
			return err
		}
	}
	return nil
}

// restartCases are those of crashes.
func restartCases() []Case {
	return []Case{
		{"restart-size", addRule + "the checkpoint is persisted before the answer: it is there after a restart", restarted(restartSize)},
		{"restart-root", addRule + "a restart does not make the witness forget the root", restarted(restartRoot)},
		{"restart-stream", addRule + "what was answered before a crash amid updates is not forgotten", restarted(restartStream)},
	}
}

func restarted(f func(context.Context, *run) error) func(context.Context, *run) error {
	return onGrown(func(ctx context.Context, r *run) error {
		if r.cfg.Restart == nil {
			return needsRestart
		}
		return f(ctx, r)
	})
}

// restart restarts the witness and returns the size that it then has.
func (r *run) restart(ctx context.Context) (size int64, err error) {
	if err := r.cfg.Restart(ctx); err != nil {
		return 0, fmt.Errorf("restart: %w", err)
	}
	r.client.http.CloseIdleConnections()
	err = r.patiently(ctx, func() (err error) {
		size, err = r.ask(ctx)
		return err
	})
	return size, err
}

func restartSize(ctx context.Context, r *run) error {
	for range 2 {
		if _, err := r.accepted(ctx, r.next()); err != nil {
			return err
		}
		want := r.size
		got, err := r.restart(ctx)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("size %d was cosigned; after a restart the witness has %d", want, got)
		}
	}
	return nil
}

func restartRoot(ctx context.Context, r *run) error {
	if _, err := r.accepted(ctx, r.next()); err != nil {
		return err
	}
	if _, err := r.restart(ctx); err != nil {
		return err
	}
	f := r.tree.fork(r.size-1, 3)
	for _, s := range []submission{
		{f, r.size, r.size, nil, r.note(f, r.size)},
		{f, r.size, r.size + 3, f.proof(r.size, r.size+3), r.note(f, r.size+3)},
	} {
		if err := r.refused(ctx, s, http.StatusUnprocessableEntity); err != nil {
			return err
		}
	}
	_, err := r.accepted(ctx, r.next())
	return err
}

// beforeCrash is how many updates are answered before the crash.
const beforeCrash = 20

func restartStream(ctx context.Context, r *run) error {
	for range 3 {
		st := &stream{r: r, answered: r.size, asked: r.size, warm: make(chan struct{}), stop: make(chan struct{})}
		var done sync.WaitGroup
		done.Go(func() { st.err = st.run(ctx) })
		<-st.warm
		err := r.cfg.Restart(ctx)
		close(st.stop)
		done.Wait()
		r.client.http.CloseIdleConnections()
		if err != nil {
			return fmt.Errorf("restart: %w", err)
		}
		if st.err != nil {
			return st.err
		}
		if err := r.resumed(ctx, st); err != nil {
			return err
		}
	}
	return nil
}

// A stream is one update after the other, until the first that is not answered.
type stream struct {
	r               *run
	answered, asked int64
	warm, stop      chan struct{}
	err             error
}

func (st *stream) run(ctx context.Context) error {
	warm := sync.OnceFunc(func() { close(st.warm) })
	defer warm()
	for n := 0; ; n++ {
		if n == beforeCrash {
			warm()
		}
		select {
		case <-st.stop:
			return nil
		default:
		}
		st.asked = st.answered + 1 + int64(n%3)
		s := st.r.from(st.answered, st.asked)
		a, err := st.r.client.once(ctx, http.MethodPost, st.r.client.submit+"/add-checkpoint", s.body())
		if err != nil {
			if n < beforeCrash {
				return err
			}
			return nil // the crash, or what leads to it
		}
		switch a.status {
		case http.StatusOK:
			if _, err := st.r.verified(a, s.note.Text); err != nil {
				return err
			}
			st.answered = st.asked
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests:
			if n >= beforeCrash {
				return nil // something before the witness, or its end
			}
		default:
			return fmt.Errorf("%v, want 200 for old %d and size %d", a, s.old, s.size)
		}
	}
}

// resumed checks that the witness that was restarted has what it answered last,
// or what it was asked last.
func (r *run) resumed(ctx context.Context, st *stream) error {
	var got int64
	r.size = st.answered
	err := r.patiently(ctx, func() (err error) {
		got, err = r.ask(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if got != st.answered && got != st.asked {
		return fmt.Errorf("size %d was cosigned and %d asked for; after a crash the witness has %d", st.answered, st.asked, got)
	}
	r.size = got
	s := r.again()
	a, err := r.accepted(ctx, s)
	if err != nil {
		return err
	}
	_, err = r.verified(a, s.note.Text)
	return err
}
