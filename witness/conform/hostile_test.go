// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// hostile are witnesses that mean harm to who tests them. The last one answers
// most requests as a witness does.
var hostile = map[string]http.HandlerFunc{
	"hangs": func(rw http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body) // else the server does not see the client go
		<-req.Context().Done()
	},
	"hangs in the body": func(rw http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		io.WriteString(rw, "1")
		rw.(http.Flusher).Flush()
		<-req.Context().Done()
	},
	"drips": func(rw http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		for req.Context().Err() == nil {
			io.WriteString(rw, "— ")
			rw.(http.Flusher).Flush()
			time.Sleep(time.Millisecond)
		}
	},
	"never ends": func(rw http.ResponseWriter, req *http.Request) {
		b := []byte(strings.Repeat("— x AAAAAAAAAAAA\n", 4096))
		for {
			if _, err := rw.Write(b); err != nil {
				return
			}
		}
	},
	"never ends in 409": func(rw http.ResponseWriter, req *http.Request) {
		rw.WriteHeader(http.StatusConflict)
		for {
			if _, err := io.WriteString(rw, strings.Repeat("9", 4096)); err != nil {
				return
			}
		}
	},
	"closes": func(rw http.ResponseWriter, req *http.Request) { panic(http.ErrAbortHandler) },
	"large header": func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("X", strings.Repeat("x", 1<<20))
		rw.WriteHeader(http.StatusConflict)
	},
	"redirects": func(rw http.ResponseWriter, req *http.Request) {
		http.Redirect(rw, req, req.URL.Path, http.StatusTemporaryRedirect)
	},
	"compressed": func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("Content-Encoding", "gzip")
		rw.WriteHeader(http.StatusConflict)
		io.WriteString(rw, "\x1f\x8b\x08\x00garbage")
	},
	"always busy": func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("Retry-After", "0")
		rw.WriteHeader(http.StatusTooManyRequests)
	},
	"busy for ever": func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("Retry-After", "99999999999999999999")
		rw.WriteHeader(http.StatusServiceUnavailable)
	},
	"largest size": func(rw http.ResponseWriter, req *http.Request) {
		rw.WriteHeader(http.StatusConflict)
		io.WriteString(rw, "9223372036854775807\n")
	},
	"negative size": func(rw http.ResponseWriter, req *http.Request) {
		rw.WriteHeader(http.StatusConflict)
		io.WriteString(rw, "-1\n")
	},
	"random size": func(rw http.ResponseWriter, req *http.Request) {
		rw.WriteHeader(http.StatusConflict)
		fmt.Fprintf(rw, "%d\n", rand.Int64()>>rand.IntN(64))
	},
	"takes everything": func(rw http.ResponseWriter, req *http.Request) {},
	"takes everything in other words": func(rw http.ResponseWriter, req *http.Request) {
		io.WriteString(rw, "\x1b[2J— — —\n\n\n— x+y AAAA\n")
	},
	"any status": func(rw http.ResponseWriter, req *http.Request) {
		rw.WriteHeader([]int{200, 204, 299, 302, 400, 403, 404, 409, 422, 500, 599}[rand.IntN(11)])
		fmt.Fprintf(rw, "%d\n", rand.IntN(5000))
	},
}

// stopped are the limits that a run with them comes to.
var stopped = map[string]string{
	"hangs":             "context deadline exceeded",
	"hangs in the body": "context deadline exceeded",
	"drips":             "context deadline exceeded",
	"never ends":        "more than 262144 bytes",
	"never ends in 409": "more than 262144 bytes",
	"large header":      "headers exceeded",
	"redirects":         "status 307",
	"compressed":        "garbage",
	"busy for ever":     "status 503",
	"largest size":      "no room",
}

// Whatever a witness does, a run ends, soon, and does not pass.
func TestHostile(t *testing.T) {
	m := newMany(t)
	defer m.wait()
	for name, h := range hostile {
		m.run(name, func(t *testing.T) {
			srv := httptest.NewServer(h)
			defer srv.Close()
			err := hostileRun(t, newFake(t, "ed25519").config(t), srv.URL, "")
			if want := stopped[name]; want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%v, want %q", err, want)
			}
		})
		m.run("at times "+name, func(t *testing.T) {
			w := newFake(t, "ed25519")
			var n atomic.Int64
			srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
				if n.Add(1)%61 == 0 {
					h(rw, req)
					return
				}
				w.ServeHTTP(rw, req)
			}))
			defer srv.Close()
			hostileRun(t, w.config(t), srv.URL, name)
		})
	}
}

func hostileRun(t *testing.T, cfg Config, url, name string) error {
	cfg.URL, cfg.Restart = url, nil
	cfg.Timeout, cfg.Wait = 100*time.Millisecond, 100*time.Millisecond
	if name == "" {
		cfg.Timeout = time.Second // of which a limit is reached in less
	}
	start := time.Now()
	sum, err := Run(t.Context(), cfg, func(r Result) {
		if strings.ContainsAny(r.Detail, "\x1b\n") || len(r.Detail) > 1000 {
			t.Errorf("%s: %q is not fit to be printed", r.Name, r.Detail)
		}
	})
	t.Logf("%v, %v", sum, err)
	// One that is busy at times is waited for.
	if err == nil && sum.Failed == 0 && name != "always busy" {
		t.Errorf("%v, nil, want failures or an error", sum)
	}
	if d := time.Since(start); d > 90*time.Second {
		t.Errorf("took %v", d)
	}
	return err
}
