// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/record"
	"example.org/sumlog/internal/testauthority"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/report"
	"example.org/sumlog/witness/audit/site"
)

// small is a sample that goes with few entries.
func small(c *Config) { c.Sample = 8 }

// change makes the authority change good answers at paths that contain part.
func (r *rig) change(part string, f func(query url.Values, body []byte) []byte) {
	r.a.Tamper(func(path string, q url.Values, status int, body []byte) (int, []byte) {
		if status == http.StatusOK && strings.Contains(path, part) {
			body = f(q, body)
		}
		return status, body
	})
}

// note returns what comes after the record in the answer to a lookup.
func afterRecord(body []byte) int { return bytes.Index(body, []byte("\n\n")) + 2 }

func TestLookup(t *testing.T) {
	for name, test := range map[string]struct {
		note func(a *testauthority.Authority, note []byte) []byte
		kind evidence.Kind
	}{
		"unsigned": {func(_ *testauthority.Authority, n []byte) []byte {
			return bytes.Replace(n, []byte("Az"), []byte("Bz"), 1)[:len(n)-9]
		}, evidence.Contradicted},
		"none":      {func(_ *testauthority.Authority, n []byte) []byte { return nil }, evidence.Contradicted},
		"too small": {func(a *testauthority.Authority, n []byte) []byte { return a.TreeHead(5).Bytes() }, evidence.Contradicted},
		"checkpoint": {func(a *testauthority.Authority, n []byte) []byte {
			return a.Checkpoint(a.Size()).Bytes()
		}, evidence.Contradicted},
		"fork": {func(a *testauthority.Authority, n []byte) []byte {
			return a.Fork(290).TreeHead(299).Bytes()
		}, evidence.Discord},
		"larger fork": {func(a *testauthority.Authority, n []byte) []byte {
			b := a.Fork(290)
			b.Grow(50)
			return b.TreeHead(b.Size()).Bytes()
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testauthority.Config{Sizes: []int64{300}})
			clone := r.a.Clone()
			r.change("/lookup/", func(_ url.Values, body []byte) []byte {
				i := afterRecord(body)
				return append(body[:i:i], test.note(clone, body[i:])...)
			})
			res := r.audit(small)
			if test.kind == "" {
				// The log has no tiles for what only the lookup shows.
				res.only(t, map[string]report.Result{"B5": report.Failed})
				return
			}
			res.only(t, map[string]report.Result{"B5": report.Misbehaviour})
			if len(res.files) == 0 || res.files[0].Kind() != test.kind {
				t.Errorf("%v", res.files)
			}
		})
	}
}

// A site that is broken is not one that lies, nor one that lacks its services.
func TestBroken(t *testing.T) {
	r := newRig(t, testauthority.Config{Sizes: []int64{16}})
	r.a.Tamper(func(path string, _ url.Values, status int, body []byte) (int, []byte) {
		if path == "/checkpoint" || path == "/latest" {
			return status, body
		}
		return http.StatusInternalServerError, nil
	})
	res := r.audit(nil)
	failed := make(map[string]report.Result)
	for _, id := range []string{"A4", "B3", "B5", "D1", "D3", "D4", "V1", "V2", "V3"} {
		failed[id] = report.Failed
	}
	res.only(t, failed)
}

// Garbage is no answer where nothing contradicts a record.
func TestGarbage(t *testing.T) {
	r := newRig(t, testauthority.Config{Sizes: []int64{16}})
	for _, part := range []string{"/@v/list", "/@latest", "/index"} {
		r.change(part, func(url.Values, []byte) []byte { return []byte("<html>\n") })
	}
	res := r.audit(nil)
	res.only(t, map[string]report.Result{"V1": report.Failed, "V2": report.Failed, "V3": report.Failed})
	if len(res.files) > 0 {
		t.Errorf("%v", res.files)
	}
}

