// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/durable"
)

// litterIn returns the files of a data directory whose names are not those of a
// log at rest.
func litterIn(dir string) (litter []string, err error) {
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, name)
		if err == nil && strings.HasPrefix(rel, treeDir+"/tile/") {
			level, number, ok := strings.Cut(strings.TrimPrefix(rel, treeDir+"/tile/"), "/")
			if !d.IsDir() && (!ok || !isLevel(level)) {
				litter = append(litter, rel)
			}
			if _, err := parseTileNumber(kindHash, 0, number); ok && !d.IsDir() && err != nil {
				litter = append(litter, rel)
			}
			return nil
		}
		if strings.HasPrefix(rel, auditedDir+"/") && !strings.HasPrefix(d.Name(), durable.TempPrefix) {
			return nil
		}
		if d != nil && !d.IsDir() && !oneOf("key", "guard", "lock", "archive.jsonl", "checkpoint", "version",
			"treeState", "treeState.lock", "publish.lock", "gcState", "gcState.lock")(d.Name()) {
			litter = append(litter, rel)
		}
		return err
	})
	return litter, err
}

// A history is what children have told about one log.
type history struct {
	childConfig
	pid     int
	created bool
	acks    map[int]int64
	heads   map[int64]headLine
	backup  int64 // the size of the backup that was finished last, -1: none
	last    int   // the largest acknowledged record
	audited int64 // the largest size that an auditor cosigned and that was taken
	stops   []string
	failed  string // what an append said that failed
}

type headLine struct {
	micros int64
	root   string
}

func newHistory(c childConfig) *history {
	return &history{childConfig: c, acks: make(map[int]int64), heads: make(map[int64]headLine), backup: -1, last: -1}
}

// hear takes one line of a child and returns its first word.
func (h *history) hear(t testing.TB, line string) string {
	word, rest, _ := strings.Cut(line, " ")
	var i, index, size int64
	var head headLine
	switch word {
	case "creating", "opened", "started":
	case "failed":
		h.failed = rest
	case "pid":
		fmt.Sscan(rest, &h.pid)
	case "created":
		h.created = true
	case "ack":
		fmt.Sscan(rest, &i, &index)
		if old, ok := h.acks[int(i)]; ok && old != index {
			t.Errorf("record %d was acknowledged as entry %d and as %d", i, old, index)
		}
		h.acks[int(i)] = index
		h.last = max(h.last, int(i))
	case "head":
		fmt.Sscan(rest, &size, &head.micros, &head.root)
		if old, ok := h.heads[size]; ok && old != head {
			t.Errorf("heads of size %d: %v and %v", size, old, head)
		}
		h.heads[size] = head
	case "audited":
		fmt.Sscan(rest, &size)
		h.audited = max(h.audited, size)
	case "backup":
		fmt.Sscan(rest, &size)
		if size < h.backup {
			t.Errorf("the backup went back from size %d to %d", h.backup, size)
		}
		h.backup = size
	case "stopped":
		h.stops = append(h.stops, rest)
	default:
		t.Errorf("child: %s", line)
	}
	return word
}

// verify holds what is on disk, as the crash left it, against the history.
// Nothing is written.
func (h *history) verify(t testing.TB, r *rand.Rand) {
	t.Helper()
	if _, err := os.Stat(h.Dir); err != nil {
		if h.created {
			t.Errorf("the log is gone: %v", err)
		}
		return
	}
	l, err := open(Config{Dir: h.Dir, Guard: h.Guard, Auditors: auditorKeys(1)}, os.O_RDONLY)
	if err != nil {
		t.Errorf("Check: %v", err)
		return
	}
	defer l.Close()
	tr := readTruth(t, l)
	h.compare(t, l, tr)
	tr.compareServed(t, l, h.Dir, r)
	h.verifyBackup(t, l)
}

// verifyBackup restores the backup, wherever it was cut off. It has at least what
// was said of it, and nothing but what was published.
func (h *history) verifyBackup(t testing.TB, l *Log) {
	t.Helper()
	restored := h.Dir + ".restored"
	defer os.RemoveAll(restored)
	size, err := Restore(t.Context(), BackupConfig{From: h.Dir + ".backup", To: restored})
	if h.backup < 0 && err != nil && (errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "cut off before it was whole")) {
		return
	}
	if err != nil || size < h.backup {
		t.Errorf("Restore of a backup of size %d: %d, %v", h.backup, size, err)
		return
	}
	name, p, err := Check(Config{Dir: restored})
	if err != nil || name != l.Name() || p.Size != size {
		t.Errorf("Check of what was restored at size %d: %v, %v", size, p, err)
		return
	}
	for have, err := range l.Publications(size - 1) {
		if err != nil || have.Size != size || string(have.TreeHead) != string(p.TreeHead) {
			t.Errorf("the backup has a head of size %d that was never published: %v", size, err)
		}
		return
	}
	t.Errorf("the backup has size %d, and the log is smaller", size)
}

