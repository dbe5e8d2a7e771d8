// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package modzip

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	modzip "golang.org/x/mod/zip"

	"example.org/sumlog/internal/testrace"
)

var mod = module.Version{Path: "example.com/a", Version: "v1.0.0"}

const prefix = "example.com/a@v1.0.0/"

// makeZip makes a zip of pairs of name and content, below the prefix.
func makeZip(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := w.Create(prefix + files[i])
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(f, files[i+1])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// hashZip is all that there is of the package.
func hashZip(data []byte, m module.Version) (h1 string, goMod []byte, err error) {
	z, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return "", nil, err
	}
	if err := z.Read(context.Background(), m); err != nil {
		return "", nil, err
	}
	return z.Hash(context.Background())
}

// referee is what x/mod says of the same.
func referee(t testing.TB, data []byte, m module.Version) (string, error) {
	t.Helper()
	f, err := os.CreateTemp("", "modzip")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return refereeFile(f.Name(), m)
}

func refereeFile(name string, m module.Version) (string, error) {
	if _, err := modzip.CheckZip(m, name); err != nil {
		return "", err
	}
	return dirhash.HashZip(name, dirhash.Hash1)
}

// compare has both judge, and fails if they differ otherwise than they may.
func compare(t testing.TB, data []byte, what string) error {
	t.Helper()
	got, _, err := hashZip(data, mod)
	want, err2 := referee(t, data, mod)
	switch {
	case err == nil && (err2 != nil || got != want):
		t.Fatalf("%s: took it with %s; x/mod has %s, %v", what, got, want, err2)
	case err != nil && err2 == nil && !strings.Contains(err.Error(), "overlap"):
		t.Fatalf("%s: refused it: %v; x/mod takes it", what, err)
	}
	if err != nil && !errors.As(err, new(*Error)) {
		t.Fatalf("%s: %v is no *Error", what, err)
	}
	return err
}

// rounds is how many zips are compared: n where there is time, else a part.
func rounds(n int) int {
	if os.Getenv("CI") == "true" && !testrace.Enabled {
		return n
	}
	return n / 10
}

// TestShapes compares with x/mod over zips of many shapes, a part of which have
// names that are no module's, or collide.
func TestShapes(t *testing.T) {
	elems := []string{"a", "A", "b", "bb", "go.mod", "Go.mod", "LICENSE", "x.go", "é", "É", "ſ", "s", "K", "k", "a!", "a-b", "con", "ß", ""}
	rnd := rand.New(rand.NewPCG(1, 2))
	good, all := 0, rounds(3000)
	for i := range all {
		var files []string
		for range rnd.IntN(6) {
			name := elems[rnd.IntN(len(elems))]
			for rnd.IntN(2) == 0 {
				name += "/" + elems[rnd.IntN(len(elems))]
			}
			content := make([]byte, rnd.IntN(1<<rnd.IntN(12)))
			for j := range content {
				content[j] = byte(rnd.IntN(4))
			}
			if strings.HasSuffix(name, "/") || name == "" {
				content = nil
			}
			files = append(files, name, string(content))
		}
		if compare(t, makeZip(t, files...), fmt.Sprintf("shape %d, %q", i, files)) == nil {
			good++
		}
	}
	if good < all/10 || good > all*9/10 {
		t.Errorf("%d of %d zips are good: that is no mixture", good, all)
	}
}

// TestBytes compares with x/mod over zips of which one byte, or a part, is
// another: what the go command would read in another way is never taken.
func TestBytes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	seed := makeZip(t, "go.mod", "module example.com/a\n", "d/", "", "d/x", strings.Repeat("x", 300))
	for i := range rounds(4000) {
		data := bytes.Clone(seed)
		for range 1 + rnd.IntN(2) {
			data[rnd.IntN(len(data))] = byte(rnd.IntN(256))
		}
		switch rnd.IntN(8) {
		case 0:
			data = append([]byte("#!/bin/sh\n"), data...)
		case 1:
			data = data[:rnd.IntN(len(data))]
		case 2:
			data = append(data, "trailing"...)
		}
		compare(t, data, fmt.Sprintf("change %d", i))
	}
	for _, data := range [][]byte{nil, []byte("PK\x05\x06"), []byte("<html>"), append([]byte("#!/bin/sh\n"), seed...)} {
		compare(t, data, fmt.Sprintf("%.10q", data))
	}
}

