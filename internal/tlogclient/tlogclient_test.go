// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

var layouts = []tlogclient.Layout{tlogclient.Tiles, tlogclient.Database}

func open(t testing.TB, l *tlogtest.Log, source tlogclient.Source, cache tlogclient.Cache) *tlogclient.Log {
	t.Helper()
	c, err := tlogclient.New(tlogclient.Config{Source: source, Layout: l.Layout, Keys: []*checkpoint.Key{l.Key}, Cache: cache})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// verify checks a consistency proof with code that had no part in making it.
func verify(from, to tlog.Tree, p []tlog.Hash) error {
	var hashes [][]byte
	for _, h := range p {
		hashes = append(hashes, h[:])
	}
	return proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(from.N), uint64(to.N), hashes, from.Hash[:], to.Hash[:])
}

func TestExtend(t *testing.T) {
	sizes := []int64{0, 1, 2, 3, 7, 255, 256, 257, 511, 512, 700, 65535, 65536, 65537, 66000}
	for _, layout := range layouts {
		l := tlogtest.New(t, "log.example", layout)
		l.Grow("a", 66000)
		c := open(t, l, l, nil)
		for i, to := range sizes {
			l.Show(to)
			head, err := c.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if head.Tree() != l.Tree(to) || head.Origin != l.Origin {
				t.Fatalf("head %+v, want size %d", head, to)
			}
			for _, from := range sizes[:i+1] {
				p, err := c.Extend(t.Context(), l.Head(from), head)
				if err != nil {
					t.Fatalf("%v, from %d to %d: %v", layout, from, to, err)
				}
				if from == 0 {
					if len(p) != 0 {
						t.Fatalf("from 0 to %d: proof of %d hashes", to, len(p))
					}
					continue
				}
				if err := verify(l.Tree(from), l.Tree(to), p); err != nil {
					t.Fatalf("from %d to %d: %v", from, to, err)
				}
			}
		}
	}
}

func TestExtendFromNothing(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	for _, n := range []int64{0, 5} {
		l.Grow("a", n)
		if p, err := open(t, l, l, nil).Extend(t.Context(), tlogclient.Head{}, l.Head(n)); err != nil || len(p) != 0 {
			t.Errorf("to size %d: %v, %v", n, p, err)
		}
	}
}

func TestHead(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	other := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Grow("a", 3)
	good := string(l.Sign(l.Tree(3)))
	tree := l.Tree(3)
	renamed := l.Fork(3)
	renamed.Origin = "other.example"
	tests := []struct {
		name string
		note string
	}{
		{"empty", ""},
		{"no signature", good[:strings.Index(good, "\n\n")+1]},
		{"another key", string(other.Sign(tree))},
		{"flipped", strings.Replace(good, "\n3\n", "\n4\n", 1)},
		{"another origin", string(renamed.Sign(tree))},
		{"too large", string(l.Sign(tlog.Tree{N: tlogclient.MaxSize + 1}))},
		{"near the largest number", string(l.Sign(tlog.Tree{N: 1<<62 + 1}))},
		{"the largest number", string(l.Sign(tlog.Tree{N: 1<<63 - 1}))},
		{"size 0 of a root", string(l.Sign(tlog.Tree{N: 0, Hash: tree.Hash}))},
	}
	for _, tt := range tests {
		if _, err := tlogclient.ParseHead([]byte(tt.note), l.Origin, l.Key); !errors.Is(err, tlogclient.ErrHead) {
			t.Errorf("%s: error %v, want ErrHead", tt.name, err)
		}
	}
	if h, err := tlogclient.ParseHead([]byte(good), l.Origin, other.Key, l.Key); err != nil || h.Tree() != tree || string(h.Note) != good {
		t.Errorf("good head: %+v, %v", h, err)
	}
	if _, err := tlogclient.ParseHead(renamed.Sign(tree), "", l.Key); err != nil {
		t.Errorf("any origin: %v", err)
	}
}

