// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package state keeps what an auditor knows of a log from one run to the next.
//
// # Files
//
//	DIR/evidence/KIND-XXXXXXXXXXXXXXXX.txt   evidence (see internal/evidence), by the
//	                                         first 16 hex digits of its Identity: a
//	                                         fault that lasts has one file
//	DIR/logs/XXXXXXXXXXXXXXXX/               one log, by those of its vkey:
//	    vkey             the key
//	    lock             held while a process has the state open
//	    head             the newest head that was verified in full
//	    heads/SIZE-XXXXXXXX   every distinct head that was ever seen, by its text
//	    tile/8/L/N[.p/W] the tiles of trees that were verified, for ever: without
//	                     them a log that forked can no longer be proven to have;
//	                     with .was, one that another of its name replaced
//	    names            eight bytes for each record
//	    progress.json    how far the replay went
//
// Without a directory, evidence is written into the working directory, and all
// else lives as long as the process.
//
// # What a crash leaves
//
// Each file but names and the tiles is replaced whole and synced. progress.json
// says how many names it stands for, and their SHA-256; they are synced before it
// is written. So names holds at least those, and what is behind them is of a run
// that did not end: it is overwritten. Tiles are not synced, and verified whenever they
// are read.
//
// # What is trusted
//
// The directory, as far as who can write there could make the auditor skip what it
// believes to have checked. Damage is found: notes are verified again, and the names
// compared with their hash; [ErrDamaged] says that the replay has to begin anew
// ([State.Reset]), and [DamagedError] that a person has to remove a file.
package state

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/tlogclient"
)

// ErrDamaged is wrapped by the error of a state that is not as it was written.
var ErrDamaged = errors.New("state is damaged")

// A DamagedError says which file is damaged so that nobody can go on with it. What to
// do is for people to decide: an attacker who cut the memory off would like it best if
// nobody asked.
type DamagedError struct {
	File string // path
	Lost string // what is lost if it is removed
	Err  error  // what is wrong with it
}

func (e *DamagedError) Error() string { return fmt.Sprintf("%s: %v: %v", e.File, ErrDamaged, e.Err) }

// Is makes it an ErrDamaged.
func (e *DamagedError) Is(target error) bool { return target == ErrDamaged }

// What removing a file costs.
const (
	lostHead = "a log that shows less than that head is noticed by the files in heads/ alone"
	lostSeen = "a fork from that one head is not noticed any more; evidence that was made of it stays"
	lostKey  = "nothing, if the log is still the one that this directory was begun with"
)

// A State is what is known of a log. It is safe for concurrent use.
type State struct {
	key    *checkpoint.Key
	root   *os.Root // of the log; nil without a directory
	evid   *os.Root // where evidence is kept; nil is the working directory
	where  string   // the same, for people
	cache  tlogclient.Cache
	unlock func() error

	mu    sync.Mutex
	head  tlogclient.Head
	heads map[string]tlogclient.Head // by text; without a directory
	names Names
}

// Open opens the state of the log of key below dir, which is made where it is
// missing. It fails with durable.ErrLocked while another process has it open. An
// empty dir stands for none.
func Open(dir string, key *checkpoint.Key) (*State, error) {
	s := &State{key: key, heads: make(map[string]tlogclient.Head)}
	s.names.state = s
	if dir == "" {
		s.cache = &memory{}
		return s, nil
	}
	if err := s.open(dir); err != nil {
		s.Close()
		return nil, fmt.Errorf("state: %w", err)
	}
	return s, nil
}

func (s *State) open(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	top, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer top.Close()
	sum := sha256.Sum256([]byte(s.key.String()))
	name := fmt.Sprintf("logs/%x", sum[:8])
	for _, d := range []string{"evidence", name + "/heads"} {
		if err := durable.MkdirAll(top, d); err != nil {
			return err
		}
	}
	if s.evid, err = top.OpenRoot("evidence"); err != nil {
		return err
	}
	if s.root, err = top.OpenRoot(name); err != nil {
		return err
	}
	s.where = filepath.Join(dir, "evidence")
	s.cache = tlogclient.DirCache(filepath.Join(dir, name))
	if s.unlock, err = durable.Lock(s.root, "lock"); err != nil {
		return err
	}
	for _, d := range []string{".", "heads"} {
		if _, err := durable.Sweep(s.root, d); err != nil {
			return err
		}
	}
	return s.load()
}

