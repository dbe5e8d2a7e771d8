// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/internal/testdisk"
)

// A disk is a small file system in memory that can be filled.
type disk struct {
	t       *testing.T
	dir     string
	ballast *os.File
}

const diskPage = 4096

// mountDisk mounts a disk of so many pages and files.
func mountDisk(t *testing.T, dir string, pages, files int) *disk {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d,nr_inodes=%d", pages*diskPage, files)); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return &disk{t, dir, f}
}

// fill leaves so many free pages.
func (d *disk) fill(free int) {
	d.t.Helper()
	d.empty()
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &s); err != nil {
		d.t.Fatal(err)
	}
	if n := (int64(s.Bfree) - int64(free)) * s.Bsize; n > 0 {
		if err := syscall.Fallocate(int(d.ballast.Fd()), 0, 0, n); err != nil {
			d.t.Fatal(err)
		}
	}
}

// fillFiles leaves so many free inodes.
func (d *disk) fillFiles(free int) {
	d.t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &s); err != nil {
		d.t.Fatal(err)
	}
	for i := range int(s.Ffree) - free {
		if err := os.WriteFile(filepath.Join(d.dir, fmt.Sprintf("ballast%d", i)), nil, 0o644); err != nil {
			d.t.Fatal(err)
		}
	}
}

// empty gives the space of all ballast back.
func (d *disk) empty() {
	d.t.Helper()
	if err := d.ballast.Truncate(0); err != nil {
		d.t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(d.dir, "ballast?*"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			d.t.Fatal(err)
		}
	}
}

// errorLog collects the errors that a log logs, by what they say.
type errorLog struct {
	slog.Handler
	mu   sync.Mutex
	seen []string
	more chan struct{} // gets something, if there is room, after each
}

func newErrorLog() *errorLog {
	return &errorLog{Handler: slog.DiscardHandler, more: make(chan struct{}, 1)}
}

func (e *errorLog) Enabled(context.Context, slog.Level) bool { return true }

func (e *errorLog) Handle(_ context.Context, r slog.Record) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "err" {
			e.seen = append(e.seen, r.Message+": "+a.Value.String())
			select {
			case e.more <- struct{}{}:
			default:
			}
		}
		return true
	})
	return nil
}

// count returns how many errors speak of what.
func (e *errorLog) count(what string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.seen {
		if strings.Contains(s, what) {
			n++
		}
	}
	return n
}

// A full is a running log on disks that get full.
type full struct {
	t      *testing.T
	config Config
	l      *Log
	errs   *errorLog
	acks   map[int]int64
	next   int
}

func startFull(t *testing.T, c Config) *full {
	t.Helper()
	f := &full{t: t, errs: newErrorLog(), acks: make(map[int]int64)}
	c.Logger = slog.New(f.errs)
	f.config = c
	f.open()
	return f
}

func (f *full) open() {
	f.t.Helper()
	var err error
	if f.l, err = Open(f.config); err != nil {
		f.t.Fatal(err)
	}
	names := &memNames{l: f.l, m: make(map[module.Version]Entry)}
	if err := names.Publish(f.l.Published()); err != nil {
		f.t.Fatal(err)
	}
	if err := f.l.Start(names); err != nil {
		f.t.Fatal(err)
	}
}

// burst appends so many new records at once to a log whose disk is full. Those
// that wait are left when the log has logged an error, as a request that times
// out leaves them. Then relieve makes room, and all must go in, in this process.
func (f *full) burst(n int, relieve func()) {
	f.t.Helper()
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	select { // what the burst before it left
	case <-f.errs.more:
	default:
	}
	results := make(chan struct {
		i     int
		index int64
		err   error
	}, n)
	for i := f.next; i < f.next+n; i++ {
		go func() {
			index, err := f.l.Append(ctx, record(i))
			results <- struct {
				i     int
				index int64
				err   error
			}{i, index, err}
		}()
	}
	for left := n; left > 0; {
		select {
		case r := <-results:
			left--
			switch {
			case r.err == nil:
				f.acks[r.i] = r.index
			case !errors.Is(r.err, ErrBusy) && !errors.Is(r.err, context.Canceled):
				f.t.Errorf("Append on a full disk: %v", r.err)
			}
		case <-f.errs.more:
			leave()
		}
	}
	relieve()
	f.fillUp(n)
}

