// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/module"
)

// seenNames are names that tell what they were shown.
type seenNames struct {
	mu    sync.Mutex
	sizes []int64
	fail  error
}

func (n *seenNames) Find(module.Version) (Entry, bool, error) { return Entry{}, false, nil }

func (n *seenNames) Publish(p *Publication) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.fail; err != nil {
		n.fail = nil
		return err
	}
	n.sizes = append(n.sizes, p.Size)
	return nil
}

func view(t testing.TB, dir string) *View {
	t.Helper()
	v, err := OpenView(ViewConfig{Dir: dir, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

// sameAnswers compares what a view and its log serve.
func sameAnswers(t testing.TB, want, got http.Handler, paths ...string) {
	t.Helper()
	for _, path := range paths {
		w, g := httptest.NewRecorder(), httptest.NewRecorder()
		want.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		got.ServeHTTP(g, httptest.NewRequest("GET", path, nil))
		if w.Code != 200 || w.Code != g.Code || !bytes.Equal(w.Body.Bytes(), g.Body.Bytes()) {
			t.Errorf("%s: %d and %d, %d bytes and %d", path, w.Code, g.Code, w.Body.Len(), g.Body.Len())
		}
	}
}

// TestView reads a live directory, whose guard is elsewhere, and follows it. Nothing
// is written there.
func TestView(t *testing.T) {
	dir := newDir(t)
	l, _ := start(t, dir)
	defer closeLog(t, l)
	fill(t, l, 0, 300)
	v := view(t, dir)
	if err := os.Rename(filepath.Join(dir, guardFile), filepath.Join(dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	before := listing(t, dir)
	w := view(t, dir) // without a guard
	if after := listing(t, dir); after != before {
		t.Errorf("written to:\n%s\nwas\n%s", after, before)
	}
	if err := os.Rename(filepath.Join(dir, "elsewhere"), filepath.Join(dir, guardFile)); err != nil {
		t.Fatal(err)
	}
	paths := []string{"/checkpoint", "/latest", "/checkpoints", "/tile/0/000", "/tile/0/001.p/44", "/tile/entries/001.p/44", "/tile/8/data/000"}
	sameAnswers(t, l, w, paths...)
	names := &seenNames{fail: errors.New("index is down")}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- v.Follow(ctx, names) }()
	fill(t, l, 300, 700)
	for end := time.Now().Add(time.Minute); v.Published().Size < 700 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	sameAnswers(t, l, v, append(paths, "/tile/0/001", "/tile/0/002.p/188", "/tile/1/000.p/2")...)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := len(names.sizes); n == 0 || names.sizes[n-1] != 700 {
		t.Errorf("names were told %v", names.sizes)
	}
	r := httptest.NewRecorder()
	v.ServeHTTP(r, httptest.NewRequest("POST", "/audited/add-checkpoint", nil))
	if r.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.Code)
	}
}

// TestViewOfBackup follows a backup that is brought up to date, and one that was cut
// off.
func TestViewOfBackup(t *testing.T) {
	dir := newDir(t)
	l, _ := start(t, dir)
	defer closeLog(t, l)
	fill(t, l, 0, 250)
	backup := filepath.Join(memoryDir(t), "backup")
	backUp(t, dir, backup)
	v := view(t, backup)
	fill(t, l, 250, 270)
	archive, err := os.ReadFile(filepath.Join(dir, archiveFile))
	if err != nil {
		t.Fatal(err)
	}
	old := l.Published()
	fill(t, l, 270, 300)
	backUp(t, dir, backup)
	// What is shown is still there: the partial tile of size 250 has gone.
	r := httptest.NewRecorder()
	v.ServeHTTP(r, httptest.NewRequest("GET", "/tile/entries/000.p/250", nil))
	if r.Code != 200 {
		t.Errorf("at the older size: %d %s", r.Code, r.Body)
	}
	down := errors.New("index is down")
	if err := v.follow(&seenNames{fail: down}); !errors.Is(err, down) || v.Published().Size != 250 {
		t.Errorf("shown without its names: size %d, %v", v.Published().Size, err)
	}
	if err := v.follow(&seenNames{}); err != nil || v.Published().Size != 300 {
		t.Errorf("size %d, %v", v.Published().Size, err)
	}
	sameAnswers(t, l, v, "/checkpoint", "/tile/0/000", "/tile/0/001.p/44", "/tile/entries/000")
	// Cut off when the tiles were there, and a part of the archive: there never were
	// partial tiles for this size.
	if err := os.WriteFile(filepath.Join(backup, archiveFile), archive, 0o644); err != nil {
		t.Fatal(err)
	}
	w := view(t, backup)
	if p := w.Published(); p.Size != 270 || !bytes.Equal(p.Checkpoint, old.Checkpoint) {
		t.Errorf("size %d", p.Size)
	}
	for e, err := range w.Entries(240, 270) {
		if err != nil {
			t.Fatal(e, err)
		}
	}
	// And that is a step back for the one that has shown more.
	if err := v.follow(&seenNames{}); !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), "an older copy was put here") {
		t.Errorf("after a step back: %v", err)
	}
}

// TestViewContradicted puts other histories where one was read.
func TestViewContradicted(t *testing.T) {
	dir := grown(t, 3)
	other := copyDir(t, dir)
	grow(t, dir, 3, 5)
	v := view(t, dir)
	grow(t, other, 10, 12)
	grow(t, other, 12, 20)
	if err := errors.Join(os.Rename(dir, dir+".moved"), os.Rename(other, dir)); err != nil {
		t.Fatal(err)
	}
	// The directory that is open is the one that was moved.
	if err := v.follow(&seenNames{}); err != nil || v.Published().Size != 5 {
		t.Errorf("size %d, %v", v.Published().Size, err)
	}
	// As with rsync, file by file.
	for _, name := range []string{archiveFile} {
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(dir+".moved", name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.follow(&seenNames{}); !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), "not the one that was read before") {
		t.Errorf("another archive: %v", err)
	}
	if v.Published().Size != 5 {
		t.Errorf("shown: %d", v.Published().Size)
	}
}

// TestViewHalf opens and follows copies that are not whole.
func TestViewHalf(t *testing.T) {
	dir := grown(t, 300)
	copied := copyDir(t, dir)
	v := view(t, copied)
	grow(t, dir, 300, 310)
	data, err := os.ReadFile(filepath.Join(dir, archiveFile))
	if err != nil {
		t.Fatal(err)
	}
	// The archive came first, and the tiles are on their way.
	if err := os.WriteFile(filepath.Join(copied, archiveFile), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := v.follow(&seenNames{}); err == nil || errors.Is(err, ErrUnsafe) || v.Published().Size != 300 {
		t.Errorf("size %d, %v", v.Published().Size, err)
	}
	if _, err := OpenView(ViewConfig{Dir: copied}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("OpenView: %v", err)
	}
	for _, name := range []string{"tile/0/001.p/54", "tile/entries/001.p/54"} {
		data, err := os.ReadFile(filepath.Join(dir, treeDir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(copied, treeDir, name), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := v.follow(&seenNames{}); err != nil || v.Published().Size != 310 {
		t.Errorf("size %d, %v", v.Published().Size, err)
	}
}
