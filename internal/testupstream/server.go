// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package testupstream

import (
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"
)

// A Server is a module proxy with a checksum database. Its methods may be
// called while it serves.
type Server struct {
	// URL is where the proxy is, http://127.0.0.1:PORT. It stays the same when
	// the server is stopped and started again.
	URL string

	// Name and VKey are those of the checksum database, URL/sumdb/Name.
	Name string
	VKey string

	skey   string
	addr   string
	http   *http.Server
	served chan struct{} // closed when http has returned

	mu       sync.Mutex
	db       *sumdb.TestServer
	releases []*release
	requests []string
	arrival  chan struct{} // closed at the next request
	faults   []*rule
	healed   chan struct{} // closed when the faults end
}

// A rule is a fault for the paths that match a pattern.
type rule struct {
	pattern string
	fault   Fault
	left    int // requests it still applies to; negative: all
}

// New starts a server of the module versions in fsys, with a checksum database
// under the name given. The caller ends it with Stop.
func New(name string, fsys fs.FS) (*Server, error) {
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: name, VKey: vkey, skey: skey, addr: "127.0.0.1:0", healed: make(chan struct{}), arrival: make(chan struct{})}
	s.db = sumdb.NewTestServer(skey, s.gosum)
	if err := s.Add(fsys); err != nil {
		return nil, err
	}
	return s, s.Start()
}

// Add adds the module versions in fsys. One that is there already is replaced,
// but the checksum database keeps the record that it has.
func (s *Server) Add(fsys fs.FS) error {
	list, err := releases(fsys)
	if err != nil {
		return err
	}
	for _, r := range list {
		s.mu.Lock()
		s.releases = slices.DeleteFunc(s.releases, func(o *release) bool { return o.mod == r.mod })
		s.releases = append(s.releases, r)
		s.mu.Unlock()
		if r.unlogged {
			continue
		}
		if _, err := s.database().Lookup(context.Background(), r.mod); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) database() *sumdb.TestServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.db
}

// Fork has the database begin another history: it signs, with the same key, a tree in
// which the records that it has stand in the opposite order.
func (s *Server) Fork() error {
	s.mu.Lock()
	list := slices.Clone(s.releases)
	s.mu.Unlock()
	db := sumdb.NewTestServer(s.skey, s.gosum)
	for _, r := range slices.Backward(list) {
		if r.unlogged {
			continue
		}
		if _, err := db.Lookup(context.Background(), r.mod); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.db = db
	return nil
}

// Remove takes a module version away from the proxy, as if it had been deleted
// there. The checksum database keeps its record.
func (s *Server) Remove(m module.Version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releases = slices.DeleteFunc(s.releases, func(o *release) bool { return o.mod == m })
}

// Start makes a stopped server listen again, at the address it had.
func (s *Server) Start() error {
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	s.addr = ln.Addr().String()
	s.URL = "http://" + s.addr
	s.http = &http.Server{Handler: s}
	s.served = make(chan struct{})
	go func() {
		defer close(s.served)
		s.http.Serve(ln)
	}()
	return nil
}

// Stop makes connections to the server fail, at once and from now on.
func (s *Server) Stop() {
	s.http.Close()
	<-s.served
}

// Fault makes the server misbehave for the paths that match the pattern, in
// which * stands for any text, slashes too. Of several that match, the one set
// last applies. With times > 0 it applies to that many requests only.
func (s *Server) Fault(pattern string, times int, f Fault) {
	if times <= 0 {
		times = -1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &rule{pattern, f, times})
}

// Heal ends all faults and lets hanging requests go.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	close(s.healed)
	s.healed = make(chan struct{})
}

// Requests returns the requests so far, "GET /path", whose path matches the
// pattern.
func (s *Server) Requests(pattern string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, r := range s.requests {
		if _, p, _ := strings.Cut(r, " "); match(pattern, p) {
			list = append(list, r)
		}
	}
	return list
}

// Await returns when there was a request whose path matches the pattern, or with
// the error of ctx.
func (s *Server) Await(ctx context.Context, pattern string) error {
	for {
		s.mu.Lock()
		arrival := s.arrival
		s.mu.Unlock()
		if len(s.Requests(pattern)) > 0 {
			return nil
		}
		select {
		case <-arrival:
		case <-ctx.Done():
			return fmt.Errorf("no request for %s: %w", pattern, ctx.Err())
		}
	}
}

// Forget empties the record of requests.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, healed := s.arrived(r)
	if fault == nil {
		s.serve(w, r)
		return
	}
	fault(w, r, s.serve, healed)
}

// arrived records a request and returns the fault that applies to it.
func (s *Server) arrived(r *http.Request) (f Fault, healed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	close(s.arrival)
	s.arrival = make(chan struct{})
	for _, f := range slices.Backward(s.faults) {
		if f.left == 0 || !match(f.pattern, r.URL.Path) {
			continue
		}
		f.left--
		return f.fault, s.healed
	}
	return nil, nil
}

// serve answers without any fault.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if p, ok := strings.CutPrefix(r.URL.Path, "/sumdb/"); ok {
		p, ok = strings.CutPrefix(p, s.Name+"/")
		switch {
		case !ok:
			http.Error(w, "not found: no such database", http.StatusNotFound)
		case p == "supported":
			w.WriteHeader(http.StatusOK)
		default:
			http.StripPrefix("/sumdb/"+s.Name, sumdb.NewServer(s.database())).ServeHTTP(w, r)
		}
		return
	}
	data, err := s.answer(strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil {
		http.Error(w, errText(err), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.Write(data)
}

// Export writes what the server has, without faults, to a directory laid out as a
// file:// upstream. As in a module cache, there is no @latest.
func (s *Server) Export(dir string) error {
	s.mu.Lock()
	list := slices.Clone(s.releases)
	s.mu.Unlock()
	for _, r := range list {
		escaped, err := module.EscapePath(r.mod.Path)
		if err != nil {
			return err
		}
		v, err := module.EscapeVersion(r.mod.Version)
		if err != nil {
			return err
		}
		at := filepath.Join(dir, filepath.FromSlash(escaped), "@v")
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		lines, err := s.list(r.mod.Path)
		if err != nil {
			return err
		}
		for name, data := range map[string][]byte{"list": lines, v + ".info": r.info, v + ".mod": r.gomod, v + ".zip": r.zip} {
			if err := os.WriteFile(filepath.Join(at, name), data, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// match reports whether name matches the pattern, in which * may stand for
// slashes too.
func match(pattern, name string) bool {
	flat := func(s string) string { return strings.ReplaceAll(s, "/", "\x00") }
	ok, err := path.Match(flat(pattern), flat(name))
	return ok && err == nil
}
