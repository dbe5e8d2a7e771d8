// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.org/sumlog/internal/outbound"

	"golang.org/x/mod/module"
)

// lead has names, with ports, of the public network lead c to test servers. To
// everything else c connects as always.
func lead(t *testing.T, c *Client, names map[string]*httptest.Server) {
	dial := c.transport.DialContext
	c.transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if srv := names[strings.ToLower(addr)]; srv != nil {
			return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
		}
		return dial(ctx, network, addr)
	}
}

func urls(t *testing.T, list ...string) (us []*url.URL) {
	for _, s := range list {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		us = append(us, u)
	}
	return us
}

// TestShun has a private proxy that sends on to a public one, by way of a third,
// what it does not have: the public one must not hear of it, however its host is
// written.
func TestShun(t *testing.T) {
	var heard atomic.Int32
	public := serve(t, func(w http.ResponseWriter, r *http.Request) { heard.Add(1) })
	objects := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/object" {
			w.Write([]byte("bytes"))
			return
		}
		http.Redirect(w, r, "http://public.example/secret", http.StatusFound)
	})
	to := map[string]string{
		"/straight": "http://public.example/secret", "/detour": "http://objects.example/secret", "/object": "http://objects.example/object",
		"/capitals": "http://PUBLIC.example/secret", "/port": "http://public.example:80/secret", "/zeros": "http://public.example:080/secret",
		"/dot": "http://public.example./secret", "/dotport": "http://public.example.:80/secret", "/another": "http://public.example:8080/secret",
		"/user": "http://u@public.example/secret", "/wide": "http://ｐublic。example/secret", "/unicode": "http://bücher.example/secret",
		"/punycode": "http://xn--bcher-kva.example/secret", "/Punycode": "http://XN--BCHER-KVA.example/secret",
		"/ipv6": "http://[2001:0DB8:0::0001]/secret", "/mapped": "http://[::ffff:198.51.100.7]/secret", "/nat64": "http://[64:ff9b::c633:6407]/secret",
		"/number": "http://3325256711/secret",
	}
	private := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Location"] = []string{to[r.URL.Path]}
		w.WriteHeader(http.StatusFound)
	})
	names := map[string]*httptest.Server{"objects.example:80": objects}
	for _, host := range []string{
		"public.example", "public.example.", "xn--bcher-kva.example", "[2001:db8::1]", "[2001:0db8:0::0001]", "198.51.100.7", "[::ffff:198.51.100.7]", "[64:ff9b::c633:6407]", "3325256711",
	} {
		names[host+":80"], names[host+":080"], names[host+":8080"] = public, public, public
	}
	c := NewClient(Config{Shun: urls(t, "https://other.example", "http://public.example", "http://bücher.example", "http://[2001:db8::1]", "http://198.51.100.7")})
	t.Cleanup(c.Close)
	lead(t, c, names)
	chain := c.Chain(mustList(t, private.URL))
	for name := range to {
		name = name[1:]
		if name == "object" {
			continue
		}
		_, _, err := chain.Get(t.Context(), name, 100)
		if !errors.Is(err, ErrRedirect) || errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "secret") {
			t.Errorf("Get(%s) = %v", name, err)
		}
		if _, err := chain.Download(t.Context(), name, tempFile(t), 100); !errors.Is(err, ErrRedirect) {
			t.Errorf("Download(%s) = %v", name, err)
		}
	}
	if n := heard.Load(); n != 0 {
		t.Errorf("the public upstream was asked %d times", n)
	}
	// Object stores are what redirects are for.
	if data, _, err := chain.Get(t.Context(), "object", 100); err != nil || string(data) != "bytes" {
		t.Errorf("Get(object) = %q, %v", data, err)
	}
	// A host that is an upstream of private modules too may hear of them.
	c.Chain(mustList(t, "http://public.example:8080"))
	if _, _, err := chain.Get(t.Context(), "another", 100); err != nil || heard.Load() != 1 {
		t.Errorf("at an upstream of its own: %v", err)
	}
	// The client of public modules may go where the other may not.
	c = newClient(t)
	lead(t, c, names)
	if _, _, err := c.Chain(mustList(t, private.URL)).Get(t.Context(), "detour", 100); err != nil || heard.Load() != 2 {
		t.Errorf("without Shun: %v", err)
	}
}

// TestInside has an upstream send on to this machine and the network around it.
func TestInside(t *testing.T) {
	var heard atomic.Int32
	inside := serve(t, func(w http.ResponseWriter, r *http.Request) {
		heard.Add(1)
		http.Error(w, "token 12345", http.StatusForbidden)
	})
	port := inside.URL[strings.LastIndex(inside.URL, ":"):]
	var to string
	outside := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) })
	c := newClient(t)
	lead(t, c, map[string]*httptest.Server{"proxy.example:80": outside})
	chain := c.Chain(mustList(t, "http://proxy.example"))
	for _, to = range []string{
		inside.URL, "http://localhost" + port, "http://LOCALHOST." + port, "http://[::1]" + port, "http://[::ffff:127.0.0.1]" + port, "http://0.0.0.0" + port, "http://127.1" + port,
		"http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://10.0.0.1/", "http://printer/", "http://metadata.google.internal/",
	} {
		_, _, err := chain.Get(t.Context(), "m/@v/list", 100)
		if e := asError(t, err); !errors.Is(err, outbound.ErrRefused) || e.Text != "" || e.Status != 0 || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("sent on to %s: %v", to, err)
		}
	}
	if n := heard.Load(); n != 0 {
		t.Errorf("asked %d times inside", n)
	}
	// What the operator named is reached, and says what it wants.
	c.Chain(mustList(t, inside.URL))
	to = inside.URL
	if _, _, err := chain.Get(t.Context(), "m/@v/list", 100); asError(t, err).Text != "token 12345" {
		t.Errorf("sent on to what the operator named: %v", err)
	}
}

