// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"context"
	"sync"
	"testing"

	"github.com/transparency-dev/tessera"

	"example.org/sumlog/log/engine"
)

// BenchmarkAppend is one append after the other, to publication.
func BenchmarkAppend(b *testing.B) {
	l, _ := start(b, newDir(b))
	defer closeLog(b, l)
	for i := 0; b.Loop(); i++ {
		if _, err := l.Append(context.Background(), record(i)); err != nil {
			b.Fatal(err)
		}
	}
}

const writers = 64

// BenchmarkAppend64 has 64 appends waiting at any time.
func BenchmarkAppend64(b *testing.B) {
	l, _ := start(b, newDir(b))
	defer closeLog(b, l)
	inParallel(b, func(r Record) error {
		_, err := l.Append(context.Background(), r)
		return err
	})
}

// BenchmarkTessera64 is the floor of BenchmarkAppend64: Tessera alone.
func BenchmarkTessera64(b *testing.B) {
	add, err := engine.Start(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	inParallel(b, func(r Record) error {
		_, err := add(context.Background(), tessera.NewEntry(r.Text()))()
		return err
	})
}

// inParallel calls f b.N times, from 64 goroutines.
func inParallel(b *testing.B, f func(Record) error) {
	b.ResetTimer()
	next := make(chan int)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for i := range next {
				if err := f(record(i)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range b.N {
		next <- i
	}
	close(next)
	wg.Wait()
}
