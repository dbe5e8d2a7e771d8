// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"

	"example.org/sumlog/internal/durable"
	"example.org/sumlog/log"
)

// A ZipFile is a module zip on its way into the store: a temporary file that
// the caller fills and then hands to [Store.PutZip]. Abort ends it otherwise.
type ZipFile struct {
	*os.File
	mod  module.Version
	temp *durable.File

	// What scan found; h1 is empty before.
	h1, sum string
	id      identity
}

// maxFileErrors is how many bad files of a zip an error names.
const maxFileErrors = 3

// NewZip starts a zip of m.
func (s *Store) NewZip(m module.Version) (*ZipFile, error) {
	if _, err := Name(m, Zip); err != nil {
		return nil, err
	}
	f, err := durable.Create(s.root, tempDir)
	if err != nil {
		return nil, err
	}
	return &ZipFile{File: f.File, mod: m, temp: f}, nil
}

// Abort removes the temporary file. It does nothing after PutZip succeeded.
func (z *ZipFile) Abort() { z.temp.Abort() }

// scan checks that the file is a module zip of z.mod within the limits of
// x/mod/zip, and hashes it once.
func (s *Store) scan(z *ZipFile) error {
	if z.h1 != "" {
		return nil
	}
	s.hashing <- struct{}{}
	defer func() { <-s.hashing }()
	id, err := identify(z.File)
	if err != nil {
		return err
	}
	// Sizes first: CheckZip reads the whole directory whatever its size.
	if _, err := openZip(z.File, id.size); err != nil {
		return &BadZipError{Module: z.mod, Err: err}
	}
	if _, err := zip.CheckZip(z.mod, z.File.Name()); err != nil {
		// One error a file: of hundreds of thousands the first few will do.
		if list, ok := errors.AsType[zip.FileErrorList](err); ok && len(list) > maxFileErrors {
			err = slices.Clone(list[:maxFileErrors])
		}
		return &BadZipError{Module: z.mod, Err: err}
	}
	h1, err := hashZip(z.File, id.size)
	if err != nil {
		return &BadZipError{Module: z.mod, Err: err}
	}
	if z.sum, err = sumFile(z.File, id.size); err != nil {
		return err
	}
	z.h1, z.id = h1, id
	return nil
}

// A BadZipError reports a file that is not a module zip.
type BadZipError struct {
	Module module.Version
	Err    error

	// Whole says that it is a sound zip whose content can be no module.
	Whole bool
}

func (e *BadZipError) Error() string { return fmt.Sprintf("%s: not a module zip: %v", e.Module, e.Err) }
func (e *BadZipError) Unwrap() error { return e.Err }

// Compute returns the record of a module version that nothing but these bytes
// speaks for: its zip and its .mod. It refuses a .mod that is not the go.mod of
// the zip, byte for byte, or, when the zip has none, not the one that the go
// command makes up: such a version would build differently for those who
// fetch only the .mod. A go.mod that names another module path is not refused;
// forks do that.
func (s *Store) Compute(ctx context.Context, z *ZipFile, mod []byte) (log.Record, error) {
	if err := s.scan(z); err != nil {
		return log.Record{}, err
	}
	goMod, err := z.goMod()
	if err != nil {
		return log.Record{}, &BadZipError{Module: z.mod, Err: err}
	}
	if !bytes.Equal(mod, goMod) {
		// What is no go.mod at all is not what the version's author wrote.
		f, err := modfile.ParseLax("go.mod", mod, nil)
		return log.Record{}, &BadZipError{z.mod, fmt.Errorf("the .mod file is not the zip's go.mod"), err == nil && f.Module != nil}
	}
	h, err := hashMod(bytes.NewReader(mod))
	if err != nil {
		return log.Record{}, err
	}
	rec := log.Record{Module: z.mod, Zip: z.h1, Mod: h}
	return rec, rec.Check()
}

// goMod returns the go.mod of a scanned zip, or the one made up for it.
func (z *ZipFile) goMod() ([]byte, error) {
	r, err := openZip(z.File, z.id.size)
	if err != nil {
		return nil, err
	}
	name := z.mod.Path + "@" + z.mod.Version + "/go.mod"
	for _, file := range r.File {
		if file.Name != name {
			continue
		}
		f, err := file.Open()
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, MaxMod))
	}
	return []byte("module " + modfile.AutoQuote(z.mod.Path) + "\n"), nil
}

// PutZip stores z under its name after checking that it is the zip of rec. A
// *[MismatchError] says that it is not; a *[BadZipError] that it is no module
// zip at all. z is over in any case.
func (s *Store) PutZip(ctx context.Context, rec log.Record, z *ZipFile) error {
	defer z.Abort()
	name, err := Name(rec.Module, Zip)
	if err != nil {
		return err
	}
	if err := s.scan(z); err != nil {
		return err
	}
	if z.h1 != rec.Zip {
		return &MismatchError{Module: rec.Module, Kind: Zip, Want: rec.Zip, Got: z.h1}
	}
	defer s.locks.lock(rec.Module.String())()
	if id, err := identify(z.File); err != nil || id != z.id {
		return &fs.PathError{Op: "store", Path: name, Err: fmt.Errorf("file changed after it was checked")}
	}
	return s.commit(z.temp, key{rec.Module, Zip}, name, rec.Zip, z.sum)
}
