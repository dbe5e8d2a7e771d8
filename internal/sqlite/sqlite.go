// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package sqlite is SQLite for those who count calls: a thin layer over the
// driver github.com/mattn/go-sqlite3, without database/sql, whose pool,
// conversions and contexts cost more than a short query does.
//
// A [Conn] is one connection with the pragmas its user asks for; nothing is set
// that was not asked for. The statements prepared on it last as long as it
// does. One goroutine at a time uses a connection and its statements: SQLite
// does no locking of its own among threads (_mutex=no). Between connections,
// and between processes, it locks files as ever.
//
// Running a prepared statement allocates nothing but what the driver does for
// the values it returns. A row is valid only while its callback runs; the
// strings and byte slices in it are copies and stay.
//
// What the file holds is not trusted, not even by those who wrote it: [Take]
// refuses a value of another type than wanted with [ErrRow], and [IsDamage]
// tells a file that is no sound database from one that cannot be read just now.
// What is durable when, and what a crash leaves, is the pragmas' matter.
//
// The package needs cgo, and so does all that imports it.
package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"

	sqlite3 "github.com/mattn/go-sqlite3"

	"example.org/sumlog/internal/descriptors"
)

// A Value is an int64, float64, string, []byte or nil; an argument may be a bool
// or time.Time too.
type Value = driver.Value

// A Conn is a connection to a database.
type Conn struct {
	c    *sqlite3.SQLiteConn
	kept []*Stmt // those of Prepare
}

// escapePath makes a file name safe inside an SQLite URI.
var escapePath = strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23")

// Open opens the database file path, mode being SQLite's ro, rw or rwc, and
// executes pragmas, each without the word PRAGMA.
func Open(path, mode string, pragmas ...string) (*Conn, error) {
	dc, err := (&sqlite3.SQLiteDriver{}).Open("file:" + escapePath.Replace(path) + "?mode=" + mode + "&_mutex=no")
	if err != nil {
		return nil, err
	}
	c := &Conn{c: dc.(*sqlite3.SQLiteConn)}
	for _, p := range pragmas {
		if err := c.Exec("PRAGMA " + p); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// Close closes the connection and its statements: SQLite keeps a connection,
// its locks included, until the last statement is gone.
func (c *Conn) Close() error {
	for _, s := range c.kept {
		s.s.Close()
	}
	return c.c.Close()
}

// InTransaction reports whether a transaction is open.
func (c *Conn) InTransaction() bool { return !c.c.AutoCommit() }

// Exec executes one or more statements without arguments.
func (c *Conn) Exec(sql string) error {
	_, err := c.c.Exec(sql, nil)
	return err
}

// Run runs a statement once; see [Stmt.Run].
func (c *Conn) Run(sql string, row func([]Value) error, args ...Value) error {
	s, err := c.compile(sql)
	if err != nil {
		return err
	}
	return errors.Join(s.Run(row, args...), s.s.Close())
}

// First returns the first row of a query that is run once, io.EOF if there is
// none.
func (c *Conn) First(sql string, args ...Value) ([]Value, error) {
	s, err := c.compile(sql)
	if err != nil {
		return nil, err
	}
	row, err := s.First(args...)
	if err != nil {
		s.s.Close()
		return nil, err
	}
	return row, s.s.Close()
}

// Prepare prepares statements that last as long as the connection. to maps each
// to its SQL.
func (c *Conn) Prepare(to map[**Stmt]string) error {
	for dst, sql := range to {
		s, err := c.compile(sql)
		if err != nil {
			return err
		}
		*dst = s
		c.kept = append(c.kept, s)
	}
	return nil
}

// compile prepares a statement that the caller closes.
func (c *Conn) compile(sql string) (*Stmt, error) {
	ds, err := c.c.Prepare(sql)
	if err != nil {
		return nil, err
	}
	s := &Stmt{s: ds.(*sqlite3.SQLiteStmt)}
	s.args = make([]driver.NamedValue, s.s.NumInput())
	for i := range s.args {
		s.args[i].Ordinal = i + 1
	}
	return s, nil
}

// A Stmt is a prepared statement with room for its arguments and one row.
type Stmt struct {
	s    *sqlite3.SQLiteStmt
	args []driver.NamedValue
	row  []Value // made by the first run
}

// Run executes the statement with args, as many as it has parameters, and calls
// row, unless it is nil, with each row, until it returns an error. io.EOF from
// row ends the query without error. Statements that change data go this way
// too: it costs one call into C, where the driver's Exec costs one for each
// argument.
func (s *Stmt) Run(row func([]Value) error, args ...Value) error {
	if len(args) != len(s.args) {
		return fmt.Errorf("%d arguments for %d parameters", len(args), len(s.args))
	}
	for i, v := range args {
		s.args[i].Value = v
	}
	// A context that can be cancelled would cost a goroutine a query. All
	// queries are short; long scans are made of many.
	rows, err := s.s.QueryContext(context.Background(), s.args)
	if err != nil {
		return err
	}
	if s.row == nil {
		s.row = make([]Value, len(rows.Columns()))
	}
	for err == nil {
		if err = rows.Next(s.row); err == nil && row != nil {
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

// First returns the first row of a query, io.EOF if there is none.
func (s *Stmt) First(args ...Value) ([]Value, error) {
	var first []Value
	err := s.Run(func(row []Value) error {
		first = append(first, row...)
		return io.EOF
	}, args...)
	if err == nil && first == nil {
		err = io.EOF
	}
	return first, err
}

// ErrRow reports a row of an impossible type or form.
var ErrRow = errors.New("database has a malformed row")

// Take assigns v to *to if it has its type, which is not taken for granted: a
// damaged database must not make the process panic.
func Take[T any](v Value, to *T) error {
	t, ok := v.(T)
	if !ok {
		return fmt.Errorf("%w: %T for %T", ErrRow, v, t)
	}
	*to = t
	return nil
}

// Is reports whether err is an error of SQLite with one of codes.
func Is(err error, codes ...sqlite3.ErrNo) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	return ok && slices.Contains(codes, e.Code)
}

// Shortage returns err, as what the machine said if SQLite ran short of descriptors
// or memory: see [descriptors.Short].
func Shortage(err error) error {
	e, ok := errors.AsType[sqlite3.Error](err)
	switch {
	case !ok:
		return err
	case e.Code == sqlite3.ErrNomem, e.ExtendedCode == sqlite3.ErrIoErrNoMem:
		return fmt.Errorf("%w: %w", err, syscall.ENOMEM)
	case descriptors.Short(e.SystemErrno):
		return fmt.Errorf("%w: %w", err, e.SystemErrno)
	}
	return err
}

// IsDamage reports whether err says that the file is no sound database, or not
// one with the tables expected, rather than that it cannot be read just now.
func IsDamage(err error) bool {
	if _, ok := errors.AsType[sqlite3.Error](err); !ok {
		return errors.Is(err, ErrRow)
	}
	return Is(err, sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrFormat, sqlite3.ErrError, sqlite3.ErrSchema, sqlite3.ErrMismatch)
}
