// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	sqlite3 "github.com/mattn/go-sqlite3"

	"example.org/sumlog/internal/descriptors"
)

// open opens a database of one table with the rows (1, "one") to (3, "three").
func open(t testing.TB, name string) *Conn {
	t.Helper()
	c, err := Open(filepath.Join(t.TempDir(), name), "rwc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	err = c.Exec("CREATE TABLE t (n INTEGER PRIMARY KEY, s TEXT) STRICT; INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three')")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestName opens files whose names would mean something else in a URI.
func TestName(t *testing.T) {
	for _, name := range []string{"a b", "a?mode=memory", "a#b", "a%41", "a&b", "é"} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		if c, err := Open(path, "rw"); err == nil {
			c.Close()
			t.Errorf("%q: opened, and is not there", name)
		}
		c, err := Open(path, "rwc")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.Exec("CREATE TABLE t (n)"), c.Close()); err != nil {
			t.Fatal(err)
		}
		files, err := os.ReadDir(dir)
		if err != nil || len(files) != 1 || files[0].Name() != name {
			t.Errorf("%q: got %v, %v", name, files, err)
		}
	}
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	c, err := Open(path, "rwc", "journal_mode=WAL", "synchronous=EXTRA")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for pragma, want := range map[string]Value{"journal_mode": "wal", "synchronous": int64(3)} {
		if v, err := c.First("PRAGMA " + pragma); err != nil || len(v) != 1 || v[0] != want {
			t.Errorf("%s: got %v, %v; want %v", pragma, v, err, want)
		}
	}
	r, err := Open(path, "ro")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Exec("CREATE TABLE t (n)"); !Is(err, sqlite3.ErrReadonly) {
		t.Errorf("written in mode ro: %v", err)
	}
	if _, err := Open(path, "rw", "no pragma"); !Is(err, sqlite3.ErrError) {
		t.Errorf("bad pragma: got %v", err)
	}
}

func TestRun(t *testing.T) {
	c := open(t, "db")
	var query, insert *Stmt
	err := c.Prepare(map[**Stmt]string{
		&query:  "SELECT n, s FROM t WHERE n >= ? ORDER BY n",
		&insert: "INSERT INTO t VALUES (?, ?)",
	})
	if err != nil {
		t.Fatal(err)
	}
	errStop := errors.New("stop")
	rows := func(from int64, at string, end error) (out []string, err error) {
		err = query.Run(func(v []Value) error {
			out = append(out, fmt.Sprintf("%v %v", v[0], v[1]))
			if v[1] == at {
				return end
			}
			return nil
		}, from)
		return out, err
	}
	for _, test := range []struct {
		from int64
		at   string
		end  error
		want []string
		err  error
	}{
		{1, "", nil, []string{"1 one", "2 two", "3 three"}, nil},
		{2, "two", io.EOF, []string{"2 two"}, nil},
		{2, "two", errStop, []string{"2 two"}, errStop},
		{2, "", nil, []string{"2 two", "3 three"}, nil}, // from the beginning again
		{4, "", nil, nil, nil},
	} {
		got, err := rows(test.from, test.at, test.end)
		if !slices.Equal(got, test.want) || !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
			t.Errorf("from %d, %v at %q: got %q, %v; want %q", test.from, test.end, test.at, got, err, test.want)
		}
	}
	if err := insert.Run(nil, int64(4), "four"); err != nil {
		t.Error(err)
	}
	if err := insert.Run(nil, int64(4), "four"); !Is(err, sqlite3.ErrBusy, sqlite3.ErrConstraint) || Is(err, sqlite3.ErrBusy) {
		t.Errorf("inserted twice: got %v", err)
	}
	if err := insert.Run(nil, int64(5)); err == nil {
		t.Error("an argument too few: no error")
	}
	if err := insert.Run(nil, int64(5), "five", "six"); err == nil {
		t.Error("an argument too many: no error")
	}
	if v, err := query.First(int64(4)); err != nil || len(v) != 2 || v[1] != "four" {
		t.Errorf("First(4): got %v, %v", v, err)
	}
	if v, err := query.First(int64(5)); v != nil || err != io.EOF {
		t.Errorf("First(5): got %v, %v; want io.EOF", v, err)
	}
}

func TestOnce(t *testing.T) {
	c := open(t, "db")
	if v, err := c.First("SELECT s, n FROM t WHERE n = ?", int64(2)); err != nil || len(v) != 2 || v[0] != "two" || v[1] != int64(2) {
		t.Errorf("First: got %v, %v", v, err)
	}
	if v, err := c.First("SELECT s FROM t WHERE n = 9"); v != nil || err != io.EOF {
		t.Errorf("First of none: got %v, %v; want io.EOF", v, err)
	}
	if err := c.Run("SELECT s FROM nothing", nil); !Is(err, sqlite3.ErrError) {
		t.Errorf("no such table: got %v", err)
	}
	if c.InTransaction() {
		t.Error("in a transaction before BEGIN")
	}
	if err := errors.Join(c.Exec("BEGIN"), c.Run("DELETE FROM t WHERE n < ?", nil, int64(3))); err != nil {
		t.Fatal(err)
	}
	if !c.InTransaction() {
		t.Error("in no transaction after BEGIN")
	}
	if v, err := c.First("SELECT count(*) FROM t"); err != nil || v[0] != int64(1) {
		t.Errorf("count: got %v, %v", v, err)
	}
}

