// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package bastion

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.org/sumlog/internal/testbastion"
)

// A fake is a bastion of one connection after the other, without a network, so
// that time can be the test's.
type fake struct {
	t       *testing.T
	config  *tls.Config
	mute    atomic.Bool // nothing arrives any more
	answers atomic.Int64
	workers sync.WaitGroup

	mu     sync.Mutex
	times  []time.Time
	accept func(ctx context.Context, server net.Conn) // what it does with a connection; nil: refuses
}

// dials is when somebody connected.
func (f *fake) dials() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.times)
}

// does sets what f does with a connection.
func (f *fake) does(accept func(ctx context.Context, server net.Conn)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.accept = accept
}

// A lossy connection loses all that is written when its fake is mute.
type lossy struct {
	net.Conn
	mute *atomic.Bool
}

func (l lossy) Write(b []byte) (int, error) {
	if l.mute.Load() {
		return len(b), nil
	}
	return l.Conn.Write(b)
}

func (f *fake) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	f.mu.Lock()
	f.times = append(f.times, time.Now())
	accept := f.accept
	f.mu.Unlock()
	if accept == nil {
		return nil, errors.New("refused")
	}
	client, server := net.Pipe()
	f.workers.Go(func() { accept(f.t.Context(), lossy{server, &f.mute}) })
	return lossy{client, &f.mute}, nil
}

// newFake returns a fake and how to connect to it.
func newFake(t *testing.T) (*fake, Config) {
	t.Helper()
	key, _ := newKey(t)
	cert, err := testbastion.NewCert()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	f := &fake{t: t, config: &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{Protocol}, ClientAuth: tls.RequireAnyClientCert}}
	return f, Config{Addr: "127.0.0.1:443", Key: key, Roots: roots, Handler: echo, dial: f.dial}
}

// http2 asks the backend something now and then, every time if there is any.
func (f *fake) http2(every time.Duration) func(context.Context, net.Conn) {
	return func(ctx context.Context, conn net.Conn) {
		tc := tls.Server(conn, f.config)
		defer tc.Close()
		if err := tc.HandshakeContext(ctx); err != nil {
			return // the other side sees it, and tries again
		}
		t := &http.Transport{Protocols: new(http.Protocols), DialContext: func(context.Context, string, string) (net.Conn, error) {
			return struct{ net.Conn }{tc}, nil
		}}
		t.Protocols.SetUnencryptedHTTP2(true)
		cc, err := t.NewClientConn(ctx, "http", "backend:80")
		if err != nil {
			f.t.Error(err)
			return
		}
		defer cc.Close()
		for cc.Err() == nil {
			if every > 0 && !f.mute.Load() {
				req, err := http.NewRequestWithContext(ctx, "GET", "http://backend/x", nil)
				if err != nil {
					f.t.Error(err)
					return
				}
				resp, err := cc.RoundTrip(req)
				if err != nil { // it ended
					return
				}
				if resp.StatusCode != 200 {
					f.t.Errorf("status %d", resp.StatusCode)
				}
				f.answers.Add(1)
				resp.Body.Close()
			}
			time.Sleep(max(every, time.Second))
		}
	}
}

// TestPause tries again and again, less and less often.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t)
		stop := run(t, c)
		time.Sleep(time.Hour)
		stop()
		if n := len(f.dials()); n < 60 || n > 130 {
			t.Errorf("%d tries in an hour", n)
		}
		var last time.Duration
		same := 0
		for i := 1; i < len(f.dials()); i++ {
			pause := f.dials()[i].Sub(f.dials()[i-1])
			most := min(minPause<<min(i-1, 10), maxPause)
			if pause < most/2 || pause > most {
				t.Errorf("pause %d: %v, want %v to %v", i, pause, most/2, most)
			}
			if pause == last {
				same++
			}
			last = pause
		}
		if same > 2 {
			t.Errorf("%d of %d pauses are as the one before", same, len(f.dials()))
		}
	})
}

// TestPauseAnew begins with short pauses again after a connection that was good,
// and only then.
func TestPauseAnew(t *testing.T) {
	for _, c := range []struct {
		lasts time.Duration
		tries int // in ten minutes, at least
		most  int
	}{{2 * maxPause, 4, 6}, {time.Second, 14, 30}} {
		synctest.Test(t, func(t *testing.T) {
			f, conf := newFake(t)
			f.does(func(ctx context.Context, conn net.Conn) {
				f.http2(0)(ctx, &brief{Conn: conn, end: time.Now().Add(c.lasts)})
			})
			stop := run(t, conf)
			time.Sleep(10 * time.Minute)
			stop()
			f.workers.Wait()
			if n := len(f.dials()); n < c.tries || n > c.most {
				t.Errorf("%d tries, want %d to %d", n, c.tries, c.most)
			}
			if c.lasts > maxPause {
				for i := 1; i < len(f.dials()); i++ {
					if d := f.dials()[i].Sub(f.dials()[i-1]) - c.lasts; d > 2*time.Second {
						t.Errorf("a pause of %v after a good connection", d)
					}
				}
			}
		})
	}
}

