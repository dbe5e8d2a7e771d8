// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/listen"
	"example.org/sumlog/internal/metrics"
	"example.org/sumlog/witness"
	"example.org/sumlog/witness/bastion"
	"example.org/sumlog/witness/keys"
	"example.org/sumlog/witness/state"
)

var cmdServe = &command{
	Name:  "serve",
	Short: "cosign what logs submit",
	Long: `
Serve runs the witness in DIR until it gets SIGTERM or SIGINT. Logs submit to
ADDR/add-checkpoint, and what was cosigned is at ADDR/HASH/checkpoint, where HASH
is the SHA-256 of the log's origin in hex. ADDR/ is a page about the state of
things, ADDR/healthz and ADDR/readyz are for who watches over the process.

Logs that -log, -logs and -feed name are added to those that DIR knows. They are
never removed again, only disabled: see sumwitness help logs. SIGHUP reads lists
and certificate again at once.

	sumwitness serve -dir DIR -log VKEY
	sumwitness serve -dir DIR -feed 'VKEY URL' -contact ops@example.org
`,
	Flags: []string{
		"dir", "listen", "log", "logs", "feed", "key", "name", "guard", "peer", "metrics", "contact", "url",
		"tls-cert", "tls-key", "bastion", "bastion-key",
	},
	NArgs: cli.Exactly(0),
	Run:   runServe,
	Usage: map[string]string{
		"name": "the witness's name (default: that of its keys)",
	},
}

// nowhere is the address of a witness that only a bastion reaches.
const nowhere = "off"

// A server is a running witness, and what belongs to it.
type server struct {
	c      *call
	logger *slog.Logger
	logs   []state.Log // of -log
	feeds  []feedSpec

	cosigners []*checkpoint.Cosigner
	cert      *certificate // nil: no TLS
	bastion   ed25519.PrivateKey

	front  *front
	http   *http.Server // nil: nowhere
	addr   net.Addr
	served chan error

	store   *state.Store
	witness *witness.Witness
	sources *sources

	// What runs beside the requests, until stop.
	running sync.WaitGroup
	stop    context.CancelFunc
}

func runServe(ctx context.Context, c *call) error {
	// From the beginning: whoever renews a certificate does not know whether
	// the process is ready yet.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	s, err := c.newServer()
	if err != nil {
		return err
	}
	if err := s.listen(); err != nil {
		s.close()
		return err
	}
	opened := make(chan error, 1)
	go func() { opened <- s.open() }()
	select {
	case err = <-opened:
	case <-ctx.Done():
		// Nothing has been cosigned: the process can just end.
		return nil
	}
	if err == nil {
		err = s.start()
	}
	if err == nil {
		s.greet()
		err = s.wait(ctx, hup)
	}
	s.close()
	return err
}

