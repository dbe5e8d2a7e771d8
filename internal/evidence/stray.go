// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package evidence

import (
	"errors"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// maxName bounds who and where in the words of an observer.
const maxName = 4096

// Accuse returns the strongest evidence that there is in a head which was shown and is
// not in the history that somebody knows, and in one that is: that of [New], for which
// proof may be what that takes, or else that of [StrayHead].
func Accuse(key *checkpoint.Key, stray, known []byte, proof []tlog.Hash, by string) (*Evidence, error) {
	a, err := checkpoint.ParseNote(stray)
	if err != nil {
		return nil, err
	}
	b, err := checkpoint.ParseNote(known)
	if err != nil {
		return nil, err
	}
	e, err := New(key, a, b, proof)
	if err == nil {
		return e, nil
	}
	e, err2 := StrayHead(key, a, b, by)
	if err2 != nil {
		return nil, errors.Join(err, err2)
	}
	return e, nil
}

// StrayHead returns the observation that a log has signed a head which is not in the
// history that somebody knows, whose newest head is the other one (E16). By says who
// showed it. It is for what [New] cannot prove.
func StrayHead(key *checkpoint.Key, stray, known checkpoint.Note, by string) (*Evidence, error) {
	e := &Evidence{kind: Stray, keys: [2]*checkpoint.Key{key}, by: by}
	for i, n := range []checkpoint.Note{stray, known} {
		var err error
		if e.heads[i], err = newHead(key, n); err != nil {
			return nil, err
		}
	}
	return e.proven(nil)
}

// checkStray verifies that two heads are of one log, and of two sizes: those of one
// size are E2 and E3, or no finding.
func (e *Evidence) checkStray() error {
	a, b := e.heads[0], e.heads[1]
	if !e.oneLog() {
		return notProven("origins are %q and %q", a.Origin, b.Origin)
	}
	if a.Size == b.Size {
		return notProven("both heads have size %d", a.Size)
	}
	if e.by == "" || len(e.by) > maxName {
		return notProven("nobody has shown it")
	}
	return nil
}

// quotedField takes a line with a name and a quoted string.
func quotedField(part *string, name string) (string, error) {
	value, err := field(part, name)
	if err != nil {
		return "", err
	}
	s, err := strconv.Unquote(value)
	if err != nil {
		return "", notProven("file: %s %.200q", name, value)
	}
	return s, nil
}
