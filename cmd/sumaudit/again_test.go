// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/testauthority"
	"example.org/sumlog/internal/testrace"
	"example.org/sumlog/witness/audit/report"
)

// front puts h before the authority; it returns false for what that is to answer.
func (r *faultRig) front(h func(w http.ResponseWriter, path string, q url.Values) bool) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if !h(w, q.URL.Path, q.URL.Query()) {
			r.a.ServeHTTP(w, q)
		}
	}))
	r.t.Cleanup(s.Close)
	r.url = s.URL
}

// withoutRace skips a test that audits many times over. TestFaults has each fault once
// with the race detector, and scripts/check runs these without it.
func withoutRace(t *testing.T) {
	t.Helper()
	if testrace.Enabled {
		t.Skip("audits many times over; scripts/check runs it without the race detector")
	}
}

// TestAgain has no fault be forgotten while it lasts: what one audit finds, and does
// not find repaired, the next one finds too.
func TestAgain(t *testing.T) {
	withoutRace(t)
	for _, c := range faultCases {
		t.Run(string(c.fault), func(t *testing.T) {
			t.Parallel()
			config, sample := testauthority.Config{}, "none"
			if c.small {
				config.Sizes, sample = []int64{5, 20, 40, 60}, "all"
			}
			if c.fault == testauthority.FeedPage {
				config.Sizes = []int64{300, 2100} // more than a page
			}
			r := newFaultRig(t, config)
			if c.after {
				r.audit("-sample", sample)
			}
			r.a.Break(c.fault)
			first, _ := r.audit("-sample", sample)
			again, checks := r.audit("-sample", sample)
			if again != first || !red(checks[c.id]) {
				t.Errorf("exit %d, and then %d: %+v", first, again, checks[c.id])
			}
			if c.exit != exitMisbehaviour {
				return // a log may catch up
			}
			r.a.Grow(10)
			r.a.Publish()
			if again, checks := r.audit("-sample", sample); again != first {
				t.Errorf("exit %d, and then %d in a log that has grown: %+v", first, again, checks[c.id])
			}
		})
	}
}

// TestOneFile has one fault that lasts make one file, however often it is looked for and
// whatever the log grows by meanwhile, and another fault another file.
func TestOneFile(t *testing.T) {
	for _, f := range []testauthority.Fault{
		testauthority.LookupIndex, testauthority.LookupGone, testauthority.ListShort, testauthority.ZipOther,
		testauthority.InfoOther, testauthority.WrongTile, testauthority.WrongData, testauthority.FeedGap, testauthority.Conflict,
	} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			r := newFaultRig(t, testauthority.Config{Sizes: []int64{5, 20, 40, 300}})
			r.a.Break(f)
			code, _ := r.audit("-sample", "20")
			files := r.files()
			if code != exitMisbehaviour || len(files) == 0 {
				t.Fatalf("exit %d, %q", code, files)
			}
			was, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // the time in a file is another
			for range 2 {
				if again, _ := r.audit("-sample", "20"); again != code || !slices.Equal(r.files(), files) {
					t.Errorf("exit %d, and %q became %q", again, files, r.files())
				}
				r.a.Grow(1)
				r.a.Publish()
			}
			if is, err := os.ReadFile(files[0]); err != nil || !bytes.Equal(is, was) {
				t.Errorf("the file was changed: %v", err)
			}
			if f == testauthority.ZipOther {
				r.a.Break(testauthority.ModOther)
				if r.audit("-sample", "20"); len(r.files()) <= len(files) {
					t.Errorf("another fault is in no file: %q", r.files())
				}
			}
		})
	}
}

