// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestCutOff sends bodies that end before they are whole, at the end of a line
// where what has arrived is a good request. Whoever sent it has not said so.
func TestCutOff(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	srv := httptest.NewServer(r.w)
	defer srv.Close()
	r.mustAdd(l, 0, 0, 5)
	whole := string(l.request(0, 0, 5).Bytes())
	for _, tt := range []struct {
		name, head, body string
		status           int
	}{
		{"whole", fmt.Sprintf("Content-Length: %d", len(whole)), whole, 409},
		{"whole in chunks", "Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(whole), whole), 409},
		{"cut off", fmt.Sprintf("Content-Length: %d", len(whole)+100), whole, 400},
		{"cut off between chunks", "Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s\r\n", len(whole), whole), 400},
		{"cut off in a chunk", "Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s", len(whole)+100, whole), 400},
	} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "POST /add-checkpoint HTTP/1.1\r\nHost: w.example\r\n%s\r\n\r\n%s", tt.head, tt.body)
		conn.(*net.TCPConn).CloseWrite()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if resp.StatusCode != tt.status {
			t.Errorf("%s: status %d, not %d", tt.name, resp.StatusCode, tt.status)
		}
		resp.Body.Close()
		conn.Close()
	}
}
