// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"
)

// A floorSpec says what a floor server serves.
type floorSpec struct {
	Body    []byte // the answer to everything, from memory
	Type    string // its Content-Type
	Records int64  // answers to the lookups of that many records, from a map
	Every   int64  // of each Every-th record only
	Head    []byte // end of each of those answers
	Files   string // files below this directory, with ServeContent
	Tree    string // the same with FileServer
}

// floor starts a plain net/http server: the least that a server in Go costs.
func (b *bench) floor(spec floorSpec) (*serving, error) {
	cmd, err := b.floorCommand(spec)
	if err != nil {
		return nil, err
	}
	return start(b.ctx, cmd, floorMark)
}

// floorMark is what stands before the address that a floor server prints.
const floorMark = "serving http://"

func (b *bench) floorCommand(spec floorSpec) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(b.temp, "floor-")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := file.Write(text); err != nil {
		return nil, err
	}
	return exec.Command(self, "floor", "-spec", file.Name()), nil
}

func runFloor(args []string) error {
	f := flag.NewFlagSet("floor", flag.ContinueOnError)
	path := f.String("spec", "", "what to serve")
	if err := f.Parse(args); err != nil {
		return err
	}
	text, err := os.ReadFile(*path)
	if err != nil {
		return err
	}
	var spec floorSpec
	if err := json.Unmarshal(text, &spec); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: spec.handler(), ReadHeaderTimeout: 10 * time.Second}
	fmt.Printf(floorMark+"%s\n", ln.Addr())
	return srv.Serve(ln)
}

func (spec floorSpec) handler() http.Handler {
	switch {
	case spec.Tree != "":
		return http.FileServer(http.Dir(spec.Tree))
	case spec.Files != "":
		return serveFiles(spec.Files, spec.Type)
	case spec.Records > 0:
		return serveMap(spec.answers())
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Without a length, net/http would send what is larger than its buffer
		// in chunks.
		h := w.Header()
		h.Set("Content-Type", spec.Type)
		h.Set("Content-Length", fmt.Sprint(len(spec.Body)))
		w.Write(spec.Body)
	})
}

// serveMap serves finished answers.
func serveMap(answers map[string][]byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write(answer)
	})
}

// answers makes what sumlog answers, but for the indexes: the log may have the
// records in another order.
func (spec floorSpec) answers() map[string][]byte {
	answers := make(map[string][]byte, spec.Records/spec.Every)
	for i := int64(0); i < spec.Records; i += spec.Every {
		answer := fmt.Appendf(nil, "%d\n%s\n%s", i, record(i).Text(), spec.Head)
		answers[lookupPath(i)] = answer[:len(answer):len(answer)]
	}
	return answers
}

// serveFiles serves the file that the path names.
func serveFiles(dir, contentType string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(dir + r.URL.Path)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer f.Close()
		w.Header().Set("Content-Type", contentType)
		http.ServeContent(w, r, "", time.Time{}, f)
	})
}
