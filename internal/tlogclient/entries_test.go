// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
)

func TestBundle(t *testing.T) {
	for _, layout := range layouts {
		l := tlogtest.New(t, "log.example", layout)
		l.Grow("a", 700)
		c := open(t, l, l, nil)
		var buf tlogclient.Buffer
		check := func(n int64, width int, path ...string) {
			t.Helper()
			l.Reads()
			entries, err := c.BundleInto(t.Context(), &buf, n, width)
			if err != nil || len(entries) != width {
				t.Fatalf("%v: bundle %d of %d: %d entries, %v", layout, n, width, len(entries), err)
			}
			for i, e := range entries {
				if want := tlogtest.Record("a", n*256+int64(i)); !bytes.Equal(e, want) || cap(e) != len(e) {
					t.Fatalf("%v: entry %d is %q, want %q", layout, n*256+int64(i), e, want)
				}
			}
			if reads := l.Reads(); !slices.Equal(reads, path) {
				t.Errorf("%v: bundle %d of %d: read %q, want %q", layout, n, width, reads, path)
			}
		}
		dir := map[tlogclient.Layout]string{tlogclient.Tiles: "tile/entries/", tlogclient.Database: "tile/8/data/"}[layout]
		check(0, 256, dir+"000")
		check(2, 188, dir+"002.p/188")
		check(1, 5, dir+"001.p/5", dir+"001") // partial is gone
		if _, err := c.Bundle(t.Context(), 2, 187); !errors.Is(err, tlogclient.ErrNoEntries) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: missing: error %v", layout, err)
		}
		l.Fault(func(string, []byte) ([]byte, error) { return nil, &tlogclient.StatusError{Status: 503} })
		for _, width := range []int{5, 256} {
			if _, err := c.Bundle(t.Context(), 0, width); err == nil || errors.Is(err, tlogclient.ErrNoEntries) {
				t.Errorf("%v: busy: error %v", layout, err)
			}
		}
		l.Reads()
		for _, bad := range []struct {
			n     int64
			width int
		}{{-1, 1}, {tlogclient.MaxSize / 256, 1}, {1 << 62, 256}, {0, 0}, {0, -1}, {0, 257}} {
			if _, err := c.Bundle(t.Context(), bad.n, bad.width); err == nil {
				t.Errorf("bundle %d of %d entries", bad.n, bad.width)
			}
		}
		if reads := l.Reads(); len(reads) > 0 {
			t.Errorf("read %q", reads)
		}
	}
}

// TestBundleBusyFull checks that a full bundle that a busy server does not give is
// not taken for a missing one.
func TestBundleBusyFull(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	c := open(t, l, sourceFunc(func(path string) ([]byte, error) {
		if strings.Contains(path, ".p/") {
			return nil, fs.ErrNotExist
		}
		return nil, &tlogclient.StatusError{Status: 503}
	}), nil)
	_, err := c.Bundle(t.Context(), 0, 3)
	if e, ok := errors.AsType[*tlogclient.StatusError](err); !ok || e.Status != 503 {
		t.Errorf("error %v", err)
	}
}