// TestClose leaves statements and a transaction behind, which must not keep
// the database locked.
func TestClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	for range 2 {
		c, err := Open(path, "rwc", "locking_mode=EXCLUSIVE", "busy_timeout=0")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Exec("CREATE TABLE IF NOT EXISTS t (n)"); err != nil {
			t.Fatal(err)
		}
		var begin, query *Stmt
		if err := c.Prepare(map[**Stmt]string{&begin: "BEGIN IMMEDIATE", &query: "SELECT n FROM t"}); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(begin.Run(nil), query.Run(nil)); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestReadEnds stops a query at its first row. Had it not let go of the file,
// nobody could write.
func TestReadEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	var conns [2]*Conn
	for i := range conns {
		c, err := Open(path, "rwc", "busy_timeout=0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
	}
	if err := conns[0].Exec("CREATE TABLE t (n); INSERT INTO t VALUES (1), (2)"); err != nil {
		t.Fatal(err)
	}
	var query *Stmt
	if err := conns[0].Prepare(map[**Stmt]string{&query: "SELECT n FROM t"}); err != nil {
		t.Fatal(err)
	}
	if _, err := query.First(); err != nil {
		t.Fatal(err)
	}
	if err := conns[1].Exec("INSERT INTO t VALUES (3)"); err != nil {
		t.Error(err)
	}
}

// TestAllocs checks that a prepared statement costs no more than its rows. What
// the driver allocates is its struct of rows and, here, nothing for values.
func TestAllocs(t *testing.T) {
	c := open(t, "db")
	var query *Stmt
	if err := c.Prepare(map[**Stmt]string{&query: "SELECT n FROM t WHERE n >= ?"}); err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	row := func(v []Value) error {
		var n int64
		err := Take(v[0], &n)
		sum += n
		return err
	}
	n := testing.AllocsPerRun(100, func() {
		if err := query.Run(row, int64(1)); err != nil {
			t.Error(err)
		}
	})
	if n > 1 || sum == 0 {
		t.Errorf("%v allocations a query of three rows", n)
	}
}

func TestTake(t *testing.T) {
	n, s, b := int64(1), "s", []byte("b")
	if err := errors.Join(Take(Value(int64(2)), &n), Take(Value("t"), &s), Take(Value([]byte("c")), &b)); err != nil {
		t.Error(err)
	}
	for _, err := range []error{Take(Value("2"), &n), Take(Value([]byte("u")), &s), Take(Value("d"), &b), Take(nil, &n)} {
		if !errors.Is(err, ErrRow) {
			t.Errorf("got %v, want %v", err, ErrRow)
		}
	}
	if n != 2 || s != "t" || string(b) != "c" {
		t.Errorf("got %v, %v, %s", n, s, b)
	}
}

func TestIsDamage(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	_, damaged := Open(garbage, "rw", "journal_mode=WAL")
	_, missing := Open(filepath.Join(dir, "missing"), "rw", "journal_mode=WAL")
	for _, test := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{io.EOF, false},
		{fmt.Errorf("x: %w", ErrRow), true},
		{damaged, true},
		{fmt.Errorf("x: %w", damaged), true},
		{missing, false},
		{open(t, "db").Run("SELECT x FROM t", nil), true},
		{errors.Join(ErrRow, sqlite3.Error{Code: sqlite3.ErrFull}), false},
		{sqlite3.Error{Code: sqlite3.ErrIoErr}, false},
		{sqlite3.Error{Code: sqlite3.ErrCorrupt}, true},
	} {
		if got := IsDamage(test.err); got != test.want {
			t.Errorf("IsDamage(%v) = %v", test.err, got)
		}
	}
}

// TestShortage checks that what SQLite says of the machine is known as that, and
// that a file that is missing stays an error of SQLite.
func TestShortage(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{io.EOF, false},
		{fmt.Errorf("x: %w", sqlite3.Error{Code: sqlite3.ErrCantOpen, SystemErrno: syscall.EMFILE}), true},
		{sqlite3.Error{Code: sqlite3.ErrIoErr, SystemErrno: syscall.ENFILE}, true},
		{sqlite3.Error{Code: sqlite3.ErrNomem}, true},
		{sqlite3.Error{Code: sqlite3.ErrIoErr, ExtendedCode: sqlite3.ErrIoErrNoMem}, true},
		{sqlite3.Error{Code: sqlite3.ErrCantOpen, SystemErrno: syscall.ENOENT}, false},
	} {
		got := Shortage(test.err)
		if descriptors.Short(got) != test.want || test.err != nil && !strings.HasPrefix(got.Error(), test.err.Error()) {
			t.Errorf("Shortage(%v) = %v", test.err, got)
		}
		if errors.Is(got, fs.ErrNotExist) {
			t.Errorf("Shortage(%v) is absence", test.err)
		}
	}
}
