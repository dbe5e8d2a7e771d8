// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package site_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/site"
)

// line returns a line of the archive as a log writes it.
func line(t testing.TB, at time.Time, size int64, cp, th []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		Time       time.Time
		Size       int64
		Checkpoint string
		TreeHead   string
	}{at, size, string(cp), string(th)})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC)

// archive serves publications of sizes, most at once.
func (r *rig) archive(t testing.TB, most int, sizes []int64) http.Handler {
	lines := make([][]byte, len(sizes))
	notes := make(map[int64][2][]byte)
	for i, n := range sizes {
		if notes[n][0] == nil {
			notes[n] = [2][]byte{r.tiles.Sign(r.tiles.Tree(n)), r.database.Sign(r.database.Tree(n))}
		}
		lines[i] = line(t, epoch.Add(time.Duration(i)*time.Microsecond), n, notes[n][0], notes[n][1])
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		after, err1 := strconv.ParseInt(req.FormValue("after"), 10, 64)
		limit, err2 := strconv.Atoi(req.FormValue("limit"))
		if err1 != nil || err2 != nil || limit < 1 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		left := min(limit, most)
		for i, n := range sizes {
			if n > after && left > 0 {
				w.Write(lines[i])
				left--
			}
		}
	})
}

func TestArchive(t *testing.T) {
	r := newRig(t, 50)
	var many []int64
	for i := range int64(1100) {
		many = append(many, i/22)
	}
	for _, tt := range []struct {
		name  string
		most  int
		sizes []int64
		after int64
		want  []int64
	}{
		{"empty", 10, nil, -1, nil},
		{"one", 10, []int64{0}, -1, []int64{0}},
		{"some", 10, []int64{0, 1, 5}, -1, []int64{0, 1, 5}},
		{"after", 10, []int64{0, 1, 1, 5, 6}, 1, []int64{5, 6}},
		{"pages of one", 1, []int64{0, 1, 5, 9}, -1, []int64{0, 1, 5, 9}},
		{"a page ends in a size", 3, []int64{0, 1, 5, 5, 6, 7, 7, 7, 8}, -1, []int64{0, 1, 5, 5, 6, 7, 7, 7, 8}},
		{"more of one size than fit", 2, []int64{0, 5, 5, 5, 6}, -1, []int64{0, 5, 5, 6}},
		{"many", 1000, many, -1, many},
	} {
		s, err := openSite(t, hide(r, "/checkpoints", r.archive(t, tt.most, tt.sizes)), r.tiles.Key)
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		last := time.Time{}
		for p, err := range s.Archive(t.Context(), tt.after) {
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			got = append(got, p.Size)
			if !p.Time.After(last) {
				t.Errorf("%s: size %d at %v after %v", tt.name, p.Size, p.Time, last)
			}
			last = p.Time
			if len(got) > 20 {
				continue
			}
			c, th, err := p.Heads(r.tiles.Key)
			if err != nil || c.Tree() != r.tiles.Tree(p.Size) || th.Tree() != c.Tree() || c.Origin != name || th.Origin != tlogclient.DatabaseOrigin {
				t.Errorf("%s: heads %+v, %+v, %v", tt.name, c, th, err)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: sizes %v, want %v", tt.name, got, tt.want)
		}
		for range s.Archive(t.Context(), tt.after) {
			break // who has enough, ends it
		}
	}
}

// TestArchiveLarge reads lines of which few fit on a page.
func TestArchiveLarge(t *testing.T) {
	r := newRig(t, 3)
	note := bytes.Repeat([]byte("x"), checkpoint.MaxNote)
	s, err := openSite(t, hide(r, "/checkpoints", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		after, _ := strconv.ParseInt(req.FormValue("after"), 10, 64)
		limit, _ := strconv.ParseInt(req.FormValue("limit"), 10, 64)
		for n := after + 1; n < 40 && n <= after+limit; n++ {
			w.Write(line(t, epoch, n, note, note))
		}
	})), r.tiles.Key)
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for p, err := range s.Archive(t.Context(), -1) {
		if err != nil || p.Size != n {
			t.Fatalf("size %d, %v", p.Size, err)
		}
		n++
	}
	if n != 40 {
		t.Errorf("%d lines", n)
	}
}