// TestModules has the real modules that this one needs, the large ones where there
// is time.
func TestModules(t *testing.T) {
	out, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "cache", "download")
	seen := 0
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".zip" {
			return err
		}
		path, version, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(filepath.ToSlash(name), filepath.ToSlash(root)+"/"), ".zip"), "/@v/")
		var m module.Version
		if m.Path, err = module.UnescapePath(path); err != nil {
			return err
		}
		if m.Version, err = module.UnescapeVersion(version); err != nil {
			return err
		}
		if fi, err := d.Info(); err != nil || fi.Size() > int64(rounds(10<<20)) {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		got, goMod, err := hashZip(data, m)
		if want, err2 := refereeFile(name, m); err != nil || got != want {
			t.Errorf("%s: %s, %v; x/mod has %s, %v", m, got, err, want, err2)
		}
		if dotMod, err := os.ReadFile(strings.TrimSuffix(name, ".zip") + ".mod"); err == nil && goMod != nil && !bytes.Equal(goMod, dotMod) {
			t.Errorf("%s: go.mod %q, want %q", m, goMod, dotMod)
		}
		seen++
		return nil
	})
	if err != nil || seen == 0 {
		t.Errorf("%d modules, %v", seen, err)
	}
}

// TestBombs shows that a zip that is more than it declares, or declares too
// much, costs neither memory nor time.
func TestBombs(t *testing.T) {
	honest := makeZip(t, "x", strings.Repeat("a", 1<<20))

	// Sizes lie in the directory, which is what readers go by: "PK\1\2", the
	// uncompressed size at offset 24.
	lie := bytes.Clone(honest)
	dir := bytes.LastIndex(lie, []byte(entrySign))
	binary.LittleEndian.PutUint32(lie[dir+24:], 10)

	huge := bytes.Clone(honest)
	binary.LittleEndian.PutUint32(huge[dir+24:], MaxSize+1)

	var many []string
	for i := range 6 {
		many = append(many, fmt.Sprint("x", i), "")
	}
	sum := makeZip(t, many...)
	for at := 0; ; at++ {
		i := bytes.Index(sum[at:], []byte(entrySign))
		if i < 0 {
			break
		}
		at += i
		binary.LittleEndian.PutUint32(sum[at+24:], MaxSize/5)
	}

	// Two files that share their bytes; with enough of them, each inflated,
	// they would take hours.
	shared := makeZip(t, "x", strings.Repeat("a", 1<<20), "y", strings.Repeat("a", 1<<20))
	first := bytes.Index(shared, []byte(entrySign))
	second := first + 1 + bytes.Index(shared[first+1:], []byte(entrySign))
	binary.LittleEndian.PutUint32(shared[first+20:], uint32(len(shared)))
	binary.LittleEndian.PutUint32(shared[second+42:], 0)

	for _, tt := range []struct {
		data  []byte
		want  string
		whole bool
	}{
		{lie, "longer than declared", false},
		{huge, "bytes of files", true},
		{sum, "bytes of files", true},
		{shared, "overlap", false},
		{makeZip(t, "x", "a", "x", "b"), "multiple entries", true},
		{makeZip(t, "x", "a", "x/y", "b"), "both a file and a directory", true},
		{makeZip(t, "x/Y/a", "a", "x/y/b", "b"), "collision", true},
		{makeZip(t, "x/go.mod", ""), "not in module root", true},
		{makeZip(t, "x//y", ""), "not clean", true},
		{makeZip(t, strings.Repeat("x", 1<<15)+":", ""), "invalid char", true},
		{honest[:len(honest)-1], "not a valid zip", false},
		{bytes.Replace(honest, []byte(localSign), []byte("XXXX"), 1), "no file where", false},
		{[]byte("<html>"), "not a valid zip", false},
	} {
		h, _, err := hashZip(tt.data, mod)
		e, ok := errors.AsType[*Error](err)
		if !ok || !strings.Contains(err.Error(), tt.want) || e.Whole != tt.whole || len(err.Error()) > 400 {
			t.Errorf("hash %s, %v, want %q with %v", h, err, tt.want, tt.whole)
		}
	}
	if _, _, err := hashZip(honest, mod); err != nil {
		t.Error(err)
	}
	if _, err := Open(bytes.NewReader(honest), MaxSize+1); err == nil {
		t.Error("opened a file beyond the limit")
	}
}

