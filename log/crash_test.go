// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/module"

	"example.org/sumlog/internal/durable"
)

// The crash tests run this test binary again as a child that works on a log and
// tells on its standard output, a line for each, what it has seen, until it is
// killed or its disk fails. What it has told must hold for ever.
//
//	pid PID
//	creating, created, opened, started
//	ack I INDEX             Append(record(I)) returned INDEX
//	head SIZE TIME ROOT     this was the newest publication
//	audited SIZE            what an auditor cosigned was taken
//	backup SIZE             the backup was made or brought up to this size
//	stopped TEXT            signing stopped
//	bad TEXT                a property does not hold

// childEnv holds the childConfig of a child. Without it the tests run.
const childEnv = "SUMLOG_TEST_CHILD"

type childConfig struct {
	Dir, Guard string
	Seed       uint64
	From       int    // the first record that is surely new
	Count      int    // how many new records to append before the end; 0: until killed
	Workers    int    // that append at once
	Backup     string // a directory to back up into again and again, or ""
	Files      int    // files that may be open, less those open after Start, plus 2; 0: as many as usual
}

// thorough reports whether the tests have minutes, not seconds.
func thorough() bool {
	return os.Getenv("SUMLOG_LONG") != "" || os.Getenv("CI") == "true"
}

// newRand returns a random source that a failed test can be repeated with.
func newRand(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SUMLOG_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SUMLOG_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// say tells the parent. One write of less than PIPE_BUF bytes arrives whole or
// not at all, however the process ends.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stdout, "%s\n", strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " "))
}

// A worker is a child's log and what its appenders share.
type worker struct {
	childConfig
	l    *Log
	next atomic.Int64
	head atomic.Pointer[Publication]

	audit sync.Mutex
}

// childMain is what a child does in place of tests.
func childMain(config string) int {
	go func() { // a child does not outlive the test
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	var w worker
	if err := json.Unmarshal([]byte(config), &w.childConfig); err != nil {
		panic(err)
	}
	say("pid %d", os.Getpid())
	if err := w.start(); err != nil {
		say("bad %v", err)
		return 1
	}
	go func() { say("stopped %v", <-w.l.Failed()) }()
	if w.Backup != "" {
		go func() {
			for {
				size, err := Backup(context.Background(), BackupConfig{From: w.Dir, FromGuard: w.Guard, To: w.Backup})
				if err != nil {
					say("bad backup: %v", err)
					return
				}
				say("backup %d", size)
			}
		}()
	}
	done := make(chan struct{})
	for i := range w.Workers {
		go func() {
			defer func() { done <- struct{}{} }()
			w.run(rand.New(rand.NewPCG(w.Seed, uint64(i))))
		}()
	}
	for range w.Workers {
		<-done
	}
	return 0
}

// start creates the log if it is missing, and starts it.
func (w *worker) start() error {
	if _, err := os.Stat(w.Dir); err != nil {
		say("creating")
		if _, err := Create(CreateConfig{Dir: w.Dir, Guard: w.Guard, Name: "sum.example.org/test"}); err != nil {
			return fmt.Errorf("Create: %w", err)
		}
		say("created")
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	var err error
	if w.l, err = Open(Config{Dir: w.Dir, Guard: w.Guard, Logger: logger, Auditors: auditorKeys(1)}); err != nil {
		return fmt.Errorf("Open: %w", err)
	}
	say("opened")
	if kept := w.l.audited.kept[auditor(0).Key().String()]; kept != nil {
		say("audited %d", kept.Size) // as anybody can see by now
	}
	if litter, err := litterIn(w.Dir); err != nil || len(litter) > 0 {
		return fmt.Errorf("after Open there is litter: %v, %v", litter, err)
	}
	if w.Guard != "" {
		beside, err := filepath.Glob(filepath.Join(filepath.Dir(w.Guard), durable.TempPrefix+"[^i]*")) // of init is a directory
		if err != nil || len(beside) > 0 {
			return fmt.Errorf("after Open there is litter beside the guard: %v, %v", beside, err)
		}
	}
	names := &memNames{l: w.l, m: make(map[module.Version]Entry)}
	if err := names.Publish(w.l.Published()); err != nil {
		return err
	}
	if err := w.l.Start(names); err != nil {
		return fmt.Errorf("Start: %w", err)
	}
	w.next.Store(int64(w.From))
	w.told()
	say("started")
	return w.limitFiles()
}

// told tells the newest publication if it is new.
func (w *worker) told() {
	p := w.l.Published()
	if old := w.head.Load(); p != old && w.head.CompareAndSwap(old, p) {
		say("head %d %d %v", p.Size, p.Time.UnixMicro(), p.Root)
		w.cosign(p)
	}
}

// cosign hands in an auditor's cosignature of p, as if of another process.
func (w *worker) cosign(p *Publication) {
	w.audit.Lock()
	defer w.audit.Unlock()
	body := submission(w.l, auditor(0), p, time.Now().Unix())
	switch err := w.l.audited.add(body); {
	case err == nil:
		say("audited %d", p.Size)
	case w.Files > 0: // too many are open
	default:
		if e, ok := errors.AsType[*auditedError](err); !ok || e.status != statusMalformed && e.status != statusConflict {
			say("failed audit %v", err)
		}
	}
}

// run appends records, now and then one that is there.
func (w *worker) run(r *rand.Rand) {
	for {
		i := int64(0)
		if again := w.next.Load(); again > 0 && r.IntN(5) == 0 {
			i = r.Int64N(again)
		} else if i = w.next.Add(1) - 1; w.Count > 0 && i >= int64(w.From+w.Count) {
			return
		}
		index, err := w.l.Append(context.Background(), record(int(i)))
		if err != nil {
			say("failed %d %v", i, err)
			if w.Files == 0 {
				return
			}
			continue
		}
		if size := w.l.Published().Size; index >= size {
			say("bad entry %d was acknowledged at published size %d", index, size)
		}
		say("ack %d %d", i, index)
		w.told()
	}
}

func (w *worker) limitFiles() error {
	if w.Files == 0 {
		return nil
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	n := uint64(len(open) - 1 + w.Files - 2) // ReadDir's own is closed again
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n})
}

// memoryDir returns a directory in memory where there is one.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "sumlog-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// A child is a running child.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	errs  bytes.Buffer
}