// newServer checks what was asked for and reads keys, before anything is done.
func (c *call) newServer() (s *server, err error) {
	s = &server{c: c, logger: c.Logger(slog.LevelInfo), served: make(chan error, 1)}
	if err := c.checkServe(); err != nil {
		return nil, err
	}
	if s.logs, err = parseLogs(c.opts.log, "-log"); err != nil {
		return nil, err
	}
	if s.feeds, err = parseFeeds(c.opts.feeds); err != nil {
		return nil, err
	}
	var specs []string
	if s.cosigners, specs, err = c.cosigners(); err != nil {
		return nil, err
	}
	s.front = newFront(&keyCheck{ping: keys.Ping, specs: specs, logger: s.logger})
	if c.opts.tlsCert != "" {
		if s.cert, err = openCertificate(c.opts.tlsCert, c.opts.tlsKey, s.logger); err != nil {
			return nil, err
		}
	}
	if c.opts.bastion != "" {
		if s.bastion, err = c.bastionKey(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

const maxContact = 200

func (c *call) checkServe() error {
	o := &c.opts
	for _, flag := range []struct{ name, addr string }{{"listen", o.listen}, {"metrics", o.metrics}, {"bastion", o.bastion}} {
		if flag.addr == "" && flag.name != "listen" || flag.addr == nowhere && flag.name == "listen" {
			continue
		}
		if _, _, err := net.SplitHostPort(flag.addr); err != nil {
			return cli.Usagef("-%s %q: %v", flag.name, flag.addr, err).Hint("HOST:PORT, such as %s", defaultListen)
		}
	}
	switch {
	case o.listen == nowhere && o.bastion == "":
		return cli.Usagef("-listen %s without -bastion: nobody could reach it", nowhere)
	case (o.tlsCert == "") != (o.tlsKey == ""):
		return cli.Usagef("-tls-cert and -tls-key go together")
	case o.tlsCert != "" && o.listen == nowhere:
		return cli.Usagef("-tls-cert without -listen: a bastion has a certificate of its own")
	case o.bastionKey != "" && o.bastion == "":
		return cli.Usagef("-bastion-key without -bastion")
	case len(o.contact) > maxContact || strings.ContainsFunc(o.contact, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }):
		return cli.Usagef("-contact: not one line of at most %d bytes", maxContact)
	}
	for _, text := range append(o.peers[:len(o.peers):len(o.peers)], o.url) {
		if err := checkURL(text); text != "" && err != nil {
			return err
		}
	}
	return nil
}

// bastionKey reads the key by which a bastion knows the witness, and makes the
// one in DIR at the first time.
func (c *call) bastionKey() (ed25519.PrivateKey, error) {
	if c.opts.bastionKey != "" {
		return bastion.LoadKey(c.opts.bastionKey)
	}
	file := filepath.Join(c.opts.dir, bastionFile)
	key, err := bastion.LoadKey(file)
	if errors.Is(err, fs.ErrNotExist) {
		return bastion.CreateKey(file)
	}
	return key, err
}

// listen begins to answer.
func (s *server) listen() error {
	if s.c.opts.listen == nowhere {
		return nil
	}
	conns, err := connLimit()
	if err != nil {
		return err
	}
	tcp, err := listen.On(s.c.opts.listen)
	if err != nil {
		return err
	}
	ln := listen.New(tcp, conns, s.logger)
	s.addr = ln.Addr()
	s.http = newHTTPServer(s.front, s.logger)
	ln.Attach(s.http)
	s.running.Go(func() {
		if s.cert == nil {
			s.served <- s.http.Serve(ln)
			return
		}
		s.http.TLSConfig = s.cert.config()
		s.served <- s.http.ServeTLS(ln, "", "")
	})
	return nil
}

// open opens state and witness.
func (s *server) open() (err error) {
	if s.store, err = s.c.openStore(s.logger); err != nil {
		return err
	}
	s.witness, err = witness.New(witness.Config{
		Name: s.name(), Cosigners: s.cosigners, Store: s.store, Peers: s.c.opts.peers, Logger: s.logger,
	})
	if err != nil {
		return err
	}
	return addLogs(s.witness, s.logs)
}

// name is the witness's; all its keys have it.
func (s *server) name() string { return s.cosigners[0].Key().Name() }

// start begins to cosign, and what goes on beside.
func (s *server) start() error {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	var err error
	if s.sources, err = s.newSources(); err != nil {
		return err
	}
	s.sources.begin(ctx)
	stopMetrics, err := metrics.Serve(s.c.opts.metrics, s.logger, s.witness.Collector(), s.sources)
	if err != nil {
		return err
	}
	fixed := newPage(s.name(), vkeysOf(s.cosigners), s.urls(), s.c.opts.contact, cli.Version())
	status := &statusPage{make: func() page {
		p := fixed
		p.fill(s.witness.Logs(), s.sources.lists(), s.sources.feeds(), time.Now())
		return p
	}}
	s.front.start(s.witness, status)
	s.sources.run(ctx, &s.running)
	stopControl := serveControl(s.c.opts.dir, s.witness, s.logger)
	s.running.Go(func() {
		<-ctx.Done()
		stopControl()
		stopMetrics()
	})
	if s.bastion != nil {
		s.running.Go(func() {
			err := bastion.Run(ctx, bastion.Config{
				Addr: s.c.opts.bastion, Key: s.bastion, Handler: recovered(s.front, s.logger), Logger: s.logger,
			})
			if err != nil {
				s.logger.Error("bastion given up", "err", err)
			}
		})
	}
	return nil
}

// urls are where logs reach the witness.
func (s *server) urls() []string {
	o := &s.c.opts
	var urls []string
	switch {
	case o.url != "":
		urls = append(urls, strings.TrimSuffix(o.url, "/"))
	case s.addr != nil:
		urls = append(urls, "https://"+s.name())
	}
	if s.bastion != nil {
		urls = append(urls, "https://"+strings.TrimSuffix(o.bastion, ":443")+"/"+bastion.Hash(s.bastion))
	}
	return urls
}

// greet says what runs and prints what to announce.
func (s *server) greet() {
	c, o := s.c, &s.c.opts
	known := len(s.witness.Logs())
	where := "through the bastion " + o.bastion
	if s.addr != nil {
		where = "on " + s.local()
	}
	c.Say("serving %s, %d logs, %s", s.name(), known, where)
	if known == 0 && len(o.logs)+len(o.feeds) == 0 {
		c.Say("hint: it knows no log yet: pass -log VKEY, or sumwitness logs -dir %s -add VKEY", o.dir)
	}
	c.Say("to announce it, give operators of logs this:")
	fmt.Fprintf(c.Stdout, "name     %s\n", s.name())
	for _, vkey := range vkeysOf(s.cosigners) {
		fmt.Fprintf(c.Stdout, "vkey     %s\n", vkey)
	}
	for _, u := range s.urls() {
		fmt.Fprintf(c.Stdout, "url      %s\n", u)
	}
	contact := o.contact
	if contact == "" {
		contact = "(pass -contact)"
	}
	fmt.Fprintf(c.Stdout, "contact  %s\n", contact)
}

// local is the URL at which the witness listens.
func (s *server) local() string {
	if s.cert != nil {
		return "https://" + s.addr.String()
	}
	return "http://" + s.addr.String()
}

// wait runs the server until it is told to end, or has to.
func (s *server) wait(ctx context.Context, hup <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			s.logger.Info("shutting down")
			return nil
		case err := <-s.witness.Failed():
			if !errors.Is(err, state.ErrUnsafe) {
				err = fmt.Errorf("%w: %w", state.ErrUnsafe, err)
			}
			return cli.Hint(fmt.Errorf("cosigning stopped: %w", err), "do not delete anything; sumwitness help import says how to bring a newer state back")
		case err := <-s.served:
			return err
		case <-hup:
			s.sources.reload()
			if s.cert != nil {
				s.cert.reload() // it tells the operator itself
			}
		}
	}
}

// close ends what was begun. What was answered does not depend on it.
func (s *server) close() {
	s.front.not("shutting down")
	if s.stop != nil {
		s.stop()
	}
	if s.http != nil {
		shutdown(s.http)
	}
	closed := make(chan error, 1)
	go func() {
		s.running.Wait()
		var errs []error
		if s.witness != nil {
			errs = append(errs, s.witness.Close())
		}
		if s.store != nil {
			errs = append(errs, s.store.Close())
		}
		closed <- errors.Join(errs...)
	}()
	select {
	case err := <-closed:
		if err != nil {
			s.logger.Error("closing", "err", err)
		}
	case <-time.After(maxClose):
		s.logger.Warn("closing took too long and was given up")
	}
}
