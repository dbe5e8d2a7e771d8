// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"

	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func TestLookup(t *testing.T) {
	l := tlogtest.New(t, "sum.example", tlogclient.Database)
	l.Append([]byte("example.com/A v1.0.0 h1:\nexample.com/A v1.0.0/go.mod h1:\n"), []byte("example.com/b v2.0.0+incompatible h1:\n"))
	c := open(t, l, l, nil)
	for i, m := range [][2]string{{"example.com/A", "v1.0.0"}, {"example.com/b", "v2.0.0+incompatible"}} {
		a, err := c.Lookup(t.Context(), m[0], m[1])
		if err != nil || a.Index != int64(i) || !strings.HasPrefix(string(a.Text), m[0]+" "+m[1]+" h1:\n") || !strings.HasSuffix(string(a.Text), "h1:\n") {
			t.Fatalf("%v: %+v, %v", m, a, err)
		}
		head, err := tlogclient.ParseHead(a.Note, l.Origin, l.Key)
		if err != nil || head.Tree() != l.Tree(2) {
			t.Errorf("%v: head %+v, %v", m, head, err)
		}
		p, err := c.ProveEntry(t.Context(), a.Index, head.Tree())
		if err == nil {
			err = tlog.CheckRecord(p, head.Size, head.Root, a.Index, tlog.RecordHash(a.Text))
		}
		if err != nil {
			t.Error(err)
		}
	}
	if reads := l.Reads(); reads[0] != "lookup/example.com/!a@v1.0.0" {
		t.Errorf("read %q", reads)
	}
	if _, err := c.Lookup(t.Context(), "example.com/c", "v1.0.0"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unknown: error %v", err)
	}
	l.Reads()
	for _, m := range [][2]string{{"../latest", "v1"}, {"example.com/a?b", "v1.0.0"}, {"example.com/a", "../v1"}, {"example.com/a", "v1/../.."}, {"", ""}, {"example.com/a\n", "v1.0.0"}} {
		if _, err := c.Lookup(t.Context(), m[0], m[1]); err == nil {
			t.Errorf("%q: no error", m)
		}
	}
	if reads := l.Reads(); len(reads) > 0 {
		t.Errorf("read %q", reads)
	}
	tiles := tlogtest.New(t, "log.example", tlogclient.Tiles)
	if _, err := open(t, tiles, tiles, nil).Lookup(t.Context(), "example.com/a", "v1.0.0"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of tlog-tiles: error %v", err)
	}
}

// TestLookupPath checks that a version is not taken for a part of a URL.
func TestLookupPath(t *testing.T) {
	var asked string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Path + "?" + r.URL.RawQuery
		http.NotFound(w, r)
	}))
	defer srv.Close()
	h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
	defer h.Close()
	src, err := h.Source(srv.URL + "/a%20b")
	if err != nil {
		t.Fatal(err)
	}
	l := tlogtest.New(t, "sum.example", tlogclient.Database)
	c := open(t, l, src, nil)
	for _, v := range []string{"v1.0.0", "v1.0.0+incompatible", "v1%2f..%2f..", "v1%", "v1%zz", "v1#a", "v1.0.0&b=c;d"} {
		asked = ""
		if _, err := c.Lookup(t.Context(), "example.com/m", v); !errors.Is(err, fs.ErrNotExist) && asked != "" {
			t.Errorf("%s: error %v", v, err)
		}
		if asked != "" && asked != "/a b/lookup/example.com/m@"+v+"?" {
			t.Errorf("%s: asked for %q", v, asked)
		}
	}
}

func TestParseAnswer(t *testing.T) {
	const good = "7\na\nb\n\nnote\n"
	a, err := tlogclient.ParseAnswer([]byte(good))
	if err != nil || a.Index != 7 || string(a.Text) != "a\nb\n" || string(a.Note) != "note\n" || string(a.Body) != good {
		t.Errorf("%+v, %v", a, err)
	}
	long := strings.Repeat("x", 65535)
	for _, body := range []string{
		"", "7", "7\n", "7\n\n", "7\n\n\nnote\n", "7\n\na\n\nnote\n", "7\na\n", "7\na\n\n",
		"\na\n\nnote\n", "-1\na\n\nnote\n", "+7\na\n\nnote\n", "07\na\n\nnote\n", " 7\na\n\nnote\n", "7x\na\n\nnote\n",
		"9223372036854775808\na\n\nnote\n", "9223372036854775807\na\n\nnote\n", fmt.Sprintf("%d\na\n\nnote\n", tlogclient.MaxSize),
		"7\n" + long + "\n\nnote\n", "7\na\n\n" + strings.Repeat("x", checkpoint.MaxNote+1), "7\n" + strings.Repeat(long, 4) + "\n\nnote",
	} {
		if a, err := tlogclient.ParseAnswer([]byte(body)); !errors.Is(err, tlogclient.ErrAnswer) {
			t.Errorf("%.40q: %+v, %v", body, a, err)
		}
	}
}

// TestServerEntries reads lookups and entries from the server that
// golang.org/x/mod has.
func TestServerEntries(t *testing.T) {
	skey, vkey, err := note.GenerateKey(nil, "sum.example")
	if err != nil {
		t.Fatal(err)
	}
	key, err := checkpoint.ParseKey(vkey)
	if err != nil {
		t.Fatal(err)
	}
	record := func(path, version string) ([]byte, error) {
		return fmt.Appendf(nil, "%s %s h1:\n%s %s/go.mod h1:\n", path, version, path, version), nil
	}
	srv := httptest.NewServer(sumdb.NewServer(sumdb.NewTestServer(skey, record)))
	defer srv.Close()
	h := tlogclient.NewHTTP(tlogclient.HTTPConfig{})
	defer h.Close()
	src, err := h.Source(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tlogclient.New(tlogclient.Config{Source: src, Layout: tlogclient.Database, Keys: []*checkpoint.Key{key}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		a, err := c.Lookup(t.Context(), "example.com/M", fmt.Sprintf("v1.0.%d", i))
		if err != nil || a.Index != int64(i) {
			t.Fatalf("lookup %d: %+v, %v", i, a, err)
		}
	}
	for n, width := range map[int64]int{0: 256, 1: 44} {
		entries, err := c.Bundle(t.Context(), n, width)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range entries {
			if want, _ := record("example.com/M", fmt.Sprintf("v1.0.%d", n*256+int64(i))); !bytes.Equal(e, want) {
				t.Fatalf("entry %d of %d: %q", i, n, e)
			}
		}
	}
}

// FuzzAnswer compares with the go command's parser, which is less strict about
// the number and more about the bytes of the entry.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("7\na\nb\n\nnote\n"))
	f.Add([]byte("07\na\n\nnote\n"))
	f.Add([]byte("7\n\n\n\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := tlogclient.ParseAnswer(body)
		if err != nil {
			return
		}
		if again := fmt.Appendf(nil, "%d\n%s\n%s", a.Index, a.Text, a.Note); !bytes.Equal(again, body) {
			t.Errorf("%q is %q", body, again)
		}
		id, text, rest, err := tlog.ParseRecord(body)
		if err == nil && (id != a.Index || !bytes.Equal(text, a.Text) || !bytes.Equal(rest, a.Note)) {
			t.Errorf("%q: %+v, go command: %d %q %q", body, a, id, text, rest)
		}
	})
}
