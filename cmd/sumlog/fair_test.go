// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/internal/testrace"
	"example.org/sumlog/internal/testupstream"
)

// TestFair shows that whatever hangs, and whoever asks for it, another module that
// was never asked for is served in at most two seconds more than it takes alone:
// the requests that hang are for the same upstream, and most often come from the
// same address. When the upstream answers again, nobody is left without an answer.
func TestFair(t *testing.T) {
	t.Parallel()
	// All kinds of files of different modules, of different versions of one, or one
	// kind alone, which fills sooner what is bounded for each.
	mixed := func(host string) func(i int) string {
		return func(i int) string { return anyFile(i, fmt.Sprintf("%s/n%d", host, i), "v1.0.0") }
	}
	versions := func(i int) string { return anyFile(i, "hang.example/n", fmt.Sprintf("v1.0.%d", i)) }
	only := func(format string) func(i int) string {
		return func(i int) string { return fmt.Sprintf(format, i) }
	}
	const flood = 1000
	for _, tt := range []struct {
		name  string
		hang  string // host of the modules that hang
		cold  string // host of those that do not
		ask   func(i int) string
		crowd crowd
		long  bool // with CI=true
	}{
		{"leave", "hang.example", "cold.example", mixed("hang.example"), crowd{n: flood, leave: true}, false},
		{"stay", "hang.example", "cold.example", mixed("hang.example"), crowd{n: flood}, false},
		{"one module", "hang.example", "cold.example", versions, crowd{n: flood}, false},
		{"private", "hang.corp.example", "cold.example", only("/hang.corp.example/n%d/@v/v1.0.0.mod"), crowd{n: flood + 100}, false},
		{"public", "hang.example", "cold.corp.example", only("/hang.example/n%d/@v/v1.0.0.mod"), crowd{n: flood + 100}, true},
		{"addresses", "hang.example", "cold.example", mixed("hang.example"), crowd{n: flood, addresses: 100}, true},
		{"lookups", "hang.example", "cold.example", only("/lookup/hang.example/n%d@v1.0.0"), crowd{n: flood}, true},
		{"branches", "hang.example", "cold.example", only("/hang.example/n/@v/branch%d.info"), crowd{n: flood}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.long && os.Getenv("CI") != "true" {
				t.Skip("a variant of the others, run with CI=true")
			}
			f := newFair(t)
			f.hang(tt.hang, testupstream.Hang)
			f.come(tt.crowd, tt.ask)
			f.cold(tt.cold)
			f.heal(tt.hang)
		})
	}
}

// TestSlowZips is TestFair for zips that never quite stop: each of these would hold
// its place for hours.
func TestSlowZips(t *testing.T) {
	t.Parallel()
	f := newFair(t)
	f.hang("hang.example", func(w http.ResponseWriter, r *http.Request, right http.HandlerFunc, healed <-chan struct{}) {
		if strings.HasSuffix(r.URL.Path, ".zip") {
			testupstream.Trickle(1, time.Second)(w, r, right, healed)
			return
		}
		right(w, r)
	})
	f.come(crowd{n: fairModules}, func(i int) string { return fmt.Sprintf("/hang.example/m%d/@v/v1.0.0.zip", i) })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := f.up.Await(ctx, "/hang.example/*.zip"); err != nil {
		t.Fatal(err)
	}
	f.cold("cold.example")
	f.heal("hang.example")
}

// anyFile is a path of the i'th kind for a version of a module that nobody else
// asks for.
func anyFile(i int, path, version string) string {
	switch i % 6 {
	case 0:
		return "/lookup/" + path + "@" + version
	case 1:
		return "/" + path + "/@v/list"
	case 2:
		return "/" + path + "/@latest"
	}
	return "/" + path + "/@v/" + version + []string{".info", ".mod", ".zip"}[i%3]
}

// A fair is a server, its upstreams, and those who ask it for what hangs.
type fair struct {
	t       *testing.T
	url     string
	up      *testupstream.Server // with a database
	private *testupstream.Server
	alone   time.Duration // that a module takes with nobody else there
	asked   int           // modules so far
	answers chan error    // of those who stay
	stay    int
}

// A crowd is n clients.
type crowd struct {
	n         int
	leave     bool // they go before there is an answer
	addresses int  // they come from so many; 0: from the one that everybody else has
}

const fairModules = 40

func newFair(t *testing.T) *fair {
	tree := func(hosts ...string) fstest.MapFS {
		fsys := fstest.MapFS{}
		for _, host := range hosts {
			for i := range fairModules {
				fsys[fmt.Sprintf("%s/m%d@v1.0.0/go.mod", host, i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "module %s/m%d\n", host, i)}
			}
		}
		return fsys
	}
	f := &fair{t: t, answers: make(chan error)}
	for _, u := range []struct {
		up    **testupstream.Server
		hosts []string
	}{
		{&f.up, []string{"cold.example", "hang.example"}},
		{&f.private, []string{"cold.corp.example", "hang.corp.example"}},
	} {
		up, err := testupstream.New("sum.example.net", tree(u.hosts...))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(up.Stop)
		*u.up = up
	}
	f.url = serveNew(t, "-upstream", f.up.URL, "-sumdb", f.up.VKey, "-private", "*.corp.example", "-private-upstream", f.private.URL)
	for range 3 {
		f.alone = max(f.alone, f.module(t.Context(), "cold.example"), f.module(t.Context(), "cold.corp.example"))
	}
	return f
}

