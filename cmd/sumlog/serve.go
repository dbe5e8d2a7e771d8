// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/listen"
	"example.org/sumlog/log"
)

var cmdServe = &command{
	Name:  "serve",
	Short: "serve log, mirror and index",
	Long: `
Serve runs the authority in DIR until it gets SIGTERM or SIGINT: module mirror,
checksum database, transparency log and index, all under one address. Once it
serves, it prints on stdout the two lines to paste into a shell to use it, and
nothing else; what else it says is on stderr. Scripts use sumlog env.

SIGHUP reads the witness policy again. A log of the levels debug, info, warning and
error is on stderr, a line each: program, time, level, message, key=value.

What may be asked for is what the go command asks a proxy and a checksum
database for. What is not yet in the log is fetched, verified and logged at the
first request; so whoever can reach ADDR can make the log grow, and an ADDR that
is not loopback needs -open.

	sumlog serve -init -dir DIR

creates a log first if there is none.

With -read-only it serves what is published in DIR, as it grows: a backup, another
copy, or the directory of a server on another host. It takes no lock, needs no guard,
signs and admits nothing, asks no upstream, and writes nothing into DIR; its index is
a temporary one, in a directory below TMPDIR. What it does not have is 503, because it
cannot know that a module does not exist.
`,
	Flags: append(append([]string{"dir", "listen", "open"}, upstreamFlags...),
		"guard", "witness-policy", "publish-interval", "wait", "auditor", "metrics", "url", "config", "init", "name", "read-only"),
	NArgs: cli.Exactly(0),
	Run:   runServe,
}

// Limits of the server. All requests are small; what is long is the wait for an
// admission and the zips.
const (
	maxReadHeader = 10 * time.Second
	maxIdle       = 2 * time.Minute

	maxInterval = 10 * time.Second // between publications
	maxWait     = 30 * time.Minute // for a file; no fetch takes longer
	maxHeader   = 16 << 10

	// SIGTERM ends the process within 10 s.
	maxDrain = 3 * time.Second // for requests under way
	maxClose = 6 * time.Second // for appends under way, and the rest
)

func runServe(ctx context.Context, c *call) error {
	if err := c.checkServe(); err != nil {
		return err
	}
	files, err := limits()
	if err != nil {
		return err
	}
	if c.opts.readOnly {
		return c.serveReadOnly(ctx, files)
	}
	if err := c.inherit(ctx); err != nil {
		return err
	}
	ups, err := c.upstreams()
	if err != nil {
		return err
	}
	if err := c.checkCosigners(); err != nil {
		return err
	}
	made, err := c.ensure(&ups)
	if err != nil {
		return err
	}
	c.warn(&ups, made)
	logger := c.logger()
	// Before there is anything to reload: by default, it ends the process.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	l, err := c.openSigning(c.opts.interval, logger)
	if err != nil {
		return err
	}
	ln, err := listen.On(c.opts.listen)
	if err == nil {
		if err = c.refuseSelf(&ups, l.Name(), ln.Addr()); err != nil {
			ln.Close()
		}
	}
	if err != nil {
		l.Close()
		return err
	}
	s := newServer(l, logger)
	stopMetrics, err := c.serveMetrics(l, s, logger)
	if err != nil {
		ln.Close()
		l.Close()
		return err
	}
	defer stopMetrics()
	if opened, err := c.openServer(ctx, s, ln, files.conns, func(progress func(done, total int64)) (*authority, error) {
		return openAuthority(authorityConfig{dir: c.opts.dir, upstreams: ups, wait: c.opts.wait, flights: files.flights, logger: logger, progress: progress}, l)
	}); !opened {
		return hintAhead(err)
	}
	c.greet(&l.Reader, ln.Addr())
	return c.attend(ctx, hup, l, func() error { return s.wait(ctx) }, logger)
}