// stored is a zip with one file, not packed, whose offsets begin with offset.
func stored(t *testing.T, offset int64, name, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	w.SetOffset(offset)
	f, err := w.CreateHeader(&zip.FileHeader{Name: name})
	if err == nil {
		_, err = io.WriteString(f, content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func isWhole(data string) bool {
	_, _, err := hashZip([]byte(data), mod)
	e, ok := errors.AsType[*Error](err)
	return ok && e.Whole
}

// TestWhole has zips that can be no module's and are sound, or are not for one
// reason.
func TestWhole(t *testing.T) {
	simple := stored(t, 0, "x", "content")
	at := len(simple) - endLen
	dir, end := simple[:at], simple[at:]
	number := func(s string, off int, add uint32) string {
		b := []byte(s)
		binary.LittleEndian.PutUint32(b[off:], le32(s[off:])+add)
		return string(b)
	}
	// wide has an end in 64 bits, with count files, and gap behind it.
	wide := func(count uint64, gap string) string {
		le := binary.LittleEndian
		b := append([]byte(dir+end64Sign), make([]byte, end64Len-len(end64Sign))...)
		le.PutUint64(b[at+4:], end64Len-12)
		le.PutUint64(b[at+24:], count)
		le.PutUint64(b[at+32:], count)
		le.PutUint64(b[at+40:], uint64(le32(end[12:])))
		le.PutUint64(b[at+48:], uint64(le32(end[16:])))
		b = append(b, gap+locatorSign+"\x00\x00\x00\x00"...)
		b = le.AppendUint64(b, uint64(at))
		b = le.AppendUint32(b, 1)
		return string(b) + number(end, 8, 0xffff_ffff-le32(end[8:]))
	}
	three := string(makeZip(t, "a", "", "b:", "", "c", ""))
	for _, tt := range []struct {
		what, data string
		whole      bool
	}{
		{"simple", simple, true},
		{"three files", three, true},
		{"with a comment", number(simple, len(simple)-2-2, 3<<16) + "abc", true},
		{"wide", wide(1, ""), true},
		{"wide, of another count", wide(1<<16+1, ""), false},
		{"wide, bytes behind the end", wide(1, "x"), false},
		{"bytes before", "#!" + simple, false},
		{"bytes before, counted", "#!" + stored(t, 2, "x", "content"), false},
		{"bytes behind", simple + "x", false},
		{"a wrong size of the directory", dir + number(end, 12, 1), false},
		{"bytes behind the directory", dir + strings.Repeat("x", entryLen) + number(end, 12, entryLen), false},
		{"another first file", strings.Replace(three, prefix+"a", prefix+"x", 1), false},
		{"another refused file", strings.Replace(three, prefix+"b", prefix+"x", 1), false},
		{"another last file", strings.Replace(three, prefix+"c", prefix+"x", 1), false},
	} {
		if got := isWhole(tt.data); got != tt.whole {
			t.Errorf("%s: whole is %v", tt.what, got)
		}
	}
}

// TestCut has zips that are cut in transit, some of them behind a zip that they
// hold: no part is taken for a sound zip, wherever the inner one says that its
// file is.
func TestCut(t *testing.T) {
	const before = localLen + len("test.zip")
	another := []byte(stored(t, int64(before), "x", "inner"))
	binary.LittleEndian.PutUint32(another[bytes.Index(another, []byte(entrySign))+42:], 0)
	for what, inner := range map[string]string{
		"as it is":                   stored(t, 0, "x", "inner"),
		"with the name of the outer": stored(t, 0, "test.zip", "inner"),
		"offsets in the outer":       stored(t, int64(before), "x", "inner"),
		"first file of the outer":    string(another),
	} {
		outer := stored(t, 0, "test.zip", inner)
		if !isWhole(outer) {
			t.Fatalf("%s: not taken for sound in one piece", what)
		}
		for n := range len(outer) {
			if isWhole(outer[:n]) {
				t.Errorf("%s: %d bytes of %d are taken for a sound zip", what, n, len(outer))
			}
		}
	}
}

// TestEnd has the context end in the middle of a file, however it is packed.
func TestEnd(t *testing.T) {
	for what, content := range map[string]string{
		"much of little": strings.Repeat("a", 20<<20),
		"little of much": noise(2 << 20),
	} {
		data := makeZip(t, "x", content)
		ctx, cancel := context.WithCancel(t.Context())
		at := 0
		r := readerAt(func(p []byte, off int64) (int, error) {
			if at++; at == 4 { // the end, the directory, the head, the content
				cancel()
			}
			return bytes.NewReader(data).ReadAt(p, off)
		})
		z, err := Open(r, int64(len(data)))
		if err == nil {
			err = z.Read(t.Context(), mod)
		}
		if err == nil {
			_, _, err = z.Hash(ctx)
		}
		if what == "much of little" { // all read with the head
			cancel()
			_, _, err = z.Hash(ctx)
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v after %d reads", what, err, at)
		}
	}
}

type readerAt func(p []byte, off int64) (int, error)

func (f readerAt) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

func noise(n int) string {
	data := make([]byte, n)
	rnd := rand.NewChaCha8([32]byte{})
	rnd.Read(data)
	return string(data)
}

// TestDisk has a disk that fails: nothing is said about the zip.
func TestDisk(t *testing.T) {
	for _, tt := range []struct {
		data  []byte
		reads int
	}{
		{makeZip(t, "x", noise(2<<20), "y", "y"), 8},
		{makeZip(t, ":", "", "y", "y"), 5}, // it is looked whether it is sound
	} {
		for n := range tt.reads {
			at := 0
			_, err := func() (string, error) {
				z, err := Open(readerAt(func(p []byte, off int64) (int, error) {
					if at++; at > n {
						return 0, fs.ErrInvalid
					}
					return bytes.NewReader(tt.data).ReadAt(p, off)
				}), int64(len(tt.data)))
				if err == nil {
					err = z.Read(t.Context(), mod)
				}
				if err != nil {
					return "", err
				}
				h1, _, err := z.Hash(t.Context())
				return h1, err
			}()
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("after %d reads: %v", n, err)
			}
		}
	}
}

// FuzzZip compares with x/mod over whatever the fuzzer finds.
func FuzzZip(f *testing.F) {
	f.Add(makeZip(f, "go.mod", "module example.com/a\n", "a.go", "package a\n"))
	f.Add(makeZip(f, "a/", "", "b", "b"))
	f.Add(makeZip(f))
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, data []byte) { compare(t, data, "fuzz") })
}