// A brief connection is closed when its time has come.
type brief struct {
	net.Conn
	end   time.Time
	timer *time.Timer
}

func (b *brief) Read(p []byte) (int, error) {
	if b.timer == nil {
		b.timer = time.AfterFunc(time.Until(b.end), func() { b.Conn.Close() })
	}
	return b.Conn.Read(p)
}

// TestSilence notices that nothing arrives any more, and does not take it for
// silence when nobody asks.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t)
		f.does(f.http2(0))
		stop := run(t, c)
		time.Sleep(12 * time.Hour)
		if len(f.dials()) != 1 {
			t.Fatalf("%d connections in half a day when nobody asked", len(f.dials()))
		}
		f.mute.Store(true)
		begin := time.Now()
		time.Sleep(silence + answerTime + maxPause)
		if len(f.dials()) < 2 {
			t.Error("did not notice that nothing arrives")
		} else if d := f.dials()[1].Sub(begin); d < answerTime || d > silence+answerTime+2*minPause {
			t.Errorf("noticed it after %v", d)
		}
		f.mute.Store(false)
		time.Sleep(2 * maxPause)
		n := len(f.dials())
		time.Sleep(time.Hour)
		if len(f.dials()) != n {
			t.Error("did not come to rest")
		}
		stop()
		f.workers.Wait()
	})
}

// TestBusy keeps a connection on which somebody asks all the time, to a bastion
// that names authorities which do not know the backend's key.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t)
		f.config.ClientCAs = c.Roots
		f.does(f.http2(7 * time.Second))
		stop := run(t, c)
		time.Sleep(time.Hour)
		if n := f.answers.Load(); len(f.dials()) != 1 || n < 500 {
			t.Errorf("%d answers over %d connections", n, len(f.dials()))
		}
		stop()
		f.workers.Wait()
	})
}

// TestHang meets bastions that stop before they begin.
func TestHang(t *testing.T) {
	for _, c := range []struct {
		what   string
		accept func(*fake, context.Context, net.Conn)
	}{
		{"without a handshake", func(f *fake, _ context.Context, conn net.Conn) {
			io.Copy(io.Discard, conn)
		}},
		{"without a request", func(f *fake, ctx context.Context, conn net.Conn) {
			tc := tls.Server(conn, f.config)
			if err := tc.HandshakeContext(ctx); err != nil {
				f.t.Error(err)
			}
			io.Copy(io.Discard, tc)
		}},
		{"in the middle of the preface", func(f *fake, ctx context.Context, conn net.Conn) {
			tc := tls.Server(conn, f.config)
			if err := tc.HandshakeContext(ctx); err != nil {
				f.t.Error(err)
			}
			io.WriteString(tc, "PRI * HTTP/2.0\r\n")
			io.Copy(io.Discard, tc)
		}},
		{"with HTTP/1.1", func(f *fake, ctx context.Context, conn net.Conn) {
			tc := tls.Server(conn, f.config)
			if err := tc.HandshakeContext(ctx); err != nil {
				f.t.Error(err)
			}
			io.WriteString(tc, "GET /x HTTP/1.1\r\nHost: backend.example\r\n\r\n")
			if got, _ := io.ReadAll(tc); len(got) > 0 {
				f.t.Errorf("answered %q", got)
			}
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, conf := newFake(t)
				f.does(func(ctx context.Context, conn net.Conn) {
					defer conn.Close()
					c.accept(f, ctx, conn)
				})
				stop := run(t, conf)
				time.Sleep(connectTime + 2*minPause)
				if n := len(f.dials()); n < 2 {
					t.Errorf("%d tries", n)
				}
				stop()
				f.workers.Wait()
			})
		})
	}
}

// A lockedBuffer can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestLogs says when it is connected and when not, and why.
func TestLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t)
		var logs lockedBuffer
		c.Logger = slog.New(slog.NewTextHandler(&logs, nil))
		f.does(func(ctx context.Context, conn net.Conn) {
			f.http2(0)(ctx, &brief{Conn: conn, end: time.Now().Add(maxPause)})
		})
		stop := run(t, c)
		time.Sleep(maxPause / 2)
		synctest.Wait()
		if s := logs.String(); !strings.Contains(s, "msg=\"connected to bastion\" bastion=127.0.0.1:443") {
			t.Errorf("connected: %s", s)
		}
		f.does(nil)
		time.Sleep(maxPause)
		synctest.Wait()
		if s := logs.String(); !strings.Contains(s, "error=\"the connection ended") || !strings.Contains(s, "served=1m0s") || !strings.Contains(s, "error=refused") {
			t.Errorf("disconnected: %s", s)
		}
		stop()
		f.workers.Wait()
	})
}