// openServer has s serve on ln at once, with 503 until what it shall serve is open. It
// reports whether it is: not with an error, nor if ctx ended first.
func (c *call) openServer(ctx context.Context, s *server, ln net.Listener, conns int,
	open func(progress func(done, total int64)) (*authority, error)) (opened bool, err error) {
	bounded := listen.New(ln, conns, s.logger)
	bounded.Attach(s.http)
	go func() { s.served <- s.http.Serve(bounded) }()
	m := c.Meter("reading log into index", s.logger)
	done := make(chan error, 1)
	go func() {
		var err error
		s.parts, err = open(m.Set)
		done <- err
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		// An index that is being made is of no use half made, and what of the
		// log's tail is half published a crash would leave too: the process can
		// just end.
		return false, nil
	}
	m.End()
	if err == nil {
		err = s.start(s.parts)
	}
	if err != nil {
		s.http.Close()
		return false, err
	}
	return true, nil
}

// attend listens to the operator while serve runs.
func (c *call) attend(ctx context.Context, hup <-chan os.Signal, l *log.Log, serve func() error, logger *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	var reloader sync.WaitGroup
	reloader.Go(func() { c.reloadPolicy(ctx, hup, l, logger) })
	defer reloader.Wait()
	defer cancel()
	return serve()
}

// checkServe checks what needs no look at anything else.
func (c *call) checkServe() error {
	if c.opts.readOnly {
		if err := c.checkReadOnly(); err != nil {
			return err
		}
	}
	// A longer one would have admissions refused that only wait for it.
	if c.opts.interval < 0 || c.opts.interval > maxInterval {
		return cli.Usagef("-publish-interval %v is not between 0 and %v", c.opts.interval, maxInterval)
	}
	if c.opts.wait < time.Second || c.opts.wait > maxWait {
		return cli.Usagef("-wait %v is not between 1s and %v", c.opts.wait, maxWait)
	}
	host, _, err := net.SplitHostPort(c.opts.listen)
	if err != nil {
		return cli.Usagef("-listen %q: %v", c.opts.listen, err).Hint("such as " + defaultListen)
	}
	if !c.opts.open && !loopback(host) {
		return cli.Usagef("-listen %s is not loopback, and anyone who can look up can make the log grow", c.opts.listen).
			Hint("pass -open if that is what you want")
	}
	if err := c.checkURL(); err != nil {
		return err
	}
	return c.absoluteGuard()
}

// loopback reports whether nobody else can reach host. An empty one is every
// address.
func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// ensure refuses what the settings show to be this server itself, and creates
// the log if that was asked for and there is none.
func (c *call) ensure(ups *upstreams) (made bool, err error) {
	name := c.opts.name
	have, _, err := log.ReadVKey(c.opts.dir)
	if err == nil {
		if name != "" && name != have {
			return false, cli.Usagef("%s holds the log %s, not %s", c.opts.dir, have, name)
		}
		name = have
	}
	// The port may be given by the kernel later; what is known now is better
	// refused before a log is made.
	addr, err := net.ResolveTCPAddr("tcp", c.opts.listen)
	if err != nil {
		return false, cli.Usagef("-listen %s: %v", c.opts.listen, err)
	}
	if err := c.refuseSelf(ups, name, addr); err != nil {
		return false, err
	}
	if !c.opts.init {
		return false, nil
	}
	if vacant, err := log.Vacant(c.opts.dir); err != nil || !vacant {
		return false, err
	}
	_, err = c.create("")
	return err == nil, err
}

// greet says what runs, and prints what to paste.
func (c *call) greet(l *log.Reader, addr net.Addr) {
	c.Say("serving %s, size %d, on http://%s", l.Name(), l.Published().Size, addr)
	c.Say("verifier key %s", l.VKey())
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() && c.opts.url == "" {
		c.Say("hint: -url URL says how clients reach it, if not as below")
	}
	c.Say("to use it, paste this into a shell:")
	fmt.Fprintf(c.Stdout, "export GOPROXY='%s' GONOPROXY='none'\n", c.clientURL(addr))
	fmt.Fprintf(c.Stdout, "export GOSUMDB='%s' GONOSUMDB='none'\n", l.VKey())
}

