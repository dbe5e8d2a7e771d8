// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package store

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
)

// makeZip makes a zip of pairs of name and content.
func makeZip(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := w.Create(files[i])
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

func libraryHash(t testing.TB, data []byte) (string, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "zip")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dirhash.HashZip(name, dirhash.Hash1)
}

// TestHashZip compares the hash with x/mod's, over zips of many shapes.
func TestHashZip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var files []string
		for i := range rnd.IntN(30) {
			content := make([]byte, rnd.IntN(1<<rnd.IntN(18)))
			for j := range content {
				content[j] = byte(rnd.IntN(4))
			}
			files = append(files, fmt.Sprintf("m@v/%d/%c", rnd.IntN(1000), 'a'+i), string(content))
		}
		if rnd.IntN(2) == 0 {
			files = append(files, "m@v/dir/", "")
		}
		data := makeZip(t, files...)
		got, err := hashZip(bytes.NewReader(data), int64(len(data)))
		want, err2 := libraryHash(t, data)
		if err != nil || err2 != nil || got != want {
			t.Fatalf("hashZip = %q, %v; dirhash has %q, %v", got, err, want, err2)
		}
	}
}

// TestBombs shows that a zip that is more than it declares, or declares too
// much, costs neither memory nor time.
func TestBombs(t *testing.T) {
	const name = "example.com/a@v1.0.0/x"
	honest := makeZip(t, name, strings.Repeat("a", 1<<20))

	// Sizes lie in the directory, which is what readers go by: "PK\1\2", the
	// uncompressed size at offset 24.
	lie := bytes.Clone(honest)
	dir := bytes.LastIndex(lie, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(lie[dir+24:], 10)

	huge := bytes.Clone(honest)
	binary.LittleEndian.PutUint32(huge[dir+24:], MaxZip+1)

	var many []string
	for i := range 6 {
		many = append(many, fmt.Sprint(name, i), "")
	}
	sum := makeZip(t, many...)
	for at := 0; ; at++ {
		i := bytes.Index(sum[at:], []byte("PK\x01\x02"))
		if i < 0 {
			break
		}
		at += i
		binary.LittleEndian.PutUint32(sum[at+24:], MaxZip/5)
	}

	for _, tt := range []struct {
		data []byte
		want string
	}{
		{lie, "not a valid zip"},
		{huge, "bytes of files"},
		{sum, "bytes of files"},
		{makeZip(t, name, "a", name, "b"), "two files"},
	} {
		if h, err := hashZip(bytes.NewReader(tt.data), int64(len(tt.data))); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("hashZip = %s, %v, want %q", h, err, tt.want)
		}
	}
	if _, err := hashZip(bytes.NewReader(honest), int64(len(honest))); err != nil {
		t.Error(err)
	}
	if _, err := hashZip(bytes.NewReader(honest), MaxZip+1); err == nil || !strings.Contains(err.Error(), "zip of") {
		t.Errorf("hashZip of a file beyond the limit: %v", err)
	}
}

// TestDirectoryBomb has a zip that is nothing but directory, which archive/zip
// would read into many times its size.
func TestDirectoryBomb(t *testing.T) {
	var b bytes.Buffer
	header := make([]byte, 46+1)
	copy(header, "PK\x01\x02")
	binary.LittleEndian.PutUint16(header[28:], 1)
	header[46] = 'x'
	n := 2 * maxDirectory / len(header)
	for range n {
		b.Write(header)
	}
	end := make([]byte, 22)
	copy(end, "PK\x05\x06")
	binary.LittleEndian.PutUint16(end[8:], uint16(n))
	binary.LittleEndian.PutUint16(end[10:], uint16(n))
	binary.LittleEndian.PutUint32(end[12:], uint32(b.Len()))
	b.Write(end)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := openZip(bytes.NewReader(b.Bytes()), int64(b.Len()))
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("openZip: %v", err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 16*maxDirectory {
		t.Errorf("%d bytes allocated for a directory of at most %d", used, maxDirectory)
	}
}

func TestKeyed(t *testing.T) {
	var k keyed
	inside := 0
	done := make(chan bool)
	for range 20 {
		go func() {
			unlock := k.lock("a")
			inside++
			if inside != 1 {
				t.Errorf("%d hold the same lock", inside)
			}
			inside--
			unlock()
			done <- true
		}()
	}
	for range 20 {
		<-done
	}
	if len(k.locks) != 0 {
		t.Errorf("%d locks left", len(k.locks))
	}
}

func FuzzInfo(f *testing.F) {
	m := module.Version{Path: "example.com/a", Version: "v1.0.0"}
	for _, s := range []string{
		`{"Version":"v1.0.0","Time":"2024-05-06T07:08:09Z"}`,
		`{"Version":"v1.0.0","Time":"2024-05-06T07:08:09Z","Origin":{"VCS":"git","URL":"https://example.com/a","Hash":"00","Ref":"refs/tags/v1.0.0"}}`,
		`{"version":"v1.0.0"}`, `{"Version":"v1.0.0","version":"v1.0.1"}`, `null`, `{}`, `[]`, `{"Version":1}`, "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := ParseInfo(data, m)
		if err == nil && (i.Version != m.Version || len(data) > MaxInfo) {
			t.Errorf("ParseInfo(%q) = %v", data, i)
		}
	})
}

// FuzzZip compares the hash of whatever is a zip within limits with x/mod's.
func FuzzZip(f *testing.F) {
	f.Add(makeZip(f, "example.com/a@v1.0.0/go.mod", "module example.com/a\n", "example.com/a@v1.0.0/a.go", "package a\n"))
	f.Add(makeZip(f, "a/", "", "b", "b"))
	f.Add(makeZip(f))
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := hashZip(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		if want, err := libraryHash(t, data); err != nil || got != want {
			t.Errorf("hashZip = %s; dirhash has %s, %v", got, want, err)
		}
	})
}
