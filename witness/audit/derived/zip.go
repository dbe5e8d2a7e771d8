// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"archive/zip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/mod/module"
	modzip "golang.org/x/mod/zip"
)

// maxDirectory bounds the bytes that are read of a zip before the sizes that it
// declares are known: a file that is all directory would fill the memory.
const maxDirectory = 32 << 20

// A moduleZip is what the auditor wants to know of the zip of a module version.
type moduleZip struct {
	h1    [32]byte
	goMod []byte // of the root; nil if there is none
	rule  error  // of module zips that it breaks; such a zip has a hash all the same
}

// scanZip reads the zip of m, without inflating more than a module may have.
// Its error is that of a file that has no hash.
func scanZip(f io.ReaderAt, size int64, m module.Version) (moduleZip, error) {
	z, err := openZip(f, size)
	if err != nil {
		return moduleZip{}, err
	}
	var mz moduleZip
	root := m.Path + "@" + m.Version + "/"
	files := slices.Clone(z.File)
	slices.SortFunc(files, func(a, b *zip.File) int { return strings.Compare(a.Name, b.Name) })
	all := sha256.New()
	for i, file := range files {
		// Two files of one name have no one hash; a newline in a name makes
		// one line two.
		if i > 0 && files[i-1].Name == file.Name {
			return mz, fmt.Errorf("zip has two files %q", file.Name)
		}
		if strings.Contains(file.Name, "\n") {
			return mz, fmt.Errorf("zip has a file %q", file.Name)
		}
		if mz.rule == nil {
			mz.rule = checkName(file, root)
		}
		keep := file.Name == root+"go.mod" && file.UncompressedSize64 <= modzip.MaxGoMod
		sum, data, err := sumFile(file, keep)
		if err != nil {
			return mz, fmt.Errorf("zip: %q: %w", file.Name, err)
		}
		if keep {
			mz.goMod = data
		}
		fmt.Fprintf(all, "%x  %s\n", sum, file.Name)
	}
	mz.h1 = [32]byte(all.Sum(nil))
	return mz, nil
}

// checkName reports why the go command would not unpack file.
func checkName(file *zip.File, root string) error {
	name, ok := strings.CutPrefix(file.Name, root)
	if !ok {
		return fmt.Errorf("%q is not below %s", file.Name, root)
	}
	if strings.HasSuffix(name, "/") {
		return nil // a directory; the go command ignores it
	}
	switch {
	case name == "go.mod" && file.UncompressedSize64 > modzip.MaxGoMod:
		return fmt.Errorf("go.mod of %d bytes", file.UncompressedSize64)
	case name == "LICENSE" && file.UncompressedSize64 > modzip.MaxLICENSE:
		return fmt.Errorf("LICENSE of %d bytes", file.UncompressedSize64)
	}
	return module.CheckFilePath(name)
}

// sumFile returns the SHA-256 of a file of a zip, and what is in it if keep.
func sumFile(file *zip.File, keep bool) (sum []byte, data []byte, err error) {
	r, err := file.Open()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	h := sha256.New()
	if keep {
		// archive/zip ends a file that is longer than it declared.
		data, err = io.ReadAll(io.TeeReader(r, h))
	} else {
		_, err = io.Copy(h, r)
	}
	return h.Sum(nil), data, err
}

// openZip reads the directory of a zip and holds it to the limits of a module,
// before anything is inflated.
func openZip(f io.ReaderAt, size int64) (*zip.Reader, error) {
	if size > modzip.MaxZipFile {
		return nil, fmt.Errorf("zip of %d bytes", size)
	}
	capped := &cappedReader{r: f, left: maxDirectory}
	z, err := zip.NewReader(capped, size)
	if err != nil {
		return nil, err
	}
	capped.left = -1
	left := uint64(modzip.MaxZipFile)
	for _, file := range z.File {
		if file.UncompressedSize64 > left {
			return nil, fmt.Errorf("zip with more than %d bytes of files", int64(modzip.MaxZipFile))
		}
		left -= file.UncompressedSize64
	}
	return z, nil
}

var errDirectory = errors.New("zip with too large a directory")

// A cappedReader reads at most left bytes; any number if left is negative.
type cappedReader struct {
	r    io.ReaderAt
	left int64
}

func (c *cappedReader) ReadAt(p []byte, off int64) (int, error) {
	if c.left >= 0 {
		if c.left -= int64(len(p)); c.left < 0 {
			c.left = 0
			return 0, errDirectory
		}
	}
	return c.r.ReadAt(p, off)
}