// TestBuffer checks that a buffer is used again, and that a large bundle does not
// make it large for ever.
func TestBuffer(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	for i := range 256 {
		l.Append([]byte(strings.Repeat("x", 100+i)))
	}
	for range 256 {
		l.Append(make([]byte, 65535))
	}
	dir := t.TempDir()
	for n := range 2 {
		name := fmt.Sprintf("tile/entries/%03d", n)
		data, err := l.Read(t.Context(), name, 32<<20)
		if err == nil {
			err = os.MkdirAll(filepath.Join(dir, "tile", "entries"), 0o777)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), data, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c := open(t, l, tlogclient.Patient(tlogclient.Dir(dir), 2), nil)
	var buf tlogclient.Buffer
	read := func(n int64) []byte {
		t.Helper()
		entries, err := c.BundleInto(t.Context(), &buf, n, 256)
		if err != nil {
			t.Fatal(err)
		}
		return entries[0]
	}
	if a, b := read(0), read(0); &a[0] != &b[0] || buf.Cap() == 0 {
		t.Error("the buffer was not used again")
	}
	if a := read(1); len(a) != 65535 || buf.Cap() > 1<<20 {
		t.Errorf("%d bytes kept after an entry of %d", buf.Cap(), len(a))
	}
	if a, b := read(0), read(0); &a[0] != &b[0] {
		t.Error("the buffer was not used again")
	}
}

func TestParseEntries(t *testing.T) {
	big := strings.Repeat("x", 65534) + "\n"
	bundle := func(texts ...string) string {
		var b []byte
		for _, s := range texts {
			b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
			b = append(b, s...)
		}
		return string(b)
	}
	for _, tt := range []struct {
		name  string
		parse func([]byte, int) ([][]byte, error)
		data  string
		want  []string
	}{
		{"bundle", tlogclient.ParseBundle, bundle("a\n", "", "b"), []string{"a\n", "", "b"}},
		{"bundle of the largest", tlogclient.ParseBundle, bundle(big), []string{big}},
		{"data", tlogclient.ParseData, "a\nb\n\nc\n\n", []string{"a\nb\n", "c\n"}},
		{"data of the largest", tlogclient.ParseData, big + "\n", []string{big}},
	} {
		got, err := tt.parse([]byte(tt.data), len(tt.want))
		if err != nil || len(got) != len(tt.want) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
			continue
		}
		for i := range got {
			if string(got[i]) != tt.want[i] {
				t.Errorf("%s: entry %d differs", tt.name, i)
			}
		}
		for _, change := range []string{tt.data + "x", tt.data + "\n", tt.data[:len(tt.data)-1], ""} {
			if _, err := tt.parse([]byte(change), len(tt.want)); !errors.Is(err, tlogclient.ErrEntries) {
				t.Errorf("%s: %d bytes for %d: error %v", tt.name, len(change), len(tt.data), err)
			}
		}
		for _, n := range []int{len(tt.want) - 1, len(tt.want) + 1} {
			if _, err := tt.parse([]byte(tt.data), n); !errors.Is(err, tlogclient.ErrEntries) {
				t.Errorf("%s: as %d entries: error %v", tt.name, n, err)
			}
		}
	}
	for _, data := range []string{"\n\n", "\na\n\n", "a", "a\n", "x" + big + "\n"} {
		if _, err := tlogclient.ParseData([]byte(data), 1); !errors.Is(err, tlogclient.ErrEntries) {
			t.Errorf("%.20q: error %v", data, err)
		}
	}
	// An empty line within an entry makes two of it.
	if _, err := tlogclient.ParseData([]byte("a\n\nb\n\nc\n\n"), 2); !errors.Is(err, tlogclient.ErrEntries) {
		t.Errorf("two entries of three: error %v", err)
	}
}

func TestRawTile(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Grow("a", 700)
	kept := &cache{tiles: make(map[tlog.Tile][]byte)}
	c := open(t, l, l, kept)
	full, err := c.RawTile(t.Context(), tlog.Tile{H: 8, N: 1, W: 256})
	if err != nil || len(full) != 8192 {
		t.Fatalf("%d bytes, %v", len(full), err)
	}
	// A wrong one is what it is asked for.
	l.Fault(func(_ string, data []byte) ([]byte, error) { data[3] ^= 1; return data, nil })
	wrong, err := c.RawTile(t.Context(), tlog.Tile{H: 8, N: 1, W: 256})
	if err != nil || bytes.Equal(wrong, full) || len(kept.tiles) > 0 {
		t.Errorf("wrong tile: %v; %d kept", err, len(kept.tiles))
	}
	l.Fault(nil)
	if _, err := c.RawTile(t.Context(), tlog.Tile{H: 8, N: 1, W: 9}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("partial tile from the full one: error %v", err)
	}
	l.Fault(func(string, []byte) ([]byte, error) { return nil, &tlogclient.StatusError{Status: 403} })
	if _, err := c.RawTile(t.Context(), tlog.Tile{H: 8, N: 1, W: 256}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("forbidden: error %v", err)
	}
	l.Fault(func(string, []byte) ([]byte, error) { return nil, &tlogclient.StatusError{Status: 500} })
	if _, err := c.RawTile(t.Context(), tlog.Tile{H: 8, N: 1, W: 256}); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("broken: error %v", err)
	}
	l.Reads()
	for _, tile := range []tlog.Tile{
		{H: 7, N: 1, W: 9}, {H: 8, L: -1, W: 9}, {H: 8, L: 8, W: 9}, {H: 8, N: -1, W: 9},
		{H: 8, N: 1 << 44, W: 9}, {H: 8}, {H: 8, W: 257}, {H: 8, W: -1},
	} {
		if _, err := c.RawTile(t.Context(), tile); err == nil {
			t.Errorf("tile %+v", tile)
		}
	}
	if reads := l.Reads(); len(reads) > 0 {
		t.Errorf("read %q", reads)
	}
}