// fillUp appends the next n records to a log that has room again, and what was
// acknowledged before once more.
func (f *full) fillUp(n int) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range f.next + n {
		wg.Go(func() {
			index, err := f.l.Append(ctx, record(i))
			for errors.Is(err, ErrBusy) && ctx.Err() == nil { // may be an answer to the burst's
				index, err = f.l.Append(ctx, record(i))
			}
			if err != nil {
				f.t.Errorf("Append(%d) with room again: %v", i, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if old, ok := f.acks[i]; ok && old != index {
				f.t.Errorf("record %d was acknowledged as entry %d and is %d", i, old, index)
			}
			f.acks[i] = index
		})
	}
	wg.Wait()
	f.next += n
	if size := f.l.Published().Size; size != int64(f.next) {
		f.t.Errorf("%d entries after %d records", size, f.next)
	}
	if f.t.Failed() {
		f.t.Fatalf("logged: %s", f.errs.seen)
	}
}

// reopen closes the log and opens it again: all there, nothing twice.
func (f *full) reopen() {
	f.t.Helper()
	closeLog(f.t, f.l)
	if _, _, err := Check(f.config); err != nil {
		f.t.Fatal(err)
	}
	f.open()
	f.fillUp(0)
}

// TestFullDisk lets each write of a log meet a full disk: on the disk of the
// whole directory, and on disks of their own for guard and archive, which are
// otherwise spared by what the entries need before them.
func TestFullDisk(t *testing.T) {
	if !testdisk.Enter(t) {
		return
	}
	base := t.TempDir()
	data := mountDisk(t, filepath.Join(base, "data"), 4000, 4000)
	guard := mountDisk(t, filepath.Join(base, "guard"), 100, 100)
	c := Config{Dir: filepath.Join(data.dir, "d"), Guard: filepath.Join(guard.dir, "guard")}
	if _, err := Create(CreateConfig{Dir: c.Dir, Guard: c.Guard, Name: "sum.example.org"}); err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile(filepath.Join(c.Dir, archiveFile))
	if err != nil {
		t.Fatal(err)
	}
	archive := mountDisk(t, filepath.Join(c.Dir, filepath.Dir(archiveFile)), 100, 100)
	if err := os.WriteFile(filepath.Join(c.Dir, archiveFile), line, 0o644); err != nil {
		t.Fatal(err)
	}

	f := startFull(t, c)
	f.fillUp(240) // so that later ones fill a tile
	bursts := []int{1, 30}
	if thorough() {
		bursts = []int{1, 5, 2, 30, 1}
	}
	for _, n := range bursts {
		for free := range 6 {
			data.fill(free)
			f.burst(n, data.empty)
			data.fillFiles(free)
			f.burst(n, data.empty)
		}
		for free := range 2 {
			guard.fill(free)
			f.burst(n, guard.empty)
			guard.fillFiles(free)
			f.burst(n, guard.empty)
		}
		// A line of the archive needs a page only where it crosses into it.
		for range diskPage/len(line) + 1 {
			archive.fill(0)
			f.burst(n, archive.empty)
		}
		f.reopen()
	}
	for _, what := range []string{"tile/entries/", "tile/0/", "treeState", "guard", archiveFile} {
		n := f.errs.count(what)
		t.Logf("%d errors of %s", n, what)
		if n == 0 {
			t.Errorf("no write of %s met a full disk", what)
		}
	}
	closeLog(t, f.l)
}

// TestGuardFails lets the guard's write fail and go again. What the failed try
// has computed may not spoil the next one.
func TestGuardFails(t *testing.T) {
	if !testdisk.Enter(t) {
		return
	}
	base := t.TempDir()
	guard := mountDisk(t, filepath.Join(base, "guard"), 100, 100)
	c := Config{Dir: filepath.Join(base, "d"), Guard: filepath.Join(guard.dir, "guard")}
	if _, err := Create(CreateConfig{Dir: c.Dir, Guard: c.Guard, Name: "sum.example.org"}); err != nil {
		t.Fatal(err)
	}
	f := startFull(t, c)
	for range 9 {
		guard.fill(0)
		f.burst(1, guard.empty)
	}
	f.reopen()
	closeLog(t, f.l)
}

// TestFullDiskCreate creates logs on a disk that is full at each write.
func TestFullDiskCreate(t *testing.T) {
	if !testdisk.Enter(t) {
		return
	}
	d := mountDisk(t, filepath.Join(t.TempDir(), "disk"), 100, 100)
	failed := 0
	for free := range 25 {
		for _, fill := range []func(int){d.fill, d.fillFiles} {
			c := CreateConfig{Dir: filepath.Join(d.dir, "d"), Name: "sum.example.org"}
			if free%2 == 0 {
				c.Guard = filepath.Join(d.dir, "guard")
			}
			if free%3 == 0 { // in the directory, and not beside it
				if err := os.Mkdir(c.Dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			fill(free)
			_, err := Create(c)
			if err != nil && !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("Create: %v", err)
			}
			if err != nil {
				failed++
			}
			d.empty()
			if _, again := Create(c); (again == nil) == (err == nil) {
				t.Errorf("Create: %v, and then: %v", err, again)
			}
			if _, _, err := Check(Config{Dir: c.Dir, Guard: c.Guard}); err != nil {
				t.Errorf("Check: %v", err)
			}
			os.RemoveAll(c.Dir)
			os.RemoveAll(filepath.Join(d.dir, "guard"))
		}
	}
	if failed < 10 || failed == 50 {
		t.Errorf("%d of 50 met a full disk", failed)
	}
}

// TestReadOnly lets the file system of the tree, and that of the guard, become
// read-only under a log that works. The process may end. The next one finds all.
func TestReadOnly(t *testing.T) {
	if !testdisk.Enter(t) {
		return
	}
	r := newRand(t)
	base := t.TempDir()
	guard := mountDisk(t, filepath.Join(base, "guard"), 100, 100)
	data := mountDisk(t, filepath.Join(base, "data"), 20000, 20000)
	h := newHistory(childConfig{Dir: filepath.Join(data.dir, "d"), Guard: filepath.Join(guard.dir, "guard")})
	h.finish(t, r)
	treeMount := filepath.Join(h.Dir, treeDir)
	if err := syscall.Mount(treeMount, treeMount, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(treeMount, syscall.MNT_DETACH) })
	for _, mount := range []string{treeMount, guard.dir, treeMount, guard.dir} {
		guard.ballast.Close() // no file may be open for writing
		before := len(h.acks)
		k := startChild(t, h.working(r, 4))
		end := time.AfterFunc(time.Hour, func() { k.cmd.Process.Kill() })
		done := false
		err := k.follow(t, h, func(word string) {
			if len(h.acks) > before && !done {
				remount(t, mount, syscall.MS_RDONLY)
				done = true
				end.Reset(200 * time.Millisecond) // where it goes on without acknowledging
			}
		})
		t.Logf("%s read-only: child: %v %s; %s", filepath.Base(mount), err, h.failed, firstLine(k.errs.String()))
		remount(t, mount, 0)
		if !done {
			t.Error("nothing was acknowledged")
		}
		h.verify(t, r)
		h.finish(t, r)
	}
}

// TestReadOnlyTree makes log/, or a part of it, read-only before a start, and under
// a log that waits. Of the whole Tessera would panic, of a part it would say
// nothing that one could tell from a full disk.
func TestReadOnlyTree(t *testing.T) {
	if !testdisk.Enter(t) {
		return
	}
	for _, part := range []string{treeDir, "log/.state", "log/tile", "log/tile/entries/000.p"} {
		dir := newDir(t)
		mount := filepath.Join(dir, part)
		l, _ := start(t, dir)
		fill(t, l, 0, 3)
		if err := syscall.Mount(mount, mount, "", syscall.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		remount(t, mount, syscall.MS_RDONLY)
		if part == treeDir {
			// A bind of the whole is the same directory, and not another one.
			if err := l.unmoved(); err != nil {
				t.Error(err)
			}
		}
		wantStop(t, l, dir, 3)
		if _, err := l.Append(t.Context(), record(4)); !errors.Is(err, ErrUnwritable) {
			t.Errorf("%s read-only: Append: %v", part, err)
		}
		if _, _, err := Check(Config{Dir: dir}); err != nil {
			t.Errorf("%s read-only: what can be read is sound: %v", part, err)
		}
		l, err := Open(Config{Dir: dir})
		if err == nil {
			err = l.Start(&memNames{l: l, m: make(map[module.Version]Entry)})
			closeLog(t, l)
		}
		if !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s read-only: a start: %v", part, err)
		}
		if err := syscall.Unmount(mount, syscall.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
		grow(t, dir, 3, 4)
	}
}

// remount makes a mount read-only, or writable again. As long as the log has a
// file open for writing it is busy.
func remount(t *testing.T, dir string, flags uintptr) {
	t.Helper()
	for begin := time.Now(); ; {
		err := syscall.Mount("none", dir, "", syscall.MS_REMOUNT|syscall.MS_BIND|flags, "")
		if err == nil {
			return
		}
		if !errors.Is(err, syscall.EBUSY) || time.Since(begin) > 10*time.Second {
			t.Fatalf("remount %s: %v", dir, err)
		}
	}
}
