// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package index

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"strings"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// A conn is a connection to a database. One goroutine at a time uses it and the
// statements prepared on it, which is why SQLite need not lock (_mutex=no).
type conn struct {
	c    *sqlite3.SQLiteConn
	kept []*stmt // those of prepareAll
}

// escapePath makes a file name safe inside an SQLite URI.
var escapePath = strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23")

// openConn opens the database file path, mode being SQLite's ro or rw, and
// executes pragmas.
func openConn(path, mode string, pragmas ...string) (*conn, error) {
	c, err := (&sqlite3.SQLiteDriver{}).Open("file:" + escapePath.Replace(path) + "?mode=" + mode + "&_mutex=no")
	if err != nil {
		return nil, err
	}
	cn := &conn{c: c.(*sqlite3.SQLiteConn)}
	for _, p := range pragmas {
		if err := cn.exec("PRAGMA " + p); err != nil {
			return nil, errors.Join(err, cn.close())
		}
	}
	return cn, nil
}

func (c *conn) close() error {
	// SQLite keeps a connection, its locks included, until the last statement
	// is gone.
	for _, s := range c.kept {
		s.close()
	}
	return c.c.Close()
}

func (c *conn) exec(sql string) error {
	_, err := c.c.Exec(sql, nil)
	return err
}

// queryRow returns the first row of a query that is run once, io.EOF if none.
func (c *conn) queryRow(sql string, columns int) ([]driver.Value, error) {
	s, err := c.prepare(sql, columns)
	if err != nil {
		return nil, err
	}
	defer s.close()
	var first []driver.Value
	err = s.run(func(row []driver.Value) error {
		first = append(first, row...)
		return io.EOF
	})
	if err == nil && first == nil {
		err = io.EOF
	}
	return first, err
}

// A stmt is a prepared statement with room for its arguments and one row.
type stmt struct {
	s    *sqlite3.SQLiteStmt
	args []driver.NamedValue
	row  []driver.Value
}

// prepare prepares a statement, which the caller closes before the connection.
func (c *conn) prepare(sql string, columns int) (*stmt, error) {
	ds, err := c.c.Prepare(sql)
	if err != nil {
		return nil, err
	}
	s := &stmt{s: ds.(*sqlite3.SQLiteStmt), row: make([]driver.Value, columns)}
	s.args = make([]driver.NamedValue, s.s.NumInput())
	for i := range s.args {
		s.args[i].Ordinal = i + 1
	}
	return s, nil
}

func (s *stmt) close() { s.s.Close() }

// prepareAll prepares statements that last as long as the connection. to maps
// each to its SQL and number of columns.
func (c *conn) prepareAll(to map[**stmt]query) error {
	for dst, q := range to {
		s, err := c.prepare(q.sql, q.columns)
		if err != nil {
			return err
		}
		*dst = s
		c.kept = append(c.kept, s)
	}
	return nil
}

type query struct {
	sql     string
	columns int
}

// run executes the statement with args and calls row with each row, which is
// only valid during the call, until row returns an error. io.EOF from row ends
// the query without error. Statements that change data go this way too: it
// costs one call into C, where Exec costs one for each argument.
func (s *stmt) run(row func([]driver.Value) error, args ...driver.Value) error {
	for i, v := range args {
		s.args[i].Value = v
	}
	// A context that can be cancelled would cost a goroutine a query. All
	// queries are short; long scans are made of many.
	rows, err := s.s.QueryContext(context.Background(), s.args)
	if err != nil {
		return err
	}
	for err == nil {
		if err = rows.Next(s.row); err == nil {
			err = row(s.row)
		}
	}
	if err == io.EOF {
		err = nil
	}
	// Closing ends the read transaction, without which the write-ahead log
	// could not be reused.
	return errors.Join(err, rows.Close())
}

// errStale is why a database cannot be used as it is and must be made again.
type errStale string

func (e errStale) Error() string { return string(e) }

// errRow reports a row of an impossible type or form.
const errRow = errStale("database has a malformed row")

// isStale reports whether err, met while a database was opened and checked,
// means that making it again is right: not when the machine is short of
// something, or another process is in the way, or may not be opened at all.
func isStale(err error) bool {
	var stale errStale
	if errors.As(err, &stale) {
		return true
	}
	var se sqlite3.Error
	if !errors.As(err, &se) {
		return false
	}
	switch se.Code {
	case sqlite3.ErrError, sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrIoErr, sqlite3.ErrFormat,
		sqlite3.ErrMismatch, sqlite3.ErrTooBig, sqlite3.ErrSchema:
		return true
	}
	return false
}

// isConstraint reports whether err is a violated primary key.
func isConstraint(err error) bool {
	var se sqlite3.Error
	return errors.As(err, &se) && se.Code == sqlite3.ErrConstraint
}

// The columns of rows are checked even though we wrote them: a damaged database
// must not make the process panic.

func scan2[A, B any](row []driver.Value, a *A, b *B) error {
	var ok [2]bool
	*a, ok[0] = row[0].(A)
	*b, ok[1] = row[1].(B)
	if ok != [2]bool{true, true} {
		return errRow
	}
	return nil
}

func scan3[A, B, C any](row []driver.Value, a *A, b *B, c *C) error {
	var ok bool
	if *c, ok = row[2].(C); !ok {
		return errRow
	}
	return scan2(row, a, b)
}
