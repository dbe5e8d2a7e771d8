// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"example.org/sumlog/internal/netrc"
	"example.org/sumlog/internal/outbound"
	"example.org/sumlog/internal/retry"
)

// UserAgent is what upstreams see in their logs.
const UserAgent = "sumlog/1"

const (
	maxTries     = 3               // of one request to one upstream
	maxWait      = 5 * time.Second // longest Retry-After that is waited for
	maxRedirects = 10              // as the go command

	// What of an error's text is kept: as much as the go command shows.
	maxTextLines = 8
	maxTextBytes = maxTextLines * 81
)

// A Config configures a [Client]. The zero value is right for production.
type Config struct {
	// Header bounds a try from its start to the end of the answer's headers,
	// redirects included. Default 20 s.
	Header time.Duration

	// Stall bounds how long a body may give no byte. Default 20 s.
	Stall time.Duration

	// Total bounds a Get with all its tries. A Download, which may rightly be
	// long, is bounded by its context and, as every body, by the least rate:
	// see [outbound.LeastPace]. Default 1 min.
	Total time.Duration

	// Shun are URLs to whose hosts, whatever the port, redirects must not lead,
	// except to an upstream of this client. The client of private modules
	// shuns the public upstreams: some proxies send on to one what they do not
	// have.
	Shun []*url.URL

	// Credentials has the user and password for hosts of upstreams whose URL has
	// none, and of the database. Redirects do not look there. Nil: none.
	Credentials *netrc.Finder

	// MaxConns bounds the connections that are open at once, so that
	// descriptors are left for others. One host gets three quarters of them.
	// Default 864.
	MaxConns int

	// Logger gets each exchange at debug level. Default: none.
	Logger *slog.Logger
}

// A Client speaks HTTP to upstreams. It is safe for concurrent use.
type Client struct {
	header, total time.Duration
	credentials   *netrc.Finder
	pace          outbound.Pace
	pause         time.Duration // mean time before the second try
	logger        *slog.Logger
	dialer        *outbound.Dialer
	transport     *http.Transport
	http          *http.Client
}

// NewClient returns a client.
func NewClient(c Config) *Client {
	maxConns := cmp.Or(c.MaxConns, 864)
	dialer := outbound.NewDialer(maxConns)
	t := dialer.Transport()
	t.MaxConnsPerHost = max(1, maxConns*3/4)
	t.MaxIdleConnsPerHost = 16
	logger := c.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	pace := outbound.LeastPace
	pace.Silence = cmp.Or(c.Stall, pace.Silence)
	client := &Client{
		header:    cmp.Or(c.Header, 20*time.Second),
		pace:      pace,
		total:     cmp.Or(c.Total, time.Minute),
		pause:     300 * time.Millisecond,
		logger:    logger,
		dialer:    dialer,
		transport: t,

		credentials: c.Credentials,
	}
	client.http = &http.Client{Transport: t, CheckRedirect: client.checkRedirect(c.Shun)}
	return client
}

// Close closes idle connections. What is under way goes on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// ErrRedirect is wrapped by the error of a redirect that is not followed.
var ErrRedirect = errors.New("redirect refused")

// checkRedirect names hosts only: the rest of a redirect's URL may be a signed
// permission to read an object store.
func (c *Client) checkRedirect(shun []*url.URL) func(*http.Request, []*http.Request) error {
	shunned := make(map[string]bool)
	for _, u := range shun {
		// A URL whose host is malformed leads nowhere.
		if h, err := outbound.HostOf(u); err == nil {
			shunned[h.Name()] = true
		}
	}
	return func(r *http.Request, via []*http.Request) error {
		outbound.Strip(r, via)
		last := via[len(via)-1].URL
		if len(via) >= maxRedirects {
			return fmt.Errorf("%w: more than %d", ErrRedirect, maxRedirects)
		}
		if r.URL.Scheme != "https" && (r.URL.Scheme != "http" || last.Scheme == "https") {
			return fmt.Errorf("%w: from %s://%s to %s://%s", ErrRedirect, last.Scheme, last.Host, r.URL.Scheme, r.URL.Host)
		}
		if err := c.dialer.Check(r.URL); err != nil {
			return fmt.Errorf("%w: %w", ErrRedirect, err)
		}
		if h, err := outbound.HostOf(r.URL); err != nil || shunned[h.Name()] && !c.dialer.Named(r.URL) {
			return fmt.Errorf("%w: to %s, which must not hear of it", ErrRedirect, r.URL.Host)
		}
		return nil
	}
}

// get writes what u answers to a writer that begin returns, anew for each try.
// user is the user of the list's entry; name is u fit to be shown.
func (c *Client) get(ctx context.Context, u *url.URL, user *url.Userinfo, limit int64, begin func() (io.Writer, error)) error {
	name := outbound.Redact(u)
	for n := 1; ; n++ {
		w, err := begin()
		if err != nil {
			return err
		}
		start := time.Now()
		err = c.try(ctx, u, user, limit, w)
		c.logger.DebugContext(ctx, "asked upstream", "url", name, "try", n, "duration", time.Since(start), "err", err)
		e, ok := errors.AsType[*Error](err)
		if !ok {
			return err // nil, or ours
		}
		wait, again := c.again(e, n)
		if !again || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return &Error{URL: name, Err: ctx.Err()}
		}
	}
}