// hang makes what there is below a host hang, in upstream and database.
func (f *fair) hang(host string, fault testupstream.Fault) {
	for _, up := range []*testupstream.Server{f.up, f.private} {
		up.Fault("/"+host+"/*", 0, fault)
		up.Fault("/sumdb/*/lookup/"+host+"/*", 0, fault)
	}
}

// come lets a crowd ask. It returns when the server has taken all their requests,
// and those who leave have left. Each has a connection and no more, so that a
// thousand take no more descriptors than they must.
func (f *fair) come(c crowd, ask func(i int) string) {
	addr := strings.TrimPrefix(f.url, "http://")
	var conns []net.Conn
	for i := range c.n {
		d := net.Dialer{Timeout: 10 * time.Second}
		if c.addresses > 0 {
			d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%c.addresses))}
		}
		conn, err := d.DialContext(f.t.Context(), "tcp", addr)
		if err != nil {
			f.t.Fatal(err)
		}
		f.t.Cleanup(func() { conn.Close() })
		conns = append(conns, conn)
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", ask(i), addr); err != nil {
			f.t.Fatal(err)
		}
	}
	// Connections are accepted in their order.
	if _, err := fetchOK(f.url + "/healthz"); err != nil {
		f.t.Fatal(err)
	}
	if c.leave {
		time.Sleep(time.Second) // some of them would be served next
		for _, conn := range conns {
			conn.Close()
		}
		return
	}
	f.stay = c.n
	for _, conn := range conns {
		go func() {
			conn.SetDeadline(time.Now().Add(2 * time.Minute))
			text, err := io.ReadAll(conn)
			if err == nil && !strings.HasPrefix(string(text), "HTTP/1.1 ") {
				err = fmt.Errorf("no answer, but %q", text)
			}
			f.answers <- err
		}()
	}
}

// noise is what two seconds may become on a machine that does much else, and with
// the race detector.
//
// With the race detector, as in the gate, all takes many times as long, and other
// packages' tests run beside: what starves waits 20 s and more.
func noise() time.Duration {
	if testrace.Enabled {
		return 10 * time.Second
	}
	return 2 * time.Second
}

// cold asks for modules of a host that nobody asked for before, and for one that is
// stored: at once, and for as long as it may take until all who came have got as far
// as they will.
func (f *fair) cold(host string) {
	f.t.Helper()
	limit := f.alone + 2*time.Second + noise()
	for range 4 {
		ctx, cancel := context.WithTimeout(f.t.Context(), limit)
		took := f.module(ctx, host)
		cancel()
		f.t.Logf("%v, alone %v", took.Round(time.Millisecond), f.alone.Round(time.Millisecond))
		time.Sleep(300 * time.Millisecond)
	}
	// What is stored waits for nobody.
	for _, file := range []string{"/cold.example/m0/@v/v1.0.0.mod", "/lookup/cold.corp.example/m1@v1.0.0"} {
		if err := get(f.t.Context(), f.url+file); err != nil {
			f.t.Errorf("stored: %v", err)
		}
	}
}

// module gets all there is of the next module of a host.
func (f *fair) module(ctx context.Context, host string) time.Duration {
	f.t.Helper()
	began := time.Now()
	p := fmt.Sprintf("%s/m%d", host, f.asked)
	f.asked++
	for _, path := range []string{"/" + p + "/@v/list", "/" + p + "/@v/v1.0.0.info", "/" + p + "/@v/v1.0.0.mod", "/lookup/" + p + "@v1.0.0", "/" + p + "/@v/v1.0.0.zip"} {
		if err := get(ctx, f.url+path); err != nil {
			f.t.Errorf("after %v: %v", time.Since(began).Round(time.Millisecond), err)
			break
		}
	}
	return time.Since(began)
}

// heal ends what hangs: all who stayed get an answer, and so does who comes later.
func (f *fair) heal(host string) {
	f.t.Helper()
	f.up.Heal()
	f.private.Heal()
	for range f.stay {
		if err := <-f.answers; err != nil {
			f.t.Errorf("one who stayed: %v", err)
		}
	}
	m := module.Version{Path: host + "/m1", Version: "v1.0.0"}
	eventually(f.t, "what hung is served", func() error {
		for _, path := range []string{"/lookup/" + m.String(), "/" + m.Path + "/@v/" + m.Version + ".zip"} {
			if err := get(f.t.Context(), f.url+path); err != nil {
				return err
			}
		}
		return nil
	})
}

// get wants 200.
func get(ctx context.Context, url string) error {
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	resp, err := killClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", url, resp.Status, body)
	}
	return err
}
