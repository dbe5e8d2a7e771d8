// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.org/sumlog/internal/netrc"
	"example.org/sumlog/internal/outbound"
	"example.org/sumlog/internal/retry"
)

// An HTTPConfig configures an [HTTP]. The zero value is right for production.
type HTTPConfig struct {
	// Timeout bounds an exchange to the last byte of its body. Default 30 s.
	Timeout time.Duration

	// UserAgent is what logs see. Default "sumlog/1".
	UserAgent string

	// Credentials has the user and password for URLs without. Nil: none.
	Credentials *netrc.Finder

	// Patience is for how long, in all, a host may keep its readers waiting for
	// nothing: in exchanges that fail for a reason that may pass, in bodies below the
	// least rate, and by asking to come back later. Then it is asked no more, and the
	// error is an ErrImpatient. Answers that come in time make up for it. Default:
	// for ever.
	Patience time.Duration
}

// An HTTP reads from logs. It is safe for concurrent use and meant to be shared
// by all who read. What it is asked for is what the operator named: nobody else's
// URLs may come here, and redirects stay on the host that was asked.
type HTTP struct {
	client    *http.Client
	dialer    *outbound.Dialer
	transport *http.Transport
	timeout   time.Duration
	agent     string
	patience  patience

	credentials *netrc.Finder
}

// NewHTTP returns a reader of logs.
func NewHTTP(c HTTPConfig) *HTTP {
	dialer := outbound.NewDialer(0)
	t := dialer.Transport()
	t.MaxIdleConnsPerHost, t.MaxConnsPerHost = 8, 16
	h := &HTTP{
		client: &http.Client{Transport: t, CheckRedirect: checkRedirect}, dialer: dialer, transport: t,
		timeout: c.Timeout, agent: c.UserAgent, patience: patience{most: c.Patience}, credentials: c.Credentials,
	}
	if h.timeout == 0 {
		h.timeout = 30 * time.Second
	}
	if h.agent == "" {
		h.agent = "sumlog/1"
	}
	return h
}

// Close closes idle connections. What is under way goes on.
func (h *HTTP) Close() { h.transport.CloseIdleConnections() }

// Forgive forgets for how long hosts have kept readers waiting. It is for who begins
// anew after a while.
func (h *HTTP) Forgive() {
	h.patience.mu.Lock()
	defer h.patience.mu.Unlock()
	clear(h.patience.lost)
}

const maxRedirects = 3

// errRule is wrapped by the error of an answer that nobody who keeps the rules
// gives.
var errRule = errors.New("refused")

// checkRedirect keeps a log from sending its readers elsewhere: to a host within
// their own network, or to plain HTTP.
func checkRedirect(r *http.Request, via []*http.Request) error {
	outbound.Strip(r, via)
	first := via[0].URL
	if len(via) > maxRedirects {
		return fmt.Errorf("%w: more than %d redirects", errRule, maxRedirects)
	}
	if r.URL.Scheme != first.Scheme || !outbound.Same(r.URL, first) {
		return fmt.Errorf("%w: redirect to another host, %s://%s", errRule, r.URL.Scheme, r.URL.Host)
	}
	return nil
}

// A StatusError is an answer that is not 200.
type StatusError struct {
	URL        string // without password
	Status     int
	RetryAfter time.Duration // how long to stay away, at most a day; 0 if not said
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s: %d %s", e.URL, e.Status, http.StatusText(e.Status))
	if e.RetryAfter > 0 {
		s += fmt.Sprintf(", retry after %v", e.RetryAfter)
	}
	return s
}

// Is makes 404 and 410 the same as fs.ErrNotExist.
func (e *StatusError) Is(target error) bool {
	return target == fs.ErrNotExist && (e.Status == http.StatusNotFound || e.Status == http.StatusGone)
}

// Pause returns how long to wait after the n'th failure in a row, n ≥ 1, of
// which err is the last: least, doubled each time up to most, with jitter, so
// that those who failed together do not come back together; or as long as err
// asks for, up to an hour, if that is longer.
func Pause(n int, least, most time.Duration, err error) time.Duration {
	wait := least
	for ; n > 1 && wait < most; n-- {
		wait *= 2
	}
	wait = min(wait, most)
	wait = wait/2 + rand.N(wait/2+1)
	if e, ok := errors.AsType[*StatusError](err); ok {
		wait = max(wait, min(e.RetryAfter, time.Hour))
	}
	return wait
}

// Get returns what is at u, at most limit bytes of it. It asks once: how to go
// on after a failure is the caller's to decide, by the *[StatusError].
func (h *HTTP) Get(ctx context.Context, u *url.URL, limit int64) (data []byte, err error) {
	err = h.exchange(ctx, u, limit, nil, func(resp *http.Response, body io.Reader) error {
		data, err = readAll(body, limit, resp.ContentLength, nil)
		return err
	})
	return data, err
}

