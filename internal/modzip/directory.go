// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package modzip

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The records of a zip (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT),
// by their signatures and fixed lengths.
const (
	localSign   = "PK\x03\x04"
	localLen    = 30
	entrySign   = "PK\x01\x02"
	entryLen    = 46
	endSign     = "PK\x05\x06"
	endLen      = 22
	locatorSign = "PK\x06\x07"
	locatorLen  = 20
	end64Sign   = "PK\x06\x06"
	end64Len    = 56
	descSign    = "PK\x07\x08"
	descLen     = 16

	maxVariable = 3 * (1<<16 - 1) // name, extra and comment of an entry
)

func le16(s string) uint16 { return uint16(s[0]) | uint16(s[1])<<8 }
func le32(s string) uint32 { return uint32(le16(s)) | uint32(le16(s[2:]))<<16 }
func le64(s string) uint64 { return uint64(le32(s)) | uint64(le32(s[4:]))<<32 }

// An end is what the end of a directory says, after archive/zip's reading.
type end struct {
	records uint64
	start   int64 // where the directory begins
	stop    int64 // where it should end
	base    int64 // what is added to the offsets of files
	last    bool  // nothing follows
}

// read reads n bytes at off, or fewer at the end of the file.
func (z *Zip) read(off, n int64) (string, error) {
	if off < 0 || off > z.size {
		return "", broken("nothing at offset %d", off)
	}
	var b strings.Builder // a string of this size, without a copy
	n = min(n, z.size-off)
	b.Grow(int(n))
	if _, err := io.CopyN(&b, io.NewSectionReader(z.r, off, n), n); err != nil {
		return "", endOf(err)
	}
	return b.String(), nil
}

// endOf tells a file that ends early from a disk that fails.
func endOf(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return broken("unexpected end")
	}
	return err
}

// locate finds the directory. Prepended bytes and wrong offsets are borne with
// as archive/zip bears them.
func (z *Zip) locate() error {
	tail, pos, err := z.tail()
	if err != nil {
		return err
	}
	records, size, offset := uint64(le16(tail[10:])), uint64(le32(tail[12:])), uint64(le32(tail[16:]))
	last := int(le16(tail[endLen-2:])) == len(tail)-endLen
	if records == 0xffff || size == 0xffff || offset == 0xffffffff {
		pos64, err := z.locate64(pos)
		if err != nil {
			return err
		}
		if pos64 >= 0 {
			rec, err := z.read(pos64, end64Len)
			if err != nil {
				return err
			}
			if len(rec) < end64Len || rec[:4] != end64Sign {
				return broken("not a valid zip file")
			}
			last = last && pos64+end64Len+locatorLen == pos
			pos, records, size, offset = pos64, le64(rec[32:]), le64(rec[40:]), le64(rec[48:])
		}
	}
	start := pos - int64(size)
	if int64(size) < 0 || int64(offset) < 0 || start < 0 || start >= z.size {
		return broken("not a valid zip file")
	}
	z.end = end{records: records, start: start, stop: pos, base: start - int64(offset), last: last}
	if z.end.base > 0 {
		// There are files with a wrong size of the directory. If one is where
		// the offset says, it is that.
		head, err := z.read(int64(offset), entryLen+maxVariable)
		if err != nil {
			return err
		}
		if _, n, _ := parseEntry(head); n > 0 {
			z.end.start, z.end.base = int64(offset), 0
		}
	}
	return nil
}

// tail returns the end record and where it is.
func (z *Zip) tail() (rec string, pos int64, err error) {
	for _, n := range []int64{1 << 10, 65 << 10} {
		n = min(n, z.size)
		tail, err := z.read(z.size-n, n)
		if err != nil {
			return "", 0, err
		}
		i := strings.LastIndex(tail[:max(0, len(tail)-endLen+len(endSign))], endSign)
		if i >= 0 && int(le16(tail[i+endLen-2:])) <= len(tail)-i-endLen {
			return tail[i:], z.size - n + int64(i), nil
		}
		if n == z.size {
			break
		}
	}
	return "", 0, broken("not a valid zip file")
}

// locate64 returns where the locator before the end record says that the zip64
// end record is, or -1.
func (z *Zip) locate64(pos int64) (int64, error) {
	if pos < locatorLen {
		return -1, nil
	}
	rec, err := z.read(pos-locatorLen, locatorLen)
	if err != nil {
		return 0, err
	}
	if rec[:4] != locatorSign || le32(rec[4:]) != 0 || le32(rec[16:]) != 1 {
		return -1, nil
	}
	return max(int64(le64(rec[8:])), -1), nil
}

