// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package listen

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// net/http lets the kernel send a file only through these.
var (
	_ io.ReaderFrom                   = (*conn)(nil)
	_ interface{ CloseWrite() error } = (*conn)(nil)
)

// A scene is a server behind a listener:
//
//	/        answers hello
//	/wait    answers when the scene is over
//	/file    answers fileSize bytes from a file
type scene struct {
	t    *testing.T
	l    *Listener
	over chan struct{}

	served chan struct{} // closed when the server has ended
}

func newScene(t *testing.T, most int, set func(*limits)) *scene {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, make([]byte, fileSize), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &scene{t, New(tcp, most, nil), make(chan struct{}), make(chan struct{})}
	s.l.limits.watch = 10 * time.Millisecond
	s.l.limits.grace = 10 * time.Millisecond
	s.l.limits.turn = 200 * time.Millisecond
	if set != nil {
		set(&s.l.limits)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	mux.HandleFunc("/client", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, ClientOf(r.Context())) })
	mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-s.over:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(name)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		http.ServeContent(w, r, "", time.Time{}, f)
	})
	srv := &http.Server{Handler: mux}
	s.l.Attach(srv)
	go func() {
		defer close(s.served)
		srv.Serve(s.l)
	}()
	t.Cleanup(func() {
		close(s.over)
		srv.Close()
		<-s.served
	})
	return s
}

