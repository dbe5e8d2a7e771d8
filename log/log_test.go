// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/durable"
)

// memNames is an index in memory over the log it belongs to.
type memNames struct {
	l *Log

	mu   sync.Mutex
	size int64
	m    map[module.Version]Entry
	err  error // what Publish returns, if not nil
}

func (x *memNames) Find(m module.Version) (Entry, bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.m[m]
	return e, ok, nil
}

func (x *memNames) Publish(p *Publication) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return x.err
	}
	for e, err := range x.l.Entries(x.size, p.Size) {
		if err != nil {
			return err
		}
		if first, ok := x.m[e.Record.Module]; ok {
			return fmt.Errorf("%w: %v is entry %d and %d", ErrUnsafe, e.Record.Module, first.Index, e.Index)
		}
		x.m[e.Record.Module] = e
		x.size++
	}
	return nil
}

// testLogger writes to the test's log.
func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// newDir creates a log and returns its directory.
func newDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "d")
	if _, err := Create(CreateConfig{Dir: dir, Name: "sum.example.org/test"}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// start opens and starts the log in dir, to be closed by the caller.
func start(t testing.TB, dir string) (*Log, *memNames) {
	t.Helper()
	l, err := Open(Config{Dir: dir, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	names := &memNames{l: l, m: make(map[module.Version]Entry)}
	if err := names.Publish(l.Published()); err != nil {
		t.Fatal(err)
	}
	if err := l.Start(names); err != nil {
		t.Fatal(err)
	}
	return l, names
}

// record is the i-th test record.
func record(i int) Record {
	h := func(what string) string {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", what, i))
		return "h1:" + base64.StdEncoding.EncodeToString(sum[:])
	}
	return Record{
		Module: module.Version{Path: fmt.Sprintf("example.com/mod%d", i/3), Version: fmt.Sprintf("v1.%d.0", i%3)},
		Zip:    h("zip"),
		Mod:    h("mod"),
	}
}

// fill appends the records [from, to), many at once.
func fill(t testing.TB, l *Log, from, to int) {
	t.Helper()
	var wg sync.WaitGroup
	next := make(chan int)
	for range 512 {
		wg.Go(func() {
			for i := range next {
				if _, err := l.Append(context.Background(), record(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := from; i < to; i++ {
		next <- i
	}
	close(next)
	wg.Wait()
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAppend(t *testing.T) {
	dir := newDir(t)
	l, _ := start(t, dir)
	ctx := context.Background()
	for i := range 5 {
		got, err := l.Append(ctx, record(i))
		if err != nil || got != int64(i) {
			t.Fatalf("Append(%d) = %d, %v", i, got, err)
		}
		if l.Published().Size != int64(i)+1 {
			t.Fatalf("published size %d after entry %d was acknowledged", l.Published().Size, i)
		}
	}
	if got, err := l.Append(ctx, record(2)); err != nil || got != 2 {
		t.Fatalf("second Append(2) = %d, %v, want 2", got, err)
	}
	other := record(2)
	other.Zip = record(3).Zip
	var conflict *ConflictError
	if _, err := l.Append(ctx, other); !errors.As(err, &conflict) || conflict.Have != record(2) || conflict.Got != other {
		t.Fatalf("Append of other hashes: %v", err)
	}
	bad := record(9)
	bad.Module.Version = "v1.2"
	if _, err := l.Append(ctx, bad); err == nil {
		t.Fatal("Append took a record that is not canonical")
	}
	closeLog(t, l)
	if _, err := l.Append(ctx, record(7)); !errors.Is(err, ErrClosed) {
		t.Fatalf("Append after Close: %v", err)
	}

	l, _ = start(t, dir)
	defer closeLog(t, l)
	if got, err := l.Append(ctx, record(5)); err != nil || got != 5 {
		t.Fatalf("Append after restart = %d, %v", got, err)
	}
}

// TestAppendJoins has many appends of the same versions at once: one entry each.
func TestAppendJoins(t *testing.T) {
	l, names := start(t, newDir(t))
	defer closeLog(t, l)
	var wg sync.WaitGroup
	index := make([][20]int64, 30)
	for i := range 30 {
		for j := range 20 {
			wg.Go(func() {
				r := record(i)
				if j == 7 {
					r.Mod = record(1000).Mod
				}
				got, err := l.Append(context.Background(), r)
				var conflict *ConflictError
				if errors.As(err, &conflict) {
					got = -1
				} else if err != nil {
					t.Error(err)
				}
				index[i][j] = got
			})
		}
	}
	wg.Wait()
	if l.Published().Size != 30 {
		t.Fatalf("size %d after 30 versions", l.Published().Size)
	}
	for i := range index {
		e := names.m[record(i).Module]
		for j, got := range index[i] {
			// Whoever came first won, all of his kind got the index, all
			// others the conflict.
			want := e.Index
			if (j == 7) != (e.Record != record(i)) {
				want = -1
			}
			if got != want {
				t.Errorf("append %d of version %d: %d, want %d", j, i, got, want)
			}
		}
	}
}

// TestAppendContext shows that a caller who goes away does not stop the append.
func TestAppendContext(t *testing.T) {
	l, names := start(t, newDir(t))
	defer closeLog(t, l)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.Append(ctx, record(0)); !errors.Is(err, context.Canceled) {
		t.Fatalf("Append with a cancelled context: %v", err)
	}
	if got, err := l.Append(context.Background(), record(0)); err != nil || got != 0 {
		t.Fatalf("Append after it = %d, %v", got, err)
	}
	if len(names.m) != 1 {
		t.Fatalf("%d entries", len(names.m))
	}
}

// TestAppendBusy holds publication up: appends are refused before anything
// happens, and all is well when it goes on.
func TestAppendBusy(t *testing.T) {
	l, names := start(t, newDir(t))
	defer closeLog(t, l)
	names.mu.Lock()
	names.err = errors.New("disk is full")
	names.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := l.Append(ctx, record(0)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Append that cannot be published: %v", err)
	}
	if l.Published().Size != 0 {
		t.Fatal("shown before the index had it")
	}
	l.mu.Lock()
	l.stalled = time.Now().Add(-2 * MaxUnpublishedAge)
	l.mu.Unlock()
	if _, err := l.Append(ctx, record(1)); !errors.Is(err, ErrBusy) {
		t.Fatalf("Append while nothing is published: %v", err)
	}
	names.mu.Lock()
	names.err = nil
	names.mu.Unlock()
	if got, err := l.Append(context.Background(), record(0)); err != nil || got != 0 {
		t.Fatalf("Append(0) = %d, %v", got, err)
	}
	if got, err := l.Append(context.Background(), record(1)); err != nil || got != 1 {
		t.Fatalf("Append(1) = %d, %v", got, err)
	}
}

// clientOps lets x/mod's checksum database client read a handler.
type clientOps struct {
	t       testing.TB
	handler http.Handler
	lookup  func(m module.Version) (Entry, bool)
	l       *Log

	mu     sync.Mutex
	latest []byte
}

func (c *clientOps) ReadRemote(path string) ([]byte, error) {
	if mv, ok := strings.CutPrefix(path, "/lookup/"); ok {
		p, v, _ := strings.Cut(mv, "@")
		e, ok := c.lookup(module.Version{Path: p, Version: v})
		if !ok {
			return nil, os.ErrNotExist
		}
		msg, err := tlog.FormatRecord(e.Index, e.Record.Text())
		return append(msg, c.l.Published().TreeHead...), err
	}
	return get(c.handler, path)
}

func get(h http.Handler, path string) ([]byte, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	if w.Code != 200 {
		return nil, fmt.Errorf("%s: %d %s", path, w.Code, w.Body)
	}
	return io.ReadAll(w.Body)
}

func (c *clientOps) ReadConfig(file string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if file == "key" {
		return []byte(c.l.VKey()), nil
	}
	return c.latest, nil
}

func (c *clientOps) WriteConfig(file string, old, new []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !bytes.Equal(old, c.latest) {
		return sumdb.ErrWriteConflict
	}
	c.latest = new
	return nil
}

func (c *clientOps) ReadCache(string) ([]byte, error) { return nil, os.ErrNotExist }
func (c *clientOps) WriteCache(string, []byte)        {}
func (c *clientOps) Log(msg string)                   { c.t.Log(msg) }
func (c *clientOps) SecurityError(msg string)         { c.t.Errorf("SecurityError: %s", msg) }

// TestSumDBClient reads a log of 70,000 entries with x/mod's client, and holds
// every data tile and bundle against its hash tile.
func TestSumDBClient(t *testing.T) {
	const size = 70000
	l, names := start(t, newDir(t))
	defer closeLog(t, l)
	fill(t, l, 0, size)
	order := make([]module.Version, size)
	for m, e := range names.m {
		order[e.Index] = m
	}
	ops := &clientOps{t: t, handler: l, l: l, lookup: func(m module.Version) (Entry, bool) {
		e, ok, _ := names.Find(m)
		return e, ok
	}}
	for _, i := range []int{0, 1, 255, 256, 65535, 65536, size - 1} {
		m := order[i]
		lines, err := sumdb.NewClient(ops).Lookup(m.Path, m.Version)
		if err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		want, _, _ := strings.Cut(string(names.m[m].Record.Text()), "\n")
		if len(lines) != 1 || lines[0] != want {
			t.Errorf("entry %d: %q, want %q", i, lines, want)
		}
	}
	for n := int64(0); width(0, n, size) > 0; n++ {
		suffix := ""
		if w := width(0, n, size); w < tileWidth {
			suffix = fmt.Sprintf(".p/%d", w)
		}
		number := strings.TrimPrefix(tlog.Tile{H: 8, N: n, W: tileWidth}.Path(), "tile/8/0/")
		hashes, err := get(l, "/tile/0/"+number+suffix)
		if err != nil {
			t.Fatal(err)
		}
		same, err := get(l, "/tile/8/0/"+number+suffix)
		if err != nil || !bytes.Equal(hashes, same) {
			t.Fatalf("tile 0/%d differs between the layouts: %v", n, err)
		}
		data, err := get(l, "/tile/8/data/"+number+suffix)
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := get(l, "/tile/entries/"+number+suffix)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for text := range strings.SplitSeq(strings.TrimSuffix(string(data), "\n\n"), "\n\n") {
			h := tlog.RecordHash([]byte(text + "\n"))
			got = append(got, h[:]...)
		}
		if !bytes.Equal(got, hashes) {
			t.Fatalf("data tile %d does not hash to its hash tile", n)
		}
		got = got[:0]
		if err := bundleEntries(bundle, func(text []byte) error {
			h := tlog.RecordHash(text)
			got = append(got, h[:]...)
			return nil
		}); err != nil || !bytes.Equal(got, hashes) {
			t.Fatalf("bundle %d does not hash to its hash tile", n)
		}
	}
}

// TestNotes holds checkpoint and tree head against each other.
func TestNotes(t *testing.T) {
	l, _ := start(t, newDir(t))
	defer closeLog(t, l)
	fill(t, l, 0, 3)
	v, err := note.NewVerifier(l.VKey())
	if err != nil {
		t.Fatal(err)
	}
	p := l.Published()
	cp, err := note.Open(p.Checkpoint, note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("sum.example.org/test\n3\n%v\n", p.Root); cp.Text != want {
		t.Errorf("checkpoint %q, want %q", cp.Text, want)
	}
	head, err := note.Open(p.TreeHead, note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("go.sum database tree\n3\n%v\n", p.Root); head.Text != want {
		t.Errorf("tree head %q, want %q", head.Text, want)
	}
}

// TestArchive pages through the archive.
func TestArchive(t *testing.T) {
	l, _ := start(t, newDir(t))
	defer closeLog(t, l)
	for i := range 20 {
		fill(t, l, i, i+1)
	}
	var last *Publication
	n := 0
	for p, err := range l.Publications(-1) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Size != int64(n) || last != nil && !p.Time.After(last.Time) {
			t.Fatalf("publication %d has size %d and time %v after %v", n, p.Size, p.Time, last.Time)
		}
		last = p
		n++
	}
	if n != 21 {
		t.Fatalf("%d publications, want 21", n)
	}
	for after := -1; after < 22; after++ {
		page, err := get(l, fmt.Sprintf("/checkpoints?after=%d&limit=3", after))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(strings.TrimSuffix(string(page), "\n"), "\n")
		if want := max(0, min(3, 20-after)); len(page) > 0 && len(lines) != want || len(page) == 0 && want != 0 {
			t.Errorf("after=%d: %d lines, want %d", after, len(lines), want)
		}
		if len(page) > 0 && !strings.Contains(lines[0], fmt.Sprintf(`"Size":%d,`, after+1)) {
			t.Errorf("after=%d begins with %s", after, lines[0])
		}
	}
}

// TestTwoOnOneDirectory opens a directory twice within one process.
func TestTwoOnOneDirectory(t *testing.T) {
	dir := newDir(t)
	l, _ := start(t, dir)
	defer closeLog(t, l)
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, durable.ErrLocked) {
		t.Fatalf("second Open: %v", err)
	}
}

// TestCheckBeside checks a log that grows meanwhile: it is sound, and in use.
func TestCheckBeside(t *testing.T) {
	dir := filepath.Join(memoryDir(t), "d")
	if _, err := Create(CreateConfig{Dir: dir, Name: "sum.example.org/test"}); err != nil {
		t.Fatal(err)
	}
	l, _ := start(t, dir)
	if used, err := InUse(dir); !used || err != nil {
		t.Errorf("InUse = %v, %v", used, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 150 { // each with a publication of its own
			if _, err := l.Append(context.Background(), record(i)); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	var last int64
	checks, grown := 0, 0
	for running := true; running; checks++ {
		select {
		case <-done:
			running = false
		default:
		}
		_, p, err := Check(Config{Dir: dir})
		if err != nil {
			t.Fatalf("Check of a log at size %d: %v", l.Published().Size, err)
		}
		if p.Size < last {
			t.Errorf("size %d after %d", p.Size, last)
		}
		if p.Size > last {
			grown++
		}
		last = p.Size
	}
	t.Logf("%d checks saw %d sizes", checks, grown)
	if last != 150 || grown < 10 {
		t.Errorf("%d checks saw %d sizes, and %d at last", checks, grown, last)
	}

	// What is not sound is not, whoever works on it.
	undo := flip(t, filepath.Join(dir, treeDir, "tile/0/000.p/150"))
	if _, _, err := Check(Config{Dir: dir}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("Check of a damaged tile: %v", err)
	}
	undo()
	closeLog(t, l)
	if used, err := InUse(dir); used || err != nil {
		t.Errorf("InUse after Close = %v, %v", used, err)
	}
}
