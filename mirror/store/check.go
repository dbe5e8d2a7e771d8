// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"

	"example.org/sumlog/internal/modzip"
	"example.org/sumlog/log"
)

// A MismatchError reports bytes that are not those of a record. For a file
// whose hash could not even be computed, Got says why.
type MismatchError struct {
	Module module.Version
	Kind   Kind
	Want   string
	Got    string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s: checksum mismatch of its %s: want %s, got %s", e.Module, e.Kind, e.Want, e.Got)
}

// VersionInfo is what the server itself reads of a .info.
type VersionInfo struct {
	Version string
	Time    time.Time
}

// ParseInfo parses a .info, which must name exactly the version of m. What else
// it says (its Origin) is kept by keeping the bytes, and not vouched for. An error
// quotes nothing of it, since clients may see the error and not what a host says.
func ParseInfo(data []byte, m module.Version) (VersionInfo, error) {
	if len(data) > MaxInfo {
		return VersionInfo{}, fmt.Errorf("%s: .info of %d bytes", m, len(data))
	}
	var i VersionInfo
	if err := json.Unmarshal(data, &i); err != nil {
		return VersionInfo{}, fmt.Errorf("%s: malformed .info", m)
	}
	if i.Version != m.Version {
		return VersionInfo{}, fmt.Errorf("%s: .info is of another version", m)
	}
	return i, nil
}

// identity is what makes a file the one that was checked: a write changes its
// time, and another file has another inode. It does not see a disk that returns
// other bytes than it was given; the next process's check does.
type identity struct {
	dev, ino uint64
	size     int64
	mtime    int64 // nanoseconds
}

// identify returns the identity of f, which must be a regular file.
func identify(f *os.File) (identity, error) {
	fi, err := f.Stat()
	if err != nil {
		return identity{}, err
	}
	id, err := identityOf(fi)
	if err != nil {
		return identity{}, &fs.PathError{Op: "open", Path: f.Name(), Err: err}
	}
	return id, nil
}

func identityOf(fi fs.FileInfo) (identity, error) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || !fi.Mode().IsRegular() {
		return identity{}, errors.New("not a regular file")
	}
	return identity{uint64(st.Dev), st.Ino, fi.Size(), fi.ModTime().UnixNano()}, nil
}

// check reads all of f, whose identity is id, and returns its hex SHA-256, or a
// *MismatchError if it is not rec's k file. It ends early when ctx does.
func (s *Store) check(ctx context.Context, f *os.File, rec log.Record, k Kind, id identity) (sum string, err error) {
	var got string
	switch k {
	case Zip:
		if got, _, err = s.hashZip(ctx, f, id.size, rec.Module); err == nil && got == want(rec, k) {
			return s.sumZip(ctx, f, id.size, rec.Module)
		}
	case Mod:
		got, sum, err = checkSmall(ctx, s.rooms(rec.Module).small, f, min(id.size, MaxMod+1), func(data []byte) (string, error) {
			if len(data) > MaxMod {
				return "", fmt.Errorf("go.mod of %d bytes", id.size)
			}
			return hashMod(data)
		})
	case Info:
		got, sum, err = checkSmall(ctx, s.rooms(rec.Module).small, f, min(id.size, MaxInfo+1), func(data []byte) (string, error) {
			_, err := ParseInfo(data, rec.Module)
			return "", err
		})
	}
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.As(err, new(*fs.PathError)): // the disk, not the content
		return "", err
	case err != nil:
		return "", &MismatchError{rec.Module, k, want(rec, k), err.Error()}
	case got != want(rec, k):
		return "", &MismatchError{rec.Module, k, want(rec, k), got}
	}
	return sum, nil
}

// checkSmall reads the size bytes of a .mod or .info and returns what hash says
// of them, and their hex SHA-256.
func checkSmall(ctx context.Context, r room, f *os.File, size int64, hash func([]byte) (string, error)) (got, sum string, err error) {
	leave, err := r.enter(ctx)
	if err != nil {
		return "", "", err
	}
	defer leave()
	data := make([]byte, size)
	if _, err := f.ReadAt(data, 0); err != nil {
		return "", "", err
	}
	got, err = hash(data)
	return got, hexSum(data), err
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// hashMod returns the h1 hash of a go.mod.
func hashMod(data []byte) (string, error) {
	return dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
}

// A room bounds how many do one kind of work at a time. The others wait outside
// for as long as they like to.
type room chan struct{}

func (r room) enter(ctx context.Context) (leave func(), err error) {
	select {
	case r <- struct{}{}:
		return func() { <-r }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Rooms are for those who read files. Each kind has as many places as there are
// processors and waits for no other: a .mod is not held up by zips, nor a zip of some
// kilobytes by those of hundreds of megabytes. (A zip with a large directory is in
// two.)
type rooms struct{ small, light, heavy, directory room }

func newRooms() rooms {
	procs := runtime.GOMAXPROCS(0)
	return rooms{make(room, procs), make(room, procs), make(room, procs), make(room, 1)}
}

// rooms returns those for the files of m.
func (s *Store) rooms(m module.Version) *rooms {
	if s.isPrivate(m.Path) {
		return &s.private
	}
	return &s.public
}

// A light zip is checked in some milliseconds. It is of that many bytes at most,
// and its files are.
const (
	lightZip   = 4 << 20
	lightFiles = 16 << 20

	// A directory above this is one of some ten thousand files.
	largeDirectory = lightZip
)

// errHeavy says that a zip is not a light one, of which its size alone tells
// nothing: bytes inflate to a thousand times as many.
var errHeavy = errors.New("zip with large files")

// hashZip checks that f is a zip of m, and returns its h1 hash and its go.mod.
func (s *Store) hashZip(ctx context.Context, f io.ReaderAt, size int64, m module.Version) (h1 string, goMod []byte, err error) {
	if size <= lightZip {
		if h1, goMod, err = s.hashZipIn(ctx, s.rooms(m).light, lightFiles, f, size, m); err != errHeavy {
			return h1, goMod, err
		}
	}
	return s.hashZipIn(ctx, s.rooms(m).heavy, MaxZip, f, size, m)
}

func (s *Store) hashZipIn(ctx context.Context, r room, limit int64, f io.ReaderAt, size int64, m module.Version) (h1 string, goMod []byte, err error) {
	z, err := modzip.Open(f, size)
	if err != nil {
		return "", nil, err
	}
	if z.Directory() > largeDirectory {
		// One at a time. It is entered first, so that who waits here takes no
		// place of those with fewer files.
		leave, err := s.rooms(m).directory.enter(ctx)
		if err != nil {
			return "", nil, err
		}
		defer leave()
	}
	leave, err := r.enter(ctx)
	if err != nil {
		return "", nil, err
	}
	defer leave()
	if err := z.Read(ctx, m); err != nil {
		return "", nil, err
	}
	if z.Inflated() > limit {
		return "", nil, errHeavy
	}
	return z.Hash(ctx)
}

// sumZip returns the hex SHA-256 of a zip.
func (s *Store) sumZip(ctx context.Context, f *os.File, size int64, m module.Version) (string, error) {
	r := s.rooms(m).heavy
	if size <= lightZip {
		r = s.rooms(m).light
	}
	leave, err := r.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	h := sha256.New()
	section := io.NewSectionReader(f, 0, size)
	for total := int64(0); ; {
		n, err := io.CopyN(h, section, 1<<20)
		total += n
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case err == io.EOF && total == size:
			return hex.EncodeToString(h.Sum(nil)), nil
		case err == io.EOF:
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		}
	}
}
