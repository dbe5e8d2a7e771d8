// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"example.org/sumlog/internal/testupstream"
)

// TestFlood runs servers under limits on open files, each with more connections
// than it may have that say nothing, do not finish their headers, or ask for a zip
// and read nothing of it, and with requests for modules that it has to fetch, all
// at once. None of that may end it: Tessera's goroutines panic when a file of theirs
// cannot be opened. What it has is served all the while, what it has not is served
// or put off, and in the end all is as if nothing had been.
func TestFlood(t *testing.T) {
	least := 0
	for _, err := divide(least, runtime.GOMAXPROCS(0)); err != nil; _, err = divide(least, runtime.GOMAXPROCS(0)) {
		least++
	}
	sweep := []int{least, 600}
	if os.Getenv("CI") == "true" {
		sweep = []int{least, least + 1, 256, 400, 700, 1024, 2000}
	}
	up := floodUpstream(t)
	for _, files := range sweep {
		t.Run(fmt.Sprint(files), func(t *testing.T) {
			newFlood(t, up, files).run()
		})
	}
	t.Run("fewer", func(t *testing.T) {
		f := &flood{kill: &kill{t: t, args: []string{"serve", "-init", "-dir", t.TempDir()}, most: least - 1}}
		p, _ := f.start()
		<-p.exited
		if code := p.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(p.text(), "sumlog: hint: raise the limit") {
			t.Errorf("exit code %d: %s", code, p.text())
		}
	})
}

// floodUpstream has some hundred modules, and one of 8 MB.
func floodUpstream(t *testing.T) *testupstream.Server {
	big := make([]byte, 8<<20)
	for i := range big {
		big[i] = byte(rand.Uint32())
	}
	tree := fstest.MapFS{
		"example.com/big@v1.0.0/go.mod": &fstest.MapFile{Data: []byte("module example.com/big\n")},
		"example.com/big@v1.0.0/data":   &fstest.MapFile{Data: big},
	}
	for i := range int64(400) {
		p, _, _ := strings.Cut(killPath(i), "@")
		tree[killPath(i)+"/go.mod"] = &fstest.MapFile{Data: fmt.Appendf(nil, "module %s\n", p)}
	}
	up, err := testupstream.New("sum.example.net", tree)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Stop)
	return up
}

// bigZip is the path of a zip of 8 MB.
const bigZip = "/example.com/big/@v/v1.0.0.zip"

type flood struct {
	*kill
	addr  string
	url   string
	conns int           // more than the server may have
	over  chan struct{} // closed at the end of the flood
	work  sync.WaitGroup

	mu     sync.Mutex
	counts map[string]int
	worst  time.Duration // of what the server has
}

func newFlood(t *testing.T, up *testupstream.Server, files int) *flood {
	b, err := divide(files, runtime.GOMAXPROCS(0))
	if err != nil {
		t.Fatal(err)
	}
	k := &kill{t: t, up: up, most: files, args: killArgs(t, up, up.VKey)}
	return &flood{kill: k, conns: 2*b.conns + 50, over: make(chan struct{}), counts: map[string]int{}}
}

// from is a client's address on this machine, of the group a; a few clients make
// the flood, and others come to use the server.
func from(a, b int) *net.TCPAddr { return &net.TCPAddr{IP: net.IPv4(127, 0, byte(a), byte(b))} }

func (f *flood) run() {
	f.t.Helper()
	p, urls := f.start()
	url, ok := <-urls
	if !ok {
		f.t.Fatalf("sumlog serve ended: %s", p.text())
	}
	f.url, f.addr = url, strings.TrimPrefix(url, "http://")
	if _, err := fetchOK(url + bigZip); err != nil {
		f.t.Fatal(err)
	}
	known := killPath(0)
	if _, err := fetchOK(url + "/lookup/" + known); err != nil {
		f.t.Fatal(err)
	}
	for i := range f.conns {
		f.work.Go(func() { f.hold(i, "") })
		f.work.Go(func() { f.hold(i, "GET /checkpoint HTTP/1.1\r\nHost: ") })
		f.work.Go(func() { f.hold(i, "GET "+bigZip+" HTTP/1.1\r\nHost: x.test\r\n\r\n") })
	}
	path, version, _ := strings.Cut(known, "@")
	for i, what := range []string{"/checkpoint", "/lookup/" + known, "/" + path + "/@v/" + version + ".mod", "/tile/0/000.p/1"} {
		f.work.Go(func() { f.ask(1, i, func() string { return what }) })
	}
	for i := range 32 {
		f.work.Go(func() {
			f.ask(2, i, func() string { return "/lookup/" + killPath(1+f.next.Add(1)) })
		})
	}
	select {
	case <-time.After(2500 * time.Millisecond):
	case err := <-p.exited:
		f.t.Errorf("the server ended: %v\n%s", err, p.text())
		p.exited <- err
	}
	close(f.over)
	f.work.Wait()
	f.t.Logf("%d files, 3 x %d connections: %v, stored ones after %v at most", f.most, f.conns, f.counts, f.worst.Round(time.Millisecond))
	if f.t.Failed() {
		p.cmd.Process.Kill()
		<-p.exited
		f.t.Log(p.text())
		return
	}
	eventually(f.t, "a version is admitted", func() error {
		_, err := fetchOK(url + "/lookup/" + killPath(1+f.next.Add(1)))
		return err
	})
	if _, err := fetchOK(url + bigZip); err != nil {
		f.t.Error(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		f.t.Fatal(err)
	}
	if err := <-p.exited; err != nil {
		f.t.Errorf("the server's end: %v\n%s", err, p.text())
	}
	if text := p.text(); strings.Contains(text, "panic") || strings.Contains(text, "too many open files") {
		f.t.Errorf("the server said:\n%s", text)
	}
}

// hold opens connection i, says text, and reads nothing for a while, again and
// again until the flood is over.
func (f *flood) hold(i int, text string) {
	d := net.Dialer{LocalAddr: from(0, 1+i%5), Timeout: 5 * time.Second}
	for {
		c, err := d.Dial("tcp", f.addr) // it fails when the kernel's queue is full
		if err == nil {
			c.(*net.TCPConn).SetReadBuffer(4 << 10)
			io.WriteString(c, text)
			defer c.Close()
		}
		select {
		case <-f.over:
			return
		case <-time.After(time.Second + rand.N(3*time.Second)):
		}
		if err == nil {
			c.Close()
		}
	}
}

// ask asks again and again, each time on a new connection. What clients of group 1
// ask for is there, and comes in time; to others the server may say that they have
// to wait.
func (f *flood) ask(group, i int, what func() string) {
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       (&net.Dialer{LocalAddr: from(group, 1+i)}).DialContext,
	}}
	for {
		select {
		case <-f.over:
			return
		default:
		}
		path := what()
		begin := time.Now()
		resp, err := client.Get(f.url + path)
		took := time.Since(begin)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		if err != nil {
			f.t.Errorf("GET %s: %v", path, err)
			return
		}
		later := resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusGatewayTimeout
		if resp.StatusCode != http.StatusOK && (group == 1 || !later || resp.Header.Get("Retry-After") == "") {
			f.t.Errorf("GET %s: %s", path, resp.Status)
		}
		f.mu.Lock()
		f.counts[fmt.Sprintf("group %d: %d", group, resp.StatusCode)]++
		if group == 1 {
			f.worst = max(f.worst, took)
		}
		f.mu.Unlock()
	}
}