func TestProveEntry(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Grow("a", 66000)
	for _, n := range []int64{1, 2, 255, 256, 257, 700, 65536, 66000} {
		l.Show(n)
		c := open(t, l, l, nil)
		tree := l.Tree(n)
		for _, i := range []int64{0, 1, 200, 255, 256, 600, 65535, 65999} {
			if i >= n {
				continue
			}
			p, err := c.ProveEntry(t.Context(), i, tree)
			if err != nil {
				t.Fatalf("entry %d of %d: %v", i, n, err)
			}
			var hashes [][]byte
			for _, h := range p {
				hashes = append(hashes, h[:])
			}
			leaf := rfc6962.DefaultHasher.HashLeaf(tlogtest.Record("a", i))
			if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(i), uint64(n), leaf, hashes, tree.Hash[:]); err != nil {
				t.Errorf("entry %d of %d: %v", i, n, err)
			}
		}
		for _, i := range []int64{-1, n, 1<<63 - 1} {
			if _, err := c.ProveEntry(t.Context(), i, tree); err == nil {
				t.Errorf("entry %d of %d is proven", i, n)
			}
		}
	}
	c := open(t, l, l, nil)
	if _, err := c.ProveEntry(t.Context(), 0, tlog.Tree{N: 1<<62 + 1}); err == nil {
		t.Error("proven near the largest number")
	}
	evil := l.Tree(66000)
	evil.Hash[0] ^= 1
	if _, err := c.ProveEntry(t.Context(), 7, evil); !errors.Is(err, tlogclient.ErrUnproven) {
		t.Errorf("under another root: error %v", err)
	}
}

func FuzzBundle(f *testing.F) {
	f.Add([]byte("\x00\x02a\n\x00\x00"), 2)
	f.Add([]byte("\xff\xff"), 1)
	f.Add([]byte(""), 0)
	f.Fuzz(func(t *testing.T, data []byte, width int) {
		entries, err := tlogclient.ParseBundle(data, width)
		if err != nil {
			return
		}
		var again []byte
		for _, e := range entries {
			again = binary.BigEndian.AppendUint16(again, uint16(len(e)))
			again = append(again, e...)
		}
		if len(entries) != max(width, 0) || !bytes.Equal(again, data) {
			t.Errorf("%q as %d entries is %q", data, width, entries)
		}
	})
}

func FuzzData(f *testing.F) {
	f.Add([]byte("a\nb\n\nc\n\n"), 2)
	f.Add([]byte("\n\n\n"), 1)
	f.Add([]byte("a\n"), 1)
	f.Fuzz(func(t *testing.T, data []byte, width int) {
		entries, err := tlogclient.ParseData(data, width)
		if err != nil {
			return
		}
		var again []byte
		for _, e := range entries {
			if len(e) < 2 || len(e) > 65535 || e[len(e)-1] != '\n' || e[0] == '\n' || bytes.Contains(e, []byte("\n\n")) {
				t.Errorf("entry %q", e)
			}
			again = fmt.Appendf(again, "%s\n", e)
		}
		if len(entries) != max(width, 0) || !bytes.Equal(again, data) {
			t.Errorf("%q as %d entries is %q", data, width, entries)
		}
	})
}
