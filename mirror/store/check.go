// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package store

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"

	"example.org/sumlog/log"
)

// maxDirectory bounds the directory of a zip. Each of its entries costs some
// hundred bytes of memory while it is read, so without a bound a file of a few
// hundred megabytes that is all directory would cost gigabytes. A module of a
// hundred thousand files stays below it.
const maxDirectory = 32 << 20

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
// it says (its Origin) is kept by keeping the bytes, and not vouched for.
func ParseInfo(data []byte, m module.Version) (VersionInfo, error) {
	if len(data) > MaxInfo {
		return VersionInfo{}, fmt.Errorf("%s: .info of %d bytes", m, len(data))
	}
	var i VersionInfo
	if err := json.Unmarshal(data, &i); err != nil {
		return VersionInfo{}, fmt.Errorf("%s: malformed .info: %w", m, err)
	}
	if i.Version != m.Version {
		return VersionInfo{}, fmt.Errorf("%s: .info is of version %q", m, i.Version)
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
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || !fi.Mode().IsRegular() {
		return identity{}, &fs.PathError{Op: "open", Path: f.Name(), Err: errors.New("not a regular file")}
	}
	return identity{uint64(st.Dev), st.Ino, fi.Size(), fi.ModTime().UnixNano()}, nil
}

// check reads all of f, whose identity is id, and returns its hex SHA-256, or a
// *MismatchError if it is not rec's k file.
func (s *Store) check(f *os.File, rec log.Record, k Kind, id identity) (sum string, err error) {
	s.hashing <- struct{}{}
	defer func() { <-s.hashing }()
	var got string
	switch k {
	case Zip:
		got, err = hashZip(f, id.size)
	case Mod:
		if id.size > MaxMod {
			err = fmt.Errorf("go.mod of %d bytes", id.size)
		} else {
			got, err = hashMod(io.NewSectionReader(f, 0, id.size))
		}
	case Info:
		var data []byte
		data, err = io.ReadAll(io.NewSectionReader(f, 0, min(id.size, MaxInfo+1)))
		if err == nil {
			_, err = ParseInfo(data, rec.Module)
		}
	}
	switch {
	case errors.As(err, new(*fs.PathError)): // the disk, not the content
		return "", err
	case err != nil:
		return "", &MismatchError{rec.Module, k, want(rec, k), err.Error()}
	case got != want(rec, k):
		return "", &MismatchError{rec.Module, k, want(rec, k), got}
	}
	return sumFile(f, id.size)
}

func sumFile(f *os.File, size int64) (string, error) {
	h := sha256.New()
	if n, err := io.Copy(h, io.NewSectionReader(f, 0, size)); err != nil {
		return "", err
	} else if n != size {
		return "", fmt.Errorf("%s: %d of %d bytes: %w", f.Name(), n, size, io.ErrUnexpectedEOF)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hashMod returns the h1 hash of a go.mod.
func hashMod(r io.Reader) (string, error) {
	return dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return io.NopCloser(r), nil })
}

// hashZip returns the h1 hash of a zip, the same as dirhash.HashZip. It reads
// no more than declared: the sum of the declared sizes is bounded here, and
// archive/zip reports an entry that is longer than it declared.
func hashZip(f io.ReaderAt, size int64) (string, error) {
	z, err := openZip(f, size)
	if err != nil {
		return "", err
	}
	files := slices.Clone(z.File)
	slices.SortFunc(files, func(a, b *zip.File) int {
		if a.Name < b.Name {
			return -1
		} else if a.Name > b.Name {
			return 1
		}
		return 0
	})
	all, one := sha256.New(), sha256.New()
	buf := make([]byte, 64<<10)
	var line []byte
	for i, file := range files {
		if i > 0 && files[i-1].Name == file.Name {
			return "", fmt.Errorf("zip has two files %q", file.Name)
		}
		one.Reset()
		if err := copyFile(one, file, buf); err != nil {
			return "", fmt.Errorf("zip: %q: %w", file.Name, err)
		}
		line = hex.AppendEncode(line[:0], one.Sum(nil))
		line = append(line, "  "...)
		line = append(line, file.Name...)
		all.Write(append(line, '\n'))
	}
	return "h1:" + base64.StdEncoding.EncodeToString(all.Sum(nil)), nil
}

func copyFile(w io.Writer, file *zip.File, buf []byte) error {
	r, err := file.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		n, err := r.Read(buf)
		w.Write(buf[:n]) // a hash: never fails
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// openZip reads the directory of a zip and enforces the sizes that it may
// declare, before anything is inflated.
func openZip(f io.ReaderAt, size int64) (*zip.Reader, error) {
	if size > MaxZip {
		return nil, fmt.Errorf("zip of %d bytes", size)
	}
	capped := &cappedReader{r: f, left: maxDirectory}
	z, err := zip.NewReader(capped, size)
	if err != nil {
		return nil, err
	}
	capped.left = -1
	left := uint64(MaxZip)
	for _, file := range z.File {
		if file.UncompressedSize64 > left {
			return nil, fmt.Errorf("zip with more than %d bytes of files", int64(MaxZip))
		}
		left -= file.UncompressedSize64
	}
	return z, nil
}

// cappedReader reads at most left bytes; no bound if left is negative.
type cappedReader struct {
	r    io.ReaderAt
	left int64
}

func (c *cappedReader) ReadAt(p []byte, off int64) (int, error) {
	if c.left >= 0 {
		if c.left -= int64(len(p)); c.left < 0 {
			c.left = 0
			return 0, fmt.Errorf("zip with a directory of more than %d bytes", int64(maxDirectory))
		}
	}
	return c.r.ReadAt(p, off)
}
