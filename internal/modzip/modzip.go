// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package modzip reads module zips that nobody vouches for: it checks that one
// is a module's, and hashes it.
//
// It says of a zip what x/mod's zip.CheckZip and dirhash.HashZip say together,
// which are its referees in tests, at a bounded cost. Only a zip whose packed files
// are together larger than it is, so that some overlap, is refused here alone.
//
//   - Memory. The directory is kept as the bytes that it is, with four bytes
//     more for each file: at most [MaxDirectory] and a tenth. archive/zip needs
//     300 bytes for each file and x/mod as many for each directory above it,
//     which a directory of 32 MB can bring to gigabytes.
//   - Time. No file may be larger than it declares, all together at most
//     [MaxSize], and packed no larger than the zip: files that share their bytes
//     do not add up. Both ends when the context does, in the middle of a file.
//
// Every file is inflated once. The directory is read as archive/zip reads it,
// with which the go command will, and what inflates here is what inflates there,
// compress/flate: what is taken here has the same files there. (A laxer one would
// take a zip into the log, for ever, that no go command can unpack.)
//
// [Zip.Read] is for who takes a zip in, and [Zip.Scan] for who has one hashed whatever
// the rules say of it. A failure is an [*Error], unless it is of the disk or the
// context.
package modzip

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Sizes in bytes.
const (
	// MaxSize bounds a zip and, apart from that, the sum of its files.
	MaxSize = 500 << 20 // zip.MaxZipFile

	// MaxDirectory bounds the directory: 200,000 files with long names.
	MaxDirectory = 32 << 20

	maxGoMod   = 16 << 20 // zip.MaxGoMod
	maxLicense = 16 << 20 // zip.MaxLICENSE
)

// An Error says why a file is not a module zip.
type Error struct {
	// Whole says that the file is a sound zip that can be no module: fetching
	// it again would give the same. That is said of a zip refused for its
	// directory, if there are as many files as its end declares, nothing is
	// before the first file, between the directory and the end or behind that,
	// and the first, the last and the refused file are where it says. (One that
	// was cut behind a zip among its files ends with the directory of that.)
	// Without Whole it may be a part, or a page of a portal.
	Whole bool

	// Costly says that it is refused for what it would cost, and here alone: what
	// others take it for is not known.
	Costly bool

	text string
}

func (e *Error) Error() string { return e.text }

// broken is the error of what is not a sound zip.
func broken(format string, args ...any) error {
	return &Error{text: fmt.Sprintf("zip: "+format, args...)}
}

// costly is the error of what is not looked into.
func costly(format string, args ...any) error {
	return &Error{Costly: true, text: fmt.Sprintf("zip: "+format, args...)}
}

// maxText bounds what an error quotes of a zip.
const maxText = 100

// cut shortens s.
func cut(s string) string {
	if len(s) > maxText {
		return strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}

// A Zip is an open zip. It is for one goroutine.
type Zip struct {
	r    io.ReaderAt
	size int64
	end  end

	dir        string   // the bytes of the directory
	at         []uint32 // where in dir the entry of each file begins
	consistent bool     // in itself, see [Error.Whole]
	inflated   int64
	prefix     string // of the names of the module's files
}

// Open finds the directory of the zip of the given size.
func Open(r io.ReaderAt, size int64) (*Zip, error) {
	if size > MaxSize {
		return nil, broken("%d bytes", size)
	}
	z := &Zip{r: r, size: size}
	return z, z.locate()
}

// Directory bounds the memory that [Zip.Scan] needs.
func (z *Zip) Directory() int64 { return min(z.size-z.end.start, MaxDirectory) }

// Inflated is the size of all files, as declared. It is known after [Zip.Scan].
func (z *Zip) Inflated() int64 { return z.inflated }

// Hash inflates every file of a zip that was scanned and returns the h1 hash, and
// the content of the go.mod, nil if there is none or it is too large. Of files
// with one name, or a newline in it, there is no one hash.
func (z *Zip) Hash(ctx context.Context) (h1 string, goMod []byte, err error) {
	slices.SortFunc(z.at, func(a, b uint32) int { return strings.Compare(nameAt(z.dir, a), nameAt(z.dir, b)) })
	in := newInflater(ctx, z)
	all := sha256.New()
	var line []byte
	for i, at := range z.at {
		e, _, _ := parseEntry(z.dir[at:])
		twice := i > 0 && e.name == nameAt(z.dir, z.at[i-1]) && !strings.HasSuffix(e.name, "/")
		if twice || strings.Contains(e.name, "\n") {
			return "", nil, broken("two files, or a line end, in the name %q", cut(e.name))
		}
		sum, err := in.file(e, e.name == z.prefix+"go.mod" && e.size <= maxGoMod)
		if err != nil {
			return "", nil, err
		}
		line = hex.AppendEncode(line[:0], sum)
		line = append(line, "  "...)
		line = append(line, e.name...)
		all.Write(append(line, '\n'))
	}
	return "h1:" + base64.StdEncoding.EncodeToString(all.Sum(nil)), in.goMod, nil
}
