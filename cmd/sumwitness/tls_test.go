// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// writePair writes a self-signed certificate for 127.0.0.1, with a serial number
// to know it by, and its key.
func writePair(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	if err := makePair(certFile, keyFile, serial); err != nil {
		t.Fatal(err)
	}
}

func makePair(certFile, keyFile string, serial int64) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "w.test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return err
	}
	return os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
}

// TestCertificate renews a certificate, by halves and whole.
func TestCertificate(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	if _, err := openCertificate(certFile, keyFile, logger); err == nil {
		t.Fatal("no certificate, no error")
	}
	synctest.Test(t, func(t *testing.T) {
		writePair(t, certFile, keyFile, 1)
		c, err := openCertificate(certFile, keyFile, logger)
		if err != nil {
			t.Fatal(err)
		}
		serial := func() int64 {
			t.Helper()
			pair, err := c.get(nil)
			if err != nil {
				t.Fatal(err)
			}
			return pair.Leaf.SerialNumber.Int64()
		}
		writePair(t, certFile, keyFile, 2)
		if got := serial(); got != 1 {
			t.Errorf("within the minute: serial %d, want 1", got)
		}
		time.Sleep(certificateCheck)
		if got := serial(); got != 2 {
			t.Errorf("after a minute: serial %d, want 2", got)
		}
		writePair(t, certFile, keyFile, 3)
		if err := c.reload(); err != nil || serial() != 3 {
			t.Errorf("reloaded: serial %d, %v, want 3", serial(), err)
		}
		// A new certificate whose key is not there yet.
		old, err := os.ReadFile(keyFile)
		if err != nil {
			t.Fatal(err)
		}
		writePair(t, certFile, keyFile, 4)
		renewed, err := os.ReadFile(keyFile)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(keyFile, old, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(certificateCheck)
		if got := serial(); got != 3 {
			t.Errorf("half renewed: serial %d, want 3", got)
		}
		if err := os.WriteFile(keyFile, renewed, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(certificateCheck)
		if got := serial(); got != 4 {
			t.Errorf("renewed: serial %d, want 4", got)
		}
		if err := os.Remove(certFile); err != nil {
			t.Fatal(err)
		}
		if err := c.reload(); err == nil || serial() != 4 {
			t.Errorf("certificate gone: serial %d, %v, want 4 and an error", serial(), err)
		}
	})
}
