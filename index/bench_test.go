// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/module"
)

// benchSize is the size of the log in benchmarks, SUMLOG_BENCH_SIZE if set.
func benchSize(b *testing.B) int64 {
	n, err := strconv.ParseInt(os.Getenv("SUMLOG_BENCH_SIZE"), 10, 64)
	if err != nil {
		return 50_000
	}
	return n
}

// cpuTime returns what this process has used of the CPU.
func cpuTime() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// maxRSS returns the largest resident set so far, in MiB.
func maxRSS() float64 {
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return float64(ru.Maxrss) / 1024
}

func reportCPU(b *testing.B, begin time.Duration, units int64, unit string) {
	cpu := cpuTime() - begin
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N), "cpu-ns/op")
	if unit != "" {
		b.ReportMetric(float64(units)*float64(b.N)/cpu.Seconds(), unit+"/cpu-s")
	}
}

func openBench(b *testing.B) *Index {
	b.Helper()
	x, err := Open(Config{Path: filepath.Join(b.TempDir(), "index.db"), Source: newSynthetic(benchSize(b))})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { x.Close() })
	return x
}

// BenchmarkRebuild makes the database. The names say how the entries come:
// just made up, or parsed from their text too, as a log has to. Source is the
// share of that in it.
func BenchmarkRebuild(b *testing.B) {
	for _, parsed := range []bool{false, true} {
		src := newSynthetic(benchSize(b))
		src.parsed = parsed
		b.Run(fmt.Sprintf("source/parsed=%v", parsed), func(b *testing.B) {
			begin := cpuTime()
			for b.Loop() {
				for range src.Entries(0, src.n) {
				}
			}
			reportCPU(b, begin, src.n, "records")
		})
		b.Run(fmt.Sprintf("all/parsed=%v", parsed), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "index.db")
			begin := cpuTime()
			for b.Loop() {
				if err := build(Config{Path: path, Source: src}); err != nil {
					b.Fatal(err)
				}
			}
			reportCPU(b, begin, src.n, "records")
			fi, err := os.Stat(path)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(fi.Size())/float64(src.n), "bytes/record")
			b.ReportMetric(maxRSS(), "maxrss-MiB")
		})
	}
}

// BenchmarkOpen is a start with a sound database: it is read and checked.
func BenchmarkOpen(b *testing.B) {
	src := newSynthetic(benchSize(b))
	c := Config{Path: filepath.Join(b.TempDir(), "index.db"), Source: src}
	if err := build(c); err != nil {
		b.Fatal(err)
	}
	begin := cpuTime()
	for b.Loop() {
		x, err := Open(c)
		if err != nil {
			b.Fatal(err)
		}
		x.Close()
	}
	reportCPU(b, begin, src.n, "records")
}

func BenchmarkFind(b *testing.B) {
	x := openBench(b)
	n := benchSize(b)
	rnd := rand.New(rand.NewPCG(1, 2))
	ms := make([]module.Version, 1<<18)
	for i := range ms {
		ms[i] = syntheticModule(rnd.Int64N(n))
	}
	i := 0
	begin := cpuTime()
	for b.Loop() {
		i++
		if _, ok, err := x.Find(ms[i%len(ms)]); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
	reportCPU(b, begin, 1, "finds")
}

func BenchmarkFeedPage(b *testing.B) {
	x := openBench(b)
	n := benchSize(b)
	for _, c := range []struct {
		name  string
		query func(i int) feedQuery
	}{
		{"after", func(i int) feedQuery {
			return feedQuery{since: noTime, first: int64(i) * 7919 % (n - maxPage), limit: maxPage}
		}},
		{"since", func(i int) feedQuery {
			return feedQuery{since: epoch.UnixMicro() + int64(i)*7919%(n-maxPage), limit: maxPage}
		}},
		{"prefix", func(i int) feedQuery {
			return feedQuery{since: noTime, limit: maxPage, prefix: syntheticModule(int64(i) % n).Path}
		}},
		{"prefix-all", func(i int) feedQuery { return feedQuery{since: noTime, limit: maxPage, prefix: "github.com"} }},
	} {
		b.Run(c.name, func(b *testing.B) {
			i := 0
			var s span
			begin := cpuTime()
			for b.Loop() {
				i++
				if _, err := x.page(context.Background(), c.query(i), &s); err != nil {
					b.Fatal(err)
				}
			}
			reportCPU(b, begin, maxPage, "")
		})
	}
}

// discard is a ResponseWriter that costs nothing.
type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

func BenchmarkLookup(b *testing.B) {
	x := openBench(b)
	n := benchSize(b)
	for _, hot := range []int64{min(10_000, n), n} {
		b.Run(fmt.Sprintf("hot=%d", hot), func(b *testing.B) {
			h := x.Lookup(nil, nil)
			rnd := rand.New(rand.NewPCG(1, 2))
			rs := make([]*http.Request, hot)
			for i := range rs {
				m := syntheticModule(int64(i))
				rs[i] = httptest.NewRequest("GET", "/lookup/"+m.Path+"@"+m.Version, nil)
			}
			w := discard{http.Header{}}
			begin := cpuTime()
			for b.Loop() {
				h.ServeHTTP(w, rs[rnd.IntN(len(rs))])
			}
			reportCPU(b, begin, 1, "lookups")
		})
	}
}