// TestElsewhere has an upstream send on to a host of the public network: it gets
// no credentials and does not learn what was asked for, and its text is nobody's.
func TestElsewhere(t *testing.T) {
	var got http.Header
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		http.Error(w, "said elsewhere", http.StatusNotFound)
	}))
	t.Cleanup(elsewhere.Close)
	var to string
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/here" {
			got = r.Header
			http.Error(w, "said here", http.StatusNotFound)
			return
		}
		http.Redirect(w, r, to, http.StatusFound)
	}))
	t.Cleanup(srv.Close)
	c := trusting(t, srv)
	c.transport.TLSClientConfig.InsecureSkipVerify = true // names are not the matter
	lead(t, c, map[string]*httptest.Server{
		"proxy.example:443": srv, "proxy.example.:443": srv, "proxy.example:8443": elsewhere, "objects.proxy.example:443": elsewhere, "objects.example:443": elsewhere,
	})
	chain := c.Chain(mustList(t, "https://me:secret@proxy.example"))
	for _, tt := range []struct {
		to   string
		same bool
	}{
		{"/here", true},
		{"https://proxy.example:8443/", false},
		{"https://objects.proxy.example/", false}, // to net/http it is the same
		{"https://objects.example/", false},
		{"https://them:password@objects.example/", false},
	} {
		got, to = nil, tt.to
		_, _, err := chain.Get(t.Context(), "corp.example/private/@v/list", 100)
		text := asError(t, err).Text
		if got == nil || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("to %s: %v", to, err)
		}
		if ref := got.Get("Referer"); ref != "" {
			t.Errorf("to %s: Referer %q", to, ref)
		}
		if tt.same != (got.Get("Authorization") != "") || tt.same != (text == "said here") || !tt.same && text != "" {
			t.Errorf("to %s: Authorization %q, text %q", to, got.Get("Authorization"), text)
		}
		for name := range got {
			if !tt.same && name != "User-Agent" && name != "Accept-Encoding" {
				t.Errorf("to %s: header %s is carried along", to, name)
			}
		}
	}
}

// TestDatabaseInside has a database without a URL: its name may lead anywhere.
func TestDatabaseInside(t *testing.T) {
	var heard atomic.Int32
	inside := serve(t, func(w http.ResponseWriter, r *http.Request) { heard.Add(1) })
	s := newScene(t, 1)
	name := "localhost" + inside.URL[strings.LastIndex(inside.URL, ":"):]
	_, vkey := newKeys(t, name)
	s.set(nil, func(w http.ResponseWriter, r *http.Request, _ string, _ []byte) bool {
		w.WriteHeader(http.StatusNotFound)
		return true
	})
	c := newClient(t)
	d := s.open()
	d.client, d.public = c, c.Chain(mustList(t, s.url+"/none"))
	d.name = name
	if _, err := ParseSpec(vkey); err != nil {
		t.Fatal(err)
	}
	s.url += "/none"
	_, err := d.Record(t.Context(), module.Version{Path: mod(0).Path, Version: mod(0).Version})
	if !errors.Is(err, outbound.ErrRefused) || heard.Load() != 0 {
		t.Errorf("Record = %v, asked %d times", err, heard.Load())
	}
}

// TestLeastRate has upstreams that give a byte every 10 s: more than silence, and yet
// for ever.
func TestLeastRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t)
		c.http.Transport = drip{}
		chain := c.Chain(mustList(t, "http://slow.example"))
		done := make(chan error)
		for range 32 {
			go func() {
				_, err := chain.Download(t.Context(), "m/@v/v1.0.0.zip", discard{}, MaxZip)
				done <- err
			}()
		}
		start := time.Now()
		for range 32 {
			err := <-done
			if took := time.Since(start); took > 31*time.Second || !asError(t, err).Timeout() || !errors.Is(err, outbound.ErrSlow) {
				t.Errorf("after %v: %v", took, err)
			}
		}
		if _, _, err := chain.Get(t.Context(), "m/@v/list", MaxText); !asError(t, err).Timeout() || !errors.Is(err, outbound.ErrSlow) {
			t.Errorf("Get: %v", err)
		}
	})
}

// A drip answers, and then gives a byte every 10 s.
type drip struct{}

func (drip) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, ContentLength: -1, Request: r, Body: &dripBody{r.Context()}}, nil
}

type dripBody struct{ ctx context.Context }

func (b *dripBody) Read(p []byte) (int, error) {
	select {
	case <-time.After(10 * time.Second):
		p[0] = 'x'
		return 1, nil
	case <-b.ctx.Done():
		return 0, context.Cause(b.ctx)
	}
}

func (b *dripBody) Close() error { return nil }

// discard is a File that keeps nothing.
type discard struct{}

func (discard) Write(p []byte) (int, error)    { return len(p), nil }
func (discard) Seek(int64, int) (int64, error) { return 0, nil }
func (discard) Truncate(int64) error           { return nil }
