// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package outbound

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// names makes d resolve every name by answer, which is told how many questions
// came before.
func names(t *testing.T, d *Dialer, answer func(name string, n int) []string) {
	var asked atomic.Int64
	d.net.Resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		c, s := net.Pipe()
		go func() {
			defer s.Close()
			for {
				var size uint16
				if binary.Read(s, binary.BigEndian, &size) != nil {
					return
				}
				text := make([]byte, size)
				var m dnsmessage.Message
				if _, err := io.ReadFull(s, text); err != nil || m.Unpack(text) != nil {
					return
				}
				m.Response, m.Authoritative, m.Additionals = true, true, nil
				q := m.Questions[0]
				if q.Type == dnsmessage.TypeA {
					name := strings.TrimSuffix(q.Name.String(), ".")
					for _, a := range answer(name, int(asked.Add(1))-1) {
						m.Answers = append(m.Answers, dnsmessage.Resource{
							Header: dnsmessage.ResourceHeader{Name: q.Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
							Body:   &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
						})
					}
				}
				text, err := m.Pack()
				if err != nil {
					return
				}
				s.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...))
			}
		}()
		return c, nil
	}}
}

// A target is a server on loopback that nobody outside should reach.
func target(t *testing.T) (srv *httptest.Server, heard *atomic.Int64, port string) {
	heard = new(atomic.Int64)
	srv = httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			heard.Add(1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	_, port, _ = net.SplitHostPort(srv.Listener.Addr().String())
	return srv, heard, port
}

// straight makes d use no proxy.
func straight(d *Dialer) *Dialer {
	d.proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	return d
}

func get(t *testing.T, tr *http.Transport, u string) error {
	t.Cleanup(tr.CloseIdleConnections)
	c := &http.Client{Transport: tr}
	resp, err := c.Get(u)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// TestRebinding has a name of somebody outside lead to loopback, in the ways that
// a look at the name or a lookup before the connection does not notice.
func TestRebinding(t *testing.T) {
	_, heard, port := target(t)
	for name, answer := range map[string]func(string, int) []string{
		"at once": func(string, int) []string { return []string{"127.0.0.1"} },
		// Whoever looks the name up first, to decide, sees the public one.
		"later": func(_ string, n int) []string {
			if n == 0 {
				return []string{"192.0.2.1"}
			}
			return []string{"127.0.0.1"}
		},
		"both": func(string, int) []string { return []string{"127.0.0.1", "192.0.2.1"} },
	} {
		d := straight(NewDialer(0))
		names(t, d, answer)
		u := parse(t, "http://rebound.example:"+port+"/")
		if err := d.Check(u); err != nil {
			t.Errorf("%s: refused by name: %v", name, err)
		}
		if name == "later" {
			if a, err := d.net.Resolver.LookupHost(t.Context(), "rebound.example"); err != nil || len(a) != 1 || a[0] != "192.0.2.1" {
				t.Fatalf("first lookup: %v, %v", a, err)
			}
		}
		// Of both kinds, the public one may be tried: nobody answers there.
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		c, err := d.DialContext(ctx, "tcp", u.Host)
		cancel()
		if err == nil {
			c.Close()
			t.Errorf("%s: connected to %v", name, c.RemoteAddr())
		}
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := heard.Load(); n != 0 {
		t.Errorf("%d connections to loopback", n)
	}
	// The operator may name it.
	d := straight(NewDialer(0))
	names(t, d, func(string, int) []string { return []string{"127.0.0.1"} })
	u := "http://named.example:" + port
	d.Name(parse(t, strings.ToUpper(u[:10])+u[10:]))
	if err := get(t, d.Transport(), u); err != nil || heard.Load() != 1 {
		t.Errorf("named: %v", err)
	}
}

// TestUnnamed asks for loopback as it can be written. Its port is named for
// another host, and its host with another port.
func TestUnnamed(t *testing.T) {
	srv, heard, port := target(t)
	d := straight(NewDialer(0))
	d.Name(parse(t, "http://127.0.0.1:1"))
	d.Name(parse(t, "http://named.example:"+port))
	tr := d.Transport()
	for _, host := range []string{
		"127.0.0.1", "localhost", "LOCALHOST.", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "0.0.0.0", "[::]", "127.1", "0x7f.1", "2130706433", "１２７.0.0.1",
	} {
		u := "http://" + host + ":" + port + "/"
		if err := get(t, tr, u); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", u, err)
		}
		if err := d.Check(parse(t, u)); !errors.Is(err, ErrRefused) {
			t.Errorf("Check(%s): %v", u, err)
		}
	}
	if n := heard.Load(); n != 0 {
		t.Errorf("%d connections to loopback", n)
	}
	d.Name(parse(t, srv.URL))
	if err := get(t, tr, "http://[::ffff:127.0.0.1]:"+port); err != nil {
		t.Errorf("named, in another spelling: %v", err)
	}
}

// TestProxy has a proxy of the environment, which is where names are resolved.
func TestProxy(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked = append(asked, r.URL.String()) }))
	defer proxy.Close()
	d := NewDialer(0)
	names(t, d, func(string, int) []string { return []string{"127.0.0.1"} })
	where := strings.Replace(proxy.URL, "127.0.0.1", "proxy.example", 1)
	direct := false
	d.proxy = func(r *http.Request) (*url.URL, error) {
		if direct {
			return nil, nil
		}
		return url.Parse(where)
	}
	d.Name(parse(t, "http://intranet"))
	tr := d.Transport()
	for _, u := range []string{"http://out.example/", "http://intranet/"} {
		if err := get(t, tr, u); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	for _, u := range []string{
		"http://localhost/", "http://a.localhost/", "http://10.0.0.1/", "http://[::1]/", "http://metadata.google.internal/", "http://other/", "http://169.254.169.254/", "http://127.1/",
		"http://[64:ff9b::a9fe:a9fe]/", "http://intranet:81/", "http://printer.local./", proxy.URL,
	} {
		if err := get(t, tr, u); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", u, err)
		}
	}
	if len(asked) != 2 {
		t.Errorf("the proxy was asked for %q", asked)
	}
	// That it is the proxy does not make it a target.
	direct = true
	if err := get(t, tr, where); !errors.Is(err, ErrRefused) {
		t.Errorf("%s itself: %v", where, err)
	}
}

