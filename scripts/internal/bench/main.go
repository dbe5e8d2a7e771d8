// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

// Bench measures how fast sumlog, sumwitness and sumaudit are, each figure beside
// a floor: what the same machine does in the same minutes without sumlog, such as a plain net/http
// handler that sends the same bytes from memory. scripts/bench builds and runs
// it.
//
// # How
//
// Figures of servers are requests per second of CPU time (user and system) of
// the server's process: load generator and server share the machine, so wall
// time says little. sumlog and floor are processes of their own, measured in
// turns; a figure is the median of the rounds, and a ratio is the median of the
// rounds' ratios, so it is not exactly the quotient of the two figures.
// Admissions, the go command and witnesses are measured by wall time, in turns
// with their floors, and compared by their medians. What clients send to a
// witness is made before the clock runs.
//
// With -large the parts whose figures depend on the size of the log run again over
// one of ten times the records, in the same run, and their rows get columns for it.
//
// All traffic but that of the go command's cold runs stays on 127.0.0.1. What is
// cached between runs is a log of a million made-up records, with -large one of ten
// million, and a file tree of five million; everything else is removed at the end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/klog/v2"
)

// A part is what -only chooses.
type part struct {
	name string
	run  func(*bench) error
	size bool // its figures depend on the size of the log
}

// parts are in an order that lets later ones use what earlier ones left in the
// page cache.
var parts = []part{
	{"lookup", measureLookup, true},
	{"heads", measureHeads, false},
	{"tiles", measureTiles, true},
	{"zips", measureZips, false},
	{"index", measureIndex, true},
	{"start", measureStart, true},
	{"admission", measureAdmission, true},
	{"writers", measureWriters, false},
	{"memory", measureMemory, true},
	{"rebuild", measureRebuild, true},
	{"witness", measureWitness, false},
	{"origins", measureOrigins, false},
	{"quorum", measureQuorum, false},
	{"verify", measureVerify, false},
	{"audit", measureAudit, false},
	{"fill", measureFill, false},
	{"cold", measureCold, false},
	{"warm", measureWarm, false},
}

// A bench is one run.
type bench struct {
	ctx        context.Context
	sumlog     string // the programs under measure
	sumwitness string
	sumaudit   string
	work       string // kept between runs
	temp       string // of this run
	short      bool
	size       int64 // of the large log under measure
	table      table

	found string   // the directory of the large log, once it is there
	big   *serving // a server over it, while parts use it
	graph *graph   // the module graph of the go command's parts
}

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "floor":
			exit(runFloor(os.Args[2:]))
		case "commit-floor":
			exit(runCommitFloor(os.Args[2:]))
		case "replay":
			exit(runReplay(os.Args[2:]))
		}
	}
	exit(run())
}

func exit(err error) {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

func run() error {
	sumlog := flag.String("sumlog", "", "the sumlog `program` to measure")
	sumwitness := flag.String("sumwitness", "", "the sumwitness `program` to measure")
	sumaudit := flag.String("sumaudit", "", "the sumaudit `program` to measure")
	only := flag.String("only", "", "measure only these `parts`, separated by commas: "+partNames())
	short := flag.Bool("short", false, "small sizes and few rounds: whether it works, not how fast it is")
	large := flag.Bool("large", false, "measure what depends on the size of the log with ten times the records too, in columns of their own")
	markdown := flag.Bool("md", false, "print the table in Markdown")
	work := flag.String("work", "", "keep the large log in `DIR` (default sumlog-bench in the user's cache directory)")
	limit := flag.Duration("timeout", 0, "end after this `time` and print what there is (default 15 minutes, with -large 90)")
	flag.Parse()
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if *sumlog == "" || *sumwitness == "" || *sumaudit == "" || flag.NArg() > 0 {
		return errors.New("run scripts/bench; its flags are those of bench -h, but for those that name programs")
	}
	// Tessera talks about each directory it is given.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *limit == 0 {
		*limit = 15 * time.Minute
		if *large {
			*limit = 90 * time.Minute
		}
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	b := &bench{ctx: ctx, sumlog: *sumlog, sumwitness: *sumwitness, sumaudit: *sumaudit, work: *work, short: *short}
	if err := b.prepare(); err != nil {
		return err
	}
	defer os.RemoveAll(b.temp)
	begin, load := time.Now(), loadAverage()
	if b.short {
		b.table.note("With -short, figures only show that the measurement works")
	}
	b.size = b.usual()
	sizes := fmt.Sprint(b.size)
	b.measure(chosen)
	if *large {
		b.closeBig()
		b.size *= 10
		b.table.second = fmt.Sprintf("%d records", b.size)
		sizes += fmt.Sprint(" and ", b.size)
		b.measure(slices.DeleteFunc(slices.Clone(chosen), func(p part) bool { return !p.size }))
	}
	b.closeBig()
	b.table.lead("%s, %d × %s, %s records; load average %s before, %s after; %v",
		runtime.Version(), runtime.NumCPU(), cpuModel(), sizes, load, loadAverage(), time.Since(begin).Round(time.Second))
	return b.table.print(os.Stdout, *markdown)
}

func partNames() string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

func choose(only string) ([]part, error) {
	if only == "" {
		return parts, nil
	}
	var chosen []part
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-only %s: there is no part of that name, but %s", name, partNames())
		}
		chosen = append(chosen, parts[i])
	}
	return chosen, nil
}

func (b *bench) prepare() error {
	if b.work == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		b.work = filepath.Join(cache, "sumlog-bench")
	}
	var err error
	if b.work, err = filepath.Abs(b.work); err != nil {
		return err
	}
	for _, program := range []*string{&b.sumlog, &b.sumwitness, &b.sumaudit} {
		if *program, err = filepath.Abs(*program); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(b.work, 0o755); err != nil {
		return err
	}
	// On the same disk as the large log, so that all durable steps are alike.
	b.temp, err = os.MkdirTemp(b.work, "run-")
	return err
}

// measure runs the parts. One that fails does not stop those after it: its row
// says why.
func (b *bench) measure(chosen []part) {
	for _, p := range chosen {
		if err := b.ctx.Err(); err != nil {
			b.table.add(row{what: p.name, verdict: "not measured: " + err.Error()})
			continue
		}
		begin := time.Now()
		err := p.run(b)
		switch {
		case errors.Is(err, errSkip):
			b.table.add(row{what: p.name, verdict: err.Error()})
		case err != nil:
			b.table.add(row{what: p.name, verdict: "failed: " + err.Error()})
		}
		progress("%s: %v", p.name, time.Since(begin).Round(time.Second))
	}
}

// records is the size of the large log under measure.
func (b *bench) records() int64 { return b.size }

// usual is the size of the large log without -large.
func (b *bench) usual() int64 {
	if b.short {
		return 20_000
	}
	return 1_000_000
}

// rounds and span are how often something is measured, and for how long.
func (b *bench) rounds() int {
	if b.short {
		return 3
	}
	return 5
}

func (b *bench) span() time.Duration {
	if b.short {
		return 200 * time.Millisecond
	}
	return 1500 * time.Millisecond
}

// newDir makes an empty directory of this run.
func (b *bench) newDir(name string) (string, error) { return os.MkdirTemp(b.temp, name+"-") }

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

// loadAverage is that of the last minute.
func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}

func cpuModel() string {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