// again decides whether the n'th try, which failed with e, has a successor,
// and when. Silence has none: waiting once is enough.
func (c *Client) again(e *Error, n int) (wait time.Duration, again bool) {
	if n >= maxTries || e.RetryAfter > maxWait {
		return 0, false
	}
	switch e.Status {
	default:
		return 0, false
	case 0:
		if !transient(e) {
			return 0, false
		}
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	}
	// Jitter keeps those that failed together from coming back together.
	pause := c.pause << (n - 1)
	pause = pause/2 + rand.N(pause)
	return max(e.RetryAfter, pause), true
}

// transient reports whether an exchange without an answer may go better soon.
func transient(e *Error) bool {
	if e.Timeout() || errors.Is(e, context.Canceled) || errors.Is(e, ErrRedirect) || errors.Is(e, outbound.ErrRefused) || errors.Is(e, ErrTooLarge) {
		return false
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](e); ok {
		return false
	}
	dns, ok := errors.AsType[*net.DNSError](e)
	return !ok || !dns.IsNotFound
}

// try does one exchange. Its errors are *Error, except those of w.
func (c *Client) try(ctx context.Context, u *url.URL, user *url.Userinfo, limit int64, w io.Writer) error {
	asked := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(c.header, func() { cancel(outbound.ErrSilent) })
	defer timer.Stop()

	fail := func(err error) error {
		switch {
		case asked.Err() != nil:
			// Not its cause: that may be what another upstream said, its 404 even,
			// and is not to be taken for what this one says.
			err = asked.Err()
		case ctx.Err() != nil:
			err = context.Cause(ctx) // ours: silent, or slow
		}
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // its URL may be that of a redirect, with a signature in it
		}
		return &Error{URL: outbound.Redact(u), Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, "GET", u.String(), nil)
	if err != nil {
		return fail(err)
	}
	req.Header.Set("User-Agent", UserAgent)
	if user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	timer.Stop()
	body := outbound.NewBody(resp.Body, c.pace, cancel)

	if resp.StatusCode != http.StatusOK {
		e := &Error{
			URL:        outbound.Redact(u),
			Status:     resp.StatusCode,
			RetryAfter: retry.After(resp.Header.Get("Retry-After"), time.Now()),
		}
		// What others say, to whom an upstream sent us, is not for clients:
		// they might not be able to ask for it themselves.
		if c.dialer.Named(resp.Request.URL) {
			e.Text = errorText(resp.Header.Get("Content-Type"), body)
		}
		if reveals(e.Text, user) {
			e.Text = ""
		}
		return e
	}
	if resp.ContentLength > limit {
		return fail(fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, resp.ContentLength, limit))
	}
	return copyBody(w, body, limit, fail)
}

// reveals reports whether text holds the password that was sent, in plain or as
// Basic authentication has it: some servers say what they were told.
func reveals(text string, user *url.Userinfo) bool {
	if user == nil {
		return false
	}
	password, _ := user.Password()
	for _, secret := range []string{password, base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))} {
		if secret != "" && strings.Contains(text, secret) {
			return true
		}
	}
	return password == "" && user.Username() != "" && strings.Contains(text, user.Username()) // a token
}

// copyBody copies up to limit bytes. What goes wrong with r is given to fail;
// what goes wrong with w is returned as it is: it is ours.
func copyBody(w io.Writer, r io.Reader, limit int64, fail func(error) error) error {
	mine := &writerError{w: w}
	n, err := io.Copy(mine, io.LimitReader(r, limit+1))
	switch {
	case mine.err != nil:
		return mine.err
	case err != nil:
		return fail(err)
	case n > limit:
		return fail(fmt.Errorf("%w: limit %d", ErrTooLarge, limit))
	}
	return nil
}

// A writerError remembers the error of its writer, to tell it from a reader's.
type writerError struct {
	w   io.Writer
	err error
}

func (w *writerError) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err != nil {
		w.err = err
	}
	return n, err
}

// errorText returns what an error's body says to a human: its first paragraph,
// if it is plain text, or looks like it where its type is not said, and printable
// throughout. The text is shown on terminals, so escape sequences and direction
// overrides must not get through.
func errorText(contentType string, body io.Reader) string {
	// An error here means less text; the status has been had already.
	b, _ := io.ReadAll(io.LimitReader(body, 2*maxTextBytes))
	if contentType == "" {
		contentType = http.DetectContentType(b)
	}
	mediaType, params, _ := mime.ParseMediaType(contentType)
	if mediaType != "text/plain" {
		return ""
	}
	switch strings.ToLower(params["charset"]) {
	default:
		return ""
	case "", "utf-8", "us-ascii":
	}
	var text []string
	room := maxTextBytes
	for line := range strings.SplitSeq(string(b), "\n") {
		line = strings.TrimRight(line, " \t\r")
		if line == "" || len(text) == maxTextLines || room <= 0 {
			break
		}
		if len(line) > room {
			for room > 0 && !utf8.RuneStart(line[room]) {
				room--
			}
			line = line[:room] + "…"
		}
		if !printable(line) {
			return ""
		}
		room -= len(line)
		text = append(text, line)
	}
	return strings.Join(text, "\n")
}

func printable(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsGraphic(r) && r != '\t' {
			return false
		}
	}
	return true
}