// TestMaxConns fills the bound, with connections in use and with idle ones.
func TestMaxConns(t *testing.T) {
	release := make(chan struct{})
	hang := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-release
	}))
	defer hang.Close()
	defer close(release)
	quick, _, _ := target(t)
	d := straight(NewDialer(2))
	d.Name(parse(t, hang.URL))
	d.Name(parse(t, quick.URL))
	tr := d.Transport()
	defer tr.CloseIdleConnections()
	ask := func(ctx context.Context, u string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, "GET", u, nil)
		if err != nil {
			t.Fatal(err)
		}
		return tr.RoundTrip(r)
	}
	first, err := ask(t.Context(), hang.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Body.Close()
	// The other one becomes idle, and makes room for one to another host.
	if err := get(t, tr, quick.URL); err != nil {
		t.Fatal(err)
	}
	second, err := ask(t.Context(), hang.URL)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(d.slots); n != 2 {
		t.Errorf("%d connections are counted, want 2", n)
	}
	// At the bound a request waits, no longer than its context lasts.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := ask(ctx, quick.URL); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beyond the bound: %v", err)
	}
	if _, err := d.DialContext(ctx, "tcp", quick.Listener.Addr().String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dialing beyond the bound: %v", err)
	}
	third := make(chan error, 1)
	go func() {
		resp, err := ask(t.Context(), quick.URL)
		if err == nil {
			resp.Body.Close()
		}
		third <- err
	}()
	second.Body.Close()
	if err := <-third; err != nil {
		t.Errorf("after one was closed: %v", err)
	}
	// Failures leave nothing behind.
	if err := get(t, tr, "http://127.0.0.1:1"); !errors.Is(err, ErrRefused) {
		t.Errorf("unnamed: %v", err)
	}
	first.Body.Close()
	tr.CloseIdleConnections()
	for i := 0; len(d.slots) > 0; i++ {
		if i == 500 {
			t.Fatalf("%d connections are counted, want 0", len(d.slots))
		}
		time.Sleep(10 * time.Millisecond)
		tr.CloseIdleConnections()
	}
}
