// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package mirror_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/internal/tlogproof"
	"example.org/sumlog/mirror/internal/mirrortest"
	"example.org/sumlog/mirror/upstream"
)

// TestProof verifies served proofs with what a client knows: the log's key, and the
// record.
func TestProof(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	key, err := checkpoint.ParseKey(w.log.VKey())
	if err != nil {
		t.Fatal(err)
	}
	trust := &policy.Policy{Logs: []policy.Log{{Key: key}}, Quorum: policy.None}
	var modules []mirrortest.Module
	for i := range 5 {
		modules = append(modules, w.admitted("example.com/Upper", fmt.Sprintf("v1.%d.0", i)))
	}
	other := w.admitted("example.com/b", "v2.0.0+incompatible")
	for i, m := range append(modules, other) {
		for _, path := range []string{"/", "/cached-only/"} {
			path += mirrortest.Name(m.Version, "tlog-proof")
			body, resp := w.get(path)
			if h := resp.Header; resp.StatusCode != 200 || h.Get("Content-Type") != "text/plain; charset=utf-8" || h.Get("Cache-Control") != "no-cache" || h.Get("Etag") != "" {
				t.Errorf("%s: %d %v", path, resp.StatusCode, h)
			}
			p, err := tlogproof.Parse([]byte(body))
			if err != nil {
				t.Fatalf("%s: %v\n%s", path, err, body)
			}
			if string(p.Extra) != string(m.Record(t).Text()) {
				t.Errorf("%s: with the record %q", path, p.Extra)
			}
			leaf := tlog.RecordHash(m.Record(t).Text())
			if _, err := p.Verify(trust, leaf); err != nil || p.Index != int64(i) {
				t.Errorf("%s: entry %d: %v", path, p.Index, err)
			}
			if _, err := p.Verify(trust, tlog.RecordHash([]byte("another"))); !errors.Is(err, tlogproof.ErrNotIncluded) {
				t.Errorf("%s: proves another record: %v", path, err)
			}
			if resp := w.do("HEAD", path); resp.StatusCode != 200 || resp.Header.Get("Content-Length") != fmt.Sprint(len(body)) {
				t.Errorf("HEAD %s: %d %v", path, resp.StatusCode, resp.Header)
			}
		}
	}
	// A proof is of the newest checkpoint, not of the one that was served first.
	path := "/" + mirrortest.Name(other.Version, "tlog-proof")
	before, _ := w.get(path)
	w.admitted("example.com/c", "v1.0.0")
	after, _ := w.get(path)
	if before == after || !strings.Contains(after, "\nlog.example\n7\n") {
		t.Errorf("after another entry: %s", after)
	}
}

// TestProofAdmitsNothing shows that asking for a proof changes nothing.
func TestProofAdmitsNothing(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	m := w.simple("example.com/a", "v1.0.0")
	before := w.public.Counts()
	for _, path := range []string{"/example.com/a/@v/v1.0.0.tlog-proof", "/cached-only/example.com/a/@v/v1.0.0.tlog-proof", "/example.com/a/@v/main.tlog-proof",
		"/example.com/a/@v/v1.0.tlog-proof", "/example.com/a/@v/.tlog-proof", "/example.com/a/@latest.tlog-proof", "/example.com/a/@v/list.tlog-proof"} {
		w.want(path, http.StatusNotFound, "")
	}
	if _, found, _ := w.log.Find(m.Version); found || len(w.public.Counts()) != len(before) {
		t.Errorf("logged: %v, asked upstream: %v", found, w.public.Counts())
	}
	w.public.Fail("", &upstream.Error{URL: "mem", Err: errors.New("connection refused")})
	w.want("/example.com/a/@v/v1.0.0.tlog-proof", http.StatusNotFound, "")
}
