// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/testbastion"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"
)

// The commands of scripts that talk to the server, or are logs.

// A testLog is a log, and what of it the witness has.
type testLog struct {
	*tlogtest.Log
	served atomic.Pointer[tlogtest.Log] // the same, for its server
	branch string
	shown  tlogclient.Head
	had    tlogclient.Head
}

func scriptGet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: get PATH [STATUS]")
	}
	want := "200"
	if len(args) == 2 {
		want = args[1]
	}
	status, text := fetch(ts, args[0])
	io.WriteString(ts.Stdout(), text)
	if fmt.Sprint(status) != want {
		ts.Fatalf("GET %s: %d, want %s: %s", args[0], status, want, text)
	}
}

func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: until TEXT PATH")
	}
	await(ts, args[0], func() string {
		_, text := fetch(ts, args[1])
		return text
	})
}

// fetch returns the answer to a GET. /NAME/checkpoint, with the name of a log, is
// where its cosigned checkpoint is.
func fetch(ts *testscript.TestScript, path string) (status int, text string) {
	if name, ok := strings.CutSuffix(strings.TrimPrefix(path, "/"), "/checkpoint"); ok && stateOf(ts).logs[name] != nil {
		path = fmt.Sprintf("/%x/checkpoint", sha256.Sum256([]byte(stateOf(ts).logs[name].Origin)))
	}
	if !strings.Contains(path, "://") {
		path = ts.Getenv("server") + path
	}
	client := stateOf(ts).client
	if file := ts.Getenv("SSL_CERT_FILE"); file != "" {
		pem, err := os.ReadFile(file)
		ts.Check(err)
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	}
	resp, err := client.Get(path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if resp.TLS != nil {
		fmt.Fprintf(&b, "Serial: %v\n", resp.TLS.PeerCertificates[0].SerialNumber)
	}
	resp.Header.Write(&b)
	b.WriteString("\r\n")
	_, err = io.Copy(&b, resp.Body)
	ts.Check(err)
	return resp.StatusCode, b.String()
}

func scriptLog(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	layout := tlogclient.Tiles
	if len(args) == 2 && args[1] == "database" {
		layout = tlogclient.Database
	} else if neg || len(args) != 1 {
		ts.Fatalf("usage: log NAME [database]")
	}
	name := args[0]
	l := &testLog{Log: tlogtest.New(s.t, name, layout), branch: "a"}
	l.shown = l.Head(0)
	l.had = l.shown
	l.served.Store(l.Log)
	s.logs[name] = l
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.served.Load().ServeHTTP(w, r) }))
	ts.Defer(srv.Close)
	v := strings.ReplaceAll(name, ".", "_")
	ts.Setenv("vkey_"+v, l.Key.String())
	ts.Setenv("url_"+v, srv.URL)
}

// logArg returns the log and the size that a command names.
func logArg(ts *testscript.TestScript, neg bool, args []string) (*testLog, int64) {
	if neg || len(args) != 2 || stateOf(ts).logs[args[0]] == nil {
		ts.Fatalf("usage: COMMAND NAME SIZE")
	}
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	return stateOf(ts).logs[args[0]], n
}

func scriptGrow(ts *testscript.TestScript, neg bool, args []string) {
	l, n := logArg(ts, neg, args)
	l.Grow(l.branch, n)
	l.shown = l.Head(n)
}

func scriptFork(ts *testscript.TestScript, neg bool, args []string) {
	l, n := logArg(ts, neg, args)
	l.Log = l.Fork(n)
	l.served.Store(l.Log)
	l.branch += "'"
	l.shown = l.Head(n)
}

func scriptSubmit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 || stateOf(ts).logs[args[0]] == nil {
		ts.Fatalf("usage: submit NAME [STATUS]")
	}
	want := "200"
	if len(args) == 2 {
		want = args[1]
	}
	l := stateOf(ts).logs[args[0]]
	client, err := tlogclient.New(tlogclient.Config{Source: l.Log, Layout: l.Layout, Origin: l.Origin, Keys: []*checkpoint.Key{l.Key}})
	ts.Check(err)
	req := checkpoint.AddRequest{Old: l.had.Size, Note: l.shown.Note}
	if l.had.Size > 0 && l.had.Size < l.shown.Size {
		_, req.Proof, err = client.Prove(context.Background(), l.had.Size, l.shown.Tree())
		ts.Check(err)
	}
	resp, err := stateOf(ts).client.Post(ts.Getenv("server")+"/add-checkpoint", "text/plain", bytes.NewReader(req.Bytes()))
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	ts.Stdout().Write(body)
	if fmt.Sprint(resp.StatusCode) != want && (want != "refused" || resp.StatusCode < 400) {
		ts.Fatalf("%s, want %s: %s", resp.Status, want, body)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		l.had = l.shown
	case http.StatusConflict: // from here, then, the next time
		n, err := strconv.ParseInt(strings.TrimSpace(string(body)), 10, 64)
		ts.Check(err)
		l.had = l.Head(n)
	}
}

func scriptCopy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || stateOf(ts).logs[args[0]] == nil {
		ts.Fatalf("usage: copy NAME DIR")
	}
	path := fmt.Sprintf("%x/checkpoint", sha256.Sum256([]byte(stateOf(ts).logs[args[0]].Origin)))
	status, text := fetch(ts, "/"+path)
	if status != http.StatusOK {
		ts.Fatalf("status %d: %s", status, text)
	}
	_, body, _ := strings.Cut(text, "\r\n\r\n")
	file := filepath.Join(ts.MkAbs(args[1]), path)
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	ts.Check(os.WriteFile(file, []byte(body), 0o644))
}

func scriptStatic(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: static DIR")
	}
	srv := httptest.NewServer(http.FileServer(http.Dir(ts.MkAbs(args[0]))))
	ts.Defer(srv.Close)
	ts.Setenv("static", srv.URL)
}

func scriptBastion(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: bastion")
	}
	b, err := testbastion.Start()
	ts.Check(err)
	ts.Defer(b.Stop)
	file := ts.MkAbs("bastion.pem")
	ts.Check(os.WriteFile(file, b.CertPEM(), 0o600))
	ts.Setenv("SSL_CERT_FILE", file)
	ts.Setenv("bastion", b.Addr())
}

func scriptHang(ts *testscript.TestScript, neg bool, args []string) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(ts.Getenv("server"), "http://"))
	ts.Check(err)
	ts.Defer(func() { conn.Close() })
	_, err = io.WriteString(conn, "POST /add-checkpoint HTTP/1.1\r\nHost: w.test\r\nContent-Length: 100\r\n\r\nold ")
	ts.Check(err)
}
