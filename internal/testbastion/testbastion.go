// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package testbastion is a bastion (https://c2sp.org/https-bastion) for tests,
// on 127.0.0.1 and with a certificate that it makes itself. Clients and backends
// come to one address and are told apart by the protocol that they ask for.
//
// Programs under test trust it if SSL_CERT_FILE names a file with
// [Bastion.CertPEM].
package testbastion

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"time"
)

const protocol = "bastion/0"

// A Bastion listens until it is stopped.
type Bastion struct {
	addr  string
	roots *x509.CertPool
	cert  tls.Certificate
	known []string // hashes of keys; none: any key is served

	mu       sync.Mutex
	changed  chan struct{}               // closed when backends changes
	backends map[string]*http.ClientConn // by the hash of the key
	server   *http.Server                // nil: stopped
	served   chan struct{}               // closed when it ended
}

// Start starts a bastion that serves the backends with the given keys, or,
// without any, all there are.
func Start(keys ...ed25519.PublicKey) (*Bastion, error) {
	cert, err := NewCert()
	if err != nil {
		return nil, err
	}
	b := &Bastion{addr: "127.0.0.1:0", cert: cert, roots: x509.NewCertPool(), backends: map[string]*http.ClientConn{}, changed: make(chan struct{})}
	b.roots.AddCert(cert.Leaf)
	for _, k := range keys {
		b.known = append(b.known, hash(k))
	}
	return b, b.Resume()
}

func hash(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:])
}

// NewCert makes the certificate of an authority and server on 127.0.0.1 in one.
func NewCert() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test bastion"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// Addr is HOST:PORT, for backends and clients.
func (b *Bastion) Addr() string { return b.addr }

// URL is the one of a backend, without a slash at its end.
func (b *Bastion) URL(key ed25519.PublicKey) string { return "https://" + b.addr + "/" + hash(key) }

// Roots has the bastion's certificate.
func (b *Bastion) Roots() *x509.CertPool { return b.roots }

// CertPEM is the certificate.
func (b *Bastion) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.cert.Certificate[0]})
}

// Client returns a new client that trusts the bastion.
func (b *Bastion) Client() *http.Client {
	return &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.roots}, ForceAttemptHTTP2: true},
	}
}

// Resume listens again after Stop, at the same address.
func (b *Bastion) Resume() error {
	ln, err := net.Listen("tcp", b.addr)
	if err != nil {
		return err
	}
	b.addr = ln.Addr().String()
	srv := &http.Server{
		Handler:           http.HandlerFunc(b.proxy),
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{b.cert}, GetConfigForClient: b.config, NextProtos: []string{protocol}},
		// A backend says bastion/0 where a client says h2.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){
			protocol: func(_ *http.Server, conn *tls.Conn, _ http.Handler) { b.backend(conn) },
		},
		Protocols: new(http.Protocols),
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	served := make(chan struct{})
	go func() {
		defer close(served)
		srv.ServeTLS(ln, "", "")
	}()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.server, b.served = srv, served
	return nil
}

// config is the one for backends, or nil, the server's, for clients.
func (b *Bastion) config(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if !slices.Contains(hello.SupportedProtos, protocol) {
		return nil, nil
	}
	return &tls.Config{
		Certificates: []tls.Certificate{b.cert},
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{protocol},
		ClientAuth:   tls.RequireAnyClientCert,
		VerifyConnection: func(s tls.ConnectionState) error {
			key, ok := s.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
			if !ok {
				return errors.New("not an Ed25519 key")
			}
			if b.known != nil && !slices.Contains(b.known, hash(key)) {
				return errors.New("an unknown key")
			}
			return nil
		},
	}, nil
}

// A plain connection does not show that it is a TLS one: net/http would want its
// protocol to be called h2.
type plain struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (p *plain) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.Conn.Close()
}

// backend keeps the connection of a backend until it ends.
func (b *Bastion) backend(tc *tls.Conn) {
	id := hash(tc.ConnectionState().PeerCertificates[0].PublicKey.(ed25519.PublicKey))
	conn := &plain{Conn: tc, closed: make(chan struct{})}
	defer conn.Close()
	t := &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		Protocols:   new(http.Protocols),
	}
	t.Protocols.SetUnencryptedHTTP2(true)
	cc, err := t.NewClientConn(context.Background(), "http", "backend:80")
	if err != nil {
		return
	}
	b.set(id, cc)
	<-conn.closed
	b.mu.Lock()
	if b.backends[id] == cc {
		b.setLocked(id, nil)
	}
	b.mu.Unlock()
	cc.Close()
}

// set puts a backend in the place of the one before.
func (b *Bastion) set(id string, cc *http.ClientConn) {
	b.mu.Lock()
	old := b.backends[id]
	b.setLocked(id, cc)
	b.mu.Unlock()
	if old != nil {
		old.Close()
	}
}

func (b *Bastion) setLocked(id string, cc *http.ClientConn) {
	if cc == nil {
		delete(b.backends, id)
	} else {
		b.backends[id] = cc
	}
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *Bastion) find(id string) (*http.ClientConn, chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.backends[id], b.changed
}

// Wait waits until a backend is connected, or is not.
func (b *Bastion) Wait(ctx context.Context, key ed25519.PublicKey, connected bool) error {
	for {
		cc, changed := b.find(hash(key))
		if (cc != nil) == connected {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// proxy passes a request on.
func (b *Bastion) proxy(w http.ResponseWriter, r *http.Request) {
	id, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	cc, _ := b.find(id)
	switch {
	case cc != nil:
	case b.known == nil:
		http.Error(w, "no such backend is connected", http.StatusBadGateway)
		return
	case slices.Contains(b.known, id):
		http.Error(w, "the backend is not connected", http.StatusServiceUnavailable)
		return
	default:
		http.Error(w, "no such backend", http.StatusMisdirectedRequest)
		return
	}
	p := httputil.ReverseProxy{
		Transport: cc,
		ErrorLog:  log.New(io.Discard, "", 0),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", "backend:80"
			p.Out.URL.Path, p.Out.URL.RawPath = "/"+path, ""
			client, _, _ := net.SplitHostPort(p.In.RemoteAddr)
			p.Out.Header["X-Forwarded-For"] = []string{client}
		},
	}
	p.ServeHTTP(w, r)
}

// Stop ends all connections and listens no more. Resume undoes it.
func (b *Bastion) Stop() {
	b.mu.Lock()
	srv, served := b.server, b.served
	conns := make([]*http.ClientConn, 0, len(b.backends))
	for _, cc := range b.backends {
		conns = append(conns, cc)
	}
	b.server = nil
	b.mu.Unlock()
	if srv == nil {
		return
	}
	srv.Close()
	for _, cc := range conns {
		cc.Close()
	}
	<-served
}
