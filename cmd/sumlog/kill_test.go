// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"example.org/sumlog/internal/testupstream"
)

// TestKill kills the whole server at random moments under load, its start and
// the creation of the log included. What it acknowledged must be there in the
// end with the same index and the same record, once, in lookups and in the feed,
// and its bytes must be served.
func TestKill(t *testing.T) {
	rounds := 6
	if os.Getenv("CI") == "true" {
		rounds = 40
	}
	for name, sumdb := range map[string]string{"proven": "", "computed": "off"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKill(t, sumdb)
			for i := range rounds / 2 {
				k.round(time.Duration(rand.IntN(int(300*time.Millisecond))), i%2 == 0)
			}
			k.finish()
			t.Logf("%d rounds, %d acknowledged admissions", rounds/2, len(k.acked))
		})
	}
}

// A kill is one data directory and what its servers acknowledged.
type kill struct {
	t    *testing.T
	args []string
	up   *testupstream.Server
	most int          // files that the server may open; 0: what this test may
	next atomic.Int64 // number of the next module to ask for

	mu    sync.Mutex
	acked map[string]string // lookup path: index and record
}

const killModules = 8000

func killPath(i int64) string { return fmt.Sprintf("example.com/m%d@v1.0.%d", i/4, i%4) }

func newKill(t *testing.T, sumdb string) *kill {
	tree := fstest.MapFS{}
	for i := range int64(killModules) {
		p, _, _ := strings.Cut(killPath(i), "@")
		tree[killPath(i)+"/go.mod"] = &fstest.MapFile{Data: fmt.Appendf(nil, "module %s\n", p)}
	}
	up, err := testupstream.New("sum.example.net", tree)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Stop)
	if sumdb == "" {
		sumdb = up.VKey
	}
	return &kill{t: t, up: up, acked: map[string]string{}, args: killArgs(t, up, sumdb)}
}

// killArgs is the command line of a server in a directory of its own.
func killArgs(t *testing.T, up *testupstream.Server, sumdb string) []string {
	return []string{"serve", "-init", "-name", "sum.example.org", "-listen", "127.0.0.1:0",
		"-dir", filepath.Join(t.TempDir(), "d"), "-upstream", up.URL, "-sumdb", sumdb, "-private", ""}
}

// start starts a server. The URL comes once it serves, or the channel is closed.
func (k *kill) start() (*process, <-chan string) { return startServer(k.t, k.most, k.args) }

// round starts a server, asks it for new modules and old ones, and kills it: some
// time after its start, or, for on a busy machine that is before it serves, after that.
func (k *kill) round(after time.Duration, serving bool) {
	p, urls := k.start()
	var clients sync.WaitGroup
	stop, serves := make(chan struct{}), make(chan struct{})
	clients.Go(func() {
		url, ok := <-urls
		if !ok {
			return
		}
		close(serves)
		for range 8 {
			clients.Go(func() { k.load(url, stop) })
		}
	})
	if serving {
		select {
		case err := <-p.exited:
			k.t.Fatalf("server ended by itself: %v\n%s", err, p.text())
		case <-serves:
		}
	}
	if serving {
		k.first()
	}
	select {
	case err := <-p.exited:
		k.t.Fatalf("server ended by itself: %v\n%s", err, p.text())
	case <-time.After(100*time.Millisecond + after): // any moment will do
	}
	p.cmd.Process.Kill()
	<-p.exited
	close(stop)
	clients.Wait()
}

// load asks for one module after the other until the server is gone.
func (k *kill) load(url string, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		if k.next.Load() > killModules-100 {
			return // the rest is for what follows the rounds
		}
		i := k.next.Add(1)
		if i%5 == 0 {
			i = rand.Int64N(i) // again, perhaps one that a killed server was at
		}
		path := "/lookup/" + killPath(i)
		if body, err := fetchOK(url + path); err == nil {
			k.ack(path, body)
		}
	}
}

// ack compares an answer with what was answered before.
func (k *kill) ack(path, body string) {
	record, _, _ := strings.Cut(body, "\n\n")
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.acked[path]; ok && old != record {
		k.t.Errorf("%s was %q and is %q", path, old, record)
	}
	k.acked[path] = record
}

// first waits for the first of all answers: on a busy machine it may take longer than
// any round.
func (k *kill) first() {
	answered := func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return len(k.acked) > 0
	}
	for end := time.Now().Add(time.Minute); !answered() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
}

var killClient = http.Client{Timeout: 30 * time.Second}

func fetchOK(url string) (string, error) {
	resp, err := killClient.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s %s", url, resp.Status, body)
	}
	return string(body), nil
}

// finish starts a last server and holds it against all that was acknowledged.
func (k *kill) finish() {
	p, urls := k.start()
	defer func() {
		p.cmd.Process.Kill()
		<-p.exited
	}()
	url, ok := <-urls
	if !ok {
		k.t.Fatalf("server ended: %s", p.text())
	}
	if len(k.acked) == 0 {
		k.t.Fatal("nothing was ever acknowledged")
	}
	for path := range k.acked {
		body, err := fetchOK(url + path)
		if err != nil {
			k.t.Fatal(err)
		}
		k.ack(path, body)
	}
	seen := k.feed(url)
	for path, record := range k.acked {
		m := strings.TrimPrefix(path, "/lookup/")
		index, _, _ := strings.Cut(record, "\n")
		if seen[m] != index {
			k.t.Errorf("%s has index %s in its lookup and %q in the feed", m, index, seen[m])
		}
	}
	for path := range k.acked { // some of them
		file := strings.Replace(strings.TrimPrefix(path, "/lookup"), "@", "/@v/", 1)
		if _, err := fetchOK(url + file + ".zip"); err != nil {
			k.t.Error(err)
		}
		if strings.HasSuffix(path, "7@v1.0.0") {
			break
		}
	}
}

// feed reads the whole feed: the index of each module version, each once.
func (k *kill) feed(url string) map[string]string {
	seen := map[string]string{}
	last := ""
	for {
		page, err := fetchOK(fmt.Sprintf("%s/index?after=%d", url, len(seen)-1))
		if err != nil {
			k.t.Fatal(err)
		}
		if page == "" {
			return seen
		}
		for line := range strings.Lines(page) {
			var l struct{ Path, Version, Timestamp string }
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				k.t.Fatal(err)
			}
			m := l.Path + "@" + l.Version
			if _, ok := seen[m]; ok {
				k.t.Fatalf("%s is in the feed twice", m)
			}
			at, err := time.Parse(time.RFC3339Nano, l.Timestamp)
			if before, _ := time.Parse(time.RFC3339Nano, last); err != nil || last != "" && !at.After(before) {
				k.t.Fatalf("%s follows %s in the feed", l.Timestamp, last)
			}
			last = l.Timestamp
			seen[m] = fmt.Sprint(len(seen))
		}
	}
}
