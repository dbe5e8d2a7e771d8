// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/internal/lanes"
)

func TestChainAfter(t *testing.T) {
	c := newClient(t)
	chain := c.Chain(mustList(t, "https://a.example,https://b.example|https://c.example"))
	a, b, last := chain.links[0].source, chain.links[1].source, chain.links[2].source
	for _, tt := range []struct {
		after *Source
		want  []*Source
	}{{a, []*Source{b, last}}, {b, []*Source{last}}, {last, nil}, {c.Source(mustList(t, "https://a.example").Entries[0].URL), nil}, {nil, nil}} {
		rest := chain.After(tt.after)
		var got []*Source
		for _, l := range rest.links {
			got = append(got, l.source)
		}
		if len(got) != len(tt.want) || rest.Off() != (len(tt.want) == 0) {
			t.Errorf("after %v: %v, want %v", tt.after, got, tt.want)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("after %v: %v, want %v", tt.after, got, tt.want)
			}
		}
	}
	if len(chain.links) != 3 {
		t.Errorf("the chain itself has %d sources left", len(chain.links))
	}
}

// TestRouterVainGlobs has patterns that look right and match no module: what
// they were meant for would be public.
func TestRouterVainGlobs(t *testing.T) {
	for _, glob := range []string{
		"corp.example/...", "Corp.example", "corp.example:8443/x", "git@corp.example", "corp.example//x",
		".corp.example", `"corp.example"`,
	} {
		for _, globs := range []string{glob, "a.example," + glob, glob + ",a.example"} {
			if _, err := NewRouter(nil, nil, globs); err == nil {
				t.Errorf("NewRouter took %q", globs)
			}
		}
	}
	for _, glob := range []string{"*", "*.x", "none", "corp", "corp.example/", "[ab]x", "corp.example/Team/*", "*/X", "corp.example/[A-Z]*"} {
		if _, err := NewRouter(nil, nil, glob); err != nil {
			t.Errorf("NewRouter(%q): %v", glob, err)
		}
	}
}