// load reads the key, which tells two keys apart whose hashes begin alike, and
// the head.
func (s *State) load() error {
	vkey, err := s.root.ReadFile("vkey")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := durable.WriteFile(s.root, "vkey", []byte(s.key.String()+"\n"), 0o644); err != nil {
			return err
		}
	case err != nil:
		return err
	case string(vkey) != s.key.String()+"\n":
		return s.damaged("vkey", lostKey, errors.New("of another key"))
	}
	note, err := s.root.ReadFile("head")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if s.head, err = tlogclient.ParseHead(note, "", s.key); err != nil {
		return s.damaged("head", lostHead, err)
	}
	return nil
}

func (s *State) damaged(name, lost string, err error) error {
	return &DamagedError{filepath.Join(s.root.Name(), name), lost, err}
}

// Close closes the state for others to open.
func (s *State) Close() error {
	var errs []error
	errs = append(errs, s.names.close())
	for _, r := range []*os.Root{s.root, s.evid} {
		if r != nil {
			errs = append(errs, r.Close())
		}
	}
	if s.unlock != nil {
		errs = append(errs, s.unlock())
	}
	return errors.Join(errs...)
}

// Cache returns the tiles that are kept.
func (s *State) Cache() tlogclient.Cache { return s.cache }

// maxEvidence bounds the files of one kind against one key: what somebody can make a
// log, or a service of it, say over and over must not fill the disk, nor keep evidence
// of another kind, or against another log, from being written.
const maxEvidence = 1000

// Evidence keeps e and returns the path of its file, and whether one of the same
// fault is there already, which stays as it is.
func (s *State) Evidence(e *evidence.Evidence) (path string, already bool, err error) {
	root := s.evid
	if root == nil {
		if root, err = os.OpenRoot("."); err != nil {
			return "", false, fmt.Errorf("evidence: %w", err)
		}
		defer root.Close()
	}
	name, already, err := place(root, e)
	if err == nil && !already {
		err = write(root, name, e)
	}
	if err != nil {
		return "", false, fmt.Errorf("evidence: %w", err)
	}
	return filepath.Join(s.where, name), already, nil
}

// place returns the name of e's file, and whether it is there. Where another file has
// that name, one that is damaged, say, or was made to have it, there is a longer one:
// neither is lost.
func place(root *os.Root, e *evidence.Evidence) (name string, there bool, err error) {
	id := e.Identity()
	for _, n := range []int{8, len(id)} {
		name = fmt.Sprintf("%s-%x.txt", e.Kind(), id[:n])
		data, err := root.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return name, false, nil
		}
		if err != nil {
			return "", false, err
		}
		if old, err := evidence.Parse(data); err == nil && old.Identity() == id {
			return name, true, nil
		}
	}
	return "", false, fmt.Errorf("%s is there, and is damaged: move it away", name)
}

// write writes a new file, unless there are too many.
func write(root *os.Root, name string, e *evidence.Evidence) error {
	data := e.Bytes()
	kept, err := fs.Glob(root.FS(), string(e.Kind())+"-*.txt")
	if err != nil {
		return err
	}
	if len(kept) >= maxEvidence {
		head, _, _ := bytes.Cut(data, []byte("\n\n")) // kind and keys
		if n := countBegun(root, kept, head); n >= maxEvidence {
			return fmt.Errorf("there are %d files of %s against %v already", n, e.Kind(), e.Key())
		}
	}
	return durable.WriteFile(root, name, data, 0o644)
}

// countBegun returns how many of the files begin with head, and an empty line.
func countBegun(root *os.Root, names []string, head []byte) (n int) {
	want := append(head[:len(head):len(head)], "\n\n"...)
	got := make([]byte, len(want))
	for _, name := range names {
		f, err := root.Open(name)
		if err != nil {
			continue
		}
		if _, err := io.ReadFull(f, got); err == nil && bytes.Equal(got, want) {
			n++
		}
		f.Close()
	}
	return n
}
