// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"os"
	"path/filepath"
)

// A version is a logged one.
type version struct {
	name  string
	index int64
}

// perPart is how many versions a part of a spill holds, about: some 200 bytes each
// in memory.
const perPart = 250_000

// maxVersions bounds the versions of one module that are looked at: far more than
// any module has, and what a log full of one module cannot exceed in memory.
const maxVersions = 250_000

// A spill puts versions of modules into temporary files, all of one module into
// one file, so that they can be looked at module by module without all being in
// memory. It is for one goroutine.
type spill struct {
	dir   string
	seed  maphash.Seed // unknown outside, so that nobody can fill one file
	files []*os.File
	w     []*bufio.Writer
	buf   []byte
}

// newSpill returns a spill for about n versions.
func newSpill(n int64) (*spill, error) {
	dir, err := os.MkdirTemp("", "sumaudit-*")
	if err != nil {
		return nil, err
	}
	s := &spill{dir: dir, seed: maphash.MakeSeed()}
	for i := range min(n/perPart, 499) + 1 {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(i)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.files = append(s.files, f)
		s.w = append(s.w, bufio.NewWriterSize(f, 32<<10))
	}
	return s, nil
}

// add puts a version into its file.
func (s *spill) add(path, name string, index int64) error {
	b := binary.AppendUvarint(s.buf[:0], uint64(len(path)))
	b = append(b, path...)
	b = binary.AppendUvarint(b, uint64(len(name)))
	b = append(b, name...)
	b = binary.AppendUvarint(b, uint64(index))
	s.buf = b
	_, err := s.w[maphash.String(s.seed, path)%uint64(len(s.w))].Write(b)
	return err
}

// parts calls f for each file with the modules in it: the versions of each in the
// order of the log, no more than maxVersions and one.
func (s *spill) parts(f func(map[string][]version) error) error {
	for i, file := range s.files {
		if err := s.w[i].Flush(); err != nil {
			return err
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		modules, err := readPart(bufio.NewReaderSize(file, 64<<10))
		if err != nil {
			return err
		}
		if err := f(modules); err != nil {
			return err
		}
	}
	return nil
}

func readPart(r *bufio.Reader) (map[string][]version, error) {
	modules := make(map[string][]version)
	for {
		path, err := readString(r)
		if err == io.EOF {
			return modules, nil
		}
		if err != nil {
			return nil, err
		}
		name, err := readString(r)
		if err != nil {
			return nil, noEOF(err)
		}
		index, err := binary.ReadUvarint(r)
		if err != nil {
			return nil, noEOF(err)
		}
		if vs := modules[path]; len(vs) <= maxVersions {
			modules[path] = append(vs, version{name, int64(index & math.MaxInt64)})
		}
	}
}

func readString(r *bufio.Reader) (string, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return "", err
	}
	if n > math.MaxUint16 {
		return "", errors.New("temporary file is damaged")
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", noEOF(err)
	}
	return string(b), nil
}

// noEOF is for where a file must not end.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// close removes the files.
func (s *spill) close() error {
	for _, f := range s.files {
		f.Close()
	}
	return os.RemoveAll(s.dir)
}