// MinRate is what [HTTP.Copy] takes, in bytes a second, on average over the
// timeout of an exchange: a server that gives less is cut off.
const MinRate = 64 << 10

// Copy writes what is at u, at most limit bytes of it, to w, and returns how many
// they were. It asks once. After an error, what was written means nothing.
func (h *HTTP) Copy(ctx context.Context, u *url.URL, limit int64, w io.Writer) (n int64, err error) {
	pace := &outbound.Pace{Silence: h.timeout, Rate: MinRate, Window: h.timeout}
	err = h.exchange(ctx, u, limit, pace, func(_ *http.Response, body io.Reader) error {
		if n, err = io.Copy(w, io.LimitReader(body, limit+1)); err != nil {
			return err
		}
		if n > limit {
			return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
		}
		return nil
	})
	return n, err
}

// exchange asks for u and has read read the body, decompressed, in time: all of it
// within the timeout, or at a pace.
func (h *HTTP) exchange(ctx context.Context, u *url.URL, limit int64, pace *outbound.Pace, read func(_ *http.Response, body io.Reader) error) error {
	if err := h.patience.left(u.Host); err != nil {
		return fmt.Errorf("%s: %w", outbound.Redact(u), err)
	}
	m := &meter{}
	start := time.Now()
	err := h.timed(ctx, u, limit, pace, m, read)
	if ctx.Err() == nil {
		h.patience.waited(u.Host, time.Since(start), m.slow(), err)
	}
	return err
}

// timed is exchange for who has patience left, with a body that m reads.
func (h *HTTP) timed(ctx context.Context, u *url.URL, limit int64, pace *outbound.Pace, m *meter, read func(_ *http.Response, body io.Reader) error) error {
	caller := ctx
	ctx, cancel := context.WithCancelCause(caller)
	defer cancel(nil)
	start := time.Now()
	timer := time.AfterFunc(h.timeout, func() {
		cancel(fmt.Errorf("no whole answer within %v: %w", time.Since(start).Round(time.Millisecond), context.DeadlineExceeded))
	})
	defer timer.Stop()
	body := func(r io.Reader) io.Reader {
		if pace != nil {
			timer.Stop()
			r = outbound.NewBody(r, *pace, cancel)
		}
		m.r = r
		return m
	}
	h.dialer.Name(u)
	err := h.ask(ctx, u, limit, body, read)
	if err == nil {
		return nil
	}
	if caller.Err() != nil {
		return context.Cause(caller)
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if _, ok := errors.AsType[*StatusError](err); ok {
		return err
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // its URL may be that of a redirect
	}
	return fmt.Errorf("%s: %w", outbound.Redact(u), err)
}

func (h *HTTP) ask(ctx context.Context, u *url.URL, limit int64, timed func(io.Reader) io.Reader, read func(*http.Response, io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, "GET", u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", h.agent)
	if user := h.credentials.For(u); user != nil && u.User == nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	// Said here, the transport leaves bodies as they are, so that the limit
	// is on both forms.
	req.Header.Set("Accept-Encoding", "gzip, identity")
	resp, err := h.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return &StatusError{outbound.Redact(u), resp.StatusCode, retry.After(resp.Header.Get("Retry-After"), time.Now())}
	}
	body := timed(resp.Body)
	switch enc := resp.Header.Get("Content-Encoding"); strings.ToLower(enc) {
	case "", "identity":
		return read(resp, body)
	case "gzip":
		// A stream can go on for ever without giving a byte: the limit on
		// what goes in is for that one.
		zr, err := gzip.NewReader(io.LimitReader(body, limit+limit/16+4096))
		if err != nil {
			return fmt.Errorf("gzip: %w", err)
		}
		return read(resp, zr)
	default:
		return fmt.Errorf("%w: content encoding %.40q", errRule, enc)
	}
}

// Source returns the log at prefix, an http:// or https:// URL.
func (h *HTTP) Source(prefix string) (Source, error) {
	u, err := ParseURL(prefix)
	if err != nil {
		return nil, err
	}
	return &httpSource{h, u.JoinPath("/")}, nil
}

// ParseURL parses an http:// or https:// URL without query.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("not a URL") // err may show a password
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, fmt.Errorf("%s: not an http:// or https:// URL", outbound.Redact(u))
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%s: a query or fragment has no meaning here", outbound.Redact(u))
	}
	return u, nil
}

// Join returns the URL of path below prefix. Whatever is in path stands for itself:
// no part of it is taken for an encoding, a query or a fragment.
func Join(prefix *url.URL, path string) *url.URL {
	return prefix.JoinPath((&url.URL{Path: path}).EscapedPath())
}

type httpSource struct {
	http   *HTTP
	prefix *url.URL // ends in a slash
}

func (s *httpSource) String() string { return strings.TrimSuffix(outbound.Redact(s.prefix), "/") }

func (s *httpSource) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	if !fs.ValidPath(path) || path == "." {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrInvalid}
	}
	return s.http.Get(ctx, Join(s.prefix, path), limit)
}
