// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"example.org/sumlog/internal/sqlite"
	"golang.org/x/mod/sumdb/tlog"
)

// schemaVersion changes whenever what the database holds changes in any way.
const schemaVersion = 1

// Notes stand apart from the rest of a log, which changes seldom.
const schema = `
CREATE TABLE meta (
	one        INTEGER PRIMARY KEY CHECK (one = 1),
	id         TEXT NOT NULL,
	generation INTEGER NOT NULL,
	digest     BLOB NOT NULL,
	previous   BLOB NOT NULL
) STRICT;
CREATE TABLE logs (
	id       INTEGER PRIMARY KEY,
	origin   TEXT NOT NULL UNIQUE,
	keys     TEXT NOT NULL,
	qpd      INTEGER NOT NULL,
	contact  TEXT NOT NULL,
	source   TEXT NOT NULL,
	disabled INTEGER NOT NULL
) STRICT;
CREATE TABLE heads (
	id   INTEGER PRIMARY KEY REFERENCES logs (id),
	size INTEGER NOT NULL,
	root BLOB NOT NULL,
	time INTEGER NOT NULL,
	note BLOB NOT NULL
) STRICT;
CREATE TABLE evidence (
	sum    BLOB PRIMARY KEY,
	origin TEXT NOT NULL,
	time   INTEGER NOT NULL,
	file   BLOB NOT NULL
) STRICT;
CREATE INDEX evidence_origin ON evidence (origin);
`

// A digest is a sum, modulo 2^256, of the SHA-256 of rows, big-endian. A row can
// be taken out of it and another put in without a look at the rest. It finds
// rot and mistakes, not an attacker.
type digest [32]byte

func (d *digest) add(x digest) {
	var carry uint64
	for i := 24; i >= 0; i -= 8 {
		var s uint64
		s, carry = bits.Add64(binary.BigEndian.Uint64(d[i:]), binary.BigEndian.Uint64(x[i:]), carry)
		binary.BigEndian.PutUint64(d[i:], s)
	}
}

func (d *digest) sub(x digest) {
	var borrow uint64
	for i := 24; i >= 0; i -= 8 {
		var s uint64
		s, borrow = bits.Sub64(binary.BigEndian.Uint64(d[i:]), binary.BigEndian.Uint64(x[i:]), borrow)
		binary.BigEndian.PutUint64(d[i:], s)
	}
}

// hashRow hashes values, each with its length before it.
func hashRow(table string, values ...any) digest {
	b := make([]byte, 0, 1024)
	put := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	put(table)
	for _, v := range values {
		switch v := v.(type) {
		case int64:
			b = binary.BigEndian.AppendUint64(b, uint64(v))
		case string:
			put(v)
		case []byte:
			b = binary.AppendUvarint(b, uint64(len(v)))
			b = append(b, v...)
		}
	}
	return sha256.Sum256(b)
}

// A row is an entry with its place in the database.
type row struct {
	Entry
	id        int64
	log, head digest // summands of the digest of all; head is zero before the first cosignature
}

func (r *row) hashLog() digest {
	return hashRow("logs", r.id, r.Origin, r.vkeys(), int64(r.QPD), r.Contact, r.Source, disabledValue(r.Disabled))
}

func (r *row) hashHead(note []byte) digest {
	return hashRow("heads", r.id, r.Tree.N, r.Tree.Hash[:], r.Time, note)
}

func disabledValue(disabled bool) int64 {
	if disabled {
		return 1
	}
	return 0
}

// A stored is the state of a whole database.
type stored struct {
	mark
	previous digest // of the generation before
	rows     []*row
	notes    [][]byte // of rows; only if asked for
}

const selectRows = "SELECT logs.id, origin, keys, qpd, contact, source, disabled, size, root, time, note" +
	" FROM logs LEFT JOIN heads ON heads.id = logs.id"

// load reads the database as it is at one moment and compares it with its
// digest.
func load(c *sqlite.Conn, notes bool) (st *stored, err error) {
	// Outside a transaction each query would see the state of its own moment.
	if err := c.Exec("BEGIN"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Exec("COMMIT")) }()
	v, err := c.First("PRAGMA user_version")
	if err != nil {
		return nil, err
	}
	if v[0] != int64(schemaVersion) {
		return nil, fmt.Errorf("%w: schema version is %v, not %d", sqlite.ErrRow, v[0], schemaVersion)
	}
	st, err = loadMeta(c)
	if err != nil {
		return nil, err
	}
	var sum digest
	same := make(map[string]string) // contacts and sources, each of many logs
	err = c.Run(selectRows, func(v []sqlite.Value) error {
		r, note, err := scanRow(v, same)
		if err != nil {
			return err
		}
		sum.add(r.log)
		sum.add(r.head)
		st.rows = append(st.rows, r)
		if notes {
			st.notes = append(st.notes, note)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if sum != st.digest {
		return nil, fmt.Errorf("%w: rows do not have the digest stored with them", sqlite.ErrRow)
	}
	return st, nil
}

func loadMeta(c *sqlite.Conn) (*stored, error) {
	v, err := c.First("SELECT id, generation, digest, previous FROM meta")
	if err == io.EOF {
		return nil, fmt.Errorf("%w: there is no generation", sqlite.ErrRow)
	}
	if err != nil {
		return nil, err
	}
	st := new(stored)
	var d, previous []byte
	if err := errors.Join(sqlite.Take(v[0], &st.id), sqlite.Take(v[1], &st.generation), sqlite.Take(v[2], &d), sqlite.Take(v[3], &previous)); err != nil {
		return nil, err
	}
	if len(d) != len(st.digest) || len(previous) != len(st.previous) {
		return nil, sqlite.ErrRow
	}
	st.digest, st.previous = digest(d), digest(previous)
	return st, nil
}

func scanRow(v []sqlite.Value, same map[string]string) (r *row, note []byte, err error) {
	r = new(row)
	var keys string
	var qpd, disabled int64
	err = errors.Join(sqlite.Take(v[0], &r.id), sqlite.Take(v[1], &r.Origin), sqlite.Take(v[2], &keys), sqlite.Take(v[3], &qpd),
		sqlite.Take(v[4], &r.Contact), sqlite.Take(v[5], &r.Source), sqlite.Take(v[6], &disabled))
	if err != nil {
		return nil, nil, err
	}
	for _, s := range []*string{&r.Contact, &r.Source} {
		if have, ok := same[*s]; ok {
			*s = have
		} else {
			same[*s] = *s
		}
	}
	r.QPD, r.Disabled = int(qpd), disabled != 0
	if r.Keys, err = parseVkeys(keys); err != nil {
		return nil, nil, fmt.Errorf("%w: log %q: %v", sqlite.ErrRow, r.Origin, err)
	}
	if err := r.Check(); err != nil {
		return nil, nil, fmt.Errorf("%w: %v", sqlite.ErrRow, err)
	}
	r.log = r.hashLog()
	if v[7] == nil {
		return r, nil, nil
	}
	var root []byte
	if err := errors.Join(sqlite.Take(v[7], &r.Tree.N), sqlite.Take(v[8], &root), sqlite.Take(v[9], &r.Time), sqlite.Take(v[10], &note)); err != nil {
		return nil, nil, err
	}
	if len(root) != len(r.Tree.Hash) || r.Tree.N < 0 || r.Time <= 0 {
		return nil, nil, sqlite.ErrRow
	}
	r.Tree.Hash = tlog.Hash(root)
	r.head = r.hashHead(note)
	return r, note, nil
}