// startChild starts a child, under the given command if there is one.
func startChild(t testing.TB, c childConfig, under ...string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	args := append(under, self)
	k := &child{cmd: exec.Command(args[0], args[1:]...)}
	k.cmd.Env = append(os.Environ(), childEnv+"="+string(config), "GORACE=atexit_sleep_ms=0") // else each end takes a second
	k.cmd.Stderr = &k.errs
	out, err := k.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.cmd.StdinPipe(); err != nil { // it ends when the child has ended
		t.Fatal(err)
	}
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	k.lines = bufio.NewScanner(out)
	return k
}

// follow hears all that the child says until it ends, and calls at after each
// line with its first word.
func (k *child) follow(t testing.TB, h *history, at func(word string)) error {
	for k.lines.Scan() {
		at(h.hear(t, k.lines.Text()))
	}
	return k.cmd.Wait()
}

// TestLostBatch leaves what a batch leaves that was killed, or had no space,
// before Tessera's state was replaced: files of widths that the tree never had.
// The tree grows past them, and nobody may ever read them.
func TestLostBatch(t *testing.T) {
	for _, size := range []int{3, 253} {
		dir := grown(t, size)
		before := copyDir(t, dir)
		grow(t, dir, 1000, 1001)
		for _, name := range []string{filepath.Join(treeDir, stateFile), guardFile, archiveFile} {
			data, err := os.ReadFile(filepath.Join(before, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		l, _ := start(t, dir)
		fill(t, l, size, size+2)
		tr := readTruth(t, l)
		if len(tr.texts) != size+2 {
			t.Fatalf("%d entries, want %d", len(tr.texts), size+2)
		}
		tr.compareServed(t, l, dir, newRand(t))
		for e, err := range l.Entries(int64(size), int64(size)+1) {
			if err != nil || !bytes.Equal(e.Record.Text(), tr.texts[size]) {
				t.Errorf("entry %d alone: %v, %v, with the others: %s", size, e, err, tr.texts[size])
			}
		}
		closeLog(t, l)
		grow(t, dir, size+2, size+5)
	}
}

// TestUnknown fails appends after their entries are in, as a failed sync of a
// directory does: they are found in the log's tail, and nothing is there twice.
func TestUnknown(t *testing.T) {
	l, names := start(t, newDir(t))
	defer closeLog(t, l)
	add := l.seq.add
	var n atomic.Int64
	l.seq.add = func(ctx context.Context, e *tessera.Entry) tessera.IndexFuture {
		future := add(ctx, e)
		return func() (tessera.Index, error) {
			i, err := future()
			if n.Add(1)%3 == 0 {
				return tessera.Index{}, syscall.EIO
			}
			return i, err
		}
	}
	fill(t, l, 0, 30)
	for i := 30; i < 40; i++ {
		if index, err := l.Append(t.Context(), record(i)); index != int64(i) || err != nil {
			t.Errorf("Append(%d) = %d, %v", i, index, err)
		}
	}
	if size := l.Published().Size; size != 40 || len(names.m) != 40 {
		t.Errorf("size %d with %d names after 40 records", size, len(names.m))
	}
}

// TestPublishWaits holds a future back whose entry can already be read: what is
// perhaps not durable is not signed.
func TestPublishWaits(t *testing.T) {
	l, _ := start(t, newDir(t))
	defer closeLog(t, l)
	add, release := l.seq.add, make(chan struct{})
	written := make(chan struct{})
	l.seq.add = func(ctx context.Context, e *tessera.Entry) tessera.IndexFuture {
		future := add(ctx, e)
		return func() (tessera.Index, error) {
			i, err := future()
			close(written)
			<-release
			return i, err
		}
	}
	go l.Append(context.Background(), record(0))
	<-written
	for range 3 {
		l.kick <- struct{}{} // the third is taken after the first was dealt with
	}
	if p, err := newestIn(l.root.Name()); err != nil || p.Size != 0 || l.Published().Size != 0 {
		t.Errorf("published %v, %v, before the entry is known to be durable", p, err)
	}
	close(release)
	if index, err := l.Append(t.Context(), record(0)); index != 0 || err != nil {
		t.Errorf("Append = %d, %v", index, err)
	}
}

// TestKill kills a log under load, and its creation, again and again.
func TestKill(t *testing.T) {
	rounds := 15
	if thorough() {
		rounds = 200
	}
	r := newRand(t)
	// On a disk much of the time goes into waiting for it, in memory into work:
	// the moments that are hit differ.
	bases := []string{t.TempDir(), memoryDir(t)}
	var h *history
	entries, heads, logs, killed := 0, 0, 0, map[string]int{}
	for round := range rounds {
		if h == nil {
			logs++
			dir := filepath.Join(bases[r.IntN(2)], fmt.Sprintf("log%d", logs))
			h = newHistory(childConfig{Dir: dir})
			if r.IntN(2) == 0 {
				h.Guard = dir + ".guard"
			}
		}
		killed[h.killOnce(t, r)]++
		h.verify(t, r)
		if t.Failed() {
			t.Fatalf("round %d, %+v", round, h.childConfig)
		}
		if r.IntN(5) == 0 || round == rounds-1 {
			entries += len(h.acks)
			heads += len(h.heads)
			h.finish(t, r)
			h = nil
		}
	}
	t.Logf("%d rounds of kill -9 over %d logs, %d acknowledged entries, %d heads; killed after %v", rounds, logs, entries, heads, killed)
}

// killOnce runs a child and kills it at a random moment. It returns the last
// milestone that the child had told.
func (h *history) killOnce(t testing.TB, r *rand.Rand) (last string) {
	c := h.childConfig
	c.Seed = r.Uint64()
	c.From = h.last + 1 + r.IntN(3)*7 // or else what was cut off is always tried again first
	c.Workers = []int{1, 2, 4, 16, 64}[r.IntN(5)]
	if r.IntN(2) == 0 {
		c.Backup = h.Dir + ".backup"
	}
	// The moment is so long after one of these lines, rather soon than late: at
	// most 80 ms, half of the time less than 10.
	after := []string{"", "creating", "opened", "started", "ack", "ack"}[r.IntN(6)]
	if !h.created {
		after = "creating"
	}
	wait := time.Duration(math.Pow(r.Float64(), 3) * 80e6)
	k := startChild(t, c)
	kill := func() { time.AfterFunc(wait, func() { k.cmd.Process.Kill() }) }
	last = "nothing"
	if after == "" {
		kill()
	}
	err := k.follow(t, h, func(word string) {
		if word != "ack" && word != "head" && word != "backup" {
			last = word
		}
		// A log that exists is not created, so anything later does as well.
		if after != "" && (word == after || after == "creating" && word == "opened") {
			after = ""
			kill()
		}
	})
	if err == nil || err.Error() != "signal: killed" || len(h.stops) > 0 {
		t.Errorf("child: %v %v\n%s", err, h.stops, k.errs.Bytes())
	}
	return last
}

// working returns the configuration of a child that appends until it is killed.
func (h *history) working(r interface{ Uint64() uint64 }, workers int) childConfig {
	c := h.childConfig
	c.Seed, c.From, c.Workers = r.Uint64(), h.last+1, workers
	return c
}

// TestTooManyFiles lets a working log run out of file descriptors, at each of
// those that it opens. The process may end. The next one finds all.
func TestTooManyFiles(t *testing.T) {
	r := newRand(t)
	h := newHistory(childConfig{Dir: filepath.Join(memoryDir(t), "d")})
	h.finish(t, r)
	met := 0
	for files := 1; files <= 4; files++ {
		c := h.working(r, 4)
		c.Files = files
		k := startChild(t, c)
		end := time.AfterFunc(time.Hour, func() { k.cmd.Process.Kill() })
		err := k.follow(t, h, func(word string) {
			if word == "started" {
				end.Reset(100 * time.Millisecond)
			}
		})
		if strings.Contains(h.failed+k.errs.String(), syscall.EMFILE.Error()) {
			met++
		}
		t.Logf("%d files: child: %v %v %s; %s", files-2, err, h.stops, h.failed, firstLine(k.errs.String()))
		h.stops, h.failed = nil, ""
		h.verify(t, r)
		h.finish(t, r)
	}
	if met < 3 {
		t.Errorf("%d limits were low enough to be met", met)
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
