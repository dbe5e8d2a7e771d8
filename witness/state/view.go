// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"example.org/sumlog/internal/sqlite"
)

// A View reads the state, also beside the process that runs the witness. It
// takes no lock and does not look at the guard.
type View struct {
	mu       sync.Mutex
	conn     *sqlite.Conn
	note     *sqlite.Stmt
	evidence *sqlite.Stmt
}

// OpenView opens the state in dir for reading.
func OpenView(dir string) (*View, error) {
	path := filepath.Join(dir, dbFile)
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	c, err := sqlite.Open(path, "ro", "query_only=ON", "cache_size=-1024")
	if err != nil {
		return nil, err
	}
	v := &View{conn: c}
	err = c.Prepare(map[**sqlite.Stmt]string{
		&v.note:     "SELECT note FROM heads WHERE id = (SELECT id FROM logs WHERE origin = ?)",
		&v.evidence: "SELECT origin, time, file FROM evidence ORDER BY time, sum",
	})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return v, nil
}

// Close gives the connection back.
func (v *View) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.conn.Close()
}

// Logs returns all logs, disabled ones too, by origin.
func (v *View) Logs() ([]Entry, error) {
	st, err := v.load(false)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, 0, len(st.rows))
	for _, r := range st.rows {
		out = append(out, r.Entry)
	}
	slices.SortFunc(out, func(a, b Entry) int { return cmp.Compare(a.Origin, b.Origin) })
	return out, nil
}

func (v *View) load(notes bool) (*stored, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return load(v.conn, notes)
}

// Note returns the newest cosigned checkpoint of a log, nil if there is none.
func (v *View) Note(origin string) (note []byte, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	row, err := v.note.First(origin)
	if err == io.EOF {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return note, sqlite.Take(row[0], &note)
}

// Evidence returns all evidence, oldest first.
func (v *View) Evidence() (out []Evidence, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	err = v.evidence.Run(func(row []sqlite.Value) error {
		var e Evidence
		err := errors.Join(sqlite.Take(row[0], &e.Origin), sqlite.Take(row[1], &e.Time), sqlite.Take(row[2], &e.File))
		out = append(out, e)
		return err
	})
	return out, err
}

// Export writes all logs and heads, as they are at one moment.
func (v *View) Export(w io.Writer) error {
	st, err := v.load(true)
	if err != nil {
		return err
	}
	return writeExport(w, st)
}