// A feed that gives the same page for ever is left.
// A feed that is wrong everywhere costs a bounded number of requests and files.
// Evidence about one check does not fill the disk.
func TestFull(t *testing.T) {
	r := newRig(t, testauthority.Config{Sizes: []int64{64}})
	r.change(".mod", func(_ url.Values, body []byte) []byte { return append(bytes.Clone(body), "// x\n"...) })
	res := r.audit(nil)
	res.only(t, map[string]report.Result{"D3": report.Misbehaviour})
	if d := res.checks["D3"]; d.Counts[report.Misbehaviour] != 2*64 || len(res.files) != report.MaxFindings {
		t.Errorf("%v, %d files", d.Counts, len(res.files))
	}
}

// What cannot be kept is said.
func TestKeepFails(t *testing.T) {
	r := newRig(t, testauthority.Config{Sizes: []int64{16}})
	r.a.Break(testauthority.InfoOther)
	res := r.audit(func(c *Config) {
		c.Keep = func(*evidence.Evidence) (string, error) { return "", errors.New("no space") }
	})
	d := res.checks["D4"]
	if d.Result != report.Misbehaviour || !strings.Contains(d.Findings[0].Text, "no space") {
		t.Errorf("%+v", d)
	}
}

func TestWarnings(t *testing.T) {
	r := newRig(t, testauthority.Config{Sizes: []int64{16}})
	r.change("/@v/v1.0.0.info", func(_ url.Values, body []byte) []byte {
		return bytes.ReplaceAll(body, []byte("2023-"), []byte("2123-"))
	})
	r.change("/@v/v1.0.1.info", func(url.Values, []byte) []byte { return []byte(`{"Version":"v1.0.1"}`) })
	m := testauthority.Module{Path: "example.com/fork", V: "v1.0.0", Mod: "module example.com/original\n"}
	r.a.Add(m)
	r.a.Publish()
	res := r.audit(nil)
	res.only(t, map[string]report.Result{"D2": report.Warning, "D4": report.Warning, "D5": report.Warning})
	if d := res.checks["D4"]; d.Counts[report.Warning] != 5 {
		t.Errorf("%+v", d)
	}
}

// A proxy that carries the log is not bound by it in its lists, but in its bytes.
func TestCarried(t *testing.T) {
	r := newRig(t, testauthority.Config{Sizes: []int64{16}})
	r.s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if p := req.URL.Path; !strings.HasPrefix(p, "/sumdb/") && !strings.Contains(p, "/@") {
			http.NotFound(w, req)
			return
		}
		r.a.ServeHTTP(w, req)
	})
	r.a.Break(testauthority.ListShort)
	res := r.audit(nil)
	res.only(t, nil)
	for _, id := range []string{"V1", "V2", "V3", "A4"} {
		if d := res.checks[id]; d.Result != report.Skipped || d.Skipped == "" {
			t.Errorf("%+v", d)
		}
	}
	for id, n := range map[string]int64{"B5": 16, "D1": 2 * 16, "D3": 2 * 16} {
		if d := res.checks[id]; d.Checked != n {
			t.Errorf("%+v", d)
		}
	}
}

// An audit that is ended accuses nobody.
func TestCancelled(t *testing.T) {
	r := newRig(t, testauthority.Config{Sizes: []int64{64}})
	s := r.site()
	head, err := s.Log().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.change(".mod", func(url.Values, []byte) []byte {
		cancel()
		return []byte("other")
	})
	rep := new(report.Report)
	next := int64(3)
	err = Run(ctx, Config{
		Site: s, Head: head, Sample: -1, Next: &next, Report: rep, Entries: r.entries,
		Keep: func(*evidence.Evidence) (string, error) { return "evidence", nil },
	})
	if !errors.Is(err, context.Canceled) || next != 3 {
		t.Errorf("%v, next %d", err, next)
	}
	if got := rep.Result(); got != report.OK {
		t.Errorf("%s", got)
	}
}