// An entry is what the directory says of a file.
type entry struct {
	name         string
	flags        uint16
	method       uint16
	crc          uint32
	packed, size uint64
	offset       int64
}

// parseEntry parses the entry at the beginning of s, of n bytes. n is 0 if there
// is none; whole then says that archive/zip would take this for the end of the
// directory, and not for an error.
func parseEntry(s string) (e entry, n int, whole bool) {
	if len(s) < entryLen {
		return entry{}, 0, s != ""
	}
	nameLen, extraLen, commentLen := int(le16(s[28:])), int(le16(s[30:])), int(le16(s[32:]))
	n = entryLen + nameLen + extraLen + commentLen
	if s[:4] != entrySign {
		return entry{}, 0, true
	}
	if len(s) < n {
		return entry{}, 0, len(s) > entryLen
	}
	e = entry{
		name:   s[entryLen : entryLen+nameLen],
		flags:  le16(s[8:]),
		method: le16(s[10:]),
		crc:    le32(s[16:]),
		packed: uint64(le32(s[20:])),
		size:   uint64(le32(s[24:])),
		offset: int64(le32(s[42:])),
	}
	if !e.wide(s[entryLen+nameLen : entryLen+nameLen+extraLen]) {
		return entry{}, 0, true
	}
	return e, n, false
}

// wide takes the numbers that do not fit 32 bits from the extra fields.
func (e *entry) wide(extra string) bool {
	const max32 = 1<<32 - 1
	needSize, needPacked, needOffset := e.size == max32, e.packed == max32, e.offset == max32
	for len(extra) >= 4 {
		tag, n := le16(extra), int(le16(extra[2:]))
		if extra = extra[4:]; len(extra) < n {
			break
		}
		field := extra[:n]
		extra = extra[n:]
		if tag != 1 {
			continue
		}
		for _, f := range []struct {
			need *bool
			set  func(uint64)
		}{
			{&needSize, func(v uint64) { e.size = v }},
			{&needPacked, func(v uint64) { e.packed = v }},
			{&needOffset, func(v uint64) { e.offset = int64(v) }},
		} {
			if !*f.need {
				continue
			}
			if len(field) < 8 {
				return false
			}
			*f.need = false
			f.set(le64(field))
			field = field[8:]
		}
	}
	return !needPacked && !needOffset
}

// nameAt returns the name in the entry that begins at at.
func nameAt(dir string, at uint32) string {
	s := dir[at:]
	return s[entryLen : entryLen+int(le16(s[28:]))]
}

// readDirectory reads the directory and notes where each entry is.
func (z *Zip) readDirectory() error {
	all := z.size - z.end.start
	dir, err := z.read(z.end.start, z.Directory())
	if err != nil {
		return err
	}
	z.dir, z.at = dir, make([]uint32, 0, min(z.end.records, uint64(len(dir)/entryLen)))
	at := 0
	for {
		_, n, whole := parseEntry(dir[at:])
		if n > 0 {
			z.at = append(z.at, uint32(at))
			at += n
			continue
		}
		if len(dir) < int(all) && len(dir)-at < entryLen+maxVariable {
			return costly("directory of more than %d bytes", int64(MaxDirectory))
		}
		// A count of 16 bits wraps around in large files, which archive/zip
		// takes.
		if !whole || uint16(len(z.at)) != uint16(z.end.records) {
			return broken("not a valid zip file")
		}
		z.consistent = uint64(len(z.at)) == z.end.records && z.end.start+int64(at) == z.end.stop &&
			z.end.base == 0 && z.end.last
		return nil
	}
}

// refuse is the error of a zip that can be no module, for the entry at at.
func (z *Zip) refuse(at uint32, format string, args ...any) error {
	whole := z.consistent
	for i, at := range []uint32{0, slices.Max(z.at), at} {
		if !whole {
			break
		}
		e, _, _ := parseEntry(z.dir[at:])
		here, err := z.isAt(e)
		if err != nil && !errors.As(err, new(*Error)) {
			return err
		}
		whole = here && (i > 0 || e.offset == 0)
	}
	return &Error{Whole: whole, text: fmt.Sprintf(format, args...)}
}

// isAt reports whether the file of e is where e says.
func (z *Zip) isAt(e entry) (bool, error) {
	head, err := z.read(e.offset, localLen+int64(len(e.name)))
	if err != nil || len(head) < localLen+len(e.name) {
		return false, err
	}
	return head[:4] == localSign && int(le16(head[26:])) == len(e.name) && head[localLen:] == e.name, nil
}