// TestSigned has two heads that exclude each other not be forgotten when one of them
// is shown no more.
func TestSigned(t *testing.T) {
	withoutRace(t)
	t.Parallel()
	for _, f := range []testauthority.Fault{
		testauthority.ArchiveFork, testauthority.ArchiveTreeHead, testauthority.LookupFork, testauthority.ProxyFork,
	} {
		config := testauthority.Config{}
		if f == testauthority.LookupFork {
			config.Sizes = []int64{5, 20, 40, 60} // of which everything is fetched
		}
		r := newFaultRig(t, config)
		if f == testauthority.ProxyFork {
			fork, on := r.a.Clone().Fork(10), true
			r.front(func(w http.ResponseWriter, path string, _ url.Values) bool {
				if on && strings.HasPrefix(path, "/sumdb/") {
					w.Write(fork.Published().TreeHead)
				}
				return on && strings.HasPrefix(path, "/sumdb/")
			})
			r.audit("-sample", "none")
			on = false
		} else {
			honest := r.a.Clone()
			r.a.Break(f)
			r.audit("-sample", "all")
			r.a.Become(honest)
			r.a.Mend()
		}
		for range 2 {
			if code, checks := r.audit("-sample", "all"); code != exitMisbehaviour {
				t.Errorf("%s: exit %d: %+v", f, code, checks["A2"])
			}
			r.a.Grow(10)
			r.a.Publish()
		}
	}
}

// TestLooseHead has a fork shown in a note that only go commands believe, with a bad
// signature behind the good one, to them or to everybody: it counts all the same.
func TestLooseHead(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"/latest", "/sumdb/" + testauthority.New(testauthority.Config{}).Name() + "/latest"} {
		r := newFaultRig(t, testauthority.Config{})
		fork := r.a.Clone().Fork(10).Published().TreeHead
		n, err := checkpoint.ParseNote(fork)
		if err != nil {
			t.Fatal(err)
		}
		bad := n.Signatures[0]
		bad.Bytes = slices.Clone(bad.Bytes)
		bad.Bytes[7] ^= 1
		r.front(func(w http.ResponseWriter, path string, _ url.Values) bool {
			if path == where {
				w.Write(append(slices.Clone(fork), bad.String()...))
			}
			return path == where
		})
		code, checks := r.audit("-sample", "none")
		if code != exitMisbehaviour || !red(checks["A1"]) && !red(checks["A5"]) {
			t.Errorf("%s: exit %d: %+v, %+v", where, code, checks["A1"], checks["A5"])
		}
		if files, err := filepath.Glob(filepath.Join(r.state, "evidence", "E*")); err != nil || len(files) == 0 {
			t.Errorf("%s: no evidence, %v", where, err)
		}
	}
}

// TestTileLater has a tile that could not be read when its time was be compared later.
func TestTileLater(t *testing.T) {
	t.Parallel()
	r := newFaultRig(t, testauthority.Config{})
	on := true
	r.front(func(w http.ResponseWriter, path string, _ url.Values) bool {
		if on && path == "/tile/0/000" {
			http.Error(w, "not now", http.StatusInternalServerError)
		}
		return on && path == "/tile/0/000"
	})
	if code, _ := r.audit("-sample", "none"); code != 1 {
		t.Errorf("exit %d without a tile", code)
	}
	on = false
	r.a.Break(testauthority.WrongTile)
	if code, checks := r.audit("-sample", "none"); code != exitMisbehaviour {
		t.Errorf("exit %d: %+v", code, checks["B2"])
	}
}

// TestFrozen has the tree head stay, or go back, while the checkpoint goes on.
func TestFrozen(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{300, 600} {
		r := newFaultRig(t, testauthority.Config{})
		old, on := r.a.TreeHead(size).Bytes(), false
		r.front(func(w http.ResponseWriter, path string, _ url.Values) bool {
			if on && path == "/latest" {
				w.Write(old)
			}
			return on && path == "/latest"
		})
		for range 2 {
			if code, _ := r.audit("-sample", "none"); code != 0 {
				t.Errorf("exit %d of a sound log", code)
			}
			r.a.Grow(10)
			r.a.Publish()
		}
		on = true
		if code, checks := r.audit("-sample", "none"); code != exitStale || !red(checks["A3"]) {
			t.Errorf("size %d: exit %d: %+v", size, code, checks["A3"])
		}
	}
}