// The reference implementation of a checksum database has records, and nothing
// else.
func TestDatabase(t *testing.T) {
	skey, vkey, err := note.GenerateKey(nil, "sum.example.com")
	if err != nil {
		t.Fatal(err)
	}
	ops := sumdb.NewTestServer(skey, func(path, version string) ([]byte, error) {
		m := testauthority.Module{Path: path, V: version}
		return m.Record(), nil
	})
	mux := http.NewServeMux()
	server := sumdb.NewServer(ops)
	for _, p := range sumdb.ServerPaths {
		mux.Handle(p, server)
	}
	hs := httptest.NewServer(mux)
	defer hs.Close()
	a := testauthority.New(testauthority.Config{Sizes: []int64{20}})
	for i := range int64(20) {
		m := a.Module(i)
		path, version := escape(m.Path, m.V)
		if resp, err := http.Get(hs.URL + "/lookup/" + path + "@" + version); err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
	}
	key, err := checkpoint.ParseKey(vkey)
	if err != nil {
		t.Fatal(err)
	}
	h := tlogclient.NewHTTP(tlogclient.HTTPConfig{Timeout: time.Minute})
	defer h.Close()
	s, err := site.Open(t.Context(), site.Config{HTTP: h, URL: hs.URL, Key: key, Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	head, err := s.Log().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, a: a}
	res := r.auditAt(s, head, nil)
	res.only(t, nil)
	for id, d := range res.checks {
		if id == "B5" && d.Checked != 20 || id != "B5" && (d.Result != report.Skipped || d.Skipped == "") {
			t.Errorf("%+v", d)
		}
	}
}

// An archive that lacks the newest head could not be checked.
// A log full of one module does not fill the memory with its versions.
func TestManyVersions(t *testing.T) {
	s, err := newSpill(10)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for i := range int64(maxVersions + 100) {
		if err := s.add("example.com/a", "v1.0.0", i); err != nil {
			t.Fatal(err)
		}
	}
	rep := new(report.Report)
	a := &auditor{v1: rep.Check("V1", "", "")}
	err = s.parts(func(modules map[string][]version) error {
		if n := len(modules["example.com/a"]); n != maxVersions+1 {
			t.Errorf("%d versions", n)
		}
		a.module(t.Context(), "example.com/a", modules["example.com/a"], nil)
		return nil
	})
	if err != nil || a.v1.Data().Result != report.Failed {
		t.Errorf("%v %+v", err, a.v1.Data())
	}
}

// What a service said is absent before it is known to be there is not forgotten.
func TestSurface(t *testing.T) {
	var s surface
	var said []int
	say := func(i int) func() { return func() { said = append(said, i) } }
	s.absent(say(1))
	if !s.lacks() || len(said) > 0 {
		t.Error("a service that was not seen is not there")
	}
	s.here()
	s.absent(say(2))
	s.here()
	if s.lacks() || len(said) != 2 || said[0] != 1 || said[1] != 2 {
		t.Errorf("%v", said)
	}
}

// A mirror that has lists has no excuse for the bytes.
func TestBytesGone(t *testing.T) {
	r := newRig(t, testauthority.Config{Sizes: []int64{16}})
	r.hide(func(p string) bool {
		return strings.HasSuffix(p, ".zip") || strings.HasSuffix(p, ".mod") || strings.HasSuffix(p, ".info")
	})
	res := r.audit(nil)
	res.only(t, map[string]report.Result{"D7": report.Warning})
}

// What is found when the time is over may be for want of time.
func TestMisbehavesCancelled(t *testing.T) {
	rep := new(report.Report)
	c := rep.Check("B5", "", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := &auditor{accused: make(map[*report.Check]int)}
	a.misbehaves(ctx, c, report.Finding{Result: report.Misbehaviour}, nil)
	if got := c.Data().Result; got != report.Skipped {
		t.Errorf("%s", got)
	}
}

// The findings of a walk are as many as there are faults, about.
// Without an archive, times still increase.
// Where only pages by time go back, the entry that is there again bears witness.
// The partial file of entries is gone when the log has grown beyond it.
func TestFullBundle(t *testing.T) {
	r := newRig(t, testauthority.Config{Sizes: []int64{300}})
	s := r.site()
	head, err := s.Log().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.a.Grow(300)
	r.a.Publish()
	r.hide(func(p string) bool { return strings.HasPrefix(p, "/tile/8/data/001.p/") })
	res := r.auditAt(s, head, func(c *Config) { c.Sample, c.Next = 8, new(int64(280)) })
	res.only(t, nil)
	if d := res.checks["B3"]; d.Result != report.OK || d.Checked != 44 {
		t.Errorf("%+v", d)
	}
}

// A zip of the hash that is logged, which the go command would not unpack.
func TestRule(t *testing.T) {
	r := newRig(t, testauthority.Config{Sizes: []int64{8}})
	m := testauthority.Module{Path: zipModule.Path, V: zipModule.Version}
	data := makeZip(t, zipEntry{zipRoot + "go.mod", string(m.GoMod())}, zipEntry{zipRoot + "a:b", "a"})
	z, err := scanZip(t.Context(), bytes.NewReader(data), int64(len(data)), zipModule)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := record.Parse(m.Record())
	if err != nil {
		t.Fatal(err)
	}
	rec.Zip = z.h1
	r.a.AddText(m, rec.Text())
	r.a.Publish()
	r.change("/"+zipModule.Path+"/@v/v1.0.0.zip", func(url.Values, []byte) []byte { return data })
	r.audit(nil).only(t, map[string]report.Result{"D1": report.Warning})
}

// Bytes that are wrong only where they are served from the store alone; those that
// are not stored are no fault.
func TestStored(t *testing.T) {
	for name, test := range map[string]struct {
		part, id string
		want     int64
	}{
		"mod":      {".mod", "D3", 16},
		"one mod":  {"/@v/v1.0.0.mod", "D3", 2},
		"zip":      {".zip", "D1", 16},
		"sound":    {"none", "D1", 0},
		"no plain": {".zip", "D1", 16},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testauthority.Config{Sizes: []int64{16}})
			r.a.Tamper(func(path string, _ url.Values, status int, body []byte) (int, []byte) {
				stored := strings.HasPrefix(path, "/cached-only/")
				switch {
				case !stored && name == "no plain" && strings.Contains(path, "/@v/v"):
					return http.StatusNotFound, nil
				case stored && strings.HasSuffix(path, "1.zip"):
					return http.StatusNotFound, nil // not stored
				case stored && strings.Contains(path, test.part):
					body = []byte("module example.com/other\n")
				}
				return status, body
			})
			res := r.audit(nil)
			want := map[string]report.Result{}
			if test.want > 0 {
				want[test.id] = report.Misbehaviour
			}
			if name == "no plain" {
				want["D7"] = report.Warning
			}
			res.only(t, want)
			if n := res.checks[test.id].Counts[report.Misbehaviour]; (n > 0) != (test.want > 0) || n > test.want {
				t.Errorf("%d findings", n)
			}
			for _, e := range res.files {
				if e.Kind() != evidence.Contradicted || !strings.Contains(e.String(), "/cached-only/") {
					t.Errorf("%v", e)
				}
			}
			if (len(res.files) > 0) != (test.want > 0) {
				t.Errorf("%d files", len(res.files))
			}
		})
	}
}

// A place that answers only with errors may be none; where it has given an answer,
// they are checks that could not be made.
func TestStoredBroken(t *testing.T) {
	for _, lists := range []bool{true, false} {
		r := newRig(t, testauthority.Config{Sizes: []int64{16}})
		r.a.Tamper(func(path string, _ url.Values, status int, body []byte) (int, []byte) {
			switch {
			case !strings.HasPrefix(path, "/cached-only/"):
			case strings.Contains(path, "/@v/v"):
				return http.StatusInternalServerError, nil
			case !lists:
				return http.StatusNotFound, nil
			}
			return status, body
		})
		want := map[string]report.Result{}
		if lists {
			want["D1"], want["D3"], want["D4"] = report.Failed, report.Failed, report.Failed
		}
		r.audit(nil).only(t, want)
	}
}
