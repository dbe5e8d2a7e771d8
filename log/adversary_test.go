// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/module"
)

// copyDir copies a data directory, as a careless backup would.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	os.Chmod(filepath.Join(to, keyFile), 0o600)
	return to
}

// replace puts the file or folder name of one directory in place of another's.
func replace(t testing.TB, to, from, name string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(to, name)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
		t.Fatal(err)
	}
}

// wantUnsafe opens dir and wants a refusal that says want.
func wantUnsafe(t testing.TB, c Config, want string) {
	t.Helper()
	l, err := Open(c)
	if err == nil {
		l.Close()
		t.Fatalf("Open succeeded, want %q", want)
	}
	if !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), want) {
		t.Fatalf("Open: %v, want %q", err, want)
	}
	if _, _, err := Check(c); !errors.Is(err, ErrUnsafe) {
		t.Fatalf("Check: %v", err)
	}
}

// grown returns a closed log of some size.
func grown(t testing.TB, size int) string {
	t.Helper()
	dir := newDir(t)
	l, _ := start(t, dir)
	fill(t, l, 0, size)
	closeLog(t, l)
	return dir
}

func grow(t testing.TB, dir string, from, to int) {
	t.Helper()
	l, _ := start(t, dir)
	fill(t, l, from, to)
	closeLog(t, l)
}

// flip flips one bit in the middle of a file.
func flip(t testing.TB, name string) (undo func()) {
	t.Helper()
	old, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	rotted := bytes.Clone(old)
	rotted[len(rotted)/2] ^= 4
	if err := os.WriteFile(name, rotted, 0o644); err != nil {
		t.Fatal(err)
	}
	return func() { os.WriteFile(name, old, 0o644) }
}

// edge returns the files of the right edge at size.
func edge(size int64) []string {
	var names []string
	add := func(level int, n int64) {
		w := width(level, n, size)
		names = append(names, layout.TilePath(uint64(level), uint64(n), uint8(w%tileWidth)))
		if level == 0 {
			names = append(names, layout.EntriesPath(uint64(n), uint8(w%tileWidth)))
		}
	}
	for level := 0; size>>(8*level) > 0; level++ {
		last := (size>>(8*level) - 1) / tileWidth
		add(level, last)
		if last > 0 && width(level, last, size) < tileWidth {
			add(level, last-1)
		}
	}
	return names
}

func TestRottenEdgeAtStart(t *testing.T) {
	for _, size := range []int{1, 5, 256, 300, 512, 66000} {
		dir := grown(t, size)
		for _, name := range edge(int64(size)) {
			file := filepath.Join(dir, treeDir, name)
			undo := flip(t, file)
			wantUnsafe(t, Config{Dir: dir}, "damaged")
			undo()
			if err := os.Rename(file, file+".gone"); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(name, ".p/") {
				wantUnsafe(t, Config{Dir: dir}, "no such file")
			}
			if err := os.Rename(file+".gone", file); err != nil {
				t.Fatal(err)
			}
		}
		grow(t, dir, size, size+1)
	}
}

// TestRottenEdgeWhileRunning flips a byte under a running log: the next append
// must end in a stop, and never in a signature.
func TestRottenEdgeWhileRunning(t *testing.T) {
	for _, size := range []int{5, 256, 300} {
		for _, name := range edge(int64(size)) {
			t.Run(fmt.Sprintf("%d/%s", size, name), func(t *testing.T) {
				dir := grown(t, size)
				l, _ := start(t, dir)
				flip(t, filepath.Join(dir, treeDir, name))
				wantStop(t, l, dir, size)
			})
		}
	}
}