// A server answers from its first moment on, with 503 while it cannot serve.
//
// Nothing limits how long an answer may take as a whole: how long one waits for it
// is the admission's matter, and who does not read it is the listener's.
type server struct {
	http   *http.Server
	logger *slog.Logger
	main   atomic.Pointer[http.Handler] // nil before it serves
	state  atomic.Pointer[string]       // why it is not ready; "" if it is
	health health
	parts  *authority // what it serves, once it is open
	served chan error // how serving ended
}

// A health is what a log says of its own.
type health interface {
	Admits() error
	Concerns() []string
}

func newServer(l health, logger *slog.Logger) *server {
	s := &server{logger: logger, health: l, served: make(chan error, 1)}
	s.not("starting")
	s.http = &http.Server{
		Handler:           guarded(s, logger),
		ReadHeaderTimeout: maxReadHeader,
		IdleTimeout:       maxIdle,
		ConnContext:       withClient,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	return s
}

// not says why the server is not ready.
func (s *server) not(reason string) { s.state.Store(&reason) }

func (s *server) start(a *authority) error {
	h, err := a.handler()
	if err != nil {
		return err
	}
	s.main.Store(&h)
	s.not("")
	return nil
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := s.main.Load()
	switch {
	case r.URL.Path == "/healthz":
		plain(w, http.StatusOK, "ok")
	case r.URL.Path == "/readyz":
		s.serveReady(w, r)
	case h == nil:
		unready(w, *s.state.Load())
	default:
		(*h).ServeHTTP(w, r)
	}
}

// serveReady says whether what is published is served and, with ?admit, whether new
// versions can be published too. A load balancer that asks the first does not take
// away a server whose witnesses are gone: no other could do better, and this one
// serves what builds mostly ask for.
func (s *server) serveReady(w http.ResponseWriter, r *http.Request) {
	reason := *s.state.Load()
	if _, admit := r.URL.Query()["admit"]; admit && reason == "" {
		reason = refusal(s.health.Admits())
	}
	if reason != "" {
		unready(w, reason)
		return
	}
	plain(w, http.StatusOK, strings.Join(append([]string{"ok"}, s.health.Concerns()...), "\n"))
}

// refusal is err in words for anybody, "" for none.
func refusal(err error) string {
	refused, ok := errors.AsType[*log.RefusedError](err)
	switch {
	case err == nil:
		return ""
	case ok:
		return refused.Reason
	case errors.Is(err, log.ErrClosed):
		return "shutting down"
	}
	return "signing has stopped"
}

func unready(w http.ResponseWriter, reason string) {
	w.Header().Set("Retry-After", "5")
	plain(w, http.StatusServiceUnavailable, "not ready: "+reason)
}

// wait serves until it is told to end or cannot go on, and closes everything.
func (s *server) wait(ctx context.Context) error {
	a := s.parts
	var err error
	select {
	case <-ctx.Done():
		s.logger.Info("shutting down")
	case err = <-a.failed:
		err = a.stopped(err)
	case err = <-s.served:
	}
	s.not("shutting down")
	// Those who wait for an admission are told, instead of cut off.
	if a.admit != nil {
		go a.admit.Close()
	}
	drain, cancel := context.WithTimeout(context.Background(), maxDrain)
	defer cancel()
	if s.http.Shutdown(drain) != nil {
		s.http.Close()
	}
	closed := make(chan error, 1)
	go func() { closed <- a.close() }()
	select {
	case cerr := <-closed:
		if cerr != nil {
			s.logger.Error("closing", "err", cerr)
		}
	case <-time.After(maxClose):
		// Nothing that was acknowledged depends on it.
		s.logger.Warn("closing took too long and was given up")
	}
	return err
}

// signingStopped is the error of a process whose log has failed. Whatever it
// was, a restart must go through all checks first.
func signingStopped(err error) error {
	if !errors.Is(err, log.ErrUnsafe) {
		err = fmt.Errorf("%w: %w", log.ErrUnsafe, err)
	}
	err = fmt.Errorf("signing stopped: %w", err)
	if errors.Is(err, log.ErrAhead) {
		return hintAhead(err) // the state, as such, is sound
	}
	return cli.Hint(err, "sumlog check -dir DIR says whether the state is sound")
}