// TestForgotten shows less than was replayed to an auditor who has lost the heads.
func TestForgotten(t *testing.T) {
	t.Parallel()
	r := newFaultRig(t, testauthority.Config{})
	r.audit("-sample", "none")
	files, err := filepath.Glob(filepath.Join(r.state, "logs", "*", "heads", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	r.a.Show(2)
	if code, checks := r.audit("-sample", "none"); code != exitStale {
		t.Errorf("exit %d: %+v", code, checks["A3"])
	}
}

// TestCarriedLookup has another history only in the lookups that a proxy carries.
func TestCarriedLookup(t *testing.T) {
	t.Parallel()
	r := newFaultRig(t, testauthority.Config{Sizes: []int64{5, 20, 40, 60}})
	fork := r.a.Clone().Fork(5)
	r.front(func(w http.ResponseWriter, path string, _ url.Values) bool {
		if !strings.HasPrefix(path, "/sumdb/") || strings.HasSuffix(path, "/latest") {
			return false
		}
		fork.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return true
	})
	code, checks := r.audit("-sample", "all")
	if code != exitMisbehaviour {
		t.Errorf("exit %d: %+v", code, checks["B5"])
	}
	r.checkEvidence(checks["B5"], "E3", r.a.VKey())
}

// TestArchiveBeyond has the archive be of more than is shown, which nobody compares.
func TestArchiveBeyond(t *testing.T) {
	t.Parallel()
	r := newFaultRig(t, testauthority.Config{})
	fork := r.a.Clone().Fork(100)
	fork.Grow(100)
	p := fork.Publish()
	var line strings.Builder
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(struct {
		Time                 time.Time
		Size                 int64
		Checkpoint, TreeHead string
	}{p.Time, p.Size, string(p.Checkpoint), string(p.TreeHead)}); err != nil {
		t.Fatal(err)
	}
	r.a.Tamper(func(path string, q url.Values, status int, body []byte) (int, []byte) {
		if path == "/checkpoints" && q.Get("after") != fmt.Sprint(p.Size) {
			body = append(body, line.String()...)
		}
		return status, body
	})
	if code, checks := r.audit("-sample", "none"); code != exitStale || !red(checks["A3"]) {
		t.Errorf("exit %d: %+v", code, checks["A3"])
	}
}

// TestFeedBeyond has the feed end with what is not logged: on its last page, and on
// one of its own.
func TestFeedBeyond(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{false, true} {
		r := newFaultRig(t, testauthority.Config{Sizes: []int64{5, 20, 40, 60}})
		stamp := time.Now().UTC().Format(time.RFC3339Nano)
		r.a.Tamper(func(path string, q url.Values, status int, body []byte) (int, []byte) {
			if path == "/index" && q.Get("limit") == "2000" && (!own || len(body) == 0) {
				body = fmt.Appendf(body, `{"Path":"example.com/none","Version":"v1.0.0","Timestamp":%q}`+"\n", stamp)
			}
			return status, body
		})
		for range 2 {
			if code, checks := r.audit("-sample", "all"); code != exitMisbehaviour || !red(checks["V3"]) {
				t.Errorf("exit %d: %+v", code, checks["V3"])
			}
		}
	}
}

// TestVanished withdraws one service after the other.
func TestVanished(t *testing.T) {
	withoutRace(t)
	t.Parallel()
	for what, id := range map[string]string{
		"/index": "V3", "/checkpoints": "A4", "/lookup/": "B5", "/@v/": "D1", "/latest": "B3",
	} {
		r := newFaultRig(t, testauthority.Config{Sizes: []int64{5, 20, 40, 60}})
		on := false
		r.front(func(w http.ResponseWriter, path string, _ url.Values) bool {
			gone := on && strings.Contains(path, what)
			if gone {
				w.WriteHeader(http.StatusNotFound)
			}
			return gone
		})
		for i := range 3 {
			code, checks := r.audit("-sample", "all")
			if code != 0 || (checks[id].Result == report.Warning) != (i > 0) {
				t.Errorf("%s, audit %d: exit %d, %+v", what, i, code, checks[id])
			}
			on = true
		}
		if code, _ := r.audit("-sample", "all", "-require", id); code != 1 && id != "A4" {
			t.Errorf("%s: exit %d, and it is required", what, code)
		}
	}
}

// TestRequireAll wants all checks of an authority that has everything.
func TestRequireAll(t *testing.T) {
	t.Parallel()
	r := newFaultRig(t, testauthority.Config{Sizes: []int64{5, 20, 40, 60}})
	for range 2 {
		code, checks := r.audit("-sample", "all", "-require", "all")
		for id, d := range checks {
			if red(d) != (id == "D6" || id == "D9") { // -tags and -public were not given
				t.Errorf("exit %d: %+v", code, d)
			}
		}
	}
}
