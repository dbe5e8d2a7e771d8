// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"sync/atomic"
	"testing"
)

// requests makes n growing requests of a log, from size 0 on.
func requests(l *testLog, n int) [][]byte {
	size := int64(0)
	out := make([][]byte, n)
	for i := range out {
		out[i] = l.request(0, size, size+7).Bytes()
		size += 7
	}
	return out
}

// BenchmarkAdd submits growing checkpoints of 100 logs, many at once, without
// HTTP. On a disk in memory it shows the processor's part alone.
func BenchmarkAdd(b *testing.B) {
	for _, clients := range []int{1, 8, 32, 128} {
		for _, disk := range []string{"memory", "disk"} {
			b.Run(fmt.Sprintf("%s/%d", disk, clients), func(b *testing.B) {
				dir := memoryDir(b)
				if disk == "disk" {
					dir = b.TempDir()
				}
				var logs []*testLog
				for i := range clients {
					logs = append(logs, newTestLog(fmt.Sprintf("%d.example", i)))
				}
				r := newRigIn(b, dir, logs...)
				bodies := make([][][]byte, clients)
				for i, l := range logs {
					bodies[i] = requests(l, b.N/clients+1)
				}
				var left atomic.Int64
				left.Store(int64(b.N))
				done := make(chan error, clients)
				b.ReportAllocs()
				b.ResetTimer()
				for i := range clients {
					go func() {
						for _, body := range bodies[i] {
							if left.Add(-1) < 0 {
								break
							}
							if _, err := r.w.Add(context.Background(), body); err != nil {
								done <- err
								return
							}
						}
						done <- nil
					}()
				}
				for range clients {
					if err := <-done; err != nil {
						b.Error(err)
					}
				}
			})
		}
	}
}

// BenchmarkFloor is one verification and one signature: what Add cannot go below.
func BenchmarkFloor(b *testing.B) {
	l := newTestLog("a.example")
	n := l.note(l.tree(0, 12))
	for b.Loop() {
		ed25519.Sign(l.private, []byte(n.Text))
		if !l.key.Verify(n.Text, n.Signatures[0].Bytes) {
			b.Fatal("bad signature")
		}
	}
}

// BenchmarkStale is a request that is answered from memory.
func BenchmarkStale(b *testing.B) {
	l := newTestLog("a.example")
	r := newRigIn(b, memoryDir(b), l)
	r.mustAdd(l, 0, 0, 10)
	body := l.request(0, 5, 12).Bytes()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.w.Add(context.Background(), body); statusOf(err) != 409 {
			b.Fatal(err)
		}
	}
}