// dial connects from an address of this machine.
func (s *scene) dial(from string) *net.TCPConn {
	s.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	c, err := d.Dial("tcp", s.l.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

func ask(c net.Conn, path string) { io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x.test\r\n\r\n") }

// get asks for path and returns the answer.
func (s *scene) get(c net.Conn, path string) (*http.Response, string) {
	s.t.Helper()
	ask(c, path)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		s.t.Fatalf("GET %s from %v: %v", path, c.LocalAddr(), err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("GET %s: %v", path, err)
	}
	return resp, string(body)
}

// hello wants one answer, at once.
func (s *scene) hello(c net.Conn) {
	s.t.Helper()
	begin := time.Now()
	if resp, body := s.get(c, "/"); resp.StatusCode != http.StatusOK || body != "hello" {
		s.t.Fatalf("%s %q", resp.Status, body)
	}
	if d := time.Since(begin); d > 5*time.Second {
		s.t.Errorf("it took %v", d)
	}
}

// until waits until what must become true is.
func (s *scene) until(what string, ok func() bool) {
	s.t.Helper()
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		s.l.mu.Lock()
		done := ok()
		s.l.mu.Unlock()
		if done {
			return
		}
		if time.Since(begin) > 10*time.Second {
			s.t.Fatalf("not so: %s", what)
		}
	}
}

func (s *scene) busyOf(n int) func() bool {
	return func() bool {
		busy := 0
		for c := range s.l.conns {
			if c.busy {
				busy++
			}
		}
		return busy == n
	}
}

// gone reports whether the server has closed c.
func gone(c net.Conn) bool {
	c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

const (
	most = 8

	// More than the kernel takes of an answer that nobody reads.
	fileSize = 16 << 20
)

// TestQuiet checks that those who say nothing, have not finished their headers,
// or have had their answer make room for others at once, the oldest of the client
// with most first, and that there are never more connections than may be.
func TestQuiet(t *testing.T) {
	t.Parallel()
	s := newScene(t, most, nil)
	few := s.dial("127.0.0.3")
	s.hello(few)
	answered := s.dial("127.0.0.2")
	s.hello(answered)
	for i := range 5 * most {
		c := s.dial("127.0.0.2")
		if i%2 == 0 {
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: ")
		}
	}
	s.until("all connections are there", func() bool { return len(s.l.conns) == most })
	s.hello(s.dial("127.0.0.2"))
	s.hello(s.dial("127.0.0.4"))
	if !gone(answered) {
		t.Error("the oldest of the client with most is still there")
	}
	if n := len(s.l.slots); n > most {
		t.Errorf("%d connections, at most %d", n, most)
	}
	few.SetReadDeadline(time.Now().Add(10 * time.Second))
	s.hello(few)
}

// TestYoung checks that one who has just come is given time to say something,
// whatever crowd comes behind it.
func TestYoung(t *testing.T) {
	t.Parallel()
	s := newScene(t, most, func(l *limits) { l.grace = time.Hour })
	var all []net.Conn
	for range most {
		all = append(all, s.dial("127.0.0.2"))
	}
	s.until("all connections are there", func() bool { return len(s.l.conns) == most })
	more := s.dial("127.0.0.2")
	s.l.makeRoom(time.Now())
	for _, c := range all {
		s.hello(c)
	}
	s.l.makeRoom(time.Now().Add(2 * time.Hour))
	s.hello(more)
}

// TestPart checks that one client can have a part of the connections only, that
// what waits for an answer is left alone, and that others get in beside it.
func TestPart(t *testing.T) {
	t.Parallel()
	s := newScene(t, most, func(l *limits) { l.turn = pause / 2 })
	var waiting []net.Conn
	for range most / 2 {
		c := s.dial("127.0.0.2")
		ask(c, "/wait")
		waiting = append(waiting, c)
	}
	s.until("half of them are busy", s.busyOf(most/2))
	for range 3 * most {
		resp, _ := s.get(s.dial("127.0.0.2"), "/wait")
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !resp.Close {
			t.Fatalf("beyond its part: %s, %v", resp.Status, resp.Header)
		}
	}
	s.hello(s.dial("127.0.0.3"))
	for _, c := range waiting {
		if gone(c) {
			t.Error("one that waited for its answer was closed")
		}
	}
}

// TestTurns checks that the requests of a client that asks for more than its part
// take turns, as many at a time as it may have, and that none is refused that may
// wait.
func TestTurns(t *testing.T) {
	t.Parallel()
	s := newScene(t, 2*most, nil)
	var done, refused atomic.Int32
	var wg sync.WaitGroup
	for range most + most/2 { // served, and waiting
		c := s.dial("127.0.0.2")
		wg.Go(func() {
			r := bufio.NewReader(c)
			for done.Load() < 2000 {
				ask(c, "/")
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				if resp.StatusCode != http.StatusOK {
					refused.Add(1)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if refused.Load() > 0 {
		t.Errorf("%d of a client that may wait were refused, after %d answers", refused.Load(), done.Load())
	}
}

// TestNoHaste checks that what was not looked at for a moment is not taken for
// stalled: requests that wait for their answer, at whatever moment another comes.
func TestNoHaste(t *testing.T) {
	t.Parallel()
	s := newScene(t, most, func(l *limits) { l.turn, l.watch = time.Second, 100*time.Millisecond; l.still = l.watch / 2 })
	var waiting []net.Conn
	for range most / 2 {
		c := s.dial("127.0.0.2")
		ask(c, "/wait")
		waiting = append(waiting, c)
	}
	s.until("all are busy", s.busyOf(most/2))
	for range 10 {
		time.Sleep(s.l.limits.watch * 7 / 10) // at another moment between two looks each time
		s.l.mu.Lock()
		for c := range s.l.conns {
			if s.l.stalled(c) {
				t.Errorf("one that waits for its answer counts as stalled")
			}
		}
		s.l.mu.Unlock()
	}
	for _, c := range waiting {
		if gone(c) {
			t.Error("one that waited for its answer was closed")
		}
	}
}

// TestNote checks what is held against a client: that between two looks it took
// nothing of what was there at both.
func TestNote(t *testing.T) {
	at := func(ms int) time.Time { return time.Time{}.Add(time.Duration(ms) * time.Millisecond) }
	type look struct {
		ms      int
		acked   uint64
		waiting bool
	}
	for name, tt := range map[string]struct {
		looks []look
		want  bool
	}{
		"waits for its answer":         {[]look{{1000, 0, false}, {2000, 0, false}}, false},
		"its answer has just come":     {[]look{{1000, 0, false}, {2000, 0, true}}, false},
		"takes nothing of it":          {[]look{{1000, 0, false}, {2000, 0, true}, {3000, 0, true}}, true},
		"takes some":                   {[]look{{1000, 0, true}, {2000, 1 << 20, true}, {3000, 2 << 20, true}}, false},
		"paused for a moment":          {[]look{{1000, 1 << 20, true}, {1050, 1 << 20, true}, {1100, 1 << 20, true}}, false},
		"takes a byte now and then":    {[]look{{1000, 1, true}, {2000, 2, true}, {3000, 3, true}, {4000, 4, true}}, true},
		"has taken all that there was": {[]look{{1000, 1, true}, {2000, 1, true}, {3000, 1 << 20, false}}, false},
	} {
		l := New(nil, most, nil)
		c := &conn{l: l, client: &client{}}
		l.setBusy(c, true)
		c.seen, c.moved, c.read = at(0), at(0), at(0)
		for _, k := range tt.looks {
			l.note(c, k.acked, k.waiting, at(k.ms))
		}
		if got := l.stalled(c); got != tt.want {
			t.Errorf("one that %s: stalled %v", name, got)
		}
	}
}

// TestOnce checks that no more connections are closed for one that comes while the
// place of the first is not free yet.
func TestOnce(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := New(ln, most, nil)
	defer l.Close()
	for range 3 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
	}
	soon := time.Now().Add(l.limits.grace)
	l.makeRoom(soon)
	l.makeRoom(soon.Add(pause))
	ended := 0
	for c := range l.conns {
		if !c.ended.IsZero() {
			ended++
		}
	}
	if ended != 1 {
		t.Errorf("%d were closed, want 1", ended)
	}
}

// TestWait checks that a connection waits for those that all have something to
// do, and comes when one of them is through.
func TestWait(t *testing.T) {
	t.Parallel()
	s := newScene(t, most, nil)
	for i := range most {
		ask(s.dial(fmt.Sprintf("127.0.0.%d", 2+i)), "/wait")
	}
	s.until("all are busy", s.busyOf(most))
	last := s.dial("127.0.1.1")
	ask(last, "/")
	last.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := last.Read(make([]byte, 1)); err == nil {
		t.Fatal("an answer beyond the limit")
	}
	s.over <- struct{}{}
	last.SetReadDeadline(time.Now().Add(10 * time.Second))
	if resp, err := http.ReadResponse(bufio.NewReader(last), nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the one that waited: %v, %v", resp, err)
	}
}

// TestStalled checks that those who read nothing of an answer make room when there
// is need, for others and for their own client.
func TestStalled(t *testing.T) {
	t.Parallel()
	// Who needs room looks for himself.
	s := newScene(t, most, func(l *limits) { l.turn, l.watch = 10*time.Second, time.Hour })
	stall := func(from string) net.Conn {
		c := s.dial(from)
		c.SetReadBuffer(4 << 10)
		ask(c, "/file")
		return c
	}
	for i := range most {
		stall(fmt.Sprintf("127.0.0.%d", 2+i%4))
	}
	s.until("all are busy", s.busyOf(most))
	s.hello(s.dial("127.0.0.10"))
	for range 4 * most {
		stall("127.0.0.2")
	}
	s.hello(s.dial("127.0.0.11"))
	s.until("one client has its part", func() bool {
		c := s.l.clients[netip.MustParseAddr("127.0.0.2")]
		return c.served == most/2
	})
	// Its own next request waits for one of these, or is told to come again.
	for begin := time.Now(); ; {
		resp, _ := s.get(s.dial("127.0.0.2"), "/")
		if resp.StatusCode == http.StatusOK {
			return
		}
		if resp.StatusCode != http.StatusServiceUnavailable || time.Since(begin) > 10*time.Second {
			t.Fatal(resp.Status)
		}
	}
}

// TestOwn checks that a request looks itself for those of its own client that read
// nothing, where there is room for everybody else.
func TestOwn(t *testing.T) {
	t.Parallel()
	s := newScene(t, most, func(l *limits) { l.turn, l.watch = 20*time.Second, time.Hour })
	for range most / 2 {
		c := s.dial("127.0.0.2")
		c.SetReadBuffer(4 << 10)
		ask(c, "/file")
	}
	s.until("the client has its part", s.busyOf(most/2))
	s.hello(s.dial("127.0.0.2"))
}

// TestStall checks that one who reads nothing is closed in the end, though nobody
// needs its place, and that one who reads slowly gets everything.
func TestStall(t *testing.T) {
	t.Parallel()
	s := newScene(t, most, func(l *limits) { l.stall = time.Second })
	slow, none := s.dial("127.0.0.2"), s.dial("127.0.0.2")
	none.SetReadBuffer(4 << 10)
	ask(slow, "/file")
	ask(none, "/file")
	s.until("both are busy", s.busyOf(2))
	resp, err := http.ReadResponse(bufio.NewReader(slow), nil)
	if err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); time.Since(begin) < 2*s.l.limits.stall; time.Sleep(100 * time.Millisecond) {
		// Large enough that the window opens, and far less than the answer.
		if _, err := io.CopyN(io.Discard, resp.Body, 256<<10); err != nil {
			t.Fatalf("the slow one: %v", err)
		}
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("the slow one: %v", err)
	}
	s.until("the other one is closed", s.busyOf(0))
	if _, err := io.Copy(io.Discard, none); err == nil {
		t.Error("what was cut off ends like a whole answer")
	}
}

// TestClient checks who is who.
func TestClient(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.1":          "192.0.2.1",
		"::ffff:192.0.2.1":   "192.0.2.1",
		"2001:db8:1:2:3::4":  "2001:db8:1:2::",
		"fe80::1%lo":         "fe80::",
		"2001:db8:1:2:ff::1": "2001:db8:1:2::",
	} {
		if got := Client(netip.MustParseAddr(addr)); got.String() != want {
			t.Errorf("Client(%s) = %s, want %s", addr, got, want)
		}
	}
	s := newScene(t, most, nil)
	if _, body := s.get(s.dial("127.0.0.5"), "/client"); body != "127.0.0.5" {
		t.Errorf("ClientOf is %s", body)
	}
	if got := ClientOf(t.Context()); got.IsValid() {
		t.Errorf("of no connection: %v", got)
	}
}

// TestEnd checks that a server ends while a connection waits for its turn.
func TestEnd(t *testing.T) {
	s := newScene(t, 1, nil)
	ask(s.dial("127.0.0.2"), "/wait")
	s.until("it is busy", s.busyOf(1))
	s.dial("127.0.0.3")
	s.l.Close()
	select {
	case <-s.served:
	case <-time.After(10 * time.Second):
		t.Error("the server waits for connections")
	}
}

// TestFile checks that a file comes whole.
func TestFile(t *testing.T) {
	t.Parallel()
	s := newScene(t, most, nil)
	if resp, body := s.get(s.dial("127.0.0.2"), "/file"); resp.StatusCode != http.StatusOK ||
		len(body) != fileSize || strings.Trim(body[:100], "\x00") != "" || bytes.Count([]byte(body[:1<<10]), []byte{0}) != 1<<10 {
		t.Errorf("%s, %d bytes", resp.Status, len(body))
	}
}
