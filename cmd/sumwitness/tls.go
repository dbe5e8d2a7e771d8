// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateCheck is the least time between two looks at the files of a
// certificate.
const certificateCheck = time.Minute

// A certificate is a TLS certificate in files that somebody renews. One that
// cannot be read changes nothing: a half-written renewal must not end the
// service.
type certificate struct {
	certFile, keyFile string
	logger            *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	stamp   string // of the files that pair was read from
	checked time.Time
}

// openCertificate reads the certificate for the first time.
func openCertificate(certFile, keyFile string, logger *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, logger: logger}
	return c, c.reload()
}

// config is the TLS configuration of a server.
func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

// get returns the certificate for a handshake, the newest as of the last look.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) >= certificateCheck {
		c.checked = time.Now()
		if stamp := c.stampNow(); stamp != c.stamp {
			c.read(stamp)
		}
	}
	return c.pair, nil
}

// reload reads the files, changed or not.
func (c *certificate) reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checked = time.Now()
	return c.read(c.stampNow())
}

func (c *certificate) read(stamp string) error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		c.logger.Error("tls certificate not read", "file", c.certFile, "err", err)
		return fmt.Errorf("certificate %s: %w", c.certFile, err)
	}
	if c.pair != nil {
		c.logger.Info("tls certificate read again", "file", c.certFile, "not_after", pair.Leaf.NotAfter)
	}
	// The stamp is older than what was read: files that changed in between are
	// read once more.
	c.pair, c.stamp = &pair, stamp
	return nil
}

// stampNow says which state of the files this is.
func (c *certificate) stampNow() string {
	s := ""
	for _, name := range []string{c.certFile, c.keyFile} {
		fi, err := os.Stat(name)
		if err != nil {
			s += err.Error()
			continue
		}
		s += fmt.Sprint(fi.Size(), fi.ModTime().UnixNano(), ";")
	}
	return s
}