// packed is data as a packed file has it, without its end.
func packed(t testing.TB, level int, data string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err == nil {
		_, err = io.WriteString(w, data)
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const literals = 1000

// noDistances is a last block of literals and a copy from a distance, but without
// codes for distances.
func noDistances() []byte {
	var b []byte
	n := 0
	put := func(value, bits int) { // the lowest first
		for i := range bits {
			if n%8 == 0 {
				b = append(b, 0)
			}
			b[n/8] |= byte(value>>i&1) << (n % 8)
			n++
		}
	}
	put(1, 1)  // the last
	put(2, 2)  // with codes of its own:
	put(1, 5)  // 257+1 literals and lengths,
	put(0, 5)  // one distance,
	put(14, 4) // whose lengths are in a code of 4+14, in the order 16, 17, 18, 0, ..., 1
	for i := range 18 {
		put(map[int]int{2: 2, 3: 2, 15: 2, 17: 2}[i], 3)
	}
	const none, one, two, zeros = 0, 2, 1, 3 // the lengths 0, 1, 2 and 18 in it
	put(zeros, 2)
	put('a'-11, 7)
	put(two, 2) // "a"
	put(zeros, 2)
	put(138-11, 7)
	put(zeros, 2)
	put(256-138-'a'-1-11, 7)
	put(one, 2)  // the end
	put(two, 2)  // copy three
	put(none, 2) // the distance
	for range literals {
		put(1, 2)
	}
	put(3, 2)
	put(0, 64) // by other codes a distance, and the end
	return b
}

// FuzzInflate compares with x/mod over zips of two packed files. The second is
// declared to be longer than the standard library can inflate it, by more.
func FuzzInflate(f *testing.F) {
	for _, level := range []int{flate.NoCompression, flate.BestSpeed, flate.BestCompression, flate.HuffmanOnly} {
		const end = "\x01\x00\x00\xff\xff" // an empty block
		part := packed(f, level, strings.Repeat("package a\n", 100)+noise(200))
		whole := append(bytes.Clone(part), end...)
		f.Add(whole, whole, uint8(0))
		f.Add(whole, whole, uint8(1))
		f.Add(whole, part, uint8(0))
		// An inflater that keeps the codes of the file or block before finds a
		// distance.
		f.Add(whole, noDistances(), uint8(3))
		f.Add(whole, append(bytes.Clone(part), noDistances()...), uint8(3))
	}
	f.Fuzz(func(t *testing.T, first, second []byte, more uint8) {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		for i, data := range [][]byte{first, second} {
			size, _ := io.Copy(io.Discard, io.LimitReader(flate.NewReader(bytes.NewReader(data)), 1<<20))
			f, err := w.CreateRaw(&zip.FileHeader{
				Name:               prefix + fmt.Sprint(i),
				Method:             zip.Deflate,
				CompressedSize64:   uint64(len(data)),
				UncompressedSize64: uint64(size) + uint64(i)*uint64(more),
			}) // without a checksum, which is then not checked
			if err != nil {
				t.Fatal(err)
			}
			f.Write(data)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		compare(t, b.Bytes(), fmt.Sprintf("%x, %x, %d", first, second, more))
	})
}
