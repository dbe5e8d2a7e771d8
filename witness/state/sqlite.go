// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// A conn is a connection to the database. One goroutine at a time uses it and
// the statements prepared on it, which is why SQLite need not lock (_mutex=no).
type conn struct {
	c    *sqlite3.SQLiteConn
	kept []*stmt
}

// escapePath makes a file name safe inside an SQLite URI.
var escapePath = strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23")

// openConn opens the database file path, mode being SQLite's ro, rw or rwc, and
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

// close closes the connection and its statements: SQLite keeps a connection,
// its locks included, until the last statement is gone.
func (c *conn) close() error {
	for _, s := range c.kept {
		s.s.Close()
	}
	return c.c.Close()
}

func (c *conn) exec(sql string) error {
	_, err := c.c.Exec(sql, nil)
	return err
}

// query runs a query once; see stmt.run.
func (c *conn) query(sql string, columns int, row func([]driver.Value) error) error {
	s, err := c.compile(sql, columns)
	if err != nil {
		return err
	}
	return errors.Join(s.run(row), s.s.Close())
}

// queryRow returns the first row of a query that is run once, io.EOF if none.
func (c *conn) queryRow(sql string, columns int) ([]driver.Value, error) {
	s, err := c.compile(sql, columns)
	if err != nil {
		return nil, err
	}
	row, err := s.first()
	if err != nil {
		s.s.Close()
		return nil, err
	}
	return row, s.s.Close()
}

// A stmt is a prepared statement with room for its arguments and one row.
type stmt struct {
	s    *sqlite3.SQLiteStmt
	args []driver.NamedValue
	row  []driver.Value
}

// prepare prepares a statement that lasts as long as the connection.
func (c *conn) prepare(sql string, columns int) (*stmt, error) {
	s, err := c.compile(sql, columns)
	if err == nil {
		c.kept = append(c.kept, s)
	}
	return s, err
}

// compile prepares a statement that the caller closes.
func (c *conn) compile(sql string, columns int) (*stmt, error) {
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

// run executes the statement with args and calls row with each row, which is
// only valid during the call, until row returns an error; io.EOF ends it without
// one. Statements that change data go this way too: it costs one call into C,
// where Exec costs one for each argument.
func (s *stmt) run(row func([]driver.Value) error, args ...driver.Value) error {
	for i, v := range args {
		s.args[i].Value = v
	}
	// A context that can be cancelled would cost a goroutine a query.
	rows, err := s.s.QueryContext(context.Background(), s.args)
	if err != nil {
		return err
	}
	for err == nil {
		if err = rows.Next(s.row); err == nil && row != nil {
			err = row(s.row)
		}
	}
	if err == io.EOF {
		err = nil
	}
	// Closing ends the read transaction, without which the write-ahead log could
	// not be reused.
	return errors.Join(err, rows.Close())
}

// first returns the first row of a query, io.EOF if none.
func (s *stmt) first(args ...driver.Value) ([]driver.Value, error) {
	var first []driver.Value
	err := s.run(func(row []driver.Value) error {
		first = append(first, row...)
		return io.EOF
	}, args...)
	if err == nil && first == nil {
		err = io.EOF
	}
	return first, err
}

// errRow reports a row of an impossible type or form.
var errRow = errors.New("malformed row")

// take assigns v to *to if it has its type, which is not taken for granted: a
// damaged database must not make the process panic.
func take[T any](v driver.Value, to *T) error {
	t, ok := v.(T)
	if !ok {
		return fmt.Errorf("%w: %T for %T", errRow, v, t)
	}
	*to = t
	return nil
}

// leavesState reports whether a transaction that failed with err was not
// committed, and whether the next may succeed. After an I/O error neither is
// known: what was written and not synced may or may not be there after a crash.
func leavesState(err error) bool {
	var se sqlite3.Error
	if !errors.As(err, &se) {
		return false
	}
	switch se.Code {
	case sqlite3.ErrFull, sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrNomem, sqlite3.ErrTooBig:
		return true
	}
	return false
}

// isDamage reports whether err says that the file is no sound database, rather
// than that it cannot be read just now.
func isDamage(err error) bool {
	var se sqlite3.Error
	if errors.As(err, &se) {
		switch se.Code {
		case sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrFormat, sqlite3.ErrError, sqlite3.ErrSchema, sqlite3.ErrMismatch:
			return true
		}
		return false
	}
	return errors.Is(err, errRow) || errors.Is(err, io.EOF)
}
