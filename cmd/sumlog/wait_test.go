// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"example.org/sumlog/internal/testupstream"
)

// TestWait has a zip come steadily for six seconds. Whoever asks for it waits as
// long as -wait says: with three seconds he is told to come back, and the work goes
// on; with the default, the go command has it at its first try.
func TestWait(t *testing.T) {
	t.Parallel()
	const took = 6 * time.Second
	for name, test := range map[string]struct {
		flags []string
		run   func(t *testing.T, up *testupstream.Server, url string)
	}{
		"short": {[]string{"-wait", "3s"}, func(t *testing.T, up *testupstream.Server, url string) {
			for _, file := range []string{"zip", "mod"} { // without a database, the .mod waits for the zip
				began := time.Now()
				resp, err := killClient.Get(url + "/example.com/slow/@v/v1.0.0." + file)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
				if d := time.Since(began); resp.StatusCode != 503 || after < 1 || d < time.Second || d > took-time.Second {
					t.Errorf("after %v: %d %s, Retry-After %d", d, resp.StatusCode, body, after)
				}
				if file == "zip" {
					began := time.Now()
					if status, err := statusOf(url + "/lookup/example.com/quick@v1.0.0"); err != nil || status != 200 || time.Since(began) > 3*time.Second {
						t.Errorf("meanwhile, another module: %d, %v after %v", status, err, time.Since(began))
					}
				}
			}
			eventually(t, "the work went on", func() error {
				_, err := fetchOK(url + "/example.com/slow/@v/v1.0.0.zip")
				return err
			})
			if n := len(up.Requests("/example.com/slow/*.zip")); n != 1 {
				t.Errorf("the zip was asked for %d times", n)
			}
		}},
		"default": {nil, func(t *testing.T, up *testupstream.Server, url string) {
			s := side{"through sumlog", t.TempDir(), url}
			if out := s.run(t, "slow", "module example.net/main\n", "", "mod", "download", "-json", "example.com/slow@v1.0.0"); !strings.Contains(string(out), `"Sum": "h1:`) {
				t.Errorf("go mod download: %s", out)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := slowUpstream(t, "example.com/slow@v1.0.0", fstest.MapFS{
				"example.com/quick@v1.0.0/go.mod": {Data: []byte("module example.com/quick\n")},
				"example.com/slow@v1.0.0/go.mod":  {Data: []byte("module example.com/slow\n")},
			}, took)
			test.run(t, up, serveNew(t, append([]string{"-upstream", up.URL, "-sumdb", "off"}, test.flags...)...))
		})
	}
}

// TestSlowToolchain downloads a toolchain over a slow line: it takes longer than a
// lookup may, and the go command, which does not try again, has it at the first try.
func TestSlowToolchain(t *testing.T) {
	if os.Getenv("CI") != "true" {
		t.Skip("it takes 40 seconds, and runs with CI=true")
	}
	t.Parallel()
	m := fmt.Sprintf("golang.org/toolchain@v0.0.1-go1.99.0.%s-%s", runtime.GOOS, runtime.GOARCH)
	script := &fstest.MapFile{Data: []byte("#!/bin/sh\necho this is go1.99.0\n")}
	up := slowUpstream(t, m, fstest.MapFS{
		m + "/bin/go":     script,
		m + "/bin/gofmt":  script,
		m + "/lib/README": script,
		m + "/pkg/tool/" + runtime.GOOS + "_" + runtime.GOARCH + "/compile": script,
	}, 36*time.Second)
	dir := filepath.Join(t.TempDir(), "d")
	url := serveNew(t, "-dir", dir, "-upstream", up.URL, "-sumdb", up.VKey)
	vars, err := exec.Command("sumlog", "env", "-json", "-dir", dir, "-url", url).Output()
	if err != nil {
		t.Fatal(err)
	}
	var env map[string]string
	if err := json.Unmarshal(vars, &env); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "version")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "GOENV=off", "GOWORK=off", "GOFLAGS=-modcacherw", "GOTELEMETRY=off", "PWD="+cmd.Dir,
		"GOTOOLCHAIN=go1.99.0", "GOPATH="+filepath.Join(cmd.Dir, "gopath"), "GOMODCACHE="+filepath.Join(cmd.Dir, "cache"))
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "go: downloading go1.99.0 ("+runtime.GOOS+"/"+runtime.GOARCH+")\nthis is go1.99.0\n" {
		t.Errorf("after %v: %v\n%s", time.Since(began).Round(time.Second), err, out)
	}
	if d := time.Since(began); err == nil && d < 30*time.Second {
		t.Errorf("it came in %v, and shows nothing", d)
	}
}

// slowUpstream serves a tree, with a large file in m's zip, which takes so long to
// come.
func slowUpstream(t *testing.T, m string, tree fstest.MapFS, took time.Duration) *testupstream.Server {
	const size, steps = 2 << 20, 100
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(data) // so that it stays as large in a zip
	tree[m+"/data"] = &fstest.MapFile{Data: data}
	up, err := testupstream.New("sum.example.net", tree)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Stop)
	path, _, _ := strings.Cut(m, "@")
	up.Fault("/"+path+"/*.zip", 0, testupstream.Trickle(size/steps, took/steps))
	return up
}

func statusOf(url string) (int, error) {
	resp, err := killClient.Get(url)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