// A gate is the way to a scene's proxy. While it is closed, lookups wait in it
// until their context ends.
type gate struct {
	s      *scene
	open   chan struct{}
	inside atomic.Int32
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.Contains(r.URL.Path, "/lookup/") {
		g.inside.Add(1)
		defer g.inside.Add(-1)
		select {
		case <-g.open:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	rec := httptest.NewRecorder()
	g.s.serve(rec, r.Clone(r.Context()))
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

// newGate must be called in the bubble in which its scene's database is opened.
func newGate(s *scene) *gate {
	g := &gate{s: s, open: make(chan struct{})}
	s.http = newClient(s.t)
	s.http.http.Transport = g
	return g
}

// lookUp asks the relay for many versions at once, and waits until nothing moves.
func lookUp(h *Relay, n int) (answers []*httptest.ResponseRecorder, wait func()) {
	var wg sync.WaitGroup
	for i := range n {
		rec := httptest.NewRecorder()
		answers = append(answers, rec)
		path, _ := module.EscapePath(mod(i).Path)
		wg.Go(func() { h.ServeHTTP(rec, httptest.NewRequest("GET", "/lookup/"+path+"@v1.0.0", nil)) })
	}
	synctest.Wait()
	return answers, wg.Wait
}

// TestRelayLeavesConnections shows that clients of the relay, however many, leave
// admission its way to the database.
func TestRelayLeavesConnections(t *testing.T) {
	for _, places := range []int{0, 1, 2} {
		t.Run(fmt.Sprint(places), func(t *testing.T) { testRelayLeavesConnections(t, places, 5*cmp.Or(places, 16)) })
	}
}

func testRelayLeavesConnections(t *testing.T, places, most int) {
	s := newScene(t, 101)
	s.relayed = places
	synctest.Test(t, func(t *testing.T) {
		g := newGate(s)
		d := s.open()
		answers, wait := lookUp(s.relay(d), 100)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		n := int(g.inside.Load())
		if n == 0 || n > most {
			t.Errorf("the relay has %d requests under way", n)
		}
		var admission sync.WaitGroup
		admission.Go(func() { mustRecord(t, d, mod(100)) })
		synctest.Wait()
		if with := int(g.inside.Load()); with != n+1 {
			t.Errorf("with an admission, %d requests are under way, want %d", with, n+1)
		}
		close(g.open)
		wait()
		admission.Wait()
		for i, rec := range answers {
			switch {
			case bytes.Contains(rec.Body.Bytes(), recordOf(mod(i)).Text()):
			case rec.Code == http.StatusBadGateway: // its place went to another
			default:
				t.Errorf("lookup %d: %d %s", i, rec.Code, rec.Body)
			}
		}
	})
}

// TestRelayShares shows that a client of the relay does not wait for what another
// one's lookups hang in.
func TestRelayShares(t *testing.T) {
	s := newScene(t, 101)
	synctest.Test(t, func(t *testing.T) {
		g := newGate(s)
		h := s.relay(s.open())
		_, wait := lookUp(h, 100)
		n := g.inside.Load()
		path, _ := module.EscapePath(mod(100).Path)
		r := httptest.NewRequest("GET", "/lookup/"+path+"@v1.0.0", nil)
		var other sync.WaitGroup
		other.Go(func() {
			h.ServeHTTP(httptest.NewRecorder(), r.WithContext(lanes.WithClient(r.Context(), "192.0.2.1")))
		})
		synctest.Wait()
		if with := g.inside.Load(); with != n+1 {
			t.Errorf("with that of another client, %d lookups are under way, want %d", with, n+1)
		}
		close(g.open)
		wait()
		other.Wait()
	})
}

// TestRelayAdmission shows that an admission of what clients of the relay ask for
// neither waits for a place with them nor fails when they lose it.
func TestRelayAdmission(t *testing.T) {
	s := newScene(t, 100)
	synctest.Test(t, func(t *testing.T) {
		g := newGate(s)
		d := s.open()
		answers, wait := lookUp(s.relay(d), 100)
		var admissions sync.WaitGroup
		for i := range 100 {
			admissions.Go(func() { mustRecord(t, d, mod(i)) })
		}
		synctest.Wait()
		if n := g.inside.Load(); n != 100 {
			t.Errorf("of 100 admissions, %d are under way", n)
		}
		time.Sleep(10 * time.Second) // much of what the relay began was called off by now
		synctest.Wait()
		if n := g.inside.Load(); n != 100 {
			t.Errorf("10 s later, of 100 admissions %d are under way", n)
		}
		close(g.open)
		wait()
		admissions.Wait()
		for i, rec := range answers {
			if !bytes.Contains(rec.Body.Bytes(), recordOf(mod(i)).Text()) {
				t.Errorf("lookup %d: %d %s", i, rec.Code, rec.Body)
			}
		}
	})
}

// TestRelayLatest shows that the head, which all wait for together, does not wait
// for a place of the client who happens to ask for it.
func TestRelayLatest(t *testing.T) {
	s := newScene(t, 100)
	synctest.Test(t, func(t *testing.T) {
		g := newGate(s)
		h := s.relay(s.open())
		_, wait := lookUp(h, 100)
		rec, began := httptest.NewRecorder(), time.Now()
		h.ServeHTTP(rec, httptest.NewRequest("GET", "/latest", nil))
		if rec.Code != http.StatusOK || time.Since(began) != 0 {
			t.Errorf("latest: %d after %v", rec.Code, time.Since(began))
		}
		close(g.open)
		wait()
	})
}

// TestRelayHangs shows that an answer of the relay comes in time, those who wait
// for their turn included.
func TestRelayHangs(t *testing.T) {
	s := newScene(t, 100)
	synctest.Test(t, func(t *testing.T) {
		newGate(s)
		h := s.relay(s.open())
		began := time.Now()
		answers, wait := lookUp(h, 100)
		wait()
		if d := time.Since(began); d > maxRelay || d < time.Second {
			t.Errorf("the relay took %v", d)
		}
		for i, rec := range answers {
			if rec.Code != http.StatusBadGateway {
				t.Errorf("lookup %d: %d %s", i, rec.Code, rec.Body)
			}
		}
	})
}
