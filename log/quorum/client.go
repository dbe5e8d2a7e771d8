// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package quorum

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.org/sumlog/internal/outbound"
	"example.org/sumlog/internal/retry"
)

// newClient returns a client that connects by d and follows no redirects, and what
// closes its idle connections. A witness that redirects could make this process
// ask whatever it can reach.
func newClient(c *http.Client, d *outbound.Dialer) (*http.Client, func()) {
	var own http.Client
	idle := func() {}
	if c != nil {
		own = *c
	} else {
		t := d.Transport()
		t.MaxIdleConnsPerHost = 4
		t.IdleConnTimeout = 2 * time.Minute
		t.MaxResponseHeaderBytes = 16 << 10
		t.DisableCompression = true
		own.Transport, idle = t, t.CloseIdleConnections
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own, idle
}

// prefix checks the submission prefix of a witness, names its host to d, and cuts
// the slash at its end.
func prefix(s string, d *outbound.Dialer) (string, error) {
	if s == "" {
		return "", errors.New("it has no URL")
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", err
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.ContainsAny(s, "?#") {
		return "", fmt.Errorf("URL %q: not http or https, a host and a path", s)
	}
	d.Name(u)
	return strings.TrimRight(s, "/"), nil
}

// An answer is a response that was read whole.
type answer struct {
	status int
	kind   string // Content-Type
	body   []byte
	wait   time.Duration // Retry-After
}

// do sends a request and reads the answer, both bounded.
func (m *member) do(ctx context.Context, method, path string, body []byte) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, m.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "sumlog")
	broken := func(err error) error {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fail(timedOut, "no answer within %v", timeout)
		}
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL
		}
		return fail(unreachable, "%s", line(err.Error()))
	}
	resp, err := m.q.client.Do(req)
	if err != nil {
		return nil, broken(err)
	}
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode, kind: resp.Header.Get("Content-Type"), wait: min(retry.After(resp.Header.Get("Retry-After"), time.Now()), maxWait)}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, broken(err)
	}
	if len(a.body) > maxAnswer {
		return nil, fail(garbage, "more than %d bytes", maxAnswer)
	}
	return a, nil
}

// size returns the size in the answer to a conflict.
func (a *answer) size() (int64, error) {
	if a.kind != "text/x.tlog.size" {
		return 0, fail(garbage, "409 with content type %.40q", a.kind)
	}
	s, _ := strings.CutSuffix(string(a.body), "\n")
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10)+"\n" != string(a.body) {
		return 0, fail(garbage, "409 with %.40q for a size", a.body)
	}
	return n, nil
}

// refusal returns the failure that an answer other than those of the protocol's
// success is.
func (a *answer) refusal() *failure {
	f := fail(refused, "%d: %s", a.status, a.text())
	if a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable && a.wait > 0 {
		f.outcome, f.wait = rateLimited, a.wait
	}
	return f
}

// text returns the beginning of the answer for an error or a log.
func (a *answer) text() string {
	s, _, _ := strings.Cut(string(a.body), "\n")
	return fmt.Sprintf("%.100q", s)
}

// line makes one short printable line of s.
func line(s string) string {
	q := fmt.Sprintf("%.200q", s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}
