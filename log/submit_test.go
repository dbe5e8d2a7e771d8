// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/testdisk"
)

// TestAuditedRace has many submissions of all sizes at once: the largest stays.
func TestAuditedRace(t *testing.T) {
	dir := newDir(t)
	l := startAudited(t, dir, 1)
	var ps []*Publication
	for i := range 12 {
		fill(t, l, i, i+1)
		ps = append(ps, l.Published())
	}
	var wg sync.WaitGroup
	for i, p := range ps {
		body := func(old int64) []byte {
			proof, err := l.tree.prove(old, p.Size)
			if err != nil {
				t.Error(err)
			}
			return checkpoint.AddRequest{Old: old, Proof: proof, Note: cosign(p.Checkpoint, auditor(0), int64(100+i))}.Bytes()
		}
		wg.Go(func() {
			old := int64(0)
			for {
				rec := submit(l, body(old))
				if rec.Code == http.StatusOK {
					return
				}
				if _, err := fmt.Sscan(rec.Body.String(), &old); rec.Code != http.StatusConflict || err != nil {
					t.Errorf("%d %s", rec.Code, rec.Body)
					return
				}
				if old > p.Size {
					return // overtaken
				}
			}
		})
	}
	wg.Wait()
	wantAudited(t, l, 12, map[int]int64{0: 111})
	closeLog(t, l)
	l = startAudited(t, dir, 1)
	defer closeLog(t, l)
	wantAudited(t, l, 12, map[int]int64{0: 111})
}

// TestAuditedFullDisk lets the disk be full. The auditor is told so, what was kept
// stays, and publications go on as soon as they can.
func TestAuditedFullDisk(t *testing.T) {
	if !testdisk.Enter(t) {
		return
	}
	d := mountDisk(t, filepath.Join(t.TempDir(), "disk"), 2000, 2000)
	dir := filepath.Join(d.dir, "d")
	if _, err := Create(CreateConfig{Dir: dir, Name: "sum.example.org/test"}); err != nil {
		t.Fatal(err)
	}
	l := startAudited(t, dir, 1)
	defer func() { closeLog(t, l) }()
	fill(t, l, 0, 3)
	a := auditor(0)
	wantTaken(t, l, submission(l, a, l.Published(), 100))
	fill(t, l, 3, 6)
	closeLog(t, l)
	// Without anything in the background that frees space or takes it.
	var err error
	if l, err = Open(Config{Dir: dir, Auditors: auditorKeys(1)}); err != nil {
		t.Fatal(err)
	}
	body := submission(l, a, l.Published(), 200)
	for _, full := range []func(int){d.fill, d.fillFiles} {
		full(0)
		rec := submit(l, body)
		if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" || strings.Contains(rec.Body.String(), "space") {
			t.Errorf("%d %v %s", rec.Code, rec.Header(), rec.Body)
		}
		wantAudited(t, l, 3, map[int]int64{0: 100})
		d.empty()
	}
	wantTaken(t, l, body)
	wantAudited(t, l, 6, map[int]int64{0: 200})
	closeLog(t, l)
	l = startAudited(t, dir, 1)
	wantAudited(t, l, 6, map[int]int64{0: 200})
	fill(t, l, 6, 9)
}

// TestAuditedUnwritable shows that publishing does not depend on what auditors send,
// nor on whether it can be kept.
func TestAuditedUnwritable(t *testing.T) {
	dir := newDir(t)
	l := startAudited(t, dir, 1)
	defer func() { closeLog(t, l) }()
	fill(t, l, 0, 3)
	// A file where the directory belongs.
	if err := os.WriteFile(filepath.Join(dir, auditedDir), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if rec := submit(l, submission(l, auditor(0), l.Published(), 100)); rec.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	// Somebody who holds the lock of auditors, as a slow disk would.
	l.audited.mu.Lock()
	fill(t, l, 3, 9)
	if l.Published().Size != 9 {
		t.Errorf("published %d", l.Published().Size)
	}
	if _, err := get(l, "/checkpoint/audited"); err == nil {
		t.Error("what could not be kept is shown")
	}
	l.audited.mu.Unlock()
}

// TestSlowSubmission sends bodies that never end, over real connections.
func TestSlowSubmission(t *testing.T) {
	l := startAudited(t, newDir(t), 1)
	defer closeLog(t, l)
	l.patience = 100 * time.Millisecond
	srv := httptest.NewServer(l)
	defer srv.Close()
	for _, c := range []struct {
		sent, status int
	}{{maxSubmission + 1, http.StatusRequestEntityTooLarge}, {10, http.StatusBadRequest}} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /audited/add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
		// What is more than the limit may be refused while it is being sent.
		conn.Write(make([]byte, c.sent))
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		r := bufio.NewReader(conn)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Errorf("after %d bytes: %v", c.sent, err)
			continue
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != c.status || !resp.Close {
			t.Errorf("after %d bytes: %s, close %v, %v", c.sent, resp.Status, resp.Close, err)
		}
		if _, err := r.ReadByte(); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after %d bytes the connection stays: %v", c.sent, err)
		}
	}
}

// FuzzSubmission sends any body: never an internal error, and what is shown stays.
func FuzzSubmission(f *testing.F) {
	dir := newDir(f)
	l, err := Open(Config{Dir: dir, Auditors: auditorKeys(2)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	p := l.Published()
	good := submission(l, auditor(0), p, 100)
	f.Add(good)
	f.Add(good[:len(good)-2])
	f.Add([]byte("old 0\n\n"))
	f.Add(submission(l, auditor(1), p, 1))
	f.Fuzz(func(t *testing.T, body []byte) {
		rec := submit(l, body)
		switch rec.Code {
		case 200, 400, 403, 404, 409, 413, 422:
		default:
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
		if n := l.audited.newest(); n != nil {
			if _, err := checkpoint.ParseNote(n); err != nil {
				t.Errorf("%v:\n%s", err, n)
			}
		}
	})
}