// TestLoose has heads that the go command believes, and that are no strict ones. A
// database must not be able to show a victim a fork that his auditor takes for
// nothing at all.
func TestLoose(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Database)
	l.Grow("a", 3)
	signer, err := note.NewSigner(l.Signer)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(text string) string {
		t.Helper()
		msg, err := note.Sign(&note.Note{Text: text}, signer)
		if err != nil {
			t.Fatal(err)
		}
		return string(msg)
	}
	good := string(l.Sign(l.Tree(3)))
	text, line, _ := strings.Cut(good, "\n\n")
	i := len(line) - 9
	other := "A" // still base64
	if line[i] == 'A' {
		other = "B"
	}
	bad := line[:i] + other + line[i+1:]
	for name, tt := range map[string]struct {
		note  string
		loose bool
	}{
		"bad line behind a good one": {good + bad, true},
		"bad line alone":             {text + "\n\n" + bad, false},
		"long text":                  {sign(text + "\n" + strings.Repeat("x", checkpoint.MaxNote) + "\n"), true},
		"longer than is read":        {"", true},
		"empty line in the text":     {sign(text + "\n\nx\n"), true},
		"large":                      {sign(strings.Replace(text, "\n3\n", "\n9007199254740993\n", 1) + "\n"), true},
		"checkpoint":                 {sign(strings.Replace(text, "go.sum database tree", "other.example", 1) + "\n"), false},
		"web page":                   {"<html>\n", false},
	} {
		for _, layout := range layouts {
			want := tlogclient.ErrHead
			if tt.loose && layout == tlogclient.Database {
				want = tlogclient.ErrLoose
			}
			source := sourceFunc(func(string) ([]byte, error) { return []byte(tt.note), nil })
			if tt.note == "" {
				source = func(string) ([]byte, error) { return nil, tlogclient.ErrTooLarge }
			}
			c, err := tlogclient.New(tlogclient.Config{Source: source, Layout: layout, Keys: []*checkpoint.Key{l.Key}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Head(t.Context()); !errors.Is(err, want) || errors.Is(err, tlogclient.ErrHead) && errors.Is(err, tlogclient.ErrLoose) {
				t.Errorf("%s, %v: %v, want %v", name, layout, err, want)
			}
		}
	}
}

func TestDiscover(t *testing.T) {
	for _, layout := range layouts {
		l := tlogtest.New(t, "log.example", layout)
		l.Grow("a", 9)
		got, head, err := tlogclient.Discover(t.Context(), l, l.Key)
		if err != nil || got != layout || head.Tree() != l.Tree(9) || head.Origin != l.Origin {
			t.Errorf("%v: found %v, %+v, %v", layout, got, head, err)
		}
	}
	// A failure is not an absence: the database's layout is not tried.
	status := func(n int) error { return &tlogclient.StatusError{URL: "u", Status: n} }
	for _, tt := range []struct {
		err  error
		want []string
	}{
		{errors.New("broken"), []string{"checkpoint"}},
		{status(429), []string{"checkpoint"}},
		{status(503), []string{"checkpoint"}},
		{status(400), []string{"checkpoint", "latest"}},
		{status(403), []string{"checkpoint", "latest"}},
		{status(404), []string{"checkpoint", "latest"}},
	} {
		l := tlogtest.New(t, "log.example", tlogclient.Tiles)
		l.Grow("a", 9)
		l.Fault(func(string, []byte) ([]byte, error) { return nil, tt.err })
		if _, _, err := tlogclient.Discover(t.Context(), l, l.Key); err == nil {
			t.Errorf("%v: no error", tt.err)
		}
		if reads := l.Reads(); !slices.Equal(reads, tt.want) {
			t.Errorf("%v: read %q", tt.err, reads)
		}
	}
}

// TestHuge reads trees whose sizes would keep index arithmetic busy for ever.
func TestHuge(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	c := open(t, l, l, nil)
	for _, n := range []int64{-1, 0, tlogclient.MaxSize + 1, 1<<62 + 1, 1<<63 - 1} {
		tree := tlog.Tree{N: n}
		if _, err := c.Hashes(t.Context(), tree).ReadHashes([]int64{0}); err == nil {
			t.Errorf("size %d: no error", n)
		}
		if _, _, err := c.Prove(t.Context(), 1, tree); err == nil {
			t.Errorf("size %d: proven", n)
		}
	}
	if _, _, err := c.Prove(t.Context(), 1<<62+1, tlog.Tree{N: 1<<62 + 2}); err == nil {
		t.Error("proven near the largest number")
	}
	if reads := l.Reads(); len(reads) > 0 {
		t.Errorf("read %q", reads)
	}
	l.Grow("a", 3)
	for _, x := range []int64{-1, -1 << 63, tlog.StoredHashIndex(0, 3), 1 << 62, 1<<63 - 1} {
		if _, err := c.Hashes(t.Context(), l.Tree(3)).ReadHashes([]int64{x}); err == nil {
			t.Errorf("index %d: no error", x)
		}
	}
	// The largest tree allowed costs a request for each level, and no more.
	head, err := tlogclient.ParseHead(l.Sign(tlog.Tree{N: tlogclient.MaxSize - 1}), l.Origin, l.Key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Extend(t.Context(), l.Head(3), head); err == nil {
		t.Error("extended to a tree without tiles")
	}
	if n := len(l.Reads()); n > 32 {
		t.Errorf("%d requests", n)
	}
}

// TestPartialGone reads a head whose partial tiles gave way to full ones.
func TestPartialGone(t *testing.T) {
	for _, layout := range layouts {
		l := tlogtest.New(t, "log.example", layout)
		l.Grow("a", 65536)
		old, head := l.Head(300), l.Head(65500)
		c := open(t, l, l, nil)
		p, err := c.Extend(t.Context(), old, head)
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(old.Tree(), head.Tree(), p); err != nil {
			t.Fatal(err)
		}
	}
}

// A sourceFunc is a source.
type sourceFunc func(path string) ([]byte, error)

func (f sourceFunc) String() string { return "function" }

func (f sourceFunc) Read(_ context.Context, path string, _ int64) ([]byte, error) { return f(path) }

// TestTileMissing checks that a missing tile is not taken for a missing log, nor
// a busy server's answer for a missing tile.
func TestTileMissing(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Grow("a", 20)
	status := func(n int) error {
		return &tlogclient.StatusError{URL: "u", Status: n, RetryAfter: time.Minute}
	}
	for _, tt := range []struct {
		name          string
		partial, full error
		data          []byte
		status        int // of the error, if it is one
	}{
		{"missing", fs.ErrNotExist, fs.ErrNotExist, nil, 0},
		{"gone", status(410), status(404), nil, 0},
		{"forbidden", status(403), status(403), nil, 0},
		{"busy", status(404), status(503), nil, 503},
		{"busy at once", status(429), status(404), nil, 429},
		{"cut", status(404), nil, make([]byte, 19*32), 0},
		{"almost full", status(404), nil, make([]byte, 255*32), 0},
	} {
		c := open(t, l, sourceFunc(func(path string) ([]byte, error) {
			if strings.Contains(path, ".p/") {
				return nil, tt.partial
			}
			return tt.data, tt.full
		}), nil)
		_, err := c.Extend(t.Context(), l.Head(7), l.Head(20))
		e, _ := errors.AsType[*tlogclient.StatusError](err)
		if err == nil || errors.Is(err, fs.ErrNotExist) || tt.status == 0 && e != nil || tt.status != 0 && (e == nil || e.Status != tt.status) {
			t.Errorf("%s: error %v", tt.name, err)
		}
	}
}

// TestTampered flips every byte of every tile, in turn. Nothing may be proven
// with it, and nothing may be a fork.
func TestTampered(t *testing.T) {
	for _, tt := range []struct {
		from, to int64
		step     int
	}{{5, 21, 1}, {100, 256, 67}, {255, 600, 131}, {65535, 65600, 509}} {
		l := tlogtest.New(t, "log.example", tlogclient.Tiles)
		l.Grow("a", tt.to)
		c := open(t, l, l, nil)
		old, head := l.Head(tt.from), l.Head(tt.to)
		if _, err := c.Extend(t.Context(), old, head); err != nil {
			t.Fatal(err)
		}
		paths := l.Reads()
		slices.Sort(paths)
		for _, bad := range slices.Compact(paths) {
			size := 1 << 20
			for i := 0; i < size; i += tt.step {
				l.Fault(func(path string, data []byte) ([]byte, error) {
					if path == bad {
						size = len(data)
						data[i%size] ^= byte(1 + i%255)
					}
					return data, nil
				})
				_, err := c.Extend(t.Context(), old, head)
				if !errors.Is(err, tlogclient.ErrUnproven) {
					t.Fatalf("%d to %d, byte %d of %s flipped: error %v", tt.from, tt.to, i, bad, err)
				}
			}
		}
	}
}

func TestWrongLength(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Grow("a", 600)
	c := open(t, l, l, nil)
	for _, change := range []int{-8192, -33, -32, -1, 1, 32, 8192} {
		l.Fault(func(path string, data []byte) ([]byte, error) {
			if path == "tile/0/000" {
				return slices.Concat(data, make([]byte, 8192))[:len(data)+change], nil
			}
			return data, nil
		})
		if _, err := c.Extend(t.Context(), l.Head(3), l.Head(600)); err == nil {
			t.Errorf("length changed by %d: no error", change)
		}
	}
}

// TestForkEqual, TestForkLarger and TestForkSmaller read a log that shows
// another history. The error must convince somebody who knows nothing but the
// key.
func TestForkEqual(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Grow("a", 300)
	evil := l.Fork(200)
	evil.Grow("b", 300)
	_, err := open(t, l, evil, nil).Extend(t.Context(), l.Head(300), evil.Head(300))
	e, ok := errors.AsType[*tlogclient.ForkError](err)
	if !ok {
		t.Fatalf("error %v", err)
	}
	checkFork(t, l, e, 300, 300)
}

func TestForkLarger(t *testing.T) {
	for _, layout := range layouts {
		for _, n := range []int64{201, 256, 257, 300} {
			l := tlogtest.New(t, "log.example", layout)
			l.Grow("a", n)
			evil := l.Fork(200)
			evil.Grow("b", 700)
			_, err := open(t, l, evil, nil).Extend(t.Context(), l.Head(n), evil.Head(700))
			e, ok := errors.AsType[*tlogclient.ForkError](err)
			if !ok {
				t.Fatalf("error %v", err)
			}
			checkFork(t, l, e, n, 700)
		}
	}
}

func TestForkSmaller(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Grow("a", 700)
	evil := l.Fork(200)
	evil.Grow("b", 300)
	_, err := open(t, l, l, nil).Extend(t.Context(), l.Head(700), evil.Head(300))
	e, ok := errors.AsType[*tlogclient.ForkError](err)
	if !ok {
		t.Fatalf("error %v", err)
	}
	checkFork(t, l, e, 300, 700)
}

func checkFork(t *testing.T, l *tlogtest.Log, e *tlogclient.ForkError, older, newer int64) {
	t.Helper()
	for _, h := range []tlogclient.Head{e.Older, e.Newer} {
		if got, err := tlogclient.ParseHead(h.Note, l.Origin, l.Key); err != nil || got.Tree() != h.Tree() {
			t.Errorf("note of size %d: %v", h.Size, err)
		}
	}
	if e.Older.Size != older || e.Newer.Size != newer || e.Root == e.Older.Root {
		t.Errorf("fork is %v", e)
	}
	if err := verify(tlog.Tree{N: older, Hash: e.Root}, e.Newer.Tree(), e.Proof); err != nil {
		t.Errorf("proof: %v", err)
	}
}

func TestStale(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Grow("a", 700)
	evil := l.Fork(200)
	evil.Grow("b", 300)
	for _, tt := range []struct {
		name   string
		source *tlogtest.Log
		shown  tlogclient.Head
	}{
		{"an old head", l, l.Head(300)},
		{"the empty head", l, l.Head(0)},
		{"a fork, whose log does not serve the known tree", evil, evil.Head(300)},
	} {
		_, err := open(t, l, tt.source, nil).Extend(t.Context(), l.Head(700), tt.shown)
		e, ok := errors.AsType[*tlogclient.StaleError](err)
		if !ok || e.Known.Size != 700 || e.Shown.Size != tt.shown.Size {
			t.Errorf("%s: error %v", tt.name, err)
		}
	}
}

func FuzzHead(f *testing.F) {
	l := tlogtest.New(f, "log.example", tlogclient.Tiles)
	l.Grow("a", 3)
	f.Add(l.Sign(l.Tree(3)))
	f.Add(l.Sign(l.Tree(0)))
	f.Add(l.Sign(tlog.Tree{N: 1<<63 - 1}))
	f.Add([]byte("log.example\n3\n\n— log.example AAAAAAAA\n"))
	f.Fuzz(func(t *testing.T, note []byte) {
		h, err := tlogclient.ParseHead(note, "", l.Key)
		if err != nil {
			return
		}
		if h.Size < 0 || h.Size > tlogclient.MaxSize || !strings.HasPrefix(string(note), h.Text()) {
			t.Errorf("head %+v of %q", h, note)
		}
	})
}