// compare looks for every acknowledged entry and every head. An entry that was
// acknowledged is below the size of a head that was archived before.
func (h *history) compare(t testing.TB, l *Log, tr *truth) {
	t.Helper()
	for i, index := range h.acks {
		if index >= int64(len(tr.texts)) || !bytes.Equal(tr.texts[index], record(i).Text()) {
			t.Errorf("record %d, acknowledged as entry %d of now %d, is not there", i, index, len(tr.texts))
		}
	}
	if kept := l.audited.kept[auditor(0).Key().String()]; h.audited > 0 && (kept == nil || kept.Size < h.audited) {
		t.Errorf("what an auditor cosigned at size %d was taken; now there is %+v", h.audited, kept)
	}
	archived := make(map[int64]headLine)
	var last *Publication
	for p, err := range l.Publications(-1) {
		if err != nil {
			t.Fatal(err)
		}
		if last != nil && (p.Size < last.Size || !p.Time.After(last.Time)) {
			t.Errorf("archive: size %d at %v after size %d at %v", p.Size, p.Time, last.Size, last.Time)
		}
		if root, err := tlog.TreeHash(p.Size, tr); err != nil || root != p.Root {
			t.Errorf("archive: size %d has root %v, the entries give %v, %v", p.Size, p.Root, root, err)
		}
		archived[p.Size] = headLine{p.Time.UnixMicro(), p.Root.String()}
		last = p
	}
	for size, head := range h.heads {
		if archived[size] != head {
			t.Errorf("head of size %d was seen as %v and is archived as %v", size, head, archived[size])
		}
	}
}

// finish opens the log once more, which sweeps, and checks it after that too.
func (h *history) finish(t testing.TB, r *rand.Rand) {
	t.Helper()
	c := h.childConfig
	c.From, c.Count, c.Workers = h.last+1, 3, 1
	k := startChild(t, c)
	if err := k.follow(t, h, func(string) {}); err != nil {
		t.Errorf("child after the last crash: %v\n%s", err, k.errs.Bytes())
	}
	h.verify(t, r)
}

// A truth is a log's published entries as read, and the tree that x/mod makes
// of them.
type truth struct {
	texts  [][]byte
	hashes []tlog.Hash // stored hashes
}

func (tr *truth) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		if at >= int64(len(tr.hashes)) {
			return nil, fmt.Errorf("no hash %d", at)
		}
		out[i] = tr.hashes[at]
	}
	return out, nil
}

// readTruth reads all entries. None may be there twice.
func readTruth(t testing.TB, l *Log) *truth {
	t.Helper()
	tr := &truth{}
	seen := make(map[module.Version]int64)
	for e, err := range l.Entries(0, l.Published().Size) {
		if err != nil {
			t.Fatal(err)
		}
		if first, ok := seen[e.Record.Module]; ok {
			t.Errorf("%v is entry %d and %d", e.Record.Module, first, e.Index)
		}
		seen[e.Record.Module] = e.Index
		text := e.Record.Text()
		hashes, err := tlog.StoredHashes(int64(len(tr.texts)), text, tr)
		if err != nil {
			t.Fatal(err)
		}
		tr.texts = append(tr.texts, text)
		tr.hashes = append(tr.hashes, hashes...)
	}
	return tr
}

// tile returns what a tile has to hold, nil if it does not exist.
func (tr *truth) tile(id tileID) []byte {
	if id.w > width(id.level, id.n, int64(len(tr.texts))) {
		return nil
	}
	var b []byte
	if id.kind == kindHash {
		b, _ = tlog.ReadTileData(tlog.Tile{H: 8, L: id.level, N: id.n, W: id.w}, tr)
		return b
	}
	for _, text := range tr.texts[id.n*tileWidth:][:id.w] {
		b = append(append(b, byte(len(text)>>8), byte(len(text))), text...)
	}
	return b
}

// compareServed asks for every file near the right edge that is on disk, by its
// name there, and for widths that have no file. Whatever is served is the truth.
func (tr *truth) compareServed(t testing.TB, l *Log, dir string, r *rand.Rand) {
	t.Helper()
	var paths []string
	last := int64(len(tr.texts)) / tileWidth
	err := filepath.WalkDir(filepath.Join(dir, treeDir), func(name string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(filepath.Join(dir, treeDir), name)
		if err == nil && d.IsDir() && strings.HasSuffix(rel, ".p") && !strings.Contains(rel, fmt.Sprintf("%03d.p", last)) && r.IntN(10) > 0 {
			return fs.SkipDir
		}
		if err == nil && !d.IsDir() && strings.Contains(rel, "tile") {
			paths = append(paths, "/"+rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		paths = append(paths, fmt.Sprintf("/tile/0/%03d.p/%d", last, 1+r.IntN(255)), fmt.Sprintf("/tile/entries/%03d.p/%d", last, 1+r.IntN(255)))
	}
	for _, path := range append(paths, "/"+durable.TempPrefix+"x", "/.state/treeState") {
		got, err := get(l, path)
		id, perr := parseTilePath(path)
		switch {
		case perr != nil && err == nil:
			t.Errorf("GET %s served %d bytes of litter", path, len(got))
		case perr == nil && (err == nil) != (tr.tile(id) != nil):
			t.Errorf("GET %s at size %d: %v", path, len(tr.texts), err)
		case perr == nil && err == nil && !bytes.Equal(got, tr.tile(id)):
			t.Errorf("GET %s at size %d: not the log's", path, len(tr.texts))
		}
	}
}
