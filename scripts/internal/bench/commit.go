// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	_ "github.com/mattn/go-sqlite3"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// A commitSpec says what a commitFloor knows.
type commitSpec struct {
	DB   string
	Logs []string // vkeys
}

// A commitFloor is the plain design of a witness: one lock, and a durable SQLite
// commit for each request. It checks as much as a witness must.
type commitFloor struct {
	mu       sync.Mutex
	db       *sql.DB
	logs     map[string]*checkpoint.Key
	cosigner *checkpoint.Cosigner
}

// commitFloor starts a commitFloor as a process of its own.
func (b *bench) commitFloor(logs []*madeLog) (*serving, error) {
	dir, err := b.newDir("commit")
	if err != nil {
		return nil, err
	}
	spec := commitSpec{DB: filepath.Join(dir, "witness.db")}
	for _, l := range logs {
		spec.Logs = append(spec.Logs, l.key.String())
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "spec")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(b.ctx, exec.Command(self, "commit-floor", "-spec", file), "serving http://")
}

func runCommitFloor(args []string) error {
	f := flag.NewFlagSet("commit-floor", flag.ContinueOnError)
	path := f.String("spec", "", "what to know")
	if err := f.Parse(args); err != nil {
		return err
	}
	text, err := os.ReadFile(*path)
	if err != nil {
		return err
	}
	var spec commitSpec
	if err := json.Unmarshal(text, &spec); err != nil {
		return err
	}
	h, err := newCommitFloor(spec)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	fmt.Printf("serving http://%s\n", ln.Addr())
	return srv.Serve(ln)
}

func newCommitFloor(spec commitSpec) (*commitFloor, error) {
	c := &commitFloor{logs: map[string]*checkpoint.Key{}}
	for _, vkey := range spec.Logs {
		k, err := checkpoint.ParseKey(vkey)
		if err != nil {
			return nil, err
		}
		c.logs[k.Name()] = k
	}
	var err error
	if c.cosigner, err = newCosigner(); err != nil {
		return nil, err
	}
	if c.db, err = sql.Open("sqlite3", "file:"+spec.DB+"?_journal_mode=WAL&_synchronous=FULL"); err != nil {
		return nil, err
	}
	c.db.SetMaxOpenConns(1)
	_, err = c.db.Exec("CREATE TABLE heads (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL) WITHOUT ROWID")
	return c, err
}

func (c *commitFloor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	line, status, err := c.add(http.MaxBytesReader(w, r.Body, checkpoint.MaxRequest))
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, line)
}

func (c *commitFloor) add(r io.Reader) (line string, status int, err error) {
	body, err := io.ReadAll(r)
	if err != nil {
		return "", 400, err
	}
	req, err := checkpoint.ParseAddRequest(body)
	if err != nil {
		return "", 400, err
	}
	note, err := checkpoint.ParseNote(req.Note)
	if err != nil {
		return "", 400, err
	}
	cp, err := checkpoint.Parse(note.Text)
	if err != nil {
		return "", 400, err
	}
	key := c.logs[cp.Origin]
	if key == nil {
		return "", 404, fmt.Errorf("unknown origin")
	}
	if _, err := note.Verify(key); err != nil {
		return "", 403, err
	}
	if status, err := c.store(req, cp); err != nil {
		return "", status, err
	}
	s, err := c.cosigner.Cosign(cp, time.Now().Unix())
	if err != nil {
		return "", 500, err
	}
	return s.String(), 200, nil
}

// store is the step from the old size to the new one.
func (c *commitFloor) store(req checkpoint.AddRequest, cp checkpoint.Checkpoint) (status int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var old tlog.Tree
	var root []byte
	err = c.db.QueryRow("SELECT size, root FROM heads WHERE origin = ?", cp.Origin).Scan(&old.N, &root)
	if err != nil && err != sql.ErrNoRows {
		return 500, err
	}
	copy(old.Hash[:], root)
	if old.N != req.Old {
		return 409, fmt.Errorf("%s", strconv.FormatInt(old.N, 10))
	}
	if old.N > 0 {
		if err := tlog.CheckTree(req.Proof, cp.Size, cp.Root, old.N, old.Hash); err != nil {
			return 422, err
		}
	}
	_, err = c.db.Exec("INSERT INTO heads VALUES (?, ?, ?) ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root",
		cp.Origin, cp.Size, cp.Root[:])
	return 500, err
}
