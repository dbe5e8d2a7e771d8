// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/testauthority"
)

// TestScripts runs the scripts in testdata/script against the real binary. Their
// commands, beside the usual ones:
//
//	authority             start a checksum authority in which nothing is wrong: sets
//	                      $url and $vkey, and writes the file policy, which asks for
//	                      two of three witnesses, and go.sum, of its first module
//	locked USER PASSWORD  from now on it is 401 without them
//	asked TEXT            a path that it was asked for must have TEXT in it
//	break FAULT           make it lie: see internal/testauthority
//	grow N                have it publish N more modules
//	sumdb N               start an x/mod sumdb.Server with N records: sets $url, $vkey
//	files DIR             write the log of the authority as files, as tlog-tiles
//	until FILE TEXT       wait until the file has the text
//	metrics FILE          print the metrics of the process that wrote FILE to stderr
//	fails CODE COMMAND... COMMAND must exit with CODE
//	usage COMMAND...      COMMAND must exit with 2
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setupScript,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"authority": scriptAuthority,
			"break":     scriptBreak,
			"grow":      scriptGrow,
			"sumdb":     scriptSumDB,
			"files":     scriptFiles,
			"asked":     scriptAsked,
			"locked":    scriptLocked,
			"until":     scriptUntil,
			"metrics":   scriptMetrics,
			"fails":     scriptFails,
			"usage":     scriptUsage,

			"keep":       scriptKeep,
			"keeplookup": scriptKeepLookup(false),
			"keepother":  scriptKeepLookup(true),
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// scriptKey is where a script keeps its state.
type scriptKey struct{}

type script struct {
	authority *testauthority.Authority

	mu    sync.Mutex
	asked []string // of the authority
	lock  []string // user and password
}

// ServeHTTP is the authority's, and remembers what was asked for.
func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.URL.Path)
	lock := s.lock
	s.mu.Unlock()
	if user, password, _ := r.BasicAuth(); lock != nil && (user != lock[0] || password != lock[1]) {
		http.Error(w, fmt.Sprintf("not with %q", password), http.StatusUnauthorized)
		return
	}
	s.authority.ServeHTTP(w, r)
}

func setupScript(env *testscript.Env) error {
	env.Values[scriptKey{}] = &script{}
	env.Setenv("GORACE", os.Getenv("GORACE"))
	return nil
}

func scriptOf(ts *testscript.TestScript) *script { return ts.Value(scriptKey{}).(*script) }

func scriptAuthority(ts *testscript.TestScript, neg bool, args []string) {
	s := scriptOf(ts)
	if neg || len(args) > 0 || s.authority != nil {
		ts.Fatalf("usage: authority, once")
	}
	s.authority = testauthority.New(testauthority.Config{})
	srv := httptest.NewServer(s)
	ts.Defer(srv.Close)
	ts.Setenv("url", srv.URL)
	ts.Setenv("vkey", s.authority.VKey())
	ts.Check(os.WriteFile(ts.MkAbs("policy"), []byte(s.authority.Policy(2, "")), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("go.sum"), s.authority.Entry(0), 0o644))
}

func scriptLocked(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: locked USER PASSWORD")
	}
	s := scriptOf(ts)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lock = args
}

func scriptAsked(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: asked TEXT")
	}
	s := scriptOf(ts)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, path := range s.asked {
		if strings.Contains(path, args[0]) {
			if neg {
				ts.Fatalf("asked for %s", path)
			}
			return
		}
	}
	if !neg {
		ts.Fatalf("not asked for %q, but for %q", args[0], s.asked)
	}
}

func scriptBreak(ts *testscript.TestScript, neg bool, args []string) {
	s := scriptOf(ts)
	if neg || len(args) != 1 || s.authority == nil {
		ts.Fatalf("usage: break FAULT, of an authority")
	}
	s.authority.Break(testauthority.Fault(args[0]))
}

func scriptGrow(ts *testscript.TestScript, neg bool, args []string) {
	s := scriptOf(ts)
	if neg || len(args) != 1 || s.authority == nil {
		ts.Fatalf("usage: grow N, of an authority")
	}
	n, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	s.authority.Grow(n)
	s.authority.Publish()
}

func scriptSumDB(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sumdb N")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	skey, vkey, err := note.GenerateKey(nil, "sum.example")
	ts.Check(err)
	srv := httptest.NewServer(sumdb.NewServer(sumdb.NewTestServer(skey, func(path, version string) ([]byte, error) {
		const hash = "h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
		return fmt.Appendf(nil, "%s %s %s\n%[1]s %[2]s/go.mod %[3]s\n", path, version, hash), nil
	})))
	ts.Defer(srv.Close)
	for i := range n {
		ts.Check(status(fmt.Sprintf("%s/lookup/example.com/m@v1.0.%d", srv.URL, i), 200))
	}
	ts.Setenv("url", srv.URL)
	ts.Setenv("vkey", vkey)
}

func scriptFiles(ts *testscript.TestScript, neg bool, args []string) {
	s := scriptOf(ts)
	if neg || len(args) != 1 || s.authority == nil {
		ts.Fatalf("usage: files DIR, of an authority")
	}
	paths := []string{"checkpoint"}
	for _, t := range tlog.NewTiles(8, 0, s.authority.Published().Size) {
		path := strings.TrimPrefix(t.Path(), "tile/8/")
		paths = append(paths, "tile/"+path)
		if entries, ok := strings.CutPrefix(path, "0/"); ok {
			paths = append(paths, "tile/entries/"+entries)
		}
	}
	for _, path := range paths {
		w := httptest.NewRecorder()
		s.authority.ServeHTTP(w, httptest.NewRequest("GET", "/"+path, nil))
		if w.Code != 200 {
			ts.Fatalf("%s: %d", path, w.Code)
		}
		file := filepath.Join(ts.MkAbs(args[0]), filepath.FromSlash(path))
		ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
		ts.Check(os.WriteFile(file, w.Body.Bytes(), 0o644))
	}
}

func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: until FILE TEXT")
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		text, _ := os.ReadFile(ts.MkAbs(args[0]))
		if strings.Contains(string(text), args[1]) {
			ts.Stdout().Write(text)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no %q in time, but %s", args[1], text)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func scriptMetrics(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: metrics FILE")
	}
	_, rest, _ := strings.Cut(ts.ReadFile(args[0]), "serving metrics addr=")
	addr, _, ok := strings.Cut(rest, "\n")
	if !ok {
		ts.Fatalf("no address in %s", args[0])
	}
	resp, err := rigClient.Get("http://" + addr + "/metrics")
	ts.Check(err)
	defer resp.Body.Close()
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
}

func scriptFails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fails CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		ts.Fatalf("it did not fail: %v", err)
	}
	if got := fmt.Sprint(exit.ExitCode()); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

func scriptUsage(ts *testscript.TestScript, neg bool, args []string) {
	scriptFails(ts, neg, append([]string{"2"}, args...))
}