// wantStop appends and wants signing to stop at size.
func wantStop(t *testing.T, l *Log, dir string, size int) {
	t.Helper()
	defer closeLog(t, l)
	if _, err := l.Append(context.Background(), record(size)); !errors.Is(err, ErrUnsafe) {
		t.Errorf("Append: %v", err)
	}
	select {
	case err := <-l.Failed():
		if !errors.Is(err, ErrUnsafe) {
			t.Errorf("Failed: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the log did not stop")
	}
	if got := l.Published().Size; got != int64(size) {
		t.Errorf("published size %d, want %d", got, size)
	}
	if _, err := l.Append(context.Background(), record(size+1)); !errors.Is(err, ErrUnsafe) {
		t.Errorf("Append after the stop: %v", err)
	}
	if p, err := newestIn(dir); err != nil || p.Size != int64(size) {
		t.Errorf("archive ends at %v, %v, want size %d", p, err, size)
	}
}

func TestLostState(t *testing.T) {
	dir := grown(t, 5)
	l, _ := start(t, dir)
	if err := os.Remove(filepath.Join(dir, treeDir, stateFile)); err != nil {
		t.Fatal(err)
	}
	wantStop(t, l, dir, 5)

	dir = grown(t, 5)
	if err := os.RemoveAll(filepath.Join(dir, treeDir, ".state")); err != nil {
		t.Fatal(err)
	}
	wantUnsafe(t, Config{Dir: dir}, "treeState is missing")
}

func TestOlderParts(t *testing.T) {
	dir := grown(t, 5)
	old := copyDir(t, dir)
	grow(t, dir, 5, 9)
	grow(t, dir, 9, 12)
	for name, want := range map[string]string{
		treeDir:       "an older copy of log/ was put back",
		guardFile:     "an older guard was put back",
		"checkpoints": "an older archive was put back",
	} {
		bad := copyDir(t, dir)
		replace(t, bad, copyDir(t, old), name)
		wantUnsafe(t, Config{Dir: bad}, want)
	}
	for _, name := range []string{guardFile, "checkpoints", treeDir, keyFile} {
		bad := copyDir(t, dir)
		if err := os.RemoveAll(filepath.Join(bad, name)); err != nil {
			t.Fatal(err)
		}
		if l, err := Open(Config{Dir: bad}); err == nil {
			l.Close()
			t.Errorf("Open without %s succeeded", name)
		}
	}
	bad := copyDir(t, dir)
	os.Remove(filepath.Join(bad, guardFile))
	wantUnsafe(t, Config{Dir: bad}, "guard")
	for _, name := range []string{guardFile, archiveFile} {
		bad := copyDir(t, dir)
		data, err := os.ReadFile(filepath.Join(bad, name))
		if err != nil {
			t.Fatal(err)
		}
		// Every byte of the guard, and of the archive's last line.
		from := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
		if name == guardFile {
			from = 0
		}
		for i := from; i < len(data)-1; i++ {
			if name == archiveFile && i < from+len(`{"Time":"2026-01-01T00:00:00.000000`) {
				continue // the time is not signed: it is the server's own claim
			}
			if data[i+1] == '=' {
				continue // the last digit before padding has bits that decode to nothing
			}
			rotted := bytes.Clone(data)
			rotted[i] ^= 1
			if err := os.WriteFile(filepath.Join(bad, name), rotted, 0o644); err != nil {
				t.Fatal(err)
			}
			if l, err := Open(Config{Dir: bad}); err == nil {
				l.Close()
				t.Errorf("%s with byte %d flipped (%q) was accepted", name, i, data[i])
			}
		}
	}
	bad = copyDir(t, dir)
	os.Chmod(filepath.Join(bad, keyFile), 0o644)
	wantUnsafe(t, Config{Dir: bad}, "0600")
}

// TestOlderDirectory puts a whole older directory back, with the guard elsewhere.
func TestOlderDirectory(t *testing.T) {
	base := t.TempDir()
	dir, guard := filepath.Join(base, "d"), filepath.Join(base, "guard")
	if _, err := Create(CreateConfig{Dir: dir, Guard: guard, Name: "sum.example.org"}); err != nil {
		t.Fatal(err)
	}
	config := Config{Dir: dir, Guard: guard}
	run := func(from, to int) {
		l, err := Open(config)
		if err != nil {
			t.Fatal(err)
		}
		names := &memNames{l: l, m: map[module.Version]Entry{}}
		names.Publish(l.Published())
		if err := l.Start(names); err != nil {
			t.Fatal(err)
		}
		fill(t, l, from, to)
		closeLog(t, l)
	}
	run(0, 5)
	old := copyDir(t, dir)
	run(5, 6)
	wantUnsafe(t, Config{Dir: old, Guard: guard}, "an older copy of log/ was put back")

	// Nor does a second init start over under that guard, nor a restore.
	if _, err := Create(CreateConfig{Dir: filepath.Join(base, "e"), Guard: guard, Name: "sum.example.org"}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("Create under a used guard: %v", err)
	}
	replicaGuard := filepath.Join(old, guardFile)
	if g, err := readGuard(guard); err != nil {
		t.Fatal(err)
	} else if err := os.WriteFile(replicaGuard, g.text(), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), BackupConfig{From: old, To: filepath.Join(base, "f"), Guard: guard}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("Restore of an older directory: %v", err)
	}
}

