// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/modzip"
	"example.org/sumlog/log"
)

// A ZipFile is a module zip on its way into the store: a temporary file that
// the caller fills and then hands to [Store.PutZip]. Abort ends it otherwise.
// It is hashed as it comes, so it can only be written from the beginning on; to
// begin anew, seek there and truncate.
type ZipFile struct {
	mod  module.Version
	temp *durable.File
	sum  hash.Hash // of what was written
	size int64     // of it

	// What scan found; h1 is empty before.
	h1    string
	goMod []byte // nil if it has none
	id    identity
}

// NewZip starts a zip of m.
func (s *Store) NewZip(m module.Version) (*ZipFile, error) {
	if _, err := Name(m, Zip); err != nil {
		return nil, err
	}
	f, err := durable.Create(s.root, tempDir)
	if err != nil {
		return nil, err
	}
	return &ZipFile{mod: m, temp: f, sum: sha256.New()}, nil
}

// Name returns the name of the temporary file.
func (z *ZipFile) Name() string { return z.temp.Name() }

func (z *ZipFile) Write(p []byte) (int, error) {
	n, err := z.temp.Write(p)
	z.sum.Write(p[:n])
	z.size += int64(n)
	return n, err
}

// Seek seeks to the beginning, and nowhere else.
func (z *ZipFile) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart {
		return 0, errors.ErrUnsupported
	}
	z.sum.Reset()
	z.size = 0
	return z.temp.Seek(0, io.SeekStart)
}

// Truncate empties the file.
func (z *ZipFile) Truncate(size int64) error {
	if size != 0 || z.size != 0 {
		return errors.ErrUnsupported
	}
	return z.temp.Truncate(0)
}

// Abort removes the temporary file. It does nothing after PutZip succeeded.
func (z *ZipFile) Abort() { z.temp.Abort() }

// scan checks that the file is a module zip of z.mod and hashes it, once.
func (s *Store) scan(ctx context.Context, z *ZipFile) error {
	if z.h1 != "" {
		return nil
	}
	id, err := identify(z.temp.File)
	if err != nil {
		return err
	}
	if id.size != z.size {
		return &fs.PathError{Op: "write", Path: z.Name(), Err: fmt.Errorf("%d bytes written, file of %d", z.size, id.size)}
	}
	h1, goMod, err := s.hashZip(ctx, z.temp, id.size, z.mod)
	if bad, ok := errors.AsType[*modzip.Error](err); ok {
		return &BadZipError{z.mod, bad.Whole, bad}
	}
	if err != nil {
		return err
	}
	z.h1, z.goMod, z.id = h1, goMod, id
	return nil
}

// A BadZipError reports a file that is not a module zip.
type BadZipError struct {
	Module module.Version

	// Whole says that the file is a sound zip, only that no module can have its
	// content (bad names, too many bytes, a go.mod that is not the .mod): who
	// fetches it again gets no other. Without it the file may have been cut or
	// garbled on the way, or be no zip. See modzip.Error for what sound means.
	Whole bool

	Err error
}

func (e *BadZipError) Error() string { return fmt.Sprintf("%s: not a module zip: %v", e.Module, e.Err) }
func (e *BadZipError) Unwrap() error { return e.Err }

// Compute returns the record of a module version that nothing but these bytes
// speaks for: its zip and its .mod. It refuses a .mod that means something else
// than the go.mod of the zip, or, when the zip has none, than the one that the
// go command makes up: such a version would build differently for those who
// fetch only the .mod. A go.mod that names another module path is not refused;
// forks do that.
func (s *Store) Compute(ctx context.Context, z *ZipFile, mod []byte) (log.Record, error) {
	if err := s.scan(ctx, z); err != nil {
		return log.Record{}, err
	}
	goMod := z.goMod
	if goMod == nil {
		goMod = []byte("module " + modfile.AutoQuote(z.mod.Path) + "\n")
	}
	if !sameMeaning(mod, goMod) {
		// What is no go.mod at all is not what the version's author wrote.
		f, err := modfile.ParseLax("go.mod", mod, nil)
		whole := err == nil && f.Module != nil
		return log.Record{}, &BadZipError{z.mod, whole, errors.New("the .mod file is not the zip's go.mod")}
	}
	h, err := hashMod(mod)
	if err != nil {
		return log.Record{}, err
	}
	rec := log.Record{Module: z.mod, Zip: z.h1, Mod: h}
	return rec, rec.Check()
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
	if err := s.scan(ctx, z); err != nil {
		return err
	}
	if z.h1 != rec.Zip {
		return &MismatchError{Module: rec.Module, Kind: Zip, Want: rec.Zip, Got: z.h1}
	}
	defer s.locks.lock(rec.Module.String())()
	if id, err := identify(z.temp.File); err != nil || id != z.id {
		return &fs.PathError{Op: "store", Path: name, Err: fmt.Errorf("file changed after it was checked")}
	}
	return s.commit(z.temp, key{rec.Module, Zip}, name, rec.Zip, hex.EncodeToString(z.sum.Sum(nil)))
}
