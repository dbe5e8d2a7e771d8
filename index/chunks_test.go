// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/sumlog/internal/sqlite"
)

// long reports whether tests try every place instead of some.
func long() bool { return os.Getenv("CI") == "true" }

// readLines returns what x's file of lines holds.
func readLines(t testing.TB, x *Index) []byte {
	t.Helper()
	text, err := io.ReadAll(io.NewSectionReader(x.file.file, 0, 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// writeLines writes b into x's file of lines, as rot would.
func writeLines(t testing.TB, x *Index, b []byte, at int64) {
	t.Helper()
	if _, err := x.file.file.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// wholeFeed returns all pages of the feed, or false after one that is an error.
func wholeFeed(t testing.TB, x *Index) (text string, ok bool) {
	t.Helper()
	for after := -1; ; after += maxPage {
		w := serve(x.Feed(), fmt.Sprintf("/index?after=%d", after))
		if w.Code != 200 {
			return text, false
		}
		text += w.Body.String()
		if strings.Count(w.Body.String(), "\n") < maxPage {
			return text, true
		}
	}
}

// Whatever happens to the lines while the index is open, at any place: they are
// right, and right in the file too once they were read.
func TestLinesRot(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	grow(t, m, 589, 37, 5*time.Microsecond)
	x := mustOpen(t, Config{Path: filepath.Join(t.TempDir(), "index.db"), Source: m})
	defer x.Close()
	want, whole := wantDump(t, m).Feed, readLines(t, x)
	step := 997
	if long() {
		step = 7
	}
	check := func(what string, at int) {
		t.Helper()
		if got, ok := wholeFeed(t, x); !ok || got != want {
			t.Fatalf("%s at %d: feed is wrong (%v)", what, at, ok)
		}
		if !bytes.Equal(readLines(t, x), whole) {
			t.Fatalf("%s at %d: not mended", what, at)
		}
	}
	for at := 0; at < len(whole); at += step {
		writeLines(t, x, []byte{whole[at] ^ 1<<(at%8)}, int64(at))
		check("bit flipped", at)
	}
	for at := 0; at < len(whole); at += 8 * step {
		writeLines(t, x, make([]byte, min(4096, len(whole)-at)), int64(at))
		check("page zeroed", at)
		writeLines(t, x, whole[:min(4096, len(whole)-at)], int64(at))
		check("page written elsewhere", at)
		if err := x.file.file.Truncate(int64(at)); err != nil {
			t.Fatal(err)
		}
		check("cut off", at)
	}
}

// The same before the index is opened.
func TestLinesRotAtRest(t *testing.T) {
	path, m, want := sound(t, 589)
	whole, err := os.ReadFile(path + linesSuffix)
	if err != nil {
		t.Fatal(err)
	}
	tries := 5
	if long() {
		tries = 200
	}
	rnd := rand.New(rand.NewPCG(7, 8))
	for range tries {
		at := rnd.IntN(len(whole))
		flipped := bytes.Clone(whole)
		flipped[at] ^= 1 << rnd.IntN(8)
		zeroed := bytes.Clone(whole)
		clear(zeroed[at:min(at+4096, len(whole))])
		for name, bad := range map[string][]byte{"flipped": flipped, "zeroed": zeroed, "cut off": whole[:at], "empty": nil} {
			if err := os.WriteFile(path+linesSuffix, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			if reopen(t, path, m, want) {
				t.Errorf("%s at %d: all was made again for some lines", name, at)
			}
			if got, err := os.ReadFile(path + linesSuffix); err != nil || !bytes.Equal(got, whole) {
				t.Errorf("%s at %d: not mended (%v)", name, at, err)
			}
		}
	}
	if err := os.Remove(path + linesSuffix); err != nil {
		t.Fatal(err)
	}
	if !reopen(t, path, m, want) {
		t.Error("not made again without its lines")
	}
}

// A kill leaves lines of a transaction that never was; a power loss may leave
// them away, or leave zeros, where the database knows of them. Either way the
// file becomes the one that a rebuild makes.
func TestLinesCrash(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	path := filepath.Join(t.TempDir(), "index.db")
	x := open(t, path, m)
	rnd := rand.New(rand.NewPCG(9, 10))
	for round := range 9 {
		for _, p := range grow(t, m, 100, 23, 2*time.Microsecond) {
			if err := x.Publish(p); err != nil {
				t.Fatal(err)
			}
		}
		crashed := copyDB(t, path)
		lines := readLines(t, x)
		switch lost := len(lines) - rnd.IntN(min(len(lines), 30_000)); round % 3 {
		case 0:
			lines = append(lines, "half a lin"...)
		case 1:
			lines = lines[:lost]
		case 2:
			clear(lines[lost:])
		}
		if err := os.WriteFile(crashed+linesSuffix, lines, 0o644); err != nil {
			t.Fatal(err)
		}
		var r recorder
		after := mustOpen(t, Config{Path: crashed, Source: m, Logger: slog.New(slog.NewTextHandler(&r, nil))})
		if got := readLines(t, after); round%3 == 0 && !bytes.Equal(got, readLines(t, x)) {
			t.Errorf("round %d: %d bytes of lines after a kill", round, len(got))
		}
		// Growth goes on over what was lost, before anybody reads it.
		for _, p := range grow(t, m, 50, 7, 2*time.Microsecond) {
			if err := errors.Join(after.Publish(p), x.Publish(p)); err != nil {
				t.Fatal(err)
			}
		}
		checkDump(t, after, m)
		if r.made() {
			t.Errorf("round %d: made again after a crash", round)
		}
		if !bytes.Equal(readLines(t, after), readLines(t, x)) {
			t.Errorf("round %d: lines after a crash differ", round)
		}
		after.Close()
	}
}

// Lines that rotted are never served, also when they cannot be made again.
func TestLinesLost(t *testing.T) {
	m := newMemory(t, "sum.example.com")
	grow(t, m, 512, 37, time.Second)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), m)
	writeLines(t, x, []byte("X"), 100)
	after := fmt.Sprintf("/index?after=%d", chunkLines-1)
	sound := serve(x.Feed(), after).Body.String()
	failing := func(what string) {
		t.Helper()
		for _, target := range []string{"/index", "/index?limit=1", fmt.Sprint("/index?after=", chunkLines-2), "/index?since=2026-01-02T03:04:05Z", "/index?limit=1&since=2026-01-02T03:04:06.000010Z"} {
			if w := serve(x.Feed(), target); w.Code != 500 {
				t.Errorf("%s: %s is %d %.200q", what, target, w.Code, w.Body)
			}
		}
		if w := serve(x.Feed(), after); w.Code != 200 || w.Body.String() != sound {
			t.Errorf("%s: lines that are sound are %d", what, w.Code)
		}
	}
	m.setFail(errors.New("no entries today"))
	failing("without the log")
	m.setFail(nil)
	checkDump(t, x, m)

	writeLines(t, x, []byte("X"), 100)
	m.entries[7].Record.Module.Path = strings.Replace(m.entries[7].Record.Module.Path, "example.com", "example.org", 1)
	if w := serve(x.Feed(), "/index?limit=1"); w.Code != 503 {
		t.Errorf("with another log: %d %.200q", w.Code, w.Body)
	}
}

// Rows of chunks, and the times by which they are found, are not trusted: each
// change gives right pages or errors.
func TestChunkRows(t *testing.T) {
	const group = groupChunks * chunkLines
	m := newMemory(t, "sum.example.com")
	grow(t, m, 2*group+3*chunkLines+10, 137, time.Second)
	path := filepath.Join(t.TempDir(), "index.db")
	if err := mustOpen(t, Config{Path: path, Source: m}).Close(); err != nil {
		t.Fatal(err)
	}
	times := wantTimes(m)
	lines := strings.SplitAfter(wantDump(t, m).Feed, "\n")
	lines = lines[:len(lines)-1]
	// The row of chunk 1, which began there and had n lines.
	row := func(begin int, n int) []byte {
		text := strings.Join(lines[chunkLines:chunkLines+n], "")
		c := chunk{1, int64(begin), times[chunkLines].UnixMicro(), len(text), n, crc32.Checksum([]byte(text), castagnoli)}
		return c.appendRow(nil)
	}
	begin := len(strings.Join(lines[:chunkLines], ""))
	const set = "UPDATE chunks SET rows = CAST(substr(rows, 1, 32) || %s || substr(rows, 65) AS BLOB) WHERE grp = 0"
	for _, sql := range []string{
		"SELECT 1",
		fmt.Sprintf(set, fmt.Sprintf("x'%x'", row(begin, 10))),
		fmt.Sprintf(set, fmt.Sprintf("x'%x'", row(begin+1, chunkLines))),
		fmt.Sprintf(set, "zeroblob(32)"),
		fmt.Sprintf(set, "zeroblob(31)"),
		fmt.Sprintf(set, "substr(rows, 1, 32)"),
		fmt.Sprintf(set, "x''"),
		"UPDATE chunks SET rows = substr(rows, 1, 100) WHERE grp = 1",
		"UPDATE chunks SET rows = x'' WHERE grp = 1",
		"UPDATE chunks SET rows = 'text' WHERE grp = 1",
		"UPDATE chunks SET rows = 7 WHERE grp = 1",
		"UPDATE chunks SET rows = (SELECT rows FROM chunks WHERE grp = 0) WHERE grp = 1",
		"DELETE FROM chunks WHERE grp = 0",
		"DELETE FROM chunks WHERE grp = 1",
		"UPDATE chunks SET grp = -1 WHERE grp = 0",
		"UPDATE chunks SET time = 0 WHERE grp = 1",
		"UPDATE chunks SET time = 0 WHERE grp = 2",
		"UPDATE chunks SET time = time + 1000000 WHERE grp = 1",
		"UPDATE chunks SET time = time - 1000000 WHERE grp = 1",
		"UPDATE chunks SET time = 1 << 62 WHERE grp = 1",
		"UPDATE chunks SET time = 1 << 62 WHERE grp = 2",
		"UPDATE chunks SET time = 'noon' WHERE grp = 1",
		"UPDATE chunks SET time = 1 << 62",
		"UPDATE chunks SET time = (SELECT time FROM chunks WHERE grp = 2) + 1 WHERE grp = 0",
	} {
		bad := copyDB(t, path)
		c, err := sqlite.Open(bad, "rw")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.Exec(sql), c.Close()); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		x := mustOpen(t, Config{Path: bad, Source: m})
		failed := 0
		for from := 0; from < len(lines); from += 19 {
			since := url.QueryEscape(times[from].Format(time.RFC3339Nano))
			for _, target := range []string{fmt.Sprintf("/index?limit=20&after=%d", from-1), "/index?limit=20&since=" + since} {
				w := serve(x.Feed(), target)
				if w.Code != 200 {
					failed++
				} else if w.Body.String() != strings.Join(lines[from:min(from+20, len(lines))], "") {
					t.Errorf("%s: %s is wrong: %.200q", sql, target, w.Body)
				}
			}
		}
		if (failed == 0) != (sql == "SELECT 1") {
			t.Errorf("%s: %d pages failed", sql, failed)
		}
		x.Close()
	}
}
