// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/sumlog/internal/durable"
)

// backUp brings the backup of dir up to date and returns its size.
func backUp(t testing.TB, dir, backup string) int64 {
	t.Helper()
	size, err := Backup(t.Context(), BackupConfig{From: dir, To: backup})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// restored restores a backup and returns what Check finds there.
func restored(t testing.TB, backup string) *Publication {
	t.Helper()
	dir := filepath.Join(memoryDir(t), "restored")
	size, err := Restore(t.Context(), BackupConfig{From: backup, To: dir})
	if err != nil {
		t.Fatal(err)
	}
	_, p, err := Check(Config{Dir: dir})
	if err != nil || p.Size != size {
		t.Fatalf("Check of what was restored at size %d: %v, %v", size, p, err)
	}
	return p
}

// TestBackup copies a log under load, brings the copy up to date, and goes on with
// it.
func TestBackup(t *testing.T) {
	dir := newDir(t)
	l, _ := start(t, dir)
	fill(t, l, 0, 500)
	done := make(chan struct{})
	go func() {
		defer close(done)
		fill(t, l, 500, 2000)
	}()
	backup := filepath.Join(memoryDir(t), "backup")
	size := backUp(t, dir, backup)
	if size < 500 {
		t.Fatalf("Backup: size %d", size)
	}
	if p := restored(t, backup); p.Size != size {
		t.Errorf("restored at %d, backed up at %d", p.Size, size)
	}
	<-done
	if _, err := Restore(t.Context(), BackupConfig{From: backup, To: dir}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("Restore that rolls back: %v", err)
	}
	old := l.Published()
	closeLog(t, l)

	if size = backUp(t, dir, backup); size != old.Size {
		t.Errorf("brought up to %d of %d", size, old.Size)
	}
	again := filepath.Join(memoryDir(t), "restored")
	if got, err := Restore(t.Context(), BackupConfig{From: backup, To: again}); err != nil || got != size {
		t.Fatalf("Restore: size %d, %v", got, err)
	}
	l, names := start(t, again)
	defer closeLog(t, l)
	fill(t, l, 0, 2000)
	if l.Published().Size != old.Size || len(names.m) != 2000 {
		t.Errorf("size %d with %d names after the same records again", l.Published().Size, len(names.m))
	}
}

// TestBackupIsMarked wants that nothing that signs opens a backup, or a copy of one,
// whatever was put beside it.
func TestBackupIsMarked(t *testing.T) {
	dir := grown(t, 300)
	backup := filepath.Join(memoryDir(t), "backup")
	backUp(t, dir, backup)
	copied := copyDir(t, backup)
	for _, name := range []string{guardFile, filepath.Join(treeDir, stateFile), filepath.Join(treeDir, versionFile)} {
		if _, err := os.Lstat(filepath.Join(backup, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is in the backup: %v", name, err)
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(copied, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{backup, copied} {
		if _, err := Open(Config{Dir: d}); !errors.Is(err, ErrBackup) || !errors.Is(err, ErrUnsafe) {
			t.Errorf("Open: %v", err)
		}
		if _, _, err := Check(Config{Dir: d}); !errors.Is(err, ErrBackup) {
			t.Errorf("Check: %v", err)
		}
	}
	// Only the mark stood in the way of the second.
	if err := os.Remove(filepath.Join(copied, markFile)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Check(Config{Dir: copied}); err != nil {
		t.Error(err)
	}
	// And that is what a backup was before it had a mark.
	if p := restored(t, copied); p.Size != 300 {
		t.Errorf("an unmarked backup was restored at size %d", p.Size)
	}
	if _, err := Backup(t.Context(), BackupConfig{From: dir, To: copied}); !errors.Is(err, ErrNoBackup) {
		t.Errorf("Backup over a directory: %v", err)
	}
	if _, err := Backup(t.Context(), BackupConfig{From: dir, To: filepath.Join(dir, "b")}); err == nil {
		t.Error("a backup was made inside of what it copies")
	}
}

// TestBackupIntoOthers wants that nothing is touched in a directory that is no backup:
// not what a server there is writing, and not what tells that a log there is not whole.
// A file system that is empty and has lost+found can become one.
func TestBackupIntoOthers(t *testing.T) {
	dir := grown(t, 3)
	live := grown(t, 3)
	half := mounted(t)
	if _, err := Create(CreateConfig{Dir: half, Name: "sum.example.org"}); err != nil {
		t.Fatal(err)
	}
	begun := mounted(t)
	for _, d := range []string{half, begun} {
		if err := os.CopyFS(filepath.Join(d, unfinished), os.DirFS(filepath.Join(live, "checkpoints"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(live, durable.TempPrefix+"guard"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{live, half, begun} {
		before := listing(t, to)
		if _, err := Backup(t.Context(), BackupConfig{From: dir, To: to}); !errors.Is(err, ErrNoBackup) {
			t.Errorf("Backup into it: %v", err)
		}
		if after := listing(t, to); after != before {
			t.Errorf("it was changed:\n%s\nwas\n%s", after, before)
		}
	}
	empty := mounted(t)
	backUp(t, dir, empty)
	if p := restored(t, empty); p.Size != 3 {
		t.Errorf("restored at size %d", p.Size)
	}
}

// TestBackupOfAnother wants that a backup is brought up to date from its own log
// alone, and never back.
func TestBackupOfAnother(t *testing.T) {
	dir := grown(t, 300)
	older := copyDir(t, dir)
	backup := filepath.Join(memoryDir(t), "backup")
	config := BackupConfig{From: dir, To: backup}
	if _, err := Backup(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	// A second history under the same key: another record at 300.
	for d, record := range map[string]int{dir: 300, older: 1000} {
		l, _ := start(t, d)
		fill(t, l, record, record+1)
		closeLog(t, l)
	}
	backUp(t, dir, backup)
	before := listing(t, backup)
	refused := func(from, want string) {
		t.Helper()
		_, err := Backup(t.Context(), BackupConfig{From: from, To: backup})
		if !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	refused(older, "another tree of size 301")
	refused(grown(t, 300), "another key")
	refused(grown(t, 310), "another key")
	stranger := filepath.Join(memoryDir(t), "stranger")
	if _, err := Create(CreateConfig{Dir: stranger, Name: "other.example.org"}); err != nil {
		t.Fatal(err)
	}
	refused(stranger, "other.example.org")
	// The same log at a smaller size.
	l, _ := start(t, dir)
	fill(t, l, 301, 320)
	closeLog(t, l)
	newer := filepath.Join(memoryDir(t), "newer")
	backUp(t, dir, newer)
	if _, err := Backup(t.Context(), BackupConfig{From: backup, To: newer}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("Backup of what is smaller: %v", err)
	}
	if after := listing(t, backup); after != before {
		t.Errorf("the backup was changed:\n%s\nwas\n%s", after, before)
	}
	// A backup of the backup is one too.
	second := filepath.Join(memoryDir(t), "second")
	backUp(t, backup, second)
	if p := restored(t, second); p.Size != 301 {
		t.Errorf("restored at size %d", p.Size)
	}
}

// listing lists the files below dir with their sizes and times.
func listing(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		fi, err := d.Info()
		if err == nil {
			b.WriteString(strings.TrimPrefix(name, dir) + " " + fi.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// errCut stands for a process that was killed.
var errCut = errors.New("cut off")

// TestBackupCutOff cuts a Backup off between any two of its steps, and within the
// archive, over sizes between which a tile becomes full. What is there is restored
// at a size that it had before or after.
func TestBackupCutOff(t *testing.T) {
	dir := newDir(t)
	l, _ := start(t, dir)
	defer func() { closeLog(t, l) }()
	fill(t, l, 0, 250)
	backup := filepath.Join(memoryDir(t), "backup")
	// Before it was whole for the first time.
	_, err := Backup(t.Context(), BackupConfig{From: dir, To: backup, Also: func(context.Context, *os.Root) error { return errCut }})
	if !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), BackupConfig{From: backup, To: backup + "2"}); !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("Restore of what was never whole: %v", err)
	}
	if _, err := Open(Config{Dir: backup}); !errors.Is(err, ErrBackup) {
		t.Errorf("Open: %v", err)
	}
	backUp(t, dir, backup)
	for i := 250; i < 300; i += 10 { // one publication at least for each
		fill(t, l, i, i+10)
	}
	// The tiles are there, and neither the mark nor the archive.
	_, err = Backup(t.Context(), BackupConfig{From: dir, To: backup, Also: func(context.Context, *os.Root) error { return errCut }})
	if !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	if p := restored(t, backup); p.Size != 250 {
		t.Errorf("cut off before the mark: restored at size %d", p.Size)
	}
	// Nor can the mark be written: what is not marked yet is not in the archive.
	grown := func(context.Context, *os.Root) error {
		return errors.Join(os.Remove(filepath.Join(backup, markFile)), os.Mkdir(filepath.Join(backup, markFile), 0o755))
	}
	old, err := os.ReadFile(filepath.Join(backup, markFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Backup(t.Context(), BackupConfig{From: dir, To: backup, Also: grown}); err == nil {
		t.Fatal("a directory was taken for a mark")
	}
	if err := errors.Join(os.Remove(filepath.Join(backup, markFile)), os.WriteFile(filepath.Join(backup, markFile), old, 0o644)); err != nil {
		t.Fatal(err)
	}
	if p := restored(t, backup); p.Size != 250 {
		t.Errorf("cut off at the mark: restored at size %d", p.Size)
	}
	// A whole one, of which parts are taken away again.
	archive, err := os.ReadFile(filepath.Join(backup, archiveFile))
	if err != nil {
		t.Fatal(err)
	}
	backUp(t, dir, backup)
	whole, err := os.ReadFile(filepath.Join(backup, archiveFile))
	if err != nil || !bytes.HasPrefix(whole, archive) {
		t.Fatalf("archive: %v", err)
	}
	lines := bytes.SplitAfter(whole[len(archive):], []byte("\n"))
	if len(lines) < 6 {
		t.Fatalf("%d publications", len(lines)-1)
	}
	end := len(archive)
	for _, line := range lines {
		for _, cut := range []int{end, end + len(line)/2} {
			if err := os.WriteFile(filepath.Join(backup, archiveFile), whole[:cut], 0o644); err != nil {
				t.Fatal(err)
			}
			want := whole[:bytes.LastIndexByte(whole[:cut], '\n')+1]
			last, err := parseLine(want[bytes.LastIndexByte(want[:len(want)-1], '\n')+1:])
			if err != nil {
				t.Fatal(err)
			}
			if p := restored(t, backup); p.Size != last.Size {
				t.Errorf("archive cut off at %d: restored at size %d, want %d", cut, p.Size, last.Size)
			}
			// What is read of it beside, and what goes on, comes to the same.
			again := filepath.Join(memoryDir(t), "again")
			if got := backUp(t, backup, again); got != last.Size {
				t.Errorf("a backup of it has size %d, want %d", got, last.Size)
			}
		}
		end += len(line)
	}
	if got := backUp(t, dir, backup); got != 300 {
		t.Errorf("brought up to size %d", got)
	}
	for _, name := range []string{"tile/0/000.p", "tile/entries/000.p"} {
		if _, err := os.Lstat(filepath.Join(backup, treeDir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there, and the tile is full: %v", name, err)
		}
	}
	if p := restored(t, backup); p.Size != 300 {
		t.Errorf("restored at size %d", p.Size)
	}
}

// TestBackupArchive rots each part of the archive before its last line, which the
// start of a server does not read.
func TestBackupArchive(t *testing.T) {
	dir := newDir(t)
	l, _ := start(t, dir)
	for i := range 5 {
		fill(t, l, i, i+1)
	}
	closeLog(t, l)
	name := filepath.Join(dir, archiveFile)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	for what, damage := range map[string]func(line []byte) []byte{
		"a checkpoint's signature": func(b []byte) []byte { return changed(b, bytes.Index(b, []byte("TreeHead"))-30) },
		"a tree head's signature":  func(b []byte) []byte { return changed(b, len(b)-30) },
		"a time":                   func(b []byte) []byte { return bytes.Replace(b, []byte(`"Time":"2`), []byte(`"Time":"3`), 1) },
		"spaces":                   func(b []byte) []byte { return bytes.Replace(b, []byte(`,"Size"`), []byte(`, "Size"`), 1) },
		"nothing left":             func([]byte) []byte { return []byte("\n") },
		"the line of another size": func([]byte) []byte { return lines[4] },
	} {
		bad := bytes.Join([][]byte{lines[0], lines[1], damage(bytes.Clone(lines[2])), lines[3], lines[4], lines[5]}, nil)
		if bytes.Equal(bad, whole) {
			t.Fatalf("%s: nothing was damaged", what)
		}
		if err := os.WriteFile(name, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Check(Config{Dir: dir}); err != nil {
			t.Fatalf("%s: Check: %v", what, err)
		}
		if _, err := Backup(t.Context(), BackupConfig{From: dir, To: dir + "2"}); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s: Backup: %v", what, err)
		}
	}
}

// TestBackupOfOtherArchive brings a backup up to date from an archive of the same
// tree that says other times: they are in no signature, and the feed is made of them.
func TestBackupOfOtherArchive(t *testing.T) {
	dir := newDir(t)
	l, _ := start(t, dir)
	defer closeLog(t, l)
	fill(t, l, 0, 1)
	backup := filepath.Join(memoryDir(t), "backup")
	backUp(t, dir, backup)
	name := filepath.Join(backup, archiveFile)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	p := *l.Published()
	line, err := p.line()
	if err != nil {
		t.Fatal(err)
	}
	p.Time = p.Time.Add(time.Microsecond)
	other, err := p.line()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, bytes.Replace(data, line, other, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 1, 2)
	if _, err := Backup(t.Context(), BackupConfig{From: dir, To: backup}); !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), "not the continuation") {
		t.Errorf("Backup: %v", err)
	}
}

func changed(b []byte, at int) []byte {
	if b[at] == 'A' {
		b[at] = 'B'
	} else {
		b[at] = 'A'
	}
	return b
}

// TestBackupAudited copies what auditors cosigned, and refuses to restore what one
// of them has seen to be older.
func TestBackupAudited(t *testing.T) {
	dir := newDir(t)
	l, _ := start(t, dir)
	fill(t, l, 0, 5)
	backup := filepath.Join(memoryDir(t), "backup")
	note := func(size int64) []byte {
		for p, err := range l.Publications(size - 1) {
			if err != nil {
				t.Fatal(err)
			}
			return p.Checkpoint
		}
		return nil
	}
	put := func(dir string, note []byte) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if err := durable.WriteFile(root, auditedDir+"/0123456789abcdef", note, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put(dir, note(1))
	backUp(t, dir, backup)
	if got, err := os.ReadFile(filepath.Join(backup, auditedDir, "0123456789abcdef")); err != nil || !bytes.Equal(got, note(1)) {
		t.Errorf("copied %q, %v", got, err)
	}
	fill(t, l, 5, 6)
	put(backup, note(6))
	if _, err := Restore(t.Context(), BackupConfig{From: backup, To: backup + "2"}); !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), "of size 6, which was published") {
		t.Errorf("Restore: %v", err)
	}
	backUp(t, dir, backup)
	if p := restored(t, backup); p.Size != 6 {
		t.Errorf("restored at size %d", p.Size)
	}
	closeLog(t, l)
}

// TestBackupGone loses the disk with the backup between two rounds.
func TestBackupGone(t *testing.T) {
	dir := grown(t, 3)
	backup := filepath.Join(memoryDir(t), "backup")
	config := BackupConfig{From: dir, To: backup, Existing: true}
	if _, err := Backup(t.Context(), config); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	if err := os.Mkdir(backup, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Backup(t.Context(), config); !errors.Is(err, ErrNoBackup) {
		t.Errorf("an empty directory: %v", err)
	}
	// Two into one.
	backUp(t, dir, backup)
	root, err := os.OpenRoot(backup)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	unlock, err := durable.Lock(root, lockFile)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := Backup(t.Context(), config); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("beside another one: %v", err)
	}
}
