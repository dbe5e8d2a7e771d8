// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package bastion

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/sumlog/internal/testbastion"
)

func newKey(t *testing.T) (ed25519.PrivateKey, ed25519.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return private, public
}

// run runs c until the test ends, or stop is called.
func run(t *testing.T, c Config) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, c) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

func startBastion(t *testing.T, keys ...ed25519.PublicKey) *testbastion.Bastion {
	t.Helper()
	b, err := testbastion.Start(keys...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	return b
}

// status asks for a URL and returns the answer's status and body.
func status(t *testing.T, client *http.Client, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Add("X-Forwarded-For", "192.0.2.1")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// echo answers with what it was asked.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%s %s %s %v %s", r.Proto, r.Method, r.URL.Path, r.Header["X-Forwarded-For"], body)
})

func TestServe(t *testing.T) {
	key, public := newKey(t)
	_, other := newKey(t)
	_, unknown := newKey(t)
	b := startBastion(t, public, other)
	client := b.Client()
	if code, _ := status(t, client, b.URL(public)+"/x", ""); code != http.StatusServiceUnavailable {
		t.Errorf("before it is connected: %d", code)
	}
	stop := run(t, Config{Addr: b.Addr(), Key: key, Roots: b.Roots(), Handler: echo})
	if err := b.Wait(t.Context(), public, true); err != nil {
		t.Fatal(err)
	}
	if want := "https://" + b.Addr() + "/" + Hash(key); b.URL(public) != want {
		t.Errorf("URL %s, want %s", b.URL(public), want)
	}
	large := strings.Repeat("x", 200<<10)
	for _, body := range []string{"hello", "", large} {
		code, text := status(t, client, b.URL(public)+"/add-checkpoint", body)
		if want := "HTTP/2.0 POST /add-checkpoint [127.0.0.1] " + body; code != 200 || text != want {
			t.Errorf("%d %.80q, want %.80q", code, text, want)
		}
	}
	var wg sync.WaitGroup
	for i := range 2 * maxStreams {
		wg.Go(func() {
			body := fmt.Sprint(i)
			if code, text := status(t, client, b.URL(public)+"/", body); code != 200 || !strings.HasSuffix(text, " "+body) {
				t.Errorf("%d %.80q", code, text)
			}
		})
	}
	wg.Wait()
	if code, _ := status(t, client, b.URL(other)+"/x", ""); code != http.StatusServiceUnavailable {
		t.Errorf("another backend: %d", code)
	}
	if code, _ := status(t, client, b.URL(unknown)+"/x", ""); code != http.StatusMisdirectedRequest {
		t.Errorf("an unknown backend: %d", code)
	}
	stop()
	if err := b.Wait(t.Context(), public, false); err != nil {
		t.Fatal(err)
	}
	if code, _ := status(t, client, b.URL(public)+"/x", ""); code != http.StatusServiceUnavailable {
		t.Errorf("after it ended: %d", code)
	}
}

// TestAnyBackend meets a bastion that does not know its backends beforehand.
func TestAnyBackend(t *testing.T) {
	key, public := newKey(t)
	b := startBastion(t)
	if code, _ := status(t, b.Client(), b.URL(public)+"/x", ""); code != http.StatusBadGateway {
		t.Errorf("before it is connected: %d", code)
	}
	run(t, Config{Addr: b.Addr(), Key: key, Roots: b.Roots(), Handler: echo})
	if err := b.Wait(t.Context(), public, true); err != nil {
		t.Fatal(err)
	}
	if code, _ := status(t, b.Client(), b.URL(public)+"/x", ""); code != http.StatusOK {
		t.Errorf("connected: %d", code)
	}
}

