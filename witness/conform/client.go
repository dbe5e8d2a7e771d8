// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/outbound"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 2 * checkpoint.MaxNote

// An answer is what the witness said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string {
	return fmt.Sprintf("status %d (%.80q)", a.status, a.body)
}

// A client speaks to one witness.
type client struct {
	submit, monitor string
	timeout, wait   time.Duration
	http            *http.Client
	own             bool
}

func newClient(cfg Config) (*client, error) {
	dialer := outbound.NewDialer(0)
	c := &client{timeout: cfg.Timeout, wait: cfg.Wait, own: cfg.Client == nil}
	for _, p := range []struct {
		to   *string
		from string
	}{{&c.submit, cfg.URL}, {&c.monitor, cfg.Monitor}} {
		u, err := url.Parse(p.from)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("URL %.200q: not an http or https prefix", p.from)
		}
		dialer.Name(u)
		*p.to = strings.TrimSuffix(p.from, "/")
	}
	t := dialer.Transport()
	t.DisableCompression = true // a few bytes must not become many
	t.MaxIdleConnsPerHost, t.IdleConnTimeout = 2*racers, time.Minute
	hc := http.Client{Transport: t}
	if !c.own {
		hc = *cfg.Client
	}
	// A redirect is an answer, and a wrong one.
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &hc
	return c, nil
}

func (c *client) close() {
	if c.own {
		c.http.CloseIdleConnections()
	}
}

// post sends a body to the path below the submission prefix.
func (c *client) post(ctx context.Context, path string, body []byte) (answer, error) {
	return c.do(ctx, http.MethodPost, c.submit+"/"+path, body)
}

// head asks for the newest checkpoint of an origin.
func (c *client) head(ctx context.Context, origin string) (answer, error) {
	return c.do(ctx, http.MethodGet, c.headURL(origin), nil)
}

func (c *client) headURL(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return c.monitor + "/" + hex.EncodeToString(sum[:]) + "/checkpoint"
}

// do sends a request, again for as long as the witness asks for patience and the
// client has it: limits of rate are no fault.
func (c *client) do(ctx context.Context, method, url string, body []byte) (answer, error) {
	until := time.Now().Add(c.wait)
	for {
		a, err := c.once(ctx, method, url, body)
		if err != nil {
			return answer{}, err
		}
		after, ok := a.retryAfter()
		if !ok || time.Now().Add(after).After(until) {
			return a, nil
		}
		if err := sleep(ctx, after); err != nil {
			return answer{}, err
		}
	}
}

// retryAfter returns how long a witness that is busy wants to be left alone.
func (a answer) retryAfter() (time.Duration, bool) {
	s := a.header.Get("Retry-After")
	if a.status != http.StatusTooManyRequests && (a.status != http.StatusServiceUnavailable || s == "") {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		n = 1
	}
	return max(time.Duration(n)*time.Second, 50*time.Millisecond), true
}

// errNoAnswer says that the witness did not answer, or not within the limits.
var errNoAnswer = errors.New("no answer")

func (c *client) once(ctx context.Context, method, url string, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %v", errNoAnswer, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return answer{}, fmt.Errorf("%w: status %d, then %v", errNoAnswer, resp.StatusCode, err)
	}
	if len(b) > maxAnswer {
		return answer{}, fmt.Errorf("%w: status %d with more than %d bytes", errNoAnswer, resp.StatusCode, maxAnswer)
	}
	return answer{resp.StatusCode, resp.Header, b}, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
