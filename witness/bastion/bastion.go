// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package bastion lets a witness serve through a bastion
// (https://c2sp.org/https-bastion): a public reverse proxy to which the witness
// connects, so that nothing has to reach the witness's own address. It makes one
// outgoing connection, TLS 1.3 with an Ed25519 client certificate, and then
// serves HTTP/2 on it as if the bastion had connected. The witness's URL is
// https://HOST/[Hash]/, with the hash of the key of that certificate. This key
// is not the one that cosigns; losing it moves the URL and nothing else.
//
// The bastion is trusted to pass requests on, as the operator of any reverse
// proxy is, and for nothing else: all that a witness says is signed. It sees,
// and can hold back or change, every request. What it says of the client's
// address is for logs; nothing may depend on it.
//
// A connection that goes away, is refused, or of which the other side falls
// silent (a router that forgot the mapping tells nobody), is made again, after a
// pause that grows to a minute and differs from witness to witness, so that a
// bastion that was restarted is not met by all of them at once. There is no
// state.
package bastion

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"time"

	"example.org/sumlog/internal/outbound"
)

// Protocol is what the two sides agree on before they speak HTTP/2.
const Protocol = "bastion/0"

const (
	connectTime = 10 * time.Second // to connect, and for the bastion to begin
	requestTime = 30 * time.Second // for the body of a request, and for its answer
	silence     = 20 * time.Second // without a frame, after which the bastion is asked whether it is there
	answerTime  = 15 * time.Second // for that answer, and for bytes to leave
	stopTime    = 5 * time.Second  // for requests under way when it ends

	minPause = time.Second
	maxPause = time.Minute

	maxStreams = 128      // requests at once
	maxHeader  = 16 << 10 // bytes of a request's header
	// What the bastion may send before it is read: no more than this is held for
	// all requests together. The largest body fits into the second.
	connBuffer, streamBuffer = 1 << 20, 256 << 10
)

// Config says what to serve, and where.
type Config struct {
	Addr    string             // HOST:PORT of the bastion; its certificate must be of HOST
	Key     ed25519.PrivateKey // by which the bastion knows this witness
	Roots   *x509.CertPool     // who may certify the bastion; nil: whom the system trusts
	Handler http.Handler
	Logger  *slog.Logger // nil: no logs

	dial func(ctx context.Context, network, addr string) (net.Conn, error) // other than a net.Dialer's, in tests
}

// Run serves through the bastion until ctx ends, which is no error, and then
// lets requests under way finish for 5 s.
func Run(ctx context.Context, c Config) error {
	host, _, err := net.SplitHostPort(c.Addr)
	named, malformed := outbound.ParseHost(c.Addr)
	if err != nil || malformed != nil {
		return fmt.Errorf("bastion %q: not HOST:PORT", c.Addr)
	}
	if len(c.Key) != ed25519.PrivateKeySize {
		return errors.New("bastion: no key")
	}
	if c.dial == nil {
		d := outbound.NewDialer(0)
		d.NameHost(named)
		c.dial = d.DialContext
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With("bastion", c.Addr)
	pause := minPause
	for ctx.Err() == nil {
		served, err := c.serve(ctx, host)
		if ctx.Err() != nil {
			break
		}
		if served >= maxPause {
			pause = minPause // it was a good connection: this is no refusal
		}
		wait := jitter(pause)
		pause = min(2*pause, maxPause)
		c.Logger.Warn("not connected to bastion", "error", err, "served", served.Round(time.Second), "next_try", wait.Round(time.Millisecond))
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// jitter returns half of d to all of it.
func jitter(d time.Duration) time.Duration { return d/2 + mrand.N(d/2) }

// serve connects once and serves until the connection ends. served is for how
// long it did.
func (c Config) serve(ctx context.Context, host string) (served time.Duration, err error) {
	tc, err := c.connect(ctx, host)
	if err != nil {
		return 0, err
	}
	conn := newConn(tc, func() { c.Logger.Info("connected to bastion") })
	defer conn.Close()
	srv := c.server()
	stopped := make(chan struct{})
	// Without a bastion's word nothing ends the server, so this does.
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		if srv.Shutdown(limit) != nil {
			srv.Close()
		}
	})
	begin := time.Now()
	srv.Serve(newListener(conn))
	if !stop() {
		<-stopped
		c.Logger.Info("disconnected from bastion")
		return time.Since(begin), ctx.Err()
	}
	srv.Close()
	if !conn.alive() {
		return 0, conn.cause("the bastion did not begin")
	}
	return time.Since(begin), conn.cause("the connection ended")
}

// connect makes a connection and authenticates both sides of it.
func (c Config) connect(ctx context.Context, host string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	raw, err := c.dial(ctx, "tcp", c.Addr)
	if err != nil {
		return nil, err
	}
	tc := tls.Client(raw, &tls.Config{
		ServerName: host,
		RootCAs:    c.Roots,
		// Older versions show the client's certificate to everybody on the way.
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{Protocol},
		// Not Certificates: of those, none is sent to a bastion that names its
		// authorities.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return certificate(c.Key)
		},
	})
	if err := tc.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	// A server that knows no such negotiation agrees to nothing.
	if p := tc.ConnectionState().NegotiatedProtocol; p != Protocol {
		tc.Close()
		return nil, fmt.Errorf("protocol %q instead of %q: this is no bastion", p, Protocol)
	}
	return tc, nil
}

// certificate signs the key's certificate for a connection that is made now.
func certificate(key ed25519.PrivateKey) (*tls.Certificate, error) {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "witness"},
		NotBefore:    now.Add(-time.Hour), // clocks differ
		NotAfter:     now.Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// server returns a server for one connection.
func (c Config) server() *http.Server {
	srv := &http.Server{
		Handler:           c.Handler,
		ReadHeaderTimeout: connectTime,
		ReadTimeout:       requestTime,
		WriteTimeout:      requestTime,
		IdleTimeout:       -1, // none: nobody asking is no reason to go away
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
		Protocols:         new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerConnection: connBuffer,
			MaxReceiveBufferPerStream:     streamBuffer,
			SendPingTimeout:               silence,
			PingTimeout:                   answerTime,
			WriteByteTimeout:              answerTime,
		},
	}
	// Over TLS, net/http would want the protocol to be called h2; the connection
	// does not show its TLS, and HTTP/2 begins with its preface.
	srv.Protocols.SetUnencryptedHTTP2(true)
	return srv
}
