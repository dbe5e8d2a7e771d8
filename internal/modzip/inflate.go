// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package modzip

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"hash"
	"hash/crc32"
	"io"
	"strings"
)

// The two ways in which files are packed.
const (
	store   = 0
	deflate = 8
)

const (
	maxWindow = 256 << 10
	chunk     = 64 << 10
)

// An inflater inflates the files of a zip, which mostly follow each other: it
// reads a window of the zip at a time.
type inflater struct {
	ctx    context.Context
	z      *Zip
	window []byte // from off on
	off    int64

	flate io.ReadCloser
	small bytes.Reader  // of a file in the window
	large *bufio.Reader // of one that does not fit it
	out   []byte
	sum   hash.Hash
	goMod []byte
}

func newInflater(ctx context.Context, z *Zip) *inflater {
	return &inflater{
		ctx:    ctx,
		z:      z,
		window: make([]byte, 0, min(z.size, maxWindow)),
		flate:  flate.NewReader(nil),
		out:    make([]byte, chunk),
		sum:    sha256.New(),
	}
}

// file inflates a file, checks that it is what the directory says, and returns
// its SHA-256. With keep it is kept in goMod.
func (in *inflater) file(e entry, keep bool) ([]byte, error) {
	in.sum.Reset()
	fail := func(what string) error { return broken("%q: %s", cut(e.name), what) }
	body, err := in.body(e)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(e.name, "/") {
		if e.size != 0 {
			return nil, fail("a directory with content")
		}
		return in.sum.Sum(nil), nil
	}
	r, err := in.open(e, body)
	if err != nil {
		return nil, err
	}
	if keep {
		in.goMod = []byte{} // there is one, even if it is empty
	}
	crc, size := uint32(0), uint64(0)
	for err == nil {
		var n int
		if err = in.ctx.Err(); err != nil {
			return nil, err
		}
		n, err = r.Read(in.out)
		if size += uint64(n); size > e.size {
			return nil, fail("longer than declared")
		}
		in.sum.Write(in.out[:n])
		crc = crc32.Update(crc, crc32.IEEETable, in.out[:n])
		if keep {
			in.goMod = append(in.goMod, in.out[:n]...)
		}
	}
	switch {
	case err != io.EOF:
		if in.ctx.Err() != nil {
			return nil, in.ctx.Err()
		}
		if bad, ok := err.(*readError); ok {
			return nil, bad.err
		}
		return nil, fail(err.Error())
	case size != e.size:
		return nil, fail("shorter than declared")
	}
	return in.sum.Sum(nil), in.checkCRC(e, body, crc, fail)
}

// checkCRC checks the checksum of an inflated file, as archive/zip does.
func (in *inflater) checkCRC(e entry, body int64, crc uint32, fail func(string) error) error {
	const hasDescriptor = 1 << 3
	if e.flags&hasDescriptor != 0 {
		desc, err := in.read(body+int64(e.packed), descLen)
		if err != nil {
			return err
		}
		desc = bytes.TrimPrefix(desc, []byte(descSign)) // which it may have or not
		if len(desc) < descLen-len(descSign) || le32(string(desc[:4])) != e.crc {
			return fail("checksum error")
		}
	} else if e.crc == 0 {
		return nil // not set
	}
	if crc != e.crc {
		return fail("checksum error")
	}
	return nil
}

// body returns where the content of a file begins.
func (in *inflater) body(e entry) (int64, error) {
	at := in.z.end.base + e.offset
	head, err := in.read(at, localLen)
	if err != nil {
		return 0, err
	}
	if len(head) < localLen || string(head[:4]) != localSign {
		return 0, broken("%q: no file where the directory says", cut(e.name))
	}
	s := string(head)
	return at + localLen + int64(le16(s[26:])) + int64(le16(s[28:])), nil
}

// open returns a reader of the content of e. What the zip is too short for is
// missed by those who need it: archive/zip takes a file that does not.
func (in *inflater) open(e entry, body int64) (io.Reader, error) {
	body = min(body, in.z.size)
	packed := min(int64(e.packed), in.z.size-body)
	var r io.Reader
	if packed <= int64(cap(in.window)) {
		data, err := in.read(body, packed)
		if err != nil {
			return nil, err
		}
		in.small.Reset(data)
		r = &in.small
	} else {
		if in.large == nil {
			in.large = bufio.NewReaderSize(nil, chunk)
		}
		in.large.Reset(&contextReader{in.ctx, io.NewSectionReader(in.z.r, body, packed)})
		r = in.large
	}
	if e.method == store {
		return r, nil
	}
	return in.flate, in.flate.(flate.Resetter).Reset(r, nil)
}

// read returns n bytes of the zip at off, at most what a window has, or fewer at
// its end. They are good until the next read.
func (in *inflater) read(off, n int64) ([]byte, error) {
	if off < 0 || off > in.z.size {
		return nil, broken("nothing at offset %d", off)
	}
	n = min(n, in.z.size-off)
	if off < in.off || off+n > in.off+int64(len(in.window)) {
		if err := in.ctx.Err(); err != nil {
			return nil, err
		}
		w := in.window[:min(int64(cap(in.window)), in.z.size-off)]
		in.window, in.off = in.window[:0], off
		if m, err := in.z.r.ReadAt(w, off); m < len(w) {
			return nil, endOf(err)
		}
		in.window = w
	}
	return in.window[off-in.off:][:n], nil
}

// A contextReader ends when its context does, even in a file that inflates to
// nothing. Its errors are of the disk, where the inflater's are of the content.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, &readError{err}
	}
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		err = &readError{err}
	}
	return n, err
}