// TestArchiveHostile reads archives that have no end, no order or no form.
func TestArchiveHostile(t *testing.T) {
	r := newRig(t, 20)
	good := func(n int64) string {
		return string(line(t, epoch, n, r.tiles.Sign(r.tiles.Tree(n)), r.database.Sign(r.database.Tree(n))))
	}
	sigs := bytes.Repeat([]byte(`— sum.example AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n`), 1e6)
	begin, end, _ := bytes.Cut(line(t, epoch, 5, r.tiles.Sign(r.tiles.Tree(5)), nil), []byte(`","TreeHead`))
	long := slices.Concat(begin, sigs, []byte(`","TreeHead`), end)
	for name, h := range map[string]http.Handler{
		"the same for ever": says(good(5) + good(6)),
		"decreases":         says(good(5) + good(4) + good(6)),
		"no end of line":    says(good(5) + strings.TrimSuffix(good(6), "\n")),
		"empty line":        says(good(5) + "\n"),
		"web site":          says("<html>\n</html>\n"),
		"broken":            status(500),
		"endless line": http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			for req.Context().Err() == nil {
				if _, err := io.WriteString(w, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"); err != nil {
					return
				}
			}
		}),
		"signatures": http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { w.Write(long) }),
		"more than asked for": http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			for n := range int64(2000) {
				fmt.Fprintf(w, `{"Time":"2026-01-02T03:04:05Z","Size":%d,"Checkpoint":"","TreeHead":""}`+"\n", n)
			}
		}),
	} {
		s, err := openSite(t, hide(r, "/checkpoints", h), r.tiles.Key)
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n := 0
		var last error
		size := int64(-1)
		for p, err := range s.Archive(t.Context(), -1) {
			if err == nil && p.Size < size {
				t.Errorf("%s: size %d after %d", name, p.Size, size)
			}
			size = p.Size
			if last != nil {
				t.Errorf("%s: goes on after %v", name, last)
			}
			if n++; n > 10 {
				t.Errorf("%s: no end", name)
				break
			}
			last = err
		}
		runtime.ReadMemStats(&after)
		if last == nil || errors.Is(last, fs.ErrNotExist) || len(last.Error()) > 500 {
			t.Errorf("%s: error %v", name, last)
		}
		// A page can have 8 MiB, and five sizes of page are tried.
		if n := after.TotalAlloc - before.TotalAlloc; n > 256<<20 {
			t.Errorf("%s: %d bytes allocated", name, n)
		}
	}
}

func TestParseLine(t *testing.T) {
	const good = `{"Time":"2026-01-02T03:04:05.000678Z","Size":7,"Checkpoint":"a<&>\u2028\n","TreeHead":"b"}`
	p, err := site.ParseLine([]byte(good))
	if err != nil || p.Size != 7 || !p.Time.Equal(epoch) || string(p.Checkpoint) != "a<&>\u2028\n" || string(p.TreeHead) != "b" {
		t.Errorf("%+v, %v", p, err)
	}
	for _, change := range [][2]string{
		{good, ""}, {good, "{}"}, {good, "null"}, {good, "[]"}, {"Size", "size"}, {":7", ":7.0"}, {":7", ":-1"}, {":7", ":9007199254740992"}, {":7", ":9223372036854775808"},
		{":7", `:7,"Size":7`}, {":7", `:7,"More":7`}, {`"TreeHead"`, ` "TreeHead"`}, {"}", "} "}, {"}", "}{}"}, {"<", `\u003c`}, {`\u2028`, "\u2028"},
		{"b", "\xff"}, {"678Z", "6781Z"}, {"678Z", "678+00:00"}, {"678Z", "678+01:00"}, {"000678Z", "000000Z"}, {"2026", "26"},
		{`,"TreeHead":"b"`, ""}, {`"b"`, "null"}, {`"b"`, `"` + strings.Repeat("b", checkpoint.MaxNote+1) + `"`}, {`"b"`, `"` + strings.Repeat("b", 2<<20) + `"`},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if p, err := site.ParseLine([]byte(bad)); !errors.Is(err, site.ErrArchive) || bad == good {
			t.Errorf("%.200s: %+v, %v", bad, p, err)
		}
	}
}

func TestPublishedHeads(t *testing.T) {
	r, other := newRig(t, 9), newRig(t, 9)
	cp := func(r *rig, n int64) []byte { return r.tiles.Sign(r.tiles.Tree(n)) }
	th := func(r *rig, n int64) []byte { return r.database.Sign(r.database.Tree(n)) }
	for _, tt := range []struct {
		name string
		p    site.Published
		want error
	}{
		{"good", site.Published{Size: 7, Checkpoint: cp(r, 7), TreeHead: th(r, 7)}, nil},
		{"other key", site.Published{Size: 7, Checkpoint: cp(other, 7), TreeHead: th(r, 7)}, tlogclient.ErrHead},
		{"other key of the tree head", site.Published{Size: 7, Checkpoint: cp(r, 7), TreeHead: th(other, 7)}, tlogclient.ErrHead},
		{"exchanged", site.Published{Size: 7, Checkpoint: th(r, 7), TreeHead: cp(r, 7)}, tlogclient.ErrHead},
		{"twice", site.Published{Size: 7, Checkpoint: cp(r, 7), TreeHead: cp(r, 7)}, tlogclient.ErrHead},
		{"other size", site.Published{Size: 7, Checkpoint: cp(r, 8), TreeHead: th(r, 7)}, site.ErrArchive},
		{"other size of the tree head", site.Published{Size: 7, Checkpoint: cp(r, 7), TreeHead: th(r, 8)}, site.ErrArchive},
	} {
		if _, _, err := tt.p.Heads(r.tiles.Key); !errors.Is(err, tt.want) || (tt.want == nil) != (err == nil) {
			t.Errorf("%s: error %v", tt.name, err)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add([]byte(`{"Time":"2026-01-02T03:04:05.000678Z","Size":7,"Checkpoint":"a<&>\u2028\n","TreeHead":"b"}`))
	f.Add([]byte(`{"Time":"2026-01-02T03:04:05Z","Size":0,"Checkpoint":"","TreeHead":""}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := site.ParseLine(data)
		if err != nil {
			return
		}
		if again := line(t, p.Time, p.Size, p.Checkpoint, p.TreeHead); string(again) != string(data)+"\n" {
			t.Errorf("%q is %q", data, again)
		}
		if p.Size < 0 || p.Size > tlogclient.MaxSize || p.Time.Nanosecond()%1000 != 0 {
			t.Errorf("%+v", p)
		}
	})
}