// TestLitter leaves what a crash leaves, and wants it swept and never served.
func TestLitter(t *testing.T) {
	dir := grown(t, 300)
	if err := os.Mkdir(filepath.Join(dir, auditedDir), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		auditedDir + "/.tmp-z", "log/tile/0/0012345678", "log/tile/0/001.p/441234567", "log/tile/entries/0029876543", "log/.state/treeState123",
		"log/checkpoint77", "log/tile/1/000.p/1777777", ".tmp-x", "checkpoints/.tmp-y",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("litter"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// An orphan of a batch that was cut off: a canonical name beyond the size.
	if err := os.MkdirAll(filepath.Join(dir, "log/tile/0/001.p"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "log/tile/0/001.p/45"), make([]byte, 45*32), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Check(Config{Dir: dir}); err != nil {
		t.Fatalf("Check: litter is not a fault: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".tmp-x")); err != nil {
		t.Fatal("Check wrote")
	}
	l, _ := start(t, dir)
	defer closeLog(t, l)
	if _, err := get(l, "/tile/0/001.p/45"); err == nil {
		t.Error("an orphan was served")
	}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if data, _ := os.ReadFile(name); string(data) == "litter" {
			t.Errorf("%s is still there", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 300, 301)
}

// TestTornArchive cuts the archive's last line off at every byte: what remains
// is published, and the start publishes what the guard had seen signed.
func TestTornArchive(t *testing.T) {
	dir := grown(t, 2)
	grow(t, dir, 2, 3)
	whole, err := os.ReadFile(filepath.Join(dir, archiveFile))
	if err != nil {
		t.Fatal(err)
	}
	last := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	for n := last; n < len(whole); n += 61 {
		torn := copyDir(t, dir)
		if err := os.WriteFile(filepath.Join(torn, archiveFile), whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		l, _ := start(t, torn)
		if l.Published().Size != 3 {
			t.Errorf("cut at %d: published size %d, want 3", n, l.Published().Size)
		}
		fill(t, l, 3, 4)
		closeLog(t, l)
	}
}

// TestCreateAgain runs Create over what a cut-off Create left.
func TestCreateAgain(t *testing.T) {
	base := t.TempDir()
	dir, guard := filepath.Join(base, "d"), filepath.Join(base, "guard")
	config := CreateConfig{Dir: dir, Guard: guard}
	if _, err := Create(config); err != nil {
		t.Fatal(err)
	}
	// As if the rename had not happened.
	if err := os.Rename(dir, filepath.Join(base, ".tmp-init-d")); err != nil {
		t.Fatal(err)
	}
	vkey, err := Create(config)
	if err != nil {
		t.Fatalf("second Create: %v", err)
	}
	name, got, err := ReadVKey(dir)
	if err != nil || got != vkey || !strings.HasPrefix(name, "localhost/") {
		t.Errorf("ReadVKey = %q, %q, %v, want %q", name, got, err, vkey)
	}
	if _, err := Create(config); !errors.Is(err, ErrExists) {
		t.Errorf("third Create: %v", err)
	}
	// An empty directory is as good as none.
	empty := filepath.Join(base, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(CreateConfig{Dir: empty, Files: map[string][]byte{"settings": nil}}); err != nil {
		t.Errorf("Create in an empty directory: %v", err)
	}
	if fi, err := os.Stat(filepath.Join(empty, "settings")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("settings: %v, %v", fi.Mode(), err)
	}
	if _, err := Create(CreateConfig{Dir: filepath.Join(base, "e"), Name: "x y"}); !errors.Is(err, ErrName) {
		t.Errorf("Create with a bad name: %v", err)
	}
}

// TestClamp asks for tiles that do not exist, with every kind of coordinate.
func TestClamp(t *testing.T) {
	l, _ := start(t, newDir(t))
	defer closeLog(t, l)
	fill(t, l, 0, 300)
	for path, want := range map[string]int{
		"/tile/0/000":                            200,
		"/tile/0/000.p/7":                        200,
		"/tile/0/001":                            404,
		"/tile/0/001.p/44":                       200,
		"/tile/0/001.p/45":                       404,
		"/tile/1/000.p/1":                        200,
		"/tile/1/000.p/2":                        404,
		"/tile/2/000.p/1":                        404,
		"/tile/8/0/001.p/44":                     200,
		"/tile/8/0/001.p/45":                     404,
		"/tile/8/1/000.p/1":                      200,
		"/tile/8/data/001.p/44":                  200,
		"/tile/8/data/001":                       404,
		"/tile/8/000":                            404,
		"/tile/63/000":                           404,
		"/tile/64/000":                           400,
		"/tile/00/000":                           400,
		"/tile/0/x000/000":                       400,
		"/tile/0/x001/000":                       404,
		"/tile/0/1":                              400,
		"/tile/0/000.p/0":                        400,
		"/tile/0/000.p/256":                      400,
		"/tile/0/000.p/07":                       400,
		"/tile/0/000.p/-1":                       400,
		"/tile/9/0/000":                          400,
		"/tile/30/0/000":                         400,
		"/tile/8/0/x999/x999/x999/x999/x999/999": 404,
		"/tile/8/0/x999/x999/x999/x999/x999/x999/x999/x999/999": 400,
		"/tile/8/-1/000":                          400,
		"/tile/entries/../0":                      400,
		"/tile/":                                  400,
		"/tile/entries/":                          400,
		"/checkpoints?after=x":                    400,
		"/checkpoints?limit=0":                    400,
		"/checkpoints?after=9223372036854775807":  200,
		"/checkpoints?after=99999999999999999999": 400,
	} {
		w := httptest.NewRecorder()
		l.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want {
			t.Errorf("GET %s = %d %s, want %d", path, w.Code, w.Body, want)
		}
		if cached := strings.Contains(w.Header().Get("Cache-Control"), "immutable"); cached != (want == 200 && strings.HasPrefix(path, "/tile/")) {
			t.Errorf("GET %s: Cache-Control %q", path, w.Header().Get("Cache-Control"))
		}
	}
	w := httptest.NewRecorder()
	l.ServeHTTP(w, httptest.NewRequest("POST", "/checkpoint", nil))
	if w.Code != 405 || w.Header().Get("Allow") == "" {
		t.Errorf("POST = %d", w.Code)
	}
}