// TestStop lets a request under way finish.
func TestStop(t *testing.T) {
	key, public := newKey(t)
	b := startBastion(t, public)
	inside, free := make(chan struct{}), make(chan struct{})
	stop := run(t, Config{Addr: b.Addr(), Key: key, Roots: b.Roots(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(inside)
		<-free
		io.WriteString(w, "done")
	})})
	if err := b.Wait(t.Context(), public, true); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if code, text := status(t, b.Client(), b.URL(public)+"/x", ""); code != 200 || text != "done" {
			t.Errorf("%d %q", code, text)
		}
	})
	<-inside
	time.AfterFunc(100*time.Millisecond, func() { close(free) }) // while it ends
	stop()
	wg.Wait()
}

// TestReconnect connects again after the bastion was away.
func TestReconnect(t *testing.T) {
	key, public := newKey(t)
	b := startBastion(t, public)
	run(t, Config{Addr: b.Addr(), Key: key, Roots: b.Roots(), Handler: echo})
	if err := b.Wait(t.Context(), public, true); err != nil {
		t.Fatal(err)
	}
	b.Stop()
	if err := b.Wait(t.Context(), public, false); err != nil {
		t.Fatal(err)
	}
	if err := b.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := b.Wait(t.Context(), public, true); err != nil {
		t.Fatal(err)
	}
	if code, _ := status(t, b.Client(), b.URL(public)+"/x", ""); code != http.StatusOK {
		t.Errorf("connected again: %d", code)
	}
}

// once connects once and returns the error.
func once(t *testing.T, c Config) error {
	t.Helper()
	host, _, err := net.SplitHostPort(c.Addr)
	if err != nil {
		t.Fatal(err)
	}
	c.Logger = slog.New(slog.DiscardHandler)
	if c.dial == nil {
		c.dial = new(net.Dialer).DialContext
	}
	_, err = c.serve(t.Context(), host)
	return err
}

// TestRefuses connects to what is no bastion, or not the right one.
func TestRefuses(t *testing.T) {
	key, _ := newKey(t)
	_, other := newKey(t)
	b := startBastion(t, other)
	for _, c := range []struct {
		what   string
		config *tls.Config // of a server in the bastion's place; nil: the bastion
		edit   func(*Config)
		want   string
	}{
		{"an unknown key", nil, func(*Config) {}, "tls: bad certificate"},
		{"an unknown authority", nil, func(c *Config) { c.Roots = nil }, "certificate"},
		{"another name", nil, func(c *Config) { c.Addr = strings.Replace(c.Addr, "127.0.0.1", "localhost", 1) }, "localhost"},
		{"another protocol", &tls.Config{NextProtos: []string{"h2", "http/1.1"}}, func(*Config) {}, "no application protocol"},
		{"no protocol", &tls.Config{}, func(*Config) {}, "no bastion"},
		{"TLS 1.2", &tls.Config{NextProtos: []string{Protocol}, MaxVersion: tls.VersionTLS12}, func(*Config) {}, "protocol version"},
		{"the end at once", &tls.Config{NextProtos: []string{Protocol}}, func(*Config) {}, "did not begin"},
	} {
		t.Run(c.what, func(t *testing.T) {
			conf := Config{Addr: b.Addr(), Key: key, Roots: b.Roots(), Handler: echo}
			if c.config != nil {
				cert, err := testbastion.NewCert()
				if err != nil {
					t.Fatal(err)
				}
				c.config.Certificates = []tls.Certificate{cert}
				conf.Roots = x509.NewCertPool()
				conf.Roots.AddCert(cert.Leaf)
				conf.Addr = handshakes(t, c.config)
			}
			c.edit(&conf)
			if err := once(t, conf); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// handshakes starts a server that does no more than that.
func handshakes(t *testing.T, config *tls.Config) (addr string) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	})
	t.Cleanup(func() {
		ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

func TestConfig(t *testing.T) {
	key, _ := newKey(t)
	for _, c := range []Config{{Addr: "127.0.0.1", Key: key}, {Addr: ":443", Key: key}, {Addr: "127.0.0.1:443"}} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Run(ctx, c); err == nil {
			t.Errorf("%q: ran", c.Addr)
		}
	}
}
